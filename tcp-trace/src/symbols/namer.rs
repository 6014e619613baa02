//! Names the code of stacks: functions, files and lines, from the symbols and debug information of its files.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    os::unix::ffi::OsStrExt as _,
    sync::Arc,
};

use blazesym::symbolize::{
    CodeInfo, Input, Sym, Symbolized, Symbolizer,
    source::{Elf, Source},
};
use tcp_trace_model::record::{Frame, Stack, Text};

use super::{
    go_table::GoFunction,
    locator::{LocatedFrame, LocatedStack},
    module::FileId,
    perf_map,
};

/// Different stacks that are remembered; when there are more, all are named anew.
const STACKS_MAX: usize = 4096;
/// Files whose symbols are remembered, likewise.
const FILES_MAX: usize = 128;
/// Longest name of a function that is kept, in bytes: those of templates have no limit.
const NAME_MAX: usize = 1024;

/// Names stacks, and remembers what it read for those that come later. Takes as long as it takes to read debug
/// information: seconds, for the first stack of a large program.
pub struct Namer {
    symbolizer: Symbolizer,
    files: HashSet<FileId>,
    stacks: HashMap<LocatedStack, Arc<Stack>>,
}

impl Default for Namer {
    fn default() -> Self {
        Self { symbolizer: Symbolizer::new(), files: HashSet::new(), stacks: HashMap::new() }
    }
}

impl Namer {
    /// The functions of a stack. Equal stacks are one in memory.
    pub fn name(&mut self, located: LocatedStack) -> Arc<Stack> {
        if let Some(stack) = self.stacks.get(&located) {
            return stack.clone();
        }
        if self.files.len() >= FILES_MAX || self.stacks.len() >= STACKS_MAX {
            // With the stacks go the files that they keep open.
            *self = Self::default();
        }
        let frames = located.frames.iter().flat_map(|frame| self.frames(frame)).collect();
        let stack = Arc::new(Stack { frames, truncated: located.truncated, missing: None });
        self.stacks.insert(located, stack.clone());
        stack
    }

    /// The frames at a place: that of the function, after those that the compiler put into it.
    fn frames(&mut self, located: &LocatedFrame) -> Vec<Frame> {
        if let Some(name) = &located.name {
            return vec![perf_map::frame(&name[..name.floor_char_boundary(NAME_MAX)], located.address)];
        }
        if located.path.is_empty() {
            return vec![Frame { address: Some(located.address), ..Frame::default() }];
        }
        let module = Some(Text::from(located.path.to_vec()));
        let Some((file, linked)) = &located.module else {
            return vec![Frame { module, ..Frame::default() }];
        };
        self.files.insert(file.id);
        let bare = Frame { module, offset: Some(*linked), ..Frame::default() };
        let mut elf = Elf::new(file.path());
        elf.debug_syms = file.has_lines;
        let linked = [*linked];
        let symbolized = self
            .symbolizer
            .symbolize(&Source::from(elf), Input::VirtOffset(&linked))
            .inspect_err(|error| log::debug!("{}: {error}", String::from_utf8_lossy(&located.path)));
        let frames = match symbolized.ok().and_then(|symbols| symbols.into_iter().next()) {
            Some(Symbolized::Sym(symbol)) => with_symbol(&bare, &symbol),
            _ => vec![bare.clone()],
        };
        let has_lines = frames.iter().any(|frame| frame.line.is_some());
        let go = file.go.as_ref().filter(|_| !has_lines).and_then(|go| go.function(linked[0]));
        go.map_or(frames, |function| vec![with_go(bare, function)])
    }
}

/// A function of a Go program without debug information.
fn with_go(bare: Frame, GoFunction { mut name, place }: GoFunction) -> Frame {
    name.truncate(name.floor_char_boundary(NAME_MAX));
    let (file, line) = place.unzip();
    Frame { function: Some(name), file: file.map(Text::from), line, ..bare }
}

fn with_symbol(bare: &Frame, symbol: &Sym<'_>) -> Vec<Frame> {
    let frame = |name: &Cow<'_, str>, place: Option<&CodeInfo<'_>>, inlined: bool| Frame {
        function: Some(name[..name.floor_char_boundary(NAME_MAX)].to_owned()),
        file: place.map(|place| Text::from(place.to_path().as_os_str().as_bytes().to_vec())),
        line: place.and_then(|place| place.line),
        inlined,
        ..bare.clone()
    };
    let inlined = symbol.inlined.iter().rev().map(|one| frame(&one.name, one.code_info.as_ref(), true));
    inlined.chain([frame(&symbol.name, symbol.code_info.as_deref(), false)]).collect()
}
