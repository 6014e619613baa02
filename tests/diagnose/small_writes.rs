//! Messages that are written in small parts, whose last part waits for a delayed ACK.

use std::net::TcpStream;

use tcp_trace_tests::{PATIENCE, TimeWindow, free_port, now, number, while_doing};

use crate::{
    connects::tracing,
    http::{OK, assert_code, pair, receive, send},
};

const HEAD: &[u8] = b"POST /n HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n";
const BODY: &[u8] = b"{}";
/// How long a message takes that waits for a delayed ACK, for `tcp-trace diagnose`.
const DELAYED_US: std::ops::RangeInclusive<u64> = 38_000..=50_000;
/// As many are wanted that took so long.
const DELAYED_MIN: u64 = 6;
/// Timers may be late: as many are sent at most.
const MESSAGES_MAX: u64 = 60;

/// What was sent, head and body written one after the other.
#[derive(Debug, Default)]
struct Sent {
    messages: u64,
    /// Those that took as long as a delayed ACK.
    delayed: u64,
    /// Those that the test cannot decide.
    unsure: u64,
}

impl Sent {
    /// One more exchange.
    fn exchange(&mut self, client: &TcpStream, server: &TcpStream) {
        let head = while_doing(|| send(client, HEAD));
        // From when the body was not there yet until it was.
        let mut body = head;
        body.from = head.to;
        send(client, BODY);
        let whole = HEAD.len() + BODY.len();
        loop {
            let asked = now();
            if rustix::io::ioctl_fionread(server).expect("it is a socket") == whole as u64 {
                break;
            }
            body.from = asked;
            assert!(
                u128::from(asked.micros_since(head.from)) < PATIENCE.as_micros(),
                "the body does not come"
            );
        }
        body.to = now();
        self.note(head, body);
        receive(server, whole);
        send(server, OK);
        receive(client, OK.len());
    }

    fn note(&mut self, head: TimeWindow, body: TimeWindow) {
        let (least, most) = head.micros_until(body);
        self.messages += 1;
        if DELAYED_US.contains(&least) && DELAYED_US.contains(&most) {
            self.delayed += 1;
        } else if least <= *DELAYED_US.end() && most >= *DELAYED_US.start() {
            self.unsure += 1;
        }
    }

    /// Whether too many of them were delayed for a coincidence.
    fn is_enough(&self) -> bool {
        self.delayed >= DELAYED_MIN && self.delayed * 4 >= self.messages
    }
}

#[test]
fn small_writes_that_wait_for_a_delayed_ack_are_reported() {
    let (port, mut sent) = (free_port(), Sent::default());
    let diagnosis = tracing(port, &[], || {
        let (client, server) = pair(port);
        while !sent.is_enough() {
            assert!(sent.messages < MESSAGES_MAX, "{sent:?}");
            sent.exchange(&client, &server);
        }
    });
    let finding = diagnosis.only();
    assert_code(finding, "delayed_ack_stall", "request");
    assert_eq!(number(finding, "messages"), sent.messages);
    let delayed = number(finding, "delayed");
    assert!((sent.delayed..=sent.delayed + sent.unsure).contains(&delayed), "{sent:?}: {finding:#?}");
}

#[test]
fn small_writes_that_do_not_wait_are_fine() {
    let port = free_port();
    tracing(port, &[], || {
        let (client, server) = pair(port);
        client.set_nodelay(true).expect("it is a socket");
        let mut sent = Sent::default();
        while sent.messages < 12 {
            sent.exchange(&client, &server);
        }
    })
    .expect_none();
}
