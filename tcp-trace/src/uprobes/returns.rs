//! Where a function returns, in its machine code. A uretprobe, which needs no such place, replaces the return address on the stack:
//! programs that look at their own stacks crash or go astray.

use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use super::functions::Reason;

/// `ENDBR64`, with which a function begins where Intel's CET checks jumps.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// A kind of processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// That of this program.
    pub(super) const HERE: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// Bytes at a function's beginning behind which it is as it was: the kernel executes most instructions with which functions go on
    /// at less cost than this one.
    pub(super) fn landing_pad(self, code: &[u8]) -> u64 {
        if self == Self::X86_64 && code.starts_with(&ENDBR64) { ENDBR64.len() as u64 } else { 0 }
    }

    /// Where in `code` its function returns, in bytes.
    pub(super) fn returns(self, code: &[u8]) -> Result<Vec<u64>, Reason> {
        let returns = match self {
            Self::X86_64 => x86_64(code)?,
            Self::Aarch64 => aarch64(code),
        };
        if returns.is_empty() { Err(Reason::NoReturn) } else { Ok(returns) }
    }
}

fn x86_64(code: &[u8]) -> Result<Vec<u64>, Reason> {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut returns = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return Err(Reason::Undecoded);
        }
        if instruction.mnemonic() == Mnemonic::Ret {
            returns.push(instruction.ip());
        }
    }
    Ok(returns)
}

/// `RET`, `RETAA` and `RETAB` (Arm Architecture Reference Manual, C6.2).
fn aarch64(code: &[u8]) -> Vec<u64> {
    let words = code.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    let is_return =
        |word: u32| word & 0xffff_fc1f == 0xd65f_0000 || matches!(word, 0xd65f_0bff | 0xd65f_0fff);
    words.enumerate().filter(|(_, word)| is_return(*word)).map(|(index, _)| 4 * index as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_of_x86_64_are_instructions_not_bytes() {
        for (code, expected) in [
            // sub $0x18,%rsp; mov $0xc3,%eax; add $0x18,%rsp; ret
            (&[0x48, 0x83, 0xec, 0x18, 0xb8, 0xc3, 0, 0, 0, 0x48, 0x83, 0xc4, 0x18, 0xc3][..], Ok(vec![13])),
            // endbr64; test %eax,%eax; je +1; ret; ret $8; rep ret; int3
            (
                &[0xf3, 0x0f, 0x1e, 0xfa, 0x85, 0xc0, 0x74, 1, 0xc3, 0xc2, 8, 0, 0xf3, 0xc3, 0xcc],
                Ok(vec![8, 9, 12]),
            ),
            // jmp *%rax
            (&[0xff, 0xe0], Err(Reason::NoReturn)),
            // iretq returns from no function.
            (&[0x48, 0xcf], Err(Reason::NoReturn)),
            (&[], Err(Reason::NoReturn)),
            // Not an instruction in 64-bit mode.
            (&[0x06, 0xc3], Err(Reason::Undecoded)),
            // Cut off.
            (&[0xc3, 0x48], Err(Reason::Undecoded)),
        ] {
            assert_eq!(Machine::X86_64.returns(code), expected, "{code:x?}");
        }
        assert_eq!(Machine::X86_64.landing_pad(&[0xf3, 0x0f, 0x1e, 0xfa, 0xc3]), 4);
        assert_eq!(Machine::X86_64.landing_pad(&[0xf3, 0x0f, 0x1e]), 0);
    }

    #[test]
    fn returns_of_aarch64_name_any_register() {
        // ret; ret x3; br x3; nop; retaa; retab
        let words: [u32; 6] = [0xd65f_03c0, 0xd65f_0060, 0xd61f_0060, 0xd503_201f, 0xd65f_0bff, 0xd65f_0fff];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(Machine::Aarch64.returns(&code), Ok(vec![0, 4, 16, 20]));
        assert_eq!(Machine::Aarch64.landing_pad(&code), 0);
    }
}
