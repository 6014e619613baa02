//! Sequence numbers of one direction that were not seen although later ones were.

use tcp_trace_model::time::Time;

use super::number::ahead;

/// Holes that are remembered: of segments that overtake each other, usually few are under way.
const HOLES_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hole {
    from: u32,
    to: u32,
    /// When later numbers passed first; `None` when these may have passed unseen.
    since: Option<Time>,
}

/// Holes, oldest first; when there are more than [`HOLES_MAX`], the oldest are forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holes(Vec<Hole>);

/// Whether `a` is before `b`.
fn is_before(a: u32, b: u32) -> bool {
    ahead(b, a) > 0
}

impl Holes {
    /// Notes that these numbers are missing.
    pub(super) fn open(&mut self, from: u32, to: u32, since: Option<Time>) {
        if self.0.len() == HOLES_MAX {
            self.0.remove(0);
        }
        self.0.push(Hole { from, to, since });
    }

    /// Takes these numbers out. `None` when none of them was missing, else since when they were, if that is known.
    pub(super) fn fill(&mut self, from: u32, to: u32) -> Option<Option<Time>> {
        let mut filled = None;
        let is_overlapped = |hole: &Hole| is_before(hole.from, to) && is_before(from, hole.to);
        if !self.0.iter().any(is_overlapped) {
            return None;
        }
        for hole in std::mem::take(&mut self.0) {
            if !is_overlapped(&hole) {
                self.0.push(hole);
                continue;
            }
            filled = Some(match filled.flatten() {
                Some(since) => Some(hole.since.map_or(since, |other: Time| other.min(since))),
                None => hole.since,
            });
            if is_before(hole.from, from) {
                self.0.push(Hole { to: from, ..hole });
            }
            if is_before(to, hole.to) {
                self.0.push(Hole { from: to, ..hole });
            }
        }
        self.0.truncate(HOLES_MAX);
        filled
    }

    /// The first number that is known to be missing.
    pub(super) fn first(&self) -> Option<u32> {
        let known = self.0.iter().filter(|hole| hole.since.is_some()).map(|hole| hole.from);
        known.reduce(|first, from| if is_before(from, first) { from } else { first })
    }

    /// Nothing will fill them.
    pub(super) fn give_up(&mut self) {
        self.0.iter_mut().for_each(|hole| hole.since = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_filled_by_parts_and_keeps_its_time() {
        let mut holes = Holes::default();
        holes.open(100, 200, Some(Time(5)));
        holes.open(300, 400, Some(Time(7)));
        assert_eq!(holes.first(), Some(100));
        assert_eq!(holes.fill(200, 300), None, "between them nothing is missing");
        assert_eq!(holes.fill(120, 130), Some(Some(Time(5))));
        assert_eq!(holes.fill(120, 130), None, "it is filled");
        assert_eq!(holes.fill(100, 120), Some(Some(Time(5))));
        assert_eq!(holes.first(), Some(130));
        assert_eq!(holes.fill(90, 500), Some(Some(Time(5))), "of two the older one counts");
        assert_eq!(holes, Holes::default());
    }

    #[test]
    fn holes_that_may_have_been_filled_unseen_say_nothing() {
        let mut holes = Holes::default();
        holes.open(u32::MAX - 5, 10, None);
        assert_eq!(holes.first(), None);
        assert_eq!(holes.fill(u32::MAX - 5, 3), Some(None));
        holes.open(20, 30, Some(Time(1)));
        assert_eq!(holes.first(), Some(20));
        holes.give_up();
        assert_eq!((holes.first(), holes.fill(20, 30)), (None, Some(None)));
    }

    #[test]
    fn holes_are_bounded() {
        let mut holes = Holes::default();
        for number in 0..100 {
            holes.open(number * 10, number * 10 + 5, Some(Time(1)));
            holes.fill(number * 10 + 2, number * 10 + 3);
            assert!(holes.0.len() <= HOLES_MAX);
        }
    }
}
