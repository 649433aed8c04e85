//! The conformance client against a fuzzing server of a few cases, by other hands (tungstenite).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanfare_loadgen::echo::{self, Cases};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

/// Longer than any busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

type Socket = WebSocket<TcpStream>;
type Case = fn(&mut Socket);

/// Takes one connection after the other until the reports are asked for, and says which paths were.
fn serve(listener: TcpListener, cases: &'static [Case]) -> Vec<String> {
    let mut paths = Vec::new();
    loop {
        let (stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut path = String::new();
        #[expect(clippy::result_large_err, reason = "tungstenite's callback has this type")]
        let look = |request: &Request, response: Response| {
            path = request.uri().to_string();
            Ok(response)
        };
        let mut socket = tungstenite::accept_hdr(stream, look).expect("a handshake");
        paths.push(path.clone());
        match path.strip_prefix("/runCase?case=").and_then(|rest| rest.split_once('&')) {
            Some((case, _)) => cases[case.parse::<usize>().expect("a number") - 1](&mut socket),
            None if path == "/getCaseCount" => {
                socket.send(Message::text(cases.len().to_string())).expect("a client");
                finish(&mut socket);
            }
            None => {
                finish(&mut socket);
                return paths;
            }
        }
    }
}

/// Closes, and waits for the answer.
fn finish(socket: &mut Socket) {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    socket.close(Some(frame)).expect("a client");
    loop {
        match socket.read() {
            Ok(Message::Close(Some(frame))) => assert_eq!(frame.code, CloseCode::Normal),
            Ok(other) => panic!("{other}"),
            Err(Error::ConnectionClosed) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

fn echoes(socket: &mut Socket) {
    let large = "many words of the same kind, ".repeat(100_000);
    let messages =
        [Message::text("hi"), Message::binary(vec![0, 0xff]), Message::text(""), Message::text(large)];
    for message in messages {
        socket.send(message.clone()).expect("a client");
        assert_eq!(socket.read().expect("an answer"), message);
    }
    socket.send(Message::Ping("you".into())).expect("a client");
    assert_eq!(socket.read().expect("a pong"), Message::Pong("you".into()));
    finish(socket);
}

/// Fragments with a ping between them, in one piece and in single bytes.
fn fragments(socket: &mut Socket) {
    let frames = b"\x01\x02ab\x89\x01p\x80\x01c";
    socket.get_mut().write_all(frames).expect("a client");
    assert_eq!(socket.read().expect("a pong"), Message::Pong("p".into()));
    assert_eq!(socket.read().expect("an answer"), Message::text("abc"));
    socket.get_mut().set_nodelay(true).expect("a socket");
    for byte in frames {
        socket.get_mut().write_all(&[*byte]).expect("a client");
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(socket.read().expect("a pong"), Message::Pong("p".into()));
    assert_eq!(socket.read().expect("an answer"), Message::text("abc"));
    finish(socket);
}

/// The client must close with this code, and then wait for the server to end the connection.
fn breach(socket: &mut Socket, bytes: &[u8], code: CloseCode) {
    socket.get_mut().write_all(bytes).expect("a client");
    match socket.read().expect("a close frame") {
        Message::Close(Some(frame)) => assert_eq!(frame.code, code),
        other => panic!("{other}"),
    }
    _ = socket.flush();
}

fn reserved_opcode(socket: &mut Socket) {
    breach(socket, b"\x83\x00", CloseCode::Protocol);
}

fn not_text(socket: &mut Socket) {
    breach(socket, b"\x81\x02\xff\xff", CloseCode::Invalid);
}

fn compressed_without_leave(socket: &mut Socket) {
    breach(socket, b"\xc1\x01\x00", CloseCode::Protocol);
}

fn hangs_up(socket: &mut Socket) {
    socket.send(Message::text("bye")).expect("a client");
    assert_eq!(socket.read().expect("an answer"), Message::text("bye"));
}

const CASES: &[Case] =
    &[echoes, fragments, reserved_opcode, not_text, compressed_without_leave, hangs_up, echoes];

fn start(cases: &'static [Case]) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    (addr, thread::spawn(move || serve(listener, cases)))
}

#[test]
fn all_cases_are_run_in_order_and_reported() {
    let (addr, server) = start(CASES);
    let cases = echo::run(&format!("ws://{addr}/"), "fanfare load/1", PATIENCE).expect("cases");
    assert_eq!(cases, Cases { count: CASES.len(), failed: Vec::new() });
    let paths = server.join().expect("no case failed");
    let run = |case| format!("/runCase?case={case}&agent=fanfare%20load%2F1");
    let mut expected = vec!["/getCaseCount".to_owned()];
    expected.extend((1..=CASES.len()).map(run));
    expected.push("/updateReports?agent=fanfare%20load%2F1".to_owned());
    assert_eq!(paths, expected);
}

fn program(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_fanfare-loadgen");
    Command::new(program).arg("echo").args(arguments).output().expect("the program runs")
}

#[test]
fn the_program_says_what_it_did_and_what_it_could_not() {
    fn is_silent(socket: &mut Socket) {
        let rest = socket.get_mut().read(&mut [0; 16]).expect("an end");
        assert_eq!(rest, 0, "it hangs up without a word");
    }
    let (addr, server) = start(&[echoes, is_silent, hangs_up]);
    let url = format!("ws://{addr}");
    let output = program(&["--url", &url, "--silence-max", "3s"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "{out}{err}");
    assert!(out.starts_with("3 cases were run as fanfare-loadgen"), "{out}");
    assert!(err.starts_with("case 2: the server was silent for 3s\nINVALID: 1 of the cases"), "{err}");
    assert_eq!(server.join().expect("no case failed").len(), 5);

    for (url, code, part) in [
        (url.as_str(), 3, "INVALID: /getCaseCount: connecting: "),
        ("http://127.0.0.1:1", 4, "error: "),
        ("ws://127.0.0.1:1/?a", 4, "it has none"),
    ] {
        let output = program(&["--url", url]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(err.contains(part), "{err}");
    }
}
