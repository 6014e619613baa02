//! A capture: what a session read from the ring buffer, byte by byte, and when it ticked. Tests replay captures without a
//! kernel; the feature `capture` records them (`cargo xtask capture`).
//!
//! A file is frames one after the other: a byte for the kind, the length as a little-endian `u32`, that many bytes. Files can
//! be concatenated: a scene begins with its name.

use tcp_trace_model::time::Time;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A scene begins: its name.
    Scene(&'a [u8]),
    /// A session begins: its first line in the recording format.
    Session(&'a [u8]),
    /// The offset of the kernel's clock, in nanoseconds.
    Clock(u64),
    /// The kernel's name of a reason for an RST.
    ResetReason(u32, &'a [u8]),
    /// A record of the ring buffer.
    Event(&'a [u8]),
    /// Everything up to this time was read.
    Tick(Time),
    /// The session ended.
    Finish(Time),
}

impl Frame<'_> {
    /// Appends it to `out`.
    #[cfg_attr(not(feature = "capture"), expect(dead_code, reason = "only captures are written"))]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut put = |kind: u8, parts: [&[u8]; 2]| {
            // Records and names are far shorter than 4 GiB.
            let length = parts.iter().map(|part| part.len() as u32).sum::<u32>();
            out.push(kind);
            out.extend_from_slice(&length.to_le_bytes());
            parts.iter().for_each(|part| out.extend_from_slice(part));
        };
        match self {
            Self::Scene(name) => put(b'N', [name, &[]]),
            Self::Session(line) => put(b'S', [line, &[]]),
            Self::Clock(offset) => put(b'C', [&offset.to_le_bytes(), &[]]),
            Self::ResetReason(number, name) => put(b'R', [&number.to_le_bytes(), name]),
            Self::Event(bytes) => put(b'E', [bytes, &[]]),
            Self::Tick(time) => put(b'T', [&time.0.to_le_bytes(), &[]]),
            Self::Finish(time) => put(b'F', [&time.0.to_le_bytes(), &[]]),
        }
    }
}

/// The frames of a capture; the iteration panics where it is damaged, because only tests read captures.
#[cfg(test)]
pub(crate) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let (kind, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first_chunk::<4>().expect("a frame has a length");
        let (body, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        bytes = rest;
        let number = || u64::from_le_bytes(body.try_into().expect("the body is a number"));
        Some(match kind {
            b'N' => Frame::Scene(body),
            b'S' => Frame::Session(body),
            b'C' => Frame::Clock(number()),
            b'R' => {
                let (reason, name) = body.split_first_chunk::<4>().expect("a reason has a number");
                Frame::ResetReason(u32::from_le_bytes(*reason), name)
            }
            b'E' => Frame::Event(body),
            b'T' => Frame::Tick(Time(number())),
            b'F' => Frame::Finish(Time(number())),
            kind => panic!("frame of unknown kind {kind}"),
        })
    })
}

#[cfg(feature = "capture")]
pub(super) use writer::Capture;

#[cfg(feature = "capture")]
mod writer {
    //! Writes a capture while a session runs.

    use std::{env, fs, io::Write as _};

    use tcp_trace_model::{
        json,
        record::{FORMAT, Record, Session, Text, VERSION},
    };

    use super::{Frame, Time};
    use crate::{kernel::Tracer, session::Settings};

    /// The file that a capture is appended to.
    const FILE: &str = "TCP_TRACE_CAPTURE";
    /// The name of its scene.
    const SCENE: &str = "TCP_TRACE_CAPTURE_SCENE";

    /// A capture in progress; kept in memory until the session ends.
    pub(in crate::session) struct Capture(Vec<u8>);

    impl Capture {
        /// Begins one, unless the environment names no file.
        pub(in crate::session) fn begin(settings: &Settings, tracer: &Tracer) -> Option<Self> {
            env::var_os(FILE)?;
            let mut bytes = Vec::new();
            let scene = env::var(SCENE).unwrap_or_default();
            Frame::Scene(scene.as_bytes()).write(&mut bytes);
            // Without what says where it was recorded.
            let session = Session {
                time: tracer.clock().now(),
                format: FORMAT.to_owned(),
                version: VERSION,
                tool: String::new(),
                host: Text::default(),
                kernel: Text::from(rustix::system::uname().release().to_bytes().to_vec()),
                command: Vec::new(),
                filter: settings.filter.clone(),
                missing: tracer.missing().to_vec(),
            };
            let line = json::to_string(&Record::Session(Box::new(session))).ok()?;
            Frame::Session(line.as_bytes()).write(&mut bytes);
            Frame::Clock(tracer.clock().offset_ns()).write(&mut bytes);
            let mut reasons: Vec<_> = tracer.reset_reasons().iter().collect();
            reasons.sort();
            for (number, name) in reasons {
                Frame::ResetReason(*number, name.as_bytes()).write(&mut bytes);
            }
            Some(Self(bytes))
        }

        /// Adds a frame.
        pub(in crate::session) fn put(&mut self, frame: &Frame<'_>) {
            frame.write(&mut self.0);
        }

        /// Appends it to its file.
        pub(in crate::session) fn end(mut self, time: Time) {
            self.put(&Frame::Finish(time));
            let file = env::var_os(FILE).map(|path| fs::File::options().create(true).append(true).open(path));
            if let Some(Err(error)) = file.map(|file| file.and_then(|mut file| file.write_all(&self.0))) {
                log::error!("cannot write the capture: {error}");
            }
        }
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
