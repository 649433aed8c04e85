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
use tungstenite::http::HeaderMap;
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
        let config = Config { connections_max: 64, log_messages_max: 4, ..Config::default() };
        let builder = Engine::builder().listen(any_port).shards(1).pin(false).receive_buffers(16, 4096);
        let engine = builder.config(config).start().expect("the engine starts");
        let control_config =
            ControlConfig { listen: any_port, body_bytes_max: 1 << 20, ..ControlConfig::default() };
        let control = Control::start(&engine, control_config).expect("the control port starts");
        Self { control, engine }
    }

    /// Connects to `path`. Returns the headers of the 101 reply too.
    fn connect(&self, path: &str) -> (WebSocket<TcpStream>, HeaderMap) {
        let stream = connect(self.engine.addr());
        let url = format!("ws://{}{path}", self.engine.addr());
        let (client, reply) =
            tungstenite::client(&url, stream).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        (client, reply.into_parts().0.headers)
    }

    /// Connects to `path`, sends one message, and closes. The server has handled it when this returns.
    fn elsewhere(&self, path: &str, message: Message) {
        let (mut client, _) = self.connect(path);
        client.send(message).expect("sent");
        leave(client);
    }
}

/// Closes a connection. The server has handled all that it sent when this returns.
fn leave(mut client: WebSocket<TcpStream>) {
    client.close(None).expect("sent");
    while client.read().is_ok() {}
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

/// The epochs of an example. Those on the page are made up, those of the server differ each time: an epoch on the page
/// stands for the one that the server said where the page has it first, from then on and in both directions.
#[derive(Default)]
struct Epochs {
    /// Each as it is on the page, and as the server said it.
    pairs: Vec<(String, String)>,
}

impl Epochs {
    /// What a client says, for the server.
    fn for_server(&self, text: &str) -> String {
        self.pairs.iter().fold(text.to_owned(), |text, (page, said)| text.replace(page, said))
    }

    /// What the server says where the page has `expected`, as it would stand on the page.
    fn on_page(&mut self, expected: &str, said: &str) -> String {
        for (page, said) in epochs_in(expected).into_iter().zip(epochs_in(said)) {
            if !self.pairs.iter().any(|pair| pair.0 == page || pair.1 == said) {
                self.pairs.push((page.to_owned(), said.to_owned()));
            }
        }
        self.pairs.iter().fold(said.to_owned(), |text, (page, said)| text.replace(said, page))
    }
}

/// The epochs in a text: 16 digits behind the word, in JSON, in a query or in a header.
fn epochs_in(text: &str) -> Vec<&str> {
    let behind = text.match_indices("poch").map(|(at, word)| &text[at + word.len()..]);
    let behind = behind.map(|rest| rest.trim_start_matches(['"', ':', '=', ' ']));
    behind
        .filter_map(|rest| rest.get(..16))
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .collect()
}

/// The connection that an exchange shows.
struct Client {
    socket: WebSocket<TcpStream>,
    /// Of the 101 reply.
    headers: HeaderMap,
    is_open: bool,
}

impl Client {
    fn connect(server: &Server, path: &str) -> Self {
        let (socket, headers) = server.connect(path);
        Self { socket, headers, is_open: true }
    }

    /// Reads what stands on the page behind `sign`.
    fn expect(&mut self, place: &str, sign: &str, text: &str, epochs: &mut Epochs) {
        let said = match self.socket.read().expect(place) {
            Message::Text(said) => Message::text(epochs.on_page(text, &said)),
            said => said,
        };
        let expected = match sign {
            "<!" => Message::Close(close_frame(text)),
            "<~" => Message::Pong(text.to_owned().into()),
            _ => message(&sign.replace('<', ">"), text),
        };
        assert_eq!(said, expected, "{place}");
        self.is_open = sign != "<!";
    }

    /// Checks a header of the 101 reply.
    fn expect_header(&self, place: &str, header: &str, epochs: &mut Epochs) {
        let (name, _) = header.split_once(": ").expect(place);
        let value = self.headers.get(name).unwrap_or_else(|| panic!("{place}: not in {:?}", self.headers));
        let said = format!("{name}: {}", value.to_str().expect(place));
        assert_eq!(epochs.on_page(header, &said), header, "{place}");
    }

    /// It has said all, and its connection is cut.
    fn cut(mut self) {
        nothing_more_comes(&mut self.socket);
    }

    /// It has said all, and its connection is closed, unless it was.
    fn finish(mut self) {
        if self.is_open {
            nothing_more_comes(&mut self.socket);
            self.socket.close(close_frame("1000")).expect("sent");
            assert_eq!(self.socket.read().expect("a Close frame"), Message::Close(close_frame("1000")));
        }
        assert!(self.socket.read().is_err(), "the connection ends");
    }
}

fn replay_exchange(path: &str, block: &Block<'_>) {
    let server = Server::start();
    let mut epochs = Epochs::default();
    let mut connected = Some(Client::connect(&server, path));
    let mut others = Vec::new();
    for (number, line) in &block.lines {
        let place = format!("line {number}, {line}");
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        if sign.starts_with('/') {
            elsewhere(&server, &mut others, &place, sign, &epochs.for_server(rest));
            continue;
        }
        if sign == "==" {
            assert!(connected.is_none(), "{place}: there is a connection");
            connected = Some(Client::connect(&server, &epochs.for_server(rest)));
            continue;
        }
        if sign == "!!" {
            connected.take().expect(&place).cut();
            continue;
        }
        let client = connected.as_mut().expect(&place);
        match sign {
            ">" | ">>" => client.socket.send(message(sign, &epochs.for_server(rest))).expect(&place),
            ">!" => client.socket.close(close_frame(rest)).expect(&place),
            "<" | "<<" | "<~" | "<!" => client.expect(&place, sign, rest, &mut epochs),
            "<:" => client.expect_header(&place, rest, &mut epochs),
            _ => panic!("{place}: no such form of a line"),
        }
    }
    connected.expect("an example ends with a connection").finish();
}

/// What others do: connect and stay, leave again, or send a message on a connection for that alone.
fn elsewhere(
    server: &Server,
    others: &mut Vec<(String, WebSocket<TcpStream>)>,
    place: &str,
    path: &str,
    what: &str,
) {
    match what {
        "opens" => others.push((path.to_owned(), server.connect(path).0)),
        "closes" => {
            let at = others.iter().position(|(other, _)| other == path).expect(place);
            leave(others.remove(at).1);
        }
        _ => {
            let (sign, text) = what.split_once(' ').expect(place);
            server.elsewhere(path, message(sign, text));
        }
    }
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
    let mut epochs = Epochs::default();
    let mut lines: VecDeque<_> = block.lines.iter().copied().collect();
    while let Some(&(number, _)) = lines.front() {
        let request = take_side(&mut lines, '>');
        let expected = take_side(&mut lines, '<');
        assert!(!request.is_empty() && !expected.is_empty(), "line {number}: a request and its reply");
        let request: Vec<_> = request.iter().map(|line| epochs.for_server(line)).collect();
        let request: Vec<_> = request.iter().map(String::as_str).collect();
        let (head, body) = ask(addr_of(&server), number, &request);
        // The page speaks of the default ports.
        let ports = [(server.engine.addr(), "127.0.0.1:9000"), (server.control.addr(), "127.0.0.1:9001")];
        let body = ports.iter().fold(body, |body, (addr, usual)| body.replace(&addr.to_string(), usual));
        compare(number, &expected, &head, &body, &mut epochs);
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

fn compare(number: usize, expected: &[&str], head: &str, body: &str, epochs: &mut Epochs) {
    let (expected_head, expected_body) = head_and_body(expected);
    let mut lines = head.lines();
    assert_eq!(lines.next(), expected_head.first().copied(), "line {number}: the status; {body}");
    let lines: Vec<_> = lines.map(with_small_name).collect();
    for header in expected_head[1..].iter().map(|header| with_small_name(header)) {
        let fits = |line: &String| epochs.on_page(&header, line) == header;
        let (name, _) = header.split_once(':').expect("a header has a name");
        let mut same = lines.iter().filter(|line| line.split_once(':').is_some_and(|(line, _)| line == name));
        assert!(same.any(fits), "line {number}: {header} is missing in {head}");
    }
    if let Some(expected_body) = expected_body {
        let body = epochs.on_page(&expected_body.join("\n"), body);
        let body: Vec<_> = body.lines().map(without_log_bytes).collect();
        let expected_body: Vec<_> = expected_body.into_iter().map(without_log_bytes).collect();
        assert!(matches(&expected_body, &body), "line {number}: expected {expected_body:#?}, got {body:#?}");
    }
}

/// A line without the numbers of `log_bytes`: the page says that they are examples.
fn without_log_bytes(line: &str) -> String {
    let mut parts = line.split("\"log_bytes\":");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| {
        let rest = part.trim_start_matches(|digit: char| digit.is_ascii_digit());
        assert!(rest.len() < part.len(), "{part:?} begins with a number");
        line + "\"log_bytes\":N" + rest
    })
}

/// A header line with its name in lower case: names have no case.
fn with_small_name(header: &str) -> String {
    let (name, value) = header.split_once(':').unwrap_or((header, ""));
    format!("{}:{value}", name.to_ascii_lowercase())
}

/// Whether lines are as expected, where `...` stands for any number of lines.
fn matches(expected: &[String], lines: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..]))
        }
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
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let check = |expected: &[&str], lines: &[&str], outcome| {
        assert_eq!(matches(&owned(expected), &owned(lines)), outcome, "{expected:?}")
    };
    check(&["a"], &["a"], true);
    check(&["a"], &["b"], false);
    check(&["a"], &["a", "b"], false);
    check(&["...", "b"], &["a", "b"], true);
    check(&["...", "b"], &["b"], true);
    check(&["...", "b"], &["b", "c"], false);
    check(&["...", "b", "..."], &["a", "b", "c", "d"], true);
}

#[test]
fn an_epoch_of_the_page_stands_for_the_one_that_was_said_there_first() {
    let mut epochs = Epochs::default();
    let (one, other) = ("1111111111111111", "2222222222222222");
    let (said, said_later) = ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb");
    let json = |epoch| format!("{{\"topic\":\"a\",\"epoch\":\"{epoch}\",\"seq\":0}}");
    assert_eq!(epochs.for_server(&json(one)), json(one), "nothing is known of it yet");
    assert_eq!(epochs.on_page(&json(one), &json(said)), json(one));
    assert_eq!(epochs.for_server(&json(one)), json(said));
    let header = |epoch| format!("fanfare-epoch: {epoch}");
    assert_eq!(epochs.on_page(&header(one), &header(said)), header(one));
    assert_ne!(epochs.on_page(&header(one), &header(said_later)), header(one), "one stands for one");
    assert_ne!(epochs.on_page(&header(other), &header(said)), header(other), "one is stood for by one");
    let query = |epoch| format!("since=1&epoch={epoch}");
    assert_eq!(epochs.on_page(&query(other), &query(said_later)), query(other));
    assert_eq!(epochs.for_server(&query(other)), query(said_later));
}
