//! Plaintext that TLS libraries' calls show: which connection it belongs to, and what it is read as.
//!
//! What no evidence links is kept for a while, and then counted: a line of an exchange has its connection, and a wrong one is worse
//! than none.

mod objects;

use tcp_trace_model::{
    event::{Cookie, Direction, Plaintext, TlsObject},
    record::{ConnectionId, TlsLink},
    time::Time,
};

pub(super) use objects::Plaintexts;
use objects::{Held, Place};
pub use objects::{OBJECTS_MAX, WAITING_BYTES_MAX, WAITING_MAX};

use super::{
    Pipeline,
    cx::Cx,
    output::{Output, SkipPlaintext},
    table::Tracked,
};
use crate::conn::Piece;

impl Pipeline {
    /// Takes plaintext.
    pub(super) fn plaintext(&mut self, time: Time, plaintext: &Plaintext<'_>) {
        let Plaintext { object, direction, offset, length, payload, .. } = *plaintext;
        let Self { cx, plaintexts, .. } = self;
        if !plaintexts.meet(time, plaintext) {
            cx.out.lose(1);
            return;
        }
        if let Some(cookie) = plaintext.socket {
            self.nested(time, object, cookie);
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
            Some(Place::Waiting) => cx.out.lose(plaintexts.hold(object, piece)),
            None => {}
        }
    }

    /// The object is gone.
    pub(super) fn tls_object_gone(&mut self, object: TlsObject) {
        let Self { plaintexts, connections, .. } = self;
        if let Some(id) = plaintexts.remove(object)
            && let Some(tracked) = connections.of(id)
        {
            tracked.connection.object_gone();
        }
    }

    /// A thread used this socket while it was in a call of the object.
    fn nested(&mut self, time: Time, object: TlsObject, cookie: Cookie) {
        match self.connections.get(cookie).map(|tracked| &tracked.connection) {
            Some(connection) if connection.may_carry_tls() => {
                let id = connection.id();
                self.link(time, object, id, TlsLink::NestedSyscall);
            }
            // Something else was done meanwhile, in a callback.
            Some(_) => {}
            None => self.plaintexts.expect(object, cookie),
        }
    }

    /// Takes evidence that an object belongs to a connection.
    fn link(&mut self, time: Time, object: TlsObject, id: ConnectionId, link: TlsLink) {
        let before = match self.plaintexts.place(object) {
            Some(Place::Connection(before)) if before == id => {
                if let Some(tracked) = self.connections.of(id) {
                    tracked.connection.strengthen_link(link);
                }
                return;
            }
            Some(Place::Connection(before)) => Some(before),
            Some(Place::Waiting) => None,
            None => return,
        };
        let Some(tracked) = self.connections.of(id) else { return };
        let other = tracked.connection.object();
        if let Some((_, evidence, true)) = other
            && evidence <= link
        {
            // An object that is there has it, as for all that is known: this one may be inside of that.
            return;
        }
        let is_new = other.is_none();
        if let Some((other, ..)) = other {
            self.unlink(time, id);
            self.plaintexts.wait_again(time, other);
        }
        if let Some(before) = before {
            self.unlink(time, before);
        }
        let Self { cx, plaintexts, connections, resolutions, .. } = self;
        let Some((library, is_whole, held)) = plaintexts.link(object, id) else { return };
        let Some(tracked) = connections.of(id) else { return };
        let is_whole = is_whole && is_new && before.is_none();
        tracked.connection.begin_inside(object, library, link, is_whole);
        for Held { time, direction, offset, length, payload } in held {
            let piece = Piece { time, direction, offset, length, payload: &payload };
            tracked.read_plaintext(object, piece, cx);
        }
        tracked.take_found(time, resolutions, cx);
    }

    /// Ends what was read of an object on a connection that it does not belong to.
    fn unlink(&mut self, time: Time, id: ConnectionId) {
        let Self { cx, connections, resolutions, .. } = self;
        if let Some(tracked) = connections.of(id) {
            tracked.connection.leave_inside(time, &mut cx.found);
            tracked.take_found(time, resolutions, cx);
        }
    }

    /// Looks again for connections that calls named before they were known, and forgets objects that nothing is heard of.
    pub(super) fn tick_plaintext(&mut self, now: Time) {
        for (object, cookie) in self.plaintexts.expected() {
            if self.connections.get(cookie).is_some() {
                self.nested(now, object, cookie);
            }
        }
        let Self { plaintexts, connections, .. } = self;
        plaintexts.forget_idle(now, |id| connections.of(id).is_some());
    }
}

impl Tracked {
    /// Plaintext is needed again.
    pub(super) fn need_plaintext(&mut self, cx: &mut Cx) {
        let Some((object, _, true)) = self.connection.object() else { return };
        for direction in [Direction::Out, Direction::In] {
            if let Some(until) = self.connection.skip_plaintext(direction, true) {
                cx.out.push(Output::SkipPlaintext(SkipPlaintext { object, direction, until }));
            }
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
