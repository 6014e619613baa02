//! One request in one line, and below it what did not go as it should.

use tcp_trace_core::{
    page_loads::Link,
    prose::{Phrase, Size, Tone, cut, padded},
};
use tcp_trace_model::{
    record::{Http, TextRef},
    time::Time,
};

use super::{
    bar::{bar, is_broken, stretches},
    layout::{Layout, Millis, SIZE, STATUS, shortened},
    page::Known,
};
use crate::sink::words::{incomplete, outcome, printable, status_tone};

/// Stands before a request whose page is inferred.
pub(super) const INFERRED: &str = "~";
/// Stands before a connection that the request is the first on.
pub(super) const NEW: &str = "+";
/// Stands before a connection of which it is not known what it carried before.
pub(super) const UNKNOWN: &str = "?";

/// What columns are called.
pub(super) const CONNECTION: &str = "connection";
pub(super) const START: &str = "start";
pub(super) const TOOK: &str = "took";

/// What the rows of a page have in common.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) known: &'a Known<'a>,
    pub(super) layout: Layout,
    pub(super) millis: Millis,
    /// The origin of the page, that its requests do not repeat.
    pub(super) origin: Option<&'a str>,
    pub(super) zero: Time,
    pub(super) end: Time,
}

impl Rows<'_> {
    /// The names of the columns.
    pub(super) fn heading(&self) -> Phrase {
        let Layout { time, request, kind, connection, bar } = self.layout;
        let kind = padded(if kind > 0 { "kind" } else { "" }, kind);
        let (request, size) = (padded("request", request), "size");
        let connection = padded(CONNECTION, connection + 1);
        let gap = " ".repeat(bar);
        let text = format!(
            "{START:>time$}  {request} {kind}{:STATUS$} {size:>SIZE$} {} {gap} {TOOK:>time$}",
            "", connection
        );
        Phrase::new(Tone::Aside, text)
    }

    /// The lines of a request.
    pub(super) fn lines(&self, http: &Http, link: Link) -> Vec<Phrase> {
        let Layout { time, request, kind, connection, .. } = self.layout;
        let start = format!("{:>time$} ", self.millis.between(self.zero, http.exchange.timing.started));
        let mark = if link.is_inferred() { INFERRED } else { " " };
        let what = padded(&shortened(&name(http, self.origin), request), request);
        let response = http.exchange.response.as_ref();
        let kind = if kind == 0 { String::new() } else { padded(&cut(&kind_of(http), kind - 1), kind) };
        let status = response.map_or("-".to_owned(), |response| response.status_code.to_string());
        let tone = response.map_or(Tone::Failure, |response| status_tone(response.status_code));
        let size = response.map_or(String::new(), |response| Size(response.body.size).to_string());
        let new = match self.known.is_new(http) {
            Some(true) => NEW,
            Some(false) => " ",
            None => UNKNOWN,
        };
        let on = padded(&connection_of(http), connection);
        let opening = self.known.opening(http);
        let stretches = stretches(http, opening.as_ref(), self.zero);
        let took = self.millis.text(http.exchange.timing.total_us);
        let row = Phrase::new(Tone::Aside, start)
            .and(Tone::Warning, mark)
            .and(if is_broken(http) { Tone::Failure } else { Tone::Plain }, what)
            .and(Tone::Aside, format!(" {kind}"))
            .and(tone, format!("{:>STATUS$}", cut(&status, STATUS)))
            .and(Tone::Plain, format!(" {size:>SIZE$} {new}{on} "))
            .then(bar(&stretches, http, (self.zero, self.end), self.layout.bar))
            .and(Tone::Aside, format!(" {took:>time$}"));
        [row].into_iter().chain(self.notes(http)).collect()
    }

    /// What did not go as it should, in words.
    fn notes(&self, http: &Http) -> Option<Phrase> {
        let (tone, outcome) = outcome(http).unwrap_or((Tone::Plain, String::new()));
        let incomplete = incomplete(http).unwrap_or_default();
        if outcome.is_empty() && incomplete.is_empty() {
            return None;
        }
        let semicolon = if outcome.is_empty() || incomplete.is_empty() { "" } else { "; " };
        let margin = " ".repeat(self.layout.time + 2);
        let note = Phrase::plain(format!("{margin}└ ")).and(tone, outcome).and(Tone::Plain, semicolon);
        Some(note.and(Tone::Warning, incomplete))
    }
}

/// The connection of an exchange, and its position there.
pub(super) fn connection_of(http: &Http) -> String {
    format!("{} #{}", http.connection.id, http.exchange.index)
}

/// Method and target; with the host where that is not the page's.
pub(super) fn name(http: &Http, origin: Option<&str>) -> String {
    let Some(request) = &http.exchange.request else {
        return "(no request seen)".to_owned();
    };
    let target = printable(&request.target);
    let host = http.exchange.url.as_ref().and_then(|url| Some((url.scheme.as_ref()?, url.host.as_ref()?)));
    let is_elsewhere = |(scheme, host)| {
        let own = format!("{}://{}", printable(scheme), printable(host));
        origin.is_none_or(|origin| !own.eq_ignore_ascii_case(origin))
    };
    let host = host.filter(|host| target.starts_with('/') && is_elsewhere(*host));
    let host = host.map_or(String::new(), |(_, host)| printable(host));
    format!("{} {host}{target}", printable(&request.method))
}

/// What kind of thing was sent, by its Content-Type: what network panels call its type.
fn kind_of(http: &Http) -> String {
    let Some(response) = &http.exchange.response else { return String::new() };
    if response.status_code == 101 {
        return "ws".to_owned();
    }
    let Some(value) = response.headers.first("content-type") else { return String::new() };
    let value = TextRef(value).printable().to_string().to_ascii_lowercase();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    let Some((family, format)) = media_type.split_once('/') else { return media_type.to_owned() };
    match (family, format) {
        ("text", "html") | ("application", "xhtml+xml") => "html",
        ("text" | "application", "javascript" | "x-javascript" | "ecmascript") => "js",
        ("image", _) => "img",
        ("font", _) => "font",
        ("audio" | "video", _) => "media",
        ("text", "plain") => "text",
        (_, "octet-stream") => "bytes",
        (_, format) if format.ends_with("json") => "json",
        (_, format) if format.ends_with("xml") => "xml",
        (_, format) => format,
    }
    .to_owned()
}
