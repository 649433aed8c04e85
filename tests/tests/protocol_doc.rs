//! docs/PROTOCOL.md, held against a real engine: every example on the page is replayed, to the letter.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use fanfare::control::{Control, ControlConfig};
use fanfare::{Config, Engine};
use fanfare_wire::close::CloseCode;
use fanfare_wire::stream::ErrorCode;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

/// Nothing on this machine takes so long.
const SOON: Duration = Duration::from_secs(20);

/// Fewer than these are not a specification.
const EXAMPLES_MIN: usize = 10;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fenced block.
#[derive(Debug)]
struct Block<'a> {
    /// What stands behind the opening fence.
    info: &'a str,
    /// Its lines, each with its number in the page.
    lines: Vec<(usize, &'a str)>,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut lines = page.lines().zip(1..);
    let mut blocks = Vec::new();
    while let Some((line, number)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let inside = lines.by_ref().map(|(line, number)| (number, line));
        let inside: Vec<_> = inside.take_while(|(_, line)| *line != "```").collect();
        assert!(!inside.is_empty(), "line {number}: an empty block");
        blocks.push(Block { info, lines: inside });
    }
    blocks
}

/// An engine with its control port, for one block.
struct Server {
    control: Control,
    engine: Engine,
}

impl Server {
    /// Starts on a thread of its own: the kernel may still tidy up after the start's trial ring, in the thread that made
    /// it, and a read with a timeout would be interrupted by that.
    fn start() -> Self {
        thread::spawn(Self::start_here).join().expect("it starts")
    }

    fn start_here() -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config { connections_max: 64, ..Config::default() };
        let builder = Engine::builder().listen(any_port).shards(1).pin(false).receive_buffers(16, 4096);
        let engine = builder.config(config).start().expect("the engine starts");
        let control_config = ControlConfig { listen: any_port, body_bytes_max: 1 << 20 };
        let control = Control::start(&engine, control_config).expect("the control port starts");
        Self { control, engine }
    }

    fn connect(&self, path: &str) -> WebSocket<TcpStream> {
        let stream = connect(self.engine.addr());
        let url = format!("ws://{}{path}", self.engine.addr());
        let (client, _) =
            tungstenite::client(&url, stream).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        client
    }

    /// Connects to `path`, sends one message, and closes. The server has handled it when this returns.
    fn elsewhere(&self, path: &str, message: Message) {
        let mut client = self.connect(path);
        client.send(message).expect("sent");
        client.close(None).expect("sent");
        while client.read().is_ok() {}
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream
}

#[test]
fn every_example_is_what_happens() {
    let page = page();
    let mut replayed = 0;
    for block in blocks(&page) {
        match block.info.split_once(' ') {
            Some(("exchange", path)) => replay_exchange(path, &block),
            Some(("http", "websocket")) => replay_http(&block, |server| server.engine.addr()),
            Some(("http", "control")) => replay_http(&block, |server| server.control.addr()),
            _ => panic!("{:?} is no form of an example", block.info),
        }
        replayed += 1;
    }
    assert!(replayed >= EXAMPLES_MIN, "only {replayed} examples were found");
}

fn replay_exchange(path: &str, block: &Block<'_>) {
    let server = Server::start();
    let mut client = server.connect(path);
    let mut is_open = true;
    for (number, line) in &block.lines {
        let place = format!("line {number}, {line}");
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        match sign {
            ">" | ">>" => client.send(message(sign, rest)).expect(&place),
            "<" | "<<" => {
                assert_eq!(client.read().expect(&place), message(&sign.replace('<', ">"), rest), "{place}")
            }
            ">!" => client.close(close_frame(rest)).expect(&place),
            "<!" => {
                assert_eq!(client.read().expect(&place), Message::Close(close_frame(rest)), "{place}");
                is_open = false;
            }
            other if other.starts_with('/') => {
                let (sign, rest) = rest.split_once(' ').expect(&place);
                server.elsewhere(other, message(sign, rest));
            }
            _ => panic!("{place}: no such form of a line"),
        }
    }
    if is_open {
        nothing_more_comes(&mut client);
        client.close(close_frame("1000")).expect("sent");
        assert_eq!(client.read().expect("a Close frame"), Message::Close(close_frame("1000")));
    }
    assert!(client.read().is_err(), "{path}: the connection ends");
}

/// What the server had to say comes at the latest with its turn after the first pong.
fn nothing_more_comes(client: &mut WebSocket<TcpStream>) {
    for payload in [&b"1"[..], b"2"] {
        client.send(Message::Ping(payload.into())).expect("sent");
        assert_eq!(
            client.read().expect("a pong"),
            Message::Pong(payload.into()),
            "the example ends too early"
        );
    }
}

/// A message as it stands behind `>` or `>>`.
fn message(sign: &str, text: &str) -> Message {
    match sign {
        ">" => Message::text(text),
        ">>" => {
            let byte =
                |digits| u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{digits:?} is no byte"));
            Message::binary(text.split(' ').map(byte).collect::<Vec<u8>>())
        }
        _ => panic!("{sign:?} sends nothing"),
    }
}

fn close_frame(text: &str) -> Option<CloseFrame> {
    if text.is_empty() {
        return None;
    }
    let (code, reason) = text.split_once(' ').unwrap_or((text, ""));
    let code: u16 = code.parse().unwrap_or_else(|_| panic!("{code:?} is no close code"));
    Some(CloseFrame { code: code.into(), reason: reason.to_owned().into() })
}

/// Replays requests one after the other, each on a connection of its own.
fn replay_http(block: &Block<'_>, addr_of: fn(&Server) -> SocketAddr) {
    let server = Server::start();
    let mut lines: VecDeque<_> = block.lines.iter().copied().collect();
    while let Some(&(number, _)) = lines.front() {
        let request = take_side(&mut lines, '>');
        let expected = take_side(&mut lines, '<');
        assert!(!request.is_empty() && !expected.is_empty(), "line {number}: a request and its reply");
        let (head, body) = ask(addr_of(&server), number, &request);
        // The page speaks of the default ports.
        let ports = [(server.engine.addr(), "127.0.0.1:9000"), (server.control.addr(), "127.0.0.1:9001")];
        let body = ports.iter().fold(body, |body, (addr, usual)| body.replace(&addr.to_string(), usual));
        compare(number, &expected, &head, &body);
    }
}

/// Takes the lines that begin with `sign` off the front, without it.
fn take_side<'a>(lines: &mut VecDeque<(usize, &'a str)>, sign: char) -> Vec<&'a str> {
    let mut side = Vec::new();
    while let Some(line) = lines.front().and_then(|(_, line)| line.strip_prefix(sign)) {
        side.push(line.strip_prefix(' ').unwrap_or(line));
        lines.pop_front();
    }
    side
}

/// Splits at the first empty line.
fn head_and_body<'a>(lines: &[&'a str]) -> (Vec<&'a str>, Option<Vec<&'a str>>) {
    match lines.iter().position(|line| line.is_empty()) {
        Some(at) => (lines[..at].to_vec(), Some(lines[at + 1..].to_vec())),
        None => (lines.to_vec(), None),
    }
}

/// Sends the request in line `number` of the page, completed. Returns the reply's head and body.
fn ask(addr: SocketAddr, number: usize, request: &[&str]) -> (String, String) {
    let (mut head, body) = head_and_body(request);
    let body = body.unwrap_or_default().join("\n");
    let has = |head: &[&str], name: &str| head.iter().any(|line| line.starts_with(name));
    let (host, length) = (format!("Host: {addr}"), format!("Content-Length: {}", body.len()));
    if !has(&head, "Host:") {
        head.push(&host);
    }
    if !body.is_empty() {
        head.push(&length);
    }
    if !has(&head, "Connection:") {
        head.push("Connection: close");
    }
    let mut stream = connect(addr);
    stream.write_all(format!("{}\r\n\r\n{body}", head.join("\r\n")).as_bytes()).expect("sent");
    read_reply(&mut stream, number)
}

fn read_reply(stream: &mut TcpStream, number: usize) -> (String, String) {
    let mut reply = Vec::new();
    loop {
        if let Some(end) = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8(reply[..end].to_vec()).expect("a head is ASCII");
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let body = &reply[end + 4..];
            if body.len() >= length.unwrap_or(0) {
                return (head, String::from_utf8(body.to_vec()).expect("a body in UTF-8"));
            }
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).expect("a reply");
        assert!(count > 0, "line {number}: the reply ended after {:?}", String::from_utf8_lossy(&reply));
        reply.extend_from_slice(&piece[..count]);
    }
}

fn compare(number: usize, expected: &[&str], head: &str, body: &str) {
    let (expected_head, expected_body) = head_and_body(expected);
    let mut lines = head.lines();
    assert_eq!(lines.next(), expected_head.first().copied(), "line {number}: the status; {body}");
    let lines: Vec<_> = lines.map(with_small_name).collect();
    for header in &expected_head[1..] {
        assert!(lines.contains(&with_small_name(header)), "line {number}: {header} is missing in {head}");
    }
    if let Some(expected_body) = expected_body {
        let body: Vec<_> = body.lines().collect();
        assert!(matches(&expected_body, &body), "line {number}: expected {expected_body:#?}, got {body:#?}");
    }
}

/// A header line with its name in lower case: names have no case.
fn with_small_name(header: &str) -> String {
    let (name, value) = header.split_once(':').unwrap_or((header, ""));
    format!("{}:{value}", name.to_ascii_lowercase())
}

/// Whether lines are as expected, where `...` stands for any number of lines.
fn matches(expected: &[&str], lines: &[&str]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((&"...", rest)) => (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..])),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, lines)| line == first && matches(rest, lines))
        }
    }
}

/// All error codes of `/stream`. Whoever adds one makes `is_listed` fail to compile, and adds it here and to the page.
const ERRORS: [ErrorCode; 14] = [
    ErrorCode::BadJson,
    ErrorCode::UnknownOp,
    ErrorCode::BadArgs,
    ErrorCode::UnknownField,
    ErrorCode::BadId,
    ErrorCode::BadTopic,
    ErrorCode::TooManySubscriptions,
    ErrorCode::NotSubscribed,
    ErrorCode::TooManyTopics,
    ErrorCode::BadKey,
    ErrorCode::PolicyNotAllowed,
    ErrorCode::TooManyKeys,
    ErrorCode::ValuesTooLarge,
    ErrorCode::ShuttingDown,
];

fn is_listed(code: ErrorCode) -> bool {
    match code {
        ErrorCode::BadJson
        | ErrorCode::UnknownOp
        | ErrorCode::BadArgs
        | ErrorCode::UnknownField
        | ErrorCode::BadId
        | ErrorCode::BadTopic
        | ErrorCode::TooManySubscriptions
        | ErrorCode::NotSubscribed
        | ErrorCode::TooManyTopics
        | ErrorCode::BadKey
        | ErrorCode::PolicyNotAllowed
        | ErrorCode::TooManyKeys
        | ErrorCode::ValuesTooLarge
        | ErrorCode::ShuttingDown => ERRORS.contains(&code),
    }
}

#[test]
fn the_page_has_every_error_with_its_sentence() {
    let page = page();
    for error in ERRORS {
        assert!(is_listed(error));
        let row = format!("| `{}` | {}", error.code(), error.message());
        assert!(page.lines().any(|line| line.starts_with(&row)), "there is no row {row:?}");
    }
}

#[test]
fn the_page_has_every_close_code_that_the_engine_sends() {
    let page = page();
    for code in [
        CloseCode::NORMAL,
        CloseCode::GOING_AWAY,
        CloseCode::PROTOCOL,
        CloseCode::UNSUPPORTED,
        CloseCode::INVALID_DATA,
        CloseCode::TOO_BIG,
        CloseCode::TRY_LATER,
        CloseCode::IDLE,
        CloseCode::SLOW,
    ] {
        let row = format!("| {code} |");
        assert!(page.lines().any(|line| line.starts_with(&row)), "there is no row {row:?}");
    }
}

#[test]
fn dots_stand_for_any_lines() {
    let check = |expected: &[&str], lines: &[&str], outcome| {
        assert_eq!(matches(expected, lines), outcome, "{expected:?}")
    };
    check(&["a"], &["a"], true);
    check(&["a"], &["b"], false);
    check(&["a"], &["a", "b"], false);
    check(&["...", "b"], &["a", "b"], true);
    check(&["...", "b"], &["b"], true);
    check(&["...", "b"], &["b", "c"], false);
    check(&["...", "b", "..."], &["a", "b", "c", "d"], true);
}
