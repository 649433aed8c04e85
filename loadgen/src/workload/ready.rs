//! Workloads that come with this program.

/// A workload by its name.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub name: &'static str,
    /// The file, with comments that say what it models.
    pub toml: &'static str,
}

impl Ready {
    /// What it models: its first line, without the comment's sign.
    pub fn summary(&self) -> &'static str {
        self.toml.lines().next().unwrap_or_default().trim_start_matches('#').trim()
    }
}

pub const READY: [Ready; 4] = [
    Ready { name: "market-data", toml: include_str!("../../workloads/market-data.toml") },
    Ready { name: "game-state", toml: include_str!("../../workloads/game-state.toml") },
    Ready { name: "chat-rooms", toml: include_str!("../../workloads/chat-rooms.toml") },
    Ready { name: "notifications", toml: include_str!("../../workloads/notifications.toml") },
];
