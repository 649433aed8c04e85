//! Topic names: what is one, and how it travels in a URL's path.

use std::collections::HashMap;

use fanfare_wire::topic::{TOPIC_NAME_BYTES_MAX, TopicName, TopicNameError};
use proptest::prelude::*;

#[test]
fn names() {
    for name in ["a", "a b", "a/b", "a,b", "é€😀", "..", "%41", "\u{200b}", &"x".repeat(TOPIC_NAME_BYTES_MAX)]
    {
        let topic = TopicName::parse(name).unwrap();
        assert_eq!((&*topic, topic.to_string(), topic.as_str()), (name, name.to_owned(), name));
        assert_eq!(format!("{topic:?}"), format!("{name:?}"));
    }
    let table: &[(&str, TopicNameError)] = &[
        ("", TopicNameError::Empty),
        (&"x".repeat(129), TopicNameError::TooLong),
        (&"é".repeat(65), TopicNameError::TooLong),
        ("a\0", TopicNameError::ControlCharacter),
        ("a\nb", TopicNameError::ControlCharacter),
        ("a\u{7f}", TopicNameError::ControlCharacter),
        ("a\u{85}", TopicNameError::ControlCharacter),
        (" ", TopicNameError::OuterSpace),
        (" a", TopicNameError::OuterSpace),
        ("a ", TopicNameError::OuterSpace),
        ("a\u{a0}", TopicNameError::OuterSpace),
        ("\u{3000}a", TopicNameError::OuterSpace),
    ];
    for (name, error) in table {
        assert_eq!(TopicName::parse(name), Err(*error), "{name:?}");
    }
}

#[test]
fn path_segments() {
    let check = |segment: &str, expected: Result<&str, TopicNameError>| {
        let parsed = TopicName::from_path_segment(segment);
        assert_eq!(parsed.as_deref().map_err(|error| *error), expected, "{segment:?}");
    };
    check("a", Ok("a"));
    check("a%20b", Ok("a b"));
    check("a+b", Ok("a+b"));
    check("%c3%A9%2F", Ok("é/"));
    check(&"%61".repeat(128), Ok(&"a".repeat(128)));
    check(&"%61".repeat(129), Err(TopicNameError::TooLong));
    check(&"a".repeat(129), Err(TopicNameError::TooLong));
    check("", Err(TopicNameError::Empty));
    check("%", Err(TopicNameError::Encoding));
    check("%4", Err(TopicNameError::Encoding));
    check("%4g", Err(TopicNameError::Encoding));
    check("%+4", Err(TopicNameError::Encoding));
    check("%ff", Err(TopicNameError::Encoding));
    check("%00", Err(TopicNameError::ControlCharacter));
    check("%20a", Err(TopicNameError::OuterSpace));
    assert_eq!(TopicName::parse("a b/é~").unwrap().to_path_segment(), "a%20b%2F%C3%A9~");
}

#[test]
fn a_map_is_asked_with_text() {
    let topics = HashMap::from([(TopicName::parse("a").unwrap(), 1)]);
    assert_eq!(topics.get("a"), Some(&1));
    assert_eq!(topics.get("b"), None);
}

proptest! {
    #[test]
    fn names_travel_in_paths(name in any::<String>()) {
        if let Ok(topic) = TopicName::parse(&name) {
            let segment = topic.to_path_segment();
            prop_assert!(segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
            prop_assert_eq!(TopicName::from_path_segment(&segment), Ok(topic));
        }
    }

    #[test]
    fn any_segment_survives(segment in any::<String>()) {
        let _ = TopicName::from_path_segment(&segment);
    }
}
