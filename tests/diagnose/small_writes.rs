//! Messages that are written in small parts, whose last part waits for a delayed ACK.

use std::net::{TcpListener, TcpStream};

use tcp_trace_tests::{Moment, PATIENCE, free_port, now, number, while_doing};

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
    /// Those of which the test cannot tell.
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

    fn note(&mut self, head: Moment, body: Moment) {
        let times = [body.from.micros_since(head.to), body.to.micros_since(head.from)];
        let (first, last) = (DELAYED_US.start(), DELAYED_US.end());
        self.messages += 1;
        if times.iter().all(|us| DELAYED_US.contains(us)) {
            self.delayed += 1;
        } else if times[0] <= *last && times[1] >= *first {
            self.unsure += 1;
        }
    }

    /// Whether so many of them were delayed that it is no chance.
    fn is_enough(&self) -> bool {
        self.delayed >= DELAYED_MIN && self.delayed * 4 >= self.messages
    }
}

#[test]
fn small_writes_that_wait_for_a_delayed_ack_are_told() {
    let (port, mut sent) = (free_port(), Sent::default());
    let diagnosis = tracing(port, &[], || {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let (client, server) = pair(&listener);
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
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let (client, server) = pair(&listener);
        client.set_nodelay(true).expect("it is a socket");
        let mut sent = Sent::default();
        while sent.messages < 12 {
            sent.exchange(&client, &server);
        }
    })
    .expect_none();
}
