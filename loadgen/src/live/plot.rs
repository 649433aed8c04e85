//! Figures over time: a frame, axes, and lines of dots or a filled area.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::{Marker, bar};
use ratatui::text::{Line, Span};
use ratatui::widgets::canvas::{self, Canvas};
use ratatui::widgets::{Block, BorderType};

use super::look::Look;
use super::scale::{Scale, moment};

/// Columns that the names of the vertical axis take, with the axis.
const NAMES_WIDTH: u16 = 8;

/// Where a value that is named would stand.
const GRID: &str = "┄";

/// A plot's frame and axes.
#[derive(Debug)]
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    /// The current figure, or a legend.
    pub(super) now: Line<'a>,
    /// The end of the time axis.
    pub(super) seconds: f64,
    pub(super) scale: Scale,
    /// How much of the time axis is the warm-up, of which areas are quiet.
    pub(super) warmup_seconds: f64,
}

/// A frame with a title, and something at its right if there is room for it.
pub(super) fn frame<'a>(title: &'a str, right: Line<'a>, width: u16) -> Block<'a> {
    let block = Block::bordered().border_type(BorderType::Rounded).border_style(Look::quiet());
    let block = block.title_top(Span::styled(format!(" {title} "), Look::bold()));
    let fits = right.width() > 0 && right.width() + title.len() + 7 <= usize::from(width);
    if fits { block.title_top(right.patch_style(Look::loud()).right_aligned()) } else { block }
}

/// How many columns of characters a plot in `area` has.
pub(super) fn columns_in(area: Rect) -> usize {
    usize::from(area.width.saturating_sub(NAMES_WIDTH + 2))
}

impl Plot<'_> {
    /// A filled area: one value for each of [`columns_in`].
    pub(super) fn draw_area(self, out: &mut Frame<'_>, area: Rect, values: &[Option<f64>], color: Color) {
        let scale = self.scale;
        let warmup = self.warmup_seconds / self.seconds * columns_in(area) as f64;
        let inside = self.draw_axes(out, area);
        let buffer = out.buffer_mut();
        let levels = f64::from(inside.height) * 8.0;
        for (x, value) in (inside.left()..inside.right()).zip(values) {
            let Some(value) = value else { continue };
            let is_warmup = f64::from(x - inside.x) + 0.5 < warmup;
            let style = if is_warmup { Look::quiet() } else { Style::new() };
            // What is not nothing can be seen.
            let at_least = if *value > 0.0 { 1 } else { 0 };
            let mut left = ((scale.fraction(*value) * levels).round() as usize).max(at_least);
            for y in inside.rows().rev().map(|row| row.y) {
                if left == 0 {
                    break;
                }
                buffer[(x, y)].reset();
                buffer[(x, y)].set_symbol(EIGHTHS[left.min(8)]).set_style(style.fg(color));
                left = left.saturating_sub(8);
            }
        }
    }

    /// Lines of dots: two values for each of [`columns_in`]. Later ones are drawn over earlier ones.
    pub(super) fn draw_lines(self, out: &mut Frame<'_>, area: Rect, lines: &[(Vec<Option<f64>>, Color)]) {
        let scale = self.scale;
        let inside = self.draw_axes(out, area);
        let dots = f64::from(inside.width) * 2.0 - 1.0;
        let canvas = Canvas::default().marker(Marker::Braille).x_bounds([0.0, dots]).y_bounds([0.0, 1.0]);
        let canvas = canvas.paint(|context| {
            for (values, color) in lines {
                for (index, value) in values.iter().enumerate() {
                    let Some(to) = value.map(|value| scale.fraction(value)) else { continue };
                    let before = index.checked_sub(1).and_then(|before| values[before]);
                    let from = before.map_or(to, |value| scale.fraction(value));
                    let x = index as f64;
                    let x_from = if before.is_some() { x - 1.0 } else { x };
                    context.draw(&canvas::Line { x1: x_from, y1: from, x2: x, y2: to, color: *color });
                }
            }
        });
        out.render_widget(canvas, inside);
        // Dots on a quiet axis are not quiet.
        let buffer = out.buffer_mut();
        for place in inside.positions() {
            let cell = &mut buffer[place];
            if cell.fg != Color::Reset || cell.symbol() != GRID {
                cell.modifier = Modifier::empty();
            }
        }
    }

    /// Returns the place for the figures.
    fn draw_axes(self, out: &mut Frame<'_>, area: Rect) -> Rect {
        let block = frame(self.title, self.now, area.width);
        let inner = block.inner(area);
        out.render_widget(block, area);
        let names_width = NAMES_WIDTH.min(inner.width);
        let inside = Rect { x: inner.x + names_width, width: inner.width - names_width, ..inner };
        let buffer = out.buffer_mut();
        let mut taken: Vec<u16> = Vec::new();
        for (value, name) in self.scale.ticks(inner.height) {
            // The row that has the dot of this value.
            let dots = f64::from(inner.height) * 4.0 - 1.0;
            let y = inner.y + ((1.0 - self.scale.fraction(value)) * dots / 4.0).max(0.0) as u16;
            if y >= inner.bottom() || taken.iter().any(|&other| other.abs_diff(y) < 2) {
                continue;
            }
            taken.push(y);
            let name = format!("{name:>width$} ", width = usize::from(NAMES_WIDTH) - 1);
            buffer.set_stringn(inner.x, y, name, usize::from(names_width), Look::quiet());
            for x in inside.left()..inside.right() {
                buffer[(x, y)].set_symbol(GRID).set_style(Look::quiet());
            }
        }
        if inside.width > 0 && area.height > 1 {
            name_moments(out, inside, area.bottom() - 1, self.seconds);
        }
        inside
    }
}

/// Names the beginning, the middle and the end of the time axis on the frame's lower edge.
fn name_moments(out: &mut Frame<'_>, inside: Rect, y: u16, seconds: f64) {
    let width = usize::from(inside.width);
    for part in [0.0, 0.5, 1.0] {
        let name = match part {
            0.0 => "0 ".to_owned(),
            1.0 => format!(" {}", moment(seconds)),
            _ => format!(" {} ", moment(seconds * part)),
        };
        if name.len() * 4 <= width {
            let x = ((width - name.len()) as f64 * part).round() as u16;
            out.buffer_mut().set_string(inside.x + x, y, name, Look::quiet());
        }
    }
}

const EIGHTHS: [&str; 9] = [
    " ",
    bar::ONE_EIGHTH,
    bar::ONE_QUARTER,
    bar::THREE_EIGHTHS,
    bar::HALF,
    bar::FIVE_EIGHTHS,
    bar::THREE_QUARTERS,
    bar::SEVEN_EIGHTHS,
    bar::FULL,
];
