//! Topic patterns: what is one, and which names it describes.

use fanfare_wire::pattern::{PATTERN_BYTES_MAX, PatternError, TopicPattern};
use proptest::prelude::*;

#[test]
fn patterns() {
    for text in ["*", "**", "a", " a ", "prices.*", "é*€", &"*".repeat(PATTERN_BYTES_MAX)] {
        let pattern = TopicPattern::parse(text).unwrap();
        assert_eq!((pattern.as_str(), pattern.to_string()), (text, text.to_owned()));
        assert_eq!(text.parse(), Ok(pattern));
    }
    let table: &[(&str, PatternError)] = &[
        ("", PatternError::Empty),
        (&"x".repeat(129), PatternError::TooLong),
        (&"é".repeat(65), PatternError::TooLong),
        ("a\n*", PatternError::ControlCharacter),
        ("\u{85}", PatternError::ControlCharacter),
    ];
    for (text, error) in table {
        assert_eq!(TopicPattern::parse(text), Err(*error), "{text:?}");
        assert!(error.to_string().starts_with("a topic pattern "));
    }
}

#[test]
fn matching() {
    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let parsed = TopicPattern::parse(pattern).unwrap();
        for name in matching {
            assert!(parsed.matches(name), "{pattern} describes {name}");
        }
        for name in others {
            assert!(!parsed.matches(name), "{pattern} does not describe {name}");
        }
    }
    check("a", &["a"], &["", "b", "aa", "A", "*"]);
    check("*", &["", "a", "*", "a.b/c", "é"], &[]);
    check("**", &["", "a", "ab"], &[]);
    check("prices.*", &["prices.", "prices.EURUSD", "prices.a.b"], &["prices", "price.a", "xprices.a"]);
    check("*.eu", &["a.eu", ".eu", ".eu.eu"], &["eu", "a.eu2", "a.EU"]);
    check("a*b", &["ab", "a*b", "axb", "abb", "abab"], &["a", "b", "aba", "xab"]);
    check("a*b*c", &["abc", "axbxc", "abcbc", "abbc"], &["ac", "acb", "abcb", "bc"]);
    check("*a*", &["a", "ba", "ab", "bab"], &["", "b"]);
    check("a.?[b]", &["a.?[b]"], &["a.xb", "a.xx"]);
    check("é*", &["é", "éa"], &["e", "è"]);
    check("*é", &["aé", "éé"], &["ê"]);
    check(&"x".repeat(128), &[&"x".repeat(128)], &[&"x".repeat(127), &"x".repeat(129)]);
}

/// Backtracking to every star would not end before the machine is scrapped.
#[test]
fn many_stars_are_no_trap() {
    let pattern = TopicPattern::parse(&format!("{}b", "a*".repeat(63))).unwrap();
    let name = "a".repeat(128);
    assert!(!pattern.matches(&name));
    assert!(pattern.matches(&format!("{name}b")));
}

/// The definition, word for word, over characters.
fn reference(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|covered| reference(rest, &name[covered..])),
        [first, rest @ ..] => name.first() == Some(first) && reference(rest, &name[1..]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_definition(pattern in "[*abéè]{1,7}", name in "[abéè]{0,9}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let expected = reference(&chars(&pattern), &chars(&name));
        prop_assert_eq!(TopicPattern::parse(&pattern).unwrap().matches(&name), expected);
    }

    /// Stars put over parts of a name describe it.
    #[test]
    fn a_name_with_parts_covered_is_described(name in "[ab]{1,20}", stars in proptest::collection::vec((0..20_usize, 0..20_usize), 0..4)) {
        let mut pattern = name.clone();
        for (from, to) in stars {
            let (from, to) = (from.min(to).min(pattern.len()), from.max(to).min(pattern.len()));
            pattern.replace_range(from..to, "*");
        }
        prop_assert!(TopicPattern::parse(&pattern).unwrap().matches(&name), "{} {}", pattern, name);
    }

    #[test]
    fn any_name_survives(pattern in "\\PC{1,20}", name in any::<String>()) {
        if let Ok(pattern) = TopicPattern::parse(&pattern) {
            let _ = pattern.matches(&name);
        }
    }
}
