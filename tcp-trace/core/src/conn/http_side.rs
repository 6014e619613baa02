//! The HTTP that a connection carries: which bytes go to its parser, and when it ends.

use tcp_trace_model::{
    event::{Direction, Flags, Role, Segment, State},
    record::HttpTotals,
    time::Time,
};

use super::{Connection, close::errno_name, sequence::Sequence};
use crate::http::{End, Exchange, HttpConnection};

/// The HTTP side of a connection.
#[derive(Debug, Default)]
pub(super) struct HttpSide {
    /// `None` before there was payload, and when it is something else.
    parser: Option<Box<HttpConnection>>,
    is_other: bool,
    exchanges: u64,
    minor_version: u8,
}

impl HttpSide {
    /// What to say of it in the summary.
    pub(super) fn totals(&self) -> Option<HttpTotals> {
        (self.exchanges > 0).then(|| HttpTotals {
            requests: self.exchanges,
            protocol: format!("http/1.{}", self.minor_version),
        })
    }

    /// The parser, while it may be HTTP.
    pub(super) fn parser(&mut self) -> Option<&mut HttpConnection> {
        self.parser.as_deref_mut()
    }

    /// What comes from now on is something else.
    fn end(&mut self) -> Option<Box<HttpConnection>> {
        self.is_other = true;
        self.parser.take()
    }

    fn count(&mut self, exchanges: &[Exchange]) {
        self.exchanges += exchanges.len() as u64;
        let request = exchanges.iter().rev().find_map(|exchange| exchange.request.as_ref());
        if let Some(request) = request {
            self.minor_version = request.version;
        }
    }
}

impl Connection {
    /// Whether its payload is known not to be HTTP.
    pub(super) fn is_not_http(&self) -> bool {
        self.http.is_other
    }

    /// Hands a segment's payload and FIN to the HTTP parser. Exchanges that are complete are appended.
    pub fn feed_http(&mut self, time: Time, segment: &Segment<'_>, exchanges: &mut Vec<Exchange>) {
        if self.http.parser.is_none() {
            if self.http.is_other || segment.payload.is_empty() {
                return;
            }
            self.http.parser = Some(Box::new(self.new_http()));
        }
        let Some(http) = self.http.parser() else { return };
        let before = exchanges.len();
        // An RST is no proof: it may answer a segment that was not accepted.
        if segment.flags.has(Flags::ACK) && !segment.flags.has(Flags::RST) {
            http.acknowledged(segment, time, exchanges);
        }
        let syn = u32::from(segment.flags.has(Flags::SYN));
        let sequence = segment.sequence.wrapping_add(syn);
        if !segment.payload.is_empty() {
            http.payload(segment.direction, sequence, segment.payload, time, exchanges);
        } else if segment.length > 0 {
            // The kernel side left it out, as it was told.
            http.skipped(segment.direction, sequence, segment.length, time, exchanges);
        }
        if segment.flags.has(Flags::FIN) {
            let fin = sequence.wrapping_add(segment.length);
            http.finished(segment.direction, fin, time, exchanges);
        }
        if let (None, Some(requests)) = (self.role, http.requests()) {
            // Seen from the middle, but its messages tell which end it is.
            self.role = Some(if requests == Direction::Out { Role::Client } else { Role::Server });
        }
        if http.is_http() == Some(false) {
            self.http.end();
        }
        self.http.count(&exchanges[before..]);
    }

    /// Gives up payload that was not seen, after a loss of events. Exchanges that end by that are appended.
    pub fn give_up_holes(&mut self, time: Time, exchanges: &mut Vec<Exchange>) {
        self.server_name.give_up_holes();
        self.sequences.iter_mut().for_each(Sequence::give_up_holes);
        let Some(http) = self.http.parser() else { return };
        let before = exchanges.len();
        http.give_up_holes(time, exchanges);
        self.http.count(&exchanges[before..]);
    }

    /// Ends the HTTP of a connection that is over: exchanges that are still open are appended.
    pub fn finish_http(&mut self, time: Time, exchanges: &mut Vec<Exchange>) {
        self.note_full_windows(time);
        let end = match (self.closed(), self.ending().reset) {
            (None, _) => End::Unknown,
            (Some(_), reset @ Some(_)) => End::Reset(reset),
            (Some(_), None) => errno_name(self.ending().error).map_or(End::Fin, End::Failed),
        };
        let passed = self.ending().passed;
        let Some(mut http) = self.http.end() else { return };
        let before = exchanges.len();
        if let Some(passed) = passed {
            http.give_up_holes(time, exchanges);
            for direction in [Direction::Out, Direction::In] {
                http.has_passed(direction, passed[direction.index()], time, exchanges);
            }
        }
        http.finish(time, end, exchanges);
        self.http.count(&exchanges[before..]);
    }

    /// A parser that knows where each direction's bytes begin, if the handshake was seen.
    fn new_http(&self) -> HttpConnection {
        let mut http = HttpConnection::new(self.role);
        let established = self.spans.iter().find(|span| span.state == State::Established);
        if let Some(time) = established.and_then(|span| span.entered) {
            http.established(time);
        }
        let syn_goes = match self.role {
            Some(Role::Server) => Direction::In,
            _ => Direction::Out,
        };
        let (syn, syn_ack) = self.handshake.as_ref().map_or((None, None), |handshake| handshake.sequences());
        for (seen, direction) in [(syn, syn_goes), (syn_ack, syn_goes.opposite())] {
            if let Some(sequence) = seen {
                http.start(direction, sequence.wrapping_add(1));
            }
        }
        http
    }
}
