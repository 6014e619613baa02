//! How much stack a compiled eBPF program needs.

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// The most that a program on a uprobe may need, in bytes: with 64 and more, after rounding up to a multiple of 16, Linux from 6.13 on
/// gives it a stack that it shares with all others on its processor (`BPF_PRIV_STACK_MIN_SIZE`), and can switch to another in the midst.
pub(crate) const UPROBE_MAX: u64 = 48;

const BYTES: usize = 8;
/// The register with the stack's upper end.
const FRAME: u8 = 10;
const REGISTERS: usize = 16;
/// `rX = rY`, 64 bits.
const MOVE: u8 = 0xbf;
/// `rX += number`, 64 bits.
const ADD: u8 = 0x07;

/// Of each program whose section's name begins with `start`: its name, and how far below the stack's upper end it reads, writes or
/// points, in bytes.
pub(crate) fn depths(object: &[u8], start: &str) -> Result<Vec<(String, u64)>> {
    let file = object::File::parse(object)?;
    let mut depths = Vec::new();
    for symbol in file.symbols().filter(|symbol| symbol.is_definition()) {
        let Some(index) = symbol.section_index() else { continue };
        let section = file.section_by_index(index)?;
        if !section.name()?.starts_with(start) || symbol.size() == 0 {
            continue;
        }
        let name = symbol.name()?.to_owned();
        let code =
            section.data()?.get(symbol.address() as usize..(symbol.address() + symbol.size()) as usize);
        let code = code.with_context(|| format!("the code of {name} is not in its section"))?;
        depths.push((name, depth(code)));
    }
    Ok(depths)
}

/// The lowest place that is reached from the frame pointer, or from a copy of it as long as that is followed by its instructions in
/// their order, as compilers write them.
fn depth(code: &[u8]) -> u64 {
    let mut lowest = 0_i64;
    // What is added to the frame pointer in each register, where it has that.
    let mut places: [Option<i64>; REGISTERS] = [None; REGISTERS];
    places[usize::from(FRAME)] = Some(0);
    for instruction in code.as_chunks::<BYTES>().0 {
        let [operation, registers, low, high, number @ ..] = *instruction;
        let (target, source) = (usize::from(registers & 0xf), usize::from(registers >> 4));
        let offset = i64::from(i16::from_le_bytes([low, high]));
        let place = match operation & 0x7 {
            // Loads: BPF_LD of other kinds has no register.
            1 => places[source].map(|place| place + offset),
            // Stores.
            2 | 3 => places[target].map(|place| place + offset),
            _ => None,
        };
        lowest = lowest.min(place.unwrap_or_default());
        match operation {
            MOVE => places[target] = places[source],
            ADD => places[target] = places[target].map(|place| place + i64::from(i32::from_le_bytes(number))),
            // Stores and jumps change no register.
            _ if matches!(operation & 0x7, 2 | 3 | 5 | 6) => {}
            _ => places[target] = None,
        }
        lowest = lowest.min(places[target].unwrap_or_default());
    }
    lowest.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(instructions: &[(u8, u8, u8, i16, i32)]) -> Vec<u8> {
        let bytes = instructions.iter().map(|(operation, target, source, offset, number)| {
            let mut bytes = vec![*operation, target | source << 4];
            bytes.extend(offset.to_le_bytes());
            bytes.extend(number.to_le_bytes());
            bytes
        });
        bytes.flatten().collect()
    }

    #[test]
    fn the_lowest_place_counts() {
        // *(u64 *)(r10 - 24) = r1
        let store = (0x7b, FRAME, 1, -24, 0);
        // r1 = *(u32 *)(r10 - 40)
        let load = (0x61, 1, FRAME, -40, 0);
        let (copy, add) = ((MOVE, 2, FRAME, 0, 0), (ADD, 2, 0, 0, -56));
        // r2 = *(u64 *)(r1 - 80): of something else.
        let other = (0x79, 2, 1, -80, 0);
        for (instructions, expected) in [
            (&[][..], 0),
            (&[store], 24),
            (&[store, load], 40),
            (&[load, store], 40),
            (&[copy, add, store], 56),
            (&[copy, add, (0x7a, 2, 0, -8, 0)], 64),
            (&[copy, other, add], 0),
            (&[copy, (MOVE, 2, 6, 0, 0), add], 0),
        ] {
            assert_eq!(depth(&code(instructions)), expected, "{instructions:?}");
        }
    }
}
