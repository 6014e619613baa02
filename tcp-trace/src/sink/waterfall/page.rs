//! One page: its address and who loaded it, a line per request, and what stands out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use jiff::tz::TimeZone;
use tcp_trace_core::{
    page_loads::{Client, Group, Link, Opening, Subject},
    prose::{Micros, Phrase, Size, Tone, counted, width},
};
use tcp_trace_model::{
    record::{ConnectionId, Http},
    time::Time,
};

use super::{
    bar::{BROKEN, Phase, is_broken},
    layout::{Layout, Millis, shortened},
    row::{CONNECTION, INFERRED, NEW, Rows, START, TOOK, UNKNOWN, connection_of, name},
};
use crate::sink::words::{named, outcome, recorded, status};

/// A connection that was there for longer before its first request was opened ahead, in microseconds: how it came about
/// is no part of the request.
const AHEAD_US: u64 = 1_000_000;

/// What is known of the exchanges of all pages.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) exchanges: &'a [&'a Http],
    openings: &'a HashMap<ConnectionId, Opening>,
    /// Which connection came first after a lookup: the others did not wait for it.
    lookups: HashMap<u64, (Time, ConnectionId)>,
}

impl<'a> Known<'a> {
    pub(super) fn new(
        exchanges: &'a [&'a Http],
        openings: &'a HashMap<ConnectionId, Opening>,
        groups: &[Group],
    ) -> Self {
        let mut lookups = HashMap::new();
        let members = groups.iter().flat_map(|group| &group.members);
        let connections: HashSet<_> =
            members.map(|member| exchanges[member.exchange].connection.id).collect();
        for (id, opening) in openings.iter().filter(|(id, _)| connections.contains(id)) {
            if let Some(resolution) = opening.resolution {
                let this = (opening.connecting, *id);
                lookups
                    .entry(resolution.lookup)
                    .and_modify(|first: &mut (Time, _)| *first = this.min(*first))
                    .or_insert(this);
            }
        }
        Self { exchanges, openings, lookups }
    }

    /// Whether an exchange is the first on its connection, when known.
    pub(super) fn is_new(&self, http: &Http) -> Option<bool> {
        if http.exchange.index > 0 {
            return Some(false);
        }
        // Earlier versions did not record it.
        let is_reused =
            http.exchange.reused.or_else(|| self.openings.contains_key(&http.connection.id).then_some(false));
        is_reused.map(|is_reused| !is_reused)
    }

    /// How the connection came about that was opened for an exchange, with the lookup that it waited for.
    pub(super) fn opening(&self, http: &Http) -> Option<Opening> {
        if self.is_new(http) != Some(true) {
            return None;
        }
        let mut opening = *self.openings.get(&http.connection.id)?;
        let is_soon = |from: Time, to: Time| to.micros_since(from) <= AHEAD_US;
        opening.resolution = opening.resolution.filter(|resolution| {
            let first = self.lookups.get(&resolution.lookup);
            first.is_some_and(|(_, first)| *first == http.connection.id)
                && is_soon(resolution.ended, opening.connecting)
        });
        is_soon(opening.established, http.exchange.timing.started).then_some(opening)
    }
}

/// What the signs mean, above the pages.
pub(super) fn legend(groups: &[Group]) -> Vec<Phrase> {
    let signs = Phase::ALL.map(|phase| format!("{} {}", phase.glyph(), phase.name())).join("  ");
    let times =
        format!("{START}: ms until the request; {TOOK}: ms from there to its end; {NEW} new connection");
    let mut lines = vec![
        Phrase::new(Tone::Aside, format!("{signs}  {BROKEN} broke off")),
        Phrase::new(Tone::Aside, times),
    ];
    if groups.iter().flat_map(|group| &group.members).any(|member| member.link.is_inferred()) {
        let meaning = format!("{INFERRED} the page is inferred and may be wrong");
        lines.push(Phrase::new(Tone::Aside, meaning));
    }
    lines
}

/// Draws a page in lines that are at most so long, where nothing has to be said in words.
pub(super) fn draw(group: &Group, known: &Known<'_>, columns: usize, zone: &TimeZone) -> Vec<Phrase> {
    let page = Page::new(group, known);
    let exchanges = || page.members().map(|(http, _)| http);
    let connection = exchanges()
        .map(|http| width(&connection_of(http)))
        .max()
        .unwrap_or_default()
        .max(CONNECTION.len() - 1);
    let request = exchanges().map(|http| width(&name(http, page.origin))).max().unwrap_or_default();
    let millis = Millis::of(page.end.micros_since(page.zero));
    let time = width(&millis.between(page.zero, page.end)).max(START.len());
    let layout = Layout::new(columns, time, request, connection);
    let rows = Rows { known, layout, millis, origin: page.origin, zero: page.zero, end: page.end };
    let mut lines = vec![page.title(columns, zone), page.totals(), rows.heading()];
    lines.extend(page.members().flat_map(|(http, link)| rows.lines(http, link)));
    lines.extend(page.footer());
    lines
}

/// A page that is being drawn.
#[derive(Debug)]
struct Page<'a> {
    group: &'a Group,
    known: &'a Known<'a>,
    origin: Option<&'a str>,
    zero: Time,
    end: Time,
}

impl<'a> Page<'a> {
    fn new(group: &'a Group, known: &'a Known<'a>) -> Self {
        let exchanges = || group.members.iter().map(|member| known.exchanges[member.exchange]);
        let begun = exchanges().next().map(|http| {
            let opening = known.opening(http);
            let asked = opening.and_then(|opening| opening.resolution).map(|resolution| resolution.started);
            let connecting = opening.map(|opening| opening.connecting);
            [asked, connecting].into_iter().flatten().fold(http.exchange.timing.started, Time::min)
        });
        let zero = begun.unwrap_or_default();
        let ends =
            exchanges().map(|http| http.exchange.timing.started.after_micros(http.exchange.timing.total_us));
        let origin = match &group.subject {
            Subject::Page(address) | Subject::UnseenPage(address) => origin(address),
            Subject::Others => None,
        };
        Self { group, known, origin, zero, end: ends.max().unwrap_or(zero) }
    }

    fn members(&self) -> impl Iterator<Item = (&'a Http, Link)> {
        self.group.members.iter().map(|member| (self.known.exchanges[member.exchange], member.link))
    }

    /// When it began, and its address.
    fn title(&self, columns: usize, zone: &TimeZone) -> Phrase {
        let (address, aside) = match &self.group.subject {
            Subject::Page(address) => (recorded(address), ""),
            Subject::UnseenPage(address) => (recorded(address), "  (document not recorded)"),
            Subject::Others => ("Requests without a page".to_owned(), ""),
        };
        let time = format!("{} ", self.zero.date_and_time(zone));
        let room = columns.saturating_sub(time.len() + aside.len());
        Phrase::new(Tone::Aside, time).and(Tone::State, shortened(&address, room)).and(Tone::Aside, aside)
    }

    /// Who sent how much.
    fn totals(&self) -> Phrase {
        let connections: HashSet<_> = self.members().map(|(http, _)| http.connection.id).collect();
        let response = |(http, _): (&Http, Link)| {
            http.exchange.response.as_ref().map_or(0, |response| response.body.size)
        };
        let bytes = self.members().map(response).fold(0, u64::saturating_add);
        let text = format!(
            "{}: {} on {}, {} in {}",
            self.client(),
            counted(self.group.members.len(), "request"),
            counted(connections.len(), "connection"),
            Size(bytes),
            Micros(self.end.micros_since(self.zero)),
        );
        let failed = self.members().filter(|(http, _)| failure(http).is_some()).count();
        let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        Phrase::plain(text).and(Tone::Failure, failed)
    }

    fn client(&self) -> String {
        let process = self.members().find_map(|(http, _)| http.connection.process.as_deref());
        match &self.group.client {
            Client::Process { .. } => process.map_or("-".to_owned(), named),
            Client::Local(address) => format!("an unknown process at {address}"),
            Client::Remote(address) => match process {
                Some(server) => format!("{address}, as {} saw it", named(server)),
                None => format!("{address}, as its server saw it"),
            },
            Client::Unknown => "client unknown".to_owned(),
        }
    }

    fn footer(&self) -> Vec<Phrase> {
        let mut lines: Vec<_> =
            [self.openings(), self.slowest()].into_iter().flatten().map(Phrase::plain).collect();
        lines.extend(self.failures());
        lines.extend(self.inferred());
        lines
    }

    /// The connections that were opened for the page.
    fn openings(&self) -> Option<String> {
        let opened: Vec<_> =
            self.members().filter(|(http, _)| self.known.is_new(http) == Some(true)).collect();
        let unknown = self.members().filter(|(http, _)| self.known.is_new(http).is_none()).count();
        let openings: Vec<_> = opened.iter().filter_map(|(http, _)| self.known.opening(http)).collect();
        let mut parts = Vec::new();
        let lookups: Vec<_> = openings.iter().filter_map(|opening| opening.resolution).collect();
        let longest = lookups.iter().map(|lookup| lookup.ended.micros_since(lookup.started)).max();
        if let Some(us) = longest {
            let lookups = lookups.len() as u64;
            parts.push(format!("{} {}", counted(lookups, "lookup"), within(lookups, us)));
        }
        if !opened.is_empty() {
            let longest =
                openings.iter().map(|opening| opening.established.micros_since(opening.connecting)).max();
            let opened = opened.len() as u64;
            let longest = longest.map_or(String::new(), |us| format!(" {}", within(opened, us)));
            parts.push(format!("{} opened{longest}", counted(opened, "connection")));
        }
        if unknown > 0 {
            parts.push(format!(
                "{} possibly opened before these records ({UNKNOWN})",
                counted(unknown, "connection")
            ));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn slowest(&self) -> Option<String> {
        if self.group.members.len() < 2 {
            return None;
        }
        let (http, _) = self.members().min_by_key(|(http, _)| Reverse(http.exchange.timing.total_us))?;
        let wait =
            http.exchange.timing.wait_us.map_or(String::new(), |us| format!(", waited {}", Micros(us)));
        let name = shortened(&name(http, self.origin), 50);
        Some(format!("slowest: {name}  {}{wait}", Micros(http.exchange.timing.total_us)))
    }

    fn failures(&self) -> Option<Phrase> {
        let mut kinds: BTreeMap<String, (Tone, u64)> = BTreeMap::new();
        for (tone, kind) in self.members().filter_map(|(http, _)| failure(http)) {
            kinds.entry(kind).or_insert((tone, 0)).1 += 1;
        }
        let mut phrase = Phrase::plain("failed:");
        for (at, (kind, (tone, count))) in kinds.iter().enumerate() {
            let comma = if at > 0 { ", " } else { " " };
            phrase = phrase.and(Tone::Plain, comma).and(*tone, kind);
            phrase = phrase.and(Tone::Plain, if *count > 1 { format!(" ({count})") } else { String::new() });
        }
        (!kinds.is_empty()).then_some(phrase)
    }

    /// What put requests here, where that is no Referer.
    fn inferred(&self) -> Option<Phrase> {
        let mut kinds: BTreeMap<Link, u64> = BTreeMap::new();
        for (_, link) in self.members().filter(|(_, link)| link.is_inferred()) {
            *kinds.entry(link).or_default() += 1;
        }
        let parts: Vec<_> = kinds.iter().map(|(link, count)| format!("{count} {}", because(*link))).collect();
        let text = format!(" inferred: {}", parts.join("; "));
        (!parts.is_empty()).then(|| Phrase::new(Tone::Warning, INFERRED).and(Tone::Plain, text))
    }
}

/// How long the longest of them took.
fn within(count: u64, us: u64) -> String {
    format!("{} {}", if count == 1 { "in" } else { "in up to" }, Micros(us))
}

/// Scheme and host of an address that the grouping made.
fn origin(address: &str) -> Option<&str> {
    let host = address.find("://")? + 3;
    Some(&address[..address[host..].find('/').map_or(address.len(), |slash| host + slash)])
}

/// What kind of failure an exchange is, if it is one.
fn failure(http: &Http) -> Option<(Tone, String)> {
    if is_broken(http) {
        let (tone, text) = outcome(http)?;
        // The whole reason is below the request.
        return Some((tone, text.split(':').next().unwrap_or_default().to_owned()));
    }
    let code = http.exchange.response.as_ref()?.status_code;
    let tone = crate::sink::words::status_tone(code);
    (tone != Tone::Plain).then(|| Some((tone, status(http)?.to_string())))?
}

/// Why a request is on this page, in words.
fn because(link: Link) -> &'static str {
    match link {
        Link::Document => "the document",
        Link::Redirect => "by redirect",
        Link::Referer => "by Referer",
        Link::None => "no page",
        Link::SharedReferer => "by a Referer that two pages share",
        Link::RefererOrigin => "by a Referer that is only the origin (its latest page)",
        Link::Origin => "by Origin (its latest page)",
        Link::FetchSite => "by Sec-Fetch-Site (the latest page)",
        Link::Frame => "documents with this page as Referer while it loaded (frames, or links followed)",
        Link::Time => "by time: sent while this page loaded",
    }
}
