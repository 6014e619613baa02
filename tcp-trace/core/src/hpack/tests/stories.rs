//! Stories of header lists as eight encoders wrote them, see `stories/LICENSE`.

use serde_json::Value;

use super::*;

const STORIES: [(&str, &str); 3] = [
    ("02", include_str!("../stories/02.json")),
    ("05", include_str!("../stories/05.json")),
    ("24", include_str!("../stories/24.json")),
];

/// A block, with the size of the table that the decoder allows from it on.
struct Block {
    size: Option<u32>,
    wire: Vec<u8>,
    headers: Vec<Known>,
}

fn pair(field: &[Value]) -> Known {
    known(field[0].as_str().unwrap().as_bytes(), field[1].as_str().unwrap().as_bytes())
}

/// Those of a file of this tree, by encoder.
fn of_tree(text: &str) -> Vec<(String, Vec<Block>)> {
    let story: Value = serde_json::from_str(text).unwrap();
    let headers = story["headers"].as_array().unwrap();
    let block = |(wire, headers): (&Value, &Value)| {
        let (last, before) = wire.as_array().unwrap().split_last().unwrap();
        Block {
            size: before.first().map(|size| size.as_u64().unwrap().try_into().unwrap()),
            wire: bytes(last.as_str().unwrap()),
            headers: headers
                .as_array()
                .unwrap()
                .iter()
                .map(|field| pair(field.as_array().unwrap()))
                .collect(),
        }
    };
    let encoders = story["encoders"].as_object().unwrap().iter();
    encoders
        .map(|(name, wires)| {
            (name.clone(), wires.as_array().unwrap().iter().zip(headers).map(block).collect())
        })
        .collect()
}

/// Plays blocks to a decoder that comes at the block `from`, and counts the fields that it does not know.
fn play(name: &str, blocks: &[Block], from: usize) -> usize {
    let (mut decoder, mut unknown) = (Decoder::new(), 0);
    for (at, block) in blocks.iter().enumerate() {
        if at == from && from > 0 {
            decoder = Decoder::late();
        }
        if let Some(size) = block.size {
            decoder.allow(size);
        }
        let fields =
            decoded(&mut decoder, &block.wire).unwrap_or_else(|fault| panic!("{name}, block {at}: {fault}"));
        assert_eq!(fields.len(), block.headers.len(), "{name}, block {at}");
        for (is, expected) in fields.iter().zip(&block.headers) {
            let is_right = |is: &Option<Vec<u8>>, expected: &Option<Vec<u8>>| is.is_none() || is == expected;
            assert!(
                is_right(&is.0, &expected.0) && is_right(&is.1, &expected.1),
                "{name}, block {at}: {is:?}"
            );
            let is_unknown = is.0.is_none() || is.1.is_none();
            assert!(!is_unknown || at >= from && from > 0, "{name}, block {at}: {expected:?} is unknown");
            unknown += usize::from(is_unknown && at >= from);
        }
    }
    unknown
}

/// Plays a story whole, and late from every block on. Of what is late, something is unknown at first: or else the test shows nothing.
fn play_all(name: &str, blocks: &[Block]) -> usize {
    play(name, blocks, 0);
    (1..blocks.len()).map(|from| play(name, blocks, from)).sum()
}

#[test]
fn stories_decode_whole_and_late_from_every_block_on() {
    let (mut blocks, mut unknown) = (0, 0);
    for (story, text) in STORIES {
        for (encoder, story_of) in of_tree(text) {
            blocks += story_of.len();
            unknown += play_all(&format!("{encoder}, story {story}"), &story_of);
        }
    }
    assert_eq!(blocks, 8 * (10 + 10 + 33));
    assert!(unknown > 1_000, "{unknown} fields are unknown to those who come late");
}

/// All stories, unpacked into the directory that HPACK_STORIES names.
#[test]
#[ignore = "needs the stories of github.com/http2jp/hpack-test-case in the directory HPACK_STORIES"]
#[expect(clippy::disallowed_methods, reason = "the stories are no part of this tree")]
fn all_stories_decode_whole_and_late_from_every_block_on() {
    let directory = std::env::var("HPACK_STORIES").expect("HPACK_STORIES");
    let mut count = 0;
    for encoder in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let Ok(stories) = std::fs::read_dir(encoder.path()) else { continue };
        for story in stories
            .map(|story| story.unwrap().path())
            .filter(|path| path.extension() == Some("json".as_ref()))
        {
            let text: Value = serde_json::from_slice(&std::fs::read(&story).unwrap()).unwrap();
            let cases = text["cases"].as_array().unwrap();
            let fields = |fields: &Value| {
                let fields = fields.as_array().unwrap().iter().flat_map(|field| field.as_object().unwrap());
                fields.map(|(name, value)| pair(&[name.as_str().into(), value.clone()])).collect()
            };
            let blocks: Vec<_> = cases
                .iter()
                .map(|case| Block {
                    size: case["header_table_size"].as_u64().map(|size| size.try_into().unwrap()),
                    wire: bytes(case["wire"].as_str().unwrap()),
                    headers: fields(&case["headers"]),
                })
                .collect();
            play_all(&story.display().to_string(), &blocks);
            count += 1;
        }
    }
    assert!(count >= 250, "{count} stories");
}
