//! The recording format: JSON Lines.

use std::io::{self, Write};

use tcp_trace_model::record::{Record, write::Lines};

use super::Sink;

/// Written at once when this many bytes are waiting.
const BUFFER: usize = 64 << 10;

/// Writes one JSON object a line.
///
/// Only whole lines are handed on, so that a recording that is cut off by `kill -9` ends with a whole line
/// unless the system itself cut the write.
#[derive(Debug)]
pub struct JsonLines<W> {
    output: W,
    lines: Lines,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `output`, which needs no buffer of its own.
    pub fn new(output: W) -> Self {
        Self { output, lines: Lines::default() }
    }

    /// Takes a line that is JSON already, without its newline.
    pub fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.lines.push_raw(line);
        self.write_when_full()
    }

    fn write_when_full(&mut self) -> io::Result<()> {
        if self.lines.bytes().len() >= BUFFER { self.write_lines() } else { Ok(()) }
    }

    fn write_lines(&mut self) -> io::Result<()> {
        self.output.write_all(self.lines.bytes())?;
        self.lines.clear();
        Ok(())
    }
}

impl<W: Write> Sink for JsonLines<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        if matches!(record, Record::Unknown) {
            return Ok(());
        }
        self.lines.push(record)?;
        self.write_when_full()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_lines()?;
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::{record::Ready, time::Time};

    use super::*;

    /// Remembers each write.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_whole_lines_are_written() {
        let mut writes = Writes::default();
        let mut sink = JsonLines::new(&mut writes);
        for time in 0..5000 {
            sink.record(&Record::Ready(Ready { time: Time(time) })).unwrap();
        }
        sink.record(&Record::Unknown).unwrap();
        sink.line(b"{\"type\":\"later\"}").unwrap();
        sink.finish().unwrap();
        assert!(writes.0.len() > 2);
        assert!(writes.0.iter().all(|write| write.ends_with(b"}\n")));
        let all = writes.0.concat();
        let lines: Vec<_> = str::from_utf8(&all).unwrap().lines().collect();
        assert_eq!(lines.len(), 5001);
        assert_eq!(lines[7], r#"{"type":"ready","time":"1970-01-01T00:00:00.000000007Z"}"#);
        assert_eq!(lines[5000], r#"{"type":"later"}"#);
    }
}
