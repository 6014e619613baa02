//! The states that a connection went through.

use tcp_trace_model::{event::State, record::StateSpan, time::Time};

/// A state and when it was entered; `None` when that was before the first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    state: State,
    entered: Option<Time>,
    /// Whether `entered` was inferred.
    estimated: bool,
}

/// What a transition says of the state that it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) old: State,
    /// Time spent in it, in microseconds, when its beginning was seen.
    pub(super) in_old_us: Option<u64>,
    /// Whether the time was inferred.
    pub(super) estimated: bool,
    /// Whether transitions before this one were not seen.
    pub(super) gap: bool,
}

/// The states of a connection.
#[derive(Debug)]
pub(super) struct States {
    /// Oldest first; the last is the present one.
    spans: Vec<Span>,
    pub(super) opened: Time,
    /// Whether it was first seen in the middle of its life.
    pub(super) is_older: bool,
    pub(super) seen_from_start: bool,
}

impl States {
    /// Those of a connection that is first seen at its birth, or in the middle of its life in `state`.
    pub(super) fn new(time: Time, state: Option<State>) -> Self {
        let spans = state.map(|state| Span { state, entered: None, estimated: false }).into_iter().collect();
        Self { spans, opened: time, is_older: state.is_some(), seen_from_start: state.is_none() }
    }

    /// The present one, when known.
    pub(super) fn current(&self) -> Option<State> {
        self.spans.last().map(|span| span.state)
    }

    /// When it was established, if that was seen.
    pub(super) fn established(&self) -> Option<Time> {
        self.spans.iter().find(|span| span.state == State::Established).and_then(|span| span.entered)
    }

    /// Notes that the socket existed from its SYN on, if that was seen.
    pub(super) fn accept(&mut self, first: Option<Time>, is_syn: bool) {
        self.opened = first.unwrap_or(self.opened);
        self.seen_from_start &= is_syn;
    }

    /// Enters a state that the kernel reports.
    pub(super) fn change(&mut self, time: Time, old: State, new: State) -> Left {
        let last = self.spans.last().copied();
        // A state that the kernel leaves and that was not entered: events before it are missing.
        let entered = last.filter(|span| span.state == old).and_then(|span| span.entered);
        let gap = last.is_some_and(|span| span.state != old);
        if gap {
            self.seen_from_start = false;
            self.spans.push(Span { state: old, entered: None, estimated: false });
        }
        // When it was answered is known from its SYN alone.
        let estimated = old == State::Listen && new == State::SynRecv && !self.seen_from_start;
        self.spans.push(Span { state: new, entered: Some(time), estimated });
        Left { old, in_old_us: entered.map(|entered| time.micros_since(entered)), estimated, gap }
    }

    /// Enters a state that no tracepoint reports.
    pub(super) fn enter(&mut self, time: Time, new: State, estimated: bool) -> Option<Left> {
        let last = *self.spans.last()?;
        self.spans.push(Span { state: new, entered: Some(time), estimated });
        let in_old_us = last.entered.map(|entered| time.micros_since(entered));
        Some(Left { old: last.state, in_old_us, estimated, gap: false })
    }

    /// Enters a state that the kernel did not report although it should have.
    pub(super) fn miss(&mut self, time: Time, new: State) -> Option<Left> {
        self.seen_from_start = false;
        self.enter(time, new, true).map(|left| Left { gap: true, ..left })
    }

    /// What the summary says of them.
    pub(super) fn recorded(&self) -> Vec<StateSpan> {
        self.spans
            .iter()
            .enumerate()
            .filter(|(_, span)| span.state != State::Close)
            .map(|(index, span)| {
                let next = self.spans.get(index + 1);
                let left = next.and_then(|next| next.entered);
                StateSpan {
                    state: span.state,
                    entered: span.entered.unwrap_or(self.opened),
                    duration_us: left.zip(span.entered).map(|(left, entered)| left.micros_since(entered)),
                    estimated: span.entered.is_none()
                        || span.estimated
                        || next.is_some_and(|next| next.estimated),
                }
            })
            .collect()
    }

    /// The state that it ended in.
    pub(super) fn before_the_end(&self) -> State {
        let mut states = self.spans.iter().rev().map(|span| span.state);
        states.find(|state| *state != State::Close).unwrap_or(State::Close)
    }
}
