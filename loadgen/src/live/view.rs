//! What stands where: more on large terminals, and always the most important on small ones.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::style::Color;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Padding, Paragraph, Wrap};

use super::columns::{Join, columns};
use super::look::Look;
use super::panels::{self, Percentile};
use super::plot::{self, Plot, columns_in};
use super::ramp::Ramp;
use super::scale::{Scale, Unit, time_axis};
use crate::figures::{grouped, plural, span, time_trimmed};
use crate::progress::{Phase, Progress};
use crate::report::Row;

/// Below, figures have no frames.
const FRAMES_WIDTH: u16 = 76;
const FRAMES_HEIGHT: u16 = 15;

/// From here on, there are two rows of plots, and all percentiles.
const LARGE_HEIGHT: u16 = 32;

/// From here on, the header and notices may take two lines.
const TWO_LINES_HEIGHT: u16 = 18;

/// Beside notices.
const NOTICE_MARGIN: Margin = Margin { horizontal: 3, vertical: 0 };

/// What the table of response times needs.
const RESPONSE_WIDTH: u16 = 28;

/// From here on, there is some air.
const AIR_HEIGHT: u16 = 30;

/// Below, there are no plots.
const PLOTS_WIDTH: u16 = 24;
const PLOTS_HEIGHT: u16 = 9;

/// Below, there is one plot in a row.
const TWO_PLOTS_WIDTH: u16 = 56;

/// A picture of a run at one moment.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) progress: &'a Progress<'a>,
    pub(super) look: &'a Look,
    pub(super) ramp: &'a Ramp,
    /// Somebody asked for the end.
    pub(super) is_stopping: bool,
}

impl View<'_> {
    pub(super) fn draw(&self, out: &mut Frame<'_>) {
        let area = out.area();
        let header_height = if area.height >= TWO_LINES_HEIGHT { 2 } else { 1 };
        let air_height = u16::from(area.height >= AIR_HEIGHT);
        let notice = self.notice();
        let notice_rows = notice.as_ref().map_or(0, |notice| {
            let is_long = notice.chars().count() > usize::from(area.inner(NOTICE_MARGIN).width);
            if is_long && area.height >= TWO_LINES_HEIGHT { 2 } else { 1 }
        });
        let [header, _, gauge, _, body, notice_area, footer] = Layout::vertical([
            Constraint::Length(header_height),
            Constraint::Length(air_height),
            Constraint::Length(1),
            Constraint::Length(air_height),
            Constraint::Fill(1),
            Constraint::Length(notice_rows),
            Constraint::Length(1),
        ])
        .areas(area);
        self.draw_header(out, header);
        self.draw_gauge(out, gauge);
        if self.progress.phase == Phase::Connecting {
            self.draw_connecting(out, body);
        } else {
            self.draw_running(out, body);
        }
        if let Some(notice) = notice {
            out.render_widget(Line::styled(" !", self.look.alarm()), notice_area);
            let text = Paragraph::new(notice).style(self.look.alarm()).wrap(Wrap { trim: true });
            out.render_widget(text, notice_area.inner(NOTICE_MARGIN));
        }
        self.draw_footer(out, footer);
        self.look.transliterate(out.buffer_mut());
    }

    fn draw_header(&self, out: &mut Frame<'_>, area: Rect) {
        let outline = &self.progress.outline;
        let readers = plural(outline.subscribers, "subscriber");
        let parties = format!("{readers}, {} ", plural(outline.publishers, "publisher"));
        let [first, second] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
        let title = Span::styled(format!(" {}", outline.title), Look::bold());
        spread(out, first, title, Span::styled(parties, Look::quiet()));
        let workers = plural(outline.workers, "worker");
        let machines = match outline.machines {
            0 | 1 => format!("{workers} "),
            machines => format!("{workers} on {} ", plural(machines, "machine")),
        };
        let url = if outline.url == outline.title { "" } else { outline.url };
        spread(out, second, Span::raw(format!(" {url}")), Span::styled(machines, Look::quiet()));
    }

    /// The phase, and how much of it is over.
    fn draw_gauge(&self, out: &mut Frame<'_>, area: Rect) {
        let Progress { outline, phase, connections_ready, connections_total, elapsed_ns, .. } = self.progress;
        let (part, whole, text) = match phase {
            Phase::Connecting => {
                let (ready, total) = (grouped(*connections_ready), grouped(*connections_total));
                (*connections_ready, *connections_total, format!("{ready} of {total}"))
            }
            _ => {
                let text = format!("{} of {}", span(*elapsed_ns), span(outline.planned_ns));
                (*elapsed_ns, outline.planned_ns, text)
            }
        };
        let ratio = if whole > 0 { (part as f64 / whole as f64).min(1.0) } else { 1.0 };
        let before = format!(" {}  ", phase.word());
        let after = format!("  {text}  {:3.0} % ", (ratio * 100.0).floor());
        let width = usize::from(area.width).saturating_sub(before.len() + after.len());
        let filled = (width as f64 * ratio).round() as usize;
        let line = Line::from(vec![
            Span::styled(before, Look::bold().fg(self.look.blue)),
            Span::styled("━".repeat(filled), self.look.blue),
            Span::styled("─".repeat(width - filled), Look::quiet()),
            Span::raw(after),
        ]);
        out.render_widget(line, area);
    }

    /// What is wrong, if anything is.
    fn notice(&self) -> Option<String> {
        let Progress { failed, lost, phase, .. } = self.progress;
        let mut parts: Vec<_> = self.progress.distrust().into_iter().collect();
        if *lost > 0 {
            parts.push(format!("{} lost", plural(*lost, "connection")));
        }
        // While connecting, a panel says why.
        if failed.total() > 0 && *phase != Phase::Connecting {
            parts.push(format!("{} failed: {failed}", grouped(failed.total())));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn draw_footer(&self, out: &mut Frame<'_>, area: Rect) {
        let (left, right) = if self.is_stopping {
            ("the run ends early: the report follows", "Ctrl-C leaves without it ")
        } else {
            ("end the run now and report", "fanfare-loadgen ")
        };
        let key = if self.is_stopping { "" } else { "q " };
        let left = Line::from(vec![
            Span::raw(" "),
            Span::styled(key, Look::bold()),
            Span::styled(left, Look::quiet()),
        ]);
        spread(out, area, left, Span::styled(right, Look::quiet()));
    }

    fn draw_connecting(&self, out: &mut Frame<'_>, area: Rect) {
        let panel_height = 7.min(area.height);
        let [plot_area, panel] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(panel_height)]).areas(area);
        if plot_area.height >= 4 && area.width >= PLOTS_WIDTH {
            let seconds = time_axis((self.progress.connecting_ns as f64 / 1e9).max(1e-3), 0.0);
            let values = self.ramp.columns(seconds, columns_in(plot_area));
            let high = [Some(self.progress.connections_total as f64)];
            let scale = Scale::linear(&high, Unit::Number);
            let plot = Plot {
                title: "connections ready",
                now: Line::default(),
                seconds,
                scale,
                warmup_seconds: 0.0,
            };
            plot.draw_area(out, plot_area, &values, self.look.blue);
        }
        if self.progress.failed.total() == 0 {
            return panels::draw_connecting(out, panel, self.progress, self.look);
        }
        let [figures, reasons] =
            Layout::horizontal([Constraint::Percentage(45), Constraint::Percentage(55)]).areas(panel);
        panels::draw_connecting(out, figures, self.progress, self.look);
        let text = Paragraph::new(self.progress.failed.to_string()).wrap(Wrap { trim: true });
        let block =
            plot::frame("why they failed", Line::default(), reasons.width).padding(Padding::horizontal(1));
        out.render_widget(text.block(block), reasons);
    }

    fn draw_running(&self, out: &mut Frame<'_>, area: Rect) {
        if area.width < FRAMES_WIDTH || area.height < FRAMES_HEIGHT {
            return self.draw_running_small(out, area);
        }
        let is_large = area.height >= LARGE_HEIGHT;
        let panels_height = if is_large { 9 } else { 8 };
        let [plots, figures] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(panels_height)]).areas(area);
        if is_large {
            let [upper, lower] = Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]).areas(plots);
            self.draw_plots(out, upper);
            let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(lower);
            self.draw_server_plot(out, left);
            self.draw_send_lag_plot(out, right);
        } else {
            self.draw_plots(out, plots);
        }
        let response_width = RESPONSE_WIDTH.max(figures.width / 3);
        let [delivery, response, health] = Layout::horizontal([
            Constraint::Fill(1),
            Constraint::Length(response_width),
            Constraint::Fill(1),
        ])
        .areas(figures);
        panels::draw_delivery(out, delivery, self.progress, self.look);
        panels::draw_response(out, response, self.progress, self.look);
        panels::draw_health(out, health, self.progress, self.look);
    }

    fn draw_running_small(&self, out: &mut Frame<'_>, area: Rect) {
        let lines = panels::lines(self.progress, self.look);
        let has_plots = area.height >= PLOTS_HEIGHT && area.width >= PLOTS_WIDTH;
        let lines_height = if has_plots { lines.len() as u16 } else { area.height };
        let [plots, figures] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(lines_height)]).areas(area);
        if has_plots {
            self.draw_plots(out, plots);
        }
        out.render_widget(Paragraph::new(lines), figures);
    }

    /// The two plots that matter most, or the one.
    fn draw_plots(&self, out: &mut Frame<'_>, area: Rect) {
        if area.width < TWO_PLOTS_WIDTH {
            return self.draw_response_plot(out, area);
        }
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(area);
        self.draw_throughput_plot(out, left);
        self.draw_response_plot(out, right);
    }

    fn draw_throughput_plot(&self, out: &mut Frame<'_>, area: Rect) {
        let rate =
            |row: &Row| (row.interval_seconds > 0.0).then(|| row.delivered as f64 / row.interval_seconds);
        let values = columns(self.progress.rows, self.seconds(), columns_in(area), Join::Mean, rate);
        let now = Line::from(format!(" {} ", panels::per_second(self.progress)));
        let scale = Scale::linear(&values, Unit::Number);
        let plot = self.plot("deliveries per second", now, scale);
        plot.draw_area(out, area, &values, self.look.blue);
    }

    fn draw_response_plot(&self, out: &mut Frame<'_>, area: Rect) {
        let percentiles = panels::percentiles(self.look);
        let mut legend = vec![Span::raw(" ")];
        legend.extend(percentiles.map(|shown| Span::styled(format!("{} ", shown.name), shown.color)));
        // The median comes last: where all are the same, it is the one to see.
        let lines = percentiles.map(|Percentile { of, color, .. }| {
            let value = |row: &Row| (row.response.count > 0).then(|| of(&row.response) as f64);
            (self.dots(area, value), color)
        });
        let lines: Vec<_> = lines.into_iter().rev().collect();
        let scale = Scale::log(lines.iter().flat_map(|(values, _)| values));
        let plot = self.plot("response time", Line::from(legend), scale);
        plot.draw_lines(out, area, &lines);
    }

    fn draw_send_lag_plot(&self, out: &mut Frame<'_>, area: Rect) {
        let bound = self.progress.outline.send_lag_bound_ns;
        let lag = self.dots(area, |row| (row.sent > 0).then_some(row.send_lag_max as f64));
        let bounds = vec![Some(bound as f64); lag.len()];
        let now = Line::from(vec![
            Span::styled(" max of each interval", self.look.purple),
            Span::styled(format!("  bound of p99 {} ", time_trimmed(bound)), self.look.orange),
        ]);
        let scale = Scale::log(lag.iter().chain(&bounds));
        let plot = self.plot("send lag of the generator", now, scale);
        plot.draw_lines(out, area, &[(bounds, self.look.orange), (lag, self.look.purple)]);
    }

    /// The server's processor time where it is known, and the connections that stand elsewhere.
    fn draw_server_plot(&self, out: &mut Frame<'_>, area: Rect) {
        let is_known = self.progress.rows.iter().any(|row| row.server_cpu_percent.is_some());
        let draw = |out: &mut Frame<'_>, title: &str, unit, color: Color, value: fn(&Row) -> Option<f64>| {
            let values = columns(self.progress.rows, self.seconds(), columns_in(area), Join::Mean, value);
            let scale = Scale::linear(&values, unit);
            self.plot(title, Line::default(), scale).draw_area(out, area, &values, color);
        };
        if is_known {
            draw(out, "server CPU", Unit::Percent, self.look.teal, |row| row.server_cpu_percent);
        } else {
            draw(out, "connections", Unit::Number, self.look.teal, |row| Some(row.connected as f64));
        }
    }

    fn plot<'a>(&self, title: &'a str, now: Line<'a>, scale: Scale) -> Plot<'a> {
        let warmup_seconds = self.progress.outline.warmup_ns as f64 / 1e9;
        Plot { title, now, seconds: self.seconds(), scale, warmup_seconds }
    }

    /// The worst value for each column of dots of a plot in `area`.
    fn dots(&self, area: Rect, value: impl Fn(&Row) -> Option<f64>) -> Vec<Option<f64>> {
        columns(self.progress.rows, self.seconds(), columns_in(area) * 2, Join::Max, value)
    }

    /// The end of the time axes.
    fn seconds(&self) -> f64 {
        let Progress { outline, elapsed_ns, .. } = self.progress;
        time_axis((*elapsed_ns as f64 / 1e9).max(1e-3), outline.planned_ns as f64 / 1e9)
    }
}

/// One text at the left, and one at the right if there is room for both.
fn spread<'a>(out: &mut Frame<'_>, area: Rect, left: impl Into<Line<'a>>, right: impl Into<Line<'a>>) {
    let (left, right) = (left.into(), right.into());
    let has_room = left.width() + right.width() < usize::from(area.width);
    out.render_widget(left, area);
    if has_room {
        out.render_widget(right.right_aligned(), area);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Spectrum;
    use crate::progress::Outline;
    use crate::reasons::Reasons;
    use proptest::prelude::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::fmt::Write as _;

    const PHASES: [Phase; 5] =
        [Phase::Connecting, Phase::WarmingUp, Phase::Measuring, Phase::Draining, Phase::Closing];

    const SECOND: u64 = 1_000_000_000;

    fn outline() -> Outline<'static> {
        Outline {
            title: "market data",
            url: "ws://127.0.0.1:9000/ws/demo",
            subscribers: 1_000,
            publishers: 1,
            machines: 2,
            workers: 8,
            warmup_ns: 2 * SECOND,
            planned_ns: 30 * SECOND,
            messages: 30_000,
            send_lag_bound_ns: 10_000_000,
            own_cpu_bound_percent: 98.0,
        }
    }

    fn spectrum(scale: u64) -> Spectrum {
        let at = |part: u64| part.saturating_mul(scale);
        Spectrum {
            count: 1_000,
            min: at(1),
            mean: at(2),
            p50: at(2),
            p90: at(3),
            p99: at(5),
            p999: at(8),
            p9999: at(12),
            max: at(20),
        }
    }

    /// Rows of one second.
    fn rows(count: usize) -> Vec<Row> {
        let row = |index: usize| Row {
            seconds: (index + 1) as f64,
            interval_seconds: 1.0,
            warmup: index < 2,
            sent: 1_000,
            delivered: 1_000_000,
            bytes: 64 << 20,
            connected: 1_001,
            recovered: 0,
            recoveries_failed: 0,
            response: spectrum(100_000),
            send_lag_max: 50_000,
            server_cpu_percent: Some(87.0),
            server_resident_bytes: Some(128 << 20),
        };
        (0..count).map(row).collect()
    }

    fn progress<'a>(phase: Phase, rows: &'a [Row], failed: &'a Reasons) -> Progress<'a> {
        let seconds = rows.len() as u64;
        let response = if rows.is_empty() { Spectrum::default() } else { spectrum(123_000) };
        Progress {
            outline: outline(),
            phase,
            connecting_ns: SECOND,
            elapsed_ns: seconds * SECOND,
            connections_ready: if phase == Phase::Connecting { 250 } else { 1_001 },
            connections_total: 1_001,
            failed,
            lost: 0,
            sent: seconds * 1_000,
            delivered: seconds * 1_000_000,
            rows,
            response,
            send_lag: Spectrum { count: 1, p99: 84_000, ..Spectrum::default() },
            own_cpu_percent: Some(41.0),
        }
    }

    fn picture_with(view: &View<'_>, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
        terminal.draw(|out| view.draw(out)).expect("memory takes all");
        let buffer = terminal.backend().buffer();
        let mut text = String::new();
        for row in buffer.content.chunks(usize::from(width).max(1)) {
            row.iter().for_each(|cell| text.push_str(cell.symbol()));
            writeln!(text).expect("strings take all");
        }
        text
    }

    fn picture(progress: &Progress<'_>, width: u16, height: u16) -> String {
        let (look, mut ramp) = (Look::new(false, 256), Ramp::default());
        ramp.push(0.5, 100);
        ramp.push(1.0, 250);
        picture_with(&View { progress, look: &look, ramp: &ramp, is_stopping: false }, width, height)
    }

    fn assert_shows(picture: &str, parts: &[&str]) {
        for part in parts {
            assert!(picture.contains(part), "no {part:?} in\n{picture}");
        }
    }

    #[test]
    fn every_phase_shows_its_figures_at_every_size() {
        let (rows, none) = (rows(12), Reasons::default());
        for (width, height) in [(60, 15), (80, 24), (160, 50)] {
            for phase in PHASES {
                let picture = picture(&progress(phase, &rows, &none), width, height);
                assert_shows(&picture, &["market data", phase.word(), "q end the run now"]);
                if phase == Phase::Connecting {
                    assert_shows(
                        &picture,
                        &["250 of 1 001   24 %", "connections ready", "about 3.0 s", "failed"],
                    );
                    continue;
                }
                assert_shows(
                    &picture,
                    &["12.0 s of 30.0 s   40 %", "deliveries per second", "response time"],
                );
                assert_shows(&picture, &["1.00 M/s", "246 us", "615 us", "984 us", "2.46 ms"]);
                assert_shows(&picture, &["84.0 us", "41 %", "87 %", "128 MiB", "1 001", "12 000"]);
            }
        }
    }

    #[test]
    fn larger_terminals_show_more() {
        let (rows, none) = (rows(12), Reasons::default());
        let of = |width, height| picture(&progress(Phase::Measuring, &rows, &none), width, height);
        let [small, medium, large] = [of(60, 15), of(80, 24), of(160, 50)];
        assert_shows(
            &medium,
            &["ws://127.0.0.1:9000/ws/demo", "8 workers on 2 machines", "keeps up", "64.0 MiB/s"],
        );
        // The latest interval beside the whole run.
        assert_shows(&medium, &["200 us  246 us", "500 us  615 us", "2.00 ms 2.46 ms"]);
        assert_shows(&large, &["server CPU ─", "send lag of the generator", "p99.99", "84.0 us of 10 ms"]);
        for only_large in ["p99.99", "send lag of"] {
            assert!(!small.contains(only_large) && !medium.contains(only_large), "{only_large}");
        }
    }

    #[test]
    fn what_is_wrong_stands_out() {
        let rows = rows(12);
        let mut failed = Reasons::default();
        failed.add("connection reset".to_owned());
        let mut bad = progress(Phase::Measuring, &rows, &failed);
        (bad.lost, bad.send_lag.p99) = (3, 31_000_000);
        // Wherever the lines break.
        let words: Vec<_> = picture(&bad, 80, 24).split_whitespace().map(str::to_owned).collect();
        let notice = "! the generator is late: send lag p99 31.0 ms > 10 ms; 3 connections lost; 1 failed: 1 x connection reset";
        assert_shows(&words.join(" "), &["BEHIND", notice]);
        assert_shows(&picture(&bad, 60, 15), &["3 lost", "the generator is late"]);
        bad.phase = Phase::Connecting;
        assert_shows(&picture(&bad, 80, 24), &["why they failed", "1 x connection reset"]);
    }

    #[test]
    fn the_end_can_be_asked_for_and_ascii_is_enough() {
        let (rows, none) = (rows(12), Reasons::default());
        for phase in PHASES {
            let progress = progress(phase, &rows, &none);
            let (look, ramp) = (Look::new(true, 0), Ramp::default());
            let picture = picture_with(
                &View { progress: &progress, look: &look, ramp: &ramp, is_stopping: true },
                80,
                24,
            );
            assert_shows(&picture, &["the run ends early"]);
            assert!(picture.is_ascii(), "{picture}");
        }
    }

    #[test]
    fn empty_long_and_idle_runs_are_shown() {
        let none = Reasons::default();
        for count in [0, 1, 2, 5_000] {
            let rows = rows(count);
            let mut progress = progress(Phase::Measuring, &rows, &none);
            assert_shows(&picture(&progress, 80, 24), &["response time", "p99.9"]);
            progress.outline =
                Outline { subscribers: 0, publishers: 0, messages: 0, planned_ns: 0, ..outline() };
            (progress.connections_ready, progress.connections_total) = (0, 0);
            assert_shows(&picture(&progress, 80, 24), &["0 subscribers", "100 %"]);
        }
        // One interval is a visible step, not a dot.
        let one = rows(1);
        assert_shows(&picture(&progress(Phase::Measuring, &one, &none), 80, 24), &["███"]);
    }

    /// Any number, and with them those at the edges.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>(), 0..1_000_000u64]
    }

    prop_compose! {
        fn any_row()(
            seconds in prop_oneof![any::<f64>(), 0.0..100.0], interval_seconds in prop_oneof![any::<f64>(), 0.0..2.0],
            counts in prop::array::uniform4(number()), figures in prop::array::uniform4(number()),
            cpu in prop::option::of(any::<f64>()), memory in prop::option::of(number()),
        ) -> Row {
            let [sent, delivered, bytes, connected] = counts;
            let [count, p50, p99, max] = figures;
            let response = Spectrum { count, min: 0, mean: p50, p50, p90: p50, p99, p999: p99, p9999: p99, max };
            Row {
                seconds, interval_seconds, warmup: false, sent, delivered, bytes, connected, response,
                recovered: 0, recoveries_failed: 0, send_lag_max: max, server_cpu_percent: cpu, server_resident_bytes: memory,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn no_size_and_no_figures_are_too_much(
            (width, height) in (prop_oneof![1..8u16, 1..200u16], prop_oneof![1..8u16, 1..70u16]),
            phase in prop::sample::select(&PHASES[..]),
            rows in prop::collection::vec(any_row(), 0..20),
            numbers in prop::array::uniform8(number()),
            (cpu, is_ascii) in (prop::option::of(any::<f64>()), any::<bool>()),
        ) {
            let mut failed = Reasons::default();
            failed.add("a sentence of the server with \u{4e16}\u{754c}".to_owned());
            let none = Reasons::default();
            let [connecting_ns, elapsed_ns, ready, total, lost, sent, delivered, planned_ns] = numbers;
            let mut progress = progress(phase, &rows, if is_ascii { &failed } else { &none });
            progress.outline = Outline { planned_ns, warmup_ns: lost, messages: total, ..outline() };
            progress = Progress {
                connecting_ns, elapsed_ns, connections_ready: ready, connections_total: total, lost, sent, delivered,
                own_cpu_percent: cpu, response: rows.first().map_or_else(Spectrum::default, |row| row.response),
                ..progress
            };
            let (look, mut ramp) = (Look::new(is_ascii, 16), Ramp::default());
            ramp.push(connecting_ns as f64 / 1e9, ready);
            let view = View { progress: &progress, look: &look, ramp: &ramp, is_stopping: is_ascii };
            let picture = picture_with(&view, width, height);
            prop_assert!(!is_ascii || picture.is_ascii());
        }
    }
}
