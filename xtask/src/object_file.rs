//! ELF: what of an eBPF object is kept, and where two of them differ.

use anyhow::{Result, bail};
use object::{
    Object as _, ObjectSection as _,
    build::elf::{Builder, SectionData},
};

/// Leaves out DWARF, which is most of the object and which no kernel reads. BTF stays.
pub(crate) fn without_debug_sections(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(bytes)?;
    let mangled =
        builder.symbols.iter().map(|symbol| symbol.name.to_string()).find(|name| name.starts_with("_R"));
    if let Some(name) = mangled {
        bail!(
            "function {name} was not inlined: its name, and so the object, depends on where the source lies; \
             call it in one place only or mark it #[inline(always)]"
        );
    }
    for section in builder.sections.iter_mut() {
        let name = section.name.to_string();
        section.delete = name.starts_with(".debug") || name.starts_with(".rel.debug");
    }
    // LLVM keeps the sections' names in the symbols' string table, the writer in a table of their own.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = object::elf::SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// Names the first section, in the order of the committed file, that is not the same in the other one.
pub(crate) fn first_difference(committed: &[u8], built: &[u8]) -> String {
    let (committed, built) = match (sections(committed), sections(built)) {
        (Ok(committed), Ok(built)) => (committed, built),
        (Err(error), _) => return format!("the committed one is no ELF object: {error}"),
        (_, Err(error)) => return format!("the rebuilt one is no ELF object: {error}"),
    };
    for (name, data) in &committed {
        match built.iter().find(|(other, _)| other == name) {
            None => return format!("section {name} is no longer there"),
            Some((_, other)) if other != data => {
                let at = data.iter().zip(other).take_while(|(a, b)| a == b).count();
                let (old, new) = (data.len(), other.len());
                return format!(
                    "section {name} differs from byte {at} on ({old} bytes committed, {new} rebuilt)"
                );
            }
            Some(_) => {}
        }
    }
    match built.iter().find(|(name, _)| committed.iter().all(|(other, _)| other != name)) {
        Some((name, _)) => format!("section {name} is new"),
        None => "the sections are the same, the headers or the symbols differ".to_owned(),
    }
}

fn sections(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let file = object::File::parse(bytes)?;
    file.sections().map(|section| Ok((section.name()?.to_owned(), section.data()?.to_vec()))).collect()
}

#[cfg(test)]
mod tests {
    use object::{Architecture, BinaryFormat, Endianness, SectionKind, write};

    use super::*;

    fn object_file(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut file = write::Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        for (name, data) in sections {
            let id = file.add_section(vec![], name.as_bytes().to_vec(), SectionKind::Text);
            file.append_section_data(id, data, 8);
        }
        file.write().unwrap()
    }

    #[test]
    fn the_first_differing_section_is_named() {
        let committed = object_file(&[("license", b"GPL"), ("cgroup/skb", b"12345678"), (".BTF", b"x")]);
        for (sections, expected) in [
            (
                &[("license", &b"GPL"[..]), ("cgroup/skb", b"12345679"), (".BTF", b"y")][..],
                "section cgroup/skb differs from byte 7",
            ),
            (&[("license", b"GPL"), (".BTF", b"x")], "section cgroup/skb is no longer there"),
            (
                &[("license", b"GPL"), ("cgroup/skb", b"12345678"), (".BTF", b"x"), ("maps", b"m")],
                "section maps is new",
            ),
        ] {
            let difference = first_difference(&committed, &object_file(sections));
            // Names of sections are in a section of their own, which comes first where they differ.
            assert!(difference.starts_with(expected) || difference.contains("strtab"), "{difference}");
        }
    }

    #[test]
    fn what_is_no_object_is_said_and_survived() {
        let object = object_file(&[("license", b"GPL")]);
        for length in 0..object.len() {
            first_difference(&object, &object[..length]);
            let _ = without_debug_sections(&object[..length]);
        }
        assert!(first_difference(b"", &object).starts_with("the committed one is no ELF object"));
    }

    #[test]
    fn debug_sections_go_and_btf_stays() {
        let object = object_file(&[(".debug_info", b"d"), (".BTF", b"b")]);
        let stripped = without_debug_sections(&object).unwrap();
        let names: Vec<_> = sections(&stripped).unwrap().into_iter().map(|(name, _)| name).collect();
        assert!(
            names.contains(&".BTF".to_owned()) && !names.contains(&".debug_info".to_owned()),
            "{names:?}"
        );
    }
}
