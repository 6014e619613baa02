//! The pages of one client, and to which of them its next request belongs.

use std::collections::HashMap;

use tcp_trace_model::{record::Http, time::Time};

use super::{
    Link,
    address::Address,
    headers::{Facts, Purpose},
    redirects::Redirects,
};

/// A page that had no exchange for so long is not loading any more, in microseconds.
const QUIET_US: u64 = 1_000_000;

/// Where a request belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// To this group.
    In(usize, Link),
    /// It begins a page.
    Page,
    /// To a page with this address, whose document was not seen.
    Unseen(Address),
    /// To no page.
    Others,
}

/// When groups had exchanges, by the group's index.
#[derive(Debug, Default)]
pub(super) struct Spans(Vec<Span>);

#[derive(Debug)]
struct Span {
    started: Time,
    /// The end of the last exchange so far.
    ended: Time,
    /// Whether its document was requested as browsers do.
    is_of_browser: bool,
    /// Whether its document so far only leads to another one.
    is_redirected: bool,
}

impl Spans {
    /// A group begins with this exchange.
    pub(super) fn start(&mut self, http: &Http, facts: &Facts) {
        let is_of_browser = matches!(facts.purpose, Purpose::Document | Purpose::TabOrFrame);
        let started = http.exchange.timing.started;
        self.0.push(Span { started, ended: started, is_of_browser, is_redirected: false });
    }

    /// A group has this exchange too; of a document, whether it leads to another one.
    pub(super) fn extend(&mut self, group: usize, http: &Http, is_redirected: Option<bool>) {
        let span = &mut self.0[group];
        span.ended = span.ended.max(http.exchange.timing.started.after_micros(http.exchange.timing.total_us));
        span.is_redirected = is_redirected.unwrap_or(span.is_redirected);
    }

    /// Whether the group's document so far only leads to another one.
    pub(super) fn is_redirected(&self, group: usize) -> bool {
        self.0[group].is_redirected
    }

    fn is_loading(&self, group: usize, time: Time) -> bool {
        time <= self.0[group].ended.after_micros(QUIET_US)
    }
}

/// What is known of one client.
#[derive(Debug, Default)]
pub(super) struct Pages {
    by_address: HashMap<Address, Known>,
    /// The page that was opened last, of each origin.
    by_origin: HashMap<String, usize>,
    latest: Option<usize>,
    redirects: Redirects,
    /// The group of requests that belong to no page.
    pub(super) others: Option<usize>,
}

/// Who requested an address.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The group that did last, and when.
    group: usize,
    started: Time,
    is_document: bool,
    /// The other group that did before.
    before: Option<usize>,
}

impl Pages {
    /// Decides where a request belongs.
    pub(super) fn choose(&mut self, spans: &Spans, http: &Http, facts: &Facts, address: &Address) -> Choice {
        let started = http.exchange.timing.started;
        if let Some(group) = self.redirects.take(address, started) {
            return Choice::In(group, Link::Redirect);
        }
        let referring = facts.referer.as_ref();
        let referring = referring.map(|referer| self.referring(spans, referer, address).ok_or(referer));
        match (facts.purpose, referring) {
            (Purpose::Document, _) => Choice::Page,
            (Purpose::TabOrFrame, Some(Ok((group, _)))) if spans.is_loading(group, started) => {
                Choice::In(group, Link::Frame)
            }
            (Purpose::TabOrFrame, _) => Choice::Page,
            (_, Some(Ok((group, link)))) => Choice::In(group, link),
            (_, Some(Err(referer))) => Choice::Unseen(referer.clone()),
            (_, None) => self.without_referer(spans, started, facts, address),
        }
    }

    /// The page that sends this Referer with a request for `address`.
    fn referring(&self, spans: &Spans, referer: &Address, address: &Address) -> Option<(usize, Link)> {
        let known = self.by_address.get(referer);
        // Whether another page may have sent no more than its origin.
        let latest = self
            .by_origin
            .get(&referer.origin)
            .copied()
            .filter(|latest| referer.is_bare() && known.is_none_or(|known| known.group != *latest));
        // By default, browsers do that only to other origins (Referrer Policy, section 3.7).
        if let Some(latest) = latest.filter(|_| known.is_none() || referer.origin != address.origin) {
            return Some((latest, Link::RefererOrigin));
        }
        let known = known?;
        let started = spans.0[known.group].started;
        let is_of_two = known.before.is_some_and(|before| spans.0[before].ended >= started);
        // A later page may have the part from the client's cache.
        let is_cached = !known.is_document
            && self
                .latest
                .is_some_and(|latest| latest != known.group && spans.0[latest].started > known.started);
        let is_shared = latest.is_some() || is_of_two || is_cached;
        Some((known.group, if is_shared { Link::SharedReferer } else { Link::Referer }))
    }

    fn without_referer(&self, spans: &Spans, started: Time, facts: &Facts, address: &Address) -> Choice {
        if let Some(origin) = &facts.origin
            && let Some(group) = self.by_origin.get(&origin.origin)
        {
            return Choice::In(*group, Link::Origin);
        }
        let of_origin = self.by_origin.get(&address.origin).copied();
        let inferred = match facts.site.as_deref() {
            Some("none") => None,
            Some("same-origin") => of_origin.map(|group| (group, Link::FetchSite)),
            Some(_) => self.latest.map(|group| (group, Link::FetchSite)),
            None => [of_origin, self.latest]
                .into_iter()
                .flatten()
                .find(|group| spans.0[*group].is_of_browser && spans.is_loading(*group, started))
                .map(|group| (group, Link::Time)),
        };
        match inferred {
            Some((group, link)) => Choice::In(group, link),
            None if facts.is_html || facts.location.is_some() => Choice::Page,
            None => Choice::Others,
        }
    }

    /// A page has this address.
    pub(super) fn opened(&mut self, group: usize, address: &Address) {
        self.latest = Some(group);
        self.by_origin.insert(address.origin.clone(), group);
    }

    /// A page whose document was not seen has this address.
    pub(super) fn inferred(&mut self, group: usize, http: &Http, address: Address) {
        self.opened(group, &address);
        self.know(
            address,
            Known { group, started: http.exchange.timing.started, is_document: true, before: None },
        );
    }

    /// An exchange of a page: what may follow it.
    pub(super) fn learn(
        &mut self,
        group: usize,
        http: &Http,
        address: Address,
        facts: &Facts,
        is_document: bool,
    ) {
        if let Some(location) = &facts.location {
            // What leads elsewhere refers to nothing.
            if let Some(target) = address.followed(location) {
                self.redirects.put(target, http, group);
            }
            return;
        }
        self.know(address, Known { group, started: http.exchange.timing.started, is_document, before: None });
    }

    fn know(&mut self, address: Address, known: Known) {
        self.by_address
            .entry(address)
            .and_modify(|old| {
                *old = if old.group == known.group {
                    Known { before: old.before, is_document: known.is_document || old.is_document, ..known }
                } else {
                    Known { before: Some(old.group), ..known }
                };
            })
            .or_insert(known);
    }
}
