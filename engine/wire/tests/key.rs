//! Keys: what is one.

use std::collections::HashMap;

use fanfare_wire::key::{KEY_BYTES_MAX, Key, KeyError};

#[test]
fn keys() {
    for text in ["a", " ", " a ", "a/b", "é€😀", "*", "\u{200b}", &"x".repeat(KEY_BYTES_MAX), &"é".repeat(64)]
    {
        let key = Key::parse(text).unwrap();
        assert_eq!((&*key, key.to_string(), key.as_str()), (text, text.to_owned(), text));
        assert_eq!(text.parse(), Ok(key.clone()));
        assert_eq!(format!("{key:?}"), format!("{text:?}"));
    }
    let table: &[(&str, KeyError)] = &[
        ("", KeyError::Empty),
        (&"x".repeat(129), KeyError::TooLong),
        (&"é".repeat(65), KeyError::TooLong),
        (&"€".repeat(43), KeyError::TooLong),
        ("a\0", KeyError::ControlCharacter),
        ("a\nb", KeyError::ControlCharacter),
        ("\u{7f}", KeyError::ControlCharacter),
        ("a\u{85}", KeyError::ControlCharacter),
    ];
    for (text, error) in table {
        assert_eq!(Key::parse(text), Err(*error), "{text:?}");
        assert!(error.to_string().starts_with("a key "));
    }
}

#[test]
fn a_map_is_asked_with_text() {
    let values = HashMap::from([(Key::parse("a").unwrap(), 1)]);
    assert_eq!(values.get("a"), Some(&1));
    assert_eq!(values.get("b"), None);
}

#[test]
fn clones_share_the_text() {
    let key = Key::parse("a").unwrap();
    assert_eq!(key.clone().as_str().as_ptr(), key.as_str().as_ptr());
}
