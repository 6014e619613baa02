//! What every format can do.

use std::io;

use tcp_trace_model::record::Record;

/// Takes the records of a session, in their order, and writes them in its own way.
pub trait Sink {
    /// Takes one record.
    fn record(&mut self, record: &Record) -> io::Result<()>;

    /// Makes everything visible that can be written by now.
    fn flush(&mut self) -> io::Result<()>;

    /// Ends the output: the session's last record was taken.
    fn finish(&mut self) -> io::Result<()> {
        self.flush()
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        (**self).record(record)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        (**self).finish()
    }
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        (**self).record(record)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        (**self).finish()
    }
}
