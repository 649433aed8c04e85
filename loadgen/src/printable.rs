//! Texts from outside, such as what servers and other machines say, made fit to be shown.

/// Stands for what is left out, where there may be nothing but ASCII.
const LEFT_OUT: &str = "?";

/// Whether a character would steer a terminal, turn the line's direction, or is no character of XML.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// A text for a page or a file: its lines stay.
pub(crate) fn printable(text: &str) -> String {
    text.replace(|c| c != '\n' && is_hostile(c), "\u{fffd}")
}

/// A text for one line of a terminal.
pub(crate) fn printable_line(text: &str) -> String {
    text.replace(is_hostile, LEFT_OUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lose_what_is_not_for_reading() {
        for (text, page, line) in [
            ("a\u{1b}[31mb\u{202e}c\u{0}", "a\u{fffd}[31mb\u{fffd}c\u{fffd}", "a?[31mb?c?"),
            ("tab\tnext\nline", "tab\u{fffd}next\nline", "tab?next?line"),
            ("caf\u{e9} <b>", "caf\u{e9} <b>", "caf\u{e9} <b>"),
        ] {
            assert_eq!((&*printable(text), &*printable_line(text)), (page, line));
        }
    }
}
