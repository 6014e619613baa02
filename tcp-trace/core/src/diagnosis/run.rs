//! Asks every rule, and orders what they found.

use tcp_trace_model::{
    event::State,
    record::{Finding, FindingConnection, ProcessState},
};

use super::{Facts, Findings, Snapshot, Thresholds, rules::RULES};

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
    let mut found = Findings::default();
    for rule in RULES {
        let first = found.len();
        (rule.judge)(facts, thresholds, &mut found);
        for finding in &mut found.all[first..] {
            finding.time = facts.now.time;
            rule.code.clone_into(&mut finding.code);
            note_state(facts, finding);
            if finding.explain.is_empty() {
                rule.explain.clone_into(&mut finding.explain);
            }
        }
    }
    let mut findings = found.all;
    learn_states(facts, &mut findings);
    // Stable: of equal ones the rules' order counts.
    findings.sort_by_key(|finding| {
        let connections = finding.connections.len() as u64 + finding.connections_omitted;
        std::cmp::Reverse((finding.severity, connections))
    });
    Report { findings, too_young: too_young(facts, thresholds) }
}

/// Says of a finding's process what keeps it from running, if something does: that is why before all else. Each disk access is a
/// moment in D, so that it has to be so at the beginning too.
fn note_state(facts: &Facts<'_>, finding: &mut Finding) {
    let Some(pid) = finding.process.as_ref().map(|process| process.pid) else { return };
    let state_in = |snapshot: &Snapshot| {
        let process = snapshot.processes.iter().find(|process| process.named.pid == pid);
        process.and_then(|process| process.state)
    };
    let state = state_in(facts.now);
    let (name, why) = match state {
        Some(ProcessState::Stopped) => (
            "stopped by a signal (T)",
            "The process is stopped (SIGSTOP or SIGTSTP) and does nothing until SIGCONT.",
        ),
        // strace stops a process for a moment at each system call.
        Some(ProcessState::Traced) if facts.before.and_then(state_in) == state => (
            "stopped by a debugger (t)",
            "A debugger or tracer had stopped the process at the beginning of the trace and at its end.",
        ),
        Some(ProcessState::Traced) if facts.before.is_none() => (
            "stopped by a debugger (t)",
            "At this moment a debugger or tracer has stopped the process: for as long as a debugger wants, or, by strace, for \
             a moment at each system call.",
        ),
        Some(ProcessState::Uninterruptible) if facts.before.and_then(state_in) == state => (
            "uninterruptible (D)",
            "Its main thread waited in the kernel for a device, such as a disk or NFS, at the beginning of the trace and at \
             its end.",
        ),
        Some(ProcessState::Zombie) => ("main thread ended (Z)", "The main thread of the process has ended."),
        Some(ProcessState::Traced | ProcessState::Uninterruptible) | None => return,
    };
    finding.evidence = std::mem::take(&mut finding.evidence).and("process_state", name);
    finding.why = format!("{why} {}", finding.why);
}

/// Gives the examples that are known from the trace alone the state that their connection is in.
pub(super) fn learn_states(facts: &Facts<'_>, findings: &mut [Finding]) {
    for example in findings.iter_mut().flat_map(|finding| &mut finding.connections) {
        example.state = state_of(facts, example).unwrap_or(example.state);
    }
}

/// The state of a connection that is known from the trace alone: its last one, unless it has ended.
fn state_of(facts: &Facts<'_>, example: &FindingConnection) -> Option<State> {
    let is_of_snapshot = example.fd.is_some() || example.age_us.is_some();
    let life = facts.history.life_of(example.connection).filter(|_| !is_of_snapshot)?;
    let last = || Some(life.summary.as_ref()?.states.last()?.state);
    if life.has_ended() { Some(State::Close) } else { last() }
}

/// Waiting sockets that have not waited long enough to be reported.
fn too_young(facts: &Facts<'_>, thresholds: &Thresholds) -> Vec<(String, u64)> {
    let state = State::CloseWait;
    let young = facts
        .in_state(state)
        .filter(|socket| !socket.has_no_file())
        .filter(|socket| super::rules::close_wait::age_us(facts, socket) < Some(thresholds.min_age_us));
    match young.count() as u64 {
        0 => Vec::new(),
        count => vec![(state.name().to_owned(), count)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{History, testing::Host};

    #[test]
    fn one_moment_in_d_is_no_cause_and_a_stopped_process_is() {
        let host = |state| {
            let mut host = Host::new();
            let api = host.process(6, "api");
            host.snapshot.processes[api as usize].state = state;
            host.listener(Some(api), 0, 128);
            let socket = host.accepted(Some(api), State::Established, 40_000).idle(90);
            (socket.diag.rqueue, socket.info().rcv_wnd) = (123, Some(60_000));
            host.snapshot
        };
        let (device, stopped) = (Some(ProcessState::Uninterruptible), Some(ProcessState::Stopped));
        let traced = Some(ProcessState::Traced);
        for (before, now, expected) in [
            (Some(device), device, Some("uninterruptible (D)")),
            (Some(None), device, None),
            (None, device, None),
            (None, stopped, Some("stopped by a signal (T)")),
            (Some(traced), traced, Some("stopped by a debugger (t)")),
            (Some(None), traced, None),
            (None, traced, Some("stopped by a debugger (t)")),
        ] {
            let (before, now) = (before.map(host), host(now));
            let history = History::default();
            let report = judge(&Facts::new(&now, before.as_ref(), &history), &Thresholds::DEFAULT);
            let state = report.findings[0].evidence.get("process_state").cloned();
            assert_eq!(state, expected.map(|name| name.into()));
        }
    }
}
