//! A calibration for people, with how to read it.

use std::fmt;

use super::{Busy, Calibration, Floor, Load, Party};
use crate::figures::{grouped, plural, time};
use crate::latency::Spectrum;
use crate::search::Limit;

/// A calibration that prints itself.
#[derive(Debug)]
pub struct Table<'a>(pub &'a Calibration);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(calibration) = self;
        writeln!(f, "This program against a null sink, with messages of {}", calibration.content)?;
        places(f, calibration)?;
        writeln!(f)?;
        spectra(f, calibration)?;
        writeln!(f)?;
        let clock = &calibration.clock;
        row(f, "clock", &format!("{:.1} ns a reading, steps of {} ns", clock.cost_ns, clock.resolution_ns))?;
        let connect = &calibration.connect;
        let connections = grouped(connect.connections);
        let per_second = grouped(connect.per_second.round() as u64);
        row(f, "connections", &format!("{per_second} ready a second, of {connections}"))?;
        troubled(f, connect.trouble.as_deref())?;
        load(f, "paced", "one message in each read", &calibration.paced)?;
        match &calibration.flood {
            Some(flood) => load(f, "flood", "as many as go through", flood)?,
            None => row(f, "flood", "no run passed")?,
        }
        limit(f, &calibration.search.limit)?;
        writeln!(f)?;
        reading(f, calibration)
    }
}

fn places(f: &mut fmt::Formatter<'_>, calibration: &Calibration) -> fmt::Result {
    match (calibration.generator_core, calibration.sink_core) {
        (Some(generator), Some(sink)) => {
            writeln!(f, "generator on core {generator}, sink on core {sink}")
        }
        _ => writeln!(f, "generator and sink SHARE ONE CORE: all figures are worse than the generator's own"),
    }
}

fn spectra(f: &mut fmt::Formatter<'_>, calibration: &Calibration) -> fmt::Result {
    write!(f, "{:<50}", "")?;
    let heads = ["min", "p50", "p90", "p99", "p99.9", "max"];
    heads.iter().try_for_each(|head| write!(f, "{head:>10}"))?;
    writeln!(f)?;
    spectrum(f, "timer    how late it wakes", &calibration.clock.timer_late_ns)?;
    for floor in &calibration.floor {
        let Floor { subscribers, messages_per_second, .. } = floor;
        let words = format!("{} x {messages_per_second}/s", grouped(*subscribers as u64));
        spectrum(f, &format!("floor    {words}, due -> received"), &floor.response_ns)?;
        if *subscribers > 1 {
            spectrum(f, &format!("floor    {words}, due -> last receiver"), &floor.to_last_ns)?;
        }
        troubled(f, floor.trouble.as_deref())?;
    }
    Ok(())
}

fn spectrum(f: &mut fmt::Formatter<'_>, name: &str, spectrum: &Spectrum) -> fmt::Result {
    write!(f, "{name:<50}")?;
    let Spectrum { min, p50, p90, p99, p999, max, .. } = *spectrum;
    for ns in [min, p50, p90, p99, p999, max] {
        let cell = if spectrum.count == 0 { "-".to_owned() } else { time(ns) };
        write!(f, "{cell:>10}")?;
    }
    writeln!(f)
}

fn load(f: &mut fmt::Formatter<'_>, name: &str, words: &str, load: &Load) -> fmt::Result {
    let each = format!(
        "{} deliveries/s: {} x {} messages/s, {words}",
        grouped(load.deliveries_per_second.round() as u64),
        plural(load.subscribers as u64, "subscriber"),
        grouped(load.messages_per_second.round() as u64),
    );
    row(f, name, &each)?;
    let busier = |party| if load.busier == party { ", the busier one" } else { "" };
    row(f, "", &format!("generator  {}{}", busy(&load.generator), busier(Party::Generator)))?;
    row(f, "", &format!("sink       {}{}", busy(&load.sink), busier(Party::Sink)))?;
    troubled(f, load.trouble.as_deref())
}

fn busy(busy: &Busy) -> String {
    match (busy.cpu_ns_per_delivery, busy.cpu_percent, busy.deliveries_per_second_and_core) {
        (Some(cost), Some(percent), Some(ceiling)) => format!(
            "{cost:.1} ns a delivery, {percent:.0} % of a core: at most {} deliveries/s on one core",
            grouped(ceiling.round() as u64)
        ),
        _ => "processor time unknown".to_owned(),
    }
}

/// What stopped the flood. The search calls the sink the server.
fn limit(f: &mut fmt::Formatter<'_>, limit: &Limit) -> fmt::Result {
    match limit {
        Limit::Server(reason) => row(f, "", &format!("stopped by the sink: {reason}")),
        Limit::Generator(reason) => row(f, "", &format!("stopped by the generator: {reason}")),
        Limit::NotReached => Ok(()),
    }
}

fn troubled(f: &mut fmt::Formatter<'_>, trouble: Option<&str>) -> fmt::Result {
    trouble.map_or(Ok(()), |trouble| row(f, "", &format!("NOT A SOUND RUN: {trouble}")))
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "{}", format!("{name:<20}{text}").trim_end())
}

fn reading(f: &mut fmt::Formatter<'_>, calibration: &Calibration) -> fmt::Result {
    writeln!(f, "How to read it")?;
    let paced = calibration.paced.generator.deliveries_per_second_and_core;
    let flood = calibration.flood.as_ref().and_then(|flood| flood.generator.deliveries_per_second_and_core);
    if let (Some(paced), Some(flood)) = (paced, flood) {
        let millions = |ceiling: f64| format!("{:.2} million", ceiling / 1e6);
        writeln!(
            f,
            "- A core of this program receives at most {} deliveries/s when messages arrive one by one, and {} when \
             many arrive together. A server measured at a rate near that was not measured: the generator was.",
            millions(paced),
            millions(flood),
        )?;
    }
    if let Some(floor) = calibration.floor.iter().find(|floor| floor.response_ns.count > 0) {
        writeln!(
            f,
            "- Loopback, wake-ups and this program alone take {} in the middle and {} at p99. Latencies of a server near \
             that say nothing about the server. Percentiles cannot be subtracted: compare, do not correct.",
            time(floor.response_ns.p50),
            time(floor.response_ns.p99),
        )?;
    }
    writeln!(
        f,
        "- A server measured faster than this null sink on this machine was not measured.\n- The figures hold for this \
         machine, this message size and an otherwise idle moment: calibrate again when one of them changes."
    )
}
