//! Writes in a thread of its own, so that the thread that renders waits for no disk, pipe or terminal.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Rendered bytes that wait to be written, at most; one write more is accepted than fills it.
pub const OUTPUT_QUEUE_BYTES_MAX: usize = 32 << 20;
/// Small writes are joined into chunks of this size while they wait.
const CHUNK: usize = 64 << 10;
/// Most bytes that are taken of one write: more than any line has, so that lines stay whole.
const WRITE_BYTES_MAX: usize = 2 << 20;
/// Buffers that are kept to be used again.
const SPARE_MAX: usize = 4;
/// How long what is queued may take to be written when the writer is dropped without being asked to finish.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// A writer that queues what is written and hands it to a thread. Errors of the thread come with the next write or
/// flush. A write waits while the queue is full; who must not wait asks [`Backlog::is_full`] first.
#[derive(Debug)]
pub struct ChunkWriter {
    backlog: Backlog,
}

/// What a [`ChunkWriter`] has not written yet.
#[derive(Clone, Debug)]
pub struct Backlog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something was queued, or the queue was closed.
    filled: Condvar,
    /// Something was written, or the thread is over.
    written: Condvar,
    /// Bytes that are queued or being written. Changed only with the lock held.
    bytes: AtomicUsize,
    bytes_max: AtomicUsize,
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    error: Option<io::Error>,
    is_closed: bool,
    is_over: bool,
}

impl ChunkWriter {
    /// Starts the thread, which writes to `output`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(output: impl Write + Send + 'static) -> io::Result<Self> {
        Self::with_queue(output, OUTPUT_QUEUE_BYTES_MAX)
    }

    /// The same, with a queue of this many bytes.
    pub(crate) fn with_queue(output: impl Write + Send + 'static, bytes_max: usize) -> io::Result<Self> {
        let backlog = Backlog(Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
            bytes: AtomicUsize::new(0),
            bytes_max: AtomicUsize::new(bytes_max),
        }));
        let shared = Arc::clone(&backlog.0);
        thread::Builder::new().name("writer".to_owned()).spawn(move || shared.write(output))?;
        Ok(Self { backlog })
    }

    /// What is not written yet, to be watched from outside.
    pub fn backlog(&self) -> Backlog {
        self.backlog.clone()
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
        let shared = &self.backlog.0;
        let mut queue = shared
            .written
            .wait_while(shared.lock(), |queue| queue.error.is_none() && self.backlog.is_full())
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &queue.error {
            return Err(same(error));
        }
        match queue.chunks.back_mut().filter(|last| last.len() + bytes.len() <= CHUNK) {
            Some(last) => last.extend_from_slice(bytes),
            None => {
                let mut chunk = queue.spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK));
                chunk.extend_from_slice(bytes);
                queue.chunks.push_back(chunk);
            }
        }
        shared.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        shared.filled.notify_one();
        Ok(bytes.len())
    }

    /// What was written before is on its way already.
    fn flush(&mut self) -> io::Result<()> {
        self.backlog.is_written().map(|_| ())
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        let shared = &self.backlog.0;
        let mut queue = shared.lock();
        queue.is_closed = true;
        shared.filled.notify_one();
        // A writer that is stuck ends with the process.
        let _ = shared.written.wait_timeout_while(queue, DROP_PATIENCE, |queue| !queue.is_over);
    }
}

impl Backlog {
    /// Whether a write would have to wait.
    pub fn is_full(&self) -> bool {
        self.bytes() >= self.0.bytes_max.load(Ordering::Relaxed)
    }

    /// Whether at most half of the queue is used.
    pub fn is_half_empty(&self) -> bool {
        self.bytes() <= self.0.bytes_max.load(Ordering::Relaxed) / 2
    }

    /// Lets the queue grow from now on: what is still to come is limited by itself, and nobody waits for it.
    pub fn lift_limit(&self) {
        self.0.bytes_max.store(usize::MAX, Ordering::Relaxed);
    }

    /// Bytes that are not written yet.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Whether everything is written.
    ///
    /// # Errors
    /// When something could not be written: the thread's error.
    pub fn is_written(&self) -> io::Result<bool> {
        match &self.0.lock().error {
            Some(error) => Err(same(error)),
            None => Ok(self.bytes() == 0),
        }
    }

    /// Waits until a write need not wait, at most `patience`; false when it still would have to.
    pub fn wait_for_room(&self, patience: Duration) -> bool {
        let full = |queue: &mut Queue| queue.error.is_none() && self.is_full();
        let waited = self.0.written.wait_timeout_while(self.0.lock(), patience, full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Shared {
    /// Nothing that holds the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's own: writes until the queue is closed and empty, or writing fails.
    fn write(&self, mut output: impl Write) {
        while let Some(mut chunk) = self.next_chunk() {
            let result = output.write_all(&chunk).and_then(|()| output.flush());
            let mut queue = self.lock();
            match result {
                Ok(()) => {
                    self.bytes.fetch_sub(chunk.len(), Ordering::Relaxed);
                    if queue.spare.len() < SPARE_MAX && chunk.capacity() <= 2 * CHUNK {
                        chunk.clear();
                        queue.spare.push(chunk);
                    }
                }
                Err(error) => {
                    queue.error = Some(error);
                    queue.chunks.clear();
                    break;
                }
            }
            self.written.notify_all();
        }
        drop(output);
        self.lock().is_over = true;
        self.written.notify_all();
    }

    fn next_chunk(&self) -> Option<Vec<u8>> {
        let waits = |queue: &mut Queue| queue.chunks.is_empty() && !queue.is_closed;
        let queue = self.filled.wait_while(self.lock(), waits);
        queue.unwrap_or_else(PoisonError::into_inner).chunks.pop_front()
    }
}

/// An error cannot be cloned, and is reported as often as somebody asks.
fn same(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
#[path = "chunk_writer_tests.rs"]
mod tests;
