//! One stream of records into several sinks.

use std::io;

use tcp_trace_model::record::Record;

use super::Sink;

/// Hands each record to all of its sinks, in their order. One that fails does not keep the others from theirs; the first
/// error is returned.
#[derive(Default)]
pub struct Tee<'a> {
    sinks: Vec<Box<dyn Sink + 'a>>,
}

impl<'a> Tee<'a> {
    /// Feeds these.
    pub fn new(sinks: Vec<Box<dyn Sink + 'a>>) -> Self {
        Self { sinks }
    }

    fn each(&mut self, mut take: impl FnMut(&mut dyn Sink) -> io::Result<()>) -> io::Result<()> {
        let mut result = Ok(());
        for sink in &mut self.sinks {
            result = result.and(take(sink.as_mut()));
        }
        result
    }
}

impl Sink for Tee<'_> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        self.each(|sink| sink.record(record))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.each(|sink| sink.flush())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.each(|sink| sink.finish())
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::{record::Ready, time::Time};

    use super::*;
    use crate::sink::JsonLines;

    /// Takes nothing.
    struct Failing(io::ErrorKind);

    impl Sink for Failing {
        fn record(&mut self, _: &Record) -> io::Result<()> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn each_sink_takes_all_and_the_first_error_is_returned() {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let mut tee = Tee::new(vec![
            Box::new(JsonLines::new(&mut first)),
            Box::new(Failing(io::ErrorKind::StorageFull)),
            Box::new(Failing(io::ErrorKind::BrokenPipe)),
            Box::new(JsonLines::new(&mut second)),
        ]);
        let error = tee.record(&Record::Ready(Ready { time: Time(7) })).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(tee.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
        drop(tee);
        assert_eq!(str::from_utf8(&first).unwrap().lines().count(), 1);
        assert_eq!(first, second);
    }
}
