//! Tests of lists in parts, interrupted lists and refusals.

use proptest::prelude::*;
use tcp_trace_model::event::State;

use super::{super::socket::tests::message as socket_bytes, *};
use crate::kernel::netlink::message::HEADER_LENGTH;

const SEQUENCE: u32 = 9;
const ESTABLISHED: [u8; 4] = [2, 1, 0, 0];
const LISTEN: [u8; 4] = [2, 10, 0, 0];
const IMPOSSIBLE: [u8; 4] = [2, 99, 0, 0];

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = (HEADER_LENGTH + payload.len()) as u32;
    [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &sequence.to_ne_bytes(),
        &[0; 4],
        payload,
    ]
    .concat()
}

fn socket(start: [u8; 4]) -> Vec<u8> {
    message(SOCK_DIAG_BY_FAMILY, 2, SEQUENCE, &socket_bytes(start))
}

fn end(kind: u16, flags: u16, error: i32) -> Vec<u8> {
    message(kind, flags, SEQUENCE, &(-error).to_ne_bytes())
}

/// Takes datagrams until the list ends: what it gave, how it went, and whether it was interrupted.
fn list(datagrams: &[Vec<u8>]) -> Result<(Vec<State>, Dump, bool), DiagError> {
    let (mut states, mut dump) = (Vec::new(), Dump::default());
    let mut each = |socket: Socket| states.push(socket.state);
    let mut list = List { sequence: SEQUENCE, interrupted: false, dump: &mut dump, each: &mut each };
    for (index, datagram) in datagrams.iter().enumerate() {
        assert_eq!(list.take(datagram)?, index + 1 == datagrams.len(), "the list ends with datagram {index}");
    }
    let interrupted = list.interrupted;
    Ok((states, dump, interrupted))
}

#[test]
fn a_list_in_parts_is_one_list() {
    let parts = [[socket(ESTABLISHED), socket(LISTEN)].concat(), socket(LISTEN), end(NLMSG_DONE, 2, 0)];
    let (states, dump, interrupted) = list(&parts).unwrap();
    assert_eq!(states, [State::Established, State::Listen, State::Listen]);
    assert_eq!(dump, Dump { sockets: 3, ..Dump::default() });
    assert!(!interrupted);
}

#[test]
fn remains_of_another_list_are_passed_over() {
    let other = message(SOCK_DIAG_BY_FAMILY, 2, SEQUENCE - 1, &socket_bytes(LISTEN));
    let done = message(NLMSG_DONE, NLM_F_DUMP_INTR, SEQUENCE - 1, &[0; 4]);
    let (states, _, interrupted) = list(&[other, done, end(NLMSG_DONE, 2, 0)]).unwrap();
    assert!(states.is_empty() && !interrupted);
}

#[test]
fn an_interrupted_list_is_told_wherever_the_flag_stands() {
    let flagged = message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP_INTR, SEQUENCE, &socket_bytes(LISTEN));
    assert!(list(&[flagged, end(NLMSG_DONE, 0, 0)]).unwrap().2);
    assert!(list(&[socket(LISTEN), end(NLMSG_DONE, NLM_F_DUMP_INTR, 0)]).unwrap().2);
}

#[test]
fn a_malformed_socket_is_counted_and_the_next_ones_are_given() {
    let parts = [[socket(IMPOSSIBLE), socket(LISTEN), socket(IMPOSSIBLE)].concat(), end(NLMSG_DONE, 2, 0)];
    let (states, dump, _) = list(&parts).unwrap();
    assert_eq!(states, [State::Listen]);
    assert_eq!((dump.sockets, dump.malformed), (1, 2));
    assert_eq!(dump.first_error, Some(MessageError::Value { field: "idiag_state", value: 99 }));
}

#[test]
fn refusals_are_told_by_their_reason() {
    assert!(matches!(list(&[end(NLMSG_ERROR, 0, 2)]), Err(DiagError::Unsupported)));
    for kind in [NLMSG_ERROR, NLMSG_DONE] {
        let refused = list(&[end(kind, 0, 1)]).unwrap_err();
        let DiagError::Failed { source, .. } = refused else { panic!("{refused:?}") };
        assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
    }
    assert!(matches!(list(&[vec![1; 20]]), Err(DiagError::Malformed(_))));
}

#[test]
fn one_socket_is_found_or_not() {
    let found = one_socket(&socket(LISTEN), SEQUENCE).unwrap().unwrap().unwrap();
    assert_eq!(found.state, State::Listen);
    assert_eq!(one_socket(&end(NLMSG_ERROR, 0, 2), SEQUENCE).unwrap(), Some(None));
    assert_eq!(one_socket(&socket(LISTEN), SEQUENCE + 1).unwrap(), None);
    assert!(matches!(one_socket(&end(NLMSG_ERROR, 0, 22), SEQUENCE), Err(DiagError::Failed { .. })));
}

proptest! {
    #[test]
    fn any_datagram_is_taken_or_refused(
        kind in prop_oneof![Just(SOCK_DIAG_BY_FAMILY), Just(NLMSG_DONE), Just(NLMSG_ERROR), any::<u16>()],
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let datagram = message(kind, 0, SEQUENCE, &payload);
        let mut dump = Dump::default();
        let mut each = |_| {};
        let mut list = List { sequence: SEQUENCE, interrupted: false, dump: &mut dump, each: &mut each };
        // The answer does not matter, only that there is one.
        let _ = list.take(&datagram);
        let _ = one_socket(&datagram, SEQUENCE);
    }
}
