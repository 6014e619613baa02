//! Debian's packages, downloaded with a configuration of our own: the machine's stays as it is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::command::output;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt, with all that it keeps in one folder.
pub(crate) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Makes the configuration. A suite is an archive and its part: `debian trixie-backports`. All come from the
    /// mirror that the machine's own apt uses.
    pub(crate) fn new(folder: &Path, suites: &[&str]) -> Result<Self> {
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is missing: this is not Debian");
        }
        let mirror = mirror()?;
        for below in ["state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"]
        {
            let path = folder.join(below);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        let shown = folder.display();
        let source = |suite: &&str| format!("deb [signed-by={KEYRING}] {mirror}{suite} main\n");
        let files = [
            ("status", String::new()),
            ("etc/sources.list", suites.iter().map(source).collect()),
            (
                "apt.conf",
                format!(
                    "Dir::State \"{shown}/state\";\nDir::State::status \"{shown}/status\";\nDir::Cache \"{shown}/cache\";\n\
                     Dir::Etc \"{shown}/etc\";\nAPT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
                     Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\nAcquire::Retries \"3\";\n"
                ),
            ),
        ];
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Reads which packages the suites have.
    pub(crate) fn update(&self) -> Result<()> {
        output(self.program("apt-get").args(["-qq", "update"])).map(|_| ())
    }

    /// Names of packages that start so.
    pub(crate) fn names(&self, start: &str) -> Result<Vec<String>> {
        let names = output(self.program("apt-cache").args(["pkgnames", start]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Versions of a package.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = output(self.program("apt-cache").args(["madison", package]))?;
        Ok(table.lines().filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned())).collect())
    }

    /// Downloads a package, `NAME` or `NAME=VERSION`, and gives the folder with its files. The next download
    /// replaces them.
    pub(crate) fn unpacked(&self, package: &str) -> Result<PathBuf> {
        let folder = self.folder.join("package");
        if folder.is_dir() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        output(self.program("apt-get").args(["-qq", "download", package]).current_dir(&folder))?;
        let file = fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get downloaded no {package}"))?;
        let files = folder.join("files");
        output(Command::new("dpkg").arg("-x").arg(&file).arg(&files))?;
        Ok(files)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).current_dir(&self.folder);
        command
    }
}

/// What comes before `debian` and `debian-security` in the addresses of the machine's own archives.
fn mirror() -> Result<String> {
    let targets = output(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))?;
    let mut archives = targets.lines().map(|line| line.trim_end_matches('/'));
    let mirror = archives.find_map(|line| line.strip_suffix("debian").filter(|rest| rest.ends_with('/')));
    mirror.map(str::to_owned).context("apt knows no Debian mirror")
}
