//! Watchers that name others in `after` and `requires`: whether those exist, and whether nobody
//! waits for himself in the end.
//!
//! What follows from the names is for whoever starts and stops watchers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::diagnostic::{Diagnostic, nearest};
use super::document::{Document, diagnose};
use super::kind::Problem;
use super::node::{Node, Value};
use super::plugins;
use super::watcher::Watcher;

/// One watcher named by another.
struct Named<'a> {
    /// In which key.
    key: &'static str,
    name: &'a str,
    /// Where.
    node: Node,
}

/// All that is wrong with the names, one by one and taken together.
pub(crate) fn check(document: &Document, watchers: &[Watcher]) -> Vec<Diagnostic> {
    let graph: BTreeMap<&str, Vec<Named>> = (watchers.iter())
        .filter(|watcher| !(watcher.after.0.is_empty() && watcher.requires.0.is_empty()))
        .map(|watcher| (watcher.name.as_str(), named(document, watcher)))
        .collect();
    let mut found = Vec::new();
    for watcher in watchers {
        for (at, named) in graph
            .get(watcher.name.as_str())
            .into_iter()
            .flatten()
            .enumerate()
        {
            let before = &graph[watcher.name.as_str()][..at];
            if let Some(problem) = problem(document, watcher, named, before) {
                found.push(diagnose(&title(&watcher.name, named.key), problem));
            }
        }
    }
    found.extend(circles(watchers, &graph));
    found
}

/// Where other watchers name this one, which is to be no more.
pub(crate) fn uses(document: &Document, watchers: &[Watcher], name: &str) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for watcher in watchers.iter().filter(|watcher| watcher.name != name) {
        let all = named(document, watcher);
        for named in all.iter().filter(|named| named.name == name) {
            let reason = format!("names '{name}', which is to be removed");
            let problem = Problem::new(&named.node, reason);
            found.push(diagnose(&title(&watcher.name, named.key), problem));
        }
    }
    found
}

fn title(watcher: &str, key: &str) -> String {
    format!("{}.{key}", plugins::title_of(watcher))
}

fn named<'a>(document: &Document, watcher: &'a Watcher) -> Vec<Named<'a>> {
    let Some(table) = document.effective(&watcher.name) else {
        return Vec::new();
    };
    let keys = [
        ("after", &watcher.after.0),
        ("requires", &watcher.requires.0),
    ];
    let mut all = Vec::new();
    for (key, names) in keys {
        let items = match table.get(key).map(|node| &node.value) {
            Some(Value::Array(items)) => items.as_slice(),
            _ => &[],
        };
        all.extend(names.iter().zip(items).map(|(name, item)| Named {
            key,
            name,
            node: item.clone(),
        }));
    }
    all
}

fn problem(
    document: &Document,
    watcher: &Watcher,
    named: &Named<'_>,
    before: &[Named<'_>],
) -> Option<Problem> {
    let (name, node) = (named.name, &named.node);
    let twice = |other: &Named<'_>| other.key == named.key && other.name == name;
    if !document.watchers.contains(name) {
        let known = document
            .watchers
            .names()
            .filter(|known| *known != watcher.name);
        let meant = nearest(name, known);
        return Some(Problem::new(node, format!("there is no watcher '{name}'")).suggesting(meant));
    }
    if name == watcher.name {
        return Some(Problem::new(node, "a watcher cannot wait for itself"));
    }
    let reason = format!("'{name}' is named twice");
    before.iter().any(twice).then(|| Problem::new(node, reason))
}

/// The circles, each once, told at the watcher of it that was written first.
fn circles(watchers: &[Watcher], graph: &BTreeMap<&str, Vec<Named<'_>>>) -> Vec<Diagnostic> {
    let left = without_end(graph);
    let (mut told, mut found) = (BTreeSet::new(), Vec::new());
    for watcher in watchers {
        let name = watcher.name.as_str();
        if told.contains(name) || !left.contains(name) {
            continue;
        }
        let Some(circle) = way_back(name, graph, &left) else {
            continue;
        };
        told.extend(circle.iter().copied());
        let next = graph[name].iter().find(|named| named.name == circle[1]);
        if let Some(next) = next {
            let reason = format!("nobody of these can be first: {}", circle.join(" -> "));
            let problem = Problem::new(&next.node, reason);
            found.push(diagnose(&title(name, next.key), problem));
        }
    }
    found
}

/// Those in a circle, and those that name them; nobody, as a rule.
fn without_end<'a>(graph: &BTreeMap<&'a str, Vec<Named<'a>>>) -> BTreeSet<&'a str> {
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut naming: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, all) in graph {
        let others = all.iter().filter(|other| graph.contains_key(other.name));
        let others = others.inspect(|other| naming.entry(other.name).or_default().push(name));
        open.insert(name, others.count());
    }
    let done = |(name, count): (&&'a str, &usize)| (*count == 0).then_some(*name);
    let mut free: Vec<&str> = open.iter().filter_map(done).collect();
    while let Some(name) = free.pop() {
        open.remove(name);
        for dependent in naming.remove(name).unwrap_or_default() {
            if let Some(count) = open.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    free.push(dependent);
                }
            }
        }
    }
    graph
        .keys()
        .copied()
        .filter(|name| open.contains_key(name))
        .collect()
}

/// The shortest way from a watcher over those that it names back to itself; both ends are told.
fn way_back<'a>(
    start: &'a str,
    graph: &BTreeMap<&'a str, Vec<Named<'a>>>,
    left: &BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    let mut from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(name) = open.pop_front() {
        for other in graph[name].iter().map(|named| named.name) {
            if other == start && name != start {
                let mut circle = vec![start, name];
                while let Some(before) = from.get(circle[circle.len() - 1]) {
                    circle.push(before);
                }
                circle.reverse();
                return Some(circle);
            }
            if left.contains(other) && other != start && !from.contains_key(other) {
                from.insert(other, name);
                open.push_back(other);
            }
        }
    }
    None
}
