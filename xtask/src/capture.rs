//! Records captures for replays: what the program reads from the ring buffer in end-to-end scenes on this kernel.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{output, project, run},
    kernels, setup,
};

/// Test executables, and how the names of the tests start that are captured.
const SCENES: [(&str, &str); 7] = [
    ("lives", "loopback_"),
    ("messages", ""),
    ("requests", "one_connection_carries_several_requests"),
    ("requests", "each_way_to_frame_a_body_is_counted"),
    ("dns", "lookups_are_the_queries_to_the_server"),
    ("dns", "a_name_that_was_looked_up_by_tcp_is_reported_too"),
    ("dns", "a_connection_has_the_name_that_its_process_looked_up"),
];

/// A scene with more bytes than this is left out: there is little to learn from many equal segments.
const SCENE_BYTES_MAX: usize = 256 << 10;

/// The kind of the frame that a scene begins with; its body is the scene's name.
const SCENE: u8 = b'N';

/// Captures the loopback tests on Debian's kernels.
pub(crate) fn on_kernels() -> Result<()> {
    setup::provide(&kernels::NEEDS, true)?;
    for (kernel, capture) in kernels::run_and_capture()? {
        keep(&format!("debian-{kernel}"), &without_large_scenes(&capture))?;
    }
    bless()
}

/// Writes a capture, compressed.
fn keep(name: &str, capture: &[u8]) -> Result<()> {
    let path = folder()?.join(format!("{name}.ring"));
    fs::write(&path, capture).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}: {} bytes", path.display(), capture.len());
    run(Command::new("gzip").args(["--best", "--no-name", "--force"]).arg(&path))
}

/// What is left of a capture, which is frames as `session::capture` of the program describes them, without the scenes that
/// have too many bytes. A scene has as many sessions as its test has.
fn without_large_scenes(mut capture: &[u8]) -> Vec<u8> {
    let mut sessions: Vec<(&[u8], Vec<u8>)> = Vec::new();
    while let Some((kind, rest)) = capture.split_first()
        && let Some((length, rest)) = rest.split_first_chunk::<4>()
        && let Some((body, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)
    {
        let frame = &capture[..capture.len() - rest.len()];
        match sessions.last_mut() {
            Some((_, bytes)) if *kind != SCENE => bytes.extend(frame),
            _ => sessions.push((body, frame.to_vec())),
        }
        capture = rest;
    }
    let size_of = |scene: &[u8]| -> usize {
        sessions.iter().filter(|(name, _)| *name == scene).map(|(_, bytes)| bytes.len()).sum()
    };
    let kept = sessions.iter().filter(|(scene, _)| size_of(scene) <= SCENE_BYTES_MAX);
    kept.flat_map(|(_, bytes)| bytes.iter().copied()).collect()
}

/// Where captures are.
fn folder() -> Result<PathBuf> {
    let folder = project().join("tcp-trace/captures");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Captures every scene on this kernel into one file that is named after it, and writes the lines that are expected of it.
pub(crate) fn here() -> Result<()> {
    run(cargo().args(["build", "--package=tcp-trace", "--bin=tcp-trace", "--features=tcp-trace/capture"]))?;
    let mut capture = Vec::new();
    for (target, prefix) in SCENES {
        for name in tests(target, prefix)? {
            capture.extend(without_large_scenes(&scene(target, &name)?));
        }
    }
    keep(&format!("host-{}", kernel()?), &capture)?;
    bless()
}

/// Writes the lines that replays are compared with.
fn bless() -> Result<()> {
    run(cargo()
        .args(["test", "--package=tcp-trace", "--lib", "session::capture"])
        .env("TCP_TRACE_BLESS", "1"))
}

fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(project());
    cargo
}

/// Major and minor version of the running kernel.
fn kernel() -> Result<String> {
    let release = output(Command::new("uname").arg("-r"))?;
    let parts: Vec<&str> = release.splitn(3, ['.', '-']).collect();
    let [major, minor, ..] = parts.as_slice() else { bail!("kernel release {release} has no version") };
    Ok(format!("{major}.{minor}"))
}

fn tests(target: &str, prefix: &str) -> Result<Vec<String>> {
    let list = output(test(target).args([prefix, "--list", "--format=terse"]))?;
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

/// Runs one test and gives what its sessions read.
fn scene(target: &str, name: &str) -> Result<Vec<u8>> {
    let file = project().join("target/capture.ring");
    if file.exists() {
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    run(test(target)
        .args(["--exact", name, "--test-threads=1"])
        .env("TCP_TRACE_BIN", project().join("target/debug/tcp-trace"))
        .env("TCP_TRACE_CAPTURE", &file)
        .env("TCP_TRACE_CAPTURE_SCENE", format!("{target} {name}")))?;
    read_if_there(&file)
}

fn test(target: &str) -> Command {
    let mut cargo = cargo();
    cargo.args(["test", "--quiet", "--locked", "--package=tcp-trace-tests", "--test", target, "--"]);
    cargo
}

/// A scene without a session leaves no file.
fn read_if_there(path: &PathBuf) -> Result<Vec<u8>> {
    let is_there = Path::new(path).exists();
    if !is_there {
        return Ok(Vec::new());
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &(body.len() as u32).to_le_bytes(), body].concat()
    }

    #[test]
    fn scenes_with_too_many_bytes_are_left_out_with_all_of_their_sessions() {
        let half = vec![0; SCENE_BYTES_MAX / 2];
        let small = [frame(SCENE, b"small"), frame(b'E', b"1")].concat();
        let large = [frame(SCENE, b"large"), frame(b'E', &half)].concat();
        let other = [frame(SCENE, b"other"), frame(b'E', &half)].concat();
        let all = [&small[..], &large, &other, &large].concat();
        assert_eq!(without_large_scenes(&all), [small, other].concat());
        assert!(without_large_scenes(&[]).is_empty());
    }
}
