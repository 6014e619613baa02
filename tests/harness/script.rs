//! Servers that are small programs of the tests' own, and what they say that they did.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use crate::{AccessLogLine, Folder, Running, free_port, wait_for};

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
        wait_for("the script to listen", || {
            if let Ok(Some(status)) = process.0.try_wait() {
                panic!("{command:?}: {status}");
            }
            fs::read_to_string(folder.file("log")).ok().filter(|text| text.starts_with("listening\n"))
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
        let text = wait_for(&format!("{lines} exchanges of the script"), || {
            let text = fs::read_to_string(self.folder.file("log")).ok()?;
            (text.matches('\n').count() > lines).then_some(text)
        });
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        text.lines().skip(1).map(parse).collect()
    }
}
