//! Which payload is not needed: the kernel side is told, and hands over the rest.

use tcp_trace_model::event::{Direction, Flags, Segment};

use super::Connection;

/// How far ahead payload is waved through that is of no interest at all, in bytes: half of what sequence numbers can
/// tell apart, so that they are never taken for old ones.
const AHEAD: u32 = 1 << 30;

/// Bytes that are left of a body when it is worth a system call to do without them.
const WORTH_TELLING: i32 = 32 << 10;

impl Connection {
    /// What to tell the kernel side after a segment that passed: payload of its direction is not needed before the
    /// sequence number (`Some(Some(..))`), or is needed again (`Some(None)`). `None` when there is no news.
    pub fn skip(&mut self, segment: &Segment<'_>, is_wanted: bool) -> Option<Option<u32>> {
        if segment.length == 0 || segment.flags.has(Flags::SYN) || segment.flags.has(Flags::FIN) {
            return None;
        }
        let end = segment.sequence.wrapping_add(segment.length);
        let told = self.skips[segment.direction.index()];
        let until = if is_wanted && !self.is_not_http() {
            self.body_until(segment.direction, end, told)
        } else {
            let is_far =
                told.is_some_and(|told| told.wrapping_sub(end).cast_signed() > AHEAD.cast_signed() / 2);
            if is_far { told } else { Some(end.wrapping_add(AHEAD)) }
        };
        // A number that was passed has to be taken back before numbers wrap around to it.
        let until = until.filter(|until| until.wrapping_sub(end).cast_signed() > 0);
        self.skips[segment.direction.index()] = until;
        (until != told).then(|| {
            self.sequences[segment.direction.index()].told();
            until
        })
    }

    /// Where the body ends that a direction is in the middle of after `end`, if that is worth telling.
    fn body_until(&mut self, direction: Direction, end: u32, told: Option<u32>) -> Option<u32> {
        let http = self.http.parser()?;
        let until = http.skip_until(direction)?;
        let ahead = |until: u32| until.wrapping_sub(end).cast_signed();
        // What was told holds as long as it lasts: of a body whose end is not known, there is always more.
        let is_enough = |told: &u32| *told == until || (WORTH_TELLING..ahead(until)).contains(&ahead(*told));
        if told.as_ref().is_some_and(is_enough) {
            return told;
        }
        if ahead(until) < WORTH_TELLING {
            return None;
        }
        http.skip(direction, until);
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::{
        event::{Endpoints, Role, State},
        record::ConnectionId,
        time::Time,
    };

    use super::*;

    fn connection() -> Connection {
        Connection::new(ConnectionId::of_socket(1, 0), Time(0), Some(State::Established), None)
    }

    fn segment(sequence: u32, length: u32) -> Segment<'static> {
        let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        Segment {
            direction: Direction::Out,
            flags: Flags::ACK,
            sequence,
            acknowledgment: 0,
            length,
            payload: &[],
            endpoints: Endpoints { local: nowhere, peer: nowhere },
            netns: None,
            state: Some(State::Established),
            zero_window: false,
            skipping: Default::default(),
        }
    }

    #[test]
    fn payload_of_what_is_not_recorded_is_waved_through_far_ahead() {
        let mut connection = connection();
        let first = connection.skip(&segment(1_000, 100), false);
        assert_eq!(first, Some(Some(1_100 + AHEAD)));
        assert_eq!(connection.skip(&segment(1_100, 100), false), None, "it is told already");
        let late = 1_000 + AHEAD / 2 + 200;
        assert_eq!(connection.skip(&segment(late, 100), false), Some(Some(late + 100 + AHEAD)));
    }

    #[test]
    fn numbers_wrap() {
        let mut connection = connection();
        let first = connection.skip(&segment(u32::MAX - 9, 20), false);
        assert_eq!(first, Some(Some(10 + AHEAD)));
        assert_eq!(connection.skip(&segment(10, 20), false), None);
    }

    #[test]
    fn nothing_is_told_of_payload_that_may_be_http() {
        let mut connection = connection();
        assert_eq!(connection.skip(&segment(1_000, 100), true), None);
    }

    #[test]
    fn of_a_large_body_only_the_beginning_is_needed() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
        let length = u32::try_from(head.len()).unwrap();
        let (id, state) = (ConnectionId::of_socket(1, 0), Some(State::Established));
        let mut connection = Connection::new(id, Time(0), state, Some(Role::Server));
        let mut exchanges = Vec::new();
        let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let request = Segment { direction: Direction::In, payload: request, ..segment(9, 27) };
        connection.feed_http(Time(0), &request, &mut exchanges);
        assert_eq!(connection.skip(&request, true), None);
        let first = Segment { payload: head, ..segment(1_000, length) };
        connection.feed_http(Time(0), &first, &mut exchanges);
        let until = 1_000 + length + 100_000;
        assert_eq!(connection.skip(&first, true), Some(Some(until)));
        // Its last segment comes without its payload.
        let last = segment(until - 500, 500);
        connection.feed_http(Time(5), &last, &mut exchanges);
        assert_eq!(connection.skip(&last, true), Some(None));
        assert_eq!(exchanges[0].response.as_ref().unwrap().body_size, 100_000);
    }

    #[test]
    fn what_was_told_is_taken_back() {
        let mut connection = connection();
        connection.skips[0] = Some(5_000);
        assert_eq!(connection.skip(&segment(4_990, 20), true), Some(None));
        assert_eq!(connection.skip(&segment(5_010, 20), true), None);
    }
}
