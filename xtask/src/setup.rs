//! What the checks need of the machine: all of it is looked for before anything runs, and what is missing is installed
//! where that can be done, or named in one list.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::command::{find, output, run};

/// Something that a check cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A program in `PATH`, and its Debian package.
    Program(&'static str, &'static str),
    /// A module of Python, and its Debian package.
    Python(&'static str, &'static str),
    /// A command that succeeds where something can be used, and its Debian package.
    Command(&'static [&'static str], &'static str),
    /// A subcommand of cargo, and its component of the toolchain.
    Cargo(&'static str, &'static str),
    /// A file of the kernel, and what it is.
    Kernel(&'static str, &'static str),
    /// The rights of root, and what for.
    Root(&'static str),
}

/// Where what is missing comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// A Debian package.
    Package(&'static str),
    /// A component that rustup adds.
    Component(&'static str),
    /// Nothing that can be installed.
    Nowhere,
}

impl Need {
    fn is_met(self) -> bool {
        let succeeds = |command: &mut Command| command.output().is_ok_and(|printed| printed.status.success());
        match self {
            Self::Program(name, _) => find(name).is_some(),
            Self::Python(module, _) => {
                succeeds(Command::new("python3").arg("-c").arg(format!("import {module}")))
            }
            Self::Command(words, _) => {
                words.split_first().is_some_and(|(name, rest)| succeeds(Command::new(name).args(rest)))
            }
            Self::Cargo(name, _) => succeeds(Command::new("cargo").args([name, "--version"])),
            Self::Kernel(path, _) => Path::new(path).exists(),
            Self::Root(_) => rustix::process::geteuid().is_root(),
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Program(_, package) | Self::Python(_, package) | Self::Command(_, package) => {
                Source::Package(package)
            }
            Self::Cargo(_, component) => Source::Component(component),
            Self::Kernel(..) | Self::Root(_) => Source::Nowhere,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::Program(name, package) => format!("{name} (Debian package {package})"),
            Self::Python(module, package) => format!("Python's module {module} (Debian package {package})"),
            Self::Command(words, package) => {
                format!("what `{}` needs (Debian package {package})", words.join(" "))
            }
            Self::Cargo(name, component) => {
                format!("cargo {name} (rustup component add {component})")
            }
            Self::Kernel(path, what) => format!("{what}: {path}"),
            Self::Root(what) => format!("the rights of root: {what}"),
        }
    }
}

/// What can be installed on this machine.
struct Means {
    apt: bool,
    rustup: bool,
}

impl Means {
    /// apt serves root on Debian and what is made of it; rustup serves everybody who has it.
    fn of_machine() -> Self {
        let is_debian = Path::new("/etc/debian_version").exists() && find("apt-get").is_some();
        Self { apt: is_debian && rustix::process::geteuid().is_root(), rustup: find("rustup").is_some() }
    }

    fn reach(&self, source: Source) -> bool {
        match source {
            Source::Package(_) => self.apt,
            Source::Component(_) => self.rustup,
            Source::Nowhere => false,
        }
    }
}

/// What of this is missing and can be installed. It is an error, which names it, where it may not or cannot be installed.
pub(crate) fn installable(needs: &[Need], may_install: bool) -> Result<Vec<Need>> {
    let missing = missing(needs);
    let means = Means::of_machine();
    let can_install = may_install && missing.iter().all(|need| means.reach(need.source()));
    if missing.is_empty() || can_install {
        return Ok(missing);
    }
    bail!("{}", list(&missing));
}

/// Makes sure that all of this is there. Installs what is missing if it may and all of it can be had; else names it.
pub(crate) fn provide(needs: &[Need], may_install: bool) -> Result<()> {
    let missing = installable(needs, may_install)?;
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)?;
    let still = self::missing(needs);
    if !still.is_empty() {
        bail!("after the installation {}", list(&still));
    }
    Ok(())
}

fn missing(needs: &[Need]) -> Vec<Need> {
    let mut missing: Vec<Need> = Vec::new();
    for need in needs {
        if !missing.contains(need) && !need.is_met() {
            missing.push(*need);
        }
    }
    missing
}

/// All that is missing, and the one command that installs what Debian has of it.
fn list(missing: &[Need]) -> String {
    let lines: String = missing.iter().map(|need| format!("\n  {}", need.shown())).collect();
    let packages = packages(missing);
    let command =
        if packages.is_empty() { String::new() } else { format!("\napt-get install {}", packages.join(" ")) };
    format!("the checks need what is missing on this machine:{lines}{command}")
}

fn packages(missing: &[Need]) -> Vec<&'static str> {
    let of = |need: &Need| match need.source() {
        Source::Package(package) => Some(package),
        Source::Component(_) | Source::Nowhere => None,
    };
    let mut packages: Vec<_> = missing.iter().filter_map(of).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install(missing: &[Need]) -> Result<()> {
    let packages = packages(missing);
    if !packages.is_empty() {
        println!("== setup: apt-get install {}", packages.join(" "));
        let _no_services = NoServices::new()?;
        let apt = || {
            let mut apt = Command::new("apt-get");
            apt.arg("-qq").env("DEBIAN_FRONTEND", "noninteractive");
            apt
        };
        run(apt().arg("update"))?;
        output(apt().args(["install", "-y", "--no-install-recommends"]).args(&packages))?;
    }
    for need in missing {
        if let Source::Component(component) = need.source() {
            println!("== setup: rustup component add {component}");
            run(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

/// While it lives, packages do not start their services: the checks want only their programs
/// (`/usr/sbin/policy-rc.d`, as invoke-rc.d(8) describes).
struct NoServices(Option<PathBuf>);

impl NoServices {
    fn new() -> Result<Self> {
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        if path.exists() {
            // The machine has a policy of its own.
            return Ok(Self(None));
        }
        let write = || {
            fs::write(&path, "#!/bin/sh\n# 101: an action is forbidden.\nexit 101\n")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(Some(path)))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = fs::remove_file(path)
        {
            eprintln!("xtask: cannot remove {}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Need = Need::Program("no-such-program", "no-such-package");

    #[test]
    fn what_is_there_is_not_missing() {
        let root = Need::Kernel("/no/such/file", "a kernel with BTF");
        let needs = [Need::Program("sh", "dash"), NOBODY, NOBODY, root];
        assert_eq!(missing(&needs), [NOBODY, root]);
    }

    #[test]
    fn all_that_is_missing_is_in_one_list() {
        let missing = [
            Need::Program("ss", "iproute2"),
            Need::Python("requests", "python3-requests"),
            Need::Program("ip", "iproute2"),
            Need::Cargo("clippy", "clippy"),
            Need::Root("the tests load eBPF programs"),
        ];
        assert_eq!(
            list(&missing),
            "the checks need what is missing on this machine:\n  \
             ss (Debian package iproute2)\n  \
             Python's module requests (Debian package python3-requests)\n  \
             ip (Debian package iproute2)\n  \
             cargo clippy (rustup component add clippy)\n  \
             the rights of root: the tests load eBPF programs\n\
             apt-get install iproute2 python3-requests"
        );
    }

    #[test]
    fn nothing_is_installed_where_it_must_not_be() {
        let error = provide(&[NOBODY], false).unwrap_err().to_string();
        assert!(error.contains("no-such-program (Debian package no-such-package)"), "{error}");
        provide(&[Need::Program("sh", "dash")], false).unwrap();
    }
}
