//! Whether the records of a connection are as long as those that calls make.

use std::collections::VecDeque;

use tcp_trace_model::time::Time;

/// The most plaintext in a record (RFC 8446, section 5.1).
const CONTENT_MAX: u32 = 1 << 14;
/// What encryption adds to a record's content, in bytes: of TLS 1.3 a tag and the content's type (RFC 8446, section 5.2); of TLS 1.2 a
/// tag, and of AES-GCM a nonce (RFC 5288, RFC 7905).
const ADDED: [u32; 3] = [17, 24, 16];
/// Records that have to be as long as the calls make them.
const RECORDS_MIN: usize = 3;
/// Different lengths among them.
const DIFFERENT_MIN: usize = 3;
/// Calls that are compared, the last ones.
pub(super) const CALLS_MAX: usize = 16;
/// How far a record may be from its call, in microseconds.
const APART_US: u64 = 1_000_000;

/// The lengths of an object's last calls that send, with their times.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: VecDeque<(u32, Time)>,
    /// Whether there was one since they were compared.
    pub(super) has_news: bool,
}

impl Calls {
    pub(super) fn add(&mut self, time: Time, length: u32) {
        if self.calls.len() == CALLS_MAX {
            self.calls.pop_front();
        }
        self.calls.push_back((length, time));
    }

    /// How long the contents of the records are that they make.
    fn contents(&self) -> Vec<(u32, Time)> {
        let mut contents = Vec::new();
        for &(length, time) in &self.calls {
            let whole = length / CONTENT_MAX;
            contents.extend((0..whole).map(|_| (CONTENT_MAX, time)));
            let rest = length % CONTENT_MAX;
            contents.extend((rest > 0).then_some((rest, time)));
        }
        contents
    }

    /// Whether they are enough to tell connections apart.
    pub(super) fn tell(&self) -> bool {
        let mut lengths: Vec<_> = self.contents().into_iter().map(|(length, _)| length).collect();
        let is_enough = lengths.len() >= RECORDS_MIN;
        lengths.sort_unstable();
        lengths.dedup();
        is_enough && lengths.len() >= DIFFERENT_MIN
    }

    /// Whether a connection's records are, one after the other and at about that time, as long as all of these make them.
    pub(super) fn match_records(&self, records: &VecDeque<(u16, Time)>) -> bool {
        let contents = self.contents();
        let records: Vec<_> = records.iter().copied().collect();
        let is_near = |a: Time, b: Time| a.micros_since(b).max(b.micros_since(a)) <= APART_US;
        let matches = |window: &[(u16, Time)], added: u32| {
            window.iter().zip(&contents).all(|(&(length, passed), &(content, called))| {
                u32::from(length) == content + added && is_near(passed, called)
            })
        };
        let mut windows = records.windows(contents.len().max(1));
        windows.any(|window| ADDED.iter().any(|&added| matches(window, added)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(5_000_000_000);

    fn calls(lengths: &[u32]) -> Calls {
        let mut calls = Calls::default();
        lengths.iter().for_each(|length| calls.add(NOW, *length));
        calls
    }

    #[test]
    fn records_match_the_calls_that_make_them() {
        let later = Time(NOW.0 + 2_000_000_000);
        for (made, records, expected) in [
            (&[10, 20, 30][..], &[27, 37, 47][..], true),
            (&[10, 20, 30], &[34, 44, 54], true),
            (&[10, 20, 30], &[53, 27, 37, 47, 19], true),
            (&[16_384 + 5, 7], &[16_401, 22, 24], true),
            (&[10, 20, 30], &[27, 37, 54], false),
            (&[10, 20, 30], &[27, 37], false),
            (&[10, 20, 30], &[27, 99, 37, 47], false),
            (&[10, 20, 30], &[28, 38, 48], false),
        ] {
            let at = |time| records.iter().map(|length| (*length, time)).collect();
            assert_eq!(calls(made).match_records(&at(NOW)), expected, "{made:?} {records:?}");
            assert!(!calls(made).match_records(&at(later)), "they are of another time");
        }
    }

    #[test]
    fn only_different_lengths_tell() {
        for (made, expected) in
            [(&[10, 20, 30][..], true), (&[10, 20, 20], false), (&[10, 20], false), (&[20_000, 5], true)]
        {
            assert_eq!(calls(made).tell(), expected, "{made:?}");
        }
    }
}
