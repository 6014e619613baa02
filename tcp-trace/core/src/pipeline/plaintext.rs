//! Plaintext that TLS libraries' calls show: which connection it belongs to, and what it is read as.
//!
//! What no evidence links is kept for a while, and then counted: a line of an exchange has its connection, and a wrong one is worse
//! than none.

mod evidence;
mod lengths;
mod links;
mod objects;
mod taken;

use tcp_trace_model::{
    event::{Ciphertext, Direction, Passage, Plaintext, TlsObject},
    record::{ConnectionId, TlsLink},
    time::Time,
};

pub use evidence::STARTS_MAX;
pub(super) use objects::Plaintexts;
use objects::{Held, Place};
pub use objects::{OBJECTS_MAX, WAITING_BYTES_MAX, WAITING_MAX};
pub use taken::{BYTES_MAX, CALLS_MAX, PLACES_MAX};

use super::{
    Pipeline,
    cx::Cx,
    output::{Output, Skip, SkipPlaintext},
    table::Tracked,
};
use crate::conn::Piece;

impl Pipeline {
    /// Takes plaintext, or what is reported of it later.
    pub(super) fn plaintext(&mut self, time: Time, plaintext: &Plaintext<'_>) {
        match plaintext.passage {
            Passage::Whole => self.passed(time, plaintext),
            Passage::Taken => {
                if !self.plaintexts.taken.add(time, plaintext) {
                    self.cx.out.lose(1);
                }
            }
            Passage::Sent(address) => self.sent(time, plaintext, address),
        }
    }

    /// What was taken at this address of the process is sent.
    fn sent(&mut self, time: Time, plaintext: &Plaintext<'_>, address: u64) {
        let calls = self.plaintexts.taken.send(plaintext.object, address, plaintext.length);
        if plaintext.socket.is_none() {
            // That socket is not followed.
            return;
        }
        let Some(calls) = calls else {
            // A part of it is lost, nobody knows which.
            self.passed(time, plaintext);
            return;
        };
        let mut offset = plaintext.offset;
        for call in calls {
            let Held { time, length, payload, .. } = &call;
            self.passed(*time, &Plaintext { offset, length: *length, payload, ..*plaintext });
            offset += u64::from(*length);
        }
    }

    /// Takes plaintext that was sent or received.
    fn passed(&mut self, time: Time, plaintext: &Plaintext<'_>) {
        let Plaintext { object, direction, offset, length, payload, .. } = *plaintext;
        if !self.meet(time, object) {
            return;
        }
        self.plaintexts.describe(plaintext);
        if let Some(cookie) = plaintext.socket {
            self.nested(time, object, cookie);
        }
        self.begin(time, object);
        if length == 0 {
            // It was reported when the call began, and now what it used.
            return;
        }
        let piece = Piece { time, direction, offset, length, payload };
        let Self { cx, plaintexts, connections, resolutions, .. } = self;
        match plaintexts.place(object) {
            Some(Place::Connection(id)) => {
                if let Some(tracked) = connections.of(id) {
                    tracked.read_plaintext(object, piece, cx);
                    tracked.take_found(time, resolutions, cx);
                }
            }
            Some(Place::Waiting) => {
                plaintexts.hold(object, piece);
                self.need_records(time, object.pid);
            }
            None => {}
        }
    }

    /// Takes what an object handed out or took.
    pub(super) fn ciphertext(&mut self, time: Time, ciphertext: &Ciphertext<'_>) {
        let object = ciphertext.object;
        if !self.meet(time, object) {
            return;
        }
        let Self { plaintexts, connections, .. } = self;
        let mut passed = plaintexts.evidence.hand(time, ciphertext);
        passed.sort_unstable();
        passed.dedup();
        passed.retain(|id| connections.of(*id).is_some_and(|tracked| tracked.is_of(object.pid)));
        match passed[..] {
            [id] => self.link(time, object, id, TlsLink::Ciphertext),
            [] if plaintexts.place(object) == Some(Place::Waiting) => self.need_records(time, object.pid),
            // Of several, any may be it.
            _ => {}
        }
    }

    /// Notes that an object is used; false when there are too many, and what it shows is lost.
    fn meet(&mut self, time: Time, object: TlsObject) -> bool {
        let (is_known, former) = self.plaintexts.meet(time, object);
        if let Some((former, id)) = former {
            // That it is gone, nobody said.
            self.gone_from(former, id);
        }
        if !is_known {
            self.cx.out.lose(1);
        }
        is_known
    }

    /// The object is gone.
    pub(super) fn tls_object_gone(&mut self, object: TlsObject) {
        if let Some(id) = self.plaintexts.remove(object) {
            self.gone_from(object, id);
        }
    }

    /// An object is gone that belonged to a connection.
    fn gone_from(&mut self, object: TlsObject, id: ConnectionId) {
        if let Some(tracked) = self.connections.of(id)
            && tracked.has_object(object)
        {
            tracked.connection.object_gone();
        }
    }

    /// Looks again for what was not known when calls showed it, and forgets objects that nothing is heard of.
    pub(super) fn tick_plaintext(&mut self, now: Time) {
        for (object, cookie) in self.plaintexts.expected() {
            if self.connections.get(cookie).is_some() {
                self.nested(now, object, cookie);
                self.begin(now, object);
            }
        }
        self.retry_records(now);
        self.compare_lengths(now);
        let Self { plaintexts, connections, .. } = self;
        plaintexts.forget_idle(now, |id| connections.of(id).is_some());
    }
}

impl Tracked {
    /// Whether a process uses it, and it may be TLS.
    fn is_of(&self, pid: u32) -> bool {
        self.connection.owner().is_some_and(|owner| owner.pid == pid) && self.connection.may_carry_tls()
    }

    /// Whether an object's plaintext is read as what it carries.
    fn has_object(&self, object: TlsObject) -> bool {
        self.connection.object().is_some_and(|(own, _, is_there)| own == object && is_there)
    }

    /// Plaintext is needed again.
    pub(super) fn need_plaintext(&mut self, cx: &mut Cx) {
        let Some((object, _, true)) = self.connection.object() else { return };
        for direction in [Direction::Out, Direction::In] {
            if let Some(until) = self.connection.skip_plaintext(direction, true) {
                cx.out.push(Output::SkipPlaintext(SkipPlaintext { object, direction, until }));
            }
        }
    }

    /// The beginnings of its TLS records are needed.
    fn need_records(&mut self, cx: &mut Cx) {
        let cookie = self.connection.id().cookie;
        for direction in self.connection.need_records() {
            cx.out.push(Output::Skip(Skip { cookie, direction, until: None }));
        }
    }

    /// Hands plaintext of an object to what reads it, and says what is not needed.
    fn read_plaintext(&mut self, object: TlsObject, piece: Piece<'_>, cx: &mut Cx) {
        let is_read = self.is_read();
        if is_read {
            self.connection.read_plaintext(piece, &mut cx.found);
        }
        if let Some(until) = self.connection.skip_plaintext(piece.direction, is_read) {
            let skip = SkipPlaintext { object, direction: piece.direction, until };
            cx.out.push(Output::SkipPlaintext(skip));
        }
    }
}
