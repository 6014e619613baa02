//! What all lines of a connection say of it, as text: made once, and copied into each of them.

use std::sync::Arc;

use super::{ConnectionInfo, line::Line};
use crate::network::ConnectionId;

/// Connections whose text is kept; one with some 250 bytes is usual.
const KEPT: usize = 512;
/// Longest text that is kept, in bytes. Lines of a connection with a longer one, which takes a path of thousands of bytes, are
/// written by serde.
const TEXT_MAX: usize = 8 << 10;

/// The texts of connections that had a line lately.
#[derive(Debug)]
pub(super) struct SharedTexts {
    /// By what `place` says.
    kept: Vec<SharedText>,
    /// Room to make a text in.
    scratch: Vec<u8>,
}

impl Default for SharedTexts {
    fn default() -> Self {
        let kept = std::iter::repeat_with(SharedText::default).take(KEPT).collect();
        Self { kept, scratch: vec![0; TEXT_MAX] }
    }
}

impl SharedTexts {
    /// That of a connection; `None` when it is too long.
    #[inline]
    pub(super) fn of(&mut self, info: &Arc<ConnectionInfo>) -> Option<&SharedText> {
        let text = self.kept.get_mut(place(info.id))?;
        // What becomes known later is in another one, because this one is held here.
        let is_it = text.info.as_ref().is_some_and(|known| Arc::ptr_eq(known, info));
        (is_it || text.make(info, &mut self.scratch)).then_some(text)
    }
}

/// Where the text of a connection is kept. Connections of one time have different places, as far as these suffice: each CPU takes
/// cookies from a batch of 4096 of its own, in turn (`gen_cookie_next()`, Linux 5.10), and half-open ends have the cookie of their
/// listener.
#[inline]
fn place(ConnectionId { cookie, half_open, incarnation: _ }: ConnectionId) -> usize {
    /// How far the batches that follow one another are moved: by the golden ratio, so that no few of them come close together.
    const APART: u64 = 317;
    let batch = cookie >> 12;
    (cookie.wrapping_add(batch.wrapping_mul(APART)).wrapping_add(half_open.into()) % KEPT as u64) as usize
}

/// What all lines of a connection say: its id, its role, its addresses, its process; and what its exchanges say beside that.
#[derive(Debug, Default)]
pub(super) struct SharedText {
    /// Whose text it is.
    info: Option<Arc<ConnectionInfo>>,
    bytes: Vec<u8>,
    id_end: usize,
    network_start: usize,
    network_end: usize,
    process_end: usize,
}

impl SharedText {
    #[inline(never)]
    fn make(&mut self, info: &Arc<ConnectionInfo>, scratch: &mut [u8]) -> bool {
        let mut line = Line { buffer: scratch, end: 0, is_whole: true };
        line.connection(info.id);
        self.id_end = line.end;
        line.role(info.role);
        line.put(b",\"network\":{");
        self.network_start = line.end;
        line.network_fields(&info.network.unwrap_or_default());
        self.network_end = line.end;
        line.put(b"}");
        line.process(info.process.as_deref());
        self.process_end = line.end;
        if let Some(container) = &info.container {
            line.put(b",\"container\":");
            line.rare(&**container);
        }
        if let Some(peer) = info.peer_connection {
            line.put(b",\"peer_connection\":");
            line.connection(peer);
        }
        let (is_whole, end) = (line.is_whole, line.end);
        self.bytes.clear();
        self.bytes.extend_from_slice(scratch.get(..end).unwrap_or_default());
        self.info = is_whole.then(|| info.clone());
        is_whole
    }

    /// The connection's id, in quotation marks.
    #[inline(always)]
    pub(super) fn id(&self) -> &[u8] {
        self.bytes.get(..self.id_end).unwrap_or_default()
    }

    /// What all of these lines say beside the id, each after a comma: role, network, process.
    #[inline(always)]
    pub(super) fn fields(&self) -> &[u8] {
        self.bytes.get(self.id_end..self.process_end).unwrap_or_default()
    }

    /// What is inside the network's braces.
    #[inline(always)]
    pub(super) fn network(&self) -> &[u8] {
        self.bytes.get(self.network_start..self.network_end).unwrap_or_default()
    }

    /// The process after a comma; empty when it is not known.
    #[inline(always)]
    pub(super) fn process(&self) -> &[u8] {
        self.bytes.get(self.network_end + 1..self.process_end).unwrap_or_default()
    }

    /// The process, its container and the connection of the other end, those that are known each after a comma.
    #[inline(always)]
    pub(super) fn process_and_more(&self) -> &[u8] {
        self.bytes.get(self.network_end + 1..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{network::Process, text::Text};

    fn info(cookie: u64, executable: usize) -> Arc<ConnectionInfo> {
        let process = Process { executable: Some(Text::from(vec![b'x'; executable])), ..Process::default() };
        let info = ConnectionInfo::new(ConnectionId::of_socket(cookie, 0));
        Arc::new(ConnectionInfo { process: Some(Arc::new(process)), ..info })
    }

    #[test]
    fn each_connection_has_its_own_text() {
        let mut texts = SharedTexts::default();
        let (one, other) = (info(1, 5), info(1 + KEPT as u64, 5));
        for (info, expected) in [(&one, "\"c1\""), (&one, "\"c1\""), (&other, "\"c513\""), (&one, "\"c1\"")] {
            assert_eq!(texts.of(info).map(SharedText::id), Some(expected.as_bytes()));
        }
        // The same socket, of which more is known.
        let later = info(1, 9);
        assert!(texts.of(&later).unwrap().process().windows(9).any(|part| part == b"xxxxxxxxx"));
    }

    #[test]
    fn connections_of_one_time_have_different_places() {
        // Eight CPUs that have each had 1000 sockets from a batch of theirs, and have 32 now; a flood of half-open ends.
        let of_cpus: Vec<_> = (5..13_u64)
            .flat_map(|batch| {
                (1000..1032).map(move |number| ConnectionId::of_socket((batch << 12) + number, 0))
            })
            .collect();
        let half_open: Vec<_> = (1..=256).map(|number| ConnectionId::half_open(77, number)).collect();
        for ids in [of_cpus, half_open] {
            let places: BTreeSet<_> = ids.iter().map(|id| place(*id)).collect();
            assert_eq!(places.len(), ids.len());
        }
    }

    #[test]
    fn one_that_is_too_long_is_not_kept() {
        let mut texts = SharedTexts::default();
        let long = info(1, TEXT_MAX);
        assert!(texts.of(&long).is_none() && texts.of(&long).is_none());
        assert!(texts.of(&info(1, 5)).is_some());
    }
}
