//! Recordings against the JSON Schema of their format, by a validator that shares no code with the writer.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use crate::growing::kind_of;

/// Lines of each type that are validated of a recording: the validator takes a millisecond for one.
const LINES_OF_TYPE: usize = 20;

/// Fails when a line of this recording is not as the schema says, if the recording has a type of line that no recording of
/// this process of tests had before. Nothing is validated where the sources are not, as in a VM of `cargo xtask kernels`.
pub(crate) fn validate(recording: &str) {
    static VALIDATED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = project.join("../docs/recording.schema.json");
    if !schema.exists() {
        return;
    }
    let mut lines: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in recording.lines() {
        let of_type = lines.entry(kind_of(line)).or_default();
        if of_type.len() < LINES_OF_TYPE {
            of_type.push(line);
        }
    }
    // A test that failed meanwhile leaves nothing half done here.
    let mut validated = VALIDATED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = validated.len();
    validated.extend(lines.keys().map(|kind| (*kind).to_owned()));
    if validated.len() == before {
        return;
    }
    drop(validated);
    let lines = lines.into_values().flatten().collect::<Vec<_>>().join("\n");
    let mut command = Command::new("python3");
    command.arg(project.join("programs/validate.py")).arg(&schema);
    let mut validator = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    // It may end at the first wrong line, before it has read all; what it says then is shown below.
    let _ = validator.stdin.take().expect("it is piped").write_all(lines.as_bytes());
    let ended = validator.wait_with_output().expect("it can be waited for");
    assert!(
        ended.status.success(),
        "not as in {}: {}",
        schema.display(),
        String::from_utf8_lossy(&ended.stderr)
    );
}
