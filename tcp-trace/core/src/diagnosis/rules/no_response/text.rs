//! What is said of each cause.

use super::super::super::{failed_exchanges::Stop, silence::Silence};

/// Its name in recordings.
pub(super) fn name(silence: Silence) -> &'static str {
    match silence {
        Silence::ServerClosed => "server_closed",
        Silence::ServerEnded => "server_process_ended",
        Silence::ServerReset(_) => "server_reset",
        Silence::SocketGone => "server_socket_gone",
        Silence::Failed => "connection_failed",
        Silence::GaveUp => "client_gave_up",
        Silence::Waiting => "waiting",
        Silence::NotAcknowledged => "not_acknowledged",
        Silence::NotRead(_) => "request_not_read",
        Silence::PartlyRead(_) => "request_partly_read",
        Silence::NotAccepted(_) => "connection_not_accepted",
        Silence::AwaitsContinue(_) => "continue_not_sent",
        Silence::WindowClosed(_) => "server_not_reading",
        Silence::Unfinished(_) => "request_unfinished",
    }
}

/// Whether the client's own close ended it.
pub(super) fn is_given_up(silence: Silence) -> bool {
    match silence {
        Silence::GaveUp => true,
        Silence::NotRead(stop)
        | Silence::PartlyRead(stop)
        | Silence::NotAccepted(stop)
        | Silence::AwaitsContinue(stop)
        | Silence::WindowClosed(stop)
        | Silence::Unfinished(stop) => stop == Stop::GaveUp,
        _ => false,
    }
}

/// What happened, behind `3 requests from a to b`; `have` stands for several.
pub(super) fn in_words(silence: Silence) -> String {
    let until = |stop| match stop {
        Stop::Closed => ": the server closed",
        Stop::Reset => ": the server sent an RST",
        Stop::Failed => ": the connection failed",
        Stop::GaveUp => ": the client closed",
        Stop::Waiting => "",
    };
    match silence {
        Silence::ServerClosed => "got no response: the server closed instead".to_owned(),
        Silence::ServerEnded => "got no response: the server's process ended meanwhile".to_owned(),
        Silence::ServerReset(_) => "got no response: an RST came instead".to_owned(),
        Silence::SocketGone => {
            "got no response: the server's socket was gone before the request was sent".to_owned()
        }
        Silence::Failed => "got no response: the connection failed".to_owned(),
        Silence::GaveUp => "got no response before the client gave up".to_owned(),
        Silence::Waiting => "have received no response yet".to_owned(),
        Silence::NotAcknowledged => {
            "have not been acknowledged: the peer's kernel does not answer".to_owned()
        }
        Silence::NotRead(stop) => {
            format!("arrived, but the server's process has not read the data{}", until(stop))
        }
        Silence::PartlyRead(stop) => {
            format!("arrived, but the server's process has not read all of the data{}", until(stop))
        }
        Silence::NotAccepted(stop) => {
            format!("arrived, but the server has not accepted the connection{}", until(stop))
        }
        Silence::AwaitsContinue(stop) => {
            format!(
                "sent only the head and waited for 100 Continue, which the server did not send{}",
                until(stop)
            )
        }
        Silence::WindowClosed(stop) => {
            format!("could not be sent to the end, because the server did not read{}", until(stop))
        }
        Silence::Unfinished(stop) => {
            format!("did not come whole, so that there was nothing to answer yet{}", until(stop))
        }
    }
}

/// Why this happens.
pub(super) fn why(silence: Silence) -> &'static str {
    match silence {
        Silence::ServerClosed => {
            "The server's end of the connection was closed normally (FIN), without an answer: an exception before the \
             response, a worker that was recycled or killed, a limit on connections, or something on this port that does not \
             speak HTTP. On a kept-alive connection, the close may have crossed the request where only the client's end was \
             traced."
        }
        Silence::ServerEnded => {
            "The server's process ended (it exited, or a signal such as SIGKILL killed it) between the request and the \
             response; its kernel closed the connection. The request may have been processed in part."
        }
        Silence::ServerReset(origin) => origin.why(),
        Silence::SocketGone => {
            "When the request was sent, the server's host no longer had a socket for this connection, and answered with \
             an RST. What had told the client so did not arrive (a firewall dropped it, the link was down), or came too \
             late. The request was not processed."
        }
        Silence::Failed => {
            "Sent data was no longer acknowledged, or the network reported that the host cannot be reached: the other host, or the \
             path to it, is gone. Or the peer took no data for as long as TCP_USER_TIMEOUT allows."
        }
        Silence::GaveUp => {
            "The whole request was sent, and nothing came back until the client's own timeout, or its user, ended it. \
             Where the server's end was not traced, it is not known whether the server ever read it."
        }
        Silence::Waiting => {
            "The whole request was sent and not a byte has come back. The server is busy, blocked or waiting itself; a long \
             poll looks the same. Where the server's end was not traced, it may also not have read the request yet."
        }
        Silence::NotAcknowledged => {
            "This kernel sends the request's data again and again, and no acknowledgment comes: the peer's host is \
             down, was restarted or lost its network, or something in between drops the segments; or, on a new connection, the \
             server's accept queue is full, so that its kernel has not completed the handshake. The server's program knows \
             nothing of the request."
        }
        Silence::NotRead(_) => {
            "The request is in the receive queue of the server's socket, which was accepted, but no thread of the \
             process has read it: all workers or pool threads are busy or blocked, or the process is stopped."
        }
        Silence::PartlyRead(_) => {
            "The end of the request is in the receive queue of the server's socket: the process has read its beginning, and \
             not the rest yet: it reads slowly, or waits for something else first."
        }
        Silence::NotAccepted(_) => {
            "The server's kernel completed the handshake and took the request, but no process has called accept(): the \
             connection waited in the listener's accept queue."
        }
        Silence::AwaitsContinue(_) => {
            "The request has Expect: 100-continue, so that the client sends the body only when the server says 100 \
             Continue or after a timeout of its own (RFC 9110, section 10.1.1), and the server waits for the body: \
             each end waits for the other."
        }
        Silence::WindowClosed(_) => {
            "The server's receive buffer was full: its kernel announced a window of 0 because its process did not read. \
             The rest of the request is still at the client. Where the connection failed, TCP_USER_TIMEOUT was over, or the \
             server's kernel had stopped answering the probes of its window."
        }
        Silence::Unfinished(_) => {
            "Only a part of the request came: the client sends slowly or stopped (a body shorter than its \
             Content-Length, a user who left, slow headers), or the server's own time for reading requests was over. \
             The server's handler had nothing to answer yet."
        }
    }
}

/// What to do about it.
pub(super) fn advice(silence: Silence) -> &'static str {
    match silence {
        Silence::ServerClosed => {
            "Check the server's log, and exits and restarts of its process, at this time. Check that address, port \
             and scheme (https?) are what the server expects."
        }
        Silence::ServerEnded => {
            "Find out why the process ended: its log, its exit status (systemctl status, docker inspect), the kernel's \
             log (out of memory, segfault). Repeat a request such as POST only if the program knows that it is safe \
             (RFC 9110, section 9.2.2)."
        }
        Silence::ServerReset(origin) => origin.advice(),
        Silence::SocketGone => {
            "Find out what ended the server's socket (restart, ss -K, a node that took over an address) and what keeps \
             its RST or FIN from the client. Keep-alive probes (SO_KEEPALIVE) find such connections before a request does."
        }
        Silence::Failed | Silence::NotAcknowledged => {
            "Check the link, the other host, and stateful devices in between that forget connections. TCP_USER_TIMEOUT \
             bounds how long the kernel tries."
        }
        Silence::GaveUp | Silence::Waiting => {
            "Find out what the server does with this request (stack, thread dump, its own connections). Give the \
             server a timeout below the client's, so that it answers with an error instead of silence."
        }
        Silence::NotRead(_) => {
            "Find out what the worker threads do instead (stack, thread dump). Add workers, give their work timeouts, or \
             limit how many connections are accepted, so that others are refused instead of kept waiting."
        }
        Silence::NotAccepted(_) => {
            "Find out what the accepting thread or the workers wait for (stack, thread dump)."
        }
        Silence::AwaitsContinue(_) => {
            "Let the server send 100 Continue, or a final status at once; or let the client not send Expect (curl: \
             -H 'Expect:')."
        }
        Silence::WindowClosed(_) | Silence::PartlyRead(_) => {
            "Find out what the server's process does instead of reading (stack, thread dump)."
        }
        Silence::Unfinished(_) => {
            "Find out what the client does after the bytes that were sent: compare its Content-Length with what it \
             writes. A server should bound how long it waits for a request (and answer 408)."
        }
    }
}
