//! Which pages may connect: rules against origins, and how rules are written.

use fanfare_wire::origin::{OriginRule, OriginRuleError, Origins};
use proptest::prelude::*;

fn rule(text: &str) -> OriginRule {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Held against connections to `stream.example:9000`.
#[track_caller]
fn check(rules: &str, allowed: &[&str], refused: &[&str]) {
    let origins: Origins = rules.split_whitespace().map(rule).collect();
    for origin in allowed {
        assert!(origins.allows(origin, "stream.example:9000"), "{rules} allows {origin}");
    }
    for origin in refused {
        assert!(!origins.allows(origin, "stream.example:9000"), "{rules} refuses {origin}");
    }
}

/// What is no origin: nothing but `*` allows it.
const INVALID: &[&str] = &[
    "",
    " ",
    "https",
    "https:",
    "https://",
    "//app.example",
    "app.example",
    "https:/app.example",
    "https://app.example/",
    "https://app.example/x",
    "https://app.example?x",
    "https://app.example#x",
    "https://user@app.example",
    "https://user:pass@app.example",
    "https://app.example:",
    "https://app.example:0",
    "https://app.example:65536",
    "https://app.example:443x",
    "https://app.example:+443",
    "https://app.example:443:443",
    "https://app..example",
    "https://.app.example",
    "https://app.example..",
    "https://app example",
    " https://app.example",
    "https://app.example ",
    "https://app.example https://app.example",
    "https://app.example, https://app.example",
    "https://*.app.example",
    "https://äpp.example",
    "https://app%2eexample",
    "https://app.example\\",
    "https://[::1",
    "https://::1",
    "https://[::1]x",
    "https://[]",
    "https://[app.example]",
    "https://[127.0.0.1]",
    "https://[fe80::1%25eth0]",
    "1https://app.example",
    "ht tps://app.example",
    "://app.example",
    "null://",
    "NULL",
    "null ",
    "\u{0}",
];

#[test]
fn any() {
    check("*", INVALID, &[]);
    check("*", &["null", "https://app.example", "chrome-extension://abc"], &[]);
}

#[test]
fn null() {
    check("null", &["null"], INVALID);
    check("null", &[], &["https://app.example", "https://null", "file://"]);
    check("local same-host https://app.example", &[], &["null"]);
}

#[test]
fn local() {
    let allowed = [
        "http://localhost",
        "https://localhost",
        "http://localhost:3000",
        "HTTP://LocalHost:3000",
        "http://127.0.0.1:8080",
        "http://127.0.0.1",
        "http://127.255.255.254",
        "http://[::1]:5173",
        "http://[0:0:0:0:0:0:0:1]",
        "https://[::1]",
    ];
    let refused = [
        "http://localhost.example",
        "http://localhost.",
        "http://notlocalhost",
        "http://sub.localhost",
        "http://127.0.0.1.example",
        "http://127.1",
        "http://2130706433",
        "http://128.0.0.1",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://[::2]",
        "http://[::]",
        "http://[::ffff:127.0.0.1]",
        "https://stream.example",
        "capacitor://localhost",
        "chrome-extension://localhost",
        "null",
    ];
    check("local", &allowed, &refused);
    check("local", &[], INVALID);
    let default = Origins::default();
    assert!(allowed.iter().all(|origin| default.allows(origin, "h")));
    assert!(!refused.iter().any(|origin| default.allows(origin, "h")));
    assert_eq!(default.rules().collect::<Vec<_>>(), [&OriginRule::Local]);
}

#[test]
fn same_host() {
    check(
        "same-host",
        &[
            "http://stream.example",
            "https://stream.example",
            "https://stream.example:8443",
            "https://STREAM.example",
        ],
        &[
            "https://app.example",
            "https://a.stream.example",
            "https://example",
            "https://stream.example.",
            "https://stream.example.evil.example",
            "capacitor://stream.example",
            "null",
        ],
    );
    check("same-host", &[], INVALID);
    let origins: Origins = [OriginRule::SameHost].into_iter().collect();
    for (origin, host, allowed) in [
        ("https://a.example", "A.EXAMPLE", true),
        ("https://a.example", "a.example:443", true),
        ("http://10.0.0.1:80", "10.0.0.1:9000", true),
        ("http://10.0.0.1", "10.0.0.2", false),
        ("http://[::1]:80", "[::1]:9000", true),
        ("http://[0::1]", "[::1]", true),
        ("http://[::1]", "[::2]:9000", false),
        ("http://[::1]", "::1", false),
        ("https://a.example", "", false),
        ("https://a.example", "a.example:x", false),
        ("https://a.example", "u@a.example", false),
        ("", "", false),
        ("https://", "", false),
    ] {
        assert_eq!(origins.allows(origin, host), allowed, "{origin} to {host}");
    }
}

#[test]
fn sites() {
    check(
        "https://app.example",
        &["https://app.example", "https://app.example:443", "HTTPS://APP.Example"],
        &[
            "http://app.example",
            "https://app.example:8443",
            "https://app.example:80",
            "http://app.example:443",
            "wss://app.example",
            "https://a.app.example",
            "https://app.example.",
            "https://app.example.evil.example",
            "https://evilapp.example",
            "https://xn--pp-via.example",
            "null",
        ],
    );
    check("https://app.example", &[], INVALID);
    check(
        "http://app.example:80",
        &["http://app.example", "http://app.example:80"],
        &["http://app.example:8080", "https://app.example"],
    );
    check(
        "https://App.Example:8443",
        &["https://app.example:8443"],
        &["https://app.example", "http://app.example:8443"],
    );
    check(
        "http://192.0.2.1:3000",
        &["http://192.0.2.1:3000"],
        &["http://192.0.2.1", "http://192.0.2.10:3000"],
    );
    check(
        "http://[2001:DB8::1]",
        &["http://[2001:db8:0::1]"],
        &["http://[2001:db8::2]", "http://[2001:db8::1]:81"],
    );
    check("chrome-extension://abc", &["chrome-extension://abc"], &["chrome-extension://abcd", "https://abc"]);
    check(
        "capacitor://localhost",
        &["capacitor://localhost"],
        &["capacitor://localhost:1", "http://localhost"],
    );
}

#[test]
fn subdomains() {
    check(
        "https://*.app.example",
        &[
            "https://a.app.example",
            "https://a.b.app.example",
            "https://A.APP.EXAMPLE:443",
            "https://xn--pp-via.app.example",
        ],
        &[
            "https://app.example",
            "https://.app.example",
            "https://aapp.example",
            "https://a-app.example",
            "http://a.app.example",
            "https://a.app.example:8443",
            "https://a.app.example.evil.example",
            "https://a.app.example.",
            "null",
        ],
    );
    check("https://*.app.example", &[], INVALID);
    check(
        "http://*.localhost:3000",
        &["http://a.localhost:3000"],
        &["http://localhost:3000", "http://a.localhost"],
    );
}

#[test]
fn several_rules() {
    check(
        "local https://a.example https://*.b.example",
        &["http://localhost:1", "https://a.example", "https://x.b.example"],
        &["https://b.example", "http://a.example", "https://stream.example"],
    );
    check("", &[], &["https://a.example", "null", "http://localhost", ""]);
}

#[test]
fn rules_read_and_write() {
    for (text, written) in [
        ("*", "*"),
        ("local", "local"),
        ("same-host", "same-host"),
        ("null", "null"),
        ("https://app.example", "https://app.example"),
        ("HTTPS://App.Example:443", "https://app.example"),
        ("http://app.example:443", "http://app.example:443"),
        ("https://*.app.example:8443", "https://*.app.example:8443"),
        ("http://[2001:DB8:0::1]:80", "http://[2001:db8::1]"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("chrome-extension://abc", "chrome-extension://abc"),
    ] {
        assert_eq!(rule(text).to_string(), written);
        assert_eq!(rule(written), rule(text));
    }
    let bad: &[(&str, OriginRuleError)] = &[
        ("", OriginRuleError::Word),
        ("Local", OriginRuleError::Word),
        ("localhost", OriginRuleError::Word),
        ("app.example", OriginRuleError::Word),
        ("**", OriginRuleError::Word),
        ("1://app.example", OriginRuleError::Word),
        ("://app.example", OriginRuleError::Word),
        ("https://app.example/", OriginRuleError::NotOrigin),
        ("https://app.example/x", OriginRuleError::NotOrigin),
        ("https://app.example?x", OriginRuleError::NotOrigin),
        ("https://u@app.example", OriginRuleError::NotOrigin),
        ("https://", OriginRuleError::Host),
        ("https://äpp.example", OriginRuleError::Host),
        ("https://a..example", OriginRuleError::Host),
        ("https://a b", OriginRuleError::Host),
        ("https://[::1", OriginRuleError::Host),
        ("https://*.", OriginRuleError::Host),
        ("https://app.example:", OriginRuleError::Port),
        ("https://app.example:0", OriginRuleError::Port),
        ("https://app.example:65536", OriginRuleError::Port),
        ("https://app.example:-1", OriginRuleError::Port),
        ("https://app.example:*", OriginRuleError::Wildcard),
        ("https://*", OriginRuleError::Wildcard),
        ("https://a.*.example", OriginRuleError::Wildcard),
        ("https://*app.example", OriginRuleError::Wildcard),
        ("https://*.*.example", OriginRuleError::Wildcard),
        ("https://*.127.0.0.1", OriginRuleError::Wildcard),
        ("https://*.[::1]", OriginRuleError::Wildcard),
        ("*://app.example", OriginRuleError::Wildcard),
    ];
    for (text, error) in bad {
        assert_eq!(text.parse::<OriginRule>(), Err(*error), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(text in "(http|https|x-y)://(\\*\\.)?[a-zA-Z0-9.-]{1,20}(:[0-9]{1,5})?") {
        if let Ok(rule) = text.parse::<OriginRule>() {
            let written = rule.to_string();
            prop_assert_eq!(written.parse::<OriginRule>(), Ok(rule.clone()));
            // A site allows itself, unless it is what is below it.
            let origins: Origins = [rule].into_iter().collect();
            prop_assert_eq!(origins.allows(&written, "h"), !written.contains('*'));
            prop_assert_eq!(origins.allows(&written.replace('*', "sub"), "h"), true);
        }
    }

    #[test]
    fn survives_anything(rules in proptest::collection::vec("\\PC{0,30}", 0..3), origin in "\\PC{0,40}", host in "\\PC{0,20}") {
        let rules = rules.iter().filter_map(|text| text.parse().ok());
        let mut all: Vec<OriginRule> = rules.collect();
        all.extend([OriginRule::Local, OriginRule::SameHost]);
        let origins: Origins = all.into_iter().collect();
        let _ = origins.allows(&origin, &host);
        let _ = origins.allows(&format!("https://{origin}"), &origin);
    }
}
