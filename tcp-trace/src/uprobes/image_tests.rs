//! What is found in files: own ones, and those of this host.

use std::io::{Seek as _, Write as _};

use object::{
    Architecture, BinaryFormat, Endianness, SymbolFlags, SymbolKind, SymbolScope,
    write::{self, SymbolSection},
};

use super::*;

/// `sub $8,%rsp; add $8,%rsp; ret` and `ret` for the machine of this test.
fn function() -> (Vec<u8>, u64) {
    match Machine::HERE {
        Machine::X86_64 => (vec![0x48, 0x83, 0xec, 8, 0x48, 0x83, 0xc4, 8, 0xc3], 8),
        Machine::Aarch64 => ([0xd503_201f_u32, 0xd65f_03c0].map(u32::to_le_bytes).concat(), 4),
    }
}

fn file(bytes: &[u8]) -> File {
    let mut file = File::from(rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// An object file, which has no segments, with functions of these names.
fn with_functions(names: &[&str]) -> Vec<u8> {
    let architecture =
        if Machine::HERE == Machine::X86_64 { Architecture::X86_64 } else { Architecture::Aarch64 };
    let mut image = write::Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
    let text = image.section_id(write::StandardSection::Text);
    for name in names {
        let (code, _) = function();
        let value = image.append_section_data(text, &code, 16);
        image.add_symbol(write::Symbol {
            name: name.as_bytes().to_vec(),
            value,
            size: code.len() as u64,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(text),
            flags: SymbolFlags::None,
        });
    }
    image.write().unwrap()
}

#[test]
fn what_is_no_library_has_nothing() {
    for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &with_functions(&["main", "xSSL_read"])] {
        assert_eq!(read(&file(bytes)).unwrap_or_default(), Hooks::default());
    }
}

#[test]
fn functions_outside_of_segments_are_named() {
    let found = read(&file(&with_functions(&["SSL_write", "SSL_free", "main"]))).unwrap();
    let unhooked = [Unhooked { function: "SSL_write", reason: Reason::NoCode }];
    assert_eq!(found, Hooks { unhooked: unhooked.to_vec(), ..Hooks::default() });
}

#[test]
fn damaged_files_are_survived() {
    let bytes = with_functions(&["SSL_write", "SSL_read"]);
    for at in 0..bytes.len() {
        let _ = read(&file(&bytes[..at]));
        let mut damaged = bytes.clone();
        damaged[at] = 0xff;
        let _ = read(&file(&damaged));
    }
}

#[test]
fn functions_of_a_segment_are_hooked() {
    let (code, at) = function();
    let segments = [Segment { address: 0x1000, size: 0x100, offset: 0x10 }];
    let image = file(&[vec![0; 0x30], code.clone()].concat());
    let data = &ReadCache::new(&image);
    let named = |name| FUNCTIONS.iter().find(|function| function.name == name).unwrap();
    let places = |name, place| places(data, &segments, (Machine::HERE, Build::Other), named(name), place);
    let place = (0x1020, code.len() as u64);
    let hook = |kind, offset| Hook { kind, offset, below: 0 };
    assert_eq!(
        places("SSL_write", place),
        Ok(vec![hook(HookKind::Return, 0x30 + at), hook(named("SSL_write").kind, 0x30)])
    );
    assert_eq!(places("SSL_new", place), Ok(vec![hook(HookKind::New, 0x30 + at)]));
    assert_eq!(places("SSL_free", place), Ok(vec![hook(HookKind::Free, 0x30)]));
    for place in [(0xfff, 9), (0x1100, 9), (0x1020, 0), (0x1020, 0x1000), (0x1020, FUNCTION_MAX + 1)] {
        assert_eq!(places("SSL_write", place), Err(Reason::NoCode), "{place:x?}");
    }
}
