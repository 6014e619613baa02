//! Why attempts of a gateway failed, and what to do about each.

use tcp_trace_model::{
    record::{Connection, TlsOutcome},
    text::Text,
};

use super::{
    super::{keepalive_race, no_response, tls_handshake},
    Fate,
    text::Subject,
};
use crate::diagnosis::{
    failed_exchanges::Because,
    fate::{Delivery, Handshake, Rst},
    resets::Origin,
};

/// The name of the alert that ended a connection's TLS handshake, if it could be read.
pub(super) fn alert(summary: &Connection) -> Option<String> {
    let tls = summary.tls.as_deref().filter(|tls| tls.outcome == TlsOutcome::Alert)?;
    tls_handshake::fatal(tls)?.name.as_deref().map(|name| Text::from(name).printable().to_string())
}

/// Why this happens.
pub(super) fn why(fate: Fate, subject: &Subject) -> String {
    match fate {
        Fate::Handshake(handshake) => of_handshake(handshake, subject).0,
        Fate::Race(Some(because)) => format!("{} {OF_RACE}", keepalive_race::closed(because)),
        Fate::Reset(Rst::From(origin)) => origin.why().to_owned(),
        Fate::Reset(Rst::Gone) => no_response::of_gone().to_owned(),
        _ => plain(fate).to_owned(),
    }
}

/// Of what needs nothing more to be known.
fn plain(fate: Fate) -> &'static str {
    match fate {
        Fate::Refused => {
            "Nothing listened on the address that the gateway has for its upstream: that server is down or restarting, or \
             the gateway's configuration names the wrong address or port. A firewall that rejects looks the same."
        }
        Fate::SynUnanswered => {
            "The gateway's connect timeout expired before its SYN was answered: the upstream host is down, a \
             firewall drops the SYN, or that server's accept queue is full."
        }
        Fate::NoRoute => {
            "This host has no route to the upstream, or the network reported that it cannot be reached."
        }
        Fate::NoPort => {
            "No ephemeral port was left towards that address and port: each connection holds one, and for 60 s longer \
             in TIME_WAIT when this end closes first. connect() fails at once, and the request never reaches the \
             upstream."
        }
        Fate::NoSyn => {
            "Usually the gateway binds its sockets to local ports of its own choice, and the port belongs to another \
             connection to the same address and port still, such as one in TIME_WAIT. Rarely the routing, an IPsec policy, or \
             a key of TCP-MD5 or TCP-AO forbids the SYN. The gateway's log has connect()'s error."
        }
        Fate::Handshake(_) => "The TLS handshake did not come about.",
        Fate::Race(Some(_)) => OF_RACE,
        Fate::Race(None) => {
            "A message with Connection: close, or of HTTP/1.0 without keep-alive, is the last on its connection (RFC 9112, \
             section 9.6). The gateway sent another request on it all the same."
        }
        Fate::Reset(_) => {
            "The upstream closed its socket with received data unread, so that its kernel sent an RST: it gave up without \
             reading the request to its end, or its process ended; or it does not speak this protocol on this port."
        }
        Fate::Closed => {
            "The upstream accepted the connection and closed it normally without a byte of an answer: an exception, \
             a worker that was killed or recycled (out of memory, max-requests, its own timeout), or another \
             protocol on this port (https?)."
        }
        Fate::Cut => {
            "The upstream began its response and ended the connection before the gateway could use it."
        }
        Fate::Failed => "Data that the gateway sent was no longer acknowledged, or its socket failed.",
        Fate::Silent(Delivery::Sent) => {
            "The connection was up; the upstream worked, queued or was blocked for longer than the gateway waits. It often goes \
             on working for nobody. Where the upstream's end was not traced, it may also not have got or read the request."
        }
        Fate::Silent(Delivery::Nothing) => {
            "The connection was up, and the gateway had sent nothing either: it waits for a server that speaks first, or gave \
             up before it sent its request."
        }
        Fate::Silent(Delivery::NotAcknowledged) => {
            "The request was sent again and again, and no acknowledgment came: the upstream's host is down, was restarted or \
             lost its network, something in between drops the segments, or, on a new connection, the upstream's accept \
             queue is full. Its program knows nothing of the request."
        }
        Fate::Silent(Delivery::NotAccepted) => {
            "The upstream's kernel completed the handshake and took the request, but no process had called accept(): the \
             connection waited in the listener's accept queue."
        }
        Fate::Silent(Delivery::NotRead) => {
            "The request, or its end, is in the receive queue of the upstream's socket, which was accepted, and unread: \
             the process is busy, blocked or stopped, or reads slowly."
        }
        Fate::Silent(Delivery::WindowClosed) => {
            "The upstream's receive buffer was full: its kernel announced a window of 0 because its process did not read \
             fast enough. The rest of the request is still at the gateway."
        }
        Fate::Silent(Delivery::Unfinished) => {
            "The upstream had nothing to answer yet: the gateway passes the request on as it comes and the client sends slowly or \
             stopped, the gateway waits for 100 Continue, or it stopped sending itself."
        }
        Fate::InvalidTls => {
            "The upstream's port speaks TLS: it could make no sense of HTTP, and said so with an alert that the gateway cannot \
             read."
        }
        Fate::Invalid => {
            "The upstream speaks another protocol than HTTP/1 on this port, or its response is illegal."
        }
        Fate::Answered(_) => {
            "The upstream answered in time, but the gateway did not pass that on: a head larger than its buffer \
             (nginx: upstream sent too big header), a header field that it rejects, or a rule of its own."
        }
    }
}

/// What is common to all races.
const OF_RACE: &str = "The gateway sent the request on it just then, or had not noticed.";

/// Why a TLS handshake failed, and what to do.
fn of_handshake(handshake: Handshake, subject: &Subject) -> (String, String) {
    let (why, advice) = match handshake {
        Handshake::OwnAlert | Handshake::Alert => {
            let known = tls_handshake::advice(subject.alert.as_deref().unwrap_or_default());
            (known.why, known.advice)
        }
        Handshake::NotTls => (
            "What the upstream answered to the gateway's ClientHello is not TLS: as a rule, its port is for plain HTTP or for \
             another service.",
            "Let the gateway connect without TLS (nginx: proxy_pass http://, HAProxy: no `ssl` on the server line), or to the \
             upstream's port for TLS.",
        ),
        Handshake::Ended => (
            "The connection ended before the TLS handshake did, and neither end said why with an alert that could be read: the \
             upstream, or something before it, does not accept this ClientHello (a name that it does not have), it did not \
             answer in time, or the gateway refused what it got.",
            "Try it by hand (openssl s_client -connect ADDRESS -servername NAME), and read the gateway's error log and the \
             upstream's of that time.",
        ),
    };
    let end = match handshake {
        Handshake::OwnAlert => " Here the gateway is the client, and sent the alert.",
        Handshake::Alert => " Here the gateway is the client, and its upstream sent the alert.",
        _ => "",
    };
    (format!("{why}{end}"), advice.to_owned())
}

/// What to change.
pub(super) fn advice(fate: Fate, subject: &Subject) -> String {
    match fate {
        Fate::Handshake(handshake) => of_handshake(handshake, subject).1,
        Fate::Reset(Rst::From(origin)) if origin != Origin::Unknown => origin.advice().to_owned(),
        Fate::Race(Some(Because::Stopped | Because::AtOnce)) => keepalive_race::OF_STOP.to_owned(),
        Fate::Race(Some(Because::Destroyed)) => Origin::Destroyed.advice().to_owned(),
        _ => plain_advice(fate).to_owned(),
    }
}

fn plain_advice(fate: Fate) -> &'static str {
    match fate {
        Fate::Refused => {
            "Start the upstream, or correct its address in the gateway (nginx proxy_pass or upstream, HAProxy \
             server); \
             localhost may mean ::1. During restarts, let a second server or a retry take over \
             (proxy_next_upstream, option redispatch)."
        }
        Fate::SynUnanswered => {
            "Find out where the SYN is dropped: see connect_timeout. Keep the connect timeout short (nginx \
             proxy_connect_timeout, HAProxy timeout connect), so that another server is tried."
        }
        Fate::NoPort => {
            "Let the gateway reuse connections to the upstream (nginx keepalive in upstream, with proxy_http_version \
             1.1 and an empty Connection header; HAProxy http-reuse). A wider net.ipv4.ip_local_port_range, \
             net.ipv4.tcp_tw_reuse=1 and more addresses or ports of the upstream give room. See port_exhaustion."
        }
        Fate::NoRoute => "Check the upstream's address and the route to it: ip route get ADDRESS.",
        Fate::NoSyn => {
            "Let the kernel choose the local port, or let the upstream close first, so that TIME_WAIT is there. See \
             connect_port_taken."
        }
        Fate::Race(None) => {
            "Correct the gateway: it must not use a connection again when either message said close."
        }
        Fate::Race(Some(_)) => {
            "Let the upstream keep idle connections longer than the gateway does: raise its keep-alive timeout, \
             or lower \
             the gateway's (nginx keepalive_timeout in upstream, HAProxy timeout http-keep-alive or http-reuse \
             never). Let the gateway retry requests that may be repeated."
        }
        Fate::Handshake(_) => "Read the gateway's error log and the upstream's of that time.",
        Fate::Reset(_) | Fate::Closed | Fate::Cut => {
            "Check the upstream's log, and exits and restarts of its workers, at this time (dmesg: out of memory). \
             Check that the gateway speaks the protocol that the upstream expects (http or https, FastCGI, uwsgi)."
        }
        Fate::Failed | Fate::Silent(Delivery::NotAcknowledged) => {
            "Check the link to the upstream, its host, and the devices in between."
        }
        Fate::Silent(Delivery::NotAccepted | Delivery::NotRead | Delivery::WindowClosed) => {
            "Find out what the upstream's process does instead of accepting or reading (stack, thread dump). Add workers, \
             and give their work timeouts."
        }
        Fate::Silent(Delivery::Unfinished) => {
            "Find out whether the client sent the whole request, and how fast. Let the gateway take whole requests before it \
             asks its upstream (nginx proxy_request_buffering on)."
        }
        Fate::Silent(Delivery::Nothing) => {
            "Find out which protocol the gateway speaks there, and who is to speak first."
        }
        Fate::InvalidTls => {
            "Let the gateway connect with TLS (nginx: proxy_pass https://, HAProxy: `ssl` on the server line), or to the \
             upstream's port for plain HTTP."
        }
        Fate::Silent(Delivery::Sent) => {
            "Find out what that request does in the upstream (stack, thread dump, its own connections, its \
             database). Raise the gateway's timeout (nginx proxy_read_timeout, HAProxy timeout server) only where \
             such a long time is normal, \
             and give the upstream a shorter one of its own, so that it stops working for nobody."
        }
        Fate::Invalid => {
            "Check port and protocol of the upstream in the gateway's configuration (http, https, FastCGI, gRPC)."
        }
        Fate::Answered(_) => {
            "The gateway's error log says what it rejected. nginx: raise proxy_buffer_size (fastcgi_buffer_size), \
             or send \
             fewer and smaller cookies."
        }
    }
}
