//! What a TLS library's calls show of what a connection carries: a second layer, which reads their plaintext.

use tcp_trace_model::{
    event::{Direction, TlsLibrary, TlsObject},
    exchange::Version,
    record::{self, ExchangeTls, TlsLink},
    time::Time,
};

use super::Connection;
use crate::{
    http::{ConnectionEnd, End},
    http2::{self, HEADER},
    protocols::{Cx, Found, Layer, Start},
    stream::{Chunk, Need},
};

/// Bytes of a message that are left when it is worth a system call to do without them.
const WORTH_SKIPPING: u64 = 32 << 10;

/// What passed in one call, or in a part of it.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// When.
    pub time: Time,
    /// Seen from the process.
    pub direction: Direction,
    /// Bytes of the object in this direction before it.
    pub offset: u64,
    /// How many bytes.
    pub length: u32,
    /// The first of them.
    pub payload: &'a [u8],
}

/// The reader of a TLS object's plaintext.
#[derive(Debug)]
pub(super) struct Inside {
    object: TlsObject,
    /// Whether the object is there.
    is_there: bool,
    /// Whether it turned out to belong to another connection.
    is_left: bool,
    /// Whether an exchange was read of it.
    has_exchanges: bool,
    said: record::Decrypted,
    /// Whether it is read from its first byte on.
    is_whole: bool,
    layer: Layer,
    /// By [`Direction::index`].
    ways: [Way; 2],
    /// When something passed last.
    last: Time,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// The object's offset at which the layer begins; `None` where that is the next that comes.
    base: Option<u64>,
    /// The object's offset of what comes next.
    next: u64,
    /// Before which offset the kernel side hands over nothing.
    entry: Option<u64>,
    /// Before which offset it may have left something out.
    elided: u64,
    /// The header of a frame of HTTP/2, which ended there: a program may read the rest of the frame in another call, and in the middle
    /// of a connection only whole frames are known as such.
    header: Option<[u8; HEADER]>,
}

impl Way {
    /// The chunks of what lies between two offsets and was not handed over.
    fn missing(&self, (from, to): (u64, u64), time: Time) -> [Option<Chunk<'static>>; 2] {
        let base = self.base.unwrap_or_default();
        let until = self.elided.clamp(from, to);
        let [elided, gap] = [(from, until), (until, to)].map(|(from, to)| (from - base, to - from));
        [
            (elided.1 > 0).then_some(Chunk::Elided { offset: elided.0, length: elided.1, time }),
            (gap.1 > 0).then_some(Chunk::Gap { offset: gap.0, length: gap.1, time }),
        ]
    }

    /// What the kernel side's entry has to be now; `None` if it is right.
    fn want(&mut self, need: Need) -> Option<Option<u64>> {
        let until = match need {
            Need::All => None,
            Need::Nothing => Some(u64::MAX),
            Need::From(offset) => Some(self.base.unwrap_or_default().saturating_add(offset)),
        };
        let until = until.filter(|until| until.saturating_sub(self.next) >= WORTH_SKIPPING);
        let entry = self.entry.filter(|entry| *entry > self.next);
        if until == entry {
            return None;
        }
        self.entry = until;
        self.elided = self.elided.max(until.unwrap_or_default());
        Some(until)
    }
}

impl Inside {
    fn hand(&mut self, direction: Direction, chunk: Chunk<'_>, found: &mut Found) {
        self.layer.input(direction, chunk, &mut Cx::new(false, found));
    }

    fn take(&mut self, piece: Piece<'_>, found: &mut Found) {
        let Piece { time, direction, offset, length, payload } = piece;
        self.last = self.last.max(time);
        let way = &mut self.ways[direction.index()];
        let base = *way.base.get_or_insert(offset);
        way.next = way.next.max(base);
        let end = offset.saturating_add(length.into());
        if offset < way.next {
            // It was taken before.
            return;
        }
        let shown = end.min(offset.saturating_add(payload.len() as u64));
        let (before, after) = (way.missing((way.next, offset), time), way.missing((shown, end), time));
        // Behind a gap, too, only whole frames are known as such.
        self.is_whole &=
            !before.iter().chain(&after).flatten().any(|chunk| matches!(chunk, Chunk::Gap { .. }));
        let next = std::mem::replace(&mut way.next, end);
        let held = way.header.take();
        if (held.is_none() || next != offset) && !self.is_whole && shown == end {
            way.header = http2::header_alone(payload);
        }
        let is_held = way.header.is_some();
        let mut rest = Some((offset - base, payload)).filter(|_| shown > offset && !is_held);
        let mut joined = Vec::new();
        if let Some(header) = held {
            joined.extend_from_slice(&header);
            if let Some((_, payload)) = rest.take_if(|_| next == offset) {
                joined.extend_from_slice(payload);
            }
            let from = next - base - HEADER as u64;
            self.hand(direction, Chunk::Bytes { offset: from, bytes: &joined, time }, found);
        }
        before.into_iter().flatten().for_each(|chunk| self.hand(direction, chunk, found));
        if let Some((offset, bytes)) = rest {
            self.hand(direction, Chunk::Bytes { offset, bytes, time }, found);
        }
        after.into_iter().flatten().for_each(|chunk| self.hand(direction, chunk, found));
    }

    /// Ends it with the connection. The FINs of both directions, in their order, are what its messages may last until.
    fn finish(&mut self, time: Time, end: ConnectionEnd, found: &mut Found) {
        for direction in [Direction::Out, Direction::In] {
            let way = &mut self.ways[direction.index()];
            if let Some(header) = way.header.take() {
                // Nothing came behind it.
                let offset = way.next - way.base.unwrap_or_default() - HEADER as u64;
                self.hand(direction, Chunk::Bytes { offset, bytes: &header, time: self.last }, found);
            }
        }
        let fin = |direction: Direction| Some((end.fin[direction.index()]?, direction));
        let mut fins = [fin(Direction::Out), fin(Direction::In)];
        fins.sort_unstable_by_key(|fin| fin.map(|(time, _)| time));
        if end.end == End::Fin {
            for (fin, direction) in fins.into_iter().flatten() {
                self.hand(direction, Chunk::Fin { time: fin.max(self.last) }, found);
            }
        }
        self.layer.finish(time, end, &mut Cx::new(false, found));
        self.layer = Layer::Opaque;
    }
}

impl Connection {
    /// Whether what it carries may be TLS, as far as its bytes tell.
    pub fn may_carry_tls(&self) -> bool {
        self.payload.may_be_tls()
    }

    /// Whether its first bytes were seen, and are of a protocol that does not go over to TLS later.
    pub fn began_without_tls(&self) -> bool {
        self.handshake.is_some() && self.payload.began_without_tls()
    }

    /// The object whose plaintext is read as its contents, with what shows that it belongs there, and whether it is still there.
    pub fn object(&self) -> Option<(TlsObject, TlsLink, bool)> {
        let Inside { object, said, is_there, is_left, .. } = self.payload.inside.as_deref()?;
        Some((*object, said.link, *is_there && !is_left))
    }

    /// Begins to read an object's plaintext. `is_whole` is whether it is read from its first byte on.
    pub fn begin_inside(&mut self, object: TlsObject, library: TlsLibrary, link: TlsLink, is_whole: bool) {
        let exchanges = self.payload.exchanges();
        let is_first = is_whole && exchanges == 0;
        let start = Start {
            from_start: [is_whole; 2],
            idle_since: self.payload.handshake_ended().filter(|_| is_first),
            exchanges,
            ..Start::of_role(self.role())
        };
        let way = Way { base: is_whole.then_some(0), ..Way::default() };
        self.payload.inside = Some(Box::new(Inside {
            object,
            is_there: true,
            is_left: false,
            has_exchanges: false,
            said: record::Decrypted { link, library, protocol: None },
            is_whole,
            layer: Layer::first(start),
            ways: [way; 2],
            last: Time(0),
        }));
        self.leave_tls_to_calls();
    }

    /// Whether its process may still read what had come before the peer's RST.
    pub fn awaits_plaintext(&self) -> bool {
        let is_there = self.object().is_some_and(|(_, _, is_there)| is_there);
        is_there && self.ending().reset == Some(Direction::In)
    }

    /// Notes better evidence that the object belongs there.
    pub fn strengthen_link(&mut self, link: TlsLink) {
        if let Some(inside) = self.payload.inside.as_deref_mut() {
            inside.said.link = inside.said.link.min(link);
        }
    }

    /// Notes that the object is gone: no plaintext comes any more.
    pub fn object_gone(&mut self) {
        if let Some(inside) = self.payload.inside.as_deref_mut() {
            inside.is_there = false;
        }
    }

    /// Hands plaintext to the layer that reads it.
    pub fn read_plaintext(&mut self, piece: Piece<'_>, found: &mut Found) {
        self.with_inside(found, |inside, found| inside.take(piece, found));
    }

    /// What the kernel side's entry of a direction has to be: before which offset no plaintext is needed, or `Some(None)` where all
    /// is needed again; `None` if it is right. `is_read` is whether anything reads what the connection carries.
    pub fn skip_plaintext(&mut self, direction: Direction, is_read: bool) -> Option<Option<u64>> {
        let inside = self.payload.inside.as_deref_mut()?;
        let need = if is_read { inside.layer.need(direction) } else { Need::Nothing };
        inside.ways[direction.index()].want(need)
    }

    /// Ends what was read of an object that turned out to belong to another connection.
    pub fn leave_inside(&mut self, time: Time, found: &mut Found) {
        self.with_inside(found, |inside, found| {
            inside.finish(time, ConnectionEnd::without_fin(End::Unseen), found);
            inside.is_left = true;
        });
    }

    /// Ends what an object's plaintext is read as, because the connection is over.
    pub(super) fn finish_inside(&mut self, time: Time, found: &mut Found) {
        let end = self.end();
        self.with_inside(found, |inside, found| inside.finish(time, end, found));
    }

    fn with_inside(&mut self, found: &mut Found, read: impl FnOnce(&mut Inside, &mut Found)) {
        let Some(mut inside) = self.payload.inside.take() else { return };
        let mut inner = Found::default();
        read(&mut inside, &mut inner);
        if let Some(name) = inner.protocol {
            inside.said.protocol = Some(name.to_owned());
        }
        inside.has_exchanges |= !inner.exchanges.is_empty();
        self.learn_client(&inside.layer);
        let tls = Some(ExchangeTls { link: inside.said.link });
        self.payload.inside = Some(inside);
        for exchange in &mut inner.exchanges {
            exchange.tls = tls;
            if exchange.version() != Some(Version::HTTP2)
                && let Some(url) = &mut exchange.url
                && url.scheme.as_ref().is_some_and(|scheme| &*scheme.0 == b"http")
                && exchange.request.as_ref().is_some_and(|request| request.target.0.starts_with(b"/"))
            {
                url.scheme = Some("https".into());
            }
        }
        self.payload.note_inside(&mut inner);
        found.exchanges.append(&mut inner.exchanges);
    }
}

impl Inside {
    /// Whether its object turned out to belong to another connection.
    pub(super) fn is_left(&self) -> bool {
        self.is_left
    }

    /// What is recorded of it; `None` where its object turned out to belong elsewhere before anything was read.
    pub(super) fn said(&self) -> Option<Box<record::Decrypted>> {
        (!self.is_left || self.has_exchanges).then(|| Box::new(self.said.clone()))
    }
}
