//! The scenarios that clients in every language play, and the server's part in each.

use std::thread;

use fanfare::{Delivery, Message};

use crate::foreign::Runtime;
use crate::server::{SOON, Server, topic};

/// How many clients the crowd has, in the scripts too.
const CROWD: u64 = 200;

/// Makes a test of each scenario. They need a function `runtime` that gives the language's [`Runtime`], if it is there.
#[macro_export]
macro_rules! scenarios {
    ($($scenario:ident: $play:path,)*) => {
        $(#[test]
        fn $scenario() {
            if let Some(runtime) = runtime() {
                $play(&runtime, stringify!($scenario));
            }
        })*
    };
}

/// The server only serves.
pub fn alone(runtime: &Runtime, scenario: &str) {
    let server = Server::default();
    runtime.start(scenario, &server.url("")).finish();
    server.assert_empty();
}

/// Messages go both ways compressed, and the server has compressed each of them once for each view.
pub fn compressed(runtime: &Runtime, scenario: &str) {
    let server = Server::default();
    let mut client = runtime.start(scenario, &server.url(""));
    let line = client.line();
    client.finish();
    server.assert_empty();
    let compressed = server.sum(|stats| stats.compressed_messages.get());
    assert_eq!(line, format!("compressed {compressed}"));
    assert!(server.sum(|stats| stats.inflated_bytes.get()) > 400_000, "the client compressed, too");
    let (bytes_in, bytes_out) = (
        server.sum(|stats| stats.compressed_bytes_in.get()),
        server.sum(|stats| stats.compressed_bytes_out.get()),
    );
    assert!(bytes_out * 10 < bytes_in, "{bytes_out} of {bytes_in}");
}

/// Many clients get the messages of two threads in the order in which a subscription in the process gets them.
pub fn crowd(runtime: &Runtime, scenario: &str) {
    const EACH: usize = 100;
    let server = Server::default();
    let name = topic("crowd");
    let mut subscription = server.engine.subscribe(&name).expect("subscribed");
    let mut client = runtime.start(scenario, &server.url(""));
    client.expect("ready");
    assert_eq!(server.connections(), CROWD);
    thread::scope(|scope| {
        for publisher in 0..2 {
            let (engine, name) = (&server.engine, &name);
            scope.spawn(move || {
                for number in 0..EACH {
                    engine.publish(name, format!("{publisher} {number}")).expect("published");
                }
            });
        }
    });
    client.say(&(2 * EACH).to_string());
    for _ in 0..2 * EACH {
        let Ok(Some(Delivery::Message { message, .. })) = subscription.recv_timeout(SOON) else {
            panic!("the subscription goes on");
        };
        client.expect(message.as_text().expect("text"));
    }
    client.finish();
    server.assert_empty();
}

/// A shutdown delivers what was published, then says 1001.
pub fn shutdown(runtime: &Runtime, scenario: &str) {
    const COUNT: usize = 1_000;
    let server = Server::default();
    let mut client = runtime.start(scenario, &server.url(""));
    client.expect("ready");
    for number in 0..COUNT {
        server.publish("shutdown", Message::json(number.to_string()).expect("JSON"));
    }
    client.say(&COUNT.to_string());
    server.engine.shutdown(SOON);
    client.finish();
    server.assert_empty();
}
