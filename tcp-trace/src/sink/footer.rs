//! The footer of diagrams: what was lost, what found no room, and the totals.

use std::fmt::Write as _;

use tcp_trace_core::prose::{Palette, Phrase, Tone, counted};
use tcp_trace_model::record::{End, Loss, Record};

use super::words::{loss, totals};

/// Losses that are listed one by one; later ones are summed up.
const LOSSES_MAX: usize = 20;
/// Where a line that is too long goes on.
const MARGIN: usize = 4;

/// It is kept apart from what is drawn, so that no number of records can displace it.
#[derive(Debug)]
pub(super) struct Footer {
    /// Why things are left out.
    why: &'static str,
    left_out: Vec<(u64, &'static str)>,
    notes: Vec<Phrase>,
    losses: Vec<Loss>,
    further_losses: u64,
    end: Option<End>,
}

impl Footer {
    /// `why` is the reason for which a diagram leaves things out.
    pub(super) fn new(why: &'static str) -> Self {
        let (left_out, notes, losses) = (Vec::new(), Vec::new(), Vec::new());
        Self { why, left_out, notes, losses, further_losses: 0, end: None }
    }

    /// Takes losses and totals.
    pub(super) fn take(&mut self, record: &Record) {
        match record {
            Record::End(end) => self.end = Some(end.clone()),
            Record::Loss(loss) if self.losses.len() < LOSSES_MAX => self.losses.push(loss.clone()),
            Record::Loss(loss) => self.further_losses = self.further_losses.saturating_add(loss.events),
            _ => {}
        }
    }

    /// There was no room for so many things of this name.
    pub(super) fn leave_out(&mut self, count: u64, name: &'static str) {
        if count > 0 {
            self.left_out.push((count, name));
        }
    }

    /// Says this, too.
    pub(super) fn note(&mut self, note: Phrase) {
        self.notes.push(note);
    }

    /// Whether something was lost.
    pub(super) fn has_losses(&self) -> bool {
        !self.losses.is_empty()
    }

    /// In lines of this many columns; `topics` are suggestions for `explain`.
    pub(super) fn text(&self, topics: &[&str], columns: usize, palette: &Palette) -> String {
        let mut lines: Vec<Phrase> = self.losses.iter().map(loss).collect();
        if self.further_losses > 0 {
            let events = counted(self.further_losses, "event");
            lines.push(Phrase::new(Tone::Failure, format!("*** LOST {events} after these")));
        }
        if !self.losses.is_empty() {
            lines.push(Phrase::new(Tone::Warning, "*** the output above may have gaps"));
        }
        for (count, name) in &self.left_out {
            let things = counted(*count, name);
            lines.push(
                Phrase::new(Tone::Warning, format!("*** {things} left out")).and(Tone::Plain, self.why),
            );
        }
        lines.extend_from_slice(&self.notes);
        if let Some(end) = &self.end {
            if !topics.is_empty() {
                let more = Phrase::new(Tone::Aside, "more: ");
                lines.push(more.and(Tone::Plain, format!("tcp-trace explain {}", topics.join(", "))));
            }
            lines.push(totals(end));
        }
        let mut text = String::new();
        for line in lines {
            write_line(&mut text, line, columns, palette);
        }
        text
    }
}

/// Prints one line, or more when it is too long for one.
pub(super) fn write_line(text: &mut String, line: Phrase, columns: usize, palette: &Palette) {
    write_folded(text, line, columns, MARGIN, palette);
}

/// The same, with further lines behind a margin.
pub(super) fn write_folded(
    text: &mut String,
    line: Phrase,
    columns: usize,
    margin: usize,
    palette: &Palette,
) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", line.folded(columns, margin).painted(palette));
}
