//! A file that is traced into.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// The file that is written. What was in it stays until there is something to write.
pub(super) struct OutputFile {
    file: File,
    has_old_content: bool,
}

impl OutputFile {
    /// Opens it for its owner only: it holds what went over the network.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(Self { file, has_old_content: metadata.is_file() && metadata.len() > 0 })
    }

    /// Removes what was opened at `path` if it is new and nothing was written: tracing could not start.
    pub(super) fn leave_no_empty(path: &Path, is_new: bool) {
        if is_new && path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
            // If that fails there is nothing to be done.
            let _ = std::fs::remove_file(path);
        }
    }

    /// What is behind it, which may be a terminal.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.has_old_content) {
            self.file.set_len(0)?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
