//! Where in its process a connection was used: threads, and stacks of functions.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{text::Text, time::Time};

/// The code that used a connection, if stacks were requested and it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stacks {
    /// The connect() of a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Use>,
    /// The first read or write of an accepted socket; for a socket opened before the session, the first that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_use: Option<Use>,
    /// The first read that returned 0: from then on the process knew that the peer had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eof: Option<Use>,
    /// The last read or write, except the close.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_use: Option<LastUse>,
}

impl Stacks {
    /// Whether all its stacks have been resolved.
    pub fn are_resolved(&self) -> bool {
        let uses = [&self.connect, &self.first_use, &self.eof];
        uses.into_iter().flatten().all(|one| one.stack.get().is_some())
    }
}

/// A system call on a socket, and where it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Use {
    /// When.
    pub time: Time,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Name of the thread (`comm`).
    pub thread: Text,
    /// The functions that it was in.
    pub stack: SharedStack,
}

/// The last read or write of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LastUse {
    /// When.
    pub time: Time,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Name of the thread (`comm`).
    pub thread: Text,
    /// Which of both.
    pub operation: Operation,
}

/// A read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// A read, including one that returned EOF.
    Read,
    /// A write.
    Write,
}

/// The functions that a thread was in, the innermost first. Equal for equal places of one program, whichever process
/// runs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stack {
    /// A frame per function, inlined ones included.
    pub frames: Vec<Frame>,
    /// Whether there are further frames that could not be found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Why there are no frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl Stack {
    /// A stack of which nothing is known, because of `reason`.
    pub fn missing(reason: &str) -> Self {
        Self { frames: Vec::new(), truncated: false, missing: Some(reason.to_owned()) }
    }
}

/// A function in a stack. Unknown fields are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Frame {
    /// Name of the function, demangled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Path of the executable or library, as the process sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<Text>,
    /// Address in the module as it was linked: what addr2line takes. Within the call, for all but
    /// the innermost frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Source file, as the compiler wrote it into the debug information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Text>,
    /// Line in `file`, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Whether the compiler put the function into the one of the next frame.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inlined: bool,
    /// Address in the process, when it is in no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
}

/// A stack that becomes known later, once; equal stacks share their memory. Recorded as a [`Stack`].
#[derive(Clone, Debug, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "Stack"))]
pub struct SharedStack(Arc<OnceLock<Arc<Stack>>>);

impl SharedStack {
    /// The stack, once it is known.
    pub fn get(&self) -> Option<&Stack> {
        self.0.get().map(AsRef::as_ref)
    }

    /// Makes it known. A stack that is known already stays as it is.
    pub fn set(&self, stack: Arc<Stack>) {
        // That it is known already is said above.
        let _ = self.0.set(stack);
    }
}

impl PartialEq for SharedStack {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for SharedStack {}

impl Serialize for SharedStack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.get() {
            Some(stack) => stack.serialize(serializer),
            None => Stack::missing("it was not resolved in time").serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SharedStack {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shared = Self::default();
        shared.set(Arc::new(Stack::deserialize(deserializer)?));
        Ok(shared)
    }
}
