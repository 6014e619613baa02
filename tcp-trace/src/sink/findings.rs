//! Findings for people: what, evidence, why, what to do, each folded to the width of a terminal.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use tcp_trace_core::{
    blame::{Blame, is_runtime},
    prose::{Age, Micros, Palette, Phrase, Size, Tone, cut, padded, translation, width, wrap},
};
use tcp_trace_model::{
    event::State,
    record::{
        Evidence, Fact, Finding, FindingConnection, FindingStack, Process, Record, Severity, StackMoment,
        Text,
    },
};

use super::{Sink, words::named};

/// Columns where the width of what is printed to is not known, and of a terminal that is used, at least and at most. Nothing
/// is cut: what is longer goes on in the next line.
const COLUMNS_DEFAULT: usize = 100;
const COLUMNS: std::ops::RangeInclusive<usize> = 60..=140;
/// Columns of a command line that are shown: a script can be a part of it.
const COMMAND_MAX: usize = 160;
/// Connections that are shown of a finding: the first.
const CONNECTIONS_MAX: usize = 5;
/// Frames that are shown of a stack, from the line to blame outwards.
const FRAMES_MAX: usize = 5;
/// Columns before what a label says.
const INDENT: usize = 12;

/// Writes findings for a terminal. Nothing from the network reaches it unescaped.
#[derive(Debug)]
pub struct Findings<W> {
    output: W,
    palette: Palette,
    columns: usize,
    text: String,
}

/// Text that begins a line, so many columns further in than others.
struct Paragraph {
    indent: usize,
    text: String,
}

impl From<String> for Paragraph {
    fn from(text: String) -> Self {
        Self { indent: 0, text }
    }
}

impl<W: Write> Findings<W> {
    /// Writes to `output`, in lines of a terminal's columns, when that is known.
    pub fn new(output: W, palette: Palette, columns: Option<usize>) -> Self {
        let columns = columns.map_or(COLUMNS_DEFAULT, |it| it.clamp(*COLUMNS.start(), *COLUMNS.end()));
        Self { output, palette, columns, text: String::new() }
    }

    /// A line of its own, below the findings.
    pub fn line(&mut self, text: &str) {
        for line in wrap(text, self.columns) {
            self.put(&Phrase::plain(line));
        }
    }

    fn put(&mut self, phrase: &Phrase) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{}", phrase.painted(&self.palette));
    }

    fn finding(&mut self, finding: &Finding) {
        let (tone, word) = match finding.severity {
            Severity::Critical => (Tone::Failure, "CRITICAL"),
            Severity::Warning => (Tone::Warning, "WARNING"),
            Severity::Notice => (Tone::State, "NOTICE"),
        };
        let indent = word.len() + 2;
        for (index, line) in wrap(&printable(&finding.summary), self.columns - indent).into_iter().enumerate()
        {
            let label = if index == 0 { word } else { "" };
            self.put(
                &Phrase::new(tone, label)
                    .and(Tone::Plain, format!("{:indent$}{line}", "", indent = indent - label.len())),
            );
        }
        self.labelled("evidence", &evidence(finding));
        self.labelled("stacks", &finding.stacks.iter().map(|it| stack(it).into()).collect::<Vec<_>>());
        self.labelled("why", &[printable(&finding.why).into()]);
        self.labelled("do", &[printable(&finding.advice).into()]);
        self.labelled("explain", &[format!("tcp-trace explain {}", printable(&finding.explain)).into()]);
        self.text.push('\n');
    }

    /// Paragraphs behind a label.
    fn labelled(&mut self, label: &str, paragraphs: &[Paragraph]) {
        let mut label = label;
        for Paragraph { indent, text } in paragraphs {
            let room = self.columns - INDENT - indent;
            // What fits is printed as it is, so that columns stay columns.
            let lines = if width(text) <= room { vec![text.clone()] } else { wrap(text, room - 2) };
            for (index, line) in lines.into_iter().enumerate() {
                // What belongs to the paragraph above is further in.
                let hanging = if index > 0 && paragraphs.len() > 1 { indent + 2 } else { *indent };
                let shown = Phrase::new(Tone::Aside, format!("  {label:<width$}", width = INDENT - 2));
                self.put(&shown.and(Tone::Plain, format!("{:hanging$}{line}", "")));
                label = "";
            }
        }
    }
}

impl<W: Write> Sink for Findings<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        if let Record::Finding(finding) = record {
            self.finding(finding);
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.write_all(self.text.as_bytes())?;
        self.text.clear();
        self.output.flush()
    }
}

/// What was measured, the process, and the connections, a paragraph each.
fn evidence(finding: &Finding) -> Vec<Paragraph> {
    let mut paragraphs: Vec<Paragraph> = Vec::new();
    let Evidence(facts) = &finding.evidence;
    let (lists, facts): (Vec<_>, Vec<_>) = facts.iter().partition(|(_, fact)| matches!(fact, Fact::List(_)));
    if !facts.is_empty() {
        paragraphs.push(facts.into_iter().map(fact).collect::<Vec<_>>().join(", ").into());
    }
    paragraphs.extend(lists.into_iter().map(|it| fact(it).into()));
    let process = finding.process.as_ref().map(|process| self::process(process, &finding.command));
    paragraphs.extend(process.map(Paragraph::from));
    if !finding.shared_with.is_empty() {
        let others: Vec<_> = finding.shared_with.iter().map(named).collect();
        paragraphs.push(format!("also open in {}", others.join(", ")).into());
    }
    let shown = finding.connections.len().min(CONNECTIONS_MAX);
    paragraphs.extend(connections(&finding.connections[..shown]));
    let omitted = finding.connections_omitted.saturating_add((finding.connections.len() - shown) as u64);
    if omitted > 0 {
        paragraphs.push(format!("and {omitted} more").into());
    }
    paragraphs
}

/// Names of evidence, without their units, that read better in other words.
const LABELS: [(&str, &str); 7] = [
    ("connects_that_failed_otherwise", "other failed connects"),
    ("cookies_that_came_back_wrong", "invalid cookies returned"),
    ("end_read_at", "EOF read at"),
    ("least_that_came", "least received"),
    ("longest_idle_that_went_well", "longest idle time that still worked"),
    ("responses_in_all", "all responses"),
    ("told_to_close_by_a_header", "with Connection: close"),
];

/// Times below it are shown with three digits, longer ones as ages.
const MINUTE_US: u64 = 60_000_000;

/// `open files 412`, `oldest 3 min 5 s`, `last 2 s ago`, `unread 160 B`: the unit is the end of the name.
fn fact((name, fact): &(String, Fact)) -> String {
    let words = |name: &str| match LABELS.iter().find(|(own, _)| *own == name) {
        Some((_, label)) => (*label).to_owned(),
        None => printable(&name.replace('_', " ")),
    };
    if let (Fact::Number(us), Some(name)) = (fact, name.strip_suffix("_ago_us")) {
        return format!("{} {} ago", words(name), Age(*us));
    }
    match (fact, name.strip_suffix("_us"), name.strip_suffix("_bytes")) {
        (Fact::Number(us @ ..MINUTE_US), Some(name), _) => format!("{} {}", words(name), Micros(*us)),
        (Fact::Number(us), Some(name), _) => format!("{} {}", words(name), Age(*us)),
        (Fact::Number(bytes), _, Some(name)) => format!("{} {}", words(name), Size(*bytes)),
        (Fact::Number(number), ..) => format!("{} {number}", words(name)),
        (Fact::Words(text), ..) => format!("{} {}", words(name), printable(text)),
        (Fact::List(list), ..) => {
            let list: Vec<_> = list.iter().map(|item| printable(item)).collect();
            format!("{} {}", words(name), list.join(", "))
        }
    }
}

/// `opened: pool.c:16 (open_pool) ← pool.c:41 (client)`: the line to blame, and who called it in the same program.
fn stack(stack: &FindingStack) -> String {
    let moment = match stack.moment {
        StackMoment::Connect => "opened",
        StackMoment::FirstUse => "first used",
        StackMoment::Use => "used",
        StackMoment::Eof => "EOF read",
    };
    let frames = &stack.stack.frames;
    let first = match Blame::of(&stack.stack) {
        Blame::Line(blamed) => frames.iter().position(|frame| std::ptr::eq(frame, blamed)),
        // The callers within an interpreter say nothing about its program.
        Blame::Interpreter(_) | Blame::Goroutine(_) | Blame::Unknown => None,
    };
    let outer = first.map_or(&[][..], |first| &frames[first + 1..]);
    let callers = || outer.iter().filter(|frame| !is_runtime(frame));
    let mut places = vec![printable(&stack.place)];
    places.extend(callers().take(FRAMES_MAX - 1).map(|frame| Blame::Line(frame).to_string()));
    if callers().count() >= FRAMES_MAX || (stack.stack.truncated && first.is_some()) {
        places.push("…".to_owned());
    }
    format!("{moment}: {}", places.join(" ← "))
}

/// `process 812 api, user 1000: api --port 80`.
fn process(process: &Process, command: &[Text]) -> String {
    let words: Vec<_> = command.iter().map(|word| word.printable().to_string()).collect();
    let command = cut(&words.join(" "), COMMAND_MAX);
    let command = if words.is_empty() { String::new() } else { format!(": {command}") };
    format!("process {}, user {}{command}", named(process), process.uid)
}

/// The connections as an aligned table, with the notes below: those that several in a row have in common, once.
fn connections(connections: &[FindingConnection]) -> Vec<Paragraph> {
    let cells: Vec<_> = connections.iter().map(cells).collect();
    let columns =
        [0, 1, 2].map(|column| cells.iter().map(|row| width(&row[column])).max().unwrap_or_default());
    let row = |row: &[String; 4]| {
        let mut line = String::new();
        for (cell, columns) in row.iter().zip(columns) {
            if columns > 0 {
                line += &padded(cell, columns + 2);
            }
        }
        format!("{line}{}", row[3]).trim_end().to_owned()
    };
    let mut paragraphs = Vec::new();
    let mut rows = cells.iter();
    for group in connections.chunk_by(|one, next| notes(one) == notes(next)) {
        paragraphs.extend(rows.by_ref().take(group.len()).map(|cells| Paragraph::from(row(cells))));
        let each = if group.len() > 1 { "each: " } else { "" };
        let notes = notes(&group[0]).into_iter().map(|note| format!("{each}{note}"));
        paragraphs.extend(notes.map(|text| Paragraph { indent: 2, text }));
    }
    paragraphs
}

/// What is said of a connection below its row.
fn notes(connection: &FindingConnection) -> Vec<String> {
    let notes = connection.notes.iter().map(|note| printable(note));
    translation(&connection.network).into_iter().chain(notes).collect()
}

/// `fd 12`, `10.0.0.1:43210 → 10.0.0.5:443`, `CLOSE_WAIT 2 h 10 min`, `160 B in the receive queue`.
fn cells(connection: &FindingConnection) -> [String; 4] {
    let (network, state) = (&connection.network, connection.state);
    let (receive, send) = (u64::from(connection.receive_queue), u64::from(connection.send_queue));
    let is_listener = state == State::Listen;
    let ends = match is_listener {
        true => network.local.to_string(),
        false => format!("{} → {}", network.local, network.peer),
    };
    let age = connection.age_us.map_or(String::new(), |us| format!(" {}", Age(us)));
    let queues =
        if is_listener { format!("{receive} waiting, limit {send}") } else { queues(state, receive, send) };
    let fd = connection.fd.map_or(String::new(), |fd| format!("fd {fd}"));
    [fd, ends, format!("{}{age}", state.name()), queues]
}

/// `unread 160 B`, `EOF not read`, `not acknowledged 1.50 KiB`: a FIN counts one in the kernel's numbers.
fn queues(state: State, receive: u64, send: u64) -> String {
    let has_fin = matches!(state, State::CloseWait | State::LastAck | State::Closing);
    // So does a SYN.
    let sent_flag = matches!(state, State::FinWait1 | State::LastAck | State::Closing | State::SynSent);
    let unread = receive.saturating_sub(has_fin.into());
    let unacknowledged = send.saturating_sub(sent_flag.into());
    let words = [
        (unread > 0).then(|| format!("unread {}", Size(unread))),
        (has_fin && receive == 1).then(|| "EOF not read".to_owned()),
        (unacknowledged > 0).then(|| format!("not acknowledged {}", Size(unacknowledged))),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A string of a recording, which may have been written by anybody.
fn printable(text: &str) -> String {
    Text::from(text).printable().to_string()
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
