//! A session of TLS as who watches it sees it: its handshake, its alerts, and how much data passes.

use tcp_trace_model::{
    record::{Tls, TlsAlert, TlsData, TlsEarlyData, TlsEnd, TlsOutcome},
    time::Time,
};

use super::{
    certificate, client_hello,
    messages::Messages,
    names,
    records::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Part},
    server_hello::{self, ServerHello},
    side::{Side, Sizes},
};
use crate::stream::{Chunk, Need};

/// `HandshakeType` (RFC 8446, section 4; RFC 5246, section 7.4).
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
/// It ends the server's part of a handshake that resumes nothing.
const SERVER_HELLO_DONE: u8 = 14;
/// The level of an alert that ends the connection (RFC 5246, section 7.2).
const FATAL: u8 = 2;
/// Alerts that are kept.
const ALERTS_MAX: usize = 8;
/// What came of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It goes on.
    Stays,
    /// The handshake has ended with this chunk, at this time.
    Ended(Time),
    /// The client's bytes are no ClientHello.
    NoHello,
    /// The server answered with something else than TLS.
    OtherAnswer,
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    tls: Box<Tls>,
    client: Side,
    server: Side,
    /// What the server may repeat of the ClientHello.
    session_id: Vec<u8>,
    /// Whether the ClientHello was read, and whether the server's was.
    has_hello: bool,
    chosen: Option<Sizes>,
    /// When the last record of the handshake had passed.
    last: Time,
    /// When a record of the client passed that may have ended its part of the handshake of TLS 1.3: the first one.
    may_be_finished: Option<Time>,
    /// How long the last record is that the client has encrypted, behind the server's hello of TLS 1.3.
    last_encrypted: Option<u16>,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            tls: Box::default(),
            client: Side::default(),
            server: Side::default(),
            session_id: Vec::new(),
            has_hello: false,
            chosen: None,
            last: Time(0),
            may_be_finished: None,
            last_encrypted: None,
        }
    }

    /// What is known by now, without what passed after the handshake.
    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Forgets the client's lists of cipher suites and groups.
    pub(crate) fn forget_lists(&mut self) {
        (self.tls.client.ciphers, self.tls.client.groups) = (Vec::new(), Vec::new());
    }

    /// Whether the ClientHello was read.
    pub(crate) fn has_hello(&self) -> bool {
        self.has_hello
    }

    /// Whether the server has answered with TLS.
    pub(crate) fn has_answer(&self) -> bool {
        self.server.has_begun
    }

    /// Which bytes of an end are needed.
    pub(crate) fn need(&self, end: TlsEnd) -> Need {
        match self.tls.outcome {
            TlsOutcome::Open => Need::All,
            TlsOutcome::Established if self.side(end).is_read() => Need::All,
            // How many they are is still counted.
            _ => Need::From(u64::MAX),
        }
    }

    fn side(&self, end: TlsEnd) -> &Side {
        match end {
            TlsEnd::Client => &self.client,
            TlsEnd::Server => &self.server,
        }
    }

    fn side_mut(&mut self, end: TlsEnd) -> &mut Side {
        match end {
            TlsEnd::Client => &mut self.client,
            TlsEnd::Server => &mut self.server,
        }
    }

    /// Takes what comes next of an end.
    pub(crate) fn input(&mut self, end: TlsEnd, chunk: Chunk<'_>) -> Progress {
        let before = self.tls.outcome;
        let time = match chunk {
            Chunk::Bytes { bytes, time, .. } => {
                if let Some(other) = self.bytes(end, bytes, time) {
                    return other;
                }
                time
            }
            Chunk::Elided { length, time, .. } | Chunk::Gap { length, time, .. } => {
                self.miss(end, length, time);
                time
            }
            Chunk::Fin { time } => {
                self.fin(end);
                time
            }
        };
        if self.tls.outcome != TlsOutcome::Open {
            (self.client.messages, self.server.messages) = (Messages::default(), Messages::default());
        }
        match self.tls.outcome {
            now if now != before && before == TlsOutcome::Open => Progress::Ended(self.last.max(time)),
            _ => Progress::Stays,
        }
    }

    fn bytes(&mut self, end: TlsEnd, mut bytes: &[u8], time: Time) -> Option<Progress> {
        if self.tls.timing.started == Time(0) {
            (self.tls.timing.started, self.last) = (time, time);
        }
        while let Some(part) = self.side_mut(end).records.next(&mut bytes) {
            self.side_mut(end).has_begun = true;
            if let Some(other) = self.part(end, part, time) {
                return Some(other);
            }
        }
        // What is left follows no record.
        if !bytes.is_empty() || self.side(end).records.is_lost {
            let side = self.side_mut(end);
            side.unread += bytes.len() as u64 + side.records.take_open();
            if !side.has_begun {
                return Some(if end == TlsEnd::Client { Progress::NoHello } else { self.not_tls() });
            }
            self.lose();
        }
        None
    }

    /// The server's first bytes are no record.
    fn not_tls(&mut self) -> Progress {
        if self.tls.outcome == TlsOutcome::Open {
            self.tls.outcome = TlsOutcome::NotTls;
        }
        Progress::OtherAnswer
    }

    /// Something of the handshake was not seen, if it is not over.
    fn lose(&mut self) {
        if self.tls.outcome == TlsOutcome::Open {
            self.tls.incomplete = true;
            self.tls.outcome = TlsOutcome::Unknown;
        }
    }

    fn miss(&mut self, end: TlsEnd, length: u64, time: Time) {
        let is_handshake = self.tls.outcome == TlsOutcome::Open;
        let side = self.side_mut(end);
        side.has_begun = true;
        // Of records of data only their lengths count.
        let is_of_data = side.records.open_kind() == Some(APPLICATION_DATA);
        let ended = if is_of_data { side.records.miss(length) } else { None };
        side.records.is_lost |= !is_of_data;
        if side.records.is_lost {
            side.unread += length + side.records.take_open();
        }
        match ended {
            Some(part) => {
                self.part(end, part, time);
            }
            None if is_handshake && self.side(end).records.is_lost => self.lose(),
            None => {}
        }
    }

    fn fin(&mut self, end: TlsEnd) {
        self.side_mut(end).close();
        // A client may close its direction and still be answered.
        if self.has_hello && end == TlsEnd::Server {
            self.close();
        }
    }

    /// The connection ends, or an end of it.
    fn close(&mut self) {
        if self.tls.outcome == TlsOutcome::Open {
            // Whether the client's part of the handshake had ended, its records may not show.
            let is_known = self.last_encrypted.is_none();
            self.tls.outcome = if is_known { TlsOutcome::Closed } else { TlsOutcome::Unknown };
        }
    }

    /// Takes a part of a record.
    fn part(&mut self, end: TlsEnd, part: Part<'_>, time: Time) -> Option<Progress> {
        let is_encrypted = self.side(end).is_encrypted;
        let (mut progress, mut is_data) = (None, false);
        if part.is_last {
            self.wait(end, time);
        }
        match part.kind {
            HANDSHAKE if !is_encrypted && self.tls.outcome != TlsOutcome::Open => {}
            HANDSHAKE if !is_encrypted => progress = self.handshake(end, part.bytes, time),
            HANDSHAKE if part.is_last => {
                self.side_mut(end).is_finished = true;
                if self.client.is_finished && self.server.is_finished {
                    self.establish(time);
                }
            }
            CHANGE_CIPHER_SPEC if part.is_last => {
                // TLS 1.3 sends one without a meaning (RFC 8446, appendix D.4).
                let is_meant = self.chosen.is_some_and(|sizes| !sizes.is_1_3);
                self.side_mut(end).is_encrypted = is_meant;
                // After a loss, what came before it may have been more than the hello.
                if is_meant && end == TlsEnd::Server && self.tls.outcome == TlsOutcome::Open {
                    self.tls.resumed.get_or_insert(true);
                }
            }
            ALERT => self.alert(end, part, time),
            APPLICATION_DATA if part.is_last => is_data = self.data(end, part.length, time),
            _ => {}
        }
        if part.is_last {
            let sizes = self.chosen;
            self.side_mut(end).note(part, sizes, is_data);
        }
        progress
    }

    /// Notes for whom the handshake has waited since its last record.
    fn wait(&mut self, end: TlsEnd, time: Time) {
        let is_over = end == TlsEnd::Server && self.may_be_finished.is_some();
        if self.tls.outcome != TlsOutcome::Open || is_over {
            return;
        }
        let us = time.micros_since(self.last);
        match end {
            TlsEnd::Client => self.tls.timing.client_us += us,
            TlsEnd::Server => self.tls.timing.server_us += us,
        }
        self.last = self.last.max(time);
    }

    fn since_start(&self, time: Time) -> u64 {
        time.micros_since(self.tls.timing.started)
    }

    fn establish(&mut self, time: Time) {
        if self.tls.outcome == TlsOutcome::Open {
            self.tls.timing.handshake_us = Some(self.since_start(time));
            self.tls.outcome = TlsOutcome::Established;
        }
    }

    fn handshake(&mut self, end: TlsEnd, mut bytes: &[u8], time: Time) -> Option<Progress> {
        let wanted = |kind| match end {
            TlsEnd::Client => kind == CLIENT_HELLO,
            TlsEnd::Server => [SERVER_HELLO, CERTIFICATE, SERVER_KEY_EXCHANGE].contains(&kind),
        };
        while let Some(message) = self.side_mut(end).messages.next(&mut bytes, wanted) {
            if end == TlsEnd::Server && message.kind == SERVER_HELLO_DONE {
                self.tls.resumed = Some(false);
            }
            match (end, message.kind, message.body) {
                (TlsEnd::Client, CLIENT_HELLO, Some(body)) if !self.has_hello => {
                    match client_hello::read(&body) {
                        Some(hello) => self.client_hello(hello),
                        None => return Some(Progress::NoHello),
                    }
                }
                (TlsEnd::Client, _, _) if !self.has_hello => return Some(Progress::NoHello),
                (TlsEnd::Server, SERVER_HELLO, Some(body)) => match server_hello::read(&body) {
                    Some(hello) => self.server_hello(hello, time),
                    None => self.tls.incomplete = true,
                },
                (TlsEnd::Server, CERTIFICATE, Some(body)) => {
                    self.tls.certificate = certificate::read(&body).map(Box::new);
                    self.tls.incomplete |= self.tls.certificate.is_none();
                }
                (TlsEnd::Server, SERVER_KEY_EXCHANGE, Some(body)) => self.key_exchange(&body),
                (_, kind, None) => self.tls.incomplete |= wanted(kind),
                _ => {}
            }
        }
        None
    }

    fn client_hello(&mut self, hello: client_hello::ClientHello) {
        self.has_hello = true;
        self.session_id = hello.session_id;
        self.tls.client = hello.offer;
        self.tls.early_data = hello.early_data.then(TlsEarlyData::default);
    }

    fn server_hello(&mut self, hello: ServerHello, time: Time) {
        let since_start = self.since_start(time);
        self.tls.timing.server_hello_us.get_or_insert(since_start);
        self.tls.curve = hello.group.map(names::group).or(self.tls.curve.take());
        let is_1_3 = hello.version >= names::TLS_1_3;
        if let Some(early) = &mut self.tls.early_data
            && (hello.is_retry || !hello.takes_key)
        {
            early.accepted = Some(false);
        }
        if hello.is_retry {
            self.tls.hello_retry_request = true;
            return;
        }
        let is_same = !hello.session_id.is_empty() && hello.session_id == self.session_id;
        // Before TLS 1.3, a server that resumes a ticket need not repeat the id: what it sends next shows it.
        self.tls.resumed = if is_1_3 { Some(hello.takes_key) } else { is_same.then_some(true) };
        self.tls.version = Some(names::version(hello.version));
        self.tls.cipher = Some(names::cipher_suite(hello.cipher));
        self.tls.next_protocol = hello.alpn;
        self.chosen = Some(Sizes::of(is_1_3, hello.cipher));
    }

    fn key_exchange(&mut self, body: &[u8]) {
        // That of other suites has no group, but numbers.
        let has_group = self.tls.cipher.as_ref().is_some_and(|name| name.starts_with("TLS_ECDH"));
        if let Some(group) = server_hello::group_of_key_exchange(body).filter(|_| has_group) {
            self.tls.curve = Some(names::group(group));
        }
    }

    /// Takes a part of an alert.
    fn alert(&mut self, end: TlsEnd, part: Part<'_>, time: Time) {
        if self.side(end).is_encrypted {
            if part.is_last {
                self.side_mut(end).has_said_close = false;
                self.add_alert(TlsAlert { time, by: end, name: None, fatal: None });
                // Until the handshake ends, nothing but a fatal one is sent.
                self.fail();
            }
            return;
        }
        for &byte in part.bytes {
            let Some(level) = self.side_mut(end).alert_level.take() else {
                self.side_mut(end).alert_level = Some(byte);
                continue;
            };
            self.side_mut(end).has_said_close = byte == names::CLOSE_NOTIFY;
            let is_fatal = level == FATAL;
            let alert = TlsAlert { time, by: end, name: Some(names::alert(byte)), fatal: Some(is_fatal) };
            self.add_alert(alert);
            if is_fatal {
                // Its record may not have ended.
                self.wait(end, time);
                self.fail();
            }
        }
    }

    fn add_alert(&mut self, alert: TlsAlert) {
        if self.tls.alerts.len() < ALERTS_MAX {
            self.tls.alerts.push(alert);
        }
    }

    fn fail(&mut self) {
        if self.tls.outcome == TlsOutcome::Open {
            self.tls.outcome = TlsOutcome::Alert;
        }
    }

    /// Takes the end of a record that says nothing but its length: whether it is behind the handshake.
    fn data(&mut self, end: TlsEnd, length: u16, time: Time) -> bool {
        let Some(sizes) = self.chosen else {
            if let (TlsEnd::Client, Some(early)) = (end, &mut self.tls.early_data) {
                early.bytes += u64::from(length);
            }
            return false;
        };
        if self.tls.outcome == TlsOutcome::Open && sizes.is_1_3 {
            return self.encrypted_handshake(end, length, sizes, time);
        }
        if end == TlsEnd::Client {
            let since_start = self.since_start(time);
            self.tls.timing.first_data_us.get_or_insert(since_start);
        }
        true
    }

    /// Takes a record of the handshake of TLS 1.3 that is encrypted. Which messages are in it, only its length can tell. Gives
    /// whether it is behind the handshake.
    fn encrypted_handshake(&mut self, end: TlsEnd, length: u16, sizes: Sizes, time: Time) -> bool {
        let before = if end == TlsEnd::Client { self.last_encrypted.replace(length) } else { None };
        let lengths = sizes.of_1_3;
        let is_alert = lengths.is_some_and(|lengths| length == lengths.alert);
        let is_finished = lengths.is_some_and(|lengths| length == lengths.finished);
        let early = self.tls.early_data.filter(|_| end == TlsEnd::Client);
        match (end, self.may_be_finished) {
            // Early data has any length.
            _ if is_alert && early.is_none() => {
                self.add_alert(TlsAlert { time, by: end, name: None, fatal: None });
                self.fail();
                false
            }
            (TlsEnd::Client, _) => {
                let is_end_of_early_data =
                    |before| lengths.is_some_and(|lengths| lengths.end_of_early_data == before);
                match early.map(|early| early.accepted) {
                    None if is_finished => self.establish(time),
                    Some(None) if is_finished && before.is_some_and(is_end_of_early_data) => {
                        self.establish(time);
                    }
                    // Of several messages, or of early data that had been sent by then.
                    None => self.may_be_finished = self.may_be_finished.or(Some(time)),
                    Some(Some(_)) if is_finished => {
                        self.may_be_finished = self.may_be_finished.or(Some(time));
                    }
                    Some(_) => {}
                }
                false
            }
            (TlsEnd::Server, Some(finished)) => {
                // It says nothing in between.
                self.establish(finished);
                true
            }
            (TlsEnd::Server, None) => false,
        }
    }

    /// The connection is over.
    pub(crate) fn end(&mut self) {
        self.close();
    }

    /// What is known in the end; `None` where no hello was read. `is_client` is whether the local end is the client.
    pub(crate) fn summary(&self, is_client: bool) -> Option<Box<Tls>> {
        if !self.has_hello {
            return None;
        }
        let mut tls = self.tls.clone();
        if tls.outcome == TlsOutcome::Established {
            let (client, server) = (self.client.data(), self.server.data());
            let [sent, received] = if is_client { [client, server] } else { [server, client] };
            tls.data = Some(Box::new(TlsData { sent, received }));
        }
        Some(tls)
    }
}
