//! rustls 0.23 inside of a program, by its symbols. Its functions that matter are not generic, or large, so each has one in a build with the
//! usual settings; stripping removes them all. With fat LTO, a kind of connection can lose its `process_new_packets()`, which is then a part of
//! its caller: what it receives is not seen, and nothing shows that.

use memchr::memmem;
use tcp_trace_ebpf::{
    CALL_DECRYPTS, CALL_LIBRARY_SHIFT, CALL_READS, CALL_RECEIVES, CALL_TAKES, CALL_WRITES, LIBRARY_RUSTLS,
};
use tcp_trace_model::event::TlsLibrary;

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register};

use super::functions::Function;
use crate::kernel::HookKind;

/// What the name of a symbol has in every file with some of them.
pub(super) const MARK: &[u8] = b"6rustls";

const LIBRARY: u64 = (LIBRARY_RUSTLS as u64) << CALL_LIBRARY_SHIFT;

/// All that are hooked, each with the type that it belongs to and its name, as mangled names have them, with their lengths. Without any of them, it
/// is not known what passes on which socket.
pub(super) const FUNCTIONS: [(Function, &str, &str); 5] = [
    (
        function("rustls::CommonState::buffer_plaintext", HookKind::RustlsCall(LIBRARY | CALL_TAKES), true),
        "11CommonState",
        "16buffer_plaintext",
    ),
    (
        function("rustls::CommonState::take_received_plaintext", HookKind::RustlsReceived, true),
        "11CommonState",
        "23take_received_plaintext",
    ),
    (
        function(
            "rustls::ConnectionCore::process_new_packets",
            HookKind::RustlsCall(LIBRARY | CALL_RECEIVES | CALL_DECRYPTS),
            true,
        ),
        "14ConnectionCore",
        "19process_new_packets",
    ),
    (
        function(
            "rustls::DeframerVecBuffer::read",
            HookKind::RustlsCall(LIBRARY | CALL_RECEIVES | CALL_READS),
            true,
        ),
        "17DeframerVecBuffer",
        "4read",
    ),
    (
        function("rustls::ChunkVecBuffer::write_to", HookKind::RustlsCall(LIBRARY | CALL_WRITES), true),
        "14ChunkVecBuffer",
        "8write_to",
    ),
];

const fn function(name: &'static str, kind: HookKind, is_call: bool) -> Function {
    Function { name, library: TlsLibrary::Rustls, kind, is_call }
}

/// The one with this mangled name.
pub(super) fn named(symbol: &[u8]) -> Option<&'static Function> {
    memmem::find(symbol, MARK)?;
    // Not what is inside of it: closures have names of other kinds (RFC 2603).
    let is_old = symbol.starts_with(b"_ZN");
    if !is_old && !symbol.starts_with(b"_RNv") {
        return None;
    }
    let found = FUNCTIONS.iter().find(|(_, of, name)| {
        // The older names have those of parameters, too.
        let of = if is_old { of.trim_start_matches(|digit: char| digit.is_ascii_digit()) } else { *of };
        let Some(begin) = memmem::find(symbol, of.as_bytes()) else { return false };
        let Some(at) = memmem::find(&symbol[begin..], name.as_bytes()) else { return false };
        let rest = &symbol[begin + at + name.len()..];
        match is_old {
            // A hash, at the end.
            true => rest.starts_with(b"17h"),
            // The crate that it was made for.
            false => rest.first().is_none_or(|first| matches!(first, b'C' | b'B' | b'.')),
        }
    });
    found.map(|(function, ..)| function)
}

/// Whether the function that takes what was decrypted reads its second argument as this program does: three numbers at its address. Another
/// version of the library or of the compiler may hand it over otherwise.
pub(super) fn takes_payload(code: &[u8]) -> bool {
    let mut seen = [false; 3];
    for instruction in Decoder::with_ip(64, code, 0, DecoderOptions::NONE).iter() {
        for operand in 0..instruction.op_count() {
            if instruction.op_kind(operand) == OpKind::Memory && instruction.memory_base() == Register::RSI {
                let is_plain = instruction.memory_index() == Register::None;
                match instruction.memory_displacement64() {
                    at @ (0 | 8 | 16) if is_plain => seen[at as usize / 8] = true,
                    _ => return false,
                }
            }
        }
        if seen == [true; 3] {
            return true;
        }
        if instruction.op0_register() == Register::RSI && !is_compared(&instruction)
            || instruction.flow_control() == iced_x86::FlowControl::Call
        {
            return false;
        }
    }
    false
}

/// Whether it only looks at its first operand.
fn is_compared(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        iced_x86::Mnemonic::Cmp | iced_x86::Mnemonic::Test | iced_x86::Mnemonic::Push
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_their_names_in_both_manglings() {
        for (symbol, expected) in [
            (
                &b"_ZN6rustls12common_state11CommonState16buffer_plaintext17h89a4798a85c7d55dE"[..],
                Some("rustls::CommonState::buffer_plaintext"),
            ),
            (
                b"_ZN6rustls4conn26ConnectionCore$LT$Data$GT$19process_new_packets17h3af05ced8f49c81cE",
                Some("rustls::ConnectionCore::process_new_packets"),
            ),
            (
                b"_ZN6rustls6vecbuf14ChunkVecBuffer8write_to17h618c9daf6567d9f5E.llvm.12",
                Some("rustls::ChunkVecBuffer::write_to"),
            ),
            (b"_ZN6rustls6server11server_conn14EarlyDataState23take_received_plaintext17h1c89ecfbee47d874E", None),
            (b"_ZN6rustls4conn28ConnectionCommon$LT$Data$GT$19process_new_packets17h3af05ced8f49c81cE", None),
            (b"_ZN6rustls4conn26ConnectionCore$LT$Data$GT$19process_new_packets28_$u7b$$u7b$closure$u7d$$u7d$17h3af05ced8f49c81cE", None),
            (b"_ZN6rustls4msgs8deframer7buffers17DeframerVecBuffer10filled_mut17h9c1a4662ddc11f7aE", None),
            (b"_ZN5other11CommonState16buffer_plaintext17h89a4798a85c7d55dE", None),
        ] {
            let found = named(symbol).map(|function| function.name);
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(symbol));
        }
    }
}
