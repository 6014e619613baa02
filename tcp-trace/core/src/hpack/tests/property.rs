//! Blocks of an encoder that chooses among all representations, and blocks of anybody.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    super::encoder::{Encoder, Form},
    *,
};

#[derive(Clone, Debug)]
enum Step {
    Field {
        name: Vec<u8>,
        value: Vec<u8>,
        form: Form,
    },
    /// The end of a block, and how the next one is coded.
    Block {
        size: Option<usize>,
        is_coded: bool,
        has_name_indices: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = prop_oneof![
        select(vec![&b":path"[..], b":status", b"cookie", b"a", b"b"]).prop_map(<[u8]>::to_vec),
        vec(any::<u8>(), 0..40),
    ];
    let value = prop_oneof![
        select(vec![&b"/"[..], b"200", b"1", b"", &[b'x'; 3_000], &[b'y'; 5_000]]).prop_map(<[u8]>::to_vec),
        vec(any::<u8>(), 0..60),
    ];
    let form = select(vec![Form::Indexed, Form::Indexed, Form::Inserted, Form::Plain, Form::Never]);
    let field = (name, value, form).prop_map(|(name, value, form)| Step::Field { name, value, form });
    let block = (proptest::option::of(0_usize..=4096), any::<bool>(), any::<bool>())
        .prop_map(|(size, is_coded, has_name_indices)| Step::Block { size, is_coded, has_name_indices });
    vec(prop_oneof![5 => field, 1 => block], 1..120)
}

/// Blocks with their fields.
fn blocks(steps: &[Step]) -> Vec<(Vec<u8>, Vec<Known>)> {
    let (mut encoder, mut blocks) = (Encoder::default(), vec![(Vec::new(), Vec::new())]);
    for step in steps {
        let (bytes, fields) = blocks.last_mut().unwrap();
        match step {
            Step::Field { name, value, form } => {
                encoder.field(bytes, name, value, *form);
                fields.push(known(name, value));
            }
            Step::Block { size, is_coded, has_name_indices } => {
                (encoder.is_coded, encoder.has_name_indices) = (*is_coded, *has_name_indices);
                let mut bytes = Vec::new();
                if let Some(size) = size {
                    encoder.resize(&mut bytes, *size);
                }
                blocks.push((bytes, Vec::new()));
            }
        }
    }
    blocks
}

proptest! {
    #[test]
    fn what_an_encoder_writes_decodes_whole_and_late(steps in steps(), from in 0_usize..20) {
        let blocks = blocks(&steps);
        let mut decoder = Decoder::new();
        for (block, fields) in &blocks {
            let is = decoded(&mut decoder, block);
            prop_assert_eq!(is.as_ref(), Ok(fields));
        }
        let mut late = Decoder::late();
        for (block, fields) in blocks.iter().skip(from) {
            let was_exact = late.is_exact();
            let is = decoded(&mut late, block).unwrap();
            prop_assert_eq!(is.len(), fields.len());
            for (is, expected) in is.iter().zip(fields) {
                prop_assert!(is.0.is_none() || is.0 == expected.0, "{:?} is not {:?}", is, expected);
                prop_assert!(is.1.is_none() || is.1 == expected.1, "{:?} is not {:?}", is, expected);
                let is_known = is.0.is_some() && is.1.is_some();
                prop_assert!(is_known || !was_exact, "{:?} is not known", expected);
            }
        }
    }

    #[test]
    fn any_blocks_are_decoded_in_bounded_memory(blocks in vec(vec(any::<u8>(), 0..300), 1..8), is_late in any::<bool>()) {
        let mut decoder = if is_late { Decoder::late() } else { Decoder::new() };
        for block in blocks {
            let mut longest = 0;
            let result = decoder.decode(&block, |field| {
                longest = longest.max(field.name.map_or(0, <[u8]>::len)).max(field.value.map_or(0, <[u8]>::len));
            });
            prop_assert!(longest <= 300 * 8 / 5, "{}", longest);
            prop_assert!(decoder.retained_bytes() <= 2 * crate::hpack::TABLE_MAX);
            if result.is_err() {
                decoder.lose();
            }
        }
    }
}
