//! What fuzzers run: any bytes, and what holds whatever they are.

use super::{Decoder, Fault, Field, TABLE_MAX};

/// A field of a block, as far as it is known.
type Owned = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Blocks, each with a byte before it that says how long it is: what a decoder that begins late knows, it has right, and none keeps more
/// than it may. Gives what each block decodes to, until one is illegal.
///
/// # Panics
/// When that does not hold.
pub fn blocks(bytes: &[u8]) -> Vec<Result<Vec<Owned>, Fault>> {
    let (mut whole, mut late) = (Decoder::new(), None);
    let (mut decoded, mut rest) = (Vec::new(), bytes);
    while let Some((length, following)) = rest.split_first() {
        let (block, following) = following.split_at(usize::from(*length).min(following.len()));
        rest = following;
        let expected = decode(&mut whole, block);
        if let (Some(late), Ok(expected)) = (&mut late, &expected) {
            // A late one does not know the limit of the table, and so may accept more, but nothing else.
            let known = decode(late, block);
            let known = known.unwrap_or_else(|fault| panic!("{fault} late in {block:x?}"));
            assert_eq!(known.len(), expected.len(), "{block:x?}");
            for (known, expected) in known.iter().zip(expected) {
                assert!(known.0.is_none() || known.0 == expected.0, "{known:?} in place of {expected:?}");
                assert!(known.1.is_none() || known.1 == expected.1, "{known:?} in place of {expected:?}");
            }
            assert!(late.retained_bytes() <= TABLE_MAX);
        }
        late.get_or_insert_with(Decoder::late);
        assert!(whole.retained_bytes() <= TABLE_MAX);
        let is_over = expected.is_err();
        decoded.push(expected);
        if is_over {
            break;
        }
    }
    decoded
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Owned>, Fault> {
    let mut fields = Vec::new();
    let owned = |Field { name, value, .. }: Field<'_>| (name.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
    decoder.decode(block, |field| fields.push(owned(field))).map(|()| fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_blocks_decode_or_are_illegal(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            super::blocks(&bytes);
        }

        #[test]
        fn any_entries_decode_late_as_far_as_they_are_known(
            blocks in prop::collection::vec(
                prop::collection::vec((0_u8..70, prop::collection::vec(b'a'..=b'z', 0..9), any::<bool>()), 0..6), 0..9),
        ) {
            let mut bytes = Vec::new();
            for fields in blocks {
                let mut block = Vec::new();
                for (index, text, is_inserted) in fields {
                    let short = index.min(62);
                    match (is_inserted, text.len()) {
                        (true, 0) => block.push(0x80 | index.max(1)),
                        (true, length) => {
                            block.push(0x40 | short);
                            if short == 0 {
                                block.extend([1, b'n']);
                            }
                            block.push(length as u8);
                            block.extend(&text);
                        }
                        (false, length) => {
                            block.extend([short.min(14), length as u8]);
                            if short == 0 {
                                // The text is the name, and there is no value.
                                block.extend(&text);
                                block.push(0);
                            } else {
                                block.extend(&text);
                            }
                        }
                    }
                }
                bytes.push(block.len() as u8);
                bytes.extend(block);
            }
            super::blocks(&bytes);
        }
    }
}
