//! Both directions of a connection.

use tcp_trace_model::{
    event::{Direction, Flags, Segment},
    time::Time,
};

use super::{half::Half, number::ahead, seen::Arrival, send_times::SendTimes};

/// How far a segment may be from what is expected for its acknowledgment to be believed, in bytes. The kernel looks at
/// one segment only after this: it may be forged, or of an earlier connection.
const WINDOW: i32 = 1 << 20;
/// How much is believed to have passed unseen by an acknowledgment, in bytes.
const ACKNOWLEDGED_MAX: i32 = 16 << 20;

/// The two directions of a connection.
#[derive(Debug, Default)]
pub struct Duplex {
    /// By [`Direction::index`].
    halves: [Half; 2],
    /// Of the direction that leaves this host.
    send_times: SendTimes,
}

impl Duplex {
    /// A direction.
    pub fn half(&self, direction: Direction) -> &Half {
        &self.halves[direction.index()]
    }

    /// A direction, to read it.
    pub fn half_mut(&mut self, direction: Direction) -> &mut Half {
        &mut self.halves[direction.index()]
    }

    /// Both directions, by [`Direction::index`].
    pub fn halves(&self) -> &[Half; 2] {
        &self.halves
    }

    /// Frees what is held: nothing reads the connection any more.
    pub fn discard(&mut self) {
        self.halves.iter_mut().for_each(Half::discard);
    }

    /// Takes a segment's numbers into account. Its payload is for [`Half::read`].
    pub fn segment(&mut self, time: Time, segment: &Segment<'_>) -> Arrival {
        let [out, incoming] = &mut self.halves;
        match segment.direction {
            Direction::Out => out.track(time, segment, Some(&mut self.send_times)),
            Direction::In => {
                let arrival = incoming.track(time, segment, None);
                if segment.flags.has(Flags::ACK)
                    && let Some(highest) = out.highest()
                {
                    self.send_times.acknowledged(segment.acknowledgment, highest);
                }
                arrival
            }
        }
    }

    /// The number before which a segment says that all of the other direction was received, where something of that has
    /// not been yielded. Most segments acknowledge what was seen. A direction of which nothing is known begins there.
    #[inline]
    pub fn acknowledged(&mut self, segment: &Segment<'_>) -> Option<u32> {
        // An RST is no proof: it may answer a segment that was not accepted.
        if !segment.flags.has(Flags::ACK) || segment.flags.has(Flags::RST) {
            return None;
        }
        let number = segment.acknowledgment;
        let other = self.half_mut(segment.direction.opposite());
        let Some(next) = other.cursor.next else {
            // Whatever is seen first of it, what lies before that and behind this number is missing.
            other.start(number);
            return None;
        };
        let other = self.half(segment.direction.opposite());
        let is_ahead = ahead(number, next) > 0;
        let needed = other.elision.until.unwrap_or(next);
        (is_ahead && ahead(number, needed) <= ACKNOWLEDGED_MAX && self.is_near(segment)).then_some(number)
    }

    /// Whether a segment is where its direction is.
    fn is_near(&self, segment: &Segment<'_>) -> bool {
        let half = self.half(segment.direction);
        let Some(next) = half.cursor.next else { return false };
        let behind = |number: u32| ahead(segment.sequence, number);
        let until = half.elision.until.unwrap_or(next);
        // What is elided lies between the two.
        behind(next) >= -WINDOW && (behind(next) <= WINDOW || behind(until) <= WINDOW)
    }
}
