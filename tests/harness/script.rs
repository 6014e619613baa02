//! Servers that are small programs of the tests' own, and what they say that they did.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use serde::de::DeserializeOwned;

use crate::{
    AccessLogLine, Folder, Running, free_port,
    nginx::{parse_lines, text_of_lines},
    process::wait_until_ready,
};

/// What it says first.
const LISTENING: &str = "listening\n";

/// A running program of `tests/programs`: it listens on the port that it is given, says so in a line, and prints then
/// each exchange as JSON.
#[derive(Debug)]
pub struct Script {
    process: Running,
    folder: Folder,
    port: u16,
}

impl Script {
    /// Starts it with its interpreter.
    pub fn start(interpreter: &str, name: &str) -> Self {
        Self::start_with(interpreter, name, &[])
    }

    /// The same, with arguments behind the port.
    pub fn start_with(interpreter: &str, name: &str, arguments: &[&str]) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name);
        let output = File::create(folder.file("log")).expect("the folder is ours");
        let mut command = Command::new(interpreter);
        command
            .arg(path)
            .arg(port.to_string())
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(output);
        let mut process = Running::start(&mut command);
        let log = folder.file("log");
        wait_until_ready(&mut process, &command, &[&log], || {
            fs::read_to_string(&log).is_ok_and(|text| text.starts_with(LISTENING))
        });
        Self { process, folder, port }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A URL on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The exchanges that it printed, once there are this many.
    pub fn access_log(&self, lines: usize) -> Vec<AccessLogLine> {
        self.log(lines)
    }

    /// What it printed in lines of JSON, once there are this many.
    pub fn log<T: DeserializeOwned>(&self, lines: usize) -> Vec<T> {
        let text = text_of_lines(&self.folder.file("log"), LISTENING.lines().count() + lines);
        parse_lines(text.strip_prefix(LISTENING).expect("it listens"))
    }
}
