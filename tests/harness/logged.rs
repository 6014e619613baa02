//! A recording against a server's log alone, whoever the client is: the same requests in the same order on each
//! connection.

use std::collections::BTreeMap;

use tcp_trace_model::{event::Role, record::Http};

use crate::{
    AccessLogLine, Recording,
    compare::{assert_ends_agree, assert_figures, assert_process},
};

/// Both ends of each connection carried exactly the exchanges that the server logged, in its order, with its figures
/// and by its process; nothing was lost.
pub fn assert_logged(recording: &Recording, log: &[AccessLogLine], server_name: &str) {
    assert_eq!(recording.end.lost, 0);
    let mut logged: BTreeMap<u16, Vec<&AccessLogLine>> = BTreeMap::new();
    for line in log {
        logged.entry(line.remote_port).or_default().push(line);
    }
    for role in [Role::Client, Role::Server] {
        let exchanges = recording.http_of(role);
        assert_eq!(exchanges.len(), log.len(), "exchanges at the {role:?}'s end");
        let mut recorded: BTreeMap<u16, Vec<&Http>> = BTreeMap::new();
        for http in exchanges {
            recorded.entry(client_port(http)).or_default().push(http);
        }
        assert_eq!(recorded.keys().collect::<Vec<_>>(), logged.keys().collect::<Vec<_>>(), "{role:?}");
        for (port, lines) in &logged {
            let exchanges = &recorded[port];
            assert_eq!(targets(exchanges), targets_of(lines), "{role:?} of port {port}");
            for (http, line) in exchanges.iter().zip(lines) {
                assert_figures(http, line);
                if role == Role::Server {
                    assert_process(http, line.pid, server_name);
                }
            }
        }
    }
    assert_ends_agree(recording);
}

/// Asserts that a server answered these targets with these status codes. Its workers' lines need not be in the order of
/// the requests.
pub fn assert_statuses(log: &[AccessLogLine], expected: &[(&str, u16)]) {
    let mut logged: Vec<_> = log.iter().map(|line| (line.uri.as_str(), line.status)).collect();
    let mut expected = expected.to_vec();
    logged.sort_unstable();
    expected.sort_unstable();
    assert_eq!(logged, expected, "the server did what the test is about");
}

/// The client's port, whichever end reports.
pub fn client_port(http: &Http) -> u16 {
    if http.connection.role == Some(Role::Client) {
        http.connection.ends().local.port
    } else {
        http.connection.ends().peer.port
    }
}

fn targets(exchanges: &[&Http]) -> Vec<String> {
    let target =
        |http: &&Http| http.exchange.request.as_ref().map(|request| request.target.printable().to_string());
    exchanges.iter().map(|http| target(http).expect("requests are seen")).collect()
}

fn targets_of(lines: &[&AccessLogLine]) -> Vec<String> {
    lines.iter().map(|line| line.uri.clone()).collect()
}
