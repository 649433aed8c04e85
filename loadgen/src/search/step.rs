//! One run of a search, and what it says about its value.

use serde::{Deserialize, Serialize};

use super::table::outcome;
use crate::figures::grouped;
use crate::report::{Report, Verdict};
use crate::run::RunError;

/// Why a value was run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// All below it pass.
    Climb,
    /// It is between one that passes and one that does not.
    Bisect,
    /// The run before it did not pass.
    Repeat,
    /// It is the highest that passes.
    Confirm,
}

/// Why a run did not pass.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault", content = "reason")]
pub enum Fault {
    /// Gates that do not hold, with what was measured.
    Gate(String),
    /// Delivery is broken.
    Broken(String),
    /// The run says nothing about the server.
    Invalid(String),
    /// The run could not take place, such as for a server that takes no more connections.
    NoRun(String),
}

impl Fault {
    pub(crate) fn reason(&self) -> &str {
        let (Self::Gate(reason) | Self::Broken(reason) | Self::Invalid(reason) | Self::NoRun(reason)) = self;
        reason
    }
}

/// The run at one value. Figures are `null` when it did not take place, or has none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    pub value: f64,
    pub purpose: Purpose,
    pub verdict: Option<Verdict>,
    pub fault: Option<Fault>,
    /// Of the response.
    pub p50_ns: Option<u64>,
    pub p99_ns: Option<u64>,
    pub deliveries_per_second: Option<f64>,
    pub server_cpu_ns_per_delivery: Option<f64>,
    pub own_cpu_percent: Option<f64>,
}

impl Step {
    pub(super) fn new(value: f64, purpose: Purpose, run: Result<Report, RunError>) -> Self {
        let (report, fault) = match run {
            Ok(report) => {
                let fault = fault(&report);
                (Some(report), fault)
            }
            Err(RunError::NotReady(reason)) => (None, Some(Fault::NoRun(reason))),
            // What this machine does not allow is not the server's limit.
            Err(error) => (None, Some(Fault::Invalid(error.to_string()))),
        };
        let report = report.as_ref();
        let response = report.map(|report| report.latency_ns.response).filter(|response| response.count > 0);
        Self {
            value,
            purpose,
            verdict: report.map(|report| report.verdict),
            fault,
            p50_ns: response.map(|response| response.p50),
            p99_ns: response.map(|response| response.p99),
            deliveries_per_second: report.map(|report| report.deliveries.per_second),
            server_cpu_ns_per_delivery: report.and_then(|report| report.cost.server_cpu_ns_per_delivery),
            own_cpu_percent: report.map(|report| report.cost.own_cpu_percent),
        }
    }

    /// The run in a line, for who waits.
    pub fn line(&self) -> String {
        format!("{}: {}", grouped(self.value.round() as u64), outcome(self))
    }

    pub(crate) fn passed(&self) -> bool {
        self.fault.is_none()
    }
}

fn fault(report: &Report) -> Option<Fault> {
    let fault = match report.verdict {
        Verdict::Pass => return None,
        Verdict::Gate => Fault::Gate,
        Verdict::Broken => Fault::Broken,
        Verdict::Invalid => Fault::Invalid,
    };
    Some(fault(report.reasons.join("; ")))
}
