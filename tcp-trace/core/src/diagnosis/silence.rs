//! Why no byte of a response came: what each end says of the request, before anybody is blamed.

use tcp_trace_model::{
    event::{Role, State},
    record::{By, Connection, How, Http, Message, Part, Request},
    socket::Timer,
};

use super::{failed_exchanges::Stop, resets::Origin, unanswered::RETRANSMITS_MIN};

/// For how long a window has to have been closed that kept a request from being sent, in microseconds.
const WINDOW_CLOSED_LEAST_US: u64 = 100_000;

/// For how long what was sent has not been acknowledged, at least, when that is no delay, in microseconds.
const UNACKNOWLEDGED_LEAST_US: u64 = 1_000_000;

/// Why, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Silence {
    /// The server closed its end.
    ServerClosed,
    /// The server's process ended.
    ServerEnded,
    /// An RST came.
    ServerReset(Origin),
    /// The server's socket was gone before the request was sent.
    SocketGone,
    /// The connection failed: nothing was acknowledged any more, or the network said no.
    Failed,
    /// The client gave up.
    GaveUp,
    /// Nothing yet: it is still waited for.
    Waiting,
    /// No acknowledgment came for the request.
    NotAcknowledged,
    /// The request is in the server's queue, and its process does not read it.
    NotRead(Stop),
    /// A part of it is, at its end.
    PartlyRead(Stop),
    /// Nobody has accepted the connection.
    NotAccepted(Stop),
    /// The client waits for `100 Continue`, and the server for the body.
    AwaitsContinue(Stop),
    /// The server's window was closed, so that the request could not be sent to its end.
    WindowClosed(Stop),
    /// The client did not send the request to its end.
    Unfinished(Stop),
}

impl Silence {
    /// What it says beyond that no response came.
    pub(super) fn in_words(self) -> Option<&'static str> {
        Some(match self {
            Self::ServerEnded => "its server's process ended meanwhile",
            Self::ServerReset(origin) => origin.name()?,
            Self::SocketGone => "its server's socket was gone before the request was sent",
            Self::NotAcknowledged => "its server's kernel does not acknowledge the request",
            Self::NotRead(_) => "its server's process has not read the request",
            Self::PartlyRead(_) => "its server's process has not read all of the request",
            Self::NotAccepted(_) => "its server has not accepted the connection",
            Self::AwaitsContinue(_) => "its server did not send 100 Continue",
            Self::WindowClosed(_) => "its server did not read the request to the end",
            Self::Unfinished(_) => "the request was not sent to the end",
            Self::ServerClosed | Self::Failed | Self::GaveUp | Self::Waiting => return None,
        })
    }
}

/// What is known of both ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<'a> {
    /// The client's summary, when that end was traced.
    pub(super) client: Option<&'a Connection>,
    /// The server's, likewise.
    pub(super) server: Option<&'a Connection>,
    /// Size of the requests that were sent behind this one, in bytes.
    pub(super) behind: u64,
    /// Whether somebody who had accepted the connection would have been seen.
    pub(super) shows_accepts: bool,
}

impl<'a> Ends<'a> {
    /// Of the end that reports and the other one.
    pub(super) fn of(http: &Http, own: &'a Connection, other: Option<&'a Connection>) -> Self {
        let is_server = http.connection.role == Some(Role::Server);
        let (client, server) = if is_server { (other, Some(own)) } else { (Some(own), other) };
        Self { client, server, behind: 0, shows_accepts: false }
    }

    /// Whether nobody has accepted a connection: it is open and no file, or it ended without that a process used it.
    fn is_unaccepted(&self, server: &Connection) -> bool {
        let has_no_user = server.connection.process.is_none() && server.stacks.is_none();
        let is_unused = has_no_user && server.first_used.is_none() && server.users.is_empty();
        match &server.socket {
            Some(socket) => {
                socket.no_file && matches!(state(server), Some(State::Established | State::CloseWait))
            }
            None => !server.open && server.seen_from_start && is_unused && self.shows_accepts,
        }
    }
}

/// Whether the whole request passed the end that reports.
pub(super) fn is_whole(http: &Http) -> bool {
    http.exchange.ended.is_none_or(|ended| ended.message != Message::Request)
}

/// Why no response came to a request whose connection ended so.
pub(super) fn of(stop: Stop, http: &Http, ends: Ends<'_>) -> Silence {
    if !is_whole(http) {
        return of_part(stop, http, ends);
    }
    let server = ends.server;
    match stop {
        Stop::Failed => Silence::Failed,
        Stop::Closed | Stop::Reset if is_gone(http, server) => Silence::SocketGone,
        Stop::Closed | Stop::Reset if server.is_some_and(|server| server.close.process_ended) => {
            Silence::ServerEnded
        }
        Stop::Closed => Silence::ServerClosed,
        Stop::Reset => Silence::ServerReset(Origin::of(server)),
        Stop::GaveUp | Stop::Waiting => match server {
            Some(server) if ends.is_unaccepted(server) => Silence::NotAccepted(stop),
            _ if ends
                .client
                .is_some_and(|client| is_unacknowledged(client) || ended_unacknowledged(client, http)) =>
            {
                Silence::NotAcknowledged
            }
            // Nobody can read what has no file.
            Some(server) if server.socket.as_ref().is_some_and(|socket| socket.no_file) => {
                without_cause(stop)
            }
            Some(server) => of_unread(stop, http, unread_bytes(server), ends.behind),
            None => without_cause(stop),
        },
    }
}

/// Why no byte came behind the first ones that a client sent, of which it is not known how many belong together; the client waited for
/// so long, in microseconds.
pub(super) fn of_first_bytes(stop: Stop, ends: Ends<'_>, waited_us: u64) -> Silence {
    let is_lost = |client| {
        is_unacknowledged(client) || waited_us >= UNACKNOWLEDGED_LEAST_US && left_unacknowledged(client)
    };
    match ends.server {
        Some(server) if ends.is_unaccepted(server) => Silence::NotAccepted(stop),
        _ if ends.client.is_some_and(is_lost) => Silence::NotAcknowledged,
        Some(server) if server.socket.as_ref().is_some_and(|socket| socket.no_file) => without_cause(stop),
        // Some of it may be what the client sent as it gave up.
        Some(server) if server.bytes.received > 0 && all_unread(server) => Silence::NotRead(stop),
        _ => without_cause(stop),
    }
}

/// Whether the server's process has read nothing that came, or had not when it closed.
fn all_unread(server: &Connection) -> bool {
    unread_bytes(server).max(server.receive_queue.into()) >= server.bytes.received
}

/// Of a request that did not come to its end.
fn of_part(stop: Stop, http: &Http, ends: Ends<'_>) -> Silence {
    let is_closed = |us: Option<u64>| us.is_some_and(|us| us >= WINDOW_CLOSED_LEAST_US);
    let at_client = ends.client.and_then(|client| Some(client.zero_window?.peer_us));
    let at_server = ends.server.and_then(|server| Some(server.zero_window?.local_us));
    if stop == Stop::Failed {
        if is_held_back(http) { Silence::WindowClosed(stop) } else { Silence::Failed }
    } else if ends.server.is_some_and(|server| ends.is_unaccepted(server)) {
        Silence::NotAccepted(stop)
    } else if ends.client.is_some_and(is_unacknowledged) {
        Silence::NotAcknowledged
    } else if is_closed(at_client) || is_closed(at_server) {
        Silence::WindowClosed(stop)
    } else if awaits_continue(http) {
        Silence::AwaitsContinue(stop)
    } else {
        Silence::Unfinished(stop)
    }
}

/// Whether the server's window kept the request from being sent for most of the time.
fn is_held_back(http: &Http) -> bool {
    let timing = &http.exchange.timing;
    let send = timing.stalls.as_ref().and_then(|stalls| stalls.send);
    let us = send.map_or(0, |stall| stall.zero_window_us);
    us >= WINDOW_CLOSED_LEAST_US && us * 2 >= timing.total_us
}

/// Whether the client has sent the head with `Expect: 100-continue`, nothing of the body, and got no interim response (RFC 9110,
/// section 10.1.1).
fn awaits_continue(http: &Http) -> bool {
    let is_at_body = http.exchange.ended.is_some_and(|ended| ended.part == Part::Body && ended.offset == 0);
    is_at_body && expects_continue(http) && http.exchange.informational.is_empty()
}

/// Whether a request has `Expect: 100-continue`.
fn expects_continue(http: &Http) -> bool {
    let value = http.exchange.request.as_ref().and_then(|request| request.headers.first("expect"));
    value.is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"100-continue"))
}

/// Whether the server's socket was gone when the request was sent.
fn is_gone(http: &Http, server: Option<&Connection>) -> bool {
    server.and_then(|server| server.closed).is_some_and(|closed| closed <= http.exchange.timing.started)
}

/// Bytes of a request.
pub(super) fn size_of(request: &Request) -> u64 {
    request.header_size + request.body.size
}

/// Where only waiting is known.
fn without_cause(stop: Stop) -> Silence {
    if stop == Stop::Waiting { Silence::Waiting } else { Silence::GaveUp }
}

/// By what the server's process has not read: the last bytes are of the requests behind this one.
fn of_unread(stop: Stop, http: &Http, unread: u64, behind: u64) -> Silence {
    let size = http.exchange.request.as_ref().map(size_of);
    let is_encrypted = http.exchange.tls.is_some();
    if is_encrypted && behind > 0 {
        // How much of what is encrypted is which request's is not known.
        return without_cause(stop);
    }
    match unread.saturating_sub(behind) {
        0 => without_cause(stop),
        unread if size.is_some_and(|size| unread >= size) => Silence::NotRead(stop),
        // It may be a record behind the request, such as that of close_notify.
        _ if is_encrypted => without_cause(stop),
        _ => Silence::PartlyRead(stop),
    }
}

/// Of an open socket's receive queue, the bytes: an unread FIN counts 1.
fn unread_bytes(server: &Connection) -> u64 {
    let has_fin = matches!(state(server), Some(State::CloseWait | State::LastAck | State::Closing));
    let queue = server.socket.as_ref().map_or(0, |socket| socket.receive_queue);
    queue.saturating_sub(u32::from(has_fin)).into()
}

/// Whether what this end sent is sent again and again without an acknowledgment. A segment that is lost now and then is no silence.
pub(super) fn is_unacknowledged(client: &Connection) -> bool {
    client.socket.as_ref().is_some_and(|socket| {
        let again = socket.tcp_info.is_some_and(|info| info.retransmits >= RETRANSMITS_MIN);
        socket.send_queue > 0 && socket.timer == Some(Timer::Retransmit) && again
    })
}

/// Whether the client ended a connection with an RST long after a whole request was sent, which was not acknowledged still.
fn ended_unacknowledged(client: &Connection, http: &Http) -> bool {
    let timing = &http.exchange.timing;
    let waited_us = timing.send_us.map(|us| timing.total_us.saturating_sub(us));
    waited_us.is_some_and(|us| us >= UNACKNOWLEDGED_LEAST_US) && left_unacknowledged(client)
}

/// Whether the client ended a connection with an RST when some of what it had sent was sent again and not acknowledged still.
/// Where the window was closed, that may be a probe.
fn left_unacknowledged(client: &Connection) -> bool {
    let Connection { close, retransmits, zero_window, .. } = client;
    let is_reset = close.how == How::Rst && close.by == By::Local;
    is_reset
        && close.unacknowledged.is_some_and(|bytes| bytes > 0)
        && *retransmits > 0
        && zero_window.is_none_or(|it| it.peer_us == 0)
}

fn state(summary: &Connection) -> Option<State> {
    summary.states.last().map(|span| span.state)
}
