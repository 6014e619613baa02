//! Two hosts, as network namespaces joined by a veth pair.

use std::thread;

use tcp_trace_model::event::Role;
use tcp_trace_tests::{Curl, Nginx, Tracer, assert_same, curl_in, joined_namespaces};

const REQUESTS: usize = 200;
const AT_ONCE: usize = 50;

/// Every namespace has its own ports, so the same one can be used; the address makes it this test's own.
const PORT: u16 = 8080;

#[test]
fn requests_between_namespaces_are_recorded_once_per_end() {
    let (client, server) = joined_namespaces();
    for (address, net) in [("10.99.0.2", "10.99.0.0/24"), ("[fd99::2]", "fd99::/64")] {
        let nginx = Nginx::start_in(&server, PORT);
        let tracer = Tracer::start(&["--addr", net, "--port", &PORT.to_string()]);
        let request = |number: usize| curl_in(&client, &[&nginx.url(address, &format!("/echo/{number}"))]);
        let mut curls: Vec<Curl> = (0..REQUESTS).flat_map(request).collect();
        let concurrent = thread::scope(|scope| {
            let request = &request;
            let threads: Vec<_> = (0..AT_ONCE)
                .map(|thread| {
                    let numbers = (REQUESTS + thread..2 * REQUESTS).step_by(AT_ONCE);
                    scope.spawn(move || numbers.flat_map(request).collect::<Vec<_>>())
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no curl fails")).collect::<Vec<_>>()
        });
        curls.extend(concurrent);
        // Of each two ends, the one that closed second; the other is in TIME_WAIT by then.
        tracer.wait_for_lines("connection", 2 * REQUESTS);
        let recording = tracer.stop();
        assert_same(&recording, &nginx.access_log(2 * REQUESTS), &curls);
        for (role, namespace) in [(Role::Client, &client), (Role::Server, &server)] {
            for connection in recording.connections_of(role) {
                assert_eq!(
                    connection.network.expect("it is known").netns,
                    Some(namespace.inode()),
                    "{role:?}"
                );
            }
        }
    }
}
