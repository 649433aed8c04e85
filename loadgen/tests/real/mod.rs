//! Real servers, where this machine has them. Each is started for its test and ended after it.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::client::{Said, Socket};
use crate::{Case, check, check_apart, dialect, server};
use fanfare::Engine;
use fanfare::control::{Control, ControlConfig};
use fanfare_loadgen::dialect::Role;

/// A server's process and its directory, which both go when this is dropped.
struct Process {
    child: Child,
    folder: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked to end, so that a server with processes of its own ends those too.
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).stderr(Stdio::null()).status();
        if !asked.is_ok_and(|status| status.success()) {
            // Who has ended already cannot be ended, and that is well.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The first of these that is there.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    if found.is_none() {
        println!("skipped: {name} is not installed");
    }
    found
}

/// An address that nobody listens on.
fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    listener.local_addr().expect("an address")
}

/// Starts a program with its configuration in a file, and waits until it listens.
fn start(program: &Path, addr: SocketAddr, configuration: &str, arguments: &[&str]) -> Process {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = std::env::temp_dir().join(format!("fanfare-dialects-{name}-{}", addr.port()));
    fs::create_dir_all(&folder).expect("a directory");
    let file = folder.join("server.conf");
    fs::write(&file, configuration.replace("FOLDER", &folder.to_string_lossy())).expect("a file");
    let child = Command::new(program)
        .args(arguments)
        .arg("-c")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("errors")).expect("a file"))
        .spawn()
        .expect("a process");
    let mut process = Process { child, folder };
    while TcpStream::connect(addr).is_err() {
        let ended = process.child.try_wait().expect("a process");
        let errors = fs::read_to_string(process.folder.join("errors")).unwrap_or_default();
        assert_eq!(ended, None, "{name} ended: {errors}");
        thread::sleep(Duration::from_millis(10));
    }
    process
}

#[test]
fn nats_server() {
    let Some(program) = find("nats-server") else { return };
    let (addr, plain) = (free_addr(), free_addr());
    let configuration = format!(
        "listen: \"{plain}\"\nwebsocket {{ listen: \"{addr}\", no_tls: true }}\n\
         authorization {{ user: me, password: secret, timeout: 60 }}\n"
    );
    let _process = start(&program, addr, &configuration, &[]);
    let known = dialect("nats", &[("user", "me"), ("password", "secret")]);
    check(&Case {
        dialect: known.clone(),
        addr,
        subscribe: "/",
        publish: ("ws", "/"),
        topic: "a.topic",
        text: false,
        payload_bytes_max: 200_000,
    });
    let mut stranger = Socket::connect(&dialect("nats", &[]), addr, "/", Role::Subscriber, "a.topic");
    assert_eq!(stranger.next(), Said::Refused("Authorization Violation".to_owned()));
    let mut confused = Socket::connect(&known, addr, "/", Role::Subscriber, "a..topic");
    assert_eq!(confused.next(), Said::Refused("Invalid Subject".to_owned()));
}

/// With a plain listener too: there are versions that do not start without one.
fn mosquitto_configuration(addr: SocketAddr, lets_all_in: bool) -> String {
    let (plain, port) = (free_addr().port(), addr.port());
    format!(
        "listener {plain} 127.0.0.1\nlistener {port} 127.0.0.1\nprotocol websockets\nallow_anonymous {lets_all_in}\nset_tcp_nodelay true\n"
    )
}

#[test]
fn mosquitto() {
    let Some(program) = find("mosquitto") else { return };
    let addr = free_addr();
    let _process = start(&program, addr, &mosquitto_configuration(addr, true), &[]);
    check(&Case {
        dialect: dialect("mqtt", &[]),
        addr,
        subscribe: "/mqtt",
        publish: ("ws", "/mqtt"),
        topic: "a/topic",
        text: false,
        payload_bytes_max: 20_000,
    });
}

#[test]
fn mosquitto_refuses() {
    let Some(program) = find("mosquitto") else { return };
    let addr = free_addr();
    let _process = start(&program, addr, &mosquitto_configuration(addr, false), &[]);
    let wrong = dialect("mqtt", &[("user", "me"), ("password", "wrong")]);
    let mut stranger = Socket::connect(&wrong, addr, "/mqtt", Role::Subscriber, "a/topic");
    assert_eq!(stranger.next(), Said::Refused("not authorised (code 5)".to_owned()));
}

#[test]
fn nginx_with_nchan() {
    const MODULES: [&str; 3] =
        ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/lib/nginx/modules"];
    let Some(program) = find("nginx") else { return };
    let modules = MODULES.iter().map(|folder| Path::new(folder).join("ngx_nchan_module.so"));
    let Some(module) = modules.into_iter().find(|module| module.is_file()) else {
        return println!("skipped: nginx has no module for Nchan");
    };
    let addr = free_addr();
    let configuration = format!(
        "load_module {module};
        daemon off;
        worker_processes 1;
        user root;
        pid FOLDER/pid;
        error_log FOLDER/error.log;
        events {{ }}
        http {{
            access_log off;
            client_body_temp_path FOLDER/body;
            proxy_temp_path FOLDER/proxy;
            fastcgi_temp_path FOLDER/fastcgi;
            uwsgi_temp_path FOLDER/uwsgi;
            scgi_temp_path FOLDER/scgi;
            server {{
                listen {addr};
                location ~ ^/sub/(.+)$ {{
                    nchan_subscriber websocket;
                    nchan_subscriber_first_message newest;
                    nchan_channel_id $1;
                }}
                location ~ ^/pub/(.+)$ {{
                    nchan_publisher;
                    nchan_channel_id $1;
                    nchan_message_timeout 10s;
                }}
            }}
        }}",
        module = module.display(),
    );
    let _process = start(&program, addr, &configuration, &["-e", "stderr"]);
    for (publish, text) in [("http", false), ("http", true), ("ws", false), ("ws", true)] {
        check(&Case {
            dialect: dialect("nchan", &[]),
            addr,
            subscribe: &format!("/sub/{publish}{text}"),
            publish: (publish, &format!("/pub/{publish}{text}")),
            topic: "",
            text,
            payload_bytes_max: 100_000,
        });
    }
}

#[test]
fn sockudo() {
    let Some(program) = find("sockudo") else { return };
    let addr = free_addr();
    let (key, secret) = (server::PUSHER_KEY, server::PUSHER_SECRET);
    let app = serde_json::json!({
        "id": "1", "key": key, "secret": secret, "enabled": true, "enable_client_messages": true,
        "max_connections": 100, "max_client_events_per_second": 1_000_000,
    });
    let configuration = serde_json::json!({
        "host": "127.0.0.1", "port": addr.port(), "metrics": {"enabled": false},
        "adapter": {"driver": "local"}, "cache": {"driver": "memory"}, "queue": {"driver": "memory"},
        "rate_limiter": {"enabled": false}, "shutdown_grace_period": 0,
        "app_manager": {"driver": "memory", "array": {"apps": [app]}},
    });
    let _process = start(&program, addr, &configuration.to_string(), &[]);
    let app = format!("/app/{key}?protocol=7");
    let pusher = dialect("pusher", &[("key", key), ("secret", secret)]);
    for (publish, topic) in [(("ws", &*app), "private-demo"), (("http", "/apps/1/events"), "demo")] {
        let dialect = pusher.clone();
        check(&Case { dialect, addr, subscribe: &app, publish, topic, text: true, payload_bytes_max: 8_000 });
    }
    let liar = dialect("pusher", &[("key", key), ("secret", "wrong")]);
    let mut liar = Socket::connect(&liar, addr, &app, Role::Subscriber, "private-demo");
    assert!(matches!(liar.next(), Said::Refused(_)));
}

#[test]
fn fanfare() {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let builder = Engine::builder().listen(local).shards(1).pin(false).receive_buffers(256, 4096);
    let engine = builder.start().expect("an engine");
    let control = Control::start(
        &engine,
        ControlConfig { listen: local, body_bytes_max: 1 << 20, ..ControlConfig::default() },
    );
    let control = control.expect("a control port");
    for (name, subscribe, publish, topic, text) in [
        ("raw", "/ws/a", ("ws", "/pub/a"), "", true),
        ("raw", "/ws/b", ("ws", "/pub/b"), "", false),
        ("raw", "/ws/c", ("http", "/topics/c"), "", true),
        ("raw", "/ws/d", ("http", "/topics/d"), "", false),
        ("stream", "/stream", ("ws", "/stream"), "a \"topic\"", true),
        ("stream", "/stream", ("http", "/topics/e"), "e", true),
        ("stream", "/stream", ("http", "/topics/f"), "f", false),
    ] {
        let (dialect, addr) = (dialect(name, &[]), engine.addr());
        let publish_addr = if publish.0 == "http" { control.addr() } else { addr };
        let case = Case { dialect, addr, subscribe, publish, topic, text, payload_bytes_max: 100_000 };
        check_apart(&case, publish_addr);
    }
    let mut refused =
        Socket::connect(&dialect("stream", &[]), engine.addr(), "/stream", Role::Subscriber, " x");
    assert!(matches!(refused.next(), Said::Refused(reason) if reason.ends_with("(code bad_topic)")));
}
