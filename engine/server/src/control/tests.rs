//! The control port with a router and threads that panic: neither can be had from outside.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::routing::get as get_route;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::{Config, Delivery, TopicName};

const SOON: Duration = Duration::from_secs(10);

fn engine() -> Engine {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = Config { connections_max: 64, ..Config::default() };
    Engine::builder().listen(any_port).shards(1).pin(false).config(config).start().expect("it starts")
}

fn any_port() -> ControlConfig {
    ControlConfig { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..ControlConfig::default() }
}

/// A connection on which a request was made.
fn request(addr: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut reply = String::new();
    _ = stream.read_to_string(&mut reply);
    reply
}

fn get(addr: SocketAddr, path: &str) -> String {
    answer(request(addr, path))
}

#[track_caller]
fn check_counter(addr: SocketAddr, name: &str, value: u64) {
    let metrics = get(addr, "/metrics");
    let line = format!("\nfanfare_control_{name}_total {value}\n");
    assert!(metrics.contains(&line), "{line:?} is missing in\n{metrics}");
}

/// The shards do not notice what happens to the control port.
fn check_data_plane(engine: &Engine, place: u64) {
    let topic = TopicName::parse("steady").expect("a name");
    let mut subscription = engine.subscribe(&topic).expect("subscribed");
    assert_eq!(engine.publish_acked(&topic, "on"), Ok(place));
    match subscription.recv_timeout(SOON) {
        Ok(Some(Delivery::Message { seq, .. })) => assert_eq!(seq, place),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_handler_that_panics_answers_500_and_harms_no_other_request() {
    let engine = engine();
    let control = Control::start_with(&engine, any_port(), |listener, shared: Shared, stopped| {
        let routes = Router::new()
            .route("/words", get_route(async || -> &'static str { panic!("a handler of the test") }))
            .route(
                "/later",
                get_route(async || -> &'static str {
                    tokio::task::yield_now().await;
                    panic!("{} handler of the test", "another")
                }),
            )
            .route("/metrics", get_route(metrics::metrics));
        connections::serve(listener, protected(routes, shared.clone()), shared, stopped)
    })
    .expect("it starts");
    let addr = control.addr();
    for (path, panics) in [("/words", 1), ("/later", 2)] {
        let reply = get(addr, path);
        assert!(reply.starts_with("HTTP/1.1 500 "), "{reply}");
        assert!(reply.contains("\"code\":\"internal\"") && reply.contains("nosniff"), "{reply}");
        check_counter(addr, "panics", panics);
    }
    check_counter(addr, "restarts", 0);
    check_data_plane(&engine, 1);
}

/// A thread of the control plane that serves as usual, and panics when told to.
async fn mortal(
    listener: tokio::net::TcpListener,
    shared: Shared,
    stopped: Stopped,
    orders: Arc<Mutex<Option<UnboundedReceiver<()>>>>,
) {
    let order = orders.lock().expect("nobody panics with it").take();
    let panics = async {
        let Some(mut order) = order else { return std::future::pending().await };
        order.recv().await;
        panic!("a thread of the test");
    };
    tokio::select! {
        () = connections::serve(listener, router(shared.clone()), shared, stopped) => {}
        () = panics => {}
    }
}

#[test]
fn a_thread_that_panics_is_started_anew_at_the_same_address() {
    let engine = engine();
    let (tell, order) = unbounded_channel();
    let orders = Arc::new(Mutex::new(Some(order)));
    let control = Control::start_with(&engine, any_port(), move |listener, shared, stopped| {
        mortal(listener, shared, stopped, orders.clone())
    })
    .expect("it starts");
    let addr = control.addr();
    let before = TcpStream::connect(addr).expect("it listens");
    assert!(get(addr, "/healthz").starts_with("HTTP/1.1 200 "));

    tell.send(()).expect("it listens to orders");
    // It ends with its thread. Once it has, the next one connects between two lives, or in the second.
    assert_eq!(answer(before), "");
    check_data_plane(&engine, 1);
    assert!(get(addr, "/healthz").starts_with("HTTP/1.1 200 "), "who connects meanwhile waits");
    check_counter(addr, "panics", 1);
    check_counter(addr, "restarts", 1);
    check_data_plane(&engine, 2);
    assert_eq!(control.addr(), addr);
    drop(control);
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}

#[test]
fn a_control_port_whose_threads_all_panic_tries_again_and_can_be_ended() {
    let engine = engine();
    let lives = Arc::new(AtomicUsize::new(0));
    let counted = lives.clone();
    let control = Control::start_with(&engine, any_port(), move |_, _, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { panic!("every thread of the test") }
    })
    .expect("the first one begins");
    let deadline = Instant::now() + SOON;
    while lives.load(Ordering::Relaxed) < 3 {
        assert!(Instant::now() < deadline, "it does not try again");
        thread::sleep(Duration::from_millis(5));
    }
    check_data_plane(&engine, 1);
    drop(control);
    let at_the_end = lives.load(Ordering::Relaxed);
    // It pauses between two lives, so that their number is far from what a loop would make of the time.
    assert!(at_the_end < 200, "{at_the_end}");
}

#[test]
fn what_cannot_be_started_says_so_at_once() {
    let engine = engine();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let addr = taken.local_addr().expect("bound");
    let refused = Control::start(&engine, ControlConfig { listen: addr, ..ControlConfig::default() });
    assert!(matches!(refused, Err(StartError::Listen(at, _)) if at == addr), "{refused:?}");
}
