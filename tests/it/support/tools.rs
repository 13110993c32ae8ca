//! Foreign programs: those that make requests and those that judge our answers. A missing program is a failure, never a silent skip.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A directory for one test's files, deleted at its end.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    /// Makes a directory.
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("chancery-test-").tempdir().unwrap())
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Reads a file.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }
}

/// Runs a program to its end, whatever its exit status.
pub(crate) fn attempt<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[A]) -> Output {
    let program = program.as_ref();
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("`{}` does not run ({error}); scripts/test installs what the tests need", program.display())
    })
}

/// Runs a program that must succeed, and returns what it printed.
#[track_caller]
pub(crate) fn run<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[A]) -> String {
    let program = program.as_ref();
    let output = attempt(program, arguments);
    let shown: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy().into_owned()).collect();
    assert!(
        output.status.success(),
        "`{} {}` failed with {}\n{}{}",
        program.display(),
        shown.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `openssl` with arguments separated by spaces.
#[track_caller]
pub(crate) fn openssl(arguments: &str) -> String {
    run("openssl", &arguments.split_whitespace().collect::<Vec<_>>())
}

/// The Python with the packages of `tests/requirements.txt`.
pub(crate) fn python() -> PathBuf {
    if let Some(given) = std::env::var_os("CHANCERY_TEST_PYTHON") {
        return PathBuf::from(given);
    }
    // Where scripts/test puts it: beside the directory that cargo builds into.
    let target = Path::new(env!("CARGO_BIN_EXE_chancery")).ancestors().nth(2).unwrap();
    let installed = target.join("test-venv/bin/python");
    assert!(installed.exists(), "{} is missing; run scripts/test once", installed.display());
    installed
}

/// Runs a script of `tests/fixtures/` with arguments, which must succeed, and returns what it printed.
#[track_caller]
pub(crate) fn python_script<A: AsRef<OsStr>>(script: &str, arguments: &[A]) -> String {
    let path = fixture(script);
    let mut all: Vec<&OsStr> = vec![path.as_os_str()];
    all.extend(arguments.iter().map(AsRef::as_ref));
    run(python(), &all)
}

/// The path of a file in `tests/fixtures/`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}
