//! Windows of flow control (RFC 9113, section 5.2), seen from the end that sends DATA.

use tcp_trace_model::{http2::Blocked, time::Time};

/// What a window is at first (section 6.9.2).
pub(super) const WINDOW_AT_FIRST: i64 = 65_535;

/// A window, and for how long it was exhausted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    /// Bytes that may still be sent; `None` where it was not seen how many they were at first.
    left: Option<i64>,
    /// Since when there are none.
    exhausted: Option<Time>,
    /// For how long there were none, in microseconds, of all the times that are over.
    pub(super) exhausted_us: u64,
}

impl Window {
    pub(super) fn new(left: Option<i64>) -> Self {
        Self { left, exhausted: None, exhausted_us: 0 }
    }

    /// Notes DATA of so many bytes.
    pub(super) fn spend(&mut self, bytes: u64, time: Time) {
        self.change(-i64::try_from(bytes).unwrap_or(i64::MAX), time);
    }

    /// Notes WINDOW_UPDATE, or another SETTINGS_INITIAL_WINDOW_SIZE.
    pub(super) fn change(&mut self, bytes: i64, time: Time) {
        let Some(left) = &mut self.left else { return };
        *left = left.saturating_add(bytes);
        match (*left > 0, self.exhausted) {
            (false, None) => self.exhausted = Some(time),
            (true, Some(since)) => {
                self.exhausted = None;
                self.exhausted_us += time.micros_since(since);
            }
            _ => {}
        }
    }
}

/// How long a body waited for the windows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waits {
    stream: u64,
    connection: u64,
    blocked: Blocked,
}

impl Waits {
    /// Notes how long the windows have been exhausted so far, where nothing of the body waits.
    pub(super) fn begin(&mut self, stream: &Window, connection: &Window) {
        (self.stream, self.connection) = (stream.exhausted_us, connection.exhausted_us);
    }

    /// Notes that more of the body comes: for what was exhausted meanwhile it has waited.
    pub(super) fn end(&mut self, stream: &Window, connection: &Window) {
        self.blocked.stream_us += stream.exhausted_us.saturating_sub(self.stream);
        self.blocked.connection_us += connection.exhausted_us.saturating_sub(self.connection);
        self.begin(stream, connection);
    }

    /// What is recorded of it.
    pub(super) fn recorded(&self) -> Option<Blocked> {
        Some(self.blocked).filter(|blocked| *blocked != Blocked::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_waits_while_a_window_is_exhausted_and_it_goes_on_behind() {
        let us = |us: u64| Time(us * 1_000);
        let (mut stream, mut connection) = (Window::new(Some(10)), Window::new(Some(15)));
        let mut waits = Waits::default();
        waits.begin(&stream, &connection);
        for window in [&mut stream, &mut connection] {
            window.spend(10, us(100));
        }
        waits.end(&stream, &connection);
        assert_eq!(waits.recorded(), None);
        stream.change(10, us(150));
        for window in [&mut stream, &mut connection] {
            window.spend(10, us(160));
        }
        waits.end(&stream, &connection);
        assert_eq!(waits.recorded(), Some(Blocked { stream_us: 50, connection_us: 0 }));
        connection.change(2, us(170));
        connection.change(20, us(200));
        stream.change(20, us(500));
        // Nothing of the body comes behind this.
        assert_eq!(waits.recorded(), Some(Blocked { stream_us: 50, connection_us: 0 }));
        waits.end(&stream, &connection);
        assert_eq!(waits.recorded(), Some(Blocked { stream_us: 390, connection_us: 40 }));
    }

    #[test]
    fn a_window_that_is_not_known_is_never_exhausted() {
        let mut window = Window::new(None);
        window.spend(u64::MAX, Time(0));
        window.change(i64::MAX, Time(9_000));
        assert_eq!(window.exhausted_us, 0);
    }
}
