//! What stands above a ladder, as in textbooks: URL, name, address, and the route of the segments out of the host.

use std::mem;

use tcp_trace_core::{
    prose::{Micros, Palette, Phrase, Tone, cut, translation},
    timeline::Side,
};
use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, Http, Network, NextHop, Route, RouteType, ServerSource, Url},
};

use super::{
    layout::COLUMNS,
    lookups::Above,
    model::{End, Event, Ladder},
};
use crate::sink::{
    footer::write_folded,
    words::{printable, recorded},
    words_dns::{lookup_with_aliases, name},
};

/// Columns of the labels.
const LABEL: usize = 9;

/// Prints the steps that come before the connection, as far as they are known of the client's end.
pub(super) fn head(ladder: &Ladder<'_>, above: Option<&Above<'_>>, palette: &Palette) -> String {
    let Some(&End { network: Some(network), summary, .. }) = ladder.end(Side::Client) else {
        return String::new();
    };
    let (first, requests) = requests(ladder);
    let url = first.and_then(url);
    let route = summary.and_then(|summary| summary.route.as_ref());
    let name = above.map(looked_up).or_else(|| summary.and_then(called));
    let mut lines = Vec::new();
    if let Some(url) = url {
        let more = if requests > 1 { format!("  (the first of {requests} requests)") } else { String::new() };
        lines.push(("URL", Phrase::plain(url).and(Tone::Aside, more)));
    }
    lines.extend(name.map(|name| ("name", name)));
    let others = above.map(|above| above.others.as_slice()).unwrap_or_default();
    lines.extend(others.iter().map(|dns| ("", lookup_with_aliases(dns))));
    if !lines.is_empty() || route.is_some() || network.translated.is_some() {
        let translation = translation(&network).map_or(String::new(), |words| format!("  {words}"));
        lines.push(("address", Phrase::plain(network.peer.to_string()).and(Tone::Aside, translation)));
    }
    lines.extend(route.map(|route| ("from", way(&network, route))));
    let lookup_us = summary.and_then(|summary| summary.dns.as_ref()).map(|dns| dns.duration_us);
    let sum = first.and_then(|http| sum(ladder, lookup_us, http)).unwrap_or_default();
    lines.extend(["time", ""].into_iter().zip(sum));
    let mut text = String::new();
    for (label, line) in lines {
        let label = Phrase::new(Tone::Aside, format!("{label:<LABEL$}"));
        write_folded(&mut text, label.then(line), COLUMNS, LABEL, palette);
    }
    text
}

/// The first request, and how many there are.
fn requests<'a>(ladder: &Ladder<'a>) -> (Option<&'a Http>, usize) {
    let mut all = ladder.rows.iter().filter_map(|row| match row.event {
        Event::Request(http) => Some(http),
        _ => None,
    });
    let first = all.next();
    (first, usize::from(first.is_some()) + all.count())
}

/// From the lookup to the end of the first response: what each step took. `None` where a step is not known. In
/// lines, two at most.
fn sum(ladder: &Ladder<'_>, lookup_us: Option<u64>, http: &Http) -> Option<Vec<Phrase>> {
    if http.connection.role != Some(Role::Client) {
        return None;
    }
    let timing = &http.exchange.timing;
    let connect = ladder.rows.iter().find_map(|row| match row.event {
        Event::State(transition) if row.side == Side::Client && transition.old == State::SynSent => {
            Some((transition.time, transition.in_old_us?)).filter(|_| transition.new == State::Established)
        }
        _ => None,
    });
    let (connected, connect_us) = connect?;
    let steps = [
        ("lookup", lookup_us),
        ("connect", Some(connect_us)),
        // Until the client sends its request.
        ("idle", Some(timing.started.micros_since(connected))),
        ("send", Some(timing.send_us?)),
        ("wait", Some(timing.wait_us?)),
        ("receive", Some(timing.receive_us?)),
    ];
    let steps: Vec<_> = steps.iter().filter_map(|(name, us)| Some((*name, (*us)?))).collect();
    let all = steps.iter().map(|(_, us)| *us).fold(0, u64::saturating_add);
    let longest = steps.iter().map(|(_, us)| *us).max().unwrap_or_default();
    let mut lines = vec![Phrase::default()];
    let shown = steps.into_iter().filter(|(_, us)| *us > 0).map(|(name, us)| {
        let tone = if us == longest { Tone::Warning } else { Tone::Plain };
        (tone, format!("{name} {}", Micros(us)))
    });
    for (tone, step) in shown.chain([(Tone::Plain, format!("= {}", Micros(all)))]) {
        let last = lines.len() - 1;
        let sign = if lines == [Phrase::default()] {
            ""
        } else if step.starts_with('=') {
            " "
        } else {
            " + "
        };
        if lines[last].width() + sign.len() + step.len() > COLUMNS - LABEL {
            lines.push(Phrase::new(Tone::Aside, sign.trim_start()).and(tone, step));
        } else {
            lines[last] = mem::take(&mut lines[last]).and(Tone::Aside, sign).and(tone, step);
        }
    }
    Some(lines)
}

/// The URL of a request that has a whole one: not of `CONNECT` and `*`.
fn url(http: &Http) -> Option<String> {
    let Url { scheme, host, path, query } = http.exchange.url.as_ref()?;
    let (scheme, host) = (scheme.as_ref()?, host.as_ref()?);
    let query = query.as_ref().map_or(String::new(), |query| format!("?{}", printable(query)));
    let url = format!("{}://{}{}{query}", printable(scheme), printable(host), printable(path));
    Some(cut(&url, COLUMNS - LABEL))
}

/// The lookup that the connection follows.
fn looked_up(above: &Above<'_>) -> Phrase {
    let age = Micros(above.resolved.age_us);
    lookup_with_aliases(above.dns)
        .and(Tone::Aside, format!("; from {}, {age} before the connect", above.dns.server))
}

/// What the server is called, where its lookup is not in the records.
fn called(summary: &Connection) -> Option<Phrase> {
    if let Some(resolved) = &summary.dns {
        let (duration, age) = (Micros(resolved.duration_us), Micros(resolved.age_us));
        let when = format!("  looked up in {duration}; {age} before the connect");
        return Some(Phrase::plain(name(&resolved.name)).and(Tone::Aside, when));
    }
    let server = summary.server.as_ref()?;
    let source = match server.source {
        ServerSource::Dns => return None,
        ServerSource::Host => "  (from the Host header)",
        ServerSource::Sni => "  (from the TLS ClientHello)",
    };
    Some(Phrase::plain(name(&server.address)).and(Tone::Aside, source))
}

/// Source, interface and next hop.
fn way(network: &Network, route: &Route) -> Phrase {
    let index = || format!("interface {}", route.interface.index);
    let interface = route.interface.name.as_ref().map_or_else(index, printable);
    let phrase = Phrase::plain(format!("{} via {interface}, ", network.local));
    match (&route.next_hop, route.kind) {
        (_, RouteType::Local) => phrase.and(Tone::Plain, "to this host"),
        (Some(hop), RouteType::OnLink) => phrase.and(Tone::Plain, "on link ").then(link_address(hop)),
        (Some(hop), RouteType::Gateway) => {
            phrase.and(Tone::Plain, format!("next hop {} ", hop.address)).then(link_address(hop))
        }
        (None, _) => phrase.and(Tone::Plain, "next hop unknown"),
    }
}

/// `(5e:00:53:00:00:01)`. That a neighbour does not answer stands out.
fn link_address(hop: &NextHop) -> Phrase {
    let state = hop.state.as_deref();
    let has_failed = matches!(state, Some("FAILED" | "INCOMPLETE"));
    match (&hop.mac, state) {
        (_, Some(state)) if has_failed => Phrase::plain("(")
            .and(Tone::Failure, format!("no MAC: {}", recorded(state)))
            .and(Tone::Plain, ")"),
        (Some(mac), _) => Phrase::plain(format!("({})", recorded(mac))),
        (None, Some(state)) => Phrase::plain(format!("(no MAC: {})", recorded(state))),
        (None, None) => Phrase::plain("(MAC unknown)"),
    }
}
