//! Replays of captures: ring-buffer bytes of real kernels through decoding and the pipeline to JSON lines, compared with
//! what is committed beside them. `TCP_TRACE_BLESS=1` writes the expected lines anew.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::read::GzDecoder;
use proptest::prelude::*;
use tcp_trace_core::pipeline::{Output, Pipeline, Settings};
use tcp_trace_model::{
    json,
    record::{Record, Stack, reader},
};

use super::*;
use crate::kernel::{DecodeError, decode};

/// A session's frames, taken together.
#[derive(Clone, Default)]
struct Captured {
    scene: String,
    settings: Settings,
    clock_offset: u64,
    /// In order: events, ticks, and the end.
    steps: Vec<Step>,
}

#[derive(Clone)]
enum Step {
    Event(Vec<u8>),
    Tick(Time),
    Finish(Time),
}

/// What came of a replay.
#[derive(Default)]
struct Replayed {
    lines: String,
    refused: usize,
}

fn captures() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("captures");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("there are captures")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no capture is there");
    files
}

/// The bytes of a capture, which is compressed.
fn bytes_of(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = File::open(path).expect("it was just listed");
    GzDecoder::new(file).read_to_end(&mut bytes).expect("it is whole");
    bytes
}

fn sessions(bytes: &[u8]) -> Vec<Captured> {
    let mut sessions: Vec<Captured> = Vec::new();
    for frame in frames(bytes) {
        if let Frame::Scene(name) = frame {
            sessions
                .push(Captured { scene: String::from_utf8_lossy(name).into_owned(), ..Captured::default() });
            continue;
        }
        let session = sessions.last_mut().expect("a capture begins with its scene");
        match frame {
            Frame::Session(line) => match reader::parse(line) {
                Ok(Record::Session(head)) => session.settings.filter = head.filter,
                other => panic!("no first line of a session: {other:?}"),
            },
            Frame::Clock(offset) => session.clock_offset = offset,
            Frame::ResetReason(number, name) => {
                let name = Arc::from(String::from_utf8_lossy(name));
                session.settings.reset_reasons.insert(number, name);
            }
            Frame::Event(bytes) => session.steps.push(Step::Event(bytes.to_vec())),
            Frame::Tick(time) => session.steps.push(Step::Tick(time)),
            Frame::Finish(time) => session.steps.push(Step::Finish(time)),
            Frame::Scene(_) => unreachable!("handled above"),
        }
    }
    sessions
}

fn replay(session: &Captured) -> Replayed {
    let mut pipeline = Pipeline::new(session.settings.clone());
    let mut replayed = Replayed::default();
    for step in &session.steps {
        match step {
            Step::Event(bytes) => match decode(bytes, session.clock_offset) {
                Ok(event) => pipeline.event(&event),
                Err(_) => replayed.refused += 1,
            },
            Step::Tick(time) => pipeline.tick(*time),
            Step::Finish(time) => pipeline.finish(*time),
        }
        while let Some(output) = pipeline.poll() {
            match output {
                Output::Record(record) => {
                    replayed.lines += &json::to_string(&record).expect("a record is JSON");
                    replayed.lines.push('\n');
                }
                // Its process is long gone.
                Output::ResolveStack(question) => {
                    let missing = Stack::missing("it was not resolved in time");
                    pipeline.stack_resolved(question.id, Arc::new(missing));
                }
                _ => {}
            }
        }
    }
    replayed
}

#[test]
fn captures_give_the_lines_that_are_committed() {
    for path in captures() {
        let bytes = bytes_of(&path);
        let mut lines = String::new();
        for session in sessions(&bytes) {
            let replayed = replay(&session);
            assert_eq!(replayed.refused, 0, "{}: every record is understood", session.scene);
            lines += &format!("# {}\n{}", session.scene, replayed.lines);
        }
        // From KERNEL.ring.gz.
        let expected_path = path.with_extension("").with_extension("lines");
        if env::var_os("TCP_TRACE_BLESS").is_some() {
            fs::write(&expected_path, &lines).expect("it can be written");
            continue;
        }
        let expected = fs::read_to_string(&expected_path).expect("a capture has its lines");
        let mut scene = "";
        for (number, (line, expected)) in lines.lines().zip(expected.lines()).enumerate() {
            if line.starts_with('#') {
                scene = line;
            }
            assert_eq!(line, expected, "{}:{}, {scene}", expected_path.display(), number + 1);
        }
        assert_eq!(lines.lines().count(), expected.lines().count(), "{}", expected_path.display());
    }
}

#[test]
fn every_kind_of_record_is_captured() {
    let mut kinds = BTreeMap::new();
    for path in captures() {
        let bytes = bytes_of(&path);
        for frame in frames(&bytes) {
            if let Frame::Event(event) = frame {
                let kind = u32::from_ne_bytes(event[16..20].try_into().expect("4 bytes"));
                *kinds.entry(kind).or_insert(0) += 1;
            }
        }
    }
    use tcp_trace_ebpf::{
        KIND_DATAGRAM, KIND_PROCESS, KIND_RESET, KIND_SEGMENT, KIND_STACK, KIND_TRANSITION,
    };
    for kind in [KIND_TRANSITION, KIND_SEGMENT, KIND_PROCESS, KIND_RESET, KIND_DATAGRAM, KIND_STACK] {
        assert!(kinds.contains_key(&kind), "kind {kind} is in no capture: {kinds:?}");
    }
}

/// One change of a record of a real kernel.
#[derive(Clone, Debug)]
enum Change {
    /// A byte gets another value.
    Byte(prop::sample::Index, u8),
    /// It ends early.
    Cut(prop::sample::Index),
    /// The record is not there.
    Lost,
    /// It comes twice.
    Again,
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => any::<prop::sample::Index>().prop_map(Change::Cut),
        1 => Just(Change::Lost),
        1 => Just(Change::Again),
    ]
}

fn apply(session: &mut Captured, place: prop::sample::Index, change: &Change) {
    let at = place.index(session.steps.len());
    let Step::Event(bytes) = &mut session.steps[at] else { return };
    match change {
        // An earlier change may have left nothing of it.
        Change::Byte(..) | Change::Cut(_) if bytes.is_empty() => {}
        Change::Byte(index, byte) => {
            let index = index.index(bytes.len());
            bytes[index] = *byte;
        }
        Change::Cut(index) => bytes.truncate(index.index(bytes.len())),
        Change::Lost => {
            session.steps.remove(at);
        }
        Change::Again => {
            let copy = session.steps[at].clone();
            session.steps.insert(at, copy);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Damaged, lost and repeated records are survived: what decoding refuses is counted, one by one, and every line that
    /// comes out is a record that can be read.
    #[test]
    fn damaged_captures_are_survived(
        scene in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_change()), 1..20),
    ) {
        let all: Vec<Captured> = {
            thread_local!(static ALL: Vec<Captured> =
                captures().iter().flat_map(|path| sessions(&bytes_of(path))).collect());
            ALL.with(|all| vec![all[scene.index(all.len())].clone()])
        };
        let mut session = all.into_iter().next().expect("one was chosen");
        for (place, change) in &changes {
            apply(&mut session, *place, change);
        }
        let refused = session.steps.iter().filter(|step| matches!(step, Step::Event(bytes)
            if matches!(decode(bytes, 0), Err(DecodeError::Short { .. } | DecodeError::Kind(_) | DecodeError::Value { .. })))).count();
        let replayed = replay(&session);
        prop_assert_eq!(replayed.refused, refused);
        for line in replayed.lines.lines() {
            prop_assert!(reader::parse(line.as_bytes()).is_ok(), "{line}");
        }
    }
}
