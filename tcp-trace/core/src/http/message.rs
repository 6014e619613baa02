//! What a message's head and end mean for the exchanges of a connection.

use tcp_trace_model::{
    event::Direction,
    exchange::{Integrity, Message, Outcome, Reason, WebSocket},
    time::Time,
};

use super::{
    connection::{HttpConnection, Protocol},
    exchange::Exchanges,
    framing::Framing,
    handover::Handover,
    head, line,
    open::{self, OPEN_MAX, Open},
    stream::{Position, Stream},
    websocket::{Follower, Stop},
};

/// Why nothing is known of a message.
pub(crate) const UNREAD: &str = "it is not read, because what came before it is illegal";

impl HttpConnection {
    /// A request's head, which began and was whole at these times.
    pub(super) fn request(
        &mut self,
        direction: Direction,
        head: &[u8],
        (started, time): (Time, Time),
        exchanges: &mut Exchanges,
    ) {
        let (request, framing) = match head::request(head) {
            Ok(request) => {
                let framing = Framing::of_request(&request);
                (Some(request), framing)
            }
            Err(refused) => (refused.message.map(|message| *message), Err(refused.reason)),
        };
        if request.is_none() && self.protocol == Protocol::Unknown {
            return self.give_up_http(direction, head);
        }
        self.protocol = Protocol::Http;
        let framing = match self.open.len() {
            0..OPEN_MAX => framing,
            _ => Err(format!("{OPEN_MAX} requests wait for a response already").into()),
        };
        let mut open = self.take_answered(started);
        open.times.last_seen = time;
        open.exchange.request = request;
        let stream = &mut self.streams[direction.index()];
        open.stalls = stream.take_head_stalls();
        match framing {
            Ok(framing) => {
                stream.position = if framing != Framing::None && open.expects_100() {
                    open.times.expecting = Some(time);
                    Position::Expecting(framing)
                } else {
                    Position::behind_head(framing)
                };
                self.push_open(open);
                if framing == Framing::None {
                    self.end_message(direction, time, exchanges);
                }
            }
            Err(reason) => {
                stream.leave(Position::Broken);
                open.invalid = Some((Message::Request, reason));
                self.push_open(open);
                self.settle(exchanges);
            }
        }
    }

    /// A response's head, which began and was whole at these times.
    pub(super) fn response(
        &mut self,
        direction: Direction,
        head: &[u8],
        (started, time): (Time, Time),
        exchanges: &mut Exchanges,
    ) {
        if self.streams[direction.opposite().index()].candidate.is_some() {
            self.confirm_candidate(direction, exchanges);
        }
        let waiting = self.open.iter().position(|open| !open.is_response_done());
        if waiting.is_none() && self.lose_after_gap(exchanges) {
            return;
        }
        let read = head::response(head);
        let status = match &read {
            Ok(response) => response.status_code,
            Err(refused) => refused.message.as_ref().map_or(0, |response| response.status_code),
        };
        if waiting.is_none() && self.open.back().is_some_and(|open| open.is_head_partial) {
            // The one request that has begun has its response.
            return self.leave_surplus(direction, head.len());
        }
        let waiting = self.answered_by(status, started, direction.opposite(), waiting);
        let request = waiting.and_then(|at| self.open[at].exchange.request.as_ref());
        let (response, mut framing) = match read {
            Ok(response) => {
                let framing = Framing::of_response(&response, request.map(|request| &*request.method.0));
                (Some(response), framing)
            }
            Err(refused) => (refused.message.map(|message| *message), Err(refused.reason)),
        };
        if response.is_none() && self.protocol == Protocol::Unknown {
            return self.give_up_http(direction, head);
        }
        if response.is_none() && waiting.is_none() && self.is_behind_response(direction) {
            return self.leave_surplus(direction, head.len());
        }
        self.protocol = Protocol::Http;
        if response.is_none() {
            self.leave_no_response(head.to_vec());
        }
        let is_unasked = waiting.is_none() && framing.is_ok() && self.is_unasked(direction, status);
        if is_unasked {
            framing = Err("no request is waiting for it".into());
        }
        if let Some(open) = waiting.and_then(|at| self.open.get_mut(at)) {
            open.times.end_expecting(started);
            if open.is_head_partial && framing == Ok(Framing::Tunnel) {
                framing = Err("it changes the protocol before the head of its request is whole".into());
            }
        }
        let is_interim = (100..200).contains(&status) && status != 101;
        if framing.is_ok() && is_interim {
            if let Some(open) = waiting.and_then(|at| self.open.get_mut(at)) {
                open.inform(status, started);
                open.times.last_seen = time;
            }
            return;
        }
        let read_to = self.streams[direction.index()].read_to();
        let at = waiting.unwrap_or_else(|| self.open_without_request(started));
        let is_last = at + 1 == self.open.len();
        let is_request_unread = waiting.is_none() && self.is_unread(direction.opposite());
        let open = &mut self.open[at];
        if is_request_unread {
            open.invalid = Some((Message::Request, UNREAD.into()));
        }
        open.times.response_started = Some(started);
        open.times.last_seen = time;
        open.exchange.response = response;
        if let Some(response) = &mut open.exchange.response {
            response.place.start = read_to.saturating_sub(head.len() as u64);
        }
        match framing {
            Ok(Framing::Tunnel) => return self.upgrade(at, time, exchanges),
            Ok(framing) => {
                self.streams[direction.index()].position = Position::behind_head(framing);
                if framing == Framing::None {
                    self.end_message(direction, time, exchanges);
                }
            }
            Err(reason) => self.invalidate(direction, reason, exchanges),
        }
        if is_unasked {
            // The next request that is seen has its response behind it.
            self.streams[direction.index()].lose();
        }
        if is_last {
            self.decide(direction.opposite(), exchanges);
        }
    }

    /// Whether a response is illegal because no request waits for it. A server may say 408 unasked (RFC 9110, section 15.5.9).
    fn is_unasked(&self, direction: Direction, status: u16) -> bool {
        status != 408 && self.are_requests_read(direction.opposite())
    }

    /// Whether all of the requests that came so far was read.
    fn are_requests_read(&self, requests: Direction) -> bool {
        let position = &self.streams[requests.index()].position;
        !matches!(position, Position::Lost | Position::Broken) && !self.is_other_incomplete
    }

    /// Whether a direction is not read any more, because a message of it is illegal.
    fn is_unread(&self, direction: Direction) -> bool {
        self.streams[direction.index()].position == Position::Broken
    }

    /// Whether what comes in a direction of responses can only be surplus: behind one that was read, while no request waits.
    fn is_behind_response(&self, direction: Direction) -> bool {
        let is_read = self.are_requests_read(direction.opposite());
        is_read && self.has_exchanges() && self.protocol == Protocol::Http
    }

    /// What comes in a direction of responses from a head of so many bytes on is none: it is not read.
    fn leave_surplus(&mut self, direction: Direction, head: usize) {
        self.streams[direction.index()].leave(Position::Broken);
        self.handover = Some(Handover::Surplus(head as u64));
    }

    /// Opens the exchange of a response that no request asked for, before those that wait for theirs: where it is.
    fn open_without_request(&mut self, started: Time) -> usize {
        let mut open = self.new_open(started);
        let at = self.open.iter().position(|open| !open.is_response_done()).unwrap_or(self.open.len());
        // The server, which knows nothing of those that wait yet, counts it as the next.
        for waiting in self.open.range_mut(at..).rev() {
            std::mem::swap(&mut open.exchange.index, &mut waiting.exchange.index);
            std::mem::swap(&mut open.exchange.reused, &mut waiting.exchange.reused);
        }
        self.insert_open(at, open);
        at
    }

    /// Which open exchange a response belongs to that began at this time; `waiting` is the first that has none. Servers answer
    /// a request also before its head is whole.
    fn answered_by(
        &mut self,
        status: u16,
        started: Time,
        requests: Direction,
        waiting: Option<usize>,
    ) -> Option<usize> {
        // It was sent because no request came, and crossed the request on its way.
        let has_crossed = |http: &Self, request| status == 408 && http.is_too_soon(request, started);
        if let Some(at) = waiting {
            return (!has_crossed(self, self.open[at].times.started)).then_some(at);
        }
        let (_, began) = self.streams[requests.index()].partial_head()?;
        if has_crossed(self, began) {
            return None;
        }
        let (mut open, _) = self.take_partial_request(requests)?;
        open.is_head_partial = true;
        self.push_open(open);
        Some(self.open.len() - 1)
    }

    /// The exchange of a request whose head is not whole, with the bytes of it so far: what its response opened, or a new one.
    pub(super) fn take_partial_request(&mut self, requests: Direction) -> Option<(Open, u64)> {
        let (bytes, began) = self.streams[requests.index()].partial_head()?;
        let size = bytes.len() as u64;
        let request =
            line::request(bytes).map_or_else(|refused| refused.message.map(|message| *message), Some);
        let mut open = self.take_answered(began);
        open.exchange.request = request;
        Some((open, size))
    }

    /// The exchange that a response opened before the head of its request was whole, or a new one.
    fn take_answered(&mut self, began: Time) -> Open {
        let answered = self.open.pop_back_if(|open| open.is_head_partial);
        let mut open = answered.unwrap_or_else(|| self.new_open(began));
        open.is_head_partial = false;
        open
    }

    /// Takes bytes behind the head of a request that expects 100, and gives those that are to be read again.
    pub(super) fn expected_bytes<'a>(
        &mut self,
        direction: Direction,
        framing: Framing,
        (bytes, time): (&'a [u8], Time),
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        let is_answered = self.current(true).is_some_and(|open| {
            open.times.end_expecting(time);
            open.exchange.response.is_some()
        });
        let stream = &mut self.streams[direction.index()];
        if !is_answered {
            stream.position = Position::behind_head(framing);
            return bytes;
        }
        // After a final response, a client that has sent nothing of the body may leave it out: the first line decides.
        stream.keep_undecided(bytes, time);
        let Some(is_request) = stream.begins_request() else { return &[] };
        let (held, time) = stream.take_undecided();
        if is_request {
            stream.position = Position::Head;
            if let Some(open) = self.current(true) {
                open.leave_out_body(framing);
            }
            self.settle(exchanges);
        } else {
            stream.position = Position::behind_head(framing);
        }
        self.bytes(direction, &held, time, exchanges);
        &[]
    }

    /// The message that a direction is in is illegal: the rest of the direction is not read.
    pub(super) fn invalidate(&mut self, direction: Direction, reason: Reason, exchanges: &mut Exchanges) {
        let is_request = self.requests == Some(direction);
        self.streams[direction.index()].leave(Position::Broken);
        let mut is_head_partial = false;
        if let Some(open) = self.current(is_request) {
            is_head_partial = std::mem::take(&mut open.is_head_partial);
            let message = if is_request { Message::Request } else { Message::Response };
            open.invalid = Some(match open.invalid.take() {
                Some((Message::Request, earlier)) if !is_request => {
                    (message, format!("{reason}; request: {earlier}").into())
                }
                _ => (message, reason),
            });
        }
        let other = &mut self.streams[direction.opposite().index()];
        if other.position == Position::Undecided || is_head_partial {
            other.leave(Position::Broken);
        }
        self.settle(exchanges);
    }

    /// The message that a direction is in ends.
    pub(super) fn end_message(&mut self, direction: Direction, time: Time, exchanges: &mut Exchanges) {
        let is_request = self.requests == Some(direction);
        let mut position = Position::Head;
        let read_to = self.streams[direction.index()].read_to();
        if let Some(open) = self.current(is_request) {
            if is_request {
                open.times.request_ended = Some(time);
                if open.asks_for_upgrade() && open.exchange.response.is_none() {
                    position = Position::Undecided;
                }
            } else {
                open.times.response_ended = Some(time);
                if let Some(response) = &mut open.exchange.response {
                    response.place.end = read_to;
                }
            }
            open.times.last_seen = time;
        }
        self.streams[direction.index()].position = position;
        self.settle(exchanges);
    }

    /// Appends the exchanges at the front to which nothing more can come.
    pub(super) fn settle(&mut self, exchanges: &mut Exchanges) {
        while let Some(front) = self.open.front() {
            let responses = self.requests.map(|requests| requests.opposite().index());
            let is_unread = front.is_request_done()
                && !front.is_response_done()
                && responses.is_some_and(|index| self.streams[index].position == Position::Broken);
            if !(front.is_over() || is_unread) {
                return;
            }
            let Some(mut open) = self.open.pop_front() else {
                return;
            };
            if is_unread {
                open.invalid.get_or_insert((Message::Response, UNREAD.into()));
            }
            open.conclude(Integrity::Complete, Outcome::Ok);
            self.emit(open, exchanges);
        }
        // An idle connection keeps no memory for exchanges.
        open::put_back(std::mem::take(&mut self.open));
    }

    /// The last request that asked for another protocol did not get it: what follows it are requests.
    fn decide(&mut self, requests: Direction, exchanges: &mut Exchanges) {
        let stream = &mut self.streams[requests.index()];
        if stream.position == Position::Undecided {
            let (bytes, time) = stream.take_undecided();
            stream.position = Position::Head;
            self.bytes(requests, &bytes, time, exchanges);
        }
    }

    /// The response changes the protocol (RFC 9110, sections 7.8 and 9.3.6): there are no more messages.
    fn upgrade(&mut self, at: usize, time: Time, exchanges: &mut Exchanges) {
        let (mut websocket, mut is_connect, mut http2) = (None, false, None);
        for (position, mut open) in std::mem::take(&mut self.open).into_iter().enumerate() {
            if position != at {
                open.conclude(Integrity::Complete, Outcome::NoResponse);
                let reason = &mut open.exchange.reason;
                reason.get_or_insert("the connection went over to another protocol".into());
                self.emit(open, exchanges);
                continue;
            }
            if open.is_http2() && open.is_request_done() && self.requests.is_some() {
                open.begin_http2();
                http2 = Some(open);
                continue;
            }
            open.times.response_ended = Some(time);
            is_connect = open.is_connected();
            match open.websocket() {
                Some(has_extensions) if open.invalid.is_none() => websocket = Some((open, has_extensions)),
                _ => {
                    open.conclude(Integrity::Complete, Outcome::Upgraded);
                    self.emit(open, exchanges);
                }
            }
        }
        let (Some((mut open, has_extensions)), Some(requests)) = (websocket, self.requests) else {
            if let (true, Some(requests)) = (is_connect || http2.is_some(), self.requests) {
                self.open_tunnel(requests, http2);
            }
            return self.streams.iter_mut().for_each(|stream| stream.leave(Position::Tunnel));
        };
        open.is_websocket = true;
        self.name = "websocket";
        self.open.push_back(open);
        for (direction, is_client) in [(requests, true), (requests.opposite(), false)] {
            let stream = &mut self.streams[direction.index()];
            let (bytes, _) = stream.take_undecided();
            let mut follower = Follower::new(is_client, has_extensions);
            follower.feed(&bytes);
            stream.leave(Position::WebSocket(Box::new(follower)));
        }
    }

    /// Appends the exchange of a WebSocket both of whose ends have said goodbye.
    pub(super) fn end_websocket_if_over(&mut self, exchanges: &mut Exchanges) {
        let has_ended = |stream: &Stream| match &stream.position {
            Position::WebSocket(follower) => follower.end().is_some(),
            _ => false,
        };
        if self.streams.iter().all(has_ended)
            && let Some((open, _)) = self.take_websocket()
        {
            self.emit(open, exchanges);
        }
    }

    /// The exchange of a WebSocket as far as it went, and whether either end sent a close frame.
    pub(super) fn take_websocket(&mut self) -> Option<(Open, bool)> {
        let requests = self.requests?;
        if !self.open.front()?.is_websocket {
            return None;
        }
        let mut open = self.open.pop_front()?;
        let [client, server] = [requests, requests.opposite()].map(|direction| {
            let stream = &mut self.streams[direction.index()];
            match std::mem::replace(&mut stream.position, Position::Tunnel) {
                Position::WebSocket(follower) => Some(follower),
                _ => None,
            }
        });
        let (client, server) = (client?, server?);
        let fault = [("client", client.end()), ("server", server.end())].into_iter().find_map(
            |(name, end)| match end {
                Some(Stop::Illegal(reason)) => Some(format!("WebSocket, {name}: {reason}")),
                _ => None,
            },
        );
        open.conclude(Integrity::Complete, Outcome::Upgraded);
        let exchange = &mut open.exchange;
        if let Some(fault) = fault {
            exchange.outcome = Outcome::Invalid;
            exchange.reason = Some(fault.into());
        }
        let is_closed = [client.end(), server.end()].contains(&Some(Stop::Closed));
        exchange.websocket = Some(Box::new(WebSocket { client: client.frames, server: server.frames }));
        Some((open, is_closed))
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
