//! What stands above a ladder, and the topics below.

use tcp_trace_model::record::{
    DnsOutcome, End, Interface, NextHop, Resolved, Route, RouteType, Server, ServerSource, StateSpan, Url,
};

use super::{lookups::lookup, *};

/// The session with its client's summary and its exchanges changed.
fn changed(change: impl Fn(&mut Connection)) -> Vec<Record> {
    let mut records = session();
    for record in &mut records {
        match record {
            Record::Connection(summary) if summary.connection.role == Some(Role::Client) => change(summary),
            Record::Http(http) => {
                let query = Some("x=1".into());
                let (scheme, host) = (Some("http".into()), Some("www.example.com:8080".into()));
                http.exchange.url = Some(Url { scheme, host, path: "/a".into(), query });
            }
            _ => {}
        }
    }
    records
}

fn route(kind: RouteType, next_hop: Option<NextHop>) -> Route {
    let interface = Interface { index: 3, name: Some("enp0s31f6".into()) };
    Route { kind, interface, preferred_source: None, next_hop }
}

fn hop(address: &str, mac: Option<&str>, state: Option<&str>) -> Option<NextHop> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Some(NextHop { address: address.parse().unwrap(), mac: owned(mac), state: owned(state) })
}

/// The lines above the columns.
fn above(records: &[Record]) -> Vec<String> {
    let text = print(records);
    text.lines().take_while(|line| !line.contains("process")).map(str::to_owned).collect()
}

#[test]
fn the_steps_before_the_connection_stand_above_it() {
    let mac = Some("5e:00:53:00:00:01");
    let next = route(RouteType::Gateway, hop("192.0.2.254", mac, Some("REACHABLE")));
    let mut records = changed(|summary| {
        let name = "www.example.com".to_owned();
        summary.dns = Some(Resolved { lookup: 1, name, duration_us: 1_200, age_us: 300 });
        summary.route = Some(next.clone());
    });
    let Record::Dns(mut dns) = lookup(1, "www.example.com", DnsOutcome::Ok) else { unreachable!() };
    let mut alias = dns.answers[0].clone();
    (alias.kind, alias.data) = ("CNAME".to_owned(), "web.example.net".to_owned());
    dns.answers.insert(0, alias);
    records.insert(0, Record::Dns(dns));
    assert_eq!(
        above(&records),
        [
            "URL      http://www.example.com:8080/a?x=1",
            "name     DNS A www.example.com → web.example.net → 192.0.2.1  in 1.20 ms;",
            "         from 127.0.0.53:53, 300 us before the connect",
            "address  127.0.0.1:8080",
            "from     127.0.0.1:41352 via enp0s31f6, next hop 192.0.2.254 (5e:00:53:00:00:01)",
            "time     lookup 1.20 ms + connect 22 us + idle 78 us + wait 850 us",
            "         + receive 50 us = 2.20 ms",
        ]
    );
}

#[test]
fn the_way_is_to_a_router_a_neighbour_or_this_host() {
    use RouteType::{Gateway, Local, OnLink};
    let mac = Some("5e:00:53:00:00:01");
    for (kind, next_hop, expected) in [
        (Local, None, "to this host"),
        (OnLink, hop("10.0.0.2", mac, Some("STALE")), "on link (5e:00:53:00:00:01)"),
        (OnLink, hop("10.0.0.2", None, Some("NOARP")), "on link (no MAC: NOARP)"),
        (Gateway, hop("10.0.0.1", None, None), "next hop 10.0.0.1 (MAC unknown)"),
        // The last one that answered may be known still.
        (Gateway, hop("10.0.0.1", mac, Some("FAILED")), "next hop 10.0.0.1 (no MAC: FAILED)"),
        (Gateway, None, "next hop unknown"),
    ] {
        let lines = above(&changed(|summary| summary.route = Some(route(kind, next_hop.clone()))));
        let way = lines[2..].iter().take_while(|line| !line.starts_with("time "));
        let line = way.map(|line| line.trim_start()).collect::<Vec<_>>().join(" ");
        assert_eq!(line, format!("from     127.0.0.1:41352 via enp0s31f6, {expected}"));
    }
}

#[test]
fn a_name_without_a_lookup_says_so() {
    let lines = above(&changed(|summary| {
        summary.server = Some(Server { address: "www.example.com".to_owned(), source: ServerSource::Host });
    }));
    assert_eq!(
        lines,
        [
            "URL      http://www.example.com:8080/a?x=1",
            "name     www.example.com  (from the Host header)",
            "address  127.0.0.1:8080",
            "time     connect 22 us + idle 78 us + wait 850 us + receive 50 us = 1.00 ms",
        ]
    );
    let lines = above(&changed(|summary| {
        let name = "www.example.com".to_owned();
        summary.dns = Some(Resolved { lookup: 1, name, duration_us: 1_200, age_us: 300 });
    }));
    assert_eq!(lines[1], "name     www.example.com  looked up in 1.20 ms; 300 us before the connect");
}

#[test]
fn a_long_url_is_cut_to_the_columns() {
    let mut records = changed(|_| {});
    for record in &mut records {
        if let Record::Http(http) = record
            && let Some(url) = &mut http.exchange.url
        {
            url.path = format!("/{}", "a".repeat(200)).as_str().into();
        }
    }
    let lines = above(&records);
    assert_eq!(lines[0].chars().count(), 80);
    assert!(lines[0].starts_with("URL      http://www.") && lines[0].ends_with('…'), "{lines:?}");
}

/// The line that names topics.
fn more(records: &[Record]) -> String {
    let end = End {
        time: at(2_000),
        connections: 2,
        http: 2,
        dns: 0,
        tls: 0,
        protocols: Default::default(),
        events: 20,
        lost: 0,
        unlinked: Default::default(),
        interrupted: false,
    };
    let text = print(&[records, &[Record::End(end)]].concat());
    let start = text.find("more: ").unwrap_or(text.len());
    let lines: Vec<_> = text[start..].lines().take_while(|line| !line.contains(" 0 lost")).collect();
    lines.join("\n")
}

#[test]
fn the_topics_are_those_of_what_was_printed() {
    assert_eq!(more(&session()), "more: tcp-trace explain three-way-handshake, four-step-close, TIME_WAIT");
    let mut failed = changed(|summary| {
        summary.close.reason = Some("ECONNRESET".to_owned());
        summary.route = Some(route(RouteType::OnLink, None));
    });
    for record in &mut failed {
        match record {
            Record::Http(http) => http.exchange.response.as_mut().unwrap().status_code = 503,
            Record::Segment(segment) if segment.flags.0.has(Flags::FIN) => segment.flags.0 = Flags::RST,
            Record::Transition(transition) => transition.gap = true,
            _ => {}
        }
    }
    assert_eq!(
        more(&failed),
        "more: tcp-trace explain GAP, 503, ECONNRESET, RST, life-of-a-URL, next-hop,\n    \
         three-way-handshake, TIME_WAIT"
    );
    let stuck = changed(|summary| {
        summary.close.how = How::Abandoned;
        let (state, entered) = (State::SynSent, at(0));
        summary.states = vec![StateSpan { state, entered, duration_us: None, estimated: false }];
    });
    assert!(more(&stuck).starts_with("more: tcp-trace explain SYN_SENT, life-of-a-URL,"), "{stuck:?}");
    assert_eq!(more(&[]), "");
}
