//! Which layer reads what.

use tcp_trace_model::event::Role;

use super::*;

/// Plays bytes to a layer that begins with a connection.
struct Played {
    layer: Layer,
    offsets: [u64; 2],
    found: Found,
}

impl Played {
    fn new(role: Option<Role>) -> Self {
        let from_start = [role.is_some(); 2];
        let layer = Layer::Sniff(Box::new(Sniff { role, from_start, established: None }));
        Self { layer, offsets: [0; 2], found: Found::default() }
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8]) {
        let offset = self.offsets[direction.index()];
        let chunk = Chunk::Bytes { offset, bytes, time: Time(0) };
        let mut cx = Cx { is_other_incomplete: false, found: &mut self.found };
        self.layer.input(direction, chunk, &mut cx);
        self.offsets[direction.index()] += bytes.len() as u64;
    }

    fn is_opaque(&self) -> bool {
        matches!(self.layer, Layer::Opaque)
    }
}

#[test]
fn what_nothing_understands_is_not_needed() {
    for (bytes, is_understood) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], true),
        (b"SSH-2.0-x\r\n", false),
        (b"\x16\x03\x01\0\x05abcde", false),
    ] {
        let mut played = Played::new(Some(Role::Client));
        played.bytes(Direction::Out, bytes);
        assert_eq!(!played.is_opaque(), is_understood, "{bytes:?}");
        let need = played.layer.need(Direction::In);
        assert_eq!(need != Need::Nothing, is_understood);
    }
}

#[test]
fn a_client_hello_is_read_to_its_end_and_then_nothing() {
    let mut played = Played::new(Some(Role::Client));
    // A record of 300 bytes.
    played.bytes(Direction::Out, b"\x16\x03\x01\x01\x2c\x01\0\x01\x28\x03\x03");
    played.bytes(Direction::In, b"\x16\x03\x03");
    assert_eq!(played.layer.need(Direction::Out), Need::All);
    played.bytes(Direction::Out, &[0; 294]);
    assert!(played.is_opaque());
}
