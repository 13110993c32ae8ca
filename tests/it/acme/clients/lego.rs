//! lego: the program in the version that Debian packages, and the library in its present version through `tests/lego`, which knows renewal
//! information, profiles and IP identifiers.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Lab, Serial, fails, succeeds};
use crate::support::service::Database;

/// An installation of Debian's lego.
struct Lego<'a> {
    lab: &'a Lab,
    directory: String,
}

impl<'a> Lego<'a> {
    fn new(lab: &'a Lab) -> Self {
        Self { lab, directory: lab.directory() }
    }

    /// The program up to the command, which the caller adds.
    fn command(&self, name: &str) -> Command {
        let mut command = self.lab.program("lego");
        command.args(["--accept-tos", "--email", "ops@app.test", "--server", &self.directory]);
        command.args(["--path", &self.lab.path("lego"), "--domains", name]);
        command
    }

    fn by_http(&self, name: &str) -> Command {
        let mut command = self.command(name);
        command.args(["--http", "--http.port", &self.lab.http.to_string()]);
        command
    }

    fn by_tls(&self, name: &str) -> Command {
        let mut command = self.command(name);
        command.args(["--tls", "--tls.port", &self.lab.tls.to_string()]);
        command
    }

    fn by_dns(&self, name: &str) -> Command {
        let mut command = self.command(name);
        command.args(["--dns", "exec", "--dns.disable-cp", "--dns.resolvers", &self.lab.dns.address().to_string()]);
        command.env("EXEC_PATH", self.lab.path("hook"));
        command.env("EXEC_POLLING_INTERVAL", "1").env("EXEC_SEQUENCE_INTERVAL", "1");
        command
    }

    fn certificate(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("{}/certificates/{name}.crt", self.lab.path("lego")))
    }
}

/// An installation of the library: an account and one certificate.
struct Library<'a> {
    lab: &'a Lab,
    state: PathBuf,
    directory: String,
}

impl<'a> Library<'a> {
    fn new(lab: &'a Lab, name: &str) -> Self {
        let state = lab.scratch.file(name);
        std::fs::create_dir_all(&state).unwrap();
        Self { lab, state, directory: lab.directory() }
    }

    /// The program with its flags up to the command, which the caller adds.
    fn command(&self) -> Command {
        let mut command = self.lab.program(program());
        command.args(["-directory", &self.directory, "-state"]).arg(&self.state);
        command.args(["-http", &self.lab.http.to_string()]);
        command
    }

    fn certificate(&self) -> PathBuf {
        self.state.join("certificate.pem")
    }

    /// Lets it renew if it thinks it should, and returns what it thought.
    fn renew(&self) -> Value {
        let said = succeeds(self.command().arg("renew"));
        let line = said.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{said}"));
        serde_json::from_str(line).unwrap()
    }
}

/// What `scripts/test` built from `tests/lego`.
fn program() -> PathBuf {
    if let Some(given) = std::env::var_os("CHANCERY_TEST_LEGO") {
        return PathBuf::from(given);
    }
    let target = Path::new(env!("CARGO_BIN_EXE_chancery")).ancestors().nth(2).unwrap();
    let built = target.join("test-lego/lego-library");
    assert!(built.exists(), "{} is missing; run scripts/test once", built.display());
    built
}

#[test]
fn lego_obtains_renews_and_revokes_by_http_01() {
    let lab = Lab::new(Database::Sqlite, &["app.test", "www.app.test"]);
    let lego = Lego::new(&lab);
    succeeds(lego.by_http("app.test").args(["--domains", "www.app.test", "run"]));
    let bundle = lego.certificate("app.test");
    lab.verify(&bundle, &["app.test", "www.app.test"]);
    let first = Serial::of(&bundle);

    let renew = ["renew", "--no-random-sleep", "--days"];
    succeeds(lego.by_http("app.test").args(renew).arg("1"));
    assert_eq!(Serial::of(&bundle), first);
    succeeds(lego.by_http("app.test").args(renew).arg("1000"));
    assert_ne!(Serial::of(&bundle), first);
    lab.verify(&bundle, &["app.test", "www.app.test"]);

    succeeds(lego.command("app.test").args(["revoke", "--keep", "--reason", "4"]));
    assert_eq!(lab.record(&bundle)["revocation"]["reason"], "superseded");
    fails(lego.command("app.test").args(["revoke", "--keep"]));
}

#[test]
fn lego_obtains_by_tls_alpn_01() {
    let lab = Lab::new(Database::Sqlite, &["tls.test", "www.tls.test"]);
    let lego = Lego::new(&lab);
    succeeds(lego.by_tls("tls.test").args(["--domains", "www.tls.test", "run"]));
    lab.verify(&lego.certificate("tls.test"), &["tls.test", "www.tls.test"]);
}

#[test]
fn lego_obtains_a_name_and_its_wildcard_by_dns_01() {
    let lab = Lab::new(Database::Sqlite, &[]);
    let lego = Lego::new(&lab);
    succeeds(lego.by_dns("dns.test").args(["--domains", "*.dns.test", "run"]));
    lab.verify(&lego.certificate("dns.test"), &["dns.test", "*.dns.test"]);
}

#[test]
fn lego_binds_its_account_to_an_external_one() {
    let lab = Lab::with(Database::Sqlite, &["eab.test"], "external_account_required = true");
    let lego = Lego { directory: lab.directory_of("peer"), ..Lego::new(&lab) };
    fails(lego.by_http("eab.test").arg("run"));
    let (key_id, key) = lab.external_account(&json!({"profile": "peer"}));
    succeeds(lego.by_http("eab.test").args(["--eab", "--kid", &key_id, "--hmac", &key, "run"]));
    let bundle = lego.certificate("eab.test");
    lab.verify(&bundle, &["eab.test"]);
    assert_eq!(lab.record(&bundle)["profile"], "peer");
}

/// Before the window it waits; within, it renews, and the order says which certificate it replaces.
#[test]
fn lego_renews_within_the_window_that_the_operator_sets() {
    let lab = Lab::new(Database::Sqlite, &["ari.test"]);
    let lego = Library::new(&lab, "library");
    succeeds(lego.command().args(["obtain", "ari.test"]));
    lab.verify(&lego.certificate(), &["ari.test"]);
    let first = Serial::of(&lego.certificate());

    let thought = lego.renew();
    assert_eq!((&thought["renewed"], &thought["explanation"]), (&json!(false), &json!("")));
    assert!(thought["retry_after"].as_f64().unwrap() > 0.0, "{thought}");
    lab.renew_between(&lego.certificate(), 3600, 7200);
    let thought = lego.renew();
    assert_eq!(thought["renewed"], json!(false), "{thought}");
    assert_eq!(Serial::of(&lego.certificate()), first);

    lab.renew_between(&lego.certificate(), -7200, -3600);
    let thought = lego.renew();
    assert_eq!(thought["renewed"], json!(true), "{thought}");
    assert_eq!(thought["explanation"], "https://status.internal/renew");
    lab.verify(&lego.certificate(), &["ari.test"]);
    assert_ne!(Serial::of(&lego.certificate()), first);
    // The new certificate has a window of its own, which is not yet.
    assert_eq!(lego.renew()["renewed"], json!(false));
    let orders = lab.service.administrator().get("/api/v1/acme/orders").expect(200).json();
    assert_eq!(orders["items"][0]["replaces"], thought["replaces"], "{orders}");
}

/// What was revoked is to be renewed at once.
#[test]
fn lego_renews_what_was_revoked() {
    let lab = Lab::new(Database::Sqlite, &["ari.test"]);
    let lego = Library::new(&lab, "library");
    succeeds(lego.command().args(["obtain", "ari.test"]));
    let first = Serial::of(&lego.certificate());
    succeeds(lego.command().args(["-reason", "4", "revoke"]));
    assert_eq!(lab.record(&lego.certificate())["revocation"]["reason"], "superseded");
    assert_eq!(lego.renew()["renewed"], json!(true));
    assert_ne!(Serial::of(&lego.certificate()), first);
    lab.verify(&lego.certificate(), &["ari.test"]);
}

#[test]
fn lego_obtains_addresses_under_a_profile_by_http_01_and_tls_alpn_01() {
    let lab = Lab::new(Database::Sqlite, &["host.test", "tls.test"]);
    let by_http = Library::new(&lab, "http");
    succeeds(by_http.command().args(["-profile", "peer", "obtain", "host.test", "127.0.0.1"]));
    lab.verify(&by_http.certificate(), &["host.test", "127.0.0.1"]);
    assert_eq!(lab.record(&by_http.certificate())["profile"], "peer");
    let by_tls = Library::new(&lab, "tls");
    let mut command = lab.program(program());
    command.args(["-directory", &by_tls.directory, "-state"]).arg(&by_tls.state);
    succeeds(command.args(["-tls", &lab.tls.to_string(), "obtain", "127.0.0.1", "tls.test"]));
    lab.verify(&by_tls.certificate(), &["tls.test", "127.0.0.1"]);
    let said = fails(by_http.command().args(["-profile", "nowhere", "obtain", "host.test"]));
    assert!(said.contains("invalidProfile"), "{said}");
}

#[test]
fn lego_obtains_and_renews_on_postgresql() {
    let lab = Lab::new(Database::Postgres, &["app.test"]);
    let lego = Library::new(&lab, "library");
    succeeds(lego.command().args(["obtain", "app.test"]));
    let first = Serial::of(&lego.certificate());
    lab.renew_between(&lego.certificate(), -7200, -3600);
    assert_eq!(lego.renew()["renewed"], json!(true));
    assert_ne!(Serial::of(&lego.certificate()), first);
    lab.verify(&lego.certificate(), &["app.test"]);
    succeeds(lego.command().arg("deactivate"));
    fails(lego.command().args(["obtain", "app.test"]));
}
