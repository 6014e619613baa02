//! Instructions of x86-64 that the kernel emulates (`branch_setup_xol_ops()` and `push_setup_xol_ops()` in `arch/x86/kernel/uprobes.c`): at any other, a
//! uprobe costs a second exception, behind the instruction, which takes half a microsecond, and 25 in a nested virtual machine.
//! So a function is hooked a little behind its beginning, and a little before its end, where that makes no difference.

use std::collections::HashSet;

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

/// Instructions from a function's beginning or end that are looked at.
const LOOKED_AT_MAX: usize = 16;
/// What a function of C gets.
pub(super) const C_ARGUMENTS: &[Register] =
    &[Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8];
/// What one of Go gets, as far as it matters: receiver, slice, and the goroutine that runs.
pub(super) const GO_ARGUMENTS: &[Register] = &[Register::RAX, Register::RBX, Register::RCX, Register::R14];

/// A place to hook, and how far the stack pointer is there below what it is at the function's beginning or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: u64,
    pub(super) below: u64,
}

/// The place for a function's beginning, in whose `instructions` no jump leads to one of `targets`: an emulated instruction at which
/// all `arguments` are as they were.
pub(super) fn beginning(
    instructions: &[Instruction],
    targets: &HashSet<u64>,
    arguments: &[Register],
) -> Option<Place> {
    let mut below = 0;
    for (index, instruction) in instructions.iter().take(LOOKED_AT_MAX).enumerate() {
        if index > 0 && targets.contains(&instruction.ip()) {
            return None;
        }
        if is_emulated(instruction) {
            return Some(Place { address: instruction.ip(), below });
        }
        if instruction.flow_control() != FlowControl::Next || writes(instruction, arguments) {
            return None;
        }
        below = below.checked_add(lowered(instruction)?)?;
    }
    None
}

/// The place for the end at `instructions[end]`, a return: a jump to where the function fails for good, behind which what it
/// returns stays as it is.
pub(super) fn end(instructions: &[Instruction], end: usize, targets: &HashSet<u64>) -> Option<Place> {
    let last = instructions.last()?;
    let mut raised = 0_u64;
    for (looked_at, instruction) in instructions[..=end].iter().rev().enumerate().take(LOOKED_AT_MAX) {
        let is_jump =
            instruction.flow_control() == FlowControl::ConditionalBranch && is_emulated(instruction);
        if is_jump {
            // `__stack_chk_fail()`, the function's last instruction.
            let fails = last.mnemonic() == Mnemonic::Call && instruction.near_branch_target() == last.ip();
            return fails.then_some(Place { address: instruction.ip(), below: raised });
        }
        if targets.contains(&instruction.ip()) {
            return None;
        }
        if looked_at == 0 {
            continue;
        }
        if instruction.flow_control() != FlowControl::Next || writes(instruction, &[Register::RAX]) {
            return None;
        }
        raised = raised.checked_add(self::raised(instruction)?)?;
    }
    None
}

fn is_emulated(instruction: &Instruction) -> bool {
    match instruction.flow_control() {
        FlowControl::ConditionalBranch => instruction.is_jcc_short_or_near(),
        FlowControl::Call => instruction.is_call_near(),
        _ => instruction.mnemonic() == Mnemonic::Push && instruction.op0_kind() == OpKind::Register,
    }
}

/// How far it lowers the stack pointer; `None` where that is not known.
pub(super) fn lowered(instruction: &Instruction) -> Option<u64> {
    if let Some(number) = added(instruction, Mnemonic::Sub) {
        return Some(number);
    }
    (!writes(instruction, &[Register::RSP])).then_some(0)
}

/// How far it raises it; likewise.
fn raised(instruction: &Instruction) -> Option<u64> {
    if let Some(number) = added(instruction, Mnemonic::Add) {
        return Some(number);
    }
    if instruction.mnemonic() == Mnemonic::Pop && instruction.op0_kind() == OpKind::Register {
        return Some(8);
    }
    (!writes(instruction, &[Register::RSP])).then_some(0)
}

/// The number that is added to the stack pointer, or subtracted.
fn added(instruction: &Instruction, mnemonic: Mnemonic) -> Option<u64> {
    let is_it = instruction.mnemonic() == mnemonic
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register() == Register::RSP;
    let is_number = matches!(instruction.op1_kind(), OpKind::Immediate8to64 | OpKind::Immediate32to64);
    (is_it && is_number).then(|| instruction.immediate(1)).filter(|number| *number < 1 << 31)
}

/// Whether it writes any part of these registers, perhaps.
fn writes(instruction: &Instruction, registers: &[Register]) -> bool {
    let mut factory = InstructionInfoFactory::new();
    factory.info(instruction).used_registers().iter().any(|used| {
        let is_read = matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
        !is_read && registers.contains(&used.register().full_register())
    })
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    fn decoded(code: &[u8]) -> (Vec<Instruction>, HashSet<u64>) {
        let instructions: Vec<_> = Decoder::with_ip(64, code, 0, DecoderOptions::NONE).iter().collect();
        let jumps = instructions.iter().filter(|instruction| instruction.is_jcc_short_or_near());
        let targets = jumps.map(Instruction::near_branch_target).collect();
        (instructions, targets)
    }

    #[test]
    fn beginnings_go_on_while_arguments_and_stack_are_known() {
        for (code, expected) in [
            // push %rbp
            (&[0x55, 0xc3][..], Some((0, 0))),
            // sub $0x18,%rsp; xor %eax,%eax; test %edx,%edx; js
            (&[0x48, 0x83, 0xec, 0x18, 0x31, 0xc0, 0x85, 0xd2, 0x78, 0x2f], Some((8, 0x18))),
            // sub $0x18,%rsp; xor %edx,%edx; js: an argument is gone.
            (&[0x48, 0x83, 0xec, 0x18, 0x31, 0xd2, 0x78, 0x2f], None),
            // lea -8(%rsp),%rsp; push
            (&[0x48, 0x8d, 0x64, 0x24, 0xf8, 0x55], None),
            // xor %eax,%eax; ret
            (&[0x31, 0xc0, 0xc3], None),
            // xor %eax,%eax; mov %rax,%rax; jne to the mov: it would count again.
            (&[0x31, 0xc0, 0x48, 0x89, 0xc0, 0x75, 0xfb], None),
            // xor %eax,%eax; jne to itself
            (&[0x31, 0xc0, 0x75, 0xfe], None),
        ] {
            let (instructions, targets) = decoded(code);
            let found =
                beginning(&instructions, &targets, C_ARGUMENTS).map(|place| (place.address, place.below));
            assert_eq!(found, expected, "{code:x?}");
        }
    }

    #[test]
    fn ends_begin_where_only_failure_leads_elsewhere() {
        let tail = [0x48, 0x83, 0xc4, 0x18, 0x5b, 0x31, 0xd2, 0xc3, 0xe8, 0, 0, 0, 0];
        for (code, expected) in [
            // jne to the call; add $0x18,%rsp; pop %rbx; xor %edx,%edx; ret; call
            ([&[0x75, 8][..], &tail].concat(), Some((0, 0x20))),
            // jne to the return: what leads there is not failure.
            ([&[0x75, 7][..], &tail].concat(), None),
            // jne to the call; xor %eax,%eax: what is returned is not known yet.
            ([&[0x75, 10, 0x31, 0xc0][..], &tail].concat(), None),
            // jmp: another way to the return begins behind it.
            ([&[0xeb, 8][..], &tail].concat(), None),
        ] {
            let (instructions, targets) = decoded(&code);
            let at = instructions.iter().position(|one| one.mnemonic() == Mnemonic::Ret).unwrap();
            let found = end(&instructions, at, &targets).map(|place| (place.address, place.below));
            assert_eq!(found, expected, "{code:x?}");
        }
    }
}
