//! Figures: the latest, and those of the whole run so far.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::look::Look;
use super::plot;
use crate::figures::{bytes, grouped, short, span, time, time_trimmed};
use crate::latency::Spectrum;
use crate::progress::{Phase, Progress};

/// Columns of a figure's name.
const NAME_WIDTH: usize = 11;

/// What is shown where a figure is not known.
const UNKNOWN: &str = "-";

/// A figure with its name, in words and in fewer words.
#[derive(Debug)]
struct Figure {
    name: &'static str,
    long: String,
    short: String,
    style: Style,
}

impl Figure {
    fn new(name: &'static str, long: String, short: String) -> Self {
        Self { name, long, short, style: Style::new() }
    }

    fn same(name: &'static str, text: String) -> Self {
        Self::new(name, text.clone(), text)
    }

    fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

/// A frame with figures below each other, as many as there is room for.
fn draw_figures(out: &mut Frame<'_>, area: Rect, title: &str, right: Line<'_>, figures: Vec<Figure>) {
    let block = plot::frame(title, right, area.width);
    let inner = block.inner(area);
    let room = usize::from(inner.width).saturating_sub(NAME_WIDTH + 2);
    let lines = figures.into_iter().map(|figure| {
        let text = if figure.long.len() <= room { figure.long } else { figure.short };
        let name = format!(" {:<NAME_WIDTH$}", figure.name);
        Line::from(vec![Span::styled(name, Look::quiet()), Span::styled(text, figure.style)])
    });
    out.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(block), area);
}

/// A percentile that is shown, and the colour of its line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Percentile {
    pub(super) name: &'static str,
    pub(super) of: fn(&Spectrum) -> u64,
    pub(super) color: Color,
}

/// From the most common to the rarest.
pub(super) fn percentiles(look: &Look) -> [Percentile; 4] {
    let Look { blue, orange, purple, .. } = *look;
    [
        Percentile { name: "p50", of: |spectrum| spectrum.p50, color: blue },
        Percentile { name: "p99", of: |spectrum| spectrum.p99, color: orange },
        Percentile { name: "p99.9", of: |spectrum| spectrum.p999, color: purple },
        Percentile { name: "max", of: |spectrum| spectrum.max, color: Color::Reset },
    ]
}

/// Response times of the latest interval and of the whole run, which is the legend of their plot too.
pub(super) fn draw_response(out: &mut Frame<'_>, area: Rect, progress: &Progress<'_>, look: &Look) {
    let block = plot::frame("response", Line::default(), area.width);
    let now = progress.rows.last().map_or_else(Spectrum::default, |row| row.response);
    let cell = |spectrum: &Spectrum, figure: fn(&Spectrum) -> u64| match spectrum.count {
        0 => UNKNOWN.to_owned(),
        _ => time(figure(spectrum)),
    };
    let mut lines = vec![Line::styled(format!(" {:<8}{:>8}{:>8}", "", "now", "run"), Look::quiet())];
    let mut line = |name: &str, figure: fn(&Spectrum) -> u64, mark: Span<'static>| {
        let cells = format!("{:>8}{:>8}", cell(&now, figure), cell(&progress.response, figure));
        lines.push(Line::from(vec![
            mark,
            Span::styled(format!("{name:<6}"), Look::quiet()),
            Span::raw(cells),
        ]));
    };
    let has_room = area.height >= 9;
    for Percentile { name, of, color } in percentiles(look) {
        if has_room && name == "p99" {
            line("p90", |spectrum| spectrum.p90, Span::raw("   "));
        }
        if has_room && name == "max" {
            line("p99.99", |spectrum| spectrum.p9999, Span::raw("   "));
        }
        line(name, of, Span::styled(" ● ", color));
    }
    out.render_widget(Paragraph::new(lines).block(block), area);
}

/// What was sent, and what arrived.
pub(super) fn draw_delivery(out: &mut Frame<'_>, area: Rect, progress: &Progress<'_>, look: &Look) {
    let delivered = progress.delivered;
    let mut figures = vec![
        sent(progress),
        Figure::new("delivered", grouped(delivered), short(delivered as f64)),
        Figure::same("per second", per_second(progress)),
    ];
    if let Some(row) = progress.rows.last().filter(|row| row.interval_seconds > 0.0) {
        let each_second = bytes((row.bytes as f64 / row.interval_seconds) as u64);
        figures.push(Figure::same("received", format!("{each_second}/s")));
    }
    figures.push(connected(progress));
    figures.push(Figure::same("lost", grouped(progress.lost)).styled(alarm_above_0(progress.lost, look)));
    draw_figures(out, area, "delivery", Line::default(), figures);
}

/// Whether the generator keeps up, and what the server uses.
pub(super) fn draw_health(out: &mut Frame<'_>, area: Rect, progress: &Progress<'_>, look: &Look) {
    let is_behind = progress.distrust().is_some();
    let health = if is_behind {
        Line::styled(" BEHIND ", look.alarm())
    } else {
        Line::styled(" keeps up ", Look::quiet())
    };
    let style = if is_behind { look.alarm() } else { Style::new() };
    let (lag, own_cpu) = generator(progress);
    let (cpu, memory) = server(progress);
    let now = progress.rows.last().filter(|row| row.sent > 0);
    let now = now.map_or_else(|| UNKNOWN.to_owned(), |row| time(row.send_lag_max));
    let figures = vec![
        lag.styled(style),
        Figure::new("lag now", format!("{now} at most"), now),
        own_cpu.styled(style),
        Figure::same("server CPU", cpu),
        Figure::same("server mem", memory),
    ];
    draw_figures(out, area, "generator", health, figures);
}

/// How connecting goes.
pub(super) fn draw_connecting(out: &mut Frame<'_>, area: Rect, progress: &Progress<'_>, look: &Look) {
    let (ready, total) = (progress.connections_ready, progress.connections_total);
    let failed = progress.failed.total();
    let seconds = progress.connecting_ns as f64 / 1e9;
    let rate = ready as f64 / seconds.max(1e-3);
    let remaining = total.saturating_sub(ready).saturating_sub(failed) as f64 / rate * 1e9;
    let remaining = if ready > 0 { format!("about {}", span(remaining as u64)) } else { UNKNOWN.to_owned() };
    let figures = vec![
        Figure::new("ready", share(ready, total), grouped(ready)),
        Figure::same("per second", short(rate)),
        Figure::same("elapsed", span(progress.connecting_ns)),
        Figure::same("remaining", remaining),
        Figure::same("failed", grouped(failed)).styled(alarm_above_0(failed, look)),
    ];
    draw_figures(out, area, "connections", Line::default(), figures);
}

/// The most important figures without frames, one line for each subject, the most important first.
pub(super) fn lines<'a>(progress: &Progress<'_>, look: &Look) -> Vec<Line<'a>> {
    let mut response = vec![name("response")];
    for Percentile { name, of, color } in percentiles(look) {
        let text =
            if progress.response.count > 0 { time(of(&progress.response)) } else { UNKNOWN.to_owned() };
        response.push(Span::styled(format!("{name} "), color));
        response.push(Span::raw(format!("{text}  ")));
    }
    let (lag, own_cpu) = generator(progress);
    let (cpu, memory) = server(progress);
    let is_behind = progress.distrust().is_some();
    let generator = Span::styled(
        format!("lag p99 {}, CPU {}", lag.long, own_cpu.long),
        if is_behind { look.alarm() } else { Style::new() },
    );
    let alive = format!("{} connections", connected(progress).long);
    let lost = Span::styled(format!(", {} lost", grouped(progress.lost)), alarm_above_0(progress.lost, look));
    vec![
        Line::from(response),
        Line::from(vec![
            name("delivery"),
            Span::raw(format!("{}, {} sent", per_second(progress), sent(progress).long)),
        ]),
        Line::from(vec![name("alive"), Span::raw(alive), lost]),
        Line::from(vec![name("own"), generator]),
        Line::from(vec![name("server"), Span::raw(format!("CPU {cpu}, memory {memory}"))]),
    ]
}

fn name(name: &'static str) -> Span<'static> {
    Span::styled(format!(" {name:<8} "), Look::quiet())
}

fn alarm_above_0(count: u64, look: &Look) -> Style {
    if count > 0 { look.alarm() } else { Style::new() }
}

fn share(part: u64, whole: u64) -> String {
    format!("{} of {}", grouped(part), grouped(whole))
}

fn sent(progress: &Progress<'_>) -> Figure {
    let (sent, planned) = (progress.sent, progress.outline.messages);
    Figure::new("sent", share(sent, planned), grouped(sent))
}

fn connected(progress: &Progress<'_>) -> Figure {
    let connected = match (progress.phase, progress.rows.last()) {
        (Phase::Connecting, _) | (_, None) => progress.connections_ready,
        (_, Some(row)) => row.connected,
    };
    let total = progress.connections_total;
    Figure::new("connected", share(connected, total), grouped(connected))
}

/// Deliveries each second in the latest interval.
pub(super) fn per_second(progress: &Progress<'_>) -> String {
    match progress.rows.last() {
        Some(row) if row.interval_seconds > 0.0 => {
            format!("{}/s", short(row.delivered as f64 / row.interval_seconds))
        }
        _ => UNKNOWN.to_owned(),
    }
}

/// The run's send lag and processor time, with their bounds.
fn generator(progress: &Progress<'_>) -> (Figure, Figure) {
    let outline = progress.outline;
    let lag = match progress.send_lag.count {
        0 => UNKNOWN.to_owned(),
        _ => time(progress.send_lag.p99),
    };
    let lag_bound = time_trimmed(outline.send_lag_bound_ns);
    let own_cpu =
        progress.own_cpu_percent.map_or_else(|| UNKNOWN.to_owned(), |percent| format!("{percent:.0} %"));
    let own_cpu_bound = outline.own_cpu_bound_percent;
    (
        Figure::new("lag p99", format!("{lag} of {lag_bound}"), lag),
        Figure::new("own CPU", format!("{own_cpu} of {own_cpu_bound:.0} %"), own_cpu),
    )
}

/// The server's processor time and memory in the latest interval.
fn server(progress: &Progress<'_>) -> (String, String) {
    let row = progress.rows.last();
    let cpu = row.and_then(|row| row.server_cpu_percent).map(|percent| format!("{percent:.0} %"));
    let memory = row.and_then(|row| row.server_resident_bytes).map(bytes);
    let text = |figure: Option<String>| figure.unwrap_or_else(|| UNKNOWN.to_owned());
    (text(cpu), text(memory))
}
