//! A 408: what had come of the request, and for how long the server had waited for it.

use tcp_trace_model::record::{Ended, Http, Message};

use super::{
    super::super::upstreams::{Upstreams, answered},
    Cause, Idle, Unseen,
};

/// A request that did not come to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unfinished<'a> {
    /// The exchange that has what came of it; the response's own, when nothing did.
    pub(super) begun: &'a Http,
    /// How much of it had come, in bytes of its head or of its body.
    pub(super) came: Option<Ended>,
    /// For how long it was waited for, in microseconds, when known.
    pub(super) waited_us: Option<u64>,
}

impl<'a> Unfinished<'a> {
    /// Of this exchange, whose response is a 408; `None` when its whole request had come.
    pub(super) fn of(http: &'a Http, upstreams: &Upstreams<'a>) -> Option<Self> {
        let is_in_request = |ended: &Ended| ended.message == Message::Request;
        let answered = answered(http);
        if let Some(came) = http.exchange.ended.filter(is_in_request) {
            let waited_us = Some(answered.micros_since(http.exchange.timing.started));
            return Some(Self { begun: http, came: Some(came), waited_us });
        }
        if http.exchange.request.is_some() {
            return None;
        }
        // In older recordings a head that is not whole is an exchange of its own, the last one.
        let rest = upstreams.life(http.connection.id).and_then(|life| life.exchanges.back()).filter(|rest| {
            http.exchange.index.checked_add(1) == Some(rest.exchange.index)
                && rest.exchange.timing.started <= answered
        });
        let begun = rest.and_then(|rest| Some((rest, rest.exchange.ended.filter(is_in_request)?)));
        Some(match begun {
            Some((begun, came)) => {
                let waited_us = Some(answered.micros_since(begun.exchange.timing.started));
                Self { begun, came: Some(came), waited_us }
            }
            None => Self { begun: http, came: None, waited_us: http.exchange.timing.idle_us },
        })
    }

    /// Why it was answered so.
    pub(super) fn cause(&self) -> Cause {
        let is_kept = self.begun.exchange.index > 0 || self.begun.exchange.reused == Some(true);
        match (self.came, self.waited_us) {
            (Some(_), _) => Cause::Unfinished,
            (None, Some(_)) => Cause::NotSent(if is_kept { Idle::Kept } else { Idle::Opened }),
            (None, None) => Cause::Unseen(Unseen::Request),
        }
    }
}
