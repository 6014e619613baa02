//! Which functions of Go keep their arguments.

use iced_x86::{Decoder, DecoderOptions};

use super::*;

/// `cmp 0x10(%r14),%rsp; jbe; sub $0x68,%rsp`
const PROLOGUE: &[u8] = &[0x49, 0x3b, 0x66, 0x10, 0x0f, 0x86, 0xc2, 3, 0, 0, 0x48, 0x83, 0xec, 0x68];
/// `push %rbp; mov %rsp,%rbp; sub $0x60,%rsp`
const FRAME: &[u8] = &[0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x60];
/// `mov %rax,0x70(%rsp)`
const RECEIVER: &[u8] = &[0x48, 0x89, 0x44, 0x24, 0x70];
/// `mov %rbx,0x78(%rsp)`
const BUFFER: &[u8] = &[0x48, 0x89, 0x5c, 0x24, 0x78];
/// `mov %rcx,0x80(%rsp)`, and `mov 0x78(%rsp),%rax`
const OTHERS: &[u8] = &[0x48, 0x89, 0x8c, 0x24, 0x80, 0, 0, 0, 0x48, 0x8b, 0x44, 0x24, 0x78];
const CALL: &[u8] = &[0xe8, 0, 0, 0, 0];
/// `add $0x68,%rsp; ret`
const END: &[u8] = &[0x48, 0x83, 0xc4, 0x68, 0xc3];

#[test]
fn arguments_are_kept_that_are_stored_at_once_and_never_again() {
    for (code, expected) in [
        ([PROLOGUE, BUFFER, RECEIVER, OTHERS, CALL, OTHERS, END].concat(), true),
        ([FRAME, RECEIVER, BUFFER, CALL, END].concat(), true),
        // They are not stored, or not both, or not before a call.
        ([PROLOGUE, CALL, END].concat(), false),
        ([PROLOGUE, RECEIVER, CALL, END].concat(), false),
        ([PROLOGUE, RECEIVER, CALL, BUFFER, END].concat(), false),
        // Something else is stored there later: `mov %rdx,0x70(%rsp)`, `movups %xmm15,0x68(%rsp)`, `lea 0x70(%rsp),%rdx`
        ([PROLOGUE, RECEIVER, BUFFER, CALL, &[0x48, 0x89, 0x54, 0x24, 0x70], END].concat(), false),
        ([PROLOGUE, RECEIVER, BUFFER, CALL, &[0x44, 0x0f, 0x11, 0x7c, 0x24, 0x68], END].concat(), false),
        ([PROLOGUE, RECEIVER, BUFFER, CALL, &[0x48, 0x8d, 0x54, 0x24, 0x70], END].concat(), false),
        // Beside it: `movups %xmm15,0x58(%rsp)`
        ([PROLOGUE, RECEIVER, BUFFER, CALL, &[0x44, 0x0f, 0x11, 0x7c, 0x24, 0x58], END].concat(), true),
        // A receiver that is a copy: `mov %rbx,%rax` has no place, so `mov %rcx,0x70(%rsp)`.
        ([PROLOGUE, &[0x48, 0x89, 0x4c, 0x24, 0x70], BUFFER, CALL, END].concat(), false),
        (Vec::new(), false),
    ] {
        let instructions: Vec<_> = Decoder::with_ip(64, &code, 0, DecoderOptions::NONE).iter().collect();
        assert_eq!(keeps_arguments(&instructions), expected, "{code:x?}");
    }
}

#[test]
fn programs_say_which_go_built_them() {
    let section = |flags: u8, version: &[u8]| {
        let head = [BUILD_INFO, &[8, flags], &[0; 16], &[version.len() as u8]].concat();
        [head, version.to_vec()].concat()
    };
    for (bytes, expected) in [
        (section(2, b"go1.19.8"), Build::Old),
        (section(2, b"go1.20"), Build::Old),
        (section(2, b"go1.21.0"), Build::Go),
        (section(2, b"devel go1.27-abcdef"), Build::Go),
        (section(2, b"go2"), Build::Go),
        (section(2, b"go1.99999999999999"), Build::Go),
        (section(2, b""), Build::Go),
        (section(0, b""), Build::Ancient),
        (b"\xff Go buildinf".to_vec(), Build::Other),
        (b"another section of the same name".to_vec(), Build::Other),
        (Vec::new(), Build::Other),
    ] {
        assert_eq!(Build::said(&bytes), expected, "{bytes:x?}");
    }
}
