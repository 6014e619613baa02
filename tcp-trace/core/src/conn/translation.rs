//! Addresses that this host translates (NAT): a socket has its own, and its segments leave with others. What arrives has
//! been translated back.

use tcp_trace_model::{
    event::{Direction, Endpoints, Role, State},
    filter::Translated,
};

use super::{Connection, HeldSegment};

impl Connection {
    /// Learns with which addresses its segments leave this host; that they are its own is no news.
    pub fn learn_translated(&mut self, translated: Endpoints) {
        self.identity.learn_translated(translated);
    }

    /// The same from what passed under its listener's cookie: what arrived has its own addresses.
    pub fn learn_translated_of(&mut self, half_open: &[HeldSegment]) {
        let mut segments = half_open.iter().map(HeldSegment::segment);
        if let Some(answer) = segments.find(|segment| segment.direction == Direction::Out) {
            self.learn_translated(answer.endpoints);
        }
    }

    /// The addresses with which its segments leave this host, where these are not its own.
    pub fn translated(&self) -> Option<Endpoints> {
        self.info().network.as_ref()?.translated.map(Endpoints::from)
    }

    /// What a filter goes by beside its own addresses.
    pub(super) fn translated_as_known(&self) -> Translated {
        // The first segment that leaves is a client's SYN.
        let awaits_first = || {
            self.role() == Some(Role::Client)
                && self.state() == Some(State::SynSent)
                && self.handshake.is_none()
        };
        match self.translated() {
            Some(translated) => Translated::To(translated),
            None if awaits_first() => Translated::Unknown,
            None => Translated::No,
        }
    }
}
