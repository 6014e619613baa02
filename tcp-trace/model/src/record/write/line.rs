//! The parts of which lines are made: constant text, numbers, times, texts, and who and where.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::{
    event::Role,
    json,
    network::{ConnectionId, Endpoint, Ends, Network, NetworkType, Process},
    time::{Time, pair},
};

/// A line that is being written.
pub(super) struct Line<'a> {
    pub(super) buffer: &'a mut [u8],
    pub(super) end: usize,
    /// Whether everything has fitted.
    pub(super) is_whole: bool,
}

impl Line<'_> {
    /// Appends bytes. Inlined, so that those whose number is known are a few stores.
    #[inline(always)]
    pub(super) fn put(&mut self, bytes: &[u8]) {
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
    pub(super) fn put_short(&mut self, bytes: &[u8]) {
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
    pub(super) fn rare(&mut self, value: &impl Serialize) {
        match json::to_string(value) {
            Ok(text) => self.put(text.as_bytes()),
            Err(_) => self.is_whole = false,
        }
    }

    #[inline(always)]
    pub(super) fn number(&mut self, number: u64) {
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
    pub(super) fn long_number(&mut self, number: u64) {
        self.put_short(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends a name and a number when there is one.
    #[inline(always)]
    pub(super) fn optional(&mut self, name: &[u8], number: Option<u64>) {
        if let Some(number) = number {
            self.put(name);
            self.number(number);
        }
    }

    #[inline(always)]
    pub(super) fn time(&mut self, time: Time) {
        self.put(b"\"");
        self.put(&time.rfc3339());
        self.put(b"\"");
    }

    /// Appends bytes in quotation marks, or as base64.
    #[inline(never)]
    pub(super) fn text(&mut self, bytes: &[u8]) {
        if json::is_plain(bytes) {
            self.put(b"\"");
            self.put_short(bytes);
            self.put(b"\"");
        } else {
            self.escaped(bytes);
        }
    }

    #[inline(never)]
    pub(super) fn escaped(&mut self, bytes: &[u8]) {
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

    pub(super) fn connection(&mut self, id: ConnectionId) {
        self.put(b"\"c");
        self.number(id.cookie);
        if id.incarnation > 0 {
            self.put(b".");
            self.number(id.incarnation.into());
        }
        if id.half_open > 0 {
            self.put(b"h");
            self.number(id.half_open.into());
        }
        self.put(b"\"");
    }

    #[inline(always)]
    pub(super) fn role(&mut self, role: Option<Role>) {
        match role {
            Some(Role::Client) => self.put(b",\"role\":\"client\""),
            Some(Role::Server) => self.put(b",\"role\":\"server\""),
            Some(Role::Listener) => self.put(b",\"role\":\"listener\""),
            None => {}
        }
    }

    /// Appends what all networks begin with.
    pub(super) fn ends(&mut self, kind: NetworkType, local: Endpoint, peer: Endpoint) {
        match kind {
            NetworkType::Ipv4 => self.put(b"\"type\":\"ipv4\",\"local\":{\"address\":\""),
            NetworkType::Ipv6 => self.put(b"\"type\":\"ipv6\",\"local\":{\"address\":\""),
        }
        self.endpoint(local);
        self.put(b"},\"peer\":{\"address\":\"");
        self.endpoint(peer);
        self.put(b"}");
    }

    pub(super) fn endpoint(&mut self, endpoint: Endpoint) {
        match endpoint.address {
            IpAddr::V4(address) => self.ipv4(address.octets()),
            IpAddr::V6(address) => self.put(address.to_string().as_bytes()),
        }
        self.put(b"\",\"port\":");
        self.number(endpoint.port.into());
    }

    pub(super) fn ipv4(&mut self, octets: [u8; 4]) {
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

    pub(super) fn network_fields(&mut self, network: &Network) {
        self.ends(network.kind, network.local, network.peer);
        self.optional(b",\"netns\":", network.netns.map(u64::from));
        self.translated(network.translated);
    }

    fn translated(&mut self, translated: Option<Ends>) {
        let Some(Ends { local, peer }) = translated else { return };
        self.put(b",\"translated\":{\"local\":{\"address\":\"");
        self.endpoint(local);
        self.put(b"},\"peer\":{\"address\":\"");
        self.endpoint(peer);
        self.put(b"}}");
    }

    #[inline(always)]
    pub(super) fn process(&mut self, process: Option<&Process>) {
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
