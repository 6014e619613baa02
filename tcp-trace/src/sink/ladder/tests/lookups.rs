//! The lookup of a name above the ladder of the connection that follows it.

use tcp_trace_model::record::{Dns, DnsAnswer, DnsOutcome, DnsQuestion, Resolved, Transport};

use super::*;

pub(super) fn lookup(number: u64, name: &str, outcome: DnsOutcome) -> Record {
    let endpoint = |port| Endpoint { address: [127, 0, 0, 53].into(), port };
    let data = "192.0.2.1".to_owned();
    let answer = DnsAnswer { name: name.to_owned(), kind: "A".to_owned(), ttl: 60, data };
    Record::Dns(Box::new(Dns {
        time: at(0),
        lookup: number,
        question: Some(DnsQuestion { name: name.to_owned(), kind: "A".to_owned() }),
        answers: if outcome == DnsOutcome::Ok { vec![answer] } else { vec![] },
        rcode: None,
        outcome,
        started: at(0),
        duration_us: Some(1_200),
        retransmits: 0,
        process: info(4101).process.as_deref().cloned(),
        cgroup: None,
        server: endpoint(53),
        transport: Transport::Udp,
        network: Network {
            kind: NetworkType::Ipv4,
            local: endpoint(40000),
            peer: endpoint(53),
            netns: None,
            translated: None,
        },
        connection: None,
        error: None,
    }))
}

#[test]
fn a_lookup_stands_above_the_connection_that_follows_it() {
    let mut records = session();
    for record in &mut records {
        if let Record::Connection(summary) = record
            && summary.connection.role == Some(Role::Client)
        {
            let name = "example.com".to_owned();
            summary.dns = Some(Resolved { lookup: 1, name, duration_us: 1_200, age_us: 300 });
        }
    }
    records.insert(0, lookup(1, "example.com", DnsOutcome::Ok));
    // The same process queries another type at the same time, and another name.
    let Record::Dns(mut other) = lookup(3, "Example.com", DnsOutcome::NoData) else { unreachable!() };
    if let Some(question) = &mut other.question {
        question.kind = "AAAA".to_owned();
    }
    records.insert(1, Record::Dns(other));
    records.insert(2, lookup(2, "typo.example", DnsOutcome::Nxdomain));
    let text = print(&records);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "name     DNS A example.com → 192.0.2.1  in 1.20 ms;");
    assert_eq!(lines[1], "         from 127.0.0.53:53, 300 us before the connect");
    assert_eq!(lines[2], "         DNS AAAA Example.com → no AAAA record  in 1.20 ms");
    assert_eq!(lines[3], "address  127.0.0.1:8080");
    assert!(lines[4].starts_with("time     lookup 1.20 ms + connect 22 us + "), "{text}");
    assert!(lines[6].contains("process"), "{text}");
    assert_eq!(
        lines[lines.len() - 3..],
        [
            "Lookups without a connection:",
            "curl[13838]: DNS A typo.example → no such name (NXDOMAIN)  in 1.20 ms",
            ""
        ]
    );
}
