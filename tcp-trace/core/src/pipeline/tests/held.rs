//! Records that wait until it is known whose they are.

use super::*;

/// A listener's connection that has had so many exchanges; its process is unknown.
fn sending(filter: Filter, exchanges: usize) -> Host {
    let mut host = Host::new(filter);
    host.handshake();
    let server = endpoints(8080, 41352);
    let (mut sent, mut received) = (SERVER_ISN + 1, CLIENT_ISN + 1);
    for _ in 0..exchanges {
        let (direction, flags) = (Direction::In, Flags::ACK);
        host.segment(SERVER, server, direction, flags, (received, sent), REQUEST, State::Established);
        received += REQUEST.len() as u32;
        let numbers = (sent, received);
        host.segment(SERVER, server, Direction::Out, flags, numbers, RESPONSE, State::Established);
        sent += RESPONSE.len() as u32;
    }
    host
}

/// The exchanges of it that come out, and what counts as lost.
fn play(filter: Filter, exchanges: usize) -> (usize, u64) {
    let mut host = sending(filter, exchanges);
    host.tick(1);
    let count = host.out.iter().filter(|record| matches!(record, Record::Http(_))).count();
    (count, host.lost)
}

/// Whether a record is about the server's end.
fn is_of_server(record: &Record) -> bool {
    let connection = match record {
        Record::Transition(transition) => &transition.connection,
        Record::Segment(segment) => &segment.connection,
        Record::Http(http) => &http.connection,
        _ => return false,
    };
    connection.id.cookie == SERVER
}

#[test]
fn what_the_filter_selects_waits_for_its_process_only_as_long_as_there_is_room() {
    assert_eq!(play(Filter::default(), 10), (10, 0));
    let many = HELD_RECORDS_MAX + 10;
    assert_eq!(play(Filter::default(), many), (many, 0), "nothing is dropped");
    let other = Filter { port: vec![9], ..Filter::default() };
    assert_eq!(play(other, many), (0, 0), "what is not selected is not lost");
}

#[test]
fn records_that_are_dropped_until_a_process_selects_them_are_counted() {
    let by_name = Filter { comm: vec!["nginx".to_owned()], ..Filter::default() };
    let many = HELD_RECORDS_MAX + 10;
    assert_eq!(play(by_name.clone(), many), (0, 0), "whose they are stays unknown");
    let mut host = sending(by_name, many);
    host.event(SERVER, EventKind::Owner(owner(7, "nginx")));
    host.tick(1);
    let shown = host.out.iter().filter(|record| is_of_server(record)).count();
    assert_eq!(shown, HELD_RECORDS_MAX);
    assert!(host.lost >= 10, "{}", host.lost);
}

#[test]
fn the_port_that_was_not_chosen_yet_is_filled_in() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let Some(Record::Transition(first)) = host.out.first() else { panic!("{:?}", host.out) };
    assert_eq!(first.connection.ends().local.port, 41352);
}

#[test]
fn an_accepted_connection_waits_for_its_process_but_not_for_ever() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    assert!(host.transitions("c4102").is_empty());
    host.tick(1);
    assert_eq!(host.transitions("c4102").len(), 2);
    let unknown = host.out.iter().any(|record| {
        matches!(record, Record::Transition(t) if t.connection.id.cookie == SERVER && t.connection.process.is_none())
    });
    assert!(unknown, "unknown stays unknown");
}
