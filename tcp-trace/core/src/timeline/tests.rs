//! What a store keeps, what it evicts, and which ends and exchanges it puts together.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Direction, Flags, Role, State},
    record::{
        Connection, ConnectionId, ConnectionInfo, Dns, DnsOutcome, Endpoint, Ends, Exchange, FlagNames,
        Handshake, Http, Network, NetworkType, Record, Segment, Timing, Transition, Transport,
    },
    time::Time,
};

use super::*;

const CLIENT: &str = "10.0.0.9:50000";
const SERVER: &str = "10.0.0.5:80";

fn id(cookie: u64) -> ConnectionId {
    ConnectionId::of_socket(cookie, 0)
}

fn endpoint(text: &str) -> Endpoint {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

fn network(local: &str, peer: &str) -> Network {
    Network {
        kind: NetworkType::Ipv4,
        local: endpoint(local),
        peer: endpoint(peer),
        netns: None,
        translated: None,
    }
}

fn transition(cookie: u64, time: u64) -> Record {
    Record::Transition(Transition {
        time: Time(time),
        connection: Arc::new(ConnectionInfo {
            network: Some(network(CLIENT, SERVER)),
            ..ConnectionInfo::new(id(cookie))
        }),
        old: State::Close,
        new: State::SynSent,
        in_old_us: None,
        estimated: false,
        gap: false,
        reason: None,
    })
}

fn segment(cookie: u64, time: u64, direction: Direction, flags: Flags, seq: u32) -> Record {
    let flags = FlagNames(flags);
    let (time, connection) = (Time(time), Arc::new(ConnectionInfo::new(id(cookie))));
    Record::Segment(Segment {
        time,
        connection,
        direction,
        flags,
        seq,
        ack: None,
        length: 0,
        retransmit: false,
        refused: None,
    })
}

fn http(cookie: u64, role: Role, index: u64, started_us: u64) -> Record {
    let network = if role == Role::Client { network(CLIENT, SERVER) } else { network(SERVER, CLIENT) };
    Record::Http(Http {
        time: Time((started_us + 100) * 1_000),
        connection: Arc::new(ConnectionInfo {
            role: Some(role),
            network: Some(network),
            ..ConnectionInfo::new(id(cookie))
        }),
        exchange: Box::new(Exchange {
            index,
            timing: Timing { started: Time(started_us * 1_000), total_us: 100, ..Timing::default() },
            ..Exchange::default()
        }),
    })
}

fn summary(cookie: u64, role: Role, local: &str, peer: &str) -> Connection {
    Connection {
        connection: Arc::new(ConnectionInfo {
            role: Some(role),
            network: Some(network(local, peer)),
            ..ConnectionInfo::new(id(cookie))
        }),
        closed: Some(Time(1_000_000)),
        ..Connection::default()
    }
}

fn recorded(summary: Connection) -> Record {
    Record::Connection(Box::new(summary))
}

fn store(keep: Keep, records: impl IntoIterator<Item = Record>) -> Store {
    let mut store = Store::new(keep);
    records.into_iter().for_each(|record| store.record(&record));
    store
}

fn all(records: impl IntoIterator<Item = Record>) -> Store {
    store(Keep::all(1 << 20), records)
}

fn cookies(store: &Store) -> Vec<u64> {
    store.lives().map(|life| life.connection.cookie).collect()
}

/// The cookies of each pair.
fn paired(store: &Store) -> Vec<(Option<u64>, Option<u64>)> {
    let cookie = |life: Option<&Life>| life.map(|life| life.connection.cookie);
    Pairs::new(store).iter().map(|pair| (cookie(pair.client), cookie(pair.server))).collect()
}

#[test]
fn the_first_transitions_and_segments_and_the_last_exchanges_are_kept() {
    let keep = Keep { transitions_max: 2, segments_max: 1, exchanges_max: 2, ..Keep::all(1 << 20) };
    let store = store(
        keep,
        (0..5).flat_map(|number| {
            let syn = segment(1, number, Direction::Out, Flags::SYN, 7);
            [transition(1, number), syn, http(1, Role::Client, number, number)]
        }),
    );
    let life = store.life(id(1)).unwrap();
    assert_eq!(life.transitions.iter().map(|it| it.time.0).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(life.segments.len(), 1);
    assert_eq!(life.exchanges.iter().map(|it| it.exchange.index).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(life.exchange_count, 5);
}

#[test]
fn precious_lives_are_evicted_behind_the_others_that_have_ended() {
    let ended = |cookie| recorded(summary(cookie, Role::Client, CLIENT, SERVER));
    let events = || [transition(1, 0), transition(2, 0), transition(3, 0), ended(1), ended(2), ended(3)];
    let is_precious = |life: &Life| life.connection == id(1);
    let used = all(events()).bytes();
    let mut store = store(Keep { is_precious, ..Keep::all(used) }, events());
    store.record(&transition(4, 0));
    assert_eq!(cookies(&store), [1, 3, 4]);
}

#[test]
fn whole_lives_are_evicted_ended_ones_first_and_in_their_order() {
    let ended = |cookie| recorded(summary(cookie, Role::Client, CLIENT, SERVER));
    let mut store = all([transition(1, 0), transition(2, 0), transition(3, 0), ended(3), ended(2), ended(4)]);
    let used = store.bytes();
    store = self::store(
        Keep::all(used),
        [transition(1, 0), transition(2, 0), transition(3, 0), ended(3), ended(2), ended(4)],
    );
    assert_eq!((cookies(&store), store.evicted()), (vec![1, 2, 3, 4], 0));
    assert_eq!(store.evicted_until(), None);
    store.record(&transition(5, 0));
    assert_eq!((cookies(&store), store.evicted()), (vec![1, 2, 4, 5], 1));
    assert!(store.evicted_until().is_some());
    for cookie in 6..20 {
        store.record(&transition(cookie, 0));
    }
    assert!(!cookies(&store).contains(&2) && !cookies(&store).contains(&4), "{:?}", cookies(&store));
    assert!(store.bytes() <= used, "{} of {used}", store.bytes());
    assert_eq!(store.evicted() + cookies(&store).len() as u64, 19);
}

#[test]
fn what_comes_of_a_life_that_was_evicted_while_it_was_open_is_dropped() {
    let mut store = store(Keep::all(4_000), (0..100).map(|cookie| transition(cookie, cookie)));
    let kept = cookies(&store);
    assert!(!kept.is_empty() && kept.is_sorted() && *kept.last().unwrap() == 99, "{kept:?}");
    let bytes = store.bytes();
    store.record(&transition(0, 200));
    store.record(&recorded(summary(0, Role::Client, CLIENT, SERVER)));
    assert_eq!(cookies(&store), kept);
    assert!(store.bytes() < bytes, "nothing has to be remembered of it any more");
    // A connection of the same name is another one now.
    store.record(&transition(0, 300));
    assert!(cookies(&store).contains(&0));
}

#[test]
fn a_life_that_is_too_large_for_the_store_is_evicted_too() {
    let store = store(Keep::all(10_000), (0..1_000).map(|number| http(1, Role::Client, number, number)));
    assert_eq!((cookies(&store), store.evicted()), (vec![], 1));
    assert!(store.bytes() <= 10_000);
}

#[test]
fn lookups_take_a_part_of_the_room() {
    let dns = |lookup| {
        Record::Dns(Box::new(Dns {
            time: Time(lookup),
            lookup,
            question: None,
            answers: Vec::new(),
            rcode: None,
            outcome: DnsOutcome::Ok,
            started: Time(lookup),
            duration_us: None,
            retransmits: 0,
            process: None,
            cgroup: None,
            server: endpoint(SERVER),
            transport: Transport::Udp,
            network: network(CLIENT, SERVER),
            connection: None,
            error: None,
        }))
    };
    let store = store(Keep::all(20_000), [transition(1, 0)].into_iter().chain((0..1_000).map(dns)));
    assert_eq!(cookies(&store), [1]);
    assert_eq!(store.evicted_lookups() + store.lookups().len() as u64, 1_000);
    assert_eq!(store.lookups().last_key_value().map(|(number, _)| *number), Some(999));
    assert!(store.bytes() <= 20_000);
}

#[test]
fn ends_are_paired_by_handshake_then_by_the_recorded_peer_then_by_addresses() {
    let handshake =
        |syn, syn_ack| Handshake { syn_seq: Some(syn), syn_ack_seq: Some(syn_ack), ..Handshake::default() };
    // Translated addresses, and ports that stay.
    let mut client = summary(1, Role::Client, CLIENT, SERVER);
    let mut server = summary(2, Role::Server, "192.168.0.2:80", "192.168.0.1:50000");
    (client.handshake, server.handshake) = (Some(handshake(5, 6)), Some(handshake(5, 6)));
    // The ports are others too, and the tracer knows it.
    let mut translated = summary(3, Role::Client, "10.0.0.9:50001", SERVER);
    let other = summary(4, Role::Server, "192.168.0.2:8080", "192.168.0.1:61000");
    translated.peer_connection = Some(id(4));
    let plain = summary(5, Role::Server, SERVER, "10.0.0.9:50002");
    let swapped = summary(6, Role::Client, "10.0.0.9:50002", SERVER);
    let alone = summary(7, Role::Server, SERVER, "10.0.0.7:1");
    // The same addresses, at another time.
    let mut later = summary(8, Role::Client, "10.0.0.7:1", SERVER);
    (later.opened, later.closed) = (Time(2_000_000), Some(Time(3_000_000)));
    let listener = summary(9, Role::Listener, SERVER, CLIENT);
    let all = all([client, server, translated, other, plain, swapped, alone, later, listener].map(recorded));
    let mut pairs = paired(&all);
    pairs.sort();
    let expected =
        [(None, Some(7)), (Some(1), Some(2)), (Some(3), Some(4)), (Some(6), Some(5)), (Some(8), None)];
    assert_eq!(pairs, expected);
    let pairs = Pairs::new(&all);
    assert_eq!(pairs.other_end(id(4)).unwrap().connection, id(3));
    assert!(pairs.other_end(id(7)).is_none() && pairs.of(id(9)).is_none());
}

#[test]
fn ends_with_translated_addresses_are_paired() {
    let numbers = Some(Handshake { syn_seq: Some(5), syn_ack_seq: Some(6), ..Handshake::default() });
    let mut client = summary(1, Role::Client, "10.0.0.9:50001", "10.0.0.8:8088");
    // A third host translates both addresses and both ports.
    let mut server = summary(2, Role::Server, "192.168.0.2:80", "192.168.0.1:61000");
    (client.handshake, server.handshake) = (numbers, numbers);
    // Older than the recording: the client's host redirects it, and the server's.
    let redirected = summary(3, Role::Client, "10.0.0.9:50003", "10.9.9.9:80");
    let redirected = translated(redirected, "10.0.0.9:50003", "127.0.0.1:15001");
    let sidecar = summary(4, Role::Server, "127.0.0.1:15001", "10.0.0.9:50003");
    let outside = summary(5, Role::Client, "10.0.0.9:50005", "10.0.0.8:8088");
    let published = summary(6, Role::Server, "10.0.0.8:80", "10.0.0.9:50005");
    let published = translated(published, "10.0.0.8:8088", "10.0.0.9:50005");
    let all = all([client, server, redirected, sidecar, outside, published].map(recorded));
    let mut pairs = paired(&all);
    pairs.sort();
    assert_eq!(pairs, [(Some(1), Some(2)), (Some(3), Some(4)), (Some(5), Some(6))]);
}

/// The same end, whose segments leave its host with these addresses.
fn translated(mut end: Connection, local: &str, peer: &str) -> Connection {
    let ends = Ends { local: endpoint(local), peer: endpoint(peer) };
    let info = Arc::make_mut(&mut end.connection);
    info.network = info.network.map(|network| Network { translated: Some(ends), ..network });
    end
}

#[test]
fn each_exchange_is_there_once_as_the_client_saw_it_where_it_did() {
    let records = || {
        let mut ends = [summary(1, Role::Client, CLIENT, SERVER), summary(2, Role::Server, SERVER, CLIENT)];
        ends[0].closed = Some(Time(10_000_000));
        ends.map(recorded).into_iter().chain([
            http(2, Role::Server, 0, 10),
            http(1, Role::Client, 0, 9),
            // Its end was not seen to get this far.
            http(2, Role::Server, 1, 2_010),
        ])
    };
    let found = |store: &Store| -> Vec<_> {
        Pairs::new(store)
            .exchanges()
            .iter()
            .map(|http| (http.connection.id.cookie, http.exchange.index))
            .collect()
    };
    assert_eq!(found(&all(records())), [(1, 0), (2, 1)]);
    // Both ends count from the start: what was late at one end is still the same.
    let from_start = records().map(|mut record| {
        if let Record::Connection(summary) = &mut record {
            summary.seen_from_start = true;
        }
        record
    });
    let late = [http(1, Role::Client, 1, 9_000)];
    assert_eq!(found(&all(from_start.chain(late))), [(1, 0), (1, 1)]);
}
