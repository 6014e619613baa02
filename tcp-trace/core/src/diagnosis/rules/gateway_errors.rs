//! Responses 408, 500, 502, 503 and 504, with what this host's connections show of their cause.

mod checks;
mod fates;
mod text;
mod unfinished;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
};

use tcp_trace_model::{
    event::Role,
    record::{Evidence, Finding, FindingConnection, Http, Part, Process, Severity, Text, TextRef},
    time::Time,
};
use unfinished::Unfinished;

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::{self, request, server_of, whose},
    fate::Fate,
    finding::{last_state, named, of_first, places},
    routing::{Asked, Explained, Routing},
    upstreams::{Attempted, REMEMBERED_MAX, Upstreams, answered, leave_out, life_process},
};
use crate::prose::{Micros, Size, counted};

/// A loss of events is noticed so much later at most, in microseconds.
const LOSS_NOTICED_US: u64 = 1_000_000;

/// What is known of why it was answered so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// This became of what the process tried itself.
    Upstream(Fate),
    /// Its upstream had answered with the same status.
    PassedOn,
    /// It tried nothing that failed.
    Own,
    /// What it tried was not seen.
    Unseen(Unseen),
    /// The end that answered was not traced.
    Remote,
    /// The request did not come to its end.
    Unfinished,
    /// There was no request.
    NotSent(Idle),
}

impl Cause {
    /// Whether the kernel gave an error for it.
    fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Upstream(
                Fate::Refused | Fate::NoRoute | Fate::NoPort | Fate::NoSyn | Fate::Reset(_) | Fate::Failed
            )
        )
    }

    /// Whether the client did not send what the server waited for.
    fn is_of_client(self) -> bool {
        matches!(self, Self::Unfinished | Self::NotSent(_))
    }
}

/// Since when a connection was idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Idle {
    /// It had carried no request.
    Opened,
    /// It had carried requests before.
    Kept,
}

/// Address and program of a server.
type Service<'a> = (SocketAddr, Option<&'a Text>);

/// Processes that answered for each of them.
type Workers<'a> = BTreeMap<Service<'a>, BTreeSet<u32>>;

/// Why a process's other connections are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unseen {
    /// It is not known which process answered.
    Process,
    /// The filter left them out.
    Filter,
    /// The request came before the trace.
    Request,
    /// Events were lost, or connections forgotten.
    Lost,
    /// It tried more than is looked at.
    TooMany,
}

/// A response, and why.
#[derive(Clone, Debug)]
struct Case<'a> {
    http: &'a Http,
    status: u16,
    process: Option<&'a Process>,
    cause: Cause,
    /// What explains it, and what else was tried for it and ended in the same way.
    tried: Vec<Attempted<'a>>,
    /// What was tried for it just before, and ended otherwise.
    before: Vec<Attempted<'a>>,
    /// What there was of the request, when it did not come to its end.
    unfinished: Option<Unfinished<'a>>,
}

/// The rule.
pub(in super::super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let all = || facts.history.exchanges().gateway_errors();
    if all().next().is_none() {
        return;
    }
    let upstreams = Upstreams::new(facts);
    // If both ends are traced, the one that answered is reported.
    let reported = all().filter(|http| {
        let at_server = || facts.history.exchanges().responses(server_of(http), true);
        http.connection.role == Some(Role::Server) || at_server().is_none()
    });
    let mut examined = examine(facts, &upstreams, reported);
    let asked: Vec<_> = examined.iter_mut().filter_map(|it| it.asked.take()).collect();
    let routing = Routing::of(&upstreams, &asked);
    let mut asked = asked.into_iter().peekable();
    let mut cases: Vec<_> = examined
        .into_iter()
        .filter_map(|it| {
            let asked = asked.next_if(|asked| std::ptr::eq(asked.http, it.http));
            case(facts, &it, asked.map(|asked| routing.explain(&asked)))
        })
        .collect();
    // An error that was passed on is reported at the process that passed it on.
    let passed_on: HashSet<_> = cases
        .iter()
        .filter(|case| case.cause == Cause::PassedOn)
        .flat_map(|case| &case.tried)
        .filter_map(|it| it.attempt.connection())
        .collect();
    cases.retain(|case| {
        case.cause != Cause::Remote
            || !passed_on.contains(&(case.http.connection.id, case.http.exchange.index))
    });
    let mut workers = Workers::new();
    for case in &cases {
        workers.entry(case.service()).or_default().extend(case.process.map(|process| process.pid));
    }
    let mut groups = BTreeMap::<(u16, Cause, Service<'_>), Vec<Case<'_>>>::new();
    for case in cases {
        groups.entry((case.status, case.cause, case.service())).or_default().push(case);
    }
    let least = usize::try_from(thresholds.gateway_errors).unwrap_or(usize::MAX);
    for cases in groups.into_values().filter(|cases| cases.len() >= least) {
        findings.extend(finding(facts, thresholds, &upstreams, &workers, &cases));
        cases.iter().for_each(|case| claim(facts, findings, case));
    }
}

/// What the gateway met is told with its error, and is no finding of its own.
fn claim(facts: &Facts<'_>, findings: &mut Findings, case: &Case<'_>) {
    findings.claim_exchange(facts, case.http);
    for it in case.tried.iter().chain(&case.before) {
        match (it.attempt.http, it.attempt.summary) {
            (Some(http), _) => {
                findings.claim_exchange(facts, http);
            }
            (None, Some(summary)) => findings.claim(facts, summary.connection.id),
            (None, None) => {}
        }
    }
}

/// Finds what was tried for each of these, no more than can be remembered of all together: of those for which most was tried, less.
fn examine<'a>(
    facts: &Facts<'a>,
    upstreams: &'a Upstreams<'a>,
    reported: impl Iterator<Item = &'a Http>,
) -> Vec<Examined<'a>> {
    let (mut examined, mut total, mut most) = (Vec::<Examined<'_>>::new(), 0, usize::MAX);
    for http in reported {
        let mut it = Examined::of(facts, upstreams, http);
        it.leave_out(most);
        total += it.tried();
        examined.push(it);
        if total > REMEMBERED_MAX {
            (total, most) = leave_out_most(&mut examined, most, REMEMBERED_MAX);
        }
    }
    examined
}

/// Leaves out of those for which most was tried, until no more than these are remembered, or hardly any of each. Gives how many are left of
/// all, and what [`Examined::leave_out`] took for one.
fn leave_out_most(examined: &mut [Examined<'_>], mut most: usize, remembered_max: usize) -> (usize, usize) {
    loop {
        let total = examined.iter().map(Examined::tried).sum();
        if total <= remembered_max || most <= 2 {
            return (total, most);
        }
        // More than `most` can be left of one, so that it has to become less by itself.
        most = examined.iter().map(Examined::tried).max().unwrap_or_default().min(most) / 2;
        examined.iter_mut().for_each(|it| it.leave_out(most));
    }
}

/// A response, and what its process tried meanwhile.
#[derive(Debug)]
struct Examined<'a> {
    http: &'a Http,
    process: Option<&'a Process>,
    /// `None` where what it tried is not known, or not the cause.
    asked: Option<Asked<'a>>,
    /// Whether that is all.
    is_all: bool,
    unfinished: Option<Unfinished<'a>>,
}

impl<'a> Examined<'a> {
    fn of(facts: &Facts<'a>, upstreams: &'a Upstreams<'a>, http: &'a Http) -> Self {
        let life = upstreams.life(http.connection.id);
        let process = life.and_then(life_process).or(http.connection.process.as_deref());
        let mut it = Self { http, process, asked: None, is_all: true, unfinished: None };
        if status(http) == Some(408) {
            it.unfinished = Unfinished::of(http, upstreams);
        }
        if let (Some(Role::Server), Some(process), None) = (http.connection.role, process, &it.unfinished) {
            // It is unknown when a request began that was not seen.
            let from = http.exchange.request.is_none().then(|| facts.history.from.unwrap_or_default());
            let (tried, is_all) = upstreams.during(process.pid, http, from);
            it.is_all = is_all;
            it.asked = Some(Asked { http, gateway: Some(&process.name), pid: process.pid, tried });
        }
        it
    }

    /// How many attempts are remembered.
    fn tried(&self) -> usize {
        self.asked.as_ref().map_or(0, |asked| asked.tried.len())
    }

    fn leave_out(&mut self, most: usize) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.tried.len() > most) {
            self.is_all &= leave_out(self.http, &mut asked.tried, most);
        }
    }
}

fn status(http: &Http) -> Option<u16> {
    Some(http.exchange.response.as_ref()?.status_code)
}

fn case<'a>(
    facts: &Facts<'a>,
    examined: &Examined<'a>,
    explained: Option<Explained<'a>>,
) -> Option<Case<'a>> {
    let Examined { http, process, is_all, unfinished, .. } = *examined;
    let status = status(http)?;
    let cause = match (&unfinished, explained.is_some(), http.connection.role) {
        (Some(unfinished), ..) => unfinished.cause(),
        (None, true, _) => Cause::Own,
        (None, false, Some(Role::Server)) => Cause::Unseen(Unseen::Process),
        (None, false, _) => Cause::Remote,
    };
    let Explained { tried, before } = explained.unwrap_or_default();
    let mut case = Case { http, status, process, cause, tried, before, unfinished };
    if cause == Cause::Own {
        case.cause = match case.chosen().map(|chosen| chosen.fate) {
            Some(Fate::Answered(answered)) if answered == status => Cause::PassedOn,
            Some(fate) => Cause::Upstream(fate),
            None if !is_all => Cause::Unseen(Unseen::TooMany),
            None => unseen(facts, http).map_or(Cause::Own, Cause::Unseen),
        };
    }
    // An application says 500 for many reasons: only what is seen to fail behind it is told.
    (status != 500 || matches!(case.cause, Cause::Upstream(_))).then_some(case)
}

/// Why it is not known what else a process did during an exchange, if it is not.
fn unseen(facts: &Facts<'_>, http: &Http) -> Option<Unseen> {
    let history = facts.history;
    let is_lost = history.first_loss.is_some_and(|loss| loss <= http.time.after_micros(LOSS_NOTICED_US));
    if history.is_narrowed {
        Some(Unseen::Filter)
    } else if http.exchange.request.is_none() {
        Some(Unseen::Request)
    } else {
        (is_lost || !history.remembers_since(http.exchange.timing.started)).then_some(Unseen::Lost)
    }
}

impl<'a> Case<'a> {
    fn service(&self) -> Service<'a> {
        (server_of(self.http), self.process.map(|process| &process.name))
    }

    /// The best explanation.
    fn chosen(&self) -> Option<&Attempted<'a>> {
        self.tried.first()
    }

    /// `GET /x: 502 after 1.20 ms, connect to 10.0.0.5:80 refused after 300 us`.
    fn note(&self) -> String {
        let Self { http, status, .. } = self;
        let after = Micros(answered(http).micros_since(http.exchange.timing.started));
        if let Some(Unfinished { begun, came, waited_us: Some(us) }) = self.unfinished {
            let request = if came.is_some() { request(begun) } else { "no request".to_owned() };
            let came = came.map_or("nothing".to_owned(), |came| {
                let part = if came.part == Part::Head { "head" } else { "body" };
                format!("{} of the {part}", Size(came.offset))
            });
            return format!("{request}: {status} after {}, {came} had arrived", Micros(us));
        }
        let tried = self.chosen().map_or(String::new(), |it| {
            let took = match it.fate {
                Fate::Answered(_) => String::new(),
                _ => format!(" after {}", Micros(it.took_us())),
            };
            format!(", {} {}{took}", it.attempt.server, text::fate(it.fate))
        });
        let before: BTreeSet<_> = self.before.iter().map(|it| (it.attempt.server, it.fate)).collect();
        let before = before
            .into_iter()
            .map(|(server, fate)| format!(", and before that {server} {}", text::fate(fate)));
        format!("{}: {status} after {after}{tried}{}", request(http), before.collect::<String>())
    }

    fn example(&self, upstreams: &Upstreams<'_>) -> FindingConnection {
        let mut example = exchange_findings::example(self.http);
        if let Some(summary) = upstreams.life(self.http.connection.id).and_then(|life| life.summary.as_ref())
        {
            example.state = last_state(summary);
        }
        example.notes = vec![self.note()];
        example
    }
}

fn finding(
    facts: &Facts<'_>,
    thresholds: &Thresholds,
    upstreams: &Upstreams<'_>,
    workers: &Workers<'_>,
    cases: &[Case<'_>],
) -> Option<Finding> {
    let first = cases.first()?;
    let server = server_of(first.http);
    let is_at_server = first.http.connection.role == Some(Role::Server);
    let whose = whose(cases.iter().filter_map(|case| case.process));
    let of_process = match (is_at_server, first.cause.is_of_client()) {
        (true, true) => format!("to {whose} at {server}"),
        (false, true) => format!("from {whose} to {server}"),
        (true, false) => format!("from {whose} at {server}"),
        (false, false) => format!("from {server} to {whose}"),
    };
    let tried = Tried::of(upstreams, cases);
    let checks = checks::beside_requests(upstreams, cases);
    let unfinished = || cases.iter().filter_map(|case| case.unfinished);
    let waited = unfinished().filter_map(|it| it.waited_us).max();
    let longest = cases.iter().filter_map(|case| Some(case.chosen()?.took_us())).max();
    let subject = text::Subject {
        count: cases.len(),
        of_process,
        status: first.status,
        upstream: tried.named(),
        is_one_upstream: tried.servers.len() == 1,
        longest_us: waited.or(longest),
        alert: tried.alert.clone(),
        may_be_checks: checks.is_some(),
    };
    let until = cases.iter().map(|case| answered(case.http)).max();
    let pids = workers.get(&first.service()).filter(|_| matches!(first.cause, Cause::Own | Cause::Unseen(_)));
    let failed = pids.map_or(Vec::new(), |pids| failed_otherwise(facts, pids, until));
    let came = unfinished().filter_map(|it| it.came);
    let clients = || cases.iter().filter_map(|case| upstreams.other_process(case.http.connection.id));
    let is_client_reported = first.cause.is_of_client() && is_at_server;
    let all = facts.history.exchanges().responses(server, is_at_server);
    Some(Finding {
        cause: Some(text::name(first.cause).to_owned()),
        severity: severity(first.cause, &tried, thresholds.severity(cases.len())),
        summary: text::summary(first.cause, &subject),
        evidence: Evidence::default()
            .and("responses", cases.len())
            .and("status", u64::from(first.status))
            // There can be other causes, and more than are remembered.
            .and_known(
                "with_this_status",
                all.map(|all| all.with(first.status)).filter(|it| *it > cases.len() as u64),
            )
            .and_known("responses_in_all", all.map(|all| all.all))
            .and_known("attempts", (tried.count > 0).then_some(tried.count))
            .and_known("longest_attempt_us", longest)
            .and_known("attempts_beside_requests", checks)
            .and_known("longest_wait_us", waited)
            .and_known("least_that_came_bytes", came.map(|came| came.offset).min())
            .and_known("error", tried.error.filter(|_| first.cause.is_failure()))
            .and_known("tls_alert", tried.alert)
            .and_known("server_header", header(first.http).filter(|_| first.cause == Cause::Remote))
            .and_known("client", clients().next().map(named).filter(|_| is_client_reported))
            .and_known("upstream_fault", first.chosen().and_then(|it| it.attempt.in_words()))
            .and_known("upstreams", Some(tried.places).filter(|it| !it.is_empty()))
            .and_known("upstream_processes", Some(tried.processes).filter(|it| !it.is_empty()))
            .and_known("connects_that_failed_otherwise", (!failed.is_empty()).then(|| failed.clone())),
        why: text::why(first.cause, &subject, !failed.is_empty()),
        advice: text::advice(first.cause, &subject),
        explain: if first.status == 500 { "502".to_owned() } else { first.status.to_string() },
        ..of_first(cases, |case| case.process, |case| Some(case.example(upstreams)))
    })
}

/// A failure on behalf of others, or one that is reported where it was made, is less severe.
fn severity(cause: Cause, tried: &Tried, of_count: Severity) -> Severity {
    match cause {
        Cause::NotSent(_) => Severity::Notice,
        Cause::PassedOn if !tried.processes.is_empty() => Severity::Notice,
        _ => of_count,
    }
}

/// What was tried in all cases of a group.
#[derive(Debug)]
struct Tried {
    count: usize,
    servers: BTreeSet<SocketAddr>,
    /// With how many attempts each has.
    places: Vec<String>,
    /// Those of the servers that are on this host and were traced.
    processes: Vec<String>,
    error: Option<String>,
    /// The alert that ended a TLS handshake, where all sent the same, in the clear.
    alert: Option<String>,
}

impl Tried {
    fn of(upstreams: &Upstreams<'_>, cases: &[Case<'_>]) -> Self {
        // At the same time, the same attempts.
        let all: BTreeMap<_, _> = cases
            .iter()
            .flat_map(|case| &case.tried)
            .filter_map(|it| Some((it.attempt.connection()?, it.attempt)))
            .collect();
        let process = |connection| Some(named(upstreams.other_process(connection)?));
        let processes: BTreeSet<_> = all.keys().filter_map(|(connection, _)| process(*connection)).collect();
        let error = all.values().find_map(|attempt| attempt.summary?.close.reason.clone());
        let alerts: BTreeSet<_> = all.values().map(|it| it.summary.and_then(fates::alert)).collect();
        let alert = alerts.first().cloned().flatten().filter(|_| alerts.len() == 1);
        Self {
            alert,
            count: all.len(),
            servers: all.values().map(|attempt| attempt.server).collect(),
            places: places(all.values().map(|attempt| attempt.server)),
            processes: processes.into_iter().collect(),
            error,
        }
    }

    /// `10.0.0.5:80`, or `3 upstream servers`.
    fn named(&self) -> String {
        match self.servers.first() {
            Some(server) if self.servers.len() == 1 => server.to_string(),
            _ => counted(self.servers.len(), "upstream server"),
        }
    }
}

/// Connects of these processes that had failed at other times: such as health checks.
fn failed_otherwise(facts: &Facts<'_>, pids: &BTreeSet<u32>, until: Option<Time>) -> Vec<String> {
    let destinations = facts.history.attempts().destinations();
    let of_them = destinations.filter(|(it, _)| it.pid.is_some_and(|pid| pids.contains(&pid)));
    let failed = of_them.flat_map(|(destination, sums)| {
        let each = [&sums.refused, &sums.timed_out, &sums.unreachable, &sums.without_port, &sums.unsent];
        let is_before = |when: Option<(Time, Time)>| when.is_some_and(|(first, _)| Some(first) <= until);
        let count: u64 = each.into_iter().filter(|it| is_before(it.when)).map(|it| it.count).sum();
        std::iter::repeat_n(destination.peer, usize::try_from(count).unwrap_or_default())
    });
    places(failed)
}

/// What a response says of who made it.
fn header(http: &Http) -> Option<String> {
    let (_, value) = http.exchange.response.as_ref()?.headers.iter().next()?;
    Some(TextRef(value).printable().to_string())
}

#[cfg(test)]
#[path = "gateway_errors_tests.rs"]
mod tests;
