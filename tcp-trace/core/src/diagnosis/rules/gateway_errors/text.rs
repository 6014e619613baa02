//! What is said of each cause: its name, the sentence, why, and what to do.

use super::{Cause, Fate, Idle, Unseen, fates};
use crate::{
    diagnosis::{
        fate::{Delivery, Handshake, Rst},
        resets::Origin,
    },
    prose::{Micros, counted},
};

/// What a finding's sentence says.
pub(super) struct Subject {
    /// How many responses.
    pub(super) count: usize,
    /// Whose they were, or who got them: `of nginx (pid 7) at 10.0.0.1:80`.
    pub(super) of_process: String,
    pub(super) status: u16,
    /// `10.0.0.5:8080`, or `2 upstream servers`.
    pub(super) upstream: String,
    /// Whether it is one server.
    pub(super) is_one_upstream: bool,
    /// How long the longest attempt took, or the request was waited for, in microseconds.
    pub(super) longest_us: Option<u64>,
    /// The alert that ended the TLS handshakes, when its name is known.
    pub(super) alert: Option<String>,
    /// Whether the process makes such attempts beside requests too, so that these may have been health checks.
    pub(super) may_be_checks: bool,
}

/// The cause's name in recordings.
pub(super) fn name(cause: Cause) -> &'static str {
    match cause {
        Cause::Upstream(fate) => match fate {
            Fate::Refused => "upstream_refused",
            Fate::SynUnanswered => "upstream_connect_timeout",
            Fate::NoRoute => "upstream_no_route",
            Fate::NoPort => "upstream_no_port",
            Fate::NoSyn => "upstream_no_syn",
            Fate::Handshake(_) => "upstream_tls",
            Fate::Race(None) => "upstream_used_after_close",
            Fate::Race(Some(_)) => "upstream_keepalive_race",
            Fate::Reset(_) => "upstream_reset",
            Fate::Closed => "upstream_closed",
            Fate::Cut => "upstream_cut",
            Fate::Failed => "upstream_failed",
            Fate::Silent(_) => "upstream_silent",
            Fate::Invalid | Fate::InvalidTls => "upstream_invalid",
            Fate::Answered(_) => "upstream_answer_not_taken",
        },
        Cause::PassedOn => "passed_on",
        Cause::Own => "own_answer",
        Cause::Unseen(_) => "not_seen",
        Cause::Remote => "remote",
        Cause::Unfinished => "request_unfinished",
        Cause::NotSent(_) => "request_not_sent",
    }
}

/// What became of an attempt, behind its server's address.
pub(super) fn fate(fate: Fate) -> String {
    match fate {
        Fate::Refused => "refused the connection".into(),
        Fate::SynUnanswered => "had not answered the SYN".into(),
        Fate::NoRoute => "could not be reached".into(),
        Fate::NoPort => "was not reached for want of a local port".into(),
        Fate::NoSyn => "was not sent a SYN".into(),
        Fate::Handshake(_) => "did not finish the TLS handshake".into(),
        Fate::Race(None) => "was asked on a connection that had been ended".into(),
        Fate::Race(Some(_)) => "had closed the kept-alive connection".into(),
        Fate::Reset(Rst::From(Origin::Unknown | Origin::Between)) => "was reset".into(),
        Fate::Reset(_) => "reset the connection".into(),
        Fate::Closed => "closed without a response".into(),
        Fate::Cut => "cut its response off".into(),
        Fate::Failed => "stopped acknowledging".into(),
        Fate::Silent(_) => "had not answered".into(),
        Fate::InvalidTls => "answered in TLS".into(),
        Fate::Invalid => "answered with something that is not HTTP".into(),
        Fate::Answered(status) => format!("answered {status}"),
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        408 => "408 Request Timeout",
        502 => "502 Bad Gateway",
        500 => "500 Internal Server Error",
        503 => "503 Service Unavailable",
        _ => "504 Gateway Timeout",
    }
}

/// What is wrong, in one sentence.
pub(super) fn summary(cause: Cause, subject: &Subject) -> String {
    let Subject { count, of_process, status, upstream, is_one_upstream, longest_us, alert, may_be_checks } =
        subject;
    let (request, connection) =
        if *is_one_upstream { ("request", "connection") } else { ("requests", "connections") };
    let its_upstream = if *is_one_upstream { format!("its upstream {upstream}") } else { upstream.clone() };
    let (phrase, one) = (phrase(*status), *count == 1);
    let us = Micros(longest_us.unwrap_or_default());
    let was = if one { "was" } else { "were" };
    let responses = format!("{} {of_process} {was} {phrase}", counted(*count, "response"));
    let or_a_check = if *may_be_checks {
        "; or that was a health check's, as it makes such attempts beside requests too"
    } else {
        ""
    };
    match cause {
        Cause::Upstream(fate) => {
            let what = match fate {
                Fate::Refused => {
                    format!("meanwhile its connects to {upstream} were refused (ECONNREFUSED)")
                }
                Fate::SynUnanswered => format!("its connect to {upstream} got no answer to the SYN in {us}"),
                Fate::NoRoute => format!("meanwhile it could not reach {upstream}"),
                Fate::NoPort => {
                    format!("meanwhile its connects to {upstream} got no local port (EADDRNOTAVAIL)")
                }
                Fate::NoSyn => {
                    format!("meanwhile its connects to {upstream} failed before a SYN was sent")
                }
                Fate::Handshake(handshake) => {
                    let alert =
                        alert.as_ref().map_or("an alert".to_owned(), |name| format!("the alert {name}"));
                    let with = format!("its TLS handshake with {upstream}");
                    match handshake {
                        Handshake::OwnAlert => format!("{with} failed: it sent {alert}"),
                        Handshake::Alert => format!("{with} failed: that sent {alert}"),
                        Handshake::NotTls => format!("{with} failed: the answer was not TLS"),
                        Handshake::Ended => format!("{with} had not finished when the connection ended"),
                    }
                }
                Fate::Race(None) => format!(
                    "it sent the request to {upstream} on a connection that the exchange before had ended"
                ),
                Fate::Race(Some(_)) => {
                    format!("{upstream} was closing the kept-alive connection that the request was sent on")
                }
                Fate::Reset(Rst::Unread | Rst::Gone) => {
                    format!("{its_upstream} sent an RST instead of a response")
                }
                Fate::Reset(Rst::From(origin)) if origin.is_of_server() => {
                    format!("{its_upstream} sent an RST instead of a response")
                }
                Fate::Reset(_) => {
                    format!("an RST came from {upstream}, or in its name, instead of a response")
                }
                Fate::Closed => format!("{its_upstream} closed without a response"),
                Fate::Cut => format!("{its_upstream} cut its response off"),
                Fate::Failed => format!("its {connection} to {upstream} failed"),
                Fate::Silent(delivery) => match delivery {
                    Delivery::Sent => {
                        format!("{upstream} was sent its {request} and did not answer within {us}")
                    }
                    Delivery::Nothing => {
                        format!("{upstream}, to which it had connected, sent nothing within {us}")
                    }
                    Delivery::NotAcknowledged => {
                        format!("{upstream} did not acknowledge its {request} within {us}")
                    }
                    Delivery::NotAccepted => {
                        format!("{upstream} did not accept its {connection}, and did not answer within {us}")
                    }
                    Delivery::NotRead => {
                        format!(
                            "{upstream} did not read its {request} to the end, and did not answer within {us}"
                        )
                    }
                    Delivery::WindowClosed => {
                        format!(
                            "{upstream} took only a part of its {request}, and did not answer within {us}"
                        )
                    }
                    Delivery::Unfinished => {
                        format!("it did not send its {request} to {upstream} to the end within {us}")
                    }
                },
                Fate::InvalidTls => format!("{its_upstream} answered in TLS, and it had spoken HTTP"),
                Fate::Invalid => format!("{its_upstream} answered with something that is not HTTP"),
                Fate::Answered(other) => {
                    format!("{its_upstream} answered {other}, but it did not use that")
                }
            };
            format!("{responses}: {what}{or_a_check}.")
        }
        Cause::PassedOn => {
            format!("{responses}: passed on from {upstream}, which had answered the same{or_a_check}.")
        }
        Cause::Own if *status == 408 => {
            format!("{responses}, although the whole request had arrived: it gave that answer by itself.")
        }
        Cause::Own => format!(
            "{responses}: it gave that answer by itself: no attempt to reach another server for it is seen to have \
             failed."
        ),
        Cause::Unseen(_) => format!("{responses}; what it did meanwhile to get an answer is unknown."),
        Cause::Remote => format!("{responses}: that end was not traced, so the cause is unknown here."),
        Cause::Unfinished => format!(
            "{} {of_process} had not arrived completely within {us}, and {was} answered {phrase}.",
            counted(*count, "request"),
        ),
        Cause::NotSent(idle) => format!(
            "{} {of_process} carried no {} within {us}, and {was} ended with {phrase}.",
            counted(*count, "connection"),
            if idle == Idle::Kept { "further request" } else { "request" },
        ),
    }
}

/// Why this happens.
pub(super) fn why(cause: Cause, subject: &Subject, has_failed_otherwise: bool) -> String {
    match cause {
        Cause::Upstream(fate) => fates::why(fate, subject),
        Cause::PassedOn => {
            "The process is a gateway that passed the error on as it received it. If the server behind it is on \
             this host, a separate finding says more."
                .to_owned()
        }
        Cause::Own => own(subject.status, has_failed_otherwise),
        Cause::Unseen(unseen) => not_seen(unseen),
        Cause::Remote => {
            "The response came over the network like any other. What its server waited for or could not reach is \
             visible only on the server's host; a proxy in between may have given the answer in its name."
                .to_owned()
        }
        Cause::Unfinished => {
            "The client began a request and did not send the rest in the time that the server allows: a body \
             shorter than its Content-Length, a client that stopped or was cut off, a slow or lossy path, or \
             deliberately slow headers (slowloris)."
                .to_owned()
        }
        Cause::NotSent(Idle::Kept) => {
            "The connection stayed idle after its last response until the server's keep-alive timeout expired: the \
             client keeps idle connections for longer than the server does. Nothing was lost, unless the client \
             takes the 408 for the answer to a request that it sends just then."
                .to_owned()
        }
        Cause::NotSent(Idle::Opened) => {
            "The connection was opened and stayed idle: browsers and pools connect in advance, load balancers probe. \
             Nothing was lost, unless the client takes the 408 for the answer to a request that it sends just then."
                .to_owned()
        }
    }
}

fn own(status: u16, has_failed_otherwise: bool) -> String {
    let first = match (status, has_failed_otherwise) {
        (502..=504, true) => {
            "A gateway does not try a server that it considers down (by health checks, or nginx's max_fails and \
             fail_timeout) and answers at once: other connects from it failed at other times, as listed above. Or \
             it limits requests, or"
        }
        (503, _) => {
            "A proxy without a usable server answers like this at once (all are down by health checks, or none is \
             configured), and so does one that limits requests or connections; or"
        }
        (408, _) => "Its own time limit for this request expired; or",
        _ => {
            "A gateway that considers all its servers down answers like this at once (nginx: no live upstreams); or"
        }
    };
    format!(
        "{first} it is an application that gives this answer itself because it is overloaded or in maintenance. \
         Traffic over Unix sockets, in TLS that is not decrypted, or over persistent connections without HTTP, is not \
         examined."
    )
}

fn not_seen(unseen: Unseen) -> String {
    match unseen {
        Unseen::Process => "The process that answered is unknown, and so are its other connections.",
        Unseen::Filter => {
            "The filter by ports or addresses excluded the connections that the process has to other servers, or \
             they were fine."
        }
        Unseen::Request => "The request arrived before the trace began, and the failure may have happened then too.",
        Unseen::Lost => {
            "Events were lost, or there were too many connections to remember, and the one that failed may be among \
             them."
        }
        Unseen::TooMany => {
            "Meanwhile the process contacted other servers so often that not every attempt is examined; none of those \
             that are failed, but others may have."
        }
    }
    .to_owned()
}

/// What to change in code or configuration.
pub(super) fn advice(cause: Cause, subject: &Subject) -> String {
    let plain = match cause {
        Cause::Upstream(fate) => return fates::advice(fate, subject),
        Cause::PassedOn => "Look at the server behind this one.",
        Cause::Own => match subject.status {
            503 => {
                "HAProxy: its stats page or show servers state says which servers are up, and the termination state \
                 in its log (SC) that none was; nginx: limit_req and limit_conn in its error log. Otherwise check \
                 the application's log."
            }
            408 => "Check the server's timeouts for reading requests.",
            _ => {
                "The gateway's error log shows which servers it considers down, and why. nginx: max_fails=0 for a \
                 single server, or a shorter fail_timeout; HAProxy: option httpchk and its interval."
            }
        },
        Cause::Unseen(Unseen::Filter) => {
            "Trace without --port and --addr; --pid and --comm keep all connections of a process."
        }
        Cause::Unseen(Unseen::TooMany) => {
            "Check the gateway's error log for what failed, and its other findings here for the same time."
        }
        Cause::Unseen(Unseen::Lost) => {
            "Trace for a shorter time (--for 10s), or only the gateway's process (--comm NAME or --pid): then there is less to \
             remember. The first lines say how much was lost or forgotten."
        }
        Cause::Unseen(_) => "Trace again, and start before the request.",
        Cause::Remote => {
            "Run tcp-trace diagnose --for 30s there. On this side: retry requests that may be repeated (RFC 9110, \
             section 9.2.2), with growing pauses, and honour Retry-After."
        }
        Cause::Unfinished => {
            "Find out what the client does after the bytes that arrived: compare its Content-Length with what it \
             sends, and look for a pause in its code, a proxy, and loss on the way. If legitimate clients are that \
             slow, raise the server's limit (HAProxy timeout http-request, Apache RequestReadTimeout, nginx \
             client_header_timeout and \
             client_body_timeout)."
        }
        Cause::NotSent(Idle::Kept) => {
            "Let the client close idle connections before the server does: its pool's idle timeout below the server's \
             keep-alive timeout (HAProxy timeout http-keep-alive, Apache KeepAliveTimeout, nginx keepalive_timeout). \
             Clients must not take a 408 that came before their request for its answer."
        }
        Cause::NotSent(Idle::Opened) => {
            "No action needed. HAProxy: option http-ignore-probes closes such connections without the 408. \
             Clients must not take a 408 that came before their request for its answer."
        }
    };
    plain.to_owned()
}
