//! Colours and characters that this terminal can show.

use std::env;

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};

/// Text keeps the terminal's own colours. The others have about the same contrast on black and on white, and can be told
/// apart with any kind of colour vision; no meaning rests on them alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// The locale's characters are not UTF-8.
    pub(super) is_ascii: bool,
    /// For progress, rates, and the median.
    pub(super) blue: Color,
    /// For the 99th percentile, and what calls for attention.
    pub(super) orange: Color,
    /// For the far tail.
    pub(super) purple: Color,
    /// For the server's cost.
    pub(super) teal: Color,
}

impl Look {
    pub(super) fn of_environment() -> Self {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
        let is_utf8 =
            matches!(locale.to_ascii_lowercase().replace('-', ""), locale if locale.contains("utf8"));
        let colors = if variable("NO_COLOR").is_some() {
            0
        } else if variable("COLORTERM").is_some() || variable("TERM").is_some_and(|term| term.contains("256"))
        {
            256
        } else {
            16
        };
        Self::new(!is_utf8, colors)
    }

    pub(super) fn new(is_ascii: bool, colors: u16) -> Self {
        let [blue, orange, purple, teal] = match colors {
            0 => [Color::Reset; 4],
            256 => [32, 166, 133, 30].map(Color::Indexed),
            _ => [Color::Blue, Color::Yellow, Color::Magenta, Color::Cyan],
        };
        Self { is_ascii, blue, orange, purple, teal }
    }

    /// For what must be seen.
    pub(super) fn alarm(&self) -> Style {
        Self::bold().fg(self.orange)
    }

    /// For frames, axes and names of figures.
    pub(super) fn quiet() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// For text that is not quiet, even on a frame.
    pub(super) fn loud() -> Style {
        Style::new().remove_modifier(Modifier::DIM)
    }

    pub(super) fn bold() -> Style {
        Self::loud().add_modifier(Modifier::BOLD)
    }

    /// Puts ASCII in the place of all other characters, if that is all the terminal can show.
    pub(super) fn transliterate(&self, buffer: &mut Buffer) {
        if self.is_ascii {
            for cell in &mut buffer.content {
                let mut characters = cell.symbol().chars();
                if let Some(character) = characters.next().filter(|character| !character.is_ascii()) {
                    cell.set_char(to_ascii(character));
                }
            }
        }
    }
}

fn to_ascii(character: char) -> char {
    match character {
        '─' | '┄' => '-',
        '━' => '=',
        '│' => '|',
        '╭' | '╮' | '╰' | '╯' | '┤' => '+',
        '▁' | '▂' => '.',
        '▃' | '▄' | '▅' => ':',
        '▆' | '▇' | '█' => '#',
        '●' => '*',
        '…' => '~',
        '\u{2800}' => ' ',
        '\u{2801}'..='\u{28ff}' => braille_to_ascii(character as u32 - 0x2800),
        _ => '?',
    }
}

/// A character with ink where the dots are. The lowest bits are the upper dots, but for the two at the bottom.
fn braille_to_ascii(dots: u32) -> char {
    let has = |mask| dots & mask != 0;
    match (has(0b0000_1001), has(0b0011_0110), has(0b1100_0000)) {
        (true, _, true) => '|',
        (true, _, false) => '\'',
        (false, _, true) => '.',
        (false, _, false) => '-',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;

    #[test]
    fn without_utf_8_all_is_ascii() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 1));
        buffer.set_string(0, 0, "a─█⠁⠤⣀⡇\u{e9}\u{4e16}", Style::new());
        Look::new(false, 256).transliterate(&mut buffer);
        assert_eq!(buffer[(1, 0)].symbol(), "─");
        Look::new(true, 256).transliterate(&mut buffer);
        let text: String = buffer.content.iter().map(ratatui::buffer::Cell::symbol).collect();
        assert_eq!(text.trim_end(), "a-#'-.|??");
    }
}
