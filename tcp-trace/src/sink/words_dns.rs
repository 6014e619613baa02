//! Lookups in words.

use tcp_trace_core::prose::{Micros, Phrase, Tone, cut};
use tcp_trace_model::record::{Dns, DnsOutcome};

use super::words::recorded;

/// Columns of the longest name that is shown whole.
const NAME_MAX: usize = 60;
/// Answers that are shown.
const ANSWERS_MAX: usize = 4;
/// Aliases that are shown.
const ALIASES_MAX: usize = 4;

/// A lookup in one line: `DNS A example.com → 93.184.216.34  in 1.20 ms`.
pub(super) fn lookup(dns: &Dns) -> Phrase {
    lookup_by(dns, "")
}

/// The same with the aliases (CNAME) that lead to the answer: `DNS A www.example.com → example.com → 93.184.216.34`.
pub(super) fn lookup_with_aliases(dns: &Dns) -> Phrase {
    let aliases = dns.answers.iter().filter(|answer| answer.kind == "CNAME");
    let mut names: Vec<_> = aliases.clone().take(ALIASES_MAX).map(|answer| name(&answer.data)).collect();
    let more = aliases.count().saturating_sub(ALIASES_MAX);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    lookup_by(dns, &names.iter().map(|name| format!("{name} → ")).collect::<String>())
}

/// A lookup whose answer is reached by way of these names.
fn lookup_by(dns: &Dns, aliases: &str) -> Phrase {
    let question = match &dns.question {
        Some(question) => format!("{} {}", name(&question.kind), name(&question.name)),
        None => "(not understood)".to_owned(),
    };
    let mut phrase = Phrase::plain(format!("DNS {question} → {aliases}")).then(result(dns));
    if let Some(us) = dns.duration_us {
        phrase = phrase.and(Tone::Aside, format!("  in {}", Micros(us)));
    }
    if dns.retransmits > 0 {
        phrase = phrase.and(Tone::Warning, format!("  (asked {} times)", u64::from(dns.retransmits) + 1));
    }
    phrase
}

fn result(dns: &Dns) -> Phrase {
    let kind = dns.question.as_ref().map_or("", |question| question.kind.as_str());
    let (tone, text) = match dns.outcome {
        DnsOutcome::Ok => return Phrase::plain(answers(dns, kind)).then(error(dns)),
        DnsOutcome::NoData => (Tone::Warning, format!("no {} record", name(kind))),
        DnsOutcome::Nxdomain => (Tone::Failure, "no such name (NXDOMAIN)".to_owned()),
        DnsOutcome::Servfail => (Tone::Failure, "the server failed (SERVFAIL)".to_owned()),
        DnsOutcome::Refused => (Tone::Failure, "the server refused (REFUSED)".to_owned()),
        DnsOutcome::Error => (Tone::Failure, name(dns.rcode.as_deref().unwrap_or("error"))),
        DnsOutcome::Truncated => (Tone::Warning, "too long for UDP".to_owned()),
        DnsOutcome::NoAnswer => (Tone::Failure, "no answer".to_owned()),
        DnsOutcome::Unseen => (Tone::Warning, "no answer seen, but events were lost".to_owned()),
        DnsOutcome::Malformed => (Tone::Failure, "malformed".to_owned()),
    };
    Phrase::new(tone, text).then(error(dns))
}

fn error(dns: &Dns) -> Phrase {
    let error = dns.error.as_ref().map(|error| format!("  ({})", recorded(error)));
    Phrase::default().and(Tone::Warning, error.unwrap_or_default())
}

/// The answers of the queried type; aliases count only if they were queried.
fn answers(dns: &Dns, kind: &str) -> String {
    let asked = || dns.answers.iter().filter(|answer| kind == "ANY" || answer.kind == kind);
    let mut text: Vec<_> = asked().take(ANSWERS_MAX).map(|answer| name(&answer.data)).collect();
    let more = asked().count().saturating_sub(ANSWERS_MAX);
    if more > 0 {
        text.push(format!("{more} more"));
    }
    text.join(", ")
}

/// Text of a message, which is ASCII and escaped when this program wrote it.
pub(super) fn name(text: &str) -> String {
    cut(&recorded(text), NAME_MAX)
}
