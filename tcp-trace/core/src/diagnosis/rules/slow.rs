//! Exchanges that take long, by what took the time: the server's work, losses on the way, or a receiver that
//! does not read.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
};

use tcp_trace_model::{
    event::Role,
    http2::{Blocked, StreamDetails},
    record::{Evidence, Finding, Http, Stall, Stalls},
};

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::{self, passed_on, server_of, whose},
    exchanges::SLOW_LEAST_US,
    finding::{CONNECTIONS_MAX, of_first},
    findings::{ExchangeKey, exchange_key},
};
use crate::prose::{Micros, counted};

/// What took most of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blame {
    /// The server, until the first byte of its response.
    Server,
    /// Segments that were lost and sent again.
    Network,
    /// The client, that did not read the response.
    Client,
    /// The server, that did not read the request.
    Upload,
    /// The client waited for `100 Continue`.
    Continue,
    /// The receiver, that did not enlarge a window of HTTP/2.
    Window(Window),
}

/// A window of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Window {
    /// Of bodies of requests, and else of responses.
    of_requests: bool,
    /// Of the connection, and else of a stream.
    of_connection: bool,
}

/// All windows.
const WINDOWS: [Blame; 4] =
    [window(false, true), window(false, false), window(true, true), window(true, false)];

const fn window(of_requests: bool, of_connection: bool) -> Blame {
    Blame::Window(Window { of_requests, of_connection })
}

/// Time of an exchange, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    lost: u64,
    client_full: u64,
    server_full: u64,
    server: u64,
    /// Between a head that expects 100 and what came or went then.
    before_body: u64,
    /// While a window of HTTP/2 was exhausted, as in [`WINDOWS`].
    windows: [u64; 4],
}

impl Parts {
    /// Of an exchange that a client's end saw, with what the server's end says of it, if that was traced too.
    fn known(facts: &Facts<'_>, http: &Http) -> Self {
        let mut it = Self::of(http);
        if let Some(server) = at_server(facts, http) {
            let of_server = Self::of(server);
            // What the server sent at once and had to send again is no time of the server's.
            let waited = server.exchange.timing.wait_us.map(|_| of_server.server);
            it.server = it.server.min(waited.unwrap_or(u64::MAX));
            it.lost = it.lost.max(of_server.lost);
        }
        it
    }

    fn of(http: &Http) -> Self {
        let Stalls { send, wait, receive } = http.exchange.timing.stalls.clone().unwrap_or_default();
        let lost = |stall: Option<Stall>| stall.map_or(0, |stall| stall.retransmit_us);
        let full = |stall: Option<Stall>| stall.map_or(0, |stall| stall.zero_window_us);
        let details = http.exchange.stream_details();
        let blocked = |of: fn(&StreamDetails) -> Option<Blocked>| {
            let Blocked { stream_us, connection_us } = details.and_then(of).unwrap_or_default();
            // What waits for its own window is not held up by others.
            [if stream_us < connection_us { connection_us } else { 0 }, stream_us]
        };
        let ([of_connection, of_stream], [all_uploads, upload]) =
            (blocked(|it| it.response_blocked), blocked(|it| it.request_blocked));
        Self {
            windows: [of_connection, of_stream, all_uploads, upload],
            before_body: http.exchange.timing.expect_us.unwrap_or_default(),
            lost: lost(send) + lost(wait) + lost(receive),
            client_full: full(receive),
            server_full: full(send),
            server: http.exchange.timing.wait_us.unwrap_or_default().saturating_sub(lost(wait)),
        }
    }
}

impl Blame {
    /// What took at least half of the time, if that is known; and how long.
    fn of(facts: &Facts<'_>, http: &Http, slow_us: u64) -> Option<(Self, u64)> {
        let parts = Parts::known(facts, http);
        let total = http.exchange.timing.total_us;
        let each = [
            (Self::Client, parts.client_full),
            (Self::Upload, parts.server_full),
            (Self::Network, parts.lost),
            (Self::Server, parts.server),
            (Self::Continue, parts.before_body),
        ];
        let windows = WINDOWS.into_iter().zip(parts.windows);
        each.into_iter().chain(windows).find(|(_, us)| total >= slow_us && us * 2 >= total)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Server => "first_byte",
            Self::Network => "retransmits",
            Self::Client => "client_does_not_read",
            Self::Upload => "server_does_not_read",
            Self::Continue => "continue_not_sent",
            Self::Window(Window { of_connection: true, .. }) => "connection_window",
            Self::Window(Window { of_connection: false, .. }) => "stream_window",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Server => "waited long for the first byte of the response",
            Self::Network => "took long because segments were lost and retransmitted",
            Self::Client => "took long because the client did not read the response: its window was 0",
            Self::Upload => "took long because the server did not read the request: its window was 0",
            Self::Continue => "took long between head and body, after Expect: 100-continue",
            Self::Window(Window { of_requests: false, of_connection: true }) => {
                "took long because the client let no more of any response through on the connection (HTTP/2 flow control)"
            }
            Self::Window(Window { of_requests: false, of_connection: false }) => {
                "took long because the client let no more of the response through (HTTP/2 flow control)"
            }
            Self::Window(Window { of_requests: true, of_connection: true }) => {
                "took long because the server let no more of any request through on the connection (HTTP/2 flow control)"
            }
            Self::Window(Window { of_requests: true, of_connection: false }) => {
                "took long because the server let no more of the request through (HTTP/2 flow control)"
            }
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Server => {
                "The request was delivered, and the server took the time until the response began: its work, a \
                 queue before it, locks, or whatever it waits for itself (database, other services). A long poll \
                 looks the same."
            }
            Self::Network => {
                "Segments were lost on the way, and TCP retransmits only after a round trip, or after 200 ms and \
                 more when nothing comes back. Neither the client nor the server caused the delay, unless the server's kernel \
                 dropped the first segments of a connection because its accept queue was full."
            }
            Self::Continue => {
                "The client sends the body only when the server says 100 Continue, or after a timeout of its own (curl: 1 s). \
                 The server did not say it, or late: `informational` of the exchange in a recording shows which."
            }
            Self::Window(Window { of_connection: true, .. }) => {
                "The HTTP/2 window of the connection was exhausted: all its streams share it, and what the receiver has not read of one \
                 holds up the others (head-of-line blocking), whether or not they are read."
            }
            Self::Window(Window { of_connection: false, .. }) => {
                "The HTTP/2 window of the stream was exhausted: the receiving program does not read this body, or the window is \
                 smaller than what the path holds (bandwidth times round trip)."
            }
            Self::Client | Self::Upload => {
                "The receiver's socket buffer was full, so its kernel told the sender to stop (window 0). The \
                 process there reads more slowly than data arrives, or does something else meanwhile. The network \
                 is not at \
                 fault."
            }
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Server => {
                "Profile the server for these paths; compare with its own log of request times. If that is short, the \
                 request waited before it was read: workers, accept queue, event loop."
            }
            Self::Network => {
                "Look for loss: ip -s link (drops, errors), ethtool -S, a congested or policed link, wireless; ss -ti \
                 shows retransmits per connection. mtr --tcp towards the server shows where."
            }
            Self::Continue => {
                "Let the server (or the proxy before it) answer Expect with 100 Continue or a final status at once, or let \
                 the client not send Expect (curl: -H 'Expect:')."
            }
            Self::Window(Window { of_connection: true, .. }) => {
                "Let the receiver read all its streams, or enlarge the window of the connection (Go http2 \
                 MaxUploadBufferPerConnection, Envoy initial_connection_window_size, nghttp2 -W); or use another connection for what \
                 is read slowly."
            }
            Self::Window(Window { of_connection: false, .. }) => {
                "Find out whether the receiving program reads meanwhile (stack, CPU). If it does, enlarge the window of streams \
                 (SETTINGS_INITIAL_WINDOW_SIZE)."
            }
            Self::Client | Self::Upload => {
                "Find out what the receiving process does instead of reading (stack, CPU): parsing or writing to \
                 disk in \
                 the reading thread, a full queue behind it. Larger buffers only move the limit."
            }
        }
    }

    fn least(self, thresholds: &Thresholds) -> usize {
        let is_measured = self != Self::Server;
        // Losses and full windows are faults by themselves; a single long wait may be wanted.
        if is_measured { 1 } else { usize::try_from(thresholds.slow_count).unwrap_or(usize::MAX) }
    }
}

/// The server is slow to the first byte.
pub(in super::super) fn server(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    judge(facts, thresholds, &[Blame::Server, Blame::Continue], findings);
}

/// The network loses.
pub(in super::super) fn network(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    judge(facts, thresholds, &[Blame::Network], findings);
}

/// A receiver does not enlarge a window of HTTP/2.
pub(in super::super) fn flow_control(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    judge(facts, thresholds, &WINDOWS, findings);
}

/// A receiver does not read.
pub(in super::super) fn reader(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    judge(facts, thresholds, &[Blame::Client, Blame::Upload], findings);
}

fn judge(facts: &Facts<'_>, thresholds: &Thresholds, blames: &[Blame], findings: &mut Findings) {
    let slow_us = thresholds.slow_us.max(SLOW_LEAST_US);
    // What was not seen may be taken for lost on the way, and what waited for it for the server's time.
    let all = || facts.history.exchanges().slow().filter(|http| !facts.history.may_lack_events_of(http));
    let behind = facts.behind();
    let depth = |http: &Http| behind.roots(exchange_key(facts, http)).count();
    // Roots first.
    let deepest = all().map(depth).max().unwrap_or_default();
    for (blame, most) in blames.iter().flat_map(|blame| (0..=deepest).map(move |most| (blame, most))) {
        // If both ends saw it, the one to blame is reported.
        let is_clients = matches!(blame, Blame::Client | Blame::Window(Window { of_requests: false, .. }));
        let reporter = if is_clients { Role::Client } else { Role::Server };
        // Of what was lost on the way, an end sees only what it sent or received itself.
        let is_judge = |http: &&Http| {
            *blame != Blame::Network || Blame::of(facts, http, slow_us).is_some_and(|(it, _)| it == *blame)
        };
        let by_reporter: HashSet<ExchangeKey> = all()
            .filter(|http| http.connection.role == Some(reporter))
            .filter(is_judge)
            .map(|http| exchange_key(facts, http))
            .collect();
        let mut groups = BTreeMap::<(SocketAddr, String), Vec<(&Http, u64)>>::new();
        for http in all().filter(|http| depth(http) <= most && !findings.explain_exchange(facts, http)) {
            let is_reported =
                http.connection.role == Some(reporter) || !by_reporter.contains(&exchange_key(facts, http));
            match Blame::of(facts, http, slow_us) {
                Some((it, us)) if it == *blame && is_reported => {
                    groups.entry((server_of(http), place(http))).or_default().push((http, us));
                }
                _ => {}
            }
        }
        for ((server, place), mut cases) in groups {
            if cases.len() >= blame.least(thresholds) {
                cases.iter().for_each(|(http, _)| {
                    findings.claim_exchange(facts, http);
                });
                cases.sort_by_key(|(_, us)| std::cmp::Reverse(*us));
                let mut finding = finding(facts, thresholds, *blame, server, &place, &cases);
                let not_read = held_up_by(facts, *blame, &cases, all());
                not_read.iter().for_each(|http| {
                    findings.claim_exchange(facts, http);
                });
                if !not_read.is_empty() {
                    let requests: BTreeSet<_> =
                        not_read.into_iter().map(exchange_findings::request).collect();
                    let shown: Vec<_> = requests.into_iter().take(CONNECTIONS_MAX).collect();
                    finding.evidence = std::mem::take(&mut finding.evidence).and("held_up_by", shown);
                }
                findings.push(finding);
            }
        }
    }
}

/// The exchanges on the same connections that waited for windows of their own, and so used up the connection's.
fn held_up_by<'a>(
    facts: &Facts<'_>,
    blame: Blame,
    cases: &[(&'a Http, u64)],
    all: impl Iterator<Item = &'a Http>,
) -> Vec<&'a Http> {
    let Blame::Window(Window { of_requests, of_connection: true }) = blame else { return Vec::new() };
    let mut by_connection = HashMap::<_, Vec<&Http>>::new();
    for (http, _) in cases {
        by_connection.entry(http.connection.id).or_default().push(http);
    }
    let times = |http: &Http| {
        let timing = &http.exchange.timing;
        (timing.started, timing.started.after_micros(timing.total_us))
    };
    let is_root = |http: &&Http| {
        let (from, to) = times(http);
        let is_meanwhile = |case: &&Http| {
            let (started, ended) = times(case);
            from <= ended && started <= to
        };
        let held_up = by_connection.get(&http.connection.id);
        let blame = Blame::of(facts, http, SLOW_LEAST_US).map(|(blame, _)| blame);
        blame == Some(window(of_requests, false))
            && held_up.is_some_and(|cases| cases.iter().any(is_meanwhile))
    };
    all.filter(is_root).collect()
}

/// Which slow exchanges are so many of a kind that they are a finding, before it is known which of them another one explains.
pub(in super::super) struct Kinds {
    slow_us: u64,
    /// With how many there are.
    all: BTreeMap<(SocketAddr, String, Blame), (usize, usize)>,
}

impl Kinds {
    /// Of those that clients' ends saw and that nothing explains yet.
    pub(in super::super) fn of(facts: &Facts<'_>, thresholds: &Thresholds, findings: &Findings) -> Self {
        let mut it = Self { slow_us: thresholds.slow_us.max(SLOW_LEAST_US), all: BTreeMap::new() };
        let counts =
            |http: &&Http| !facts.history.may_lack_events_of(http) && !findings.explain_exchange(facts, http);
        for http in facts.history.exchanges().slow().filter(counts) {
            if let (Some(Role::Client), Some(kind)) = (http.connection.role, it.kind(facts, http)) {
                let least = kind.2.least(thresholds);
                it.all.entry(kind).or_insert((0, least)).0 += 1;
            }
        }
        it
    }

    fn kind(&self, facts: &Facts<'_>, http: &Http) -> Option<(SocketAddr, String, Blame)> {
        let (blame, _) = Blame::of(facts, http, self.slow_us)?;
        Some((server_of(http), place(http), blame))
    }

    /// Whether this one is among so many.
    pub(in super::super) fn are_reported(&self, facts: &Facts<'_>, http: &Http) -> bool {
        let counted = self.kind(facts, http).and_then(|kind| self.all.get(&kind));
        counted.is_some_and(|(count, least)| count >= least)
    }
}

/// The same exchange as the server's end saw it, of one that a client's end saw.
fn at_server<'a>(facts: &Facts<'a>, http: &Http) -> Option<&'a Http> {
    if http.connection.role != Some(Role::Client) {
        return None;
    }
    let key = exchange_key(facts, http);
    let server = facts.other_life(http.connection.id)?;
    let mut all = server.exchanges.iter().filter(|server| !facts.history.may_lack_events_of(server));
    all.find(|server| exchange_key(facts, server) == key)
}

/// The requested host and the first part of the path: `api.example/users`.
fn place(http: &Http) -> String {
    let Some(url) = &http.exchange.url else { return String::new() };
    let host = url.host.as_ref().map(|host| host.printable().to_string()).unwrap_or_default();
    let path = url.path.printable().to_string();
    let end = path.char_indices().skip(1).find(|(_, letter)| *letter == '/').map_or(path.len(), |(at, _)| at);
    format!("{host}{}", path.get(..end).unwrap_or_default())
}

fn finding<'a>(
    facts: &Facts<'_>,
    thresholds: &Thresholds,
    blame: Blame,
    server: SocketAddr,
    place: &str,
    cases: &[(&'a Http, u64)],
) -> Finding {
    let times = || cases.iter().map(|(_, us)| *us);
    let example = |(http, us): &(&Http, u64)| {
        let mut example = exchange_findings::example(http);
        example.notes[0] += &format!(": {} of {}", Micros(*us), Micros(http.exchange.timing.total_us));
        Some(example)
    };
    let (longest, median) = (times().next(), times().nth(cases.len() / 2));
    let retransmits: u64 =
        cases.iter().filter_map(|(http, _)| http.exchange.timing.stalls.as_ref()).map(sent_again).sum();
    let process = |(http, _): &(&'a Http, u64)| http.connection.process.as_deref();
    let whose = whose(cases.iter().filter_map(process));
    let at = if place.is_empty() { String::new() } else { format!(" for {place}") };
    Finding {
        cause: Some(blame.name().to_owned()),
        severity: thresholds.severity(cases.len()),
        summary: format!(
            "{}{at} {} {}: {}.",
            counted(cases.len(), "request"),
            match cases.first().and_then(|(http, _)| http.connection.role) {
                Some(Role::Server) => format!("to {whose} at {server}"),
                _ => format!("from {whose} to {server}"),
            },
            blame.in_words(),
            match (longest, cases.len()) {
                (Some(us), 1) => Micros(us).to_string(),
                (longest, _) => format!("up to {}", Micros(longest.unwrap_or_default())),
            },
        ),
        evidence: Evidence::default()
            .and("requests", cases.len())
            .and_known("longest_us", longest)
            .and_known("median_us", median.filter(|_| cases.len() > 1))
            .and("segments_lost_or_late", retransmits)
            .and_known("passed_on_by", passed_on(facts, cases.iter().map(|(http, _)| *http))),
        why: blame.why().to_owned(),
        advice: blame.advice().to_owned(),
        ..of_first(cases, process, example)
    }
}

/// Segments that were sent again or came late.
fn sent_again(stalls: &Stalls) -> u64 {
    let phases = [stalls.send, stalls.wait, stalls.receive];
    phases.into_iter().flatten().map(|stall| stall.retransmits + stall.out_of_order).sum()
}

#[cfg(test)]
#[path = "slow_tests.rs"]
mod tests;
