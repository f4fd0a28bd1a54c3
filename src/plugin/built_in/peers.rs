//! Who has sent a datagram: a socket of this machine belongs to somebody, and proc(5) tells to whom.
//!
//! A socket that was closed at once cannot be found any more; then nobody has sent it.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;

/// A worker with more processes than this is not searched to the end.
const PROCESSES_MAX: usize = 256;

/// Whether the UDP socket at `peer` is held by process `pid`, or by one that this has started. Where
/// we may not look into a process, it must be a socket of the same user.
pub(super) fn speaks_for(peer: SocketAddr, pid: u32) -> bool {
    let sockets: Vec<Socket> = ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| sockets_at(&table, peer.port()))
        .collect();
    tree(pid).into_iter().any(|pid| match inodes(pid) {
        Some(inodes) => sockets.iter().any(|socket| inodes.contains(&socket.inode)),
        None => {
            let owner = fs::metadata(format!("/proc/{pid}")).map(|process| process.uid());
            owner.is_ok_and(|uid| sockets.iter().any(|socket| socket.uid == uid))
        }
    })
}

/// A line of `/proc/net/udp`.
#[derive(Debug, PartialEq)]
struct Socket {
    uid: u32,
    inode: u64,
}

/// The sockets that are bound to this port, of a table as in proc_net_udp(5).
fn sockets_at(table: &str, port: u16) -> Vec<Socket> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, bound) = fields.get(1)?.rsplit_once(':')?;
        let bound = u16::from_str_radix(bound, 16).ok()?;
        let socket = Socket {
            uid: fields.get(7)?.parse().ok()?,
            inode: fields.get(9)?.parse().ok()?,
        };
        (bound == port).then_some(socket)
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// The sockets that a process holds; none where we may not look.
fn inodes(pid: u32) -> Option<BTreeSet<u64>> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let inode = |link: std::path::PathBuf| {
        let link = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        link.parse().ok()
    };
    let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Some(links.filter_map(inode).collect())
}

/// The process and all that it has started, as far as the kernel tells.
fn tree(pid: u32) -> Vec<u32> {
    let mut tree = vec![pid];
    let mut next = 0;
    while let Some(pid) = tree
        .get(next)
        .copied()
        .filter(|_| tree.len() < PROCESSES_MAX)
    {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            tree.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_is_found_with_who_holds_it() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let us = std::process::id();
        assert!(speaks_for(address, us));
        assert!(tree(us).contains(&us));
        let parent = std::os::unix::process::parent_id();
        let holds = inodes(parent).is_some_and(|inodes| !inodes.is_empty());
        // We are one that the parent has started, and so speak for it.
        assert!(!holds || tree(parent).contains(&us) == speaks_for(address, parent));
        drop(socket);
        assert!(!speaks_for(address, us));
    }

    #[test]
    fn a_table_is_read_by_the_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             1234: 0100007F:0680 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 4711 2 0 0\n";
        assert_eq!(
            sockets_at(table, 0x680),
            [Socket {
                uid: 1000,
                inode: 4711
            }]
        );
        assert_eq!(sockets_at(table, 1), []);
        assert_eq!(sockets_at("head\nnonsense\n1: :: x\n", 1), []);
    }
}
