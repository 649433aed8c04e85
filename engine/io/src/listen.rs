//! Listeners of which every shard has its own, at the same address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// How a listener and all connections accepted from it behave: these socket options are inherited.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// How many peers may wait to be accepted. The kernel allows at most `net.core.somaxconn`.
    pub backlog: u32,
    /// The most that the kernel buffers for one connection on its way out; the kernel doubles it for its own
    /// bookkeeping. `None` leaves it to the kernel's autotuning.
    pub send_buffer_bytes: Option<usize>,
    /// A socket counts as full while so many bytes of what it took were not sent yet: beyond that they are better off
    /// in the sender's memory, once, than in every stalled socket. 0 for what `net.ipv4.tcp_notsent_lowat` says.
    pub notsent_lowat_bytes: u32,
    /// Sends small messages at once, without waiting for the answer to earlier ones.
    pub nodelay: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 4096, send_buffer_bytes: None, notsent_lowat_bytes: 16 * 1024, nodelay: true }
    }
}

/// Listens at `addr`. Several listeners of one user may stand at the same address: the kernel spreads peers over
/// them.
///
/// An IPv6 address means IPv6 only, so that `[::]` and `0.0.0.0` can be listened at side by side.
///
/// # Errors
/// What the kernel says about the address, with the address in the text.
pub fn bind(addr: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    try_bind(addr, options).map_err(|e| io::Error::new(e.kind(), format!("cannot listen at {addr}: {e}")))
}

fn try_bind(addr: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for old connections of the address to time out.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.set_tcp_notsent_lowat(options.notsent_lowat_bytes)?;
    socket.set_tcp_nodelay(options.nodelay)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "a system call that Miri does not know")]
    fn several_listeners_share_an_address_and_hand_their_options_down() {
        let options = ListenOptions {
            backlog: 16,
            send_buffer_bytes: Some(50_000),
            notsent_lowat_bytes: 10_000,
            nodelay: true,
        };
        let first = bind("127.0.0.1:0".parse().expect("an address"), &options).expect("a port");
        let addr = first.local_addr().expect("bound");
        let second = bind(addr, &options).expect("the same port");
        let peer = TcpStream::connect(addr).expect("the backlog takes it");
        first.set_nonblocking(true).expect("nonblocking");
        second.set_nonblocking(true).expect("nonblocking");
        let (accepted, _) = first.accept().or_else(|_| second.accept()).expect("one of them has it");
        let socket = SockRef::from(&accepted);
        assert_eq!(socket.send_buffer_size().expect("a size"), 100_000);
        assert_eq!(socket.tcp_notsent_lowat().expect("a size"), 10_000);
        assert!(socket.tcp_nodelay().expect("a flag"));
        drop(peer);
    }

    #[test]
    #[cfg_attr(miri, ignore = "a system call that Miri does not know")]
    fn both_families_fit_on_one_port() {
        let options = ListenOptions::default();
        let Ok(six) = bind("[::]:0".parse().expect("an address"), &options) else {
            eprintln!("skipped: this machine has no IPv6");
            return;
        };
        let port = six.local_addr().expect("bound").port();
        bind(SocketAddr::from(([0, 0, 0, 0], port)), &options).expect("IPv6 leaves IPv4 alone");
    }

    #[test]
    #[cfg_attr(miri, ignore = "a system call that Miri does not know")]
    fn an_error_names_the_address() {
        let error = bind("192.0.2.1:9".parse().expect("an address"), &ListenOptions::default())
            .expect_err("an address of documentation");
        assert!(error.to_string().contains("192.0.2.1:9"), "{error}");
    }
}
