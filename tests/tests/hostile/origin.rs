//! Pages of other sites in the browsers of those who can reach the server.

use fanfare_tests::raw::{Raw, head_with};

use crate::Scene;

/// The status for a page of this origin.
fn status_for(scene: &Scene, origin: &str) -> u16 {
    let mut raw = Raw::tcp(scene.program.addr());
    raw.write(&head_with("/ws/t", &format!("Origin: {origin}\r\n")));
    let head = raw.read_head();
    head[9..12].parse().expect("a status")
}

#[test]
fn pages_of_other_sites_are_refused() {
    let scene = Scene::start("--shards 2");
    // On a loopback address only pages of this machine may connect.
    let refused = [
        "https://evil.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "https://evil.example#http://localhost",
        "null",
        "localhost",
        "file://",
    ];
    for origin in refused {
        assert_eq!(status_for(&scene, origin), 403, "{origin}");
    }
    assert_eq!(scene.program.count("origin_refused"), refused.len() as u64);
    for origin in ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443"] {
        assert_eq!(status_for(&scene, origin), 101, "{origin}");
    }
    scene.end();

    let scene = Scene::start("--shards 2 --origins-allowed https://good.example,https://*.good.example");
    let cases = [
        ("https://good.example", 101),
        ("https://a.b.good.example", 101),
        ("http://good.example", 403),
        ("https://good.example:444", 403),
        ("https://notgood.example", 403),
        ("https://good.example.evil.example", 403),
        ("http://localhost", 403),
    ];
    for (origin, status) in cases {
        assert_eq!(status_for(&scene, origin), status, "{origin}");
    }
    scene.end();
}
