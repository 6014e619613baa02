//! Failed HTTP exchanges, each with the one fault that explains it: no two rules report the same exchange.
//!
//! Where both ends of a connection were traced, the client's exchange is judged, with what the server's end adds.

use tcp_trace_model::{
    event::{Direction, Flags, Role},
    record::{By, Connection, How, Http, Integrity, Message, Outcome, Part},
    time::Time,
};

use super::{attempts::says_close, history::History};
use crate::timeline::{Life, Pair, Pairs, Side};

/// A connection that was idle for less, in microseconds, was not closed for being idle.
const IDLE_LEAST_US: u64 = 10_000;

/// A loss of events is noticed so much later at most, in microseconds.
const LOSS_NOTICED_US: u64 = 1_000_000;

/// Why an exchange broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The request came onto a connection that the server was closing.
    KeepaliveRace(Race),
    /// The server closed with data unread, which makes its kernel send an RST.
    Unread,
    /// The response had begun, and the server or the network ended it.
    Cut(Stop),
    /// No byte of the response came.
    NoResponse(Stop),
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

/// An exchange that broke off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken<'a> {
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
}

impl Broken<'_> {
    /// For how long the connection was idle until the server ended it, in microseconds: the server's idle timeout,
    /// if that is why it did.
    pub(super) fn server_idle_us(&self) -> Option<u64> {
        Some(self.ended?.micros_since(self.idle_since()?))
    }

    /// The end of the exchange before.
    fn idle_since(&self) -> Option<Time> {
        let idle_us = self.http.exchange.timing.idle_us?;
        Some(Time(self.http.exchange.timing.started.0.checked_sub(idle_us.checked_mul(1_000)?)?))
    }

    /// From the request to the end of the connection, or until now, in microseconds.
    pub(super) fn waited_us(&self, now: Time) -> u64 {
        let end = if self.fault == Fault::NoResponse(Stop::Waiting) { now } else { self.http.time };
        end.micros_since(self.http.exchange.timing.started)
    }

    /// The server's summary, when its end was traced.
    pub(super) fn server(&self) -> Option<&Connection> {
        if self.http.connection.role == Some(Role::Server) { Some(self.summary) } else { self.other }
    }
}

/// All that broke off in the lives that are remembered, in order of time. Not what ended when events had been lost: the
/// rest of it may have been among them.
pub(super) fn all<'a>(history: &History, pairs: &Pairs<'a>) -> Vec<Broken<'a>> {
    let mut found: Vec<_> = pairs.iter().flat_map(of_pair).collect();
    if let Some(loss) = history.first_loss {
        found.retain(|broken| broken.http.time.after_micros(LOSS_NOTICED_US) < loss);
    }
    found.sort_by_key(|broken| (broken.http.time, broken.http.connection.id, broken.http.exchange.index));
    found
}

fn of_pair<'a>(pair: &Pair<'a>) -> impl Iterator<Item = Broken<'a>> + use<'a> {
    let Pair { client, server } = *pair;
    pair.exchanges().into_iter().filter_map(move |(side, http)| {
        let (life, other) = if side == Side::Client { (client?, server) } else { (server?, client) };
        let is_end = matches!(http.connection.role, Some(Role::Client | Role::Server));
        let other = other.filter(|other| other.summary.is_some());
        of_exchange(life, life.summary.as_deref().filter(|_| is_end)?, other, http)
    })
}

fn of_exchange<'a>(
    life: &'a Life,
    summary: &'a Connection,
    other: Option<&'a Life>,
    http: &'a Http,
) -> Option<Broken<'a>> {
    let is_broken =
        matches!(http.exchange.outcome, Outcome::NoResponse | Outcome::Reset | Outcome::Truncated);
    if !is_broken || http.exchange.integrity == Integrity::Gap {
        return None;
    }
    let before = life
        .exchanges
        .iter()
        .find(|before| before.exchange.index.checked_add(1) == Some(http.exchange.index));
    let server_life = if http.connection.role == Some(Role::Server) { Some(life) } else { other };
    let ended = match server_life {
        Some(server) => first_end(server, Direction::Out),
        None => first_end(life, Direction::In),
    };
    let server = server_life.and_then(|life| life.summary.as_deref());
    let fault = if is_unanswered(http) {
        let race = race(life, server, http, ended);
        // The server ended the connection behind its last response (`Connection: close`, a number of requests), and the
        // client had begun the next request: it has to send that again (RFC 9112, section 9.6).
        let is_short = http.exchange.timing.idle_us.is_none_or(|us| us < IDLE_LEAST_US);
        if is_short
            && (race.is_some() || before.is_some_and(|before| says_close(before) || says_timeout(before)))
        {
            return None;
        }
        race.map(Fault::KeepaliveRace)
            .or_else(|| closed_unread(server).then_some(Fault::Unread))
            .or_else(|| Some(Fault::NoResponse(stop(summary, http)?)))
    } else if closed_unread(server) {
        Some(Fault::Unread)
    } else {
        // A client that has what it wants may cancel.
        let is_in_response = http.exchange.ended.is_some_and(|ended| ended.message == Message::Response);
        let stop = stop(summary, http).filter(|stop| !matches!(stop, Stop::GaveUp | Stop::Waiting));
        stop.filter(|_| is_in_response).map(Fault::Cut)
    }?;
    let other = other.and_then(|life| life.summary.as_deref());
    Some(Broken { http, before, summary, other, fault, ended })
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
fn first_end(life: &Life, direction: Direction) -> Option<Time> {
    let ends = |flags: Flags| flags.has(Flags::FIN) || flags.has(Flags::RST);
    let mut segments = life.segments.iter();
    segments.find(|segment| segment.direction == direction && ends(segment.flags.0)).map(|it| it.time)
}

/// Whether the server's process closed while received data was unread.
fn closed_unread(server: Option<&Connection>) -> bool {
    server.is_some_and(|server| {
        let Connection { close, receive_queue, .. } = server;
        *receive_queue > 0 && close.how == How::Rst && close.by == By::Local
    })
}

/// Whether the request came onto a connection that the server was closing.
fn race(life: &Life, server: Option<&Connection>, http: &Http, ended: Option<Time>) -> Option<Race> {
    if http.exchange.reused != Some(true) {
        return None;
    }
    let request = http.exchange.request.as_ref()?;
    if let Some(server) = server.filter(|server| closed_unread(Some(server))) {
        let is_whole = u64::from(server.receive_queue) >= request.header_size + request.body.size;
        return is_whole.then_some(Race::Unread);
    }
    let (ended, started) = (ended?, http.exchange.timing.started);
    if ended <= started {
        let arrived = match http.connection.role {
            Some(Role::Client) => first_end(life, Direction::In),
            _ => None,
        };
        let is_known = arrived.is_some_and(|arrived| arrived <= started);
        return Some(if is_known { Race::AlreadyClosed } else { Race::Crossed });
    }
    // What comes within a round trip was sent before the request was there. The server's own end knows better.
    let is_crossed = server.is_none() && ended.micros_since(started) < shortest_rtt_us(life)?;
    is_crossed.then_some(Race::Crossed)
}

/// The shortest round trip that is known of a connection, in microseconds.
fn shortest_rtt_us(life: &Life) -> Option<u64> {
    let summary = life.summary.as_ref()?;
    let handshake = summary.handshake.and_then(|handshake| handshake.rtt_us);
    handshake.into_iter().chain(summary.srtt_us.map(u64::from)).min()
}

fn stop(summary: &Connection, http: &Http) -> Option<Stop> {
    let server = if http.connection.role == Some(Role::Server) { By::Local } else { By::Peer };
    Some(match (summary.close.how, summary.close.by) {
        (How::Open, _) if summary.open => Stop::Waiting,
        (How::Timeout | How::Error, _) => Stop::Failed,
        (How::Fin, by) if by == server => Stop::Closed,
        (How::Rst, by) if by == server => Stop::Reset,
        (How::Fin | How::Rst, By::Local | By::Peer) => Stop::GaveUp,
        _ => return None,
    })
}
