//! What is remembered of all HTTP exchanges of a history: those that took long, those that were answered with an error of
//! a gateway, after how long idle connections were used again, and how often small messages took as long as a delayed ACK.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    ops::RangeInclusive,
};

use tcp_trace_model::{
    event::Role,
    http2::{ErrorCode, StreamReset},
    record::{Fields, Http, Message, Outcome, Process, Text},
};

use super::exchange_findings::server_of;

/// Pairs of process and server that are kept separately; further ones are not remembered.
pub const PAIRS_MAX: usize = 10_000;
/// Exchanges that took long that are remembered: the last ones.
pub const SLOW_MAX: usize = 10_000;
/// From how many microseconds on they are.
pub const SLOW_LEAST_US: u64 = 100_000;
/// Streams of HTTP/2 for which the server says that it did nothing that are remembered: the last ones.
pub const REFUSED_MAX: usize = 10_000;
/// Messages up to this size are small: they fit into a few segments.
const SMALL_BYTES: u64 = 16 << 10;
/// How long a small message takes whose last part waits for a delayed ACK, in microseconds: `TCP_DELACK_MIN` is 40 ms,
/// in ticks of the kernel's clock of up to 10 ms.
const DELAYED_US: RangeInclusive<u64> = 38_000..=50_000;

/// Responses with a status of [`GATEWAY_STATUSES`] that are remembered, as servers' ends saw them and as clients' did: the last ones.
pub const GATEWAY_MAX: usize = 10_000;
/// Statuses that say that a request was given up, by a gateway or a server (RFC 9110, sections 15.5.9, 15.6.3 to 15.6.5); some gateways
/// say 500 where others say 502, as lighttpd's mod_proxy.
pub const GATEWAY_STATUSES: [u16; 5] = [408, 500, 502, 503, 504];

/// Header fields of a response that say who answered (RFC 9110, sections 10.2.4 and 7.6.3).
const SAYS_WHO: [&str; 2] = ["server", "via"];

/// Sums of exchanges.
#[derive(Clone, Debug, Default)]
pub struct Exchanges {
    /// The longest idle time after which a process used a connection to a server again, and was answered, in
    /// microseconds.
    kept: BTreeMap<(Option<u32>, SocketAddr), u64>,
    slow: VecDeque<Http>,
    refused: VecDeque<Http>,
    small: BTreeMap<Sender, Small>,
    /// As servers' ends saw them, which is where causes are looked for, and as clients' did.
    gateway: [VecDeque<Http>; 2],
    /// How many responses there were of each server, as its end or its clients' ends saw them.
    counts: BTreeMap<(SocketAddr, bool), Responses>,
    /// Exchanges that are not in all sums: of servers, or pairs of process and server, that were one too many.
    pub uncounted: u64,
    /// Exchanges that took long and were forgotten.
    pub forgotten_slow: u64,
    /// Responses with a status of [`GATEWAY_STATUSES`] that were forgotten.
    pub forgotten_errors: u64,
    /// Streams for which the server says that it did nothing that were forgotten.
    pub forgotten_refused: u64,
}

/// Who sends small messages, as one end saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// The server's address and port.
    pub server: SocketAddr,
    /// Whether these are requests: the client sends them.
    pub is_request: bool,
    /// Whether the end that saw them is the one that sends them.
    pub is_own: bool,
    /// That end's process, when known.
    pub pid: Option<u32>,
}

/// Small messages of one sender.
#[derive(Clone, Debug, Default)]
pub struct Small {
    /// How many.
    pub count: u64,
    /// Those that took as long as a delayed ACK.
    pub delayed: u64,
    /// The shortest and the longest of these, in microseconds.
    pub delays_us: Option<(u64, u64)>,
    /// The last of these, without its header fields.
    pub example: Option<Box<Http>>,
    /// The process of the end that saw them.
    pub process: Option<Process>,
}

/// How many responses there were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Responses {
    /// With any status.
    pub all: u64,
    /// With each of [`GATEWAY_STATUSES`].
    gateway: [u64; GATEWAY_STATUSES.len()],
}

impl Responses {
    fn add(&mut self, status: u16) {
        self.all += 1;
        for (known, count) in GATEWAY_STATUSES.into_iter().zip(&mut self.gateway) {
            *count += u64::from(known == status);
        }
    }

    /// With this status of [`GATEWAY_STATUSES`].
    pub fn with(&self, status: u16) -> u64 {
        GATEWAY_STATUSES
            .into_iter()
            .zip(self.gateway)
            .filter(|(known, _)| *known == status)
            .map(|(_, it)| it)
            .sum()
    }
}

impl Exchanges {
    /// Takes an exchange.
    pub(super) fn http(&mut self, http: &Http) {
        let mut is_counted = self.gateway(http);
        if http.exchange.outcome == Outcome::Ok && http.connection.role.is_some() {
            is_counted &= self.keep(http);
            is_counted &= self.small(http, Message::Request);
            is_counted &= self.small(http, Message::Response);
            if http.exchange.timing.total_us >= SLOW_LEAST_US {
                self.forgotten_slow += push(&mut self.slow, SLOW_MAX, without_headers(http));
            }
        }
        if is_refused(http) {
            self.forgotten_refused += push(&mut self.refused, REFUSED_MAX, without_headers(http));
        }
        self.uncounted += u64::from(!is_counted);
    }

    /// Those of HTTP/2 for which the server says that it did nothing, without their header fields.
    pub(super) fn refused(&self) -> impl Iterator<Item = &Http> {
        self.refused.iter()
    }

    /// Those that took long, without their header fields.
    pub(super) fn slow(&self) -> impl Iterator<Item = &Http> {
        self.slow.iter()
    }

    /// Those whose response has a status of [`GATEWAY_STATUSES`], of their header fields those that say who answered.
    pub(super) fn gateway_errors(&self) -> impl Iterator<Item = &Http> {
        self.gateway.iter().flatten()
    }

    /// How many responses there were of this server, as its own end saw them or the other; `None` when not counted.
    pub(super) fn responses(&self, server: SocketAddr, is_at_server: bool) -> Option<Responses> {
        self.counts.get(&(server, is_at_server)).copied()
    }

    /// Small messages, by who sent them.
    pub(super) fn senders(&self) -> impl Iterator<Item = (&Sender, &Small)> {
        self.small.iter()
    }

    /// The longest idle time after which this process used a connection to this server again, and was answered, in
    /// microseconds.
    pub(super) fn longest_kept_us(&self, pid: Option<u32>, server: SocketAddr) -> Option<u64> {
        self.kept.get(&(pid, server)).copied()
    }

    /// Whether there was room for it.
    fn gateway(&mut self, http: &Http) -> bool {
        let (Some(role), Some(response)) = (http.connection.role, &http.exchange.response) else {
            return true;
        };
        let server = (server_of(http), role == Role::Server);
        let has_room = self.counts.len() < PAIRS_MAX || self.counts.contains_key(&server);
        if has_room {
            self.counts.entry(server).or_default().add(response.status_code);
        }
        if !GATEWAY_STATUSES.contains(&response.status_code) {
            return has_room;
        }
        let [at_servers, at_clients] = &mut self.gateway;
        let all = if role == Role::Server { at_servers } else { at_clients };
        let mut kept = without_headers(http);
        let headers = response.headers.only(&SAYS_WHO);
        if let Some(response) = &mut kept.exchange.response {
            response.headers = headers;
        }
        // Of a server whose own end is traced too, causes are looked for there.
        if push(all, GATEWAY_MAX, kept) > 0 {
            self.forgotten_errors +=
                u64::from(role == Role::Server || !self.counts.contains_key(&(server.0, true)));
        }
        has_room
    }

    /// Whether there was room for it.
    fn keep(&mut self, http: &Http) -> bool {
        // A response that answers no request, as a lone 408, is no use of a connection.
        let is_kept = http.exchange.reused == Some(true)
            && http.exchange.request.is_some()
            && http.connection.role == Some(Role::Client);
        let Some(idle_us) = http.exchange.timing.idle_us.filter(|_| is_kept) else { return true };
        let pair = (pid(http), server_of(http));
        if self.kept.len() >= PAIRS_MAX && !self.kept.contains_key(&pair) {
            return false;
        }
        let longest = self.kept.entry(pair).or_default();
        *longest = (*longest).max(idle_us);
        true
    }

    /// Whether there was room for it.
    fn small(&mut self, http: &Http, message: Message) -> bool {
        let (request, response) = (http.exchange.request.as_ref(), http.exchange.response.as_ref());
        let (size, took_us, sent_by) = match message {
            Message::Request => (
                request.map(|it| it.header_size.saturating_add(it.body.size)),
                http.exchange.timing.send_us,
                Role::Client,
            ),
            Message::Response => (
                response.map(|it| it.header_size.saturating_add(it.body.size)),
                http.exchange.timing.receive_us,
                Role::Server,
            ),
        };
        let Some(us) = took_us.filter(|_| size.is_some_and(|size| size <= SMALL_BYTES)) else { return true };
        let sender = Sender {
            server: server_of(http),
            is_request: message == Message::Request,
            is_own: http.connection.role == Some(sent_by),
            pid: pid(http),
        };
        if self.small.len() >= PAIRS_MAX && !self.small.contains_key(&sender) {
            return false;
        }
        let small = self.small.entry(sender).or_default();
        small.count += 1;
        if DELAYED_US.contains(&us) && http.exchange.timing.stalls.is_none() {
            small.delayed += 1;
            let (shortest, longest) = small.delays_us.unwrap_or((us, us));
            small.delays_us = Some((shortest.min(us), longest.max(us)));
            small.example = Some(Box::new(without_headers(http)));
            small.process = http.connection.process.as_deref().cloned();
        }
        true
    }
}

/// Adds one as the last, of at most so many; gives how many were forgotten for that.
fn push(all: &mut VecDeque<Http>, max: usize, http: Http) -> u64 {
    let is_full = all.len() == max;
    if is_full {
        all.pop_front();
    }
    all.push_back(http);
    u64::from(is_full)
}

/// Whether the server says that it did nothing for it.
fn is_refused(http: &Http) -> bool {
    let Some(stream) = &http.exchange.stream else { return false };
    let reset = stream.details.reset;
    let is_refused =
        |reset: StreamReset| reset.by == Role::Server && reset.error == ErrorCode::REFUSED_STREAM;
    stream.details.goaway.is_some() || reset.is_some_and(is_refused)
}

fn pid(http: &Http) -> Option<u32> {
    http.connection.process.as_deref().map(|process| process.pid)
}

/// A copy that is small whatever its heads were.
fn without_headers(http: &Http) -> Http {
    let mut http = http.clone();
    if let Some(request) = &mut http.exchange.request {
        request.headers = Fields::new();
        (request.method, request.target) = (alone(&request.method), alone(&request.target));
    }
    if let Some(response) = &mut http.exchange.response {
        response.headers = Fields::new();
        response.reason = alone(&response.reason);
    }
    if let Some(url) = &mut http.exchange.url {
        (url.scheme, url.host) = (url.scheme.as_ref().map(alone), url.host.as_ref().map(alone));
        (url.path, url.query) = (alone(&url.path), url.query.as_ref().map(alone));
    }
    http
}

/// A text with memory of its own: the parts of a head share the head's, and keep all of it.
fn alone(text: &Text) -> Text {
    Text::from(&text.0[..])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tcp_trace_model::record::Url;

    use super::*;
    use crate::diagnosis::testing_http::exchange;

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut exchanges = Exchanges::default();
        for number in 0..=SLOW_MAX as u64 {
            let mut http = exchange(Role::Client, number, number);
            http.exchange.timing.total_us = SLOW_LEAST_US;
            exchanges.http(&http);
        }
        assert_eq!((exchanges.slow.len(), exchanges.forgotten_slow), (SLOW_MAX, 1));
        let mut exchanges = Exchanges::default();
        for number in 0..=GATEWAY_MAX as u64 {
            let mut http = exchange(Role::Client, number, number);
            http.exchange.response.as_mut().unwrap().status_code = 502;
            exchanges.http(&http);
        }
        assert_eq!((exchanges.gateway[1].len(), exchanges.forgotten_errors), (GATEWAY_MAX, 1));
        assert_eq!((exchanges.uncounted, exchanges.forgotten_slow), (0, 0));
        let mut exchanges = Exchanges::default();
        // Requests and responses of each process count separately.
        for number in 0..=PAIRS_MAX as u32 / 2 {
            let mut http = exchange(Role::Client, 0, 0);
            let process = Process { pid: number, ..Process::default() };
            Arc::make_mut(&mut http.connection).process = Some(Arc::new(process));
            exchanges.http(&http);
        }
        assert_eq!((exchanges.small.len(), exchanges.uncounted), (PAIRS_MAX, 1));
    }

    #[test]
    fn what_is_kept_of_an_exchange_does_not_keep_its_heads() {
        let head = bytes::Bytes::from(vec![b'x'; 64 << 10]);
        let part = || Text(head.slice(10..20));
        let mut http = exchange(Role::Server, 0, 0);
        http.exchange.timing.total_us = SLOW_LEAST_US;
        let request = http.exchange.request.as_mut().unwrap();
        (request.method, request.target) = (part(), part());
        request.headers = [(part().0, part().0)].into_iter().collect();
        let response = http.exchange.response.as_mut().unwrap();
        (response.status_code, response.reason) = (502, part());
        response.headers = [(b"Server", &head[10..20]), (b"Others", &head[20..30])].into_iter().collect();
        http.exchange.url =
            Some(Url { scheme: Some(part()), host: Some(part()), path: part(), query: Some(part()) });
        let mut exchanges = Exchanges::default();
        exchanges.http(&http);
        drop(http);
        assert!(head.is_unique());
        let kept = exchanges.gateway_errors().next().unwrap();
        assert_eq!(kept.exchange.response.as_ref().unwrap().headers.len(), 1);
        assert_eq!(exchanges.slow().next().unwrap().exchange.request.as_ref().unwrap().target.0.len(), 10);
    }
}
