//! Whether what explains an error may have been a health check: what a process makes all the time, also while it has no request.

use std::{collections::BTreeSet, net::SocketAddr};

use tcp_trace_model::time::Time;

use super::{
    super::super::upstreams::{Upstreams, target},
    Case,
};

/// Attempts beside requests from which on a process is taken to make them all the time.
const LEAST: usize = 3;

/// A server, and the target that it is asked for, if it is.
type Kind<'a> = (SocketAddr, Option<&'a [u8]>);

/// How many attempts like those that explain these their processes made beside requests, where they make such all the time: which of
/// them was for a request is not known then.
pub(super) fn beside_requests(upstreams: &Upstreams<'_>, cases: &[Case<'_>]) -> Option<usize> {
    let kinds: BTreeSet<_> = cases.iter().filter_map(kind).collect();
    if kinds.is_empty() {
        return None;
    }
    let pids: BTreeSet<_> = cases.iter().filter_map(|case| Some(case.process?.pid)).collect();
    let mut spans = upstreams.asked_when(&pids);
    spans.sort_unstable();
    // Until when the first so many have all ended.
    let ended = spans.iter().scan(Time::default(), |until, (_, end)| {
        *until = (*until).max(*end);
        Some(*until)
    });
    let ended: Vec<_> = ended.collect();
    let is_beside = |began: Time| {
        let begun = spans.partition_point(|(start, _)| *start <= began);
        begun.checked_sub(1).and_then(|last| ended.get(last)).is_none_or(|end| *end < began)
    };
    let all = pids.iter().flat_map(|pid| upstreams.of_process(*pid));
    let its = all.filter(|it| kinds.contains(&(it.server, it.http.and_then(target))));
    Some(its.filter(|it| is_beside(it.began)).count()).filter(|count| *count >= LEAST)
}

/// What kind of attempt explains this. What has the target of the request is for that, and no check.
fn kind<'a>(case: &Case<'a>) -> Option<Kind<'a>> {
    let attempt = case.chosen()?.attempt;
    let about = attempt.http.and_then(target);
    (about.is_none() || about != target(case.http)).then_some((attempt.server, about))
}
