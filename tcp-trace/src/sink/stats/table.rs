//! Figures for people.

use std::fmt::Write as _;

use tcp_trace_core::{
    prose::{Micros, Palette, Phrase, Size, Tone, counted, wrap},
    stats::{GROUPS_MAX, Group, Stats, Times},
};

use super::{StatsOrder, first, rate};
use crate::sink::words::{grouped, status_tone};

/// Columns where the width of what is printed to is not known, and at least.
const COLUMNS_DEFAULT: usize = 100;
const COLUMNS_MIN: usize = 40;
/// Columns that the name of a group has at least; others give way to it.
const NAME_MIN: usize = 24;
/// Columns of each figure, with the space before it.
const FIGURE: usize = 10;

/// A column: its heading, what it has of a group, and the tone of that.
type Column = (&'static str, fn(&Group, u64) -> (Tone, String));

/// In the order in which they are printed.
const FIGURES: [Column; 8] = [
    ("REQUESTS", |group, _| (Tone::Plain, grouped(group.requests))),
    ("PER SEC", |group, us| (Tone::Aside, per_second(rate(group, us)))),
    ("FAILED", |group, _| {
        let tone = if group.failed > 0 { Tone::Failure } else { Tone::Aside };
        (tone, grouped(group.failed))
    }),
    ("P50", |group, _| (Tone::Plain, time(group.times.quantile(0.5)))),
    ("P90", |group, _| (Tone::Plain, time(group.times.quantile(0.9)))),
    ("P99", |group, _| (Tone::Plain, time(group.times.quantile(0.99)))),
    ("MAX", |group, _| (Tone::Plain, time(group.times.longest()))),
    ("BYTES", |group, _| (Tone::Aside, Size(group.response_bytes).to_string())),
];
/// Which of them give way first where there is not room for all.
const GIVE_WAY: [&str; 5] = ["BYTES", "PER SEC", "P90", "MAX", "P50"];

/// Writes figures for a terminal.
#[derive(Debug)]
pub struct StatsTable {
    palette: Palette,
    columns: usize,
    text: String,
}

impl StatsTable {
    /// In lines of a terminal's columns, when that is known.
    pub fn new(palette: Palette, columns: Option<usize>) -> Self {
        Self { palette, columns: columns.unwrap_or(COLUMNS_DEFAULT).max(COLUMNS_MIN), text: String::new() }
    }

    /// The text, with the first `top` groups in this order.
    pub fn of(mut self, stats: &Stats, order: StatsOrder, top: usize) -> String {
        self.head(stats);
        self.connections(stats);
        self.groups(stats, order, top);
        if stats.lost() > 0 {
            let lost = counted(stats.lost(), "event");
            self.paragraph(Tone::Failure, &format!("*** LOST {lost}: these figures are too small"));
        }
        self.text
    }

    fn line(&mut self, phrase: &Phrase) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{}", phrase.painted(&self.palette));
    }

    fn paragraph(&mut self, tone: Tone, text: &str) {
        for line in wrap(text, self.columns) {
            self.line(&Phrase::new(tone, line));
        }
    }

    /// What is printed behind a label, over several lines where it has to be.
    fn labelled(&mut self, label: &str, phrase: Phrase) {
        const LABEL: usize = 13;
        let phrase = Phrase::new(Tone::Aside, format!("{label:<LABEL$}")).then(phrase);
        self.line(&phrase.folded(self.columns, LABEL));
    }

    fn head(&mut self, stats: &Stats) {
        let total = stats.total();
        let (count, us) = (total.requests, stats.duration_us());
        let what = if count == 1 { "request" } else { "requests" };
        let mut phrase = Phrase::plain(format!("{} {what}", grouped(count)));
        if us > 0 {
            let per_second = per_second(rate(total, us));
            phrase = phrase.and(Tone::Plain, format!(" in {}, {per_second}/s", Micros(us)));
        }
        if total.failed > 0 {
            let percent = percent(total.failed, count);
            phrase = phrase
                .and(Tone::Plain, ", ")
                .and(Tone::Failure, format!("{} failed ({percent})", grouped(total.failed)));
        }
        if stats.unfinished() > 0 {
            let text = format!(", {} not over at the end, not counted", grouped(stats.unfinished()));
            phrase = phrase.and(Tone::Plain, text);
        }
        self.labelled("requests", phrase);
        if count == 0 {
            return;
        }
        let mut statuses = Phrase::default();
        for (code, count) in stats.statuses() {
            let comma = if statuses == Phrase::default() { "" } else { ", " };
            statuses = statuses
                .and(Tone::Plain, comma)
                .and(status_tone(*code), format!("{code} ({})", grouped(*count)));
        }
        let answered: u64 = stats.statuses().values().sum();
        if answered < count {
            let comma = if answered == 0 { "" } else { ", " };
            statuses = statuses
                .and(Tone::Plain, comma)
                .and(Tone::Failure, format!("no response ({})", grouped(count - answered)));
        }
        self.labelled("status", statuses);
        self.labelled("time", Phrase::plain(quantiles(&total.times)));
        let (sent, back) = (Size(total.request_bytes), Size(total.response_bytes));
        self.labelled("bodies", Phrase::plain(format!("{sent} in requests, {back} in responses")));
    }

    fn connections(&mut self, stats: &Stats) {
        let connections = stats.connections();
        let mut parts = Phrase::plain(format!("{} opened", grouped(connections.opened)));
        for (tone, count, what) in [
            (Tone::Plain, connections.open, "open"),
            (Tone::Failure, connections.failed, "failed"),
            (Tone::Failure, connections.reset, "reset"),
        ] {
            if count > 0 {
                parts = parts.and(Tone::Plain, ", ").and(tone, format!("{} {what}", grouped(count)));
            }
        }
        let states: Vec<_> =
            connections.states.iter().map(|(state, count)| format!("{} {state}", grouped(*count))).collect();
        if states.len() > 1 || !connections.states.contains_key("ESTABLISHED") && !states.is_empty() {
            parts = parts.and(Tone::State, format!(" ({})", states.join(", ")));
        }
        if stats.total().requests > 0 {
            let reused = percent(stats.total().reused, stats.total().requests);
            parts = parts.and(Tone::Plain, format!("; {reused} of the requests on a reused one"));
        }
        self.labelled("connections", parts);
        for (label, times, failed) in [
            ("connect", &connections.connects, 0),
            ("TLS", &connections.handshakes, connections.handshakes_failed),
            ("lookup", &connections.lookups, connections.lookups_failed),
        ] {
            if times.count() + failed == 0 {
                continue;
            }
            let mut phrase = Phrase::plain(format!("{}: {}", grouped(times.count()), quantiles(times)));
            if failed > 0 {
                phrase =
                    phrase.and(Tone::Plain, ", ").and(Tone::Failure, format!("{} failed", grouped(failed)));
            }
            self.labelled(label, phrase);
        }
    }

    fn groups(&mut self, stats: &Stats, order: StatsOrder, top: usize) {
        let (groups, more) = first(stats, order, top);
        if groups.is_empty() {
            return;
        }
        let mut figures = FIGURES.to_vec();
        for name in GIVE_WAY {
            if figures.len() * FIGURE + 2 + NAME_MIN > self.columns {
                figures.retain(|(heading, _)| *heading != name);
            }
        }
        let room = self.columns.saturating_sub(figures.len() * FIGURE + 2).max(1);
        let heading: String = figures.iter().map(|(heading, _)| format!("{heading:>FIGURE$}")).collect();
        self.text.push('\n');
        self.line(&Phrase::new(
            Tone::Aside,
            format!("{heading}  {}", stats.dimension().name().to_uppercase()),
        ));
        let row = |name: &str, group: &Group| {
            let mut phrase = Phrase::default();
            for (_, figure) in &figures {
                let (tone, text) = figure(group, stats.duration_us());
                phrase = phrase.and(tone, format!("{text:>FIGURE$}"));
            }
            phrase.and(Tone::Plain, "  ").then(Phrase::plain(name).cut(room))
        };
        for (name, group) in groups {
            self.line(&row(name, group));
        }
        let others = stats.others();
        if others.requests > 0 {
            self.line(&row(&format!("(all beyond {GROUPS_MAX} groups)"), others));
        }
        if more > 0 {
            self.paragraph(
                Tone::Aside,
                &format!("and {}; --top 0 shows all", counted(more as u64, "more group")),
            );
        }
    }
}

fn time(us: Option<u64>) -> String {
    us.map_or_else(|| "-".to_owned(), |us| Micros(us).to_string())
}

fn quantiles(times: &Times) -> String {
    let of = |part| time(times.quantile(part));
    format!("p50 {}, p90 {}, p99 {}, max {}", of(0.5), of(0.9), of(0.99), time(times.longest()))
}

/// With a digit behind the point where there are few.
fn per_second(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

/// Part of a whole that is not 0.
fn percent(part: u64, whole: u64) -> String {
    let percent = part as f64 * 100.0 / whole as f64;
    // What is not all, or more than nothing, must not look otherwise.
    match percent {
        _ if part == 0 => "0 %".to_owned(),
        _ if part == whole => "100 %".to_owned(),
        ..0.1 => "< 0.1 %".to_owned(),
        10.0..99.0 => format!("{percent:.0} %"),
        ..=99.9 => format!("{percent:.1} %"),
        _ => "> 99.9 %".to_owned(),
    }
}
