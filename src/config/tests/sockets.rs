//! Sockets: which keys go together, who uses which, and what a change means for whom.

use serde_json::json;

use super::{Machine, errors_of};
use crate::config::{Change, Socket, Where};

fn change(old: &str, new: &str) -> Vec<(String, Change, Vec<String>)> {
    let (old, new) = (Machine::with(old).load(), Machine::with(new).load());
    let changes = old.diff(&new).into_iter();
    changes.map(|c| (c.watcher, c.change, c.keys)).collect()
}

#[test]
fn a_socket_is_of_one_kind_and_has_all_that_it_needs() {
    let cases = [
        (
            "",
            "1:9: socket.s: expected path, host and port, or from_manager",
        ),
        ("host = '::'", "1:9: socket.s: host without port"),
        ("port = 1", "1:9: socket.s: port without host"),
        (
            "path = '/s'\nport = 1",
            "3:8: socket.s.port: has no effect with path, which makes it a Unix socket",
        ),
        (
            "host = '::'\nport = 1\nmode = '0600'",
            "4:8: socket.s.mode: has no effect without path",
        ),
        (
            "path = '@s'\nowner = 0",
            "3:9: socket.s.owner: has no effect on an abstract name, which is no file",
        ),
        (
            "path = '/s'\nmode = '0600'\numask = '0077'",
            "4:9: socket.s.umask: has no effect with mode",
        ),
        (
            "from_manager = true\nport = 1",
            "3:8: socket.s.port: has no effect with from_manager = true: the socket is taken as it is",
        ),
        (
            "host = '::'\nport = 1\ntype = 'seqpacket'",
            "4:8: socket.s.type: 'seqpacket' is for Unix sockets: it needs path",
        ),
        (
            "host = '127.0.0.1'\nport = 1\nipv6_only = true",
            "4:13: socket.s.ipv6_only: has no effect on an IPv4 address",
        ),
        (
            "host = '::'\nport = 0\ntype = 'dgram'\nreuseport = true",
            "3:8: socket.s.port: 0 does not go with reuseport and type = \"dgram\"",
        ),
        (
            "path = '/s'\ntype = 'dgram'\nbacklog = 1",
            "4:11: socket.s.backlog: has no effect on datagrams: there are no connections",
        ),
        (
            "host = '*'\nport = 1",
            "2:8: socket.s.host: expected an IP address, or 'localhost', found '*'",
        ),
    ];
    for (keys, error) in cases {
        assert_eq!(errors_of(&format!("[socket.s]\n{keys}\n")), [error]);
    }
}

#[test]
fn two_sockets_are_not_at_one_place() {
    let errors = errors_of("[socket.a]\npath = '@s'\n[socket.b]\npath = '@s'\n");
    assert_eq!(errors, ["3:9: socket.b: is at the same place as socket.a"]);
    let inet = |name: &str, more: &str| format!("[socket.{name}]\nhost = '::'\n{more}\n");
    let text = inet("a", "port = 7") + &inet("b", "port = 7\ntype = 'dgram'");
    Machine::with(&(text + &inet("c", "port = 0") + &inet("d", "port = 0"))).load();
}

#[test]
fn the_name_of_a_socket_has_no_colon() {
    let errors = errors_of("[socket.'a:b']\npath = '@s'\n");
    let [error] = errors.as_slice() else {
        panic!("{errors:?}");
    };
    assert!(error.contains("LISTEN_FDNAMES"), "{error}");
}

#[test]
fn what_is_switched_off_is_in_nobodys_way() {
    let text =
        "[socket.s]\npath = '/s'\nreuseport = false\nipv6_only = false\nfrom_manager = false";
    Machine::with(text).load();
}

#[test]
fn a_host_may_be_written_in_every_usual_way() {
    for (host, address) in [
        ("localhost", "127.0.0.1:80"),
        ("0.0.0.0", "0.0.0.0:80"),
        ("::1", "[::1]:80"),
        ("[::1]", "[::1]:80"),
    ] {
        let store = Machine::with(&format!("[socket.s]\nhost = '{host}'\nport = 80")).load();
        let place = store.config().sockets[0].place();
        assert_eq!(place, Where::Inet(address.parse().unwrap()), "{host}");
    }
}

#[test]
fn a_flag_may_make_a_socket_and_change_one() {
    let store = Machine::with("[socket.s]\nhost = '::'\nport = 80")
        .set("socket.s.port=0")
        .set("socket.t.path=@t")
        .load();
    let sockets = &store.config().sockets;
    assert_eq!(sockets[0].place(), Where::Inet("[::]:0".parse().unwrap()));
    assert_eq!(sockets[1].name, "t");
    let settings = store.settings(Some(&["socket.*.port".into()])).unwrap();
    let found: Vec<_> = settings.iter().map(|s| (&s.name[..], &s.value)).collect();
    assert_eq!(
        found,
        [
            ("socket.s.port", &json!(0)),
            ("socket.t.port", &json!(null))
        ]
    );
}

const TWO: &str = "[socket.a]\npath = '@a'\n[socket.b]\npath = '@b'\n";

#[test]
fn the_descriptors_are_in_the_order_of_the_list_or_of_the_file() {
    let argv = |use_sockets: &str| {
        let watcher = format!(
            "[watcher.w]\ncmd = ['w', '$(circus.sockets.a)', '$(circus.wid)$(circus.sockets.b)']\n\
             use_sockets = {use_sockets}\nenv = {{ A = '$(circus.sockets.a)' }}"
        );
        let store = Machine::with(&format!("{TWO}{watcher}")).load();
        let expanded = store.config().watchers[0].expand(7);
        (expanded.argv.join(" "), expanded.env["A"].clone())
    };
    assert_eq!(argv("true"), ("w 3 74".into(), "3".into()));
    assert_eq!(argv("['b', 'a']"), ("w 4 73".into(), "4".into()));
}

#[test]
fn a_socket_that_is_not_there_or_not_used_is_told_with_its_place() {
    let errors = errors_of(
        "[socket.main]\npath = '@m'\n[socket.other]\npath = '@o'\n[watcher.w]\ncmd = 'w'\n\
         use_sockets = ['mian', 'other', 'other']\nargs = ['$(circus.sockets.othr)']\n\
         stdout = { file = '/$(circus.sockets.main)' }\n[env]\nM = '$(circus.sockets.main)'\n",
    );
    assert_eq!(
        errors,
        [
            "7:16: watcher.w.use_sockets: there is no socket 'mian'",
            "7:33: watcher.w.use_sockets: 'other' is named twice",
            "8:9: watcher.w.args: '$(circus.sockets.othr)': there is no socket 'othr'",
            "9:19: watcher.w.stdout.file: '$(circus.sockets.main)': use_sockets does not name this socket",
            "11:5: env.M: '$(circus.sockets.main)': use_sockets does not name this socket",
        ]
    );
    let machine = Machine::with(
        "[socket.main]\npath = '@m'\n[watcher.w]\ncmd = 'w $(circus.sockets.mian)'\n\
         use_sockets = true",
    );
    let errors = machine.try_load().unwrap_err();
    let suggestion = errors.first().suggestion.as_deref();
    assert_eq!(suggestion, Some("$(circus.sockets.main)"));
}

#[test]
fn who_starts_on_demand_has_something_to_connect_to() {
    let with = |keys: &str| {
        errors_of(&format!(
            "[socket.s]\nhost = '::'\nport = 0\nreuseport = true\n[watcher.w]\ncmd = 'w'\n{keys}"
        ))
    };
    assert_eq!(
        with("on_demand = true\n"),
        ["7:13: watcher.w.on_demand: there is nothing to connect to without use_sockets"]
    );
    assert_eq!(
        with("on_demand = true\nuse_sockets = true\n"),
        ["7:13: watcher.w.on_demand: with reuseport nobody can connect before there is a process"]
    );
}

#[test]
fn one_wrong_socket_is_one_error_whoever_uses_it() {
    let text = "[socket.s]\nport = 'http'\n[watcher.w]\ncmd = 'w $(circus.sockets.s)'\n\
                use_sockets = ['s']";
    let errors = errors_of(text);
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[test]
fn a_changed_socket_replaces_its_users_and_nothing_else() {
    let with = |a: &str| {
        format!(
            "[socket.a]\nhost = '::1'\nport = 80\n{a}\n[socket.b]\npath = '@b'\n\
             [watcher.a]\ncmd = 'a'\nuse_sockets = ['a']\n\
             [watcher.b]\ncmd = 'b'\nuse_sockets = ['b']\n[watcher.n]\ncmd = 'n'\n"
        )
    };
    let unchanged = |name: &str| (name.to_owned(), Change::Unchanged, vec![]);
    let replaced = (
        "a".to_owned(),
        Change::Reload,
        vec!["use_sockets".to_owned()],
    );
    assert_eq!(
        change(&with(""), &with("ipv6_only = true")),
        [replaced, unchanged("b"), unchanged("n")]
    );
    let all = [unchanged("a"), unchanged("b"), unchanged("n")];
    assert_eq!(change(&with(""), &with("backlog = 7")), all);
}

#[test]
fn who_uses_all_sockets_is_replaced_when_there_is_another() {
    let watcher = "[watcher.w]\ncmd = 'w'\nuse_sockets = true\n";
    let changes = change(
        &format!("[socket.a]\npath = '@a'\n{watcher}"),
        &format!("{TWO}{watcher}"),
    );
    assert_eq!(
        changes,
        [("w".into(), Change::Reload, vec!["use_sockets".to_owned()])]
    );
}

#[test]
fn a_socket_is_the_same_by_what_it_is_and_not_by_its_name() {
    let socket = |text: &str| -> Socket { Machine::with(text).load().config().sockets[0].clone() };
    let one = socket("[socket.a]\npath = '@s'");
    assert!(one.is_same(&socket("[socket.b]\npath = '@s'\nbacklog = 1")));
    assert!(!one.is_same(&socket("[socket.a]\npath = '@t'")));
    let passed = socket("[socket.a]\nfrom_manager = true");
    assert!(!passed.is_same(&socket("[socket.b]\nfrom_manager = true")));
}
