//! Writes lines of a recording. The kinds that are frequent, `transition`, `segment` and `http`, are written straight into a
//! buffer that does not grow: constant text in one piece with what stands before it, and no code for what goes wrong after
//! each piece. Everything else, and what does not fit, is written by serde, which says in the tests what a line has to be.

use std::{borrow::Cow, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::{
    Endpoint, Http, Network, Process, Protocol, Record, Request, Response, Segment, Timing, Transition, Url,
};
use crate::{
    event::{Direction, Role},
    exchange::{Integrity, Outcome},
    fields::Fields,
    json,
    network::{ConnectionId, FlagNames, NetworkType},
    text::Text,
    time::{Time, pair},
};

/// Room for lines; one that needs more gets it.
const ROOM: usize = 128 << 10;

/// Lines that wait to be handed on.
#[derive(Debug)]
pub struct Lines {
    /// The lines, and behind them zeros or what was there before.
    buffer: Vec<u8>,
    /// Where the lines end.
    end: usize,
    /// A line that serde has written.
    slow: Vec<u8>,
}

impl Default for Lines {
    fn default() -> Self {
        Self::with_room(ROOM)
    }
}

impl Lines {
    fn with_room(room: usize) -> Self {
        Self { buffer: vec![0; room], end: 0, slow: Vec::new() }
    }

    /// What was appended since the last [`Lines::clear`].
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.end).unwrap_or_default()
    }

    /// Forgets it.
    pub fn clear(&mut self) {
        self.end = 0;
    }

    /// Appends the line of a record.
    ///
    /// # Errors
    /// When it cannot be JSON; then nothing is appended.
    pub fn push(&mut self, record: &Record) -> Result<(), serde_json::Error> {
        let Some(room) = self.buffer.get_mut(self.end..) else { return Ok(()) };
        let mut line = Line { buffer: room, end: 0, is_whole: true };
        match record {
            Record::Http(http) => line.http(http),
            Record::Transition(transition) => line.transition(transition),
            Record::Segment(segment) => line.segment(segment),
            _ => line.is_whole = false,
        }
        line.put(b"\n");
        if line.is_whole {
            self.end += line.end;
            return Ok(());
        }
        let mut slow = std::mem::take(&mut self.slow);
        slow.clear();
        let written = json::write(&mut slow, record);
        if written.is_ok() {
            self.push_raw(&slow);
        }
        self.slow = slow;
        written
    }

    /// Appends a line that is JSON already, without its newline.
    pub fn push_raw(&mut self, line: &[u8]) {
        let end = self.end + line.len();
        if self.buffer.len() <= end {
            self.buffer.resize(end + 1, 0);
        }
        if let Some(place) = self.buffer.get_mut(self.end..=end)
            && let Some((newline, place)) = place.split_last_mut()
        {
            place.copy_from_slice(line);
            *newline = b'\n';
            self.end = end + 1;
        }
    }
}

/// A line that is being written.
struct Line<'a> {
    buffer: &'a mut [u8],
    end: usize,
    /// Whether everything has fitted.
    is_whole: bool,
}

impl Line<'_> {
    /// Appends bytes. Inlined, so that those whose number is known are a few stores.
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        match self.buffer.get_mut(self.end..self.end + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.end += bytes.len();
            }
            None => self.is_whole = false,
        }
    }

    /// Appends bytes of which some are few: two words are copied faster than a function is called.
    #[inline(always)]
    fn put_short(&mut self, bytes: &[u8]) {
        let Some(place) = self.buffer.get_mut(self.end..self.end + bytes.len()) else {
            self.is_whole = false;
            return;
        };
        self.end += bytes.len();
        match bytes.len() {
            4..8 => copy_ends::<4>(place, bytes),
            8..=16 => copy_ends::<8>(place, bytes),
            _ => place.copy_from_slice(bytes),
        }
    }

    /// Appends a part that is seldom there.
    #[cold]
    #[inline(never)]
    fn rare(&mut self, value: &impl Serialize) {
        match json::to_string(value) {
            Ok(text) => self.put(text.as_bytes()),
            Err(_) => self.is_whole = false,
        }
    }

    #[inline(always)]
    fn number(&mut self, number: u64) {
        match number {
            0..10 => self.put(&[b'0' + number as u8]),
            10..100 => self.put(&pair(number as u32)),
            100..1_000 => {
                let [tens, ones] = pair(number as u32);
                self.put(&[b'0' + (number / 100) as u8, tens, ones]);
            }
            1_000..10_000 => {
                let ([a, b], [c, d]) = (pair(number as u32 / 100), pair(number as u32));
                self.put(&[a, b, c, d]);
            }
            _ => self.long_number(number),
        }
    }

    #[inline(never)]
    fn long_number(&mut self, number: u64) {
        self.put_short(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends a name and a number when there is one.
    #[inline(always)]
    fn optional(&mut self, name: &[u8], number: Option<u64>) {
        if let Some(number) = number {
            self.put(name);
            self.number(number);
        }
    }

    #[inline(always)]
    fn time(&mut self, time: Time) {
        self.put(b"\"");
        self.put(&time.rfc3339());
        self.put(b"\"");
    }

    /// Appends bytes in quotation marks, or as base64.
    #[inline(never)]
    fn text(&mut self, bytes: &[u8]) {
        if json::is_plain(bytes) {
            self.put(b"\"");
            self.put_short(bytes);
            self.put(b"\"");
        } else {
            self.escaped(bytes);
        }
    }

    #[inline(always)]
    fn protocol(&mut self, protocol: &Protocol) {
        self.put(b",\"network\":{\"protocol\":{\"name\":");
        // The program's own strings need no escape.
        if let (Cow::Borrowed(name), Cow::Borrowed(version)) = (&protocol.name, &protocol.version) {
            self.put(b"\"");
            self.put_short(name.as_bytes());
            self.put(b"\",\"version\":\"");
            self.put_short(version.as_bytes());
            self.put(b"\"},");
        } else {
            self.text(protocol.name.as_bytes());
            self.put(b",\"version\":");
            self.text(protocol.version.as_bytes());
            self.put(b"},");
        }
    }

    #[inline(never)]
    fn escaped(&mut self, bytes: &[u8]) {
        let Ok(text) = str::from_utf8(bytes) else {
            self.put(b"{\"bytes\":\"");
            self.put(STANDARD.encode(bytes).as_bytes());
            self.put(b"\"}");
            return;
        };
        self.put(b"\"");
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|byte| json::is_escaped(*byte)) {
            let (plain, after) = rest.split_at(at);
            self.put(plain);
            let Some((byte, after)) = after.split_first() else { break };
            let (escape, length) = json::escape(*byte);
            self.put(escape.get(..length).unwrap_or_default());
            rest = after;
        }
        self.put(rest);
        self.put(b"\"");
    }

    fn connection(&mut self, id: ConnectionId) {
        self.put(b"\"c");
        self.number(id.cookie);
        if id.life > 0 {
            self.put(b".");
            self.number(id.life.into());
        }
        if id.half_open > 0 {
            self.put(b"h");
            self.number(id.half_open.into());
        }
        self.put(b"\"");
    }

    #[inline(always)]
    fn role(&mut self, role: Option<Role>) {
        match role {
            Some(Role::Client) => self.put(b",\"role\":\"client\""),
            Some(Role::Server) => self.put(b",\"role\":\"server\""),
            Some(Role::Listener) => self.put(b",\"role\":\"listener\""),
            None => {}
        }
    }

    /// Appends what all networks begin with.
    fn ends(&mut self, kind: NetworkType, local: Endpoint, peer: Endpoint) {
        match kind {
            NetworkType::Ipv4 => self.put(b"\"type\":\"ipv4\",\"local\":{\"address\":\""),
            NetworkType::Ipv6 => self.put(b"\"type\":\"ipv6\",\"local\":{\"address\":\""),
        }
        self.endpoint(local);
        self.put(b"},\"peer\":{\"address\":\"");
        self.endpoint(peer);
        self.put(b"}");
    }

    fn endpoint(&mut self, endpoint: Endpoint) {
        match endpoint.address {
            IpAddr::V4(address) => self.ipv4(address.octets()),
            IpAddr::V6(address) => self.put(address.to_string().as_bytes()),
        }
        self.put(b"\",\"port\":");
        self.number(endpoint.port.into());
    }

    fn ipv4(&mut self, octets: [u8; 4]) {
        let Some(place) = self.buffer.get_mut(self.end..).and_then(<[u8]>::first_chunk_mut::<16>) else {
            self.is_whole = false;
            return;
        };
        let mut end = 0;
        for octet in octets {
            let (text, length) = OCTETS[usize::from(octet)];
            if let Some(place) = place.get_mut(end..end + text.len()) {
                place.copy_from_slice(&text);
            }
            end += length;
        }
        // Behind the last one there is no dot.
        self.end += end - 1;
    }

    fn network(&mut self, network: &Network) {
        self.put(b",\"network\":{");
        self.ends(network.kind, network.local, network.peer);
        self.optional(b",\"netns\":", network.netns.map(u64::from));
        self.put(b"}");
    }

    #[inline(always)]
    fn process(&mut self, process: Option<&Process>) {
        let Some(process) = process else { return };
        self.put(b",\"process\":{\"pid\":");
        self.number(process.pid.into());
        self.put(b",\"name\":");
        self.text(&process.name.0);
        if let Some(executable) = &process.executable {
            self.put(b",\"executable\":");
            self.text(&executable.0);
        }
        self.put(b",\"uid\":");
        self.number(process.uid.into());
        self.put(b"}");
    }

    fn transition(&mut self, transition: &Transition) {
        self.put(b"{\"type\":\"transition\",\"time\":");
        self.time(transition.time);
        self.put(b",\"connection\":");
        self.connection(transition.connection);
        self.put(b",\"old\":\"");
        self.put_short(transition.old.name().as_bytes());
        self.put(b"\",\"new\":\"");
        self.put_short(transition.new.name().as_bytes());
        self.put(b"\"");
        self.optional(b",\"in_old_us\":", transition.in_old_us);
        if transition.estimated {
            self.put(b",\"estimated\":true");
        } else {
            self.put(b",\"estimated\":false");
        }
        if transition.gap {
            self.put(b",\"gap\":true");
        }
        if let Some(reason) = &transition.reason {
            self.put(b",\"reason\":");
            self.text(reason.as_bytes());
        }
        self.role(transition.role);
        self.network(&transition.network);
        self.process(transition.process.as_ref());
        self.put(b"}");
    }

    fn segment(&mut self, segment: &Segment) {
        self.put(b"{\"type\":\"segment\",\"time\":");
        self.time(segment.time);
        self.put(b",\"connection\":");
        self.connection(segment.connection);
        match segment.direction {
            Direction::Out => self.put(b",\"direction\":\"out\",\"flags\":["),
            Direction::In => self.put(b",\"direction\":\"in\",\"flags\":["),
        }
        self.flags(segment.flags);
        self.put(b"],\"seq\":");
        self.number(segment.seq.into());
        self.optional(b",\"ack\":", segment.ack.map(u64::from));
        self.put(b",\"length\":");
        self.number(segment.length.into());
        if segment.retransmit {
            self.put(b",\"retransmit\":true}");
        } else {
            self.put(b",\"retransmit\":false}");
        }
    }

    fn flags(&mut self, FlagNames(flags): FlagNames) {
        for (number, name) in flags.names().enumerate() {
            if number == 0 {
                self.put(b"\"");
            } else {
                self.put(b",\"");
            }
            self.put_short(name.as_bytes());
            self.put(b"\"");
        }
    }

    fn http(&mut self, http: &Http) {
        self.put(b"{\"type\":\"http\",\"time\":");
        self.time(http.time);
        self.put(b",\"connection\":");
        self.connection(http.connection);
        self.put(b",\"index\":");
        self.number(http.index);
        self.role(http.role);
        self.protocol(&http.network.protocol);
        self.ends(http.network.kind, http.network.local, http.network.peer);
        self.put(b"},\"http\":{");
        if let Some(request) = &http.http.request {
            self.request(request);
        }
        let informational = &http.http.informational;
        if !informational.is_empty() {
            if http.http.request.is_some() {
                self.put(b",\"informational\":");
            } else {
                self.put(b"\"informational\":");
            }
            self.rare(informational);
        }
        if let Some(response) = &http.http.response {
            if http.http.request.is_some() || !informational.is_empty() {
                self.put(b",");
            }
            self.response(response);
        }
        self.put(b"}");
        if let Some(url) = &http.url {
            self.url(url);
        }
        self.process(http.process.as_ref());
        self.timing(&http.timing);
        match http.integrity {
            Integrity::Complete => self.put(b",\"integrity\":\"complete\""),
            Integrity::Truncated => self.put(b",\"integrity\":\"truncated\""),
            Integrity::Gap => self.put(b",\"integrity\":\"gap\""),
        }
        match http.outcome {
            Outcome::Ok => self.put(b",\"outcome\":\"ok\""),
            Outcome::NoResponse => self.put(b",\"outcome\":\"no_response\""),
            Outcome::Reset => self.put(b",\"outcome\":\"reset\""),
            Outcome::Truncated => self.put(b",\"outcome\":\"truncated\""),
            Outcome::Upgraded => self.put(b",\"outcome\":\"upgraded\""),
            Outcome::Invalid => self.put(b",\"outcome\":\"invalid\""),
        }
        if let Some(reason) = &http.reason {
            self.put(b",\"reason\":");
            self.text(reason.as_bytes());
        }
        if let Some(ended) = &http.ended {
            self.put(b",\"ended\":");
            self.rare(ended);
        }
        self.optional(b",\"missing\":", http.missing);
        match http.reused {
            Some(true) => self.put(b",\"reused\":true"),
            Some(false) => self.put(b",\"reused\":false"),
            None => {}
        }
        if let Some(websocket) = &http.websocket {
            self.put(b",\"websocket\":");
            self.rare(websocket);
        }
        self.put(b"}");
    }

    fn request(&mut self, request: &Request) {
        self.put(b"\"request\":{\"method\":");
        self.text(&request.method.0);
        self.put(b",\"target\":");
        self.text(&request.target.0);
        self.headers(&request.headers, request.header_size, request.body.size);
    }

    fn response(&mut self, response: &Response) {
        self.put(b"\"response\":{\"status_code\":");
        self.number(response.status_code.into());
        self.put(b",\"reason\":");
        self.text(&response.reason.0);
        self.headers(&response.headers, response.header_size, response.body.size);
    }

    /// Appends what both messages end with.
    fn headers(&mut self, fields: &Fields, header_size: u64, body_size: u64) {
        self.put(b",\"headers\":[");
        let mut begin: &[u8] = b"[\"";
        if fields.are_plain() {
            for (name, value) in fields.iter() {
                self.put_short(begin);
                self.put_short(name);
                self.put(b"\",\"");
                self.put_short(value);
                self.put(b"\"]");
                begin = b",[\"";
            }
        } else {
            for (number, (name, value)) in fields.iter().enumerate() {
                if number > 0 {
                    self.put(b",");
                }
                self.put(b"[");
                self.text(name);
                self.put(b",");
                self.text(value);
                self.put(b"]");
            }
        }
        self.put(b"],\"header_size\":");
        self.number(header_size);
        self.put(b",\"body\":{\"size\":");
        self.number(body_size);
        self.put(b"}}");
    }

    fn url(&mut self, url: &Url) {
        self.put(b",\"url\":{");
        for (name, part) in [(&b"\"scheme\":"[..], &url.scheme), (b"\"host\":", &url.host)] {
            if let Some(Text(part)) = part {
                self.put_short(name);
                self.text(part);
                self.put(b",");
            }
        }
        self.put(b"\"path\":");
        self.text(&url.path.0);
        if let Some(query) = &url.query {
            self.put(b",\"query\":");
            self.text(&query.0);
        }
        self.put(b"}");
    }

    fn timing(&mut self, timing: &Timing) {
        self.put(b",\"timing\":{\"started\":");
        self.time(timing.started);
        self.optional(b",\"send_us\":", timing.send_us);
        self.optional(b",\"wait_us\":", timing.wait_us);
        self.optional(b",\"receive_us\":", timing.receive_us);
        self.put(b",\"total_us\":");
        self.number(timing.total_us);
        self.optional(b",\"idle_us\":", timing.idle_us);
        if let Some(stalls) = &timing.stalls {
            self.put(b",\"stalls\":");
            self.rare(stalls);
        }
        self.put(b"}");
    }
}

/// Each octet's digits and a dot, and how many bytes these are.
const OCTETS: [([u8; 4], usize); 256] = {
    let mut octets = [([b'.'; 4], 0); 256];
    let mut octet = 0;
    while octet < octets.len() {
        let [ones, tens, hundreds] =
            [b'0' + (octet % 10) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet / 100) as u8];
        octets[octet] = match octet {
            0..10 => ([ones, b'.', 0, 0], 2),
            10..100 => ([tens, ones, b'.', 0], 3),
            _ => ([hundreds, tens, ones, b'.'], 4),
        };
        octet += 1;
    }
    octets
};

/// Copies what has at least `N` bytes, and at most twice as many, as two words, which may overlap.
#[inline(always)]
fn copy_ends<const N: usize>(place: &mut [u8], bytes: &[u8]) {
    if let (Some(place), Some(first)) = (place.first_chunk_mut::<N>(), bytes.first_chunk()) {
        *place = *first;
    }
    if let (Some(place), Some(last)) = (place.last_chunk_mut::<N>(), bytes.last_chunk()) {
        *place = *last;
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
