//! Failed HTTP exchanges, each with the one fault that explains it: no two rules report the same exchange.
//!
//! Where both ends of a connection were traced, the client's exchange is judged, with what the server's end adds.

use std::collections::HashMap;

use tcp_trace_model::{
    event::{Direction, Flags, Role, State},
    record::{By, Connection, How, Http, Integrity, Message, Outcome, Part, Segment},
    time::Time,
};

use super::{
    attempts::says_close,
    closes::Closes,
    history::History,
    silence::{self, Ends, Silence},
};
use crate::timeline::{Life, Pair, Pairs, Side, control};

/// A connection that was idle for less, in microseconds, was not closed for being idle.
const IDLE_LEAST_US: u64 = 10_000;

/// No round trip takes longer, in microseconds: what was sent longer ago has arrived.
const ROUND_TRIP_MAX_US: u64 = 1_000_000;

/// What a server that stops closes, it closes within this time, in microseconds.
pub(super) const STOPS_WITHIN_US: u64 = 50_000;

/// What TLS adds to a request that is one record, or a few, in bytes: of each, a header, a tag, and what the version needs.
const TLS_ADDED_MAX: u64 = 100;

/// Why an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The request came onto a connection that the server was closing, for this reason.
    KeepaliveRace(Race, Because),
    /// The request came onto a connection that the response before it had ended.
    UsedAfterClose,
    /// The server closed with data unread, which makes its kernel send an RST.
    Unread,
    /// The response had begun, and the server or the network ended it.
    Cut(Stop),
    /// No byte of the response came.
    NoResponse(Stop, Silence),
}

/// Why a server closed a connection that was idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Because {
    /// Its end was traced, and nothing says that it was anything but time.
    Idle,
    /// The same, where its end was not traced: it may have stopped then.
    IdleOrStopped,
    /// It stopped: its process ended, or closed its listener at the same time.
    Stopped,
    /// It closed others at the same moment that had been idle for other times.
    AtOnce,
    /// Somebody else destroyed the socket.
    Destroyed,
}

/// How a request and the end of its connection met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Race {
    /// The server's FIN or RST was there before the request was sent.
    AlreadyClosed,
    /// They crossed: the server had closed when the request came.
    Crossed,
    /// The whole request was in the server's queue, unread, when it closed.
    Unread,
}

/// What ended an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// The server's FIN.
    Closed,
    /// The server's RST.
    Reset,
    /// The connection failed: nothing was acknowledged any more, or the network said no.
    Failed,
    /// The client's own close.
    GaveUp,
    /// Nothing yet: it is still waited for.
    Waiting,
}

/// A failed exchange and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailedExchange<'a> {
    /// It, as seen by the end that is reported.
    pub(super) http: &'a Http,
    /// That end's summary.
    pub(super) summary: &'a Connection,
    /// The other end's, when that was traced too.
    pub(super) other: Option<&'a Connection>,
    /// The exchange before it on the connection, when it is remembered.
    pub(super) before: Option<&'a Http>,
    /// Why.
    pub(super) fault: Fault,
    /// When the server's FIN or RST passed, as its own end saw it if that was traced.
    pub(super) ended: Option<Time>,
    /// Since when the connection was idle before it, as that same end saw it.
    idle_since: Option<Time>,
}

impl<'a> FailedExchange<'a> {
    /// For how long the connection was idle until the server ended it, in microseconds.
    pub(super) fn server_idle_us(&self) -> Option<u64> {
        Some(self.ended?.micros_since(self.idle_since?))
    }

    /// From the request to the end of the connection, or until now, in microseconds.
    pub(super) fn waited_us(&self, now: Time) -> u64 {
        let end = if self.is_waiting() { now } else { self.http.time };
        end.micros_since(self.http.exchange.timing.started)
    }

    /// Whether it is reported however long it took.
    pub(super) fn is_reported_at_once(&self) -> bool {
        !matches!(self.fault, Fault::NoResponse(Stop::GaveUp | Stop::Waiting, _))
    }

    fn is_waiting(&self) -> bool {
        matches!(self.fault, Fault::NoResponse(Stop::Waiting, _))
    }

    /// The server's summary, when its end was traced.
    pub(super) fn server(&self) -> Option<&'a Connection> {
        if self.http.connection.role == Some(Role::Server) { Some(self.summary) } else { self.other }
    }

    /// The client's summary, when its end was traced.
    pub(super) fn client(&self) -> Option<&'a Connection> {
        if self.http.connection.role == Some(Role::Server) { self.other } else { Some(self.summary) }
    }
}

/// All that failed in the lives that are remembered, in order of time. Not what ended when events had been lost: the
/// rest of it may have been among them.
pub(super) fn all<'a>(history: &History, pairs: &Pairs<'a>) -> Vec<FailedExchange<'a>> {
    let listeners = Listeners::of(history);
    let mut found: Vec<_> = pairs.iter().flat_map(|pair| of_pair(pair, &listeners)).collect();
    found.retain(|failed| history.is_complete_until(failed.http.time));
    found.sort_by_key(|failed| (failed.http.time, failed.http.connection.id, failed.http.exchange.index));
    found
}

/// The listeners that were traced, by network namespace and port.
pub(super) struct Listeners {
    by_place: HashMap<(Option<u32>, u16), Vec<Listener>>,
    /// Whether events were lost: then it is not known what was accepted.
    has_losses: bool,
    closes: Closes,
}

/// What is known of one.
struct Listener {
    /// When it was first seen.
    opened: Time,
    /// When it was closed, if it was.
    closed: Option<Time>,
    /// Id of its process, when known: the kernel's own have none.
    pid: Option<u32>,
}

impl Listeners {
    pub(super) fn of(history: &History) -> Self {
        let mut by_place = HashMap::<_, Vec<Listener>>::new();
        let summaries = history.lives().filter_map(|life| life.summary.as_deref());
        for summary in summaries.filter(|it| it.connection.role == Some(Role::Listener)) {
            if let Some(network) = summary.connection.network {
                let listener = Listener { opened: summary.opened, closed: summary.closed, pid: pid(summary) };
                by_place.entry((network.netns, network.local.port)).or_default().push(listener);
            }
        }
        Self { by_place, has_losses: history.first_loss.is_some(), closes: Closes::of(history) }
    }

    fn at(&self, server: &Connection) -> &[Listener] {
        let place = server.connection.network.map(|it| (it.netns, it.local.port));
        place.and_then(|place| self.by_place.get(&place)).map_or(&[], Vec::as_slice)
    }

    /// Whether somebody who accepts this connection would have been seen.
    pub(super) fn show_accepts(&self, server: &Connection) -> bool {
        let listeners = self.at(server);
        !self.has_losses && !listeners.is_empty() && listeners.iter().all(|it| it.pid.is_some())
    }

    /// Whether a server stopped when it closed this connection.
    fn have_stopped(&self, server: &Connection, ended: Time) -> bool {
        let all = self.at(server);
        let is_then = |stop: Time| {
            let (first, last) = (ended.min(stop), ended.max(stop));
            last.micros_since(first) < STOPS_WITHIN_US
        };
        // With SO_REUSEPORT one of several processes may stop.
        let goes_on =
            |it: &Listener| it.opened < ended && it.closed.is_none_or(|stop| stop > ended && !is_then(stop));
        let others_go_on = all.iter().any(goes_on);
        let mut stopped = all.iter().filter(|it| it.closed.is_some_and(is_then));
        stopped.any(|it| !others_go_on || it.pid.is_some() && it.pid == pid(server))
    }
}

/// Id of the process of a connection, when known.
fn pid(summary: &Connection) -> Option<u32> {
    summary.connection.process.as_deref().map(|process| process.pid)
}

fn of_pair<'a>(pair: &Pair<'a>, listeners: &Listeners) -> Vec<FailedExchange<'a>> {
    let Pair { client, server } = *pair;
    let each = pair.exchanges().into_iter().filter_map(|(side, http)| {
        let (life, other) = if side == Side::Client { (client?, server) } else { (server?, client) };
        let is_end = matches!(http.connection.role, Some(Role::Client | Role::Server));
        let other = other.filter(|other| other.summary.is_some());
        of_exchange(life, life.summary.as_deref().filter(|_| is_end)?, other, http, listeners)
    });
    each.collect()
}

fn of_exchange<'a>(
    life: &'a Life,
    summary: &'a Connection,
    other: Option<&'a Life>,
    http: &'a Http,
    listeners: &Listeners,
) -> Option<FailedExchange<'a>> {
    let is_failed =
        matches!(http.exchange.outcome, Outcome::NoResponse | Outcome::Reset | Outcome::Truncated);
    // What ended a stream of HTTP/2 alone, its connection does not show.
    if !is_failed || http.exchange.integrity == Integrity::Gap || http.exchange.is_ended_by_frame() {
        return None;
    }
    let before = exchange_before(life, http);
    let server_life = if http.connection.role == Some(Role::Server) { Some(life) } else { other };
    let ended = match server_life {
        Some(server) => first_end(server, Direction::Out),
        None => first_end(life, Direction::In),
    };
    // Times of one end only are compared.
    let started = http.exchange.timing.started;
    let at_server = server_life.and_then(|server| idle_since(server, started));
    let idle_since = at_server.or_else(|| idle_since(life, started));
    let server = server_life.and_then(|life| life.summary.as_deref());
    let ends = Ends {
        behind: size_behind(life, http),
        shows_accepts: server.is_some_and(|server| listeners.show_accepts(server)),
        ..Ends::of(http, summary, other.and_then(|life| life.summary.as_deref()))
    };
    // What a process leaves unread as it ends says nothing of how its program reads.
    let has_ended = server.is_some_and(|server| server.close.process_ended);
    let is_left_unread = closed_unread(server) && !has_ended;
    let no_response = || {
        let stop = stop(life, summary, http)?;
        Some(Fault::NoResponse(stop, silence::of(stop, http, ends)))
    };
    let fault = if is_unanswered(http) {
        let race = race(life, server, http, ended);
        // The server ended the connection behind its last response (`Connection: close`, a number of requests), and the
        // client had begun the next request: it has to send that again (RFC 9112, section 9.6).
        let is_short = http.exchange.timing.idle_us.is_none_or(|us| us < IDLE_LEAST_US);
        // A lone 408 says why the server closes the connection, which was idle until then.
        let ended_before =
            before.is_some_and(|before| before.exchange.request.is_some() && says_close(before));
        let is_told = before.is_some_and(|before| says_close(before) || says_timeout(before));
        if is_short && (race.is_some() || is_told) {
            return None;
        }
        if ended_before {
            Some(Fault::UsedAfterClose)
        } else if let Some(race) = race {
            Some(Fault::KeepaliveRace(race, because(server, ended.zip(idle_since), ended, listeners)))
        } else if is_left_unread && silence::is_whole(http) {
            Some(Fault::Unread)
        } else {
            no_response()
        }
    } else if is_left_unread {
        Some(Fault::Unread)
    } else {
        // A client that has what it wants may cancel.
        let is_in_response = http.exchange.ended.is_some_and(|ended| ended.message == Message::Response);
        let stop = stop(life, summary, http).filter(|stop| !matches!(stop, Stop::GaveUp | Stop::Waiting));
        stop.filter(|_| is_in_response).map(Fault::Cut)
    }?;
    let other = other.and_then(|life| life.summary.as_deref());
    Some(FailedExchange { http, before, summary, other, fault, ended, idle_since })
}

fn exchange_before<'a>(life: &'a Life, http: &Http) -> Option<&'a Http> {
    let is_before = |before: &&Http| before.exchange.index.checked_add(1) == Some(http.exchange.index);
    life.exchanges.iter().find(is_before)
}

/// The end of the last exchange with a request that this end had before a request was sent. A lone 408 is no use of a connection.
fn idle_since(life: &Life, started: Time) -> Option<Time> {
    let before = life.exchanges.iter().rev().find(|before| before.exchange.timing.started < started)?;
    let timing = &before.exchange.timing;
    match (&before.exchange.request, timing.idle_us) {
        (Some(_), _) => Some(timing.started.after_micros(timing.total_us)),
        (None, Some(idle_us)) => Some(Time(timing.started.0.checked_sub(idle_us.checked_mul(1_000)?)?)),
        (None, None) => None,
    }
}

/// Why the server closed an idle connection.
fn because(
    server: Option<&Connection>,
    idle: Option<(Time, Time)>,
    ended: Option<Time>,
    listeners: &Listeners,
) -> Because {
    let Some(server) = server else { return Because::IdleOrStopped };
    if server.close.reason.as_deref() == Some("ECONNABORTED") {
        Because::Destroyed
    } else if server.close.process_ended || ended.is_some_and(|ended| listeners.have_stopped(server, ended)) {
        Because::Stopped
    } else if idle
        .is_some_and(|(ended, since)| listeners.closes.are_at_once(server, ended, ended.micros_since(since)))
    {
        Because::AtOnce
    } else {
        Because::Idle
    }
}

/// Whether the server had said that it waits no longer for the request (RFC 9110, section 15.5.9).
fn says_timeout(http: &Http) -> bool {
    http.exchange.response.as_ref().is_some_and(|response| response.status_code == 408)
}

/// Whether no byte of the response came.
fn is_unanswered(http: &Http) -> bool {
    let is_begun = http
        .exchange
        .ended
        .is_some_and(|ended| ended.message == Message::Response && ended.part != Part::None);
    http.exchange.response.is_none() && !is_begun
}

/// When the first FIN or RST passed in this direction.
pub(super) fn first_end(life: &Life, direction: Direction) -> Option<Time> {
    let ends = |flags: Flags| flags.has(Flags::FIN) || flags.has(Flags::RST);
    let mut segments = life.segments.iter();
    segments.find(|segment| segment.direction == direction && ends(segment.flags.0)).map(|it| it.time)
}

/// When the server's kernel sent its SYN+ACK again, at the last, as the client's end saw it: the handshake had not ended there.
pub(super) fn half_open_until(life: &Life) -> Option<Time> {
    let is_syn_ack = |it: &&Segment| {
        it.direction == Direction::In && control(it) == Flags::SYN.with(Flags::ACK) && it.retransmit
    };
    life.segments.iter().filter(is_syn_ack).map(|it| it.time).max()
}

/// Whether the server's process closed while received data was unread.
pub(super) fn closed_unread(server: Option<&Connection>) -> bool {
    server.is_some_and(|server| {
        let Connection { close, receive_queue, .. } = server;
        *receive_queue > 0 && close.how == How::Rst && close.by == By::Local
    })
}

/// Bytes of the requests that were sent behind this one.
fn size_behind(life: &Life, http: &Http) -> u64 {
    let later = life.exchanges.iter().filter(|later| later.exchange.index > http.exchange.index);
    later.filter_map(|later| later.exchange.request.as_ref()).map(silence::size_of).sum()
}

/// Whether the request came onto a connection that the server was closing.
fn race(life: &Life, server: Option<&Connection>, http: &Http, ended: Option<Time>) -> Option<Race> {
    if http.exchange.reused != Some(true) {
        return None;
    }
    let request = http.exchange.request.as_ref()?;
    if let Some(server) = server.filter(|server| closed_unread(Some(server))) {
        // More than it and what was sent behind it is of the request before.
        let all = silence::size_of(request) + size_behind(life, http);
        // Encryption adds a header and a tag to each record: a request is one, as a rule.
        let added = if http.exchange.tls.is_some() { 1..=TLS_ADDED_MAX } else { 0..=0 };
        let unread = u64::from(server.receive_queue).checked_sub(all);
        return unread.is_some_and(|more| added.contains(&more)).then_some(Race::Unread);
    }
    let (ended, started) = (ended?, http.exchange.timing.started);
    if ended <= started {
        let had_arrived = match http.connection.role {
            Some(Role::Client) => first_end(life, Direction::In).is_some_and(|arrived| arrived <= started),
            _ => is_acknowledged(life, started) || started.micros_since(ended) >= ROUND_TRIP_MAX_US,
        };
        return Some(if had_arrived { Race::AlreadyClosed } else { Race::Crossed });
    }
    if server.is_some() {
        // Its own end knows better.
        return None;
    }
    // What comes within a round trip was sent before the request was there. A kernel whose process had closed answers that with an RST, one
    // whose process had read it does not: the smoothed round trip time, with delayed acknowledgments in it, is good for that only.
    let (handshake, shortest) = (handshake_rtt_us(life), shortest_rtt_us(life));
    let bound = if begins_with_fin(life, Direction::In) { shortest } else { handshake };
    let is_near = ended.micros_since(started) < bound?;
    let is_crossed = is_near && is_reset_by_peer(life);
    is_crossed.then_some(Race::Crossed)
}

/// Whether the first of FIN and RST in this direction was a FIN.
fn begins_with_fin(life: &Life, direction: Direction) -> bool {
    let mut flags = life.segments.iter().filter(|it| it.direction == direction).map(|it| it.flags.0);
    flags.find(|flags| flags.has(Flags::FIN) || flags.has(Flags::RST)).is_some_and(|it| !it.has(Flags::RST))
}

fn is_reset_by_peer(life: &Life) -> bool {
    let close = life.summary.as_ref().map(|summary| &summary.close);
    close.is_some_and(|close| (close.how, close.by) == (How::Rst, By::Peer))
}

/// Whether the peer had acknowledged this end's FIN at this time.
fn is_acknowledged(life: &Life, time: Time) -> bool {
    let states = life.summary.as_ref().map_or(&[][..], |summary| &summary.states);
    states.iter().any(|span| matches!(span.state, State::FinWait2 | State::TimeWait) && span.entered <= time)
}

/// The round trip of the handshake, in microseconds.
fn handshake_rtt_us(life: &Life) -> Option<u64> {
    life.summary.as_ref()?.handshake?.rtt_us
}

/// The shortest round trip that is known of a connection, in microseconds.
fn shortest_rtt_us(life: &Life) -> Option<u64> {
    let smoothed = life.summary.as_ref()?.srtt_us.map(u64::from);
    handshake_rtt_us(life).into_iter().chain(smoothed).min()
}

/// Whether the server's FIN was what ended an exchange, although the client had shut down writing before: it waited for it.
fn is_ended_by_server(life: &Life, http: &Http) -> bool {
    let from_server = if http.connection.role == Some(Role::Server) { Direction::Out } else { Direction::In };
    let fin = first_end(life, from_server);
    let client_fin = first_end(life, from_server.opposite());
    // Microseconds are rounded down.
    let timing = &http.exchange.timing;
    let last = timing.started.after_micros(timing.total_us + 1);
    fin.zip(client_fin).is_some_and(|(fin, client)| client < fin && fin <= last)
}

fn has_no_file(summary: &Connection) -> bool {
    summary.socket.as_ref().is_some_and(|socket| socket.no_file)
}

fn stop(life: &Life, summary: &Connection, http: &Http) -> Option<Stop> {
    let server = if http.connection.role == Some(Role::Server) { By::Local } else { By::Peer };
    Some(match (summary.close.how, summary.close.by) {
        // Nobody waits whose process has closed.
        (How::Open, _) if summary.open && server == By::Peer && has_no_file(summary) => Stop::GaveUp,
        (How::Open, _) if summary.open => Stop::Waiting,
        (How::Timeout | How::Error, _) => Stop::Failed,
        (How::Fin, _) if is_ended_by_server(life, http) => Stop::Closed,
        (How::Fin, by) if by == server => Stop::Closed,
        (How::Rst, by) if by == server => Stop::Reset,
        (How::Fin | How::Rst, By::Local | By::Peer) => Stop::GaveUp,
        _ => return None,
    })
}
