//! The objects of TLS libraries, and the plaintext of those whose connection is not known.

use std::collections::{HashMap, HashSet, VecDeque};

use tcp_trace_model::{
    event::{Cookie, Direction, Plaintext, TlsLibrary, TlsObject},
    record::{ConnectionId, TlsLink, Unlinked},
    time::Time,
};

use super::{evidence::Evidence, lengths::Calls, taken::Taken};
use crate::conn::Piece;

/// Objects that are known at the same time; calls of further ones are counted as lost.
pub const OBJECTS_MAX: usize = 65_536;
/// Calls of an object that wait for its connection; further ones are counted as lost when it is known.
pub const WAITING_MAX: usize = 256;
/// Bytes of the calls that wait for the connections of all objects, with their plaintext; what comes beyond is counted as lost when its
/// connection is known.
pub const WAITING_BYTES_MAX: usize = 16 << 20;
/// The same of one object; of what comes beyond, the length is kept.
const OBJECT_BYTES_MAX: usize = 256 << 10;
/// Bytes of a call that waits, without its plaintext.
const HELD: usize = size_of::<Held>();
/// How long nothing has to be heard of an object before it is forgotten, in microseconds, unless it has an open connection.
const IDLE_US: u64 = 60_000_000;
/// How often that is looked for.
const FORGET_EVERY_US: u64 = 10_000_000;

/// How long it is waited for that a process is known to use the connection on which passed what it handed out, in microseconds.
const RETRY_US: u64 = 1_000_000;
/// How many wait for that; further ones are not linked by this.
const RETRIED_MAX: usize = 1024;
/// Objects whose calls are compared with records at a time; the others have their turn the next time.
pub(super) const COMPARED_MAX: usize = 64;
/// How often it is looked for connections of a process whose objects wait, in microseconds.
const LOOK_EVERY_US: u64 = 1_000_000;

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

/// What an object is begun with that is linked.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) library: TlsLibrary,
    pub(super) link: TlsLink,
    /// Whether what waits is all from its first byte on.
    pub(super) is_whole: bool,
    pub(super) held: Vec<Held>,
    /// How many calls there was no room for, or none for what passed in them.
    pub(super) dropped: u64,
}

#[derive(Debug)]
struct Object {
    generation: u32,
    /// Its library, and whether all was seen from its first byte on; `None` before its first plaintext.
    said: Option<(TlsLibrary, bool)>,
    place: Place,
    /// What shows that it is there.
    link: TlsLink,
    /// Whether its plaintext is read there.
    is_begun: bool,
    /// The socket that its calls used, where that is no connection that is followed.
    expects: Option<Cookie>,
    held: Vec<Held>,
    held_bytes: usize,
    dropped: u64,
    calls: Calls,
    /// Bytes that passed and were read as no connection's.
    unlinked: u64,
    last: Time,
}

impl Object {
    /// Whether it waits, nothing else shows where it belongs, and its calls tell connections apart.
    fn is_telling(&self) -> bool {
        self.place == Place::Waiting && self.expects.is_none() && self.calls.tell()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(in super::super) struct Plaintexts {
    objects: HashMap<Key, Object>,
    pub(super) evidence: Evidence,
    pub(super) taken: Taken,
    held_bytes: usize,
    unlinked: Unlinked,
    /// Those whose calls used a socket that was not followed.
    expecting: Vec<TlsObject>,
    /// Those that handed out what passed on a connection that was not known to be their process's, and since when.
    retried: VecDeque<(Time, TlsObject, ConnectionId)>,
    /// Those that wait and whose calls were not compared with records.
    telling: VecDeque<TlsObject>,
    /// When it was looked for the connections of a process whose objects wait.
    looked: HashMap<u32, Time>,
    forgot: Time,
}

impl Plaintexts {
    /// Notes that an object is used; false when there are too many. Gives the connection of the one that was at its address
    /// before, too.
    pub(super) fn meet(
        &mut self,
        time: Time,
        object: TlsObject,
    ) -> (bool, Option<(TlsObject, ConnectionId)>) {
        let is_full = self.objects.len() >= OBJECTS_MAX;
        let mut gone = None;
        match self.objects.get_mut(&key(object)) {
            Some(known) if known.generation == object.generation => {
                known.last = time;
                return (true, None);
            }
            Some(known) => {
                // That the one before it is gone, nobody said.
                let before = TlsObject { generation: known.generation, ..object };
                gone = self.remove(before).map(|id| (before, id));
            }
            None if is_full => return (false, None),
            None => {}
        }
        let new = Object {
            generation: object.generation,
            said: None,
            place: Place::Waiting,
            link: TlsLink::LengthSequence,
            is_begun: false,
            expects: None,
            held: Vec::new(),
            held_bytes: 0,
            dropped: 0,
            calls: Calls::default(),
            unlinked: 0,
            last: time,
        };
        self.objects.insert(key(object), new);
        (true, gone)
    }

    /// Notes what an object's first plaintext says of it.
    pub(super) fn describe(&mut self, plaintext: &Plaintext<'_>) {
        let Plaintext { object, library, offset, is_late, .. } = *plaintext;
        if let Some(known) = self.get_mut(object) {
            known.said.get_or_insert((library, !is_late && offset == 0));
        }
    }

    /// Whether it has had plaintext.
    pub(super) fn is_described(&self, object: TlsObject) -> bool {
        self.get(object).is_some_and(|known| known.said.is_some())
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

    /// Keeps a call until its connection is known, as far as there is room.
    pub(super) fn hold(&mut self, object: TlsObject, piece: Piece<'_>) {
        let room = WAITING_BYTES_MAX.saturating_sub(self.held_bytes);
        let mut is_telling = false;
        let Some(known) = self.get_mut(object) else { return };
        known.unlinked += u64::from(piece.length);
        if known.held.len() >= WAITING_MAX || room < HELD {
            known.dropped += 1;
            if known.expects.is_none() {
                return;
            }
            // Nobody follows that socket.
            let bytes = std::mem::take(&mut known.held_bytes);
            (known.held, known.dropped) = (Vec::new(), 0);
            known.said = known.said.map(|(library, _)| (library, false));
            self.held_bytes -= bytes;
            return;
        }
        let room = room.min(OBJECT_BYTES_MAX.saturating_sub(known.held_bytes)).saturating_sub(HELD);
        let Piece { time, direction, offset, length, payload } = piece;
        let has_room = payload.len() <= room;
        let payload = if has_room { payload.to_vec() } else { Vec::new() };
        let bytes = HELD + payload.len();
        known.held_bytes += bytes;
        known.dropped += u64::from(!has_room);
        if direction == Direction::Out {
            known.calls.add(time, length);
            if !std::mem::replace(&mut known.calls.has_news, true) {
                is_telling = true;
            }
        }
        known.held.push(Held { time, direction, offset, length, payload });
        self.held_bytes += bytes;
        if is_telling {
            self.telling.push_back(object);
        }
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

    /// Links an object to a connection.
    pub(super) fn link(&mut self, object: TlsObject, id: ConnectionId, link: TlsLink) {
        if let Some(known) = self.get_mut(object) {
            (known.place, known.link, known.is_begun) = (Place::Connection(id), link, false);
            known.expects = None;
        }
    }

    /// Whether what shows its place is not to be doubted for this: only the calls themselves are believed against as good evidence.
    pub(super) fn is_held(&self, object: TlsObject, link: TlsLink) -> bool {
        link != TlsLink::NestedSyscall && self.get(object).is_some_and(|known| known.link <= link)
    }

    /// Notes better evidence that it is where it is.
    pub(super) fn strengthen(&mut self, object: TlsObject, link: TlsLink) {
        if let Some(known) = self.get_mut(object) {
            known.link = known.link.min(link);
        }
    }

    /// Gives what an object that is linked is begun with, once, when it has had plaintext.
    pub(super) fn begin(&mut self, object: TlsObject) -> Option<Begun> {
        let known = self.get_mut(object).filter(|known| !known.is_begun)?;
        let (library, is_whole) = known.said.as_mut()?;
        let (library, is_whole) = (*library, std::mem::replace(is_whole, false));
        (known.is_begun, known.unlinked) = (true, 0);
        let (link, held) = (known.link, std::mem::take(&mut known.held));
        let bytes = std::mem::take(&mut known.held_bytes);
        let dropped = std::mem::take(&mut known.dropped);
        self.held_bytes -= bytes;
        Some(Begun { library, link, is_whole, held, dropped })
    }

    /// Notes that an object does not belong to the connection that it had.
    pub(super) fn wait_again(&mut self, time: Time, object: TlsObject) {
        if let Some(known) = self.get_mut(object) {
            (known.place, known.link) = (Place::Waiting, TlsLink::LengthSequence);
            (known.is_begun, known.last) = (false, time);
        }
    }

    /// Notes that what an object handed out passed on a connection that is not known to be its process's.
    pub(super) fn retry(&mut self, time: Time, object: TlsObject, id: ConnectionId) {
        if self.retried.len() < RETRIED_MAX {
            self.retried.push_back((time, object, id));
        }
    }

    /// Those that wait for that, once for each tick while they do.
    pub(super) fn take_retried(&mut self, now: Time) -> Vec<(TlsObject, ConnectionId)> {
        let mut retried = std::mem::take(&mut self.retried);
        retried.retain(|(time, object, _)| {
            now.micros_since(*time) < RETRY_US && self.place(*object) == Some(Place::Waiting)
        });
        self.retried = retried;
        self.retried.iter().map(|(_, object, id)| (*object, *id)).collect()
    }

    /// Of those that wait and whose calls tell connections apart, as far as they have made any since the last time, the next ones.
    pub(super) fn take_telling(&mut self) -> Vec<TlsObject> {
        let mut telling = Vec::new();
        while telling.len() < COMPARED_MAX
            && let Some(object) = self.telling.pop_front()
        {
            let Some(known) = self.get_mut(object) else { continue };
            known.calls.has_news = false;
            telling.extend(known.is_telling().then_some(object));
        }
        telling
    }

    /// By process, of these, all whose calls tell connections apart and that wait.
    pub(super) fn all_telling(&self, processes: &HashSet<u32>) -> HashMap<u32, Vec<TlsObject>> {
        let mut all = HashMap::<_, Vec<_>>::new();
        let of_them = self.objects.iter().filter(|((pid, _), _)| processes.contains(pid));
        for (&(pid, address), known) in of_them.filter(|(_, known)| known.is_telling()) {
            all.entry(pid).or_default().push(TlsObject { pid, address, generation: known.generation });
        }
        all
    }

    /// Whether records are as long as the calls of an object make them.
    pub(super) fn match_records(&self, object: TlsObject, lengths: &VecDeque<(u16, Time)>) -> bool {
        self.get(object).is_some_and(|known| known.calls.match_records(lengths))
    }

    /// Whether it is time to look for the connections of a process whose objects wait.
    pub(super) fn has_to_look(&mut self, now: Time, pid: u32) -> bool {
        if self.looked.len() >= OBJECTS_MAX {
            self.looked.clear();
        }
        let is_due = self.looked.get(&pid).is_none_or(|looked| now.micros_since(*looked) >= LOOK_EVERY_US);
        if is_due {
            self.looked.insert(pid, now);
        }
        is_due
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
        self.taken.forget_idle(now);
        self.looked.retain(|_, looked| now.micros_since(*looked) < LOOK_EVERY_US);
        // An object of rustls is a socket.
        let is_socket = |known: &Object| matches!(known.said, Some((TlsLibrary::Rustls, _)));
        let is_idle = |known: &Object| {
            let is_linked = known.place != Place::Waiting;
            now.micros_since(known.last) >= IDLE_US || is_linked && is_socket(known)
        };
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
        let unsent = self.taken.unsent();
        all.unlinked.objects += unsent.objects;
        all.unlinked.bytes += unsent.bytes;
        all.unlinked
    }
}
