//! Where a function returns, in its machine code. A uretprobe, which needs no such place, replaces the return address on the stack:
//! programs that look at their own stacks crash or go astray.
//!
//! A function may end by jumping to another, which then returns in its place, so that is read too. Its other callers do no harm: a
//! return belongs to a call by the stack pointer.

use std::collections::{BTreeSet, HashSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};

use super::{
    emulated::{self, Place},
    functions::Reason,
    go,
};

/// `ENDBR64`, with which a function begins where Intel's CET checks jumps.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// Instructions of functions that are jumped to, in sum.
const FOLLOWED_MAX: usize = 20_000;

/// A kind of processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

/// A function: where it begins, and its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code<'a> {
    pub(super) address: u64,
    pub(super) bytes: &'a [u8],
}

/// What an instruction does to the order of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Next,
    /// The next one has its turn when the function that is called returns, if it does.
    Call,
    Return,
    /// To this address.
    Jump(u64),
    /// To this address, or to the next.
    Branch(u64),
    /// Nobody knows.
    Elsewhere,
}

impl Machine {
    /// That of this program.
    pub(super) const HERE: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// Where a function's beginning is hooked, one that gets these `arguments`.
    pub(super) fn beginning(self, function: Code<'_>, arguments: &[Register]) -> Place {
        let at_once = Place { address: function.address, below: 0 };
        if self != Self::X86_64 {
            return at_once;
        }
        let (instructions, targets) = decoded(function);
        let is_pad = function.bytes.starts_with(&ENDBR64);
        emulated::beginning(&instructions[usize::from(is_pad)..], &targets, arguments).unwrap_or(at_once)
    }

    /// Where the end at this address is hooked, a return.
    pub(super) fn end(self, function: Code<'_>, address: u64) -> Place {
        let at_once = Place { address, below: 0 };
        if self != Self::X86_64 {
            return at_once;
        }
        let (instructions, targets) = decoded(function);
        let at = instructions.iter().position(|instruction| instruction.ip() == address);
        at.and_then(|at| emulated::end(&instructions, at, &targets)).unwrap_or(at_once)
    }

    /// Whether a call of this function of Go is known by what is on its stack when it returns.
    pub(super) fn keeps_arguments(self, function: Code<'_>) -> bool {
        self == Self::X86_64 && go::keeps_arguments(&decoded(function).0)
    }

    /// The addresses at which a function returns, or at which those do to which it jumps; `read` gives the bytes from an address on.
    pub(super) fn returns<'a>(
        self,
        function: Code<'a>,
        read: &dyn Fn(u64) -> Option<&'a [u8]>,
    ) -> Result<Vec<u64>, Reason> {
        let Code { address: start, bytes } = function;
        let is_inside = |address| address >= start && address - start < bytes.len() as u64;
        let (mut returns, mut outside) = (BTreeSet::new(), Vec::new());
        let mut at = start;
        while is_inside(at) {
            let (length, flow) = self.decode(&bytes[(at - start) as usize..], at).ok_or(Reason::Undecoded)?;
            match flow {
                Flow::Return => {
                    returns.insert(at);
                }
                Flow::Jump(to) | Flow::Branch(to) if !is_inside(to) => outside.push(to),
                _ => {}
            }
            at += length;
        }
        self.follow(outside, read, &mut returns);
        if returns.is_empty() { Err(Reason::NoReturn) } else { Ok(returns.into_iter().collect()) }
    }

    /// Adds the returns that are reached from these addresses.
    fn follow<'a>(
        self,
        mut addresses: Vec<u64>,
        read: &dyn Fn(u64) -> Option<&'a [u8]>,
        returns: &mut BTreeSet<u64>,
    ) {
        let mut seen = HashSet::new();
        while let Some(start) = addresses.pop() {
            let Some(bytes) = read(start) else { continue };
            let mut at = start;
            let mut was_call = false;
            while seen.len() < FOLLOWED_MAX && seen.insert(at) {
                let rest = bytes.get((at - start) as usize..).unwrap_or_default();
                // Behind a call that does not return is what fills the space to the next function.
                if was_call && self.is_padding(rest) {
                    break;
                }
                let Some((length, flow)) = self.decode(rest, at) else { break };
                match flow {
                    Flow::Return => {
                        returns.insert(at);
                        break;
                    }
                    Flow::Jump(to) => {
                        addresses.push(to);
                        break;
                    }
                    Flow::Elsewhere => break,
                    Flow::Branch(to) => addresses.push(to),
                    Flow::Next | Flow::Call => {}
                }
                was_call = flow == Flow::Call;
                at += length;
            }
        }
    }

    fn decode(self, code: &[u8], address: u64) -> Option<(u64, Flow)> {
        match self {
            Self::X86_64 => x86_64(code, address),
            Self::Aarch64 => aarch64(code, address),
        }
    }

    fn is_padding(self, code: &[u8]) -> bool {
        match self {
            Self::X86_64 => {
                let instruction = Decoder::new(64, code, DecoderOptions::NONE).decode();
                matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
                    || code.starts_with(&ENDBR64)
                    // `xchg %ax,%ax`
                    || code.starts_with(&[0x66, 0x90])
            }
            Self::Aarch64 => false,
        }
    }
}

/// All instructions of a function, and where its jumps lead.
fn decoded(Code { address, bytes }: Code<'_>) -> (Vec<Instruction>, HashSet<u64>) {
    let instructions: Vec<_> = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).iter().collect();
    let is_jump = |instruction: &&Instruction| {
        matches!(
            instruction.flow_control(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
        )
    };
    let targets = instructions.iter().filter(is_jump).map(Instruction::near_branch_target).collect();
    (instructions, targets)
}

fn x86_64(code: &[u8], address: u64) -> Option<(u64, Flow)> {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    decoder.can_decode().then(|| decoder.decode_out(&mut instruction))?;
    if instruction.is_invalid() {
        return None;
    }
    let flow = match instruction.flow_control() {
        FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret => Flow::Return,
        FlowControl::Next => Flow::Next,
        FlowControl::Call | FlowControl::IndirectCall => Flow::Call,
        FlowControl::UnconditionalBranch => Flow::Jump(instruction.near_branch_target()),
        FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => {
            Flow::Branch(instruction.near_branch_target())
        }
        FlowControl::Return
        | FlowControl::IndirectBranch
        | FlowControl::Interrupt
        | FlowControl::Exception => Flow::Elsewhere,
    };
    Some((instruction.len() as u64, flow))
}

/// Of the Arm Architecture Reference Manual, chapter C4.
fn aarch64(code: &[u8], address: u64) -> Option<(u64, Flow)> {
    let word = u32::from_le_bytes(*code.first_chunk()?);
    // A number of so many bits, in instructions, from this bit on.
    let target = |shift: u32, bits: u32| {
        let number = word << (32 - bits - shift);
        let distance = i64::from(number.cast_signed() >> (32 - bits)) * 4;
        address.wrapping_add_signed(distance)
    };
    let flow = if word & 0xffff_fc1f == 0xd65f_0000 || matches!(word, 0xd65f_0bff | 0xd65f_0fff) {
        // RET, RETAA, RETAB
        Flow::Return
    } else if word & 0xfc00_0000 == 0x1400_0000 {
        // B
        Flow::Jump(target(0, 26))
    } else if word & 0xff00_0000 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 {
        // B.cond, CBZ, CBNZ
        Flow::Branch(target(5, 19))
    } else if word & 0x7e00_0000 == 0x3600_0000 {
        // TBZ, TBNZ
        Flow::Branch(target(5, 14))
    } else if word & 0xfc00_0000 == 0x9400_0000 || word & 0xfffe_0000 == 0xd63e_0000 {
        // BL, BLR
        Flow::Call
    } else if word & 0xfe00_0000 == 0xd600_0000 || word & 0xffff_0000 == 0 {
        // BR and the like, UDF
        Flow::Elsewhere
    } else {
        Flow::Next
    };
    Some((4, flow))
}

#[cfg(test)]
#[path = "returns_tests.rs"]
mod tests;
