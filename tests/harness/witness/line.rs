//! A line of the kernel's text.

use tcp_trace_model::{event::State, time::Time};

use crate::tracefs::time_of;

/// A line about a socket, as tracefs prints it with the options `fields` and `record-tgid`:
/// `COMM-TID (TGID) [CPU] FLAGS SECONDS.MICROS: EVENT: NAME=0xHEX (DECIMAL) NAME=...`.
pub(super) struct Line<'a> {
    text: &'a str,
    pub(super) event: &'a str,
    pub(super) time: Time,
}

/// In what a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// The process with this id called the kernel.
    Process(u32),
    /// Some process did.
    UnknownProcess,
    /// An interrupt was handled, whatever process was running.
    Interrupt,
}

impl<'a> Line<'a> {
    /// `None` of other lines.
    pub(super) fn parse(text: &'a str, offset_ns: u64) -> Option<Self> {
        let fields = [": skaddr=", ": skbaddr=", ": sk=", ": __syscall_nr="];
        let (head, _) = fields.iter().find_map(|first| text.split_once(first))?;
        let event = head.rsplit(' ').next()?;
        Some(Self { text, event, time: time_of(text, event, offset_ns) })
    }

    pub(super) fn context(&self) -> Context {
        let parts = self.text.split_once(&format!(": {}: ", self.event)).and_then(|(head, _)| {
            let (process, rest) = head.rsplit_once(" [")?;
            Some((process.rsplit_once('(')?.1, rest.split_whitespace().nth(1)?))
        });
        let (process, flags) = parts.unwrap_or_else(|| panic!("no process: {}", self.text));
        // `trace_print_lat_fmt()`: interrupts disabled, rescheduling needed, and then which interrupt is handled.
        if flags.chars().nth(2) != Some('.') {
            return Context::Interrupt;
        }
        process.trim_matches([' ', ')']).parse().map_or(Context::UnknownProcess, Context::Process)
    }

    /// The id of the thread that was running.
    pub(super) fn thread(&self) -> u32 {
        let thread =
            self.text.split_once('(').and_then(|(head, _)| head.trim().rsplit_once('-')?.1.parse().ok());
        thread.unwrap_or_else(|| panic!("no thread: {}", self.text))
    }

    pub(super) fn optional(&self, name: &str) -> Option<u64> {
        let (_, value) = self.text.split_once(&format!(" {name}=0x"))?;
        let digits = value.split(' ').next()?;
        Some(u64::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{error}: {}", self.text)))
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.optional(name).unwrap_or_else(|| panic!("no {name}: {}", self.text))
    }

    /// A number that may be negative.
    pub(super) fn signed(&self, name: &str) -> i32 {
        u32::try_from(self.number(name)).expect("it has 32 bits").cast_signed()
    }

    pub(super) fn port(&self, name: &str) -> u16 {
        u16::try_from(self.number(name)).expect("ports have 16 bits")
    }

    pub(super) fn state(&self, name: &str) -> State {
        let state = u8::try_from(self.number(name)).ok().and_then(State::from_kernel);
        state.unwrap_or_else(|| panic!("no state: {}", self.text))
    }
}
