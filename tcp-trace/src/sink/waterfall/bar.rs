//! Where the time of a request went, as a bar on the time of its page.

use tcp_trace_core::{
    page_loads::Opening,
    prose::{Phrase, Tone},
};
use tcp_trace_model::{
    record::{Http, Outcome},
    time::Time,
};

/// What a stretch of time was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Lookup,
    Connect,
    /// The connection was there, and had no request yet.
    Idle,
    Send,
    Wait,
    Receive,
}

impl Phase {
    pub(super) const ALL: [Self; 6] =
        [Self::Lookup, Self::Connect, Self::Idle, Self::Send, Self::Wait, Self::Receive];

    pub(super) fn glyph(self) -> char {
        match self {
            Self::Lookup => '░',
            Self::Connect => '▒',
            Self::Idle => '·',
            Self::Send => '▸',
            Self::Wait => '─',
            Self::Receive => '█',
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Connect => "connect",
            Self::Idle => "idle",
            Self::Send => "send",
            Self::Wait => "wait",
            Self::Receive => "receive",
        }
    }

    fn tone(self) -> Tone {
        if matches!(self, Self::Wait | Self::Idle) { Tone::Aside } else { Tone::Plain }
    }
}

/// What stands at the end of an exchange that broke off.
pub(super) const BROKEN: char = '×';

/// From one time to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: Time,
    pub(super) to: Time,
    pub(super) phase: Phase,
}

/// What the time of a request was spent on, in order, from `zero` on. `opening` is that of a connection which was
/// opened for it.
pub(super) fn stretches(http: &Http, opening: Option<&Opening>, zero: Time) -> Vec<Stretch> {
    let mut all = Vec::new();
    let mut put = |from: Time, to: Time, phase| {
        let from = from.max(zero);
        if from < to {
            all.push(Stretch { from, to, phase });
        }
    };
    let timing = &http.exchange.timing;
    if let Some(opening) = opening {
        if let Some(resolution) = opening.resolution {
            put(resolution.started, resolution.ended, Phase::Lookup);
        }
        put(opening.connecting, opening.established, Phase::Connect);
        put(opening.established, timing.started, Phase::Idle);
    }
    let end = timing.started.after_micros(timing.total_us);
    // What has not ended lasted until the last byte that was seen.
    let after = |from: Time, us: Option<u64>| us.map_or(end, |us| from.after_micros(us)).min(end);
    let sent = after(timing.started, timing.send_us);
    let answered = after(sent, timing.wait_us);
    put(timing.started, sent, Phase::Send);
    put(sent, answered, Phase::Wait);
    put(answered, end, Phase::Receive);
    all
}

/// Whether an exchange did not come to its end.
pub(super) fn is_broken(http: &Http) -> bool {
    !matches!(http.exchange.outcome, Outcome::Ok | Outcome::Upgraded)
}

/// A bar of `cells` columns for the time from `zero` to `end`. Each column shows what took most of its time, and what
/// is too short for one has one all the same.
pub(super) fn bar(stretches: &[Stretch], http: &Http, (zero, end): (Time, Time), cells: usize) -> Phrase {
    let whole = u128::from(end.nanos_since(zero).max(1));
    let time_of = |cell: usize| whole * cell as u128 / cells as u128;
    let since = |time: Time| u128::from(time.nanos_since(zero));
    let mut drawn: Vec<Option<Phase>> = (0..cells)
        .map(|cell| {
            let (from, to) = (time_of(cell), time_of(cell + 1));
            let share =
                |stretch: &Stretch| since(stretch.to).min(to).saturating_sub(since(stretch.from).max(from));
            // A connection that waits for its first request hides nothing.
            let most = stretches
                .iter()
                .max_by_key(|stretch| (share(stretch) > 0, stretch.phase != Phase::Idle, share(stretch)))?;
            (share(most) > 0).then_some(most.phase)
        })
        .collect();
    let cell_of =
        |time: Time| usize::try_from(since(time) * cells as u128 / whole).unwrap_or(cells).min(cells - 1);
    let started = cell_of(http.exchange.timing.started);
    let is_exchange =
        |phase: &Option<Phase>| matches!(phase, Some(Phase::Send | Phase::Wait | Phase::Receive));
    if !drawn[started..].iter().any(is_exchange) {
        drawn[started] = stretches.last().map(|stretch| stretch.phase).or(Some(Phase::Receive));
    }
    let broken = is_broken(http).then(|| drawn.iter().rposition(Option::is_some)).flatten();
    let mut phrase = Phrase::default();
    for (cell, phase) in drawn.into_iter().enumerate() {
        phrase = match phase {
            _ if broken == Some(cell) => phrase.and(Tone::Failure, BROKEN),
            Some(phase) => phrase.and(phase.tone(), phase.glyph()),
            None => phrase.and(Tone::Plain, ' '),
        };
    }
    phrase
}
