//! An HSM of a test's own: a SoftHSM token in a directory, that can be taken away, behind a module that can be made to fail.

use std::path::PathBuf;
use std::process::Command;

use super::tools::{Scratch, fixture, run};

/// The PIN of every token.
pub(crate) const PIN: &str = "123456";

/// A token.
pub(crate) struct Hsm {
    scratch: Scratch,
    module: PathBuf,
}

impl Hsm {
    /// Makes a token.
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.file("tokens")).unwrap();
        let tokens = scratch.file("tokens");
        let text =
            format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
        scratch.write("softhsm2.conf", text);
        let output = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", "chancery test", "--so-pin", "12345678", "--pin", PIN])
            .env("SOFTHSM2_CONF", scratch.file("softhsm2.conf"))
            .output()
            .expect("softhsm2-util does not run; scripts/test installs what the tests need");
        assert!(output.status.success(), "{output:?}");
        scratch.write("pin", format!("{PIN}\n"));
        run("chmod", &["600", scratch.file("pin").to_str().unwrap()]);
        Self { scratch, module: PathBuf::from("/usr/lib/softhsm/libsofthsm2.so") }
    }

    /// Makes a token behind `tests/fixtures/pkcs11_shim.c`, which makes it fail as files say.
    pub(crate) fn failing() -> Self {
        let mut this = Self::new();
        this.module = this.scratch.file("shim.so");
        let (module, source) = (this.module.display().to_string(), fixture("pkcs11_shim.c").display().to_string());
        run("cc", &["-shared", "-fPIC", "-o", &module, &source, "-ldl"]);
        this
    }

    /// The settings of a service that has this token as `hsm`, with the issuing key in it.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let file = |name: &str| self.scratch.file(name).display().to_string();
        [
            ("SOFTHSM2_CONF", file("softhsm2.conf")),
            ("CHANCERY_TEST_SHIM", self.scratch.path().display().to_string()),
            ("CHANCERY__PKCS11__0__NAME", "hsm".to_owned()),
            ("CHANCERY__PKCS11__0__MODULE", self.module.display().to_string()),
            ("CHANCERY__PKCS11__0__TOKEN_LABEL", "chancery test".to_owned()),
            ("CHANCERY__PKCS11__0__PIN_FILE", file("pin")),
            ("CHANCERY__PKCS11__0__TIMEOUT", "2s".to_owned()),
            ("CHANCERY__HIERARCHY__ISSUING__STORAGE", "pkcs11".to_owned()),
            ("CHANCERY__HIERARCHY__ISSUING__TOKEN", "hsm".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Takes the token away.
    pub(crate) fn unplug(&self) {
        std::fs::rename(self.scratch.file("tokens"), self.scratch.file("elsewhere")).unwrap();
        std::fs::create_dir(self.scratch.file("tokens")).unwrap();
    }

    /// Brings it back.
    pub(crate) fn plug(&self) {
        std::fs::remove_dir(self.scratch.file("tokens")).unwrap();
        std::fs::rename(self.scratch.file("elsewhere"), self.scratch.file("tokens")).unwrap();
    }

    /// Makes calls go wrong.
    pub(crate) fn trouble(&self, name: &str, content: &str) {
        self.scratch.write(name, content);
    }

    /// Whether calls go wrong so, still.
    pub(crate) fn is_troubled(&self, name: &str) -> bool {
        self.scratch.file(name).exists()
    }

    /// Ends it.
    pub(crate) fn end_trouble(&self, name: &str) {
        std::fs::remove_file(self.scratch.file(name)).unwrap();
    }
}
