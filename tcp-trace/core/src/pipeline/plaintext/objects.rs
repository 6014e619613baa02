//! The objects of TLS libraries, and the plaintext of those whose connection is not known.

use std::collections::HashMap;

use tcp_trace_model::{
    event::{Cookie, Direction, Plaintext, TlsLibrary, TlsObject},
    record::{ConnectionId, Unlinked},
    time::Time,
};

use crate::conn::Piece;

/// Objects that are known at the same time; calls of further ones are counted as lost.
pub const OBJECTS_MAX: usize = 65_536;
/// Calls of an object that wait for its connection; further ones are counted as lost.
pub const WAITING_MAX: usize = 256;
/// Bytes of plaintext that wait for the connections of all objects; of what comes beyond, only the length is kept.
pub const WAITING_BYTES_MAX: usize = 16 << 20;
/// Bytes of an object's plaintext that wait; of what comes beyond, only the length is kept.
const OBJECT_BYTES_MAX: usize = 256 << 10;
/// How long nothing has to be heard of an object before it is forgotten, in microseconds, unless it has an open connection.
const IDLE_US: u64 = 60_000_000;
/// How often that is looked for.
const FORGET_EVERY_US: u64 = 10_000_000;

/// Where an object is in its process: its key.
pub(super) type Key = (u32, u64);

/// The key of an object.
pub(super) fn key(object: TlsObject) -> Key {
    (object.pid, object.address)
}

/// A call that waits.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) time: Time,
    pub(super) direction: Direction,
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) payload: Vec<u8>,
}

/// Where an object's plaintext goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To this connection.
    Connection(ConnectionId),
    /// Nothing has shown it.
    Waiting,
}

#[derive(Debug)]
struct Object {
    generation: u32,
    library: TlsLibrary,
    /// Whether all was seen from its first byte on.
    is_whole: bool,
    place: Place,
    /// The socket that its calls used, where that is no connection that is followed.
    expects: Option<Cookie>,
    held: Vec<Held>,
    held_bytes: usize,
    /// Bytes that passed and were read as no connection's.
    unlinked: u64,
    last: Time,
}

/// All of them.
#[derive(Debug, Default)]
pub(in super::super) struct Plaintexts {
    objects: HashMap<Key, Object>,
    held_bytes: usize,
    unlinked: Unlinked,
    /// Those whose calls used a socket that was not followed.
    expecting: Vec<TlsObject>,
    forgot: Time,
}

impl Plaintexts {
    /// Notes that an object is used; false when there are too many.
    pub(super) fn meet(&mut self, time: Time, plaintext: &Plaintext<'_>) -> bool {
        let Plaintext { object, library, offset, is_late, .. } = *plaintext;
        let is_full = self.objects.len() >= OBJECTS_MAX;
        match self.objects.get_mut(&key(object)) {
            Some(known) if known.generation == object.generation => {
                known.last = time;
                return true;
            }
            Some(known) => {
                // That the one before it is gone, nobody said.
                let before = TlsObject { generation: known.generation, ..object };
                self.remove(before);
            }
            None if is_full => return false,
            None => {}
        }
        let new = Object {
            generation: object.generation,
            library,
            is_whole: !is_late && offset == 0,
            place: Place::Waiting,
            expects: None,
            held: Vec::new(),
            held_bytes: 0,
            unlinked: 0,
            last: time,
        };
        self.objects.insert(key(object), new);
        true
    }

    fn get(&self, object: TlsObject) -> Option<&Object> {
        self.objects.get(&key(object)).filter(|known| known.generation == object.generation)
    }

    fn get_mut(&mut self, object: TlsObject) -> Option<&mut Object> {
        self.objects.get_mut(&key(object)).filter(|known| known.generation == object.generation)
    }

    /// Where its plaintext goes; `None` if it is not known.
    pub(super) fn place(&self, object: TlsObject) -> Option<Place> {
        Some(self.get(object)?.place)
    }

    /// Keeps a call until its connection is known. Gives how many are lost by that.
    pub(super) fn hold(&mut self, object: TlsObject, piece: Piece<'_>) -> u64 {
        let room = WAITING_BYTES_MAX.saturating_sub(self.held_bytes);
        let Some(known) = self.get_mut(object) else { return 0 };
        known.unlinked += u64::from(piece.length);
        if known.held.len() >= WAITING_MAX {
            if known.expects.is_none() {
                return 1;
            }
            // Nobody follows that socket.
            let bytes = std::mem::take(&mut known.held_bytes);
            (known.held, known.is_whole) = (Vec::new(), false);
            self.held_bytes -= bytes;
            return 0;
        }
        let room = room.min(OBJECT_BYTES_MAX.saturating_sub(known.held_bytes));
        let Piece { time, direction, offset, length, payload } = piece;
        let payload = if payload.len() <= room { payload.to_vec() } else { Vec::new() };
        let bytes = payload.len();
        known.held_bytes += bytes;
        known.held.push(Held { time, direction, offset, length, payload });
        self.held_bytes += bytes;
        0
    }

    /// Notes that a call used a socket that is not followed, or not yet.
    pub(super) fn expect(&mut self, object: TlsObject, cookie: Cookie) {
        if let Some(known) = self.get_mut(object)
            && known.expects.replace(cookie).is_none()
        {
            self.expecting.push(object);
        }
    }

    /// Those whose calls used a socket that was not followed.
    pub(super) fn expected(&mut self) -> Vec<(TlsObject, Cookie)> {
        let mut expecting = std::mem::take(&mut self.expecting);
        expecting.retain(|object| self.get(*object).is_some_and(|known| known.expects.is_some()));
        let expected = expecting.iter().filter_map(|object| Some((*object, self.get(*object)?.expects?)));
        let expected = expected.collect();
        self.expecting = expecting;
        expected
    }

    /// Links an object to a connection. Gives its library, whether what waits is all from its first byte on, and that.
    pub(super) fn link(
        &mut self,
        object: TlsObject,
        id: ConnectionId,
    ) -> Option<(TlsLibrary, bool, Vec<Held>)> {
        let known = self.get_mut(object)?;
        (known.place, known.expects, known.unlinked) = (Place::Connection(id), None, 0);
        let is_whole = std::mem::replace(&mut known.is_whole, false);
        let (library, held) = (known.library, std::mem::take(&mut known.held));
        let bytes = std::mem::take(&mut known.held_bytes);
        self.held_bytes -= bytes;
        Some((library, is_whole, held))
    }

    /// Notes that an object does not belong to the connection that it had.
    pub(super) fn wait_again(&mut self, time: Time, object: TlsObject) {
        if let Some(known) = self.get_mut(object) {
            (known.place, known.last) = (Place::Waiting, time);
        }
    }

    /// Forgets an object. Gives its connection.
    pub(super) fn remove(&mut self, object: TlsObject) -> Option<ConnectionId> {
        self.get(object)?;
        let known = self.objects.remove(&key(object))?;
        self.held_bytes -= known.held_bytes;
        match known.place {
            Place::Connection(id) => Some(id),
            Place::Waiting => {
                self.count(&known);
                None
            }
        }
    }

    /// Counts an object that nothing was linked to. One whose calls used a socket that is not followed is not missing.
    fn count(&mut self, object: &Object) {
        if object.unlinked > 0 && object.expects.is_none() {
            self.unlinked.objects += 1;
            self.unlinked.bytes += object.unlinked;
        }
    }

    /// Forgets those of which nothing was heard for long, unless their connection is there.
    pub(super) fn forget_idle(&mut self, now: Time, mut is_there: impl FnMut(ConnectionId) -> bool) {
        if now.micros_since(self.forgot) < FORGET_EVERY_US {
            return;
        }
        self.forgot = now;
        let is_idle = |known: &Object| now.micros_since(known.last) >= IDLE_US;
        let idle: Vec<_> = self
            .objects
            .iter()
            .filter(|(_, known)| is_idle(known))
            .filter(|(_, known)| !matches!(known.place, Place::Connection(id) if is_there(id)))
            .map(|(&(pid, address), known)| TlsObject { pid, address, generation: known.generation })
            .collect();
        for object in idle {
            self.remove(object);
        }
    }

    /// What could be linked to no connection by now, in all.
    pub(in super::super) fn unlinked(&self) -> Unlinked {
        let mut all = Self { unlinked: self.unlinked, ..Self::default() };
        self.objects
            .values()
            .filter(|known| known.place == Place::Waiting)
            .for_each(|known| all.count(known));
        all.unlinked
    }
}
