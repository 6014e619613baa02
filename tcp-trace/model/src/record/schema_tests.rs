//! The committed JSON Schema of the format is what the types say.

use super::Record;

/// Where the schema is committed.
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/recording.schema.json");

#[test]
#[expect(clippy::disallowed_methods, reason = "a committed file is what is tested")]
fn the_committed_schema_is_that_of_the_types() {
    let schema = schemars::schema_for!(Record);
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(PATH, &text).unwrap();
    }
    let committed = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(committed == text, "{PATH} is out of date: UPDATE_SCHEMA=1 cargo test schema, and commit it");
}
