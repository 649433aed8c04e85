//! `fanfare serve`: an engine and its control port, until a signal ends them.

use std::env;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use fanfare::control::Control;
use fanfare::{Engine, memory};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use crate::logging;
use crate::settings::{self, LogFormat, Resolved};

/// How long after the grace the shards may still be ending. One that takes longer is stuck.
const SHARDS_LATE_MAX: Duration = Duration::from_secs(5);

pub(crate) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let settings = settings::resolve(flags, env::vars_os()).map_err(Failure::usage)?;
    memory::give_back_large_pieces();
    logging::start(settings.log.clone(), settings.log_format);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::runtime)?;
    runtime.block_on(serve(&settings))
}

async fn serve(settings: &Resolved) -> Result<(), Failure> {
    // Before anything listens, so that no signal is missed once somebody can see the engine.
    let mut signals = Signals::new().map_err(Failure::runtime)?;
    let (buffer_count, buffer_bytes) = settings.receive_buffers;
    let mut builder = Engine::builder()
        .listen(settings.listen)
        .config(settings.config.clone())
        .sockets(settings.sockets.clone())
        .receive_buffers(buffer_count, buffer_bytes);
    if let Some(shards) = settings.shards {
        builder = builder.shards(shards);
    }
    let engine = Arc::new(builder.start().map_err(Failure::runtime)?);
    let control = Control::start(&engine, settings.control).map_err(Failure::runtime)?;
    announce(settings, &engine, control.addr());

    let stop = Stop::after(signals.next().await, settings);
    let patience = stop.within().saturating_add(SHARDS_LATE_MAX);
    let ending = tokio::task::spawn_blocking(move || stop.run(&engine));
    tokio::select! {
        _ = ending => {}
        () = tokio::time::sleep(patience) => {
            // Not through a return: the thread that waits for the shards would be waited for.
            tracing::error!("a shard does not end; the process ends without it");
            process::exit(1);
        }
        signal = signals.next() => {
            tracing::warn!(signal = signal.name(), "ended at once");
            process::exit(1);
        }
    }
    drop(control);
    tracing::info!("ended");
    Ok(())
}

/// How the engine is ended.
struct Stop {
    /// Over how long the connections are sent away first, if at all.
    drain: Option<Duration>,
    /// How long the shutdown may take; what the drain leaves of its own time comes on top.
    grace: Duration,
}

impl Stop {
    /// SIGTERM comes from whoever replaces the process, so clients are told to come back, in a wave; SIGINT from somebody
    /// who waits at a terminal.
    fn after(signal: Asked, settings: &Resolved) -> Self {
        let (drain_ms, grace_ms) = (settings.drain_ms, settings.shutdown_grace_ms);
        let drain = (signal == Asked::Terminate && drain_ms > 0).then_some(Duration::from_millis(drain_ms));
        let signal = signal.name();
        match drain {
            Some(_) => tracing::info!(signal, drain_ms, grace_ms, "draining; a second signal ends at once"),
            None => tracing::info!(signal, grace_ms, "shutting down; a second signal ends at once"),
        }
        Self { drain, grace: Duration::from_millis(grace_ms) }
    }

    /// The time that all of it may take.
    fn within(&self) -> Duration {
        self.drain.unwrap_or_default().saturating_add(self.grace)
    }

    fn run(&self, engine: &Engine) {
        let start = Instant::now();
        if let Some(spread) = self.drain {
            engine.drain(spread);
            tracing::info!("shutting down");
        }
        engine.shutdown(self.within().saturating_sub(start.elapsed()));
    }
}

/// Which signal asked for an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Interrupt,
    Terminate,
}

impl Asked {
    const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// The signals that ask for an end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
        }
    }
}

/// Says where the engine is and what to try.
fn announce(settings: &Resolved, engine: &Engine, control: SocketAddr) {
    let shards = engine.config().shards;
    if settings.log_format == LogFormat::Human {
        // Nobody may be there to read it, and the engine runs all the same.
        _ = io::stdout().write_all(welcome(engine.addr(), control, shards).as_bytes());
    }
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, listen = %engine.addr(), control = %control, shards, "listening");
}

fn welcome(listen: SocketAddr, control: SocketAddr, shards: usize) -> String {
    let ws = reachable(listen);
    let http = reachable(control);
    let cores = if shards == 1 { "1 shard".to_owned() } else { format!("{shards} shards") };
    let url =
        if ws == super::URL_DEFAULT["ws://".len()..] { String::new() } else { format!(" --url ws://{ws}") };
    let open = if listen.ip().to_canonical().is_loopback() && control.ip().to_canonical().is_loopback() {
        "Everything on loopback is open: any program on this machine, and any page that comes from it, can publish and subscribe."
    } else {
        "Nobody has to authenticate: whoever reaches these addresses can publish and subscribe."
    };
    let line = |label: &str, url: String, what: &str| format!("  {label:<11} {url:<40} {what}\n");
    let places = [
        line("WebSocket", format!("ws://{ws}/ws/{{topic}}"), "raw, both ways"),
        line("", format!("ws://{ws}/pub/{{topic}}"), "publish only"),
        line("", format!("ws://{ws}/stream"), "many topics, JSON"),
        line("Control", format!("http://{http}/"), "viewer; POST /topics/{topic}, /topics, /metrics"),
    ]
    .concat();
    format!(
        "Fanfare {version}, {cores}

{places}
Try it: this machine's statistics, live in a browser and in a terminal

  vmstat 1 | fanfare pub host{url}
  http://{http}/#host
  fanfare sub host{url}

{open}

",
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// An address that a client on this machine can use.
fn reachable(addr: SocketAddr) -> String {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome_of(listen: &str, control: &str) -> String {
        welcome(listen.parse().expect("an address"), control.parse().expect("an address"), 2)
    }

    #[test]
    fn the_welcome_can_be_followed_to_the_letter() {
        let usual = welcome_of("127.0.0.1:9000", "127.0.0.1:9001");
        assert!(
            usual.contains("| fanfare pub host\n") && usual.contains("http://127.0.0.1:9001/#host"),
            "{usual}"
        );
        assert!(usual.contains("on loopback is open"), "{usual}");
        let public = welcome_of("0.0.0.0:7000", "[::1]:7001");
        assert!(public.contains("fanfare sub host --url ws://127.0.0.1:7000\n"), "{public}");
        assert!(public.contains("http://[::1]:7001/#host"), "{public}");
        assert!(public.contains("Nobody has to authenticate"), "{public}");
    }
}
