//! Returns in machine code of either kind, and in functions that are jumped to.

use super::*;

const START: u64 = 0x1000;

/// The returns of the first `size` bytes, relative to their start.
fn returns(machine: Machine, code: &[u8], size: usize) -> Result<Vec<u64>, Reason> {
    let read = |address: u64| code.get(address.checked_sub(START)? as usize..);
    let found = machine.returns(Code { address: START, bytes: &code[..size] }, &read)?;
    Ok(found.into_iter().map(|at| at - START).collect())
}

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
        assert_eq!(returns(Machine::X86_64, code, code.len()), expected, "{code:x?}");
    }
    // endbr64; push %rbp; ret
    for (bytes, expected) in
        [(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xc3][..], 4), (&[0x31, 0xc0, 0xc3], 0), (&[], 0)]
    {
        let place = Machine::X86_64.beginning(Code { address: START, bytes }, emulated::C_ARGUMENTS);
        assert_eq!(place, Place { address: START + expected, below: 0 });
    }
}

#[test]
fn returns_of_aarch64_name_any_register() {
    // ret; ret x3; br x3; nop; retaa; retab
    let words: [u32; 6] = [0xd65f_03c0, 0xd65f_0060, 0xd61f_0060, 0xd503_201f, 0xd65f_0bff, 0xd65f_0fff];
    let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(returns(Machine::Aarch64, &code, code.len()), Ok(vec![0, 4, 16, 20]));
}

#[test]
fn a_function_that_is_jumped_to_returns_in_place_of_the_other() {
    let x86_64 = [
        0xeb, 0x02, // jmp to 4
        0xc3, // Another function's.
        0xcc, //
        0x74, 0x01, // 4: je to 7
        0xc3, // 6
        0xe8, 0, 0, 0, 0, // 7: a call that does not return
        0x66, 0x90, // xchg %ax,%ax
        0xc3, // The next function's.
    ];
    assert_eq!(returns(Machine::X86_64, &x86_64, 2), Ok(vec![6]));
    // It jumps to itself, and to where nothing is.
    assert_eq!(returns(Machine::X86_64, &[0xeb, 0x01, 0x90, 0xeb, 0xfe], 2), Err(Reason::NoReturn));
    assert_eq!(returns(Machine::X86_64, &[0xeb, 0x70], 2), Err(Reason::NoReturn));
    // b to 8; ret; cbz x0 to 16; tbz w0, #0 to 20; ret; ret; bl
    let words: [u32; 7] =
        [0x1400_0002, 0xd65f_03c0, 0xb400_0040, 0x3600_0040, 0xd65f_03c0, 0xd65f_03c0, 0x9400_0000];
    let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(returns(Machine::Aarch64, &code, 4), Ok(vec![16, 20]));
    // b.ne to itself minus 4
    assert_eq!(aarch64(&0x54ff_ffe1_u32.to_le_bytes(), 0x100), Some((4, Flow::Branch(0xfc))));
}

#[test]
fn any_bytes_are_survived() {
    for machine in [Machine::X86_64, Machine::Aarch64] {
        for seed in 0..=u8::MAX {
            let code: Vec<u8> = (0..64_u8).map(|at| at.wrapping_mul(167).wrapping_add(seed)).collect();
            let _ = returns(machine, &code, 16);
        }
    }
}
