//! The shards' listeners: one each, all at one address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use fanfare_io::listen::{self, ListenOptions};
use socket2::{Domain, Protocol, Socket, Type};

/// Opens `count` listeners at `addr`, or at one port of the kernel's choice if it names port 0.
pub(crate) fn open(addr: SocketAddr, count: usize, options: &ListenOptions) -> io::Result<Vec<TcpListener>> {
    if addr.port() != 0 {
        check_free(addr)?;
    }
    let first = listen::bind(addr, options)?;
    let addr = first.local_addr()?;
    let mut listeners = vec![first];
    while listeners.len() < count {
        listeners.push(listen::bind(addr, options)?);
    }
    Ok(listeners)
}

/// Fails if another program listens at `addr`.
///
/// The shards' own listeners share their address by SO_REUSEPORT, and would thereby join those of another engine of the
/// same user without an error: each would get a part of the other's clients. A socket without that option does not join.
fn check_free(addr: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Old connections of the address, which still time out, are no reason to refuse.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listeners_share_an_address_that_no_other_engine_can_join() {
        let options = ListenOptions::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = open(any, 3, &options).expect("a free port");
        let addrs: Vec<_> = listeners.iter().map(|listener| listener.local_addr().expect("bound")).collect();
        assert_eq!(addrs, [addrs[0]; 3]);
        let error = open(addrs[0], 1, &options).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(listeners);
        assert_eq!(open(addrs[0], 1, &options).expect("it is free again").len(), 1);
    }
}
