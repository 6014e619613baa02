//! A copy of an accepted socket in a process that does not use it: while it is open, no close() of another process sends a FIN.

use tcp_trace_model::{
    event::{Role, State},
    record::{Evidence, Finding, Severity},
};

use super::{
    super::{
        Facts, Findings, Thresholds,
        finding::{Case, for_how_long, grouped, of, oldest, peers, who},
        snapshot::{Process, Socket},
    },
    idle_connections::idle_us,
};
use crate::prose::counted;

/// The last of the descriptors that a program is given on purpose: standard input, output and error, as inetd does.
const STANDARD_LAST: u32 = 2;

/// How exact the age of a process is, in milliseconds: a tick of the kernel's clock, and rounding.
const AGE_EXACT_MS: u64 = 20;

/// Whose the connections are beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// Another program listens at their port.
    OtherProgram,
    /// Nobody does any more.
    NobodyListens,
}

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let cases = facts.in_state(State::Established).filter_map(|socket| {
        let age = idle_us(socket).filter(|age| *age >= thresholds.min_age_us)?;
        cause(facts, socket).map(|_| Case::new(socket, Some(age)))
    });
    let key = |case: &Case<'_>| {
        (facts.owner_pid(case.socket), cause(facts, case.socket), case.socket.diag.endpoints.local.port())
    };
    for ((_, cause, port), cases) in grouped(findings.unexplained(facts, cases).into_iter(), key) {
        if let Some(cause) = cause {
            findings.push(finding(facts, cause, port, cases));
        }
    }
}

/// Why the processes that have a socket open are not those that serve it, if that seems so.
fn cause(facts: &Facts<'_>, socket: &Socket) -> Option<Cause> {
    let mut owners = facts.now.owners(socket).peekable();
    owners.peek()?;
    let listener = match facts.listener_of(socket) {
        // Whose it is may not be known.
        Some(listener) => Some(facts.owner(listener)?),
        None => None,
    };
    let is_kept = owners.all(|(process, fd)| {
        let is_other = listener.is_none_or(|listener| is_other_program(process, listener));
        process.sleeps && is_other && fd.is_some_and(|fd| fd > STANDARD_LAST) && is_younger(process, socket)
    });
    // Something was answered already.
    let has_sent = socket.diag.info.is_some_and(|info| info.bytes_sent > 0);
    let is_accepted = facts.role(socket) == Some(Role::Server);
    let cause = if listener.is_some() { Cause::OtherProgram } else { Cause::NobodyListens };
    (is_kept && has_sent && is_accepted).then_some(cause)
}

/// Whether a process was started behind the last data that the connection received: somebody else had it before.
fn is_younger(process: &Process, socket: &Socket) -> bool {
    let info = socket.diag.info.filter(|info| info.bytes_received > 0);
    let age = process.age_ms.zip(info);
    age.is_some_and(|(age_ms, info)| age_ms <= u64::from(info.last_data_recv_ms) + AGE_EXACT_MS)
}

/// Whether these are known to run different programs.
fn is_other_program(one: &Process, other: &Process) -> bool {
    let programs = one.named.executable.as_ref().zip(other.named.executable.as_ref());
    programs.is_some_and(|(one, other)| one != other)
}

fn finding(facts: &Facts<'_>, cause: Cause, port: u16, cases: Vec<Case<'_>>) -> Finding {
    let process = cases.first().and_then(|case| facts.owner(case.socket));
    let listener = cases.first().and_then(|case| facts.owner(facts.listener_of(case.socket)?));
    let (name, whose) = match cause {
        Cause::OtherProgram => ("other_program", format!("{} listens", who(listener))),
        Cause::NobodyListens => ("nobody_listens", "nothing listens any more".to_owned()),
    };
    Finding {
        cause: Some(name.to_owned()),
        severity: Severity::Warning,
        summary: format!(
            "{} keeps {} open that came in at port {port}, where {whose}; nothing has passed {}, and none of its threads \
             waits for data.",
            who(process),
            counted(cases.len(), "connection"),
            for_how_long(&cases),
        ),
        evidence: Evidence::default()
            .and("sockets", cases.len())
            .and_known("oldest_us", oldest(&cases))
            .and("peers", peers(&cases)),
        why: "The process was started after the request had come, and all its threads sleep, or wait for a signal or a child \
              process. Usually the process that accepted the connection started this one without close-on-exec, and so it has \
              a copy of the descriptor: although the other process calls close(), the kernel sends no FIN while the copy is \
              open, and a client that reads to the end waits for ever. A process that was started for the connection and \
              pauses looks the same: a recording that began before the connection names all processes that used it."
            .to_owned(),
        advice: "Open sockets close-on-exec (SOCK_CLOEXEC with socket() and accept4(), or FD_CLOEXEC), or close the copies \
                 between fork() and exec(). A server that calls shutdown() before close() sends its FIN whoever has a copy."
            .to_owned(),
        ..of(facts, cases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Host;

    /// A connection of `sleep`, quiet for so long, beside a listener of `api`, if there is one.
    fn host(seconds: u32, has_listener: bool) -> Host {
        let mut host = Host::new();
        let [api, sleep] = [(6, "api"), (7, "sleep")].map(|(pid, name)| {
            let index = host.process(pid, name);
            host.snapshot.processes[index as usize].named.executable = Some(name.into());
            index
        });
        host.snapshot.processes[sleep as usize].sleeps = true;
        host.snapshot.processes[sleep as usize].age_ms = Some(89_990);
        if has_listener {
            host.listener(Some(api), 0, 128);
        }
        let socket = host.accepted(Some(sleep), State::Established, 40_000).idle(seconds);
        let info = socket.info();
        (info.bytes_received, info.bytes_sent, info.bytes_acked) = (40, 60, 60);
        host
    }

    #[test]
    fn a_program_that_inherited_a_connection_is_reported() {
        for (has_listener, cause, whose) in [
            (true, "other_program", "api (pid 6) listens"),
            (false, "nobody_listens", "nothing listens any more"),
        ] {
            let findings = host(90, has_listener).judge("descriptor_kept");
            let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
            let expected = format!(
                "sleep (pid 7) keeps 1 connection open that came in at port 8080, where {whose}; nothing has passed for 1 min \
                 30 s, and none of its threads waits for data."
            );
            assert_eq!(
                (finding.summary.as_str(), finding.cause.as_deref()),
                (expected.as_str(), Some(cause))
            );
        }
    }

    #[test]
    fn who_uses_it_or_was_given_it_is_fine() {
        let changes: [fn(&mut Host); 5] = [
            // It had the connection from its beginning, as a server for one connection has.
            |host| host.snapshot.processes[1].age_ms = Some(95_000),
            |host| host.snapshot.processes[1].sleeps = false,
            |host| host.snapshot.processes[1].named.executable = Some("api".into()),
            |host| host.snapshot.holders[1].fd = Some(0),
            |host| host.snapshot.sockets[1].info().bytes_sent = 0,
        ];
        for change in changes {
            let mut host = host(90, true);
            change(&mut host);
            assert_eq!(host.judge("descriptor_kept"), []);
        }
        let mut client = host(90, false);
        // Its SYN is one more.
        client.snapshot.sockets[0].info().bytes_acked = 61;
        assert_eq!(client.judge("descriptor_kept"), []);
        assert_eq!(host(59, true).judge("descriptor_kept"), []);
    }
}
