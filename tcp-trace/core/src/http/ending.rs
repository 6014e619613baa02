//! What the end of a connection means for the exchanges that are not over.

use tcp_trace_model::{
    event::Direction,
    exchange::{Ended, Integrity, Message, Outcome, Part, Reason, SESSION_ENDED},
    time::Time,
};

use super::{
    connection::{HttpConnection, Protocol},
    delivery::UNSEEN,
    exchange::{ConnectionEnd, End, Exchanges},
    framing::Framing,
    line,
    open::Open,
    stream::Position,
};

impl HttpConnection {
    /// Ends the connection: exchanges that are not over are appended with what is known of them.
    pub fn finish(&mut self, time: Time, end: ConnectionEnd, exchanges: &mut Exchanges) {
        if end.end == End::Unseen {
            return self.lose(Integrity::Gap, exchanges);
        }
        // What was lost behind a request has no part in the response that it still waits for.
        if self.open.iter().all(Open::is_response_done) {
            self.lose_after_gap(exchanges);
        }
        self.accept_unanswered(exchanges);
        let Some(requests) = self.requests else {
            return;
        };
        if self.is_ended_by_close(requests, end) {
            self.end_message(requests.opposite(), time, exchanges);
        }
        if let Some((mut open, is_closed)) = self.take_websocket() {
            let exchange = &mut open.exchange;
            if !is_closed && exchange.outcome == Outcome::Upgraded {
                let is_reset = matches!(end.end, End::Reset(_));
                exchange.outcome = if is_reset { Outcome::Reset } else { Outcome::Upgraded };
                exchange.reason =
                    Some(format!("{} without a close frame", ended_by(self.requests, end)).into());
            }
            self.emit(open, exchanges);
        }
        let request_head = self.open_partial_request(requests);
        let open = std::mem::take(&mut self.open);
        let last = open.len().saturating_sub(1);
        let broke_off = broke_off(time, end);
        let mut is_next = true;
        for (at, open) in open.into_iter().enumerate() {
            let request_head = request_head.filter(|_| at == last);
            // Of the exchanges without a response, the first is the one that a head belongs to.
            let is_unanswered = !open.is_response_done();
            let open = self.broken_off(open, requests, request_head, is_next, (end, broke_off));
            is_next &= !is_unanswered;
            self.emit(open, exchanges);
        }
    }

    /// Whether the end of the connection is the end of a response that lasts until then. Not when the client
    /// alone closed.
    fn is_ended_by_close(&self, requests: Direction, end: ConnectionEnd) -> bool {
        let responses = requests.opposite();
        let first = end.first_fin.map(|(direction, _)| direction);
        let is_given_up = first == Some(requests) && end.fin[responses.index()].is_none();
        self.lasts_until_fin(responses) && end.end == End::Fin && !is_given_up
    }

    /// Opens an exchange for a request's head that is not whole, and gives the head's bytes.
    fn open_partial_request(&mut self, requests: Direction) -> Option<u64> {
        let (mut open, size) = self.take_partial_request(requests)?;
        if open.exchange.request.is_none() && self.protocol == Protocol::Unknown {
            return None;
        }
        self.protocol = Protocol::Http;
        open.stalls = self.streams[requests.index()].take_head_stalls();
        self.push_open(open);
        Some(size)
    }

    /// Ends an open exchange. `is_next` says that it is the one whose response was to come next. What is not
    /// complete lasted until it broke off.
    fn broken_off(
        &self,
        mut open: Open,
        requests: Direction,
        request_head: Option<u64>,
        is_next: bool,
        (end, broke_off): (ConnectionEnd, Time),
    ) -> Open {
        let responses = &self.streams[requests.opposite().index()];
        let head = responses.partial_head().filter(|_| is_next && open.exchange.response.is_none());
        let ended = place(&open, request_head, head.map(|(bytes, _)| bytes.len() as u64));
        let stream = match ended {
            Some(Ended { message: Message::Response, .. }) => responses,
            _ => &self.streams[requests.index()],
        };
        let is_in_trailer = matches!(&stream.position, Position::Chunked(chunked) if chunked.is_in_trailer());
        let ended = ended.map(|ended| match ended.part {
            Part::Body if is_in_trailer => Ended { part: Part::Trailer, ..ended },
            _ => ended,
        });
        let missing = match (ended, &stream.position) {
            (
                Some(Ended { part: Part::Body, .. }),
                Position::Length(left) | Position::Expecting(Framing::Length(left)),
            ) => Some(*left),
            _ => None,
        };
        let (integrity, outcome) = broken_outcome(&open, ended, end);
        let reason = ended.map(|ended| reason(self.requests, &open, ended, end));
        if let Some((bytes, started)) = head {
            open.times.response_started = Some(started);
            open.times.last_seen = open.times.last_seen.max(started);
            if bytes.contains(&b'\n') {
                let response = line::response(bytes)
                    .map_or_else(|refused| refused.message.map(|message| *message), Some);
                open.exchange.response = response.filter(|response| response.status_code >= 200);
            }
        }
        if ended.is_some() {
            open.times.last_seen = open.times.last_seen.max(broke_off);
        }
        open.conclude(integrity, outcome);
        if open.invalid.is_none() {
            let exchange = &mut open.exchange;
            (exchange.reason, exchange.ended, exchange.missing) = (reason, ended, missing);
        }
        open
    }
}

/// When what a connection leaves open broke off; `time` is when it was over.
pub(crate) fn broke_off(time: Time, end: ConnectionEnd) -> Time {
    match (end.end, end.first_fin) {
        (End::Fin, Some((_, fin))) => fin,
        _ => time,
    }
}

/// How an exchange ended that its connection's end broke off there.
pub(crate) fn broken_outcome(open: &Open, ended: Option<Ended>, end: ConnectionEnd) -> (Integrity, Outcome) {
    let (integrity, outcome) = match ended {
        None => (Integrity::Complete, Outcome::Ok),
        Some(Ended { part: Part::None, .. }) => (Integrity::Complete, Outcome::NoResponse),
        Some(Ended { message: Message::Response, .. }) => (Integrity::Truncated, Outcome::Truncated),
        Some(_) if open.is_response_done() => (Integrity::Truncated, Outcome::Ok),
        Some(_) => (Integrity::Truncated, Outcome::NoResponse),
    };
    let is_reset = matches!(end.end, End::Reset(_)) && ended.is_some();
    (integrity, if is_reset { Outcome::Reset } else { outcome })
}

/// Why it broke off, in words.
pub(crate) fn reason(requests: Option<Direction>, open: &Open, ended: Ended, end: ConnectionEnd) -> Reason {
    if is_cut_by_client(requests, open, ended, end) {
        return "closed by the client during the request".into();
    }
    let when = match ended {
        Ended { message: Message::Request, .. } if open.is_response_done() => "after the response",
        Ended { message: Message::Request, .. } => "during the request",
        Ended { part: Part::None, .. } => "before the response",
        Ended { .. } => "during the response",
    };
    format!("{} {when}", ended_by(requests, end)).into()
}

/// Whether the client ended its direction within its request, and was answered behind that.
fn is_cut_by_client(requests: Option<Direction>, open: &Open, ended: Ended, end: ConnectionEnd) -> bool {
    let fin = requests.and_then(|requests| end.fin[requests.index()]);
    let is_before = fin.zip(open.times.response_started).is_some_and(|(fin, response)| fin < response);
    ended.message == Message::Request && is_before && end.end == End::Fin
}

/// Who ended the connection, in words.
fn ended_by(requests: Option<Direction>, end: ConnectionEnd) -> String {
    let by = |direction: Option<Direction>| match direction {
        Some(direction) if requests == Some(direction) => " by the client",
        Some(_) => " by the server",
        None => "",
    };
    match end.end {
        End::Fin => format!("closed{}", by(end.first_fin.map(|(direction, _)| direction))),
        End::Reset(direction) => format!("reset{}", by(direction)),
        End::Failed(error) => error.to_owned(),
        End::Unknown => SESSION_ENDED.to_owned(),
        End::Unseen => UNSEEN.to_owned(),
    }
}

/// Where an exchange broke off; the heads are those that are not whole.
pub(crate) fn place(open: &Open, request_head: Option<u64>, response_head: Option<u64>) -> Option<Ended> {
    let ended = |message, part, offset| Some(Ended { message, part, offset });
    match (&open.exchange.response, &open.exchange.request) {
        (Some(response), _) if !open.is_response_done() => {
            ended(Message::Response, Part::Body, response.body.size)
        }
        (None, _) if response_head.is_some() => {
            ended(Message::Response, Part::Head, response_head.unwrap_or_default())
        }
        _ if request_head.is_some() => ended(Message::Request, Part::Head, request_head.unwrap_or_default()),
        (_, Some(request)) if !open.is_request_done() => {
            ended(Message::Request, Part::Body, request.body.size)
        }
        (None, _) => ended(Message::Response, Part::None, 0),
        (Some(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::event::Role;

    use super::*;
    use crate::stream::Chunk;

    #[test]
    fn what_is_given_up_lasted_until_then() {
        const REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\n\r\n";
        let ms = |ms: u64| Time(ms * 1_000_000);
        for (end, expected_us) in [
            // The client's FIN at 500 ms, whenever the socket is gone.
            (End::Fin, 499_000),
            (End::Reset(None), 899_000),
            (End::Unknown, 899_000),
        ] {
            let (mut connection, mut exchanges) = (HttpConnection::new(Some(Role::Client)), Vec::new());
            let request = Chunk::Bytes { offset: 0, bytes: REQUEST, time: ms(1) };
            connection.input(Direction::Out, request, false, &mut exchanges);
            let end =
                ConnectionEnd { end, first_fin: Some((Direction::Out, ms(500))), fin: [Some(ms(500)), None] };
            connection.finish(ms(900), end, &mut exchanges);
            assert_eq!(exchanges[0].timing.total_us, expected_us, "{end:?}");
        }
    }

    #[test]
    fn a_client_that_ends_its_side_within_its_request_cut_it_whoever_closes_last() {
        const REQUEST: &[u8] = b"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc";
        const RESPONSE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        let ms = |ms: u64| Time(ms * 1_000_000);
        for (client_fin, expected) in
            [(2, "closed by the client during the request"), (350, "closed by the server after the response")]
        {
            let (mut connection, mut exchanges) = (HttpConnection::new(Some(Role::Client)), Vec::new());
            for (direction, bytes, time) in
                [(Direction::Out, REQUEST, ms(1)), (Direction::In, RESPONSE, ms(300))]
            {
                let chunk = Chunk::Bytes { offset: 0, bytes, time };
                connection.input(direction, chunk, false, &mut exchanges);
            }
            let fin = [Some(ms(client_fin)), Some(ms(301))];
            let end = ConnectionEnd { end: End::Fin, first_fin: Some((Direction::In, ms(301))), fin };
            connection.finish(ms(900), end, &mut exchanges);
            assert_eq!(exchanges[0].reason.as_deref(), Some(expected));
        }
    }
}
