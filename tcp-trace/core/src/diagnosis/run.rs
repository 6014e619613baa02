//! Asks every rule, and orders what they found.

use tcp_trace_model::record::Finding;

use super::{Facts, Thresholds, rules::RULES};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The most severe first; of the same severity, what concerns more connections.
    pub findings: Vec<Finding>,
    /// Sockets that would be in a finding if they were older, by state's name.
    pub too_young: Vec<(String, u64)>,
}

/// Judges by all rules.
pub fn judge(facts: &Facts<'_>, thresholds: &Thresholds) -> Report {
    let mut findings = Vec::new();
    for rule in RULES {
        let first = findings.len();
        (rule.judge)(facts, thresholds, &mut findings);
        for finding in &mut findings[first..] {
            finding.time = facts.now.time;
            rule.code.clone_into(&mut finding.code);
            if finding.explain.is_empty() {
                rule.explain.clone_into(&mut finding.explain);
            }
        }
    }
    // Stable: of equal ones the rules' order counts.
    findings.sort_by_key(|finding| {
        let connections = finding.connections.len() as u64 + finding.connections_omitted;
        std::cmp::Reverse((finding.severity, connections))
    });
    Report { findings, too_young: too_young(facts, thresholds) }
}

/// Waiting sockets that have not waited long enough to be reported.
fn too_young(facts: &Facts<'_>, thresholds: &Thresholds) -> Vec<(String, u64)> {
    let state = tcp_trace_model::event::State::CloseWait;
    let young = facts
        .in_state(state)
        .filter(|socket| !socket.has_no_file())
        .filter(|socket| super::rules::close_wait::age_us(facts, socket) < Some(thresholds.min_age_us));
    match young.count() as u64 {
        0 => Vec::new(),
        count => vec![(state.name().to_owned(), count)],
    }
}
