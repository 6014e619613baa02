//! What a connection carries: the layer that reads its payload, and what is counted of it.

use tcp_trace_model::{
    connection_info::ConnectionInfo,
    event::{Direction, Flags, Role, Segment},
    exchange::{Exchange, Integrity, Outcome, Version},
    http2::Http2Totals,
    record::{self, FirstBytes, HttpTotals, ProxyProtocol, Socks, Text, Tls},
    time::Time,
};

use super::{Connection, close::errno_name, inside::Inside, record_starts::RecordStarts};
use crate::{
    dns::DNS_PORT,
    http::{Cause, ConnectionEnd, End},
    protocols::{Cx, Found, Layer, Start, may_go_over_to_tls},
    stream::{Chunks, Half, Need, ahead},
};

/// What a connection carries.
#[derive(Debug, Default)]
pub(super) struct Payload {
    /// What reads it; `None` before there was any.
    pub(super) layer: Option<Layer>,
    /// The beginnings of its TLS records, while no calls are linked to it.
    pub(super) records: Option<Box<RecordStarts>>,
    /// What reads the plaintext that a TLS library's calls show of it, if they do.
    pub(super) inside: Option<Box<Inside>>,
    http: Http,
    /// Whether some of it goes to another server, through the one that it is connected to.
    is_tunnel: bool,
    /// What the protocol is called, once that is sure.
    protocol: Option<&'static str>,
    /// What came before it of another protocol.
    way: Option<Box<Way>>,
    /// The number behind the last response that left, while it is not known that it was acknowledged.
    unacknowledged: Option<u32>,
}

/// What is said of its HTTP.
#[derive(Debug, Default)]
struct Http {
    exchanges: u64,
    requests: u64,
    /// Where the bytes of a direction begin that come behind the last response and are none.
    surplus: Option<(Direction, u64)>,
    version: Option<Version>,
}

/// What is known of few connections: what proxies before them say, or are asked for, TLS, and what nothing reads.
#[derive(Debug, Default)]
struct Way {
    answer: Option<&'static str>,
    first_bytes: Option<FirstBytes>,
    proxy_protocol: Option<ProxyProtocol>,
    socks: Option<Socks>,
    http2: Option<Box<Http2Totals>>,
    tls: Option<Box<Tls>>,
    /// When the handshake of TLS ended.
    tls_ended: Option<Time>,
}

impl Payload {
    /// What to say of its HTTP in the summary.
    fn http_totals(&self, bytes: record::Bytes) -> Option<HttpTotals> {
        let surplus = self.http.surplus.map(|(direction, offset)| match direction {
            Direction::Out => bytes.sent.saturating_sub(offset),
            Direction::In => bytes.received.saturating_sub(offset),
        });
        (self.http.exchanges > 0).then(|| HttpTotals {
            requests: self.http.requests,
            surplus: surplus.unwrap_or_default(),
            protocol: format!("http/{}", self.http.version.unwrap_or_default()),
        })
    }

    /// Notes that bytes of a direction did not get on from `from` to `to`, which is now.
    pub(super) fn stalled(&mut self, direction: Direction, cause: Cause, from: Time, to: Time) {
        if let Some(layer) = &mut self.layer {
            layer.stalled(direction, cause, from, to);
        }
    }

    /// Writes what it is into a summary.
    pub(super) fn describe(&self, summary: &mut record::Connection) {
        summary.protocol = self.protocol.map(str::to_owned);
        summary.http = self.http_totals(summary.bytes);
        summary.decrypted = self.inside.as_ref().and_then(|inside| inside.said());
        if let Some(way) = &self.way {
            summary.answer_protocol = way.answer.map(str::to_owned);
            summary.first_bytes.clone_from(&way.first_bytes);
            summary.proxy_protocol = way.proxy_protocol;
            summary.socks.clone_from(&way.socks);
            summary.http2.clone_from(&way.http2);
            summary.tls.clone_from(&way.tls);
        }
    }

    /// Takes what was found that is said of the connection.
    fn note(&mut self, found: &mut Found) {
        if found.protocol.is_some() {
            self.protocol = found.protocol.take();
        }
        self.is_tunnel |= std::mem::take(&mut found.is_tunnel);
        self.http.surplus = self.http.surplus.or(found.surplus.take());
        if let Some(answer) = found.answer.take() {
            self.way.get_or_insert_default().answer = Some(answer);
        }
        if let Some(first) = found.first_bytes.take() {
            let [sent, received] =
                first.map(|bytes| Some(Text::from(bytes)).filter(|text| !text.0.is_empty()));
            self.way.get_or_insert_default().first_bytes = Some(FirstBytes { sent, received });
        }
        if let Some(proxy_protocol) = found.proxy_protocol.take() {
            self.way.get_or_insert_default().proxy_protocol = Some(proxy_protocol);
        }
        if let Some(http2) = found.http2.take() {
            self.way.get_or_insert_default().http2 = Some(http2);
        }
        if let Some(socks) = found.socks.take() {
            self.way.get_or_insert_default().socks = Some(socks);
        }
        if let Some(tls) = found.tls.take() {
            self.way.get_or_insert_default().tls = Some(tls);
        }
        if let Some((time, _)) = &found.tls_handshake {
            self.way.get_or_insert_default().tls_ended = Some(*time);
        }
    }

    /// Takes what was found inside of TLS.
    pub(super) fn note_inside(&mut self, found: &mut Found) {
        self.count(&found.exchanges);
        self.is_tunnel |= std::mem::take(&mut found.is_tunnel);
        if let Some(http2) = found.http2.take() {
            self.way.get_or_insert_default().http2 = Some(http2);
        }
    }

    /// Exchanges so far.
    pub(super) fn exchanges(&self) -> u64 {
        self.http.exchanges
    }

    /// When the handshake of TLS ended.
    pub(super) fn handshake_ended(&self) -> Option<Time> {
        self.way.as_ref()?.tls_ended
    }

    /// Whether it may be TLS, as far as its bytes tell.
    pub(super) fn may_be_tls(&self) -> bool {
        match &self.layer {
            Some(Layer::Http1(http)) => http.is_http() != Some(true),
            Some(Layer::Http2(_) | Layer::Dns(_)) => false,
            Some(Layer::Opaque | Layer::Opening(_)) => self.way_is_open(),
            _ => true,
        }
    }

    /// Whether its first bytes are of a protocol that does not go over to TLS later.
    pub(super) fn began_without_tls(&self) -> bool {
        match (&self.layer, self.protocol) {
            (Some(Layer::Opening(_) | Layer::Opaque), Some(name)) => !may_go_over_to_tls(name),
            (Some(Layer::Opening(_)), None) => true,
            (Some(Layer::Opaque), None) => self.way.as_ref().is_some_and(|way| way.first_bytes.is_some()),
            _ => false,
        }
    }

    /// Whether no calls are linked to it.
    pub(super) fn has_no_calls(&self) -> bool {
        self.inside.as_ref().is_none_or(|inside| inside.is_left())
    }

    /// Whether what nothing reads may be TLS: a protocol that was named may have gone over to it.
    fn way_is_open(&self) -> bool {
        !matches!(self.protocol, Some("http" | "http/2" | "websocket" | "dns"))
    }

    fn count(&mut self, exchanges: &[Box<Exchange>]) {
        for exchange in exchanges {
            self.http.exchanges += 1;
            self.http.requests += u64::from(exchange.request.is_some());
            self.http.version = exchange.version().or(self.http.version);
        }
    }
}

/// Hands chunks to a layer.
#[inline]
fn hand(layer: &mut Layer, direction: Direction, mut chunks: Chunks<'_>, cx: &mut Cx<'_>) {
    while let Some(chunk) = chunks.next_chunk() {
        layer.input(direction, chunk, cx);
    }
}

impl Connection {
    /// Whether its payload is read although its records are not: lookups have records of their own.
    pub fn may_carry_dns(&self) -> bool {
        let ConnectionInfo { role, network, .. } = &**self.info();
        *role == Some(Role::Client) && network.as_ref().is_some_and(|network| network.peer.port == DNS_PORT)
    }

    /// Hands a segment's payload and FIN to the layer that reads them.
    pub fn read(&mut self, time: Time, segment: &Segment<'_>, found: &mut Found) {
        let mut layer = match self.payload.layer.take() {
            Some(Layer::Opaque) => {
                self.payload.layer = Some(Layer::Opaque);
                return;
            }
            Some(layer) => layer,
            None if segment.payload.is_empty() => return,
            None => self.first_layer(),
        };
        let before = found.exchanges.len();
        let direction = segment.direction;
        let other = direction.opposite();
        if let Some(number) = self.stream.acknowledged(segment) {
            let is_other_incomplete = self.stream.half(direction).has_held();
            let lasts_until_fin = layer.lasts_until_fin(other);
            let chunks = self.stream.half_mut(other).advance_to(number, lasts_until_fin, time);
            hand(&mut layer, other, chunks, &mut Cx::new(is_other_incomplete, found));
        }
        let is_other_incomplete = self.stream.half(other).has_held();
        let chunks = self.stream.half_mut(direction).read(time, segment);
        hand(&mut layer, direction, chunks, &mut Cx::new(is_other_incomplete, found));
        self.put_back(layer, before, found);
    }

    /// Whether it waits for bytes that a loss of events may have taken.
    pub fn awaits_bytes(&self) -> bool {
        self.stream.halves().iter().any(Half::awaits_bytes)
    }

    /// Gives up payload that was not seen, after a loss of events.
    pub fn give_up_holes(&mut self, time: Time, found: &mut Found) {
        let before = found.exchanges.len();
        let Some(mut layer) = self.payload.layer.take() else {
            // Nothing was read yet, so nothing is yielded: it may still begin at its first byte.
            for direction in [Direction::Out, Direction::In] {
                drop(self.stream.half_mut(direction).give_up(time));
            }
            return;
        };
        self.give_up_missing(&mut layer, time, found);
        self.put_back(layer, before, found);
    }

    fn give_up_missing(&mut self, layer: &mut Layer, time: Time, found: &mut Found) {
        for direction in [Direction::Out, Direction::In] {
            let is_other_incomplete = self.stream.half(direction.opposite()).has_held();
            let chunks = self.stream.half_mut(direction).give_up(time);
            hand(layer, direction, chunks, &mut Cx::new(is_other_incomplete, found));
        }
    }

    /// Ends what a connection carries that is over.
    pub fn finish_payload(&mut self, time: Time, found: &mut Found) {
        self.note_full_windows(time);
        self.finish_wire(time, found);
        self.finish_inside(time, found);
    }

    fn finish_wire(&mut self, time: Time, found: &mut Found) {
        let Some(mut layer) = self.payload.layer.replace(Layer::Opaque) else { return };
        if matches!(layer, Layer::Opaque) {
            return;
        }
        let before = found.exchanges.len();
        self.give_up_missing(&mut layer, time, found);
        if let Some(passed) = self.ending().passed {
            for direction in [Direction::Out, Direction::In] {
                let lasts_until_fin = layer.lasts_until_fin(direction);
                let half = self.stream.half_mut(direction);
                let chunks = half.advance_to(passed[direction.index()], lasts_until_fin, time);
                hand(&mut layer, direction, chunks, &mut Cx::new(false, found));
            }
        }
        layer.finish(time, self.end(), &mut Cx::new(false, found));
        self.put_back(Layer::Opaque, before, found);
    }

    /// Ends what it carries as far as its own bytes tell, because other sockets carry the rest: nothing is read any more.
    pub fn leave_to_others(&mut self, time: Time, found: &mut Found) {
        if let Some(mut layer) = self.payload.layer.replace(Layer::Opaque) {
            let before = found.exchanges.len();
            layer.finish(time, ConnectionEnd::without_fin(End::Unseen), &mut Cx::new(false, found));
            self.put_back(Layer::Opaque, before, found);
        }
    }

    /// How it ended, as far as it has.
    pub(super) fn end(&self) -> ConnectionEnd {
        let ending = self.ending();
        let end = match (self.closed(), ending.reset) {
            (None, _) if self.socket.is_missing => End::Unseen,
            (None, _) => End::Unknown,
            (Some(_), reset @ Some(_)) => End::Reset(reset),
            (Some(_), None) => errno_name(ending.error).map_or(End::Fin, End::Failed),
        };
        ConnectionEnd { end, first_fin: ending.last_word(), fin: ending.fin }
    }

    fn put_back(&mut self, layer: Layer, before: usize, found: &mut Found) {
        self.learn_client(&layer);
        if matches!(layer, Layer::Opaque) {
            self.stream.discard();
        }
        self.payload.layer = Some(layer);
        self.payload.count(&found.exchanges[before..]);
        self.payload.note(found);
    }

    /// Learns which end it is from its messages, where it was seen from the middle.
    pub(super) fn learn_client(&mut self, layer: &Layer) {
        if let (None, Some(client)) = (self.role(), layer.client()) {
            let role = if client == Direction::Out { Role::Client } else { Role::Server };
            self.identity.learn_role(role);
        }
    }

    /// Its bytes are TLS, which calls show: what reads them as something else reads nothing any more.
    pub(super) fn leave_tls_to_calls(&mut self) {
        self.payload.records = None;
        if !matches!(self.payload.layer, Some(Layer::Tls(_))) {
            self.payload.layer = Some(Layer::Opaque);
            self.stream.discard();
            self.payload.protocol.get_or_insert("tls");
            if let Some(way) = &mut self.payload.way {
                way.first_bytes = None;
            }
        }
    }

    /// Whether some of what it carries goes to another server, through the one that it is connected to.
    pub fn is_tunnel(&self) -> bool {
        self.payload.is_tunnel
    }

    /// What to make of the first payload: where the handshake was seen, it is known where each direction begins.
    fn first_layer(&mut self) -> Layer {
        let client = if self.role() == Some(Role::Server) { Direction::In } else { Direction::Out };
        let (syn, syn_ack) = self.handshake.as_ref().map_or((None, None), |handshake| handshake.sequences());
        let mut from_start = [false; 2];
        for (seen, direction) in [(syn, client), (syn_ack, client.opposite())] {
            if let Some(sequence) = seen {
                self.stream.half_mut(direction).start(sequence.wrapping_add(1));
                from_start[direction.index()] = true;
            }
        }
        // Of a handshake that this end began.
        let rtt_us = self
            .handshake
            .as_ref()
            .filter(|_| self.role() == Some(Role::Client))
            .and_then(|handshake| handshake.summary(self.role())?.rtt_us);
        Layer::first(Start {
            from_start,
            rtt_us,
            idle_since: self.states.established(),
            is_dns: self.may_carry_dns(),
            ..Start::of_role(self.role())
        })
    }

    /// Whether a response left whole whose acknowledgment was not seen.
    #[inline]
    pub fn awaits_acknowledgment(&mut self, exchange: &Exchange) -> bool {
        let Some(response) = &exchange.response else { return false };
        let is_sent = self.role() == Some(Role::Server)
            && exchange.outcome == Outcome::Ok
            && exchange.integrity == Integrity::Complete
            // Where a response of HTTP/2 is, between others, is not known.
            && !response.place.is_empty()
            && self.has_socket();
        if !is_sent {
            return false;
        }
        let number = self.stream.half(Direction::Out).number_at(response.place.end);
        self.payload.unacknowledged = number.or(self.payload.unacknowledged);
        number.is_some()
    }

    /// Whether there is such a response.
    pub fn has_unacknowledged(&self) -> bool {
        self.payload.unacknowledged.is_some()
    }

    /// Whether a segment acknowledges the last response whose acknowledgment was not seen.
    #[inline]
    pub fn is_acknowledged_by(&mut self, segment: &Segment<'_>) -> bool {
        let acknowledges = |number: &mut u32| {
            segment.direction == Direction::In
                && segment.flags.has(Flags::ACK)
                && !segment.flags.has(Flags::RST)
                && ahead(segment.acknowledgment, *number) >= 0
        };
        self.payload.unacknowledged.take_if(acknowledges).is_some()
    }

    /// Of a connection that an RST of the peer has ended, how many bytes that were sent the peer has acknowledged; `None` where all that
    /// matters was.
    pub fn acknowledged_until_reset(&self) -> Option<u64> {
        self.payload.unacknowledged?;
        self.stream.half(Direction::Out).offset_of(self.ending().acknowledged_until_reset()?)
    }

    /// The directions whose skip entry has to be removed, because the payload is needed again.
    pub fn lift_skips(&mut self) -> impl Iterator<Item = Direction> {
        let lifted =
            [Direction::Out, Direction::In].map(|one| self.stream.half_mut(one).lift_skip().then_some(one));
        lifted.into_iter().flatten()
    }

    /// What the kernel side's skip entry of a direction has to be after a segment, see [`Half::want`](crate::stream::Half::want).
    /// `is_read` is whether anything reads the payload.
    pub fn skip(&mut self, segment: &Segment<'_>, is_read: bool) -> Option<Option<u32>> {
        let need = match &self.payload.layer {
            _ if !is_read => Need::Nothing,
            _ if self.needs_records(segment.direction) => Need::All,
            None => Need::All,
            Some(layer) => layer.need(segment.direction),
        };
        self.stream.half_mut(segment.direction).want(segment, need)
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::{
        event::{Elided, Elision, Flags, State},
        record::ConnectionId,
    };

    use super::*;
    use crate::stream::testing::{payload, segment};

    #[test]
    fn of_a_large_body_only_the_beginning_is_needed() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
        let length = u32::try_from(head.len()).unwrap();
        let (id, state) = (ConnectionId::of_socket(1, 0), Some(State::Established));
        let mut connection = Connection::new(id, Time(0), state, Some(Role::Server));
        let mut found = Found::default();
        let mut take = |segment: &Segment<'_>| {
            connection.segment(Time(0), segment);
            connection.read(Time(0), segment, &mut found);
            connection.skip(segment, true)
        };
        assert_eq!(take(&payload(Direction::In, 9, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")), None);
        let until = 1_000 + length + 100_000;
        assert_eq!(take(&payload(Direction::Out, 1_000, head)), Some(Some(until)));
        // Its last segment comes without its payload.
        let left = Elided { next: until - 500, us: 1 };
        let last = segment(Direction::Out, Flags::ACK, until - 500, 500);
        let last = Segment { elision: Elision::After(left), ..last };
        assert_eq!(take(&last), Some(None));
        assert_eq!(found.exchanges[0].response.as_ref().unwrap().body.size, 100_000);
    }
}
