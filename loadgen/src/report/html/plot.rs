//! Line charts: panels one above the other that share the axis from left to right.
//!
//! Each is drawn twice, wide and narrow, so that its letters keep their size on a telephone; the style sheet shows one.
//! What a pointer reads off travels beside it as numbers; the script turns them into words.

use std::fmt::Write as _;

use maud::{Markup, html};
use serde::Serialize;

use crate::report::html::axis::{Scale, Spacing, linear_ticks, logarithmic_ticks};
use crate::report::html::thin::{Point, thinned};
use crate::report::html::{micro, px};
use crate::report::units::Unit;

/// A figure with one axis from left to right.
pub(super) struct Plot {
    /// Unique on the page.
    pub(super) id: String,
    pub(super) title: String,
    /// What it shows, under the title.
    pub(super) caption: String,
    /// What someone who cannot see it should know.
    pub(super) description: String,
    pub(super) x: Axis,
    pub(super) panels: Vec<Panel>,
    /// The warm-up: from the axis's beginning to there.
    pub(super) shaded_to: Option<f64>,
    /// Half as wide as the page.
    pub(super) half: bool,
}

/// The axis from left to right.
pub(super) struct Axis {
    pub(super) name: &'static str,
    /// How the script words a place on it.
    pub(super) kind: &'static str,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Ticks for at most so many.
    pub(super) ticks: fn(low: f64, high: f64, count_max: usize) -> Vec<(f64, String)>,
}

pub(super) struct Panel {
    pub(super) title: String,
    pub(super) unit: Unit,
    pub(super) spacing: Spacing,
    /// In pixels.
    pub(super) height: f64,
    pub(super) lines: Vec<Line>,
}

pub(super) struct Line {
    pub(super) name: String,
    /// A class of the style sheet.
    pub(super) colour: &'static str,
    pub(super) dashed: bool,
    /// Whether the space below is tinted.
    pub(super) filled: bool,
    pub(super) points: Vec<Point>,
}

impl Line {
    pub(super) fn new(name: impl Into<String>, colour: &'static str, points: Vec<Point>) -> Self {
        Self { name: name.into(), colour, dashed: false, filled: false, points }
    }

    fn is_seen(&self) -> bool {
        self.points.iter().any(|point| !point.y.is_nan())
    }
}

impl Panel {
    pub(super) fn is_seen(&self) -> bool {
        self.lines.iter().any(Line::is_seen)
    }

    /// The ticks from bottom to top; the first and the last are the ends.
    fn ticks(&self) -> Vec<f64> {
        let values = || self.lines.iter().flat_map(|line| &line.points).map(|point| point.y);
        let high = values().fold(0.0, f64::max);
        let count_max = (self.height / 30.0) as usize;
        match self.spacing {
            Spacing::Linear => {
                // Bytes are counted in powers of two, so their ticks are nice in KiB or MiB.
                let size = if self.unit == Unit::Bytes { self.unit.multiple(high).0 } else { 1.0 };
                linear_ticks(high / size, count_max.max(2)).into_iter().map(|tick| tick * size).collect()
            }
            Spacing::Logarithmic => {
                let low = values().filter(|&value| value > 0.0).fold(high.max(1.0), f64::min);
                logarithmic_ticks(low, high.max(1.0), count_max.max(3))
            }
        }
    }
}

/// The measures of a drawing, in pixels.
struct Layout {
    class: &'static str,
    width: f64,
    left: f64,
    right: f64,
    x_ticks_max: usize,
    buckets: usize,
    /// Whether names stand at the ends of the lines, or else above the panel.
    names_at_ends: bool,
}

const WIDE: Layout = Layout {
    class: "wide",
    width: 1000.0,
    left: 62.0,
    right: 132.0,
    x_ticks_max: 10,
    buckets: 170,
    names_at_ends: true,
};
const HALF: Layout =
    Layout { width: 490.0, right: 12.0, x_ticks_max: 6, buckets: 90, names_at_ends: false, ..WIDE };
const NARROW: Layout =
    Layout { class: "narrow", width: 380.0, left: 54.0, x_ticks_max: 5, buckets: 80, ..HALF };

/// Between the lines of a legend, and between names at the ends of lines.
const LEADING: f64 = 17.0;
const LETTER: f64 = 6.6;
/// From a panel's lower end to the next one's title.
const PANEL_GAP: f64 = 34.0;
/// What the word `warm-up` needs.
const WARMUP_WIDTH: f64 = 60.0;
const NAME_LETTERS_MAX: usize = 16;

impl Plot {
    pub(super) fn render(&self) -> Markup {
        html! {
            figure.plot.half[self.half] id=(self.id) data-plot=(self.numbers()) {
                figcaption { h3 { (self.title) } p { (self.caption) } }
                (self.drawing(if self.half { &HALF } else { &WIDE }))
                (self.drawing(&NARROW))
            }
        }
    }

    fn drawing(&self, layout: &Layout) -> Markup {
        let (left, right) = (layout.left, layout.width - layout.right);
        let x = Scale::new(Spacing::Linear, (self.x.low, self.x.high), (left, right));
        let ticks = (self.x.ticks)(self.x.low, self.x.high, layout.x_ticks_max);
        let mut y = 0.0;
        let panels: Vec<Markup> = self
            .panels
            .iter()
            .map(|panel| {
                let (top, drawn) = self.panel(panel, layout, &x, &ticks, y);
                y = top + panel.height;
                drawn
            })
            .collect();
        let (title, description) = (self.part(layout, "title"), self.part(layout, "description"));
        html! {
            svg class=(layout.class) viewBox={ "0 0 " (layout.width) " " (px(y + 46.0)) } role="img"
                aria-labelledby={ (title) " " (description) } data-left=(left) data-right=(right) data-bottom=(px(y)) {
                title id=(title) { (self.title) }
                desc id=(description) { (self.description) }
                @for panel in panels { (panel) }
                @for (value, label) in &ticks {
                    text.tick.middle x=(px(x.at(*value))) y=(px(y + 18.0)) { (label) }
                }
                text.name.middle x=(px((left + right) / 2.0)) y=(px(y + 40.0)) { (self.x.name) }
            }
        }
    }

    fn part(&self, layout: &Layout, part: &str) -> String {
        format!("{}-{}-{part}", self.id, layout.class)
    }

    /// One panel whose head begins at `y`, and where its lines begin.
    fn panel(
        &self,
        panel: &Panel,
        layout: &Layout,
        x: &Scale,
        x_ticks: &[(f64, String)],
        y: f64,
    ) -> (f64, Markup) {
        let seen: Vec<&Line> = panel.lines.iter().filter(|line| line.is_seen()).collect();
        let legend = if layout.names_at_ends || seen.len() < 2 { Vec::new() } else { legend(&seen, layout) };
        let legend_rows = legend.last().map_or(0.0, |&(_, row, _)| row + 1.0);
        let head = match (panel.title.is_empty(), y) {
            (true, _) => y,
            (false, 0.0) => 20.0,
            (false, y) => y + PANEL_GAP,
        };
        let top = head + 14.0 + legend_rows * LEADING;
        let bottom = top + panel.height;
        let ticks = panel.ticks();
        let largest = ticks[ticks.len() - 1];
        let scale = Scale::new(panel.spacing, (ticks[0], largest), (bottom, top));
        // The first line matters most: it is drawn over the others.
        let lines = seen.iter().rev().map(|line| drawn(line, layout, x, &scale));
        let names = if layout.names_at_ends && seen.len() > 1 {
            names_at_ends(&seen, x, &scale)
        } else {
            html! {}
        };
        let markup = html! {
            @if !panel.title.is_empty() { text.panel x="0" y=(px(head)) { (panel.title) } }
            @for (x, row, line) in &legend {
                g class=(line.colour) {
                    path.line.dashed[line.dashed] d={ "M" (px(*x)) "," (px(head + 14.0 + row * LEADING)) "h16" } {}
                    text.key x=(px(x + 22.0)) y=(px(head + 18.0 + row * LEADING)) { (short(&line.name)) }
                }
            }
            @if let Some(to) = self.shaded_to {
                rect.shade x=(px(x.from)) y=(px(top)) width=(px(x.at(to) - x.from)) height=(px(panel.height)) {}
                @if y == 0.0 && x.at(to) - x.from > WARMUP_WIDTH {
                    text.tick x=(px(x.from + 6.0)) y=(px(top + 14.0)) { "warm-up" }
                }
            }
            @for tick in &ticks {
                path.grid.base[*tick == ticks[0]] d={ "M" (px(x.from)) "," (px(scale.at(*tick))) "H" (px(x.to)) } {}
                text.tick.end x=(px(x.from - 8.0)) y=(px(scale.at(*tick) + 4.0)) {
                    (micro(&panel.unit.tick(*tick, largest)))
                }
            }
            @for (value, _) in x_ticks {
                path.grid d={ "M" (px(x.at(*value))) "," (px(top)) "V" (px(bottom)) } {}
            }
            @for line in lines { (line) }
            (names)
        };
        (top, markup)
    }

    /// What a pointer reads off, as JSON.
    fn numbers(&self) -> String {
        let panels = self.panels.iter().map(|panel| PanelNumbers {
            unit: match panel.unit {
                Unit::Nanoseconds => "ns",
                Unit::Seconds => "s",
                Unit::Bytes => "B",
                Unit::Percent => "%",
                Unit::PerSecond => "/s",
                Unit::Count | Unit::Mean => "",
            },
            lines: panel.lines.iter().filter(|line| line.is_seen()).map(LineNumbers::of).collect(),
        });
        let numbers =
            PlotNumbers { kind: self.x.kind, low: self.x.low, high: self.x.high, panels: panels.collect() };
        serde_json::to_string(&numbers).expect("numbers and texts are JSON")
    }
}

#[derive(Serialize)]
struct PlotNumbers {
    kind: &'static str,
    low: f64,
    high: f64,
    panels: Vec<PanelNumbers>,
}

#[derive(Serialize)]
struct PanelNumbers {
    unit: &'static str,
    lines: Vec<LineNumbers>,
}

#[derive(Serialize)]
struct LineNumbers {
    name: String,
    colour: &'static str,
    x: Vec<serde_json::Value>,
    y: Vec<serde_json::Value>,
}

impl LineNumbers {
    fn of(line: &Line) -> Self {
        let points = thinned(&line.points, WIDE.buckets);
        Self {
            name: line.name.clone(),
            colour: line.colour,
            x: points.iter().map(|point| number(point.x)).collect(),
            y: points.iter().map(|point| number(point.y)).collect(),
        }
    }
}

/// A number for the script, as short as it stays exact for counts: whole from a thousand, four digits below.
/// `null` where there is none.
fn number(value: f64) -> serde_json::Value {
    let value = if value.abs() >= 1000.0 { value.round() } else { (value * 1000.0).round() / 1000.0 };
    match value.is_finite() && value.fract() == 0.0 && value.abs() < 1e15 {
        true => (value as i64).into(),
        false => value.into(),
    }
}

/// One line, and what is tinted below it.
fn drawn(line: &Line, layout: &Layout, x: &Scale, y: &Scale) -> Markup {
    let points = thinned(&line.points, layout.buckets);
    let pieces: Vec<&[Point]> =
        points.split(|point| point.y.is_nan()).filter(|piece| !piece.is_empty()).collect();
    let mut strokes = String::new();
    let mut area = String::new();
    for piece in pieces {
        let stroke = stroke(piece, x, y);
        if line.filled {
            let (first, last) = (piece[0], piece[piece.len() - 1]);
            let _ = write!(area, "{stroke}L{},{}H{}Z", px(x.at(last.x)), px(y.from), px(x.at(first.x)));
        }
        strokes.push_str(&stroke);
    }
    html! {
        g class=(line.colour) {
            @if line.filled { path.area d=(area) {} }
            path.line.dashed[line.dashed] d=(strokes) {}
        }
    }
}

/// The path through points without a gap. A single one becomes a dot.
fn stroke(piece: &[Point], x: &Scale, y: &Scale) -> String {
    let mut path = String::new();
    for (index, point) in piece.iter().enumerate() {
        let command = if index == 0 { 'M' } else { 'L' };
        // Writing to a string never fails.
        let _ = write!(path, "{command}{},{}", px(x.at(point.x)), px(y.at(point.y)));
    }
    if piece.len() == 1 {
        path.push_str("h.01");
    }
    path
}

/// Where each line's name stands above a panel: from the left, and in which row.
fn legend<'a>(lines: &[&'a Line], layout: &Layout) -> Vec<(f64, f64, &'a Line)> {
    let (mut x, mut row) = (0.0, 0.0);
    let mut places = Vec::new();
    for &line in lines {
        let width = 36.0 + LETTER * short(&line.name).chars().count() as f64;
        if x > 0.0 && x + width > layout.width {
            (x, row) = (0.0, row + 1.0);
        }
        places.push((x, row, line));
        x += width;
    }
    places
}

/// The names beside the ends of the lines, moved apart where they would overlap.
fn names_at_ends(lines: &[&Line], x: &Scale, y: &Scale) -> Markup {
    let mut ends: Vec<(f64, Point, &Line)> = lines
        .iter()
        .filter_map(|line| {
            let last = *line.points.iter().rev().find(|point| !point.y.is_nan())?;
            Some((y.at(last.y), last, *line))
        })
        .collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted: Vec<f64> = ends.iter().map(|end| end.0).collect();
    let places = apart(&wanted, LEADING, y.to, y.from);
    html! {
        @for ((height, last, line), place) in ends.iter().zip(&places) {
            g class=(line.colour) {
                @if x.at(last.x) < x.to - 3.0 {
                    path.leader d={ "M" (px(x.at(last.x))) "," (px(*height)) "H" (px(x.to)) } {}
                }
                path.leader d={ "M" (px(x.to)) "," (px(*height)) "L" (px(x.to + 10.0)) "," (px(*place)) } {}
                circle.dot cx=(px(x.to + 14.0)) cy=(px(*place)) r="3.5" {}
                text.key x=(px(x.to + 23.0)) y=(px(place + 4.0)) { (short(&line.name)) }
            }
        }
    }
}

/// The `wanted` places in rising order, moved until they are `gap` apart, between `low` and `high` if they fit there.
pub(super) fn apart(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut places = Vec::with_capacity(wanted.len());
    let mut next = low;
    for &place in wanted {
        places.push(place.max(next));
        next = place.max(next) + gap;
    }
    let mut limit = high;
    for place in places.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - gap;
    }
    places
}

/// A name that fits beside a line.
fn short(name: &str) -> String {
    if name.chars().count() <= NAME_LETTERS_MAX {
        return name.to_owned();
    }
    name.chars().take(NAME_LETTERS_MAX - 1).chain(['\u{2026}']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, values: &[f64]) -> Line {
        let points = values.iter().enumerate().map(|(index, &y)| Point { x: index as f64, y });
        Line::new(name, "c1", points.collect())
    }

    #[test]
    fn gaps_split_a_line_and_lone_points_stay_visible() {
        let x = Scale::new(Spacing::Linear, (0.0, 4.0), (0.0, 40.0));
        let y = Scale::new(Spacing::Linear, (0.0, 10.0), (100.0, 0.0));
        let mut line = line("a", &[1.0, 2.0, f64::NAN, 5.0]);
        line.filled = true;
        let text = drawn(&line, &WIDE, &x, &y).into_string();
        assert!(text.contains("d=\"M0,90L10,80M30,50h.01\""), "{text}");
        assert!(text.contains("d=\"M0,90L10,80L10,100H0ZM30,50h.01L30,100H30Z\""), "{text}");
    }

    #[test]
    fn names_move_apart_and_stay_inside() {
        assert_eq!(apart(&[10.0, 50.0], 15.0, 0.0, 100.0), [10.0, 50.0]);
        assert_eq!(apart(&[50.0, 52.0], 15.0, 0.0, 100.0), [50.0, 65.0]);
        assert_eq!(apart(&[97.0, 98.0, 99.0], 15.0, 0.0, 100.0), [70.0, 85.0, 100.0]);
        assert!(apart(&[], 15.0, 0.0, 1.0).is_empty());
    }

    #[test]
    fn panels_begin_at_a_tick_below_what_they_show() {
        let mut panel = Panel {
            title: String::new(),
            unit: Unit::Bytes,
            spacing: Spacing::Linear,
            height: 90.0,
            lines: vec![line("a", &[f64::from(1 << 20), f64::from(3 << 20)])],
        };
        assert_eq!(panel.ticks().last(), Some(&f64::from(3 << 20)));
        panel.spacing = Spacing::Logarithmic;
        panel.unit = Unit::Nanoseconds;
        panel.lines = vec![line("a", &[0.0, 1.2e6, 8.0e7, f64::NAN])];
        assert_eq!(panel.ticks(), [1e6, 1e7, 1e8]);
        panel.lines = vec![line("a", &[f64::NAN])];
        assert!(!panel.is_seen());
    }

    #[test]
    fn numbers_for_the_script_are_short() {
        let texts: Vec<String> =
            [1234.56, 0.123456, 12.0, f64::NAN].map(|value| number(value).to_string()).into();
        assert_eq!(texts, ["1235", "0.123", "12", "null"]);
    }
}
