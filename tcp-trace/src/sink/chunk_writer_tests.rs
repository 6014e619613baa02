//! What is written comes out whole, in order and at once, whatever the thread's output does.

use std::{
    io::Read as _,
    sync::mpsc::{Receiver, Sender, channel},
};

use super::*;

/// Takes a write whenever it is allowed to.
struct Gated {
    allowed: Receiver<()>,
    writes: Sender<Vec<u8>>,
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.allowed.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.writes.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gated(bytes_max: usize) -> (ChunkWriter, Sender<()>, Receiver<Vec<u8>>) {
    let (allow, allowed) = channel();
    let (writes, written) = channel();
    (ChunkWriter::with_queue(Gated { allowed, writes }, bytes_max).unwrap(), allow, written)
}

#[test]
fn a_line_is_written_without_waiting_for_more() {
    let (mut reader, pipe) = io::pipe().unwrap();
    let mut writer = ChunkWriter::new(pipe).unwrap();
    for line in [b"first\n", b"other\n"] {
        writer.write_all(line).unwrap();
        let mut read = [0; 6];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, line);
    }
}

#[test]
fn small_writes_are_joined_and_stay_in_order() {
    let (mut writer, allow, written) = gated(1 << 20);
    let lines: Vec<_> = (0..20_000).map(|number| format!("line {number}\n")).collect();
    for line in &lines {
        writer.write_all(line.as_bytes()).unwrap();
    }
    (0..100).for_each(|_| allow.send(()).unwrap());
    drop(writer);
    let chunks: Vec<_> = written.iter().collect();
    assert!(chunks.len() < 10, "{} chunks", chunks.len());
    assert!(chunks.iter().all(|chunk| chunk.ends_with(b"\n") && chunk.len() <= CHUNK));
    assert_eq!(chunks.concat(), lines.concat().into_bytes());
}

#[test]
fn a_full_queue_is_known_before_a_write_has_to_wait() {
    let (mut writer, allow, written) = gated(100);
    let backlog = writer.backlog();
    writer.write_all(&[b'x'; 99]).unwrap();
    assert!(!backlog.is_full());
    writer.write_all(&[b'y'; 70]).unwrap();
    assert!(backlog.is_full() && !backlog.is_half_empty());
    assert!(!backlog.wait_for_room(Duration::from_millis(1)));
    (0..3).for_each(|_| allow.send(()).unwrap());
    assert!(backlog.wait_for_room(Duration::from_secs(10)));
    drop(writer);
    assert_eq!(written.iter().flatten().count(), 169);
    assert!(backlog.is_written().unwrap() && backlog.is_half_empty());
}

#[test]
fn a_write_waits_for_room() {
    let (mut writer, allow, written) = gated(10);
    (0..40).for_each(|_| allow.send(()).unwrap());
    for _ in 0..20 {
        writer.write_all(b"12345\n").unwrap();
        assert!(writer.backlog().bytes() <= 10 + 6);
    }
    drop(writer);
    assert_eq!(written.iter().flatten().count(), 120);
}

#[test]
fn an_error_comes_with_what_follows_and_keeps_its_words() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut writer = ChunkWriter::with_queue(full, 10).unwrap();
    writer.write_all(b"longer than the queue\n").unwrap();
    for _ in 0..2 {
        let error = writer.write_all(b"more\n").unwrap_err();
        assert_eq!(error.to_string(), "No space left on device (os error 28)");
    }
    assert_eq!(writer.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_reader_that_has_gone_is_a_broken_pipe() {
    let (reader, pipe) = io::pipe().unwrap();
    drop(reader);
    let mut writer = ChunkWriter::with_queue(pipe, 1).unwrap();
    writer.write_all(b"x\n").unwrap();
    assert_eq!(writer.write_all(b"y\n").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
