//! The three-way handshake (RFC 9293, section 3.5), from the segments that were seen.

use tcp_trace_model::{
    event::{Direction, Flags, Role, Segment},
    record,
    time::Time,
};

/// Bytes that a server may have sent before its SYN+ACK is acknowledged: the largest window without scaling.
const EARLY_DATA_MAX: u32 = 65_535;

/// What the handshake's segments said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Handshake {
    syn: Option<(u32, Time)>,
    /// Which way the SYN went.
    syn_direction: Option<Direction>,
    /// Data in the SYN, bytes (TCP Fast Open).
    syn_data: u32,
    /// Of a SYN+ACK that came before any SYN was seen, the number that it acknowledges, less one.
    syn_answered: Option<u32>,
    syn_ack: Option<u32>,
    syn_ack_at: Option<Time>,
    acknowledged: Option<Time>,
    syn_retransmits: u32,
    syn_ack_retransmits: u32,
    /// Whether a number was acknowledged that was not sent.
    is_wrong: bool,
}

impl Handshake {
    /// Initial sequence numbers of client and server, as far as they are known.
    pub(super) fn sequences(&self) -> (Option<u32>, Option<u32>) {
        (self.syn.map(|(sequence, _)| sequence), self.syn_ack)
    }

    /// Initial sequence numbers of client and server, when both are known. That of a SYN that was not seen is in its answer.
    pub(super) fn initial_sequences(&self) -> Option<(u32, u32)> {
        let (syn, syn_ack) = self.sequences();
        syn.or(self.syn_answered).zip(syn_ack)
    }

    /// The number of the first byte of each direction, by [`Direction::index`], as far as it is known.
    pub(super) fn first_bytes(&self) -> [Option<u32>; 2] {
        let (syn, syn_ack) = self.sequences();
        let sequences = [syn.or(self.syn_answered), syn_ack].map(|sequence| Some(sequence?.wrapping_add(1)));
        let [of_client, of_server] = sequences;
        match self.syn_direction {
            Some(Direction::Out) => [of_client, of_server],
            Some(Direction::In) => [of_server, of_client],
            None => [None; 2],
        }
    }

    /// Notes that an answer was refused, because it acknowledges what was not sent.
    pub(super) fn refused_answer(&mut self) {
        self.is_wrong |= self.syn_ack.is_none();
    }

    /// Whether a SYN goes the way of the one that was seen, or as SYN+ACK answers that one.
    pub(super) fn repeats(&self, segment: &Segment<'_>) -> bool {
        if !segment.flags.has(Flags::ACK) {
            return self.goes_the_way_of_the_syn(segment);
        }
        let syn = self.sequences().0.or(self.syn_answered);
        let beyond = syn.map(|syn| segment.acknowledgment.wrapping_sub(syn.wrapping_add(1)));
        !self.goes_the_way_of_the_syn(segment) && beyond.is_some_and(|beyond| beyond <= self.syn_data)
    }

    /// Takes a segment into account; true when it belongs to the handshake.
    pub(super) fn segment(&mut self, time: Time, segment: &Segment<'_>, retransmit: bool) -> bool {
        if segment.flags.has(Flags::SYN.with(Flags::ACK)) {
            self.syn_ack_retransmits += u32::from(retransmit);
            let syn = self.syn.map(|(syn, _)| syn);
            // What a Fast Open's SYN carries may be acknowledged or not (RFC 7413, section 4.2).
            let beyond = syn.map(|syn| segment.acknowledgment.wrapping_sub(syn.wrapping_add(1)));
            // The kernel refuses those that acknowledge another number: the one that it takes counts.
            self.is_wrong = beyond.is_some_and(|beyond| beyond > self.syn_data);
            self.syn_answered.get_or_insert(segment.acknowledgment.wrapping_sub(1));
            self.syn_ack.get_or_insert(segment.sequence);
            self.syn_ack_at.get_or_insert(time);
            return true;
        }
        if segment.flags.has(Flags::SYN) {
            self.syn_retransmits += u32::from(retransmit);
            self.syn.get_or_insert((segment.sequence, time));
            self.syn_direction.get_or_insert(segment.direction);
            self.syn_data = self.syn_data.max(segment.length);
            return true;
        }
        let is_third = self.is_third(segment);
        if is_third {
            self.acknowledged = Some(time);
            // Linux 6.1 does not show the SYN+ACK of an IPv6 listener to cgroup programs, but this one tells.
            self.syn_ack.get_or_insert(segment.acknowledgment.wrapping_sub(1));
        }
        is_third
    }

    /// Whether it is the third segment. It goes the way of the SYN, with or without data.
    fn is_third(&self, segment: &Segment<'_>) -> bool {
        if !segment.flags.has(Flags::ACK) || self.acknowledged.is_some() {
            return false;
        }
        match (self.syn_ack, self.syn) {
            (Some(syn_ack), _) => {
                let beyond = segment.acknowledgment.wrapping_sub(syn_ack.wrapping_add(1));
                // A Fast Open's server may send data before it (RFC 7413, section 4.2).
                beyond == 0
                    || self.syn_data > 0 && beyond <= EARLY_DATA_MAX && self.goes_the_way_of_the_syn(segment)
            }
            (None, Some((syn, _))) => {
                self.goes_the_way_of_the_syn(segment)
                    && !segment.flags.has(Flags::RST)
                    && syn.wrapping_add(1) == segment.sequence
            }
            (None, None) => false,
        }
    }

    fn goes_the_way_of_the_syn(&self, segment: &Segment<'_>) -> bool {
        self.syn_direction == Some(segment.direction)
    }

    /// What to say of it in the summary of an end.
    pub(super) fn summary(&self, role: Option<Role>) -> Option<record::Handshake> {
        let (syn_seq, syn_ack_seq) = self.sequences();
        if syn_seq.is_none() && syn_ack_seq.is_none() {
            return None;
        }
        // After a retransmit nobody can tell which of the two was answered (Karn's algorithm, RFC 6298).
        let is_clear = self.syn_retransmits == 0 && self.syn_ack_retransmits == 0;
        let ends = match role {
            Some(Role::Server) => self.syn_ack_at.zip(self.acknowledged),
            _ => self.syn.map(|(_, time)| time).zip(self.syn_ack_at),
        };
        let is_complete = self.syn.is_some() && self.acknowledged.is_some();
        Some(record::Handshake {
            syn_seq,
            syn_ack_seq,
            rtt_us: ends.filter(|_| is_clear).map(|(sent, answered)| answered.micros_since(sent)),
            syn_retransmits: self.syn_retransmits,
            syn_ack_retransmits: self.syn_ack_retransmits,
            acknowledged: (self.is_wrong || is_complete).then_some(!self.is_wrong),
        })
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::event::Endpoints;

    use super::*;

    fn segment(direction: Direction, flags: Flags, sequence: u32, acknowledgment: u32) -> Segment<'static> {
        let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        Segment {
            direction,
            flags,
            sequence,
            acknowledgment,
            length: 0,
            payload: &[],
            endpoints: Endpoints { local: nowhere, peer: nowhere },
            netns: None,
            state: None,
            zero_window: false,
            elision: Default::default(),
            verdict: Default::default(),
        }
    }

    fn server(segments: &[Segment<'_>]) -> record::Handshake {
        let mut handshake = Handshake::default();
        for (number, segment) in segments.iter().enumerate() {
            assert!(handshake.segment(Time(number as u64 * 1_000), segment, false), "segment {number}");
        }
        handshake.summary(Some(Role::Server)).unwrap()
    }

    const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

    #[test]
    fn each_of_the_three_acknowledges_the_one_before() {
        let summary = server(&[
            segment(Direction::In, Flags::SYN, 100, 0),
            segment(Direction::Out, SYN_ACK, 900, 101),
            segment(Direction::In, Flags::ACK, 101, 901),
        ]);
        assert_eq!((summary.syn_seq, summary.syn_ack_seq), (Some(100), Some(900)));
        assert_eq!((summary.acknowledged, summary.rtt_us), (Some(true), Some(1)));
    }

    #[test]
    fn an_acknowledgment_of_what_was_not_sent_is_told() {
        let mut fast_open = segment(Direction::In, Flags::SYN, 100, 0);
        fast_open.length = 10;
        for (syn, acknowledgment, is_right) in [
            (segment(Direction::In, Flags::SYN, 100, 0), 102, false),
            (segment(Direction::In, Flags::SYN, 100, 0), 100, false),
            (fast_open.clone(), 101, true),
            (fast_open.clone(), 111, true),
            (fast_open, 112, false),
        ] {
            let syn_ack = segment(Direction::Out, SYN_ACK, 900, acknowledgment);
            let third = segment(Direction::In, Flags::ACK, acknowledgment, 901);
            assert_eq!(server(&[syn, syn_ack, third]).acknowledged, Some(is_right), "{acknowledgment}");
        }
    }

    #[test]
    fn data_of_a_fast_opens_server_is_acknowledged_with_the_syn_ack() {
        for (data, acknowledgment, expected) in
            [(10, 901, Some(true)), (10, 1_901, Some(true)), (10, 900, None), (0, 1_901, None)]
        {
            let mut syn = segment(Direction::In, Flags::SYN, 100, 0);
            syn.length = data;
            let mut handshake = Handshake::default();
            handshake.segment(Time(0), &syn, false);
            handshake.segment(Time(1_000), &segment(Direction::Out, SYN_ACK, 900, 101), false);
            let third = segment(Direction::In, Flags::ACK, 101, acknowledgment);
            handshake.segment(Time(2_000), &third, false);
            let summary = handshake.summary(Some(Role::Server)).unwrap();
            assert_eq!((summary.acknowledged, summary.rtt_us), (expected, expected.map(|_| 1)), "{data}");
        }
    }

    #[test]
    fn a_syn_ack_that_was_not_seen_is_known_from_the_third_segment() {
        let summary = server(&[
            segment(Direction::In, Flags::SYN, 100, 0),
            segment(Direction::In, Flags::ACK, 101, 901),
        ]);
        assert_eq!((summary.syn_seq, summary.syn_ack_seq), (Some(100), Some(900)));
        assert_eq!((summary.acknowledged, summary.rtt_us), (Some(true), None));
    }
}
