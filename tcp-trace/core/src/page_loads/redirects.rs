//! Redirects that a client has still to follow.

use std::collections::HashMap;

use tcp_trace_model::{record::Http, time::Time};

use super::address::Address;

/// For how long after a redirect a request for its target may be what follows it, in microseconds: a lookup and
/// a connect may come between.
const FOLLOW_US: u64 = 30_000_000;

/// Those of one client, by target.
#[derive(Debug, Default)]
pub(super) struct Redirects(HashMap<Address, Vec<Pending>>);

#[derive(Debug)]
struct Pending {
    /// When the response began: a client may follow before its end.
    from: Time,
    group: usize,
}

impl Redirects {
    /// A response of `group` leads to `target`.
    pub(super) fn put(&mut self, target: Address, http: &Http, group: usize) {
        let timing = &http.exchange.timing;
        let from = timing.started.after_micros(timing.until_response_us().unwrap_or_default());
        self.0.entry(target).or_default().push(Pending { from, group });
    }

    /// The group whose redirect a request follows: of several, the one that came last.
    pub(super) fn take(&mut self, target: &Address, started: Time) -> Option<usize> {
        let pending = self.0.get_mut(target)?;
        let is_followed =
            |redirect: &Pending| redirect.from <= started && started.micros_since(redirect.from) <= FOLLOW_US;
        let at = pending.iter().rposition(is_followed)?;
        let taken = pending.remove(at);
        pending.retain(|redirect| started.micros_since(redirect.from) <= FOLLOW_US);
        Some(taken.group)
    }
}
