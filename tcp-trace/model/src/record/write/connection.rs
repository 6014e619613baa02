//! The `connection` line. What few connections have is left to serde, part by part.

use serde::Serialize;

use super::{line::Line, shared::SharedText};
use crate::record::{By, Bytes, Close, Connection, Handshake, How, HttpTotals, StateSpan};

impl Line<'_> {
    pub(super) fn summary(&mut self, summary: &Connection, shared: &SharedText) {
        // All fields by their names, so that none is forgotten.
        let Connection {
            time,
            connection,
            server,
            dns,
            route,
            peer_connection,
            to_itself,
            mptcp,
            users,
            users_unrecorded,
            cgroup,
            container,
            unit,
            opened,
            first_used,
            closed,
            duration_us,
            ends,
            seen_from_start,
            open,
            states,
            handshake,
            close,
            bytes,
            bytes_before,
            retransmits,
            refused,
            receive_queue,
            socket,
            srtt_us,
            cwnd,
            zero_window,
            accept_queue,
            half_open_unrecorded,
            syns_unanswered,
            protocol,
            answer_protocol,
            first_bytes,
            proxy_protocol,
            socks,
            tls,
            decrypted,
            http,
            http2,
            stacks,
        } = summary;
        self.put(b"{\"type\":\"connection\",\"time\":");
        self.time(*time);
        self.put(b",\"connection\":");
        self.put_short(shared.id());
        self.role(connection.role);
        if connection.network.is_some() {
            self.put(b",\"network\":{");
            self.put(shared.network());
            self.put(b"}");
        }
        self.part(b",\"server\":", server.as_ref());
        self.part(b",\"dns\":", dns.as_ref());
        self.part(b",\"route\":", route.as_ref());
        if let Some(peer) = peer_connection {
            self.put(b",\"peer_connection\":");
            self.connection(*peer);
        }
        if *to_itself {
            self.put(b",\"to_itself\":true");
        }
        self.put(shared.process());
        if *mptcp {
            self.put(b",\"mptcp\":true");
        }
        self.part(b",\"users\":", Some(users).filter(|users| !users.is_empty()));
        self.unless_zero(b",\"users_unrecorded\":", *users_unrecorded);
        self.optional_text(b",\"cgroup\":", cgroup.as_deref());
        self.part(b",\"container\":", container.as_ref());
        self.optional_text(b",\"unit\":", unit.as_deref());
        self.put(b",\"opened\":");
        self.time(*opened);
        if let Some(first_used) = first_used {
            self.put(b",\"first_used\":");
            self.time(*first_used);
        }
        if let Some(closed) = closed {
            self.put(b",\"closed\":");
            self.time(*closed);
        }
        self.optional(b",\"duration_us\":", *duration_us);
        if let Some(ends) = ends {
            self.put(b",\"ends\":");
            self.time(*ends);
        }
        self.put(b",\"seen_from_start\":");
        self.boolean(*seen_from_start);
        self.put(b",\"open\":");
        self.boolean(*open);
        self.states(states);
        if let Some(handshake) = handshake {
            self.handshake(handshake);
        }
        self.close(close);
        let Bytes { sent, received } = bytes;
        self.put(b",\"bytes\":{\"sent\":");
        self.number(*sent);
        self.put(b",\"received\":");
        self.number(*received);
        self.put(b"}");
        self.part(b",\"bytes_before\":", bytes_before.as_ref());
        self.put(b",\"retransmits\":");
        self.number(*retransmits);
        self.part(b",\"refused\":", Some(refused).filter(|refused| !refused.is_empty()));
        self.unless_zero(b",\"receive_queue\":", *receive_queue);
        self.optional(b",\"srtt_us\":", srtt_us.map(u64::from));
        self.optional(b",\"cwnd\":", cwnd.map(u64::from));
        self.part(b",\"socket\":", socket.as_ref());
        self.part(b",\"zero_window\":", zero_window.as_ref());
        self.part(b",\"accept_queue\":", accept_queue.as_ref());
        self.unless_zero(b",\"half_open_unrecorded\":", *half_open_unrecorded);
        self.unless_zero(b",\"syns_unanswered\":", *syns_unanswered);
        self.optional_text(b",\"protocol\":", protocol.as_deref());
        self.optional_text(b",\"answer_protocol\":", answer_protocol.as_deref());
        self.part(b",\"first_bytes\":", first_bytes.as_ref());
        self.part(b",\"proxy_protocol\":", proxy_protocol.as_ref());
        self.part(b",\"socks\":", socks.as_ref());
        self.part(b",\"tls\":", tls.as_ref());
        self.part(b",\"decrypted\":", decrypted.as_ref());
        if let Some(HttpTotals { requests, surplus, protocol }) = http {
            self.put(b",\"http\":{\"requests\":");
            self.number(*requests);
            if *surplus > 0 {
                self.put(b",\"surplus\":");
                self.number(*surplus);
            }
            self.put(b",\"protocol\":");
            self.text(protocol.as_bytes());
            self.put(b"}");
        }
        self.part(b",\"http2\":", http2.as_ref());
        self.part(b",\"stacks\":", stacks.as_ref());
        self.put(b"}");
    }

    fn states(&mut self, states: &[StateSpan]) {
        self.put(b",\"states\":[");
        for (number, StateSpan { state, entered, duration_us, estimated }) in states.iter().enumerate() {
            if number > 0 {
                self.put(b",");
            }
            self.put(b"{\"state\":\"");
            self.put_short(state.name().as_bytes());
            self.put(b"\",\"entered\":");
            self.time(*entered);
            self.optional(b",\"duration_us\":", *duration_us);
            self.put(b",\"estimated\":");
            self.boolean(*estimated);
            self.put(b"}");
        }
        self.put(b"]");
    }

    fn handshake(&mut self, handshake: &Handshake) {
        let Handshake { syn_seq, syn_ack_seq, rtt_us, syn_retransmits, syn_ack_retransmits, acknowledged } =
            *handshake;
        self.put(b",\"handshake\":{");
        for (name, number) in [
            (&b"\"syn_seq\":"[..], syn_seq.map(u64::from)),
            (b"\"syn_ack_seq\":", syn_ack_seq.map(u64::from)),
            (b"\"rtt_us\":", rtt_us),
        ] {
            if number.is_some() {
                self.optional(name, number);
                self.put(b",");
            }
        }
        self.put(b"\"syn_retransmits\":");
        self.number(syn_retransmits.into());
        self.put(b",\"syn_ack_retransmits\":");
        self.number(syn_ack_retransmits.into());
        if let Some(acknowledged) = acknowledged {
            self.put(b",\"acknowledged\":");
            self.boolean(acknowledged);
        }
        self.put(b"}");
    }

    fn close(&mut self, Close { by, how, reason, process_ended, unacknowledged }: &Close) {
        match by {
            By::Local => self.put(b",\"close\":{\"by\":\"local\",\"how\":\""),
            By::Peer => self.put(b",\"close\":{\"by\":\"peer\",\"how\":\""),
            By::Both => self.put(b",\"close\":{\"by\":\"both\",\"how\":\""),
            By::None => self.put(b",\"close\":{\"by\":\"none\",\"how\":\""),
        }
        match how {
            How::Fin => self.put(b"fin\""),
            How::Rst => self.put(b"rst\""),
            How::Timeout => self.put(b"timeout\""),
            How::Refused => self.put(b"refused\""),
            How::Error => self.put(b"error\""),
            How::Abandoned => self.put(b"abandoned\""),
            How::Open => self.put(b"open\""),
            How::Unknown => self.put(b"unknown\""),
        }
        self.optional_text(b",\"reason\":", reason.as_deref());
        if *process_ended {
            self.put(b",\"process_ended\":true");
        }
        self.optional(b",\"unacknowledged\":", unacknowledged.map(u64::from));
        self.put(b"}");
    }

    fn boolean(&mut self, value: bool) {
        if value { self.put(b"true") } else { self.put(b"false") }
    }

    fn unless_zero(&mut self, name: &[u8], number: u32) {
        self.optional(name, Some(number.into()).filter(|number| *number > 0));
    }

    fn optional_text(&mut self, name: &[u8], text: Option<&str>) {
        if let Some(text) = text {
            self.put(name);
            self.text(text.as_bytes());
        }
    }

    /// Appends a name and a part that few lines have.
    fn part(&mut self, name: &[u8], value: Option<&impl Serialize>) {
        if let Some(value) = value {
            self.put(name);
            self.rare(value);
        }
    }
}
