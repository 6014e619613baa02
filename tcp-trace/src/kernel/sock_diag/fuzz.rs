//! What a fuzzer runs: any bytes in place of an answer.

use super::{
    Dump,
    answer::{List, one_socket},
};
use crate::kernel::netlink::message::HEADER_LENGTH;

/// The request that is answered.
const SEQUENCE: u32 = 1;

/// A datagram, as part of a list and as the answer for one socket: every socket is counted once, and there are no more
/// than messages that fit.
///
/// # Panics
/// When that does not hold.
pub fn answer(datagram: &[u8]) {
    let (mut dump, mut given) = (Dump::default(), 0);
    let each = &mut |_| given += 1;
    let mut list = List { sequence: SEQUENCE, interrupted: false, dump: &mut dump, each };
    // An error is an answer too.
    let _ = list.take(datagram);
    assert_eq!(dump.sockets, given);
    assert!(dump.sockets + dump.malformed <= (datagram.len() / HEADER_LENGTH) as u64);
    assert_eq!(dump.malformed > 0, dump.first_error.is_some());
    if let Ok(Some(_)) = one_socket(datagram, SEQUENCE) {
        assert!(datagram.len() >= HEADER_LENGTH);
    }
}
