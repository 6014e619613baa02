//! What shows to which connection an object belongs, and what follows from that.

use std::collections::{HashMap, HashSet};

use tcp_trace_model::{
    event::{Cookie, TlsObject},
    record::{ConnectionId, TlsLink},
    time::Time,
};

use super::{
    super::Pipeline,
    objects::{Held, Place},
};
use crate::conn::Piece;

impl Pipeline {
    /// A thread used this socket while it was in a call of the object.
    pub(super) fn nested(&mut self, time: Time, object: TlsObject, cookie: Cookie) {
        match self.connections.get(cookie).map(|tracked| &tracked.connection) {
            Some(connection) if connection.may_carry_tls() && !connection.began_without_tls() => {
                let id = connection.id();
                self.link(time, object, id, TlsLink::NestedSyscall);
            }
            // Something else was done meanwhile, in a callback.
            Some(_) => {}
            None => self.plaintexts.expect(object, cookie),
        }
    }

    /// The records passed on a connection that the last segment shows.
    pub(in super::super) fn records_passed(&mut self, time: Time, id: ConnectionId) {
        let Self { cx, plaintexts, connections, .. } = self;
        let (mut own, mut unknown): (Vec<TlsObject>, Vec<TlsObject>) = (Vec::new(), Vec::new());
        for start in cx.starts.drain(..) {
            let (objects, passed) = plaintexts.evidence.pass(time, start, id);
            for &object in objects {
                let is_own = |id: &&ConnectionId| {
                    connections.of(**id).is_some_and(|tracked| tracked.is_of(object.pid))
                };
                let own_ones: Vec<_> = passed.iter().filter(is_own).collect();
                match own_ones[..] {
                    [one] if *one == id => own.push(object),
                    // That its process uses the socket may be reported behind what it wrote.
                    [] => unknown.push(object),
                    // Its process passes on what it has received itself: the first may be it, and was asked.
                    _ => {}
                }
            }
        }
        for object in own {
            self.link(time, object, id, TlsLink::Ciphertext);
        }
        for object in unknown {
            self.plaintexts.retry(time, object, id);
        }
    }

    /// Looks again whose the connections are on which something passed that objects had handed out.
    pub(super) fn retry_records(&mut self, now: Time) {
        for (object, id) in self.plaintexts.take_retried(now) {
            if self.connections.of(id).is_some_and(|tracked| tracked.is_of(object.pid)) {
                self.link(now, object, id, TlsLink::Ciphertext);
            }
        }
    }

    /// Whether all connections of a process are followed that it may have.
    pub(in super::super) fn follows_all(&self) -> bool {
        let filter = self.filter();
        filter.port.is_empty()
            && filter.local_port.is_empty()
            && filter.peer_port.is_empty()
            && filter.addr.is_empty()
            && filter.netns.is_empty()
    }

    /// The connections of processes that may be what objects of theirs are for, by process.
    fn candidates(&self, is_wanted: impl Fn(u32) -> bool) -> HashMap<u32, Vec<ConnectionId>> {
        let mut candidates = HashMap::<_, Vec<_>>::new();
        for connection in self.connections.iter().map(|tracked| &tracked.connection) {
            if let Some(pid) = connection.owner().map(|owner| owner.pid).filter(|pid| is_wanted(*pid))
                && connection.is_unlinked_tls()
                && connection.has_socket()
            {
                candidates.entry(pid).or_default().push(connection.id());
            }
        }
        // The table's own order differs from run to run.
        candidates.values_mut().for_each(|names| names.sort_unstable());
        candidates
    }

    /// Compares the lengths of calls with those of records, of objects that nothing else links.
    pub(super) fn compare_lengths(&mut self, now: Time) {
        let telling = self.plaintexts.take_telling();
        if telling.is_empty() || !self.follows_all() {
            return;
        }
        let processes: HashSet<_> = telling.iter().map(|object| object.pid).collect();
        let candidates = self.candidates(|pid| processes.contains(&pid));
        let others = self.plaintexts.all_telling(&processes);
        for object in telling {
            let of_process = (candidates.get(&object.pid), others.get(&object.pid));
            let (Some(candidates), Some(others)) = of_process else { continue };
            if let Some(id) = self.only_of_lengths(object, candidates, others) {
                self.link(now, object, id, TlsLink::LengthSequence);
                self.begin(now, object);
            }
        }
    }

    /// The one of these connections whose records this object's calls make, and no other's.
    fn only_of_lengths(
        &mut self,
        object: TlsObject,
        candidates: &[ConnectionId],
        others: &[TlsObject],
    ) -> Option<ConnectionId> {
        let Self { connections, plaintexts, .. } = self;
        let mut matching = None;
        for &id in candidates {
            let Some(tracked) = connections.of(id) else { continue };
            if !tracked.connection.is_unlinked_tls() {
                continue;
            }
            // Where they are not known, nothing tells it from others.
            let lengths = tracked.connection.record_lengths()?;
            if plaintexts.match_records(object, lengths) && matching.replace(id).is_some() {
                return None;
            }
        }
        let lengths = connections.of(matching?)?.connection.record_lengths()?;
        let mut others = others.iter().filter(|other| **other != object);
        let is_others = others.any(|other| plaintexts.match_records(*other, lengths));
        matching.filter(|_| !is_others)
    }

    /// Records of a process's connections are needed: some may be what an object of it hands out or takes.
    pub(super) fn need_records(&mut self, time: Time, pid: u32) {
        if !self.plaintexts.has_to_look(time, pid) {
            return;
        }
        for id in self.candidates(|owner| owner == pid).into_values().flatten() {
            if let Some(tracked) = self.connections.of(id) {
                tracked.need_records(&mut self.cx);
            }
        }
    }

    /// Takes evidence that an object belongs to a connection.
    pub(super) fn link(&mut self, time: Time, object: TlsObject, id: ConnectionId, link: TlsLink) {
        let place = self.plaintexts.place(object);
        if place == Some(Place::Connection(id)) {
            self.plaintexts.strengthen(object, link);
            if let Some(tracked) = self.connections.of(id)
                && tracked.has_object(object)
            {
                tracked.connection.strengthen_link(link);
            }
            return;
        }
        if let Some(Place::Connection(before)) = place
            && self.plaintexts.is_held(object, link)
            && self.connections.of(before).is_some()
        {
            // What it handed out may be passed on by its own process.
            return;
        }
        let Some(tracked) = self.connections.of(id) else { return };
        if let Some((other, evidence, true)) = tracked.connection.object()
            && !replaces((other, evidence), (object, link))
        {
            // An object that is there has it, as far as is known: this one may be inside of that.
            return;
        }
        if let Some(Place::Connection(before)) = place {
            self.unlink(time, before, object);
        }
        self.plaintexts.link(object, id, link);
        if self.plaintexts.is_described(object) {
            self.begin(time, object);
        }
    }

    /// Begins to read an object's plaintext as what its connection carries, if it is linked to one and that was not done.
    pub(super) fn begin(&mut self, time: Time, object: TlsObject) {
        let Some(Place::Connection(id)) = self.plaintexts.place(object) else { return };
        let Some(tracked) = self.connections.of(id) else { return };
        if tracked.has_object(object) {
            return;
        }
        let other = tracked.connection.object();
        let Some(begun) = self.plaintexts.begin(object) else { return };
        // It may have been there itself, before it was elsewhere.
        if let Some((other, evidence, is_there)) = other.filter(|(other, ..)| *other != object) {
            if is_there && !replaces((other, evidence), (object, begun.link)) {
                // It was taken meanwhile.
                self.plaintexts.wait_again(time, object);
                return;
            }
            self.unlink(time, id, other);
            self.plaintexts.wait_again(time, other);
        }
        let Self { cx, connections, resolutions, .. } = self;
        let Some(tracked) = connections.of(id) else { return };
        cx.out.lose(begun.dropped);
        let is_whole = begun.is_whole && other.is_none();
        tracked.connection.begin_inside(object, begun.library, begun.link, is_whole);
        for Held { time, direction, offset, length, payload } in begun.held {
            let piece = Piece { time, direction, offset, length, payload: &payload };
            tracked.read_plaintext(object, piece, cx);
        }
        tracked.take_found(time, resolutions, cx);
    }

    /// Ends what was read of an object on a connection.
    fn unlink(&mut self, time: Time, id: ConnectionId, object: TlsObject) {
        let Self { cx, connections, resolutions, .. } = self;
        if let Some(tracked) = connections.of(id)
            && tracked.connection.object().is_some_and(|(own, ..)| own == object)
        {
            tracked.connection.leave_inside(time, &mut cx.found);
            tracked.take_found(time, resolutions, cx);
        }
    }
}

/// Whether evidence of an object takes a connection from another one. Calls of another process, which went on with the socket, or of
/// what is at the same address now, are as good as those before.
fn replaces((other, evidence): (TlsObject, TlsLink), (object, link): (TlsObject, TlsLink)) -> bool {
    let is_later = other.pid != object.pid || other.address == object.address;
    link < evidence || link == TlsLink::NestedSyscall && is_later
}
