//! The rules, one file each, and the table of them.

mod accept_queue;
mod answer_not_read;
pub(super) mod close_wait;
mod closing;
mod connection_died;
mod connects;
mod delayed_ack;
mod descriptor_kept;
mod fin_wait2;
mod gateway_errors;
mod half_open_peer;
mod idle_connections;
mod keepalive_race;
mod listener_closed;
mod no_response;
mod not_read;
pub(super) mod not_reused;
mod ports;
pub(super) mod refused_streams;
mod response_cut;
mod self_connected;
mod slow;
mod slow_connects;
mod syn_backlog;
pub(super) mod tls_handshake;
mod unread_data_reset;
mod used_after_close;
mod websocket;
mod wrong_protocol;
mod zero_window;

use super::{Facts, Findings, Thresholds};

/// A rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its findings' code.
    pub code: &'static str,
    /// The topic of `explain` that says more; a finding may name a closer one.
    pub explain: &'static str,
    /// Adds what it finds. Code, time and topic are filled in by the caller.
    pub judge: fn(&Facts<'_>, &Thresholds, &mut Findings),
}

/// All rules. Of findings that are equally severe, those of earlier rules come first.
pub const RULES: &[Rule] = &[
    Rule { code: "accept_queue_full", explain: "accept-queue", judge: accept_queue::full },
    Rule { code: "accept_stalled", explain: "accept-queue", judge: accept_queue::stalled },
    Rule { code: "listener_closed", explain: "accept-queue", judge: listener_closed::judge },
    Rule { code: "syn_backlog", explain: "SYN-flood", judge: syn_backlog::judge },
    Rule { code: "port_exhaustion", explain: "port-exhaustion", judge: ports::exhaustion },
    Rule { code: "self_connected", explain: "port-exhaustion", judge: self_connected::judge },
    Rule { code: "close_wait", explain: "CLOSE_WAIT-leak", judge: close_wait::judge },
    Rule { code: "half_open_peer", explain: "retransmission", judge: half_open_peer::judge },
    Rule { code: "zero_window", explain: "zero-window", judge: zero_window::judge },
    Rule { code: "data_not_read", explain: "accept-queue", judge: not_read::judge },
    Rule { code: "gateway_errors", explain: "502", judge: gateway_errors::judge },
    Rule { code: "connect_refused", explain: "ECONNREFUSED", judge: connects::refused },
    Rule { code: "connect_timeout", explain: "ETIMEDOUT", judge: connects::timed_out },
    Rule { code: "connect_port_taken", explain: "TIME_WAIT", judge: connects::port_taken },
    Rule { code: "connect_slow", explain: "retransmission", judge: slow_connects::judge },
    Rule { code: "connect_no_route", explain: "EHOSTUNREACH", judge: connects::no_route },
    Rule { code: "wrong_protocol", explain: "wrong-protocol", judge: wrong_protocol::judge },
    Rule { code: "tls_handshake", explain: "TLS-handshake", judge: tls_handshake::judge },
    Rule { code: "response_cut", explain: "outcome", judge: response_cut::judge },
    Rule { code: "goaway_race", explain: "GOAWAY", judge: refused_streams::goaway },
    Rule { code: "stream_refused", explain: "REFUSED_STREAM", judge: refused_streams::refused },
    Rule { code: "unread_data_reset", explain: "TCP_ABORT_ON_CLOSE", judge: unread_data_reset::judge },
    Rule { code: "no_response", explain: "outcome", judge: no_response::judge },
    Rule { code: "used_after_close", explain: "keep-alive-race", judge: used_after_close::judge },
    Rule { code: "keepalive_race", explain: "keep-alive-race", judge: keepalive_race::judge },
    Rule { code: "answer_not_read", explain: "TCP_ABORT_ON_CLOSE", judge: answer_not_read::judge },
    Rule { code: "connection_died", explain: "ETIMEDOUT", judge: connection_died::judge },
    Rule { code: "websocket_not_closed", explain: "TIME_WAIT", judge: websocket::judge },
    Rule { code: "slow_network", explain: "retransmission", judge: slow::network },
    Rule { code: "slow_reader", explain: "zero-window", judge: slow::reader },
    Rule { code: "flow_control", explain: "flow-control", judge: slow::flow_control },
    Rule { code: "slow_server", explain: "slow-exchange", judge: slow::server },
    Rule { code: "delayed_ack_stall", explain: "Nagle", judge: delayed_ack::judge },
    Rule { code: "descriptor_kept", explain: "CLOSE_WAIT-leak", judge: descriptor_kept::judge },
    Rule { code: "idle_connections", explain: "CLOSE_WAIT-leak", judge: idle_connections::judge },
    Rule { code: "not_reused", explain: "http-keepalive", judge: not_reused::judge },
    Rule { code: "fin_wait2_stuck", explain: "FIN_WAIT2", judge: fin_wait2::judge },
    Rule { code: "fin_wait1_unsent", explain: "FIN_WAIT1", judge: closing::fin_wait1 },
    Rule { code: "closing_stuck", explain: "CLOSING", judge: closing::closing },
    Rule { code: "last_ack_stuck", explain: "LAST_ACK", judge: closing::last_ack },
    Rule { code: "time_wait_pileup", explain: "TIME_WAIT", judge: ports::time_wait },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{Language, Library};

    #[test]
    fn every_rule_is_explained_in_both_languages() {
        for language in [Language::En, Language::Zh] {
            let library = Library::new(language);
            for Rule { code, explain, .. } in RULES {
                assert!(library.named(&[(*explain).to_owned()]).is_some(), "{code}: {explain}");
            }
        }
    }

    #[test]
    fn no_code_is_two_rules() {
        for (index, rule) in RULES.iter().enumerate() {
            assert!(RULES[..index].iter().all(|other| other.code != rule.code), "{}", rule.code);
        }
    }
}
