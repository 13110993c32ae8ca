//! certbot, in the version of `tests/requirements.txt`: issue, renew and revoke; http-01 by its own server and dns-01 by hooks; external accounts;
//! renewal when the server says so.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::{Lab, Serial, fails, succeeds};
use crate::support::service::Database;
use crate::support::tools::python;

/// One installation of certbot: an account and its certificates.
struct Certbot<'a> {
    lab: &'a Lab,
    home: String,
    directory: String,
}

impl<'a> Certbot<'a> {
    fn new(lab: &'a Lab) -> Self {
        Self { lab, home: lab.path("certbot"), directory: lab.directory() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let program = python().with_file_name("certbot");
        assert!(program.exists(), "{} is missing; run scripts/test once", program.display());
        let mut command = self.lab.program(program);
        command.args(arguments).args(["--non-interactive", "--server", &self.directory]);
        for (option, folder) in [("--config-dir", "config"), ("--work-dir", "work"), ("--logs-dir", "logs")] {
            command.args([option, &format!("{}/{folder}", self.home)]);
        }
        command
    }

    fn register(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&["register", "--agree-tos", "--register-unsafely-without-email"]);
        command.args(arguments);
        command
    }

    /// Has a certificate issued by http-01.
    fn by_http(&self, names: &[&str]) -> Command {
        let port = format!("--http-01-port={}", self.lab.http.port());
        let mut command = self.command(&["certonly", "--standalone", "--http-01-address", "127.0.0.1", &port]);
        command.args(names.iter().flat_map(|name| ["--domain", name]));
        command
    }

    /// Has a certificate issued by dns-01 with hooks.
    fn by_dns(&self, names: &[&str]) -> Command {
        let hook =
            |act: &str| format!("{} {act} _acme-challenge.$CERTBOT_DOMAIN $CERTBOT_VALIDATION", self.lab.path("hook"));
        let mut command = self.command(&["certonly", "--manual", "--preferred-challenges", "dns"]);
        command.args(["--manual-auth-hook", &hook("present"), "--manual-cleanup-hook", &hook("cleanup")]);
        command.args(names.iter().flat_map(|name| ["--domain", name]));
        command
    }

    fn renew(&self) -> Command {
        self.command(&["renew", "--no-random-sleep-on-renew"])
    }

    /// A file of a certificate, in the version that counts from 1.
    fn file(&self, name: &str, kind: &str, version: u8) -> PathBuf {
        PathBuf::from(format!("{}/config/archive/{name}/{kind}{version}.pem", self.home))
    }
}

#[test]
fn certbot_obtains_renews_and_revokes_by_http_01() {
    let lab = Lab::new(Database::Sqlite, &["app.test", "www.app.test"]);
    let certbot = Certbot::new(&lab);
    succeeds(&mut certbot.register(&[]));
    succeeds(&mut certbot.by_http(&["app.test", "www.app.test"]));
    let mut by_address = certbot.by_http(&[]);
    succeeds(by_address.args(["--ip-address", "127.0.0.1", "--cert-name", "address"]));
    lab.verify(&certbot.file("address", "fullchain", 1), &["127.0.0.1"]);
    let [first, second] = [1, 2].map(|version| certbot.file("app.test", "fullchain", version));
    lab.verify(&first, &["app.test", "www.app.test"]);

    // Nothing is due, and the service was asked: certbot writes down when to ask again.
    let said = succeeds(&mut certbot.renew());
    assert!(said.contains("not yet due for renewal"), "{said}");
    let renewal = std::fs::read_to_string(format!("{}/config/renewal/app.test.conf", certbot.home)).unwrap();
    assert!(renewal.contains("ari_retry_after"), "{renewal}");

    let said = succeeds(certbot.renew().arg("--force-renewal"));
    assert!(said.contains("all renewals succeeded"), "{said}");
    lab.verify(&second, &["app.test", "www.app.test"]);
    assert_ne!(Serial::of(&first), Serial::of(&second));

    // By the account, then by the key of the certificate from an installation without an account.
    let revoke = ["revoke", "--no-delete-after-revoke"];
    succeeds(certbot.command(&revoke).arg("--cert-path").arg(&first).args(["--reason", "superseded"]));
    assert_eq!(lab.record(&first)["revocation"]["reason"], "superseded");
    assert_eq!(lab.record(&second)["status"], "valid");
    let stranger = Certbot { home: lab.path("stranger"), ..Certbot::new(&lab) };
    let key = certbot.file("app.test", "privkey", 2);
    let mut by_key = stranger.command(&revoke);
    succeeds(by_key.arg("--cert-path").arg(&second).arg("--key-path").arg(key).args(["--reason", "keycompromise"]));
    assert_eq!(lab.record(&second)["revocation"]["reason"], "key_compromise");
    let said = fails(certbot.command(&revoke).arg("--cert-path").arg(&second));
    assert!(said.contains("is revoked already"), "{said}");
}

#[test]
fn certbot_obtains_several_names_and_a_wildcard_by_dns_01_hooks() {
    let lab = Lab::new(Database::Sqlite, &[]);
    let certbot = Certbot::new(&lab);
    succeeds(&mut certbot.register(&[]));
    let names = ["dns.test", "*.dns.test", "other.internal"];
    succeeds(&mut certbot.by_dns(&names));
    lab.verify(&certbot.file("dns.test", "fullchain", 1), &names);
    // It cleaned up behind itself, so that the renewal has to prove control anew or stand on what was proven.
    let said = succeeds(certbot.renew().arg("--force-renewal"));
    assert!(said.contains("all renewals succeeded"), "{said}");
    lab.verify(&certbot.file("dns.test", "fullchain", 2), &names);
}

#[test]
fn certbot_updates_shows_and_ends_its_account() {
    let lab = Lab::new(Database::Sqlite, &[]);
    let certbot = Certbot::new(&lab);
    succeeds(&mut certbot.register(&[]));
    succeeds(&mut certbot.command(&["update_account", "--email", "ops@app.test"]));
    let said = succeeds(&mut certbot.command(&["show_account"]));
    assert!(said.contains("Email contact: ops@app.test"), "{said}");
    let listed = lab.service.administrator().get("/api/v1/acme/accounts").expect(200).json();
    assert_eq!(listed["items"][0]["contacts"], json!(["mailto:ops@app.test"]));
    succeeds(&mut certbot.command(&["unregister"]));
    let listed = lab.service.administrator().get("/api/v1/acme/accounts").expect(200).json();
    assert_eq!(listed["items"][0]["status"], "deactivated");
}

#[test]
fn certbot_binds_its_account_to_an_external_one() {
    let lab = Lab::with(Database::Sqlite, &["eab.test", "elsewhere.test"], "external_account_required = true");
    let certbot = Certbot::new(&lab);
    let said = fails(&mut certbot.register(&[]));
    assert!(said.contains("external account"), "{said}");
    let grants = json!({"names": {"dns": {"allow": ["eab.test"]}}});
    let (key_id, key) = lab.external_account(&json!({"profile": "server", "grants": grants}));
    let wrong = "A".repeat(key.len());
    fails(&mut certbot.register(&["--eab-kid", &key_id, "--eab-hmac-key", &wrong]));
    succeeds(&mut certbot.register(&["--eab-kid", &key_id, "--eab-hmac-key", &key]));
    succeeds(&mut certbot.by_http(&["eab.test"]));
    lab.verify(&certbot.file("eab.test", "fullchain", 1), &["eab.test"]);
    let said = fails(&mut certbot.by_http(&["elsewhere.test"]));
    assert!(said.contains("elsewhere.test"), "{said}");
}

/// The binding itself may prove control of the names: nothing listens for challenges here.
#[test]
fn certbot_needs_no_challenge_when_its_external_account_proves_control() {
    let lab = Lab::new(Database::Sqlite, &[]);
    let certbot = Certbot::new(&lab);
    let grants = json!({"names": {"dns": {"allow": ["**.proven.test"]}}});
    let (key_id, key) = lab.external_account(&json!({"profile": "server", "grants": grants, "proves_control": true}));
    succeeds(&mut certbot.register(&["--eab-kid", &key_id, "--eab-hmac-key", &key]));
    let mut command = certbot.command(&["certonly", "--manual", "--preferred-challenges", "http"]);
    command.args(["--manual-auth-hook", "false", "--domain", "a.proven.test"]);
    succeeds(&mut command);
    lab.verify(&certbot.file("a.proven.test", "fullchain", 1), &["a.proven.test"]);
}

#[test]
fn certbot_renews_when_the_operator_says_so() {
    let lab = Lab::new(Database::Sqlite, &["early.test", "due.test"]);
    let certbot = Certbot::new(&lab);
    succeeds(&mut certbot.register(&[]));
    for name in ["early.test", "due.test"] {
        succeeds(&mut certbot.by_http(&[name]));
    }
    lab.renew_between(&certbot.file("early.test", "cert", 1), 3600, 7200);
    lab.renew_between(&certbot.file("due.test", "cert", 1), -7200, -3600);
    succeeds(&mut certbot.renew());
    assert!(!certbot.file("early.test", "cert", 2).exists());
    lab.verify(&certbot.file("due.test", "fullchain", 2), &["due.test"]);
}

#[test]
fn certbot_takes_the_chain_and_the_profile_it_prefers() {
    let lab = Lab::new(Database::Sqlite, &["chain.test", "plain.test"]);
    let second = lab.second_root("Second Root").display().to_string();
    let certbot = Certbot::new(&lab);
    succeeds(&mut certbot.register(&[]));
    let mut command = certbot.by_http(&["chain.test"]);
    succeeds(command.args(["--preferred-chain", "Second Root", "--required-profile", "peer"]));
    let bundle = certbot.file("chain.test", "fullchain", 1);
    lab.verify(&bundle, &["chain.test"]);
    lab.verify_by(&second, &bundle, &["chain.test"]);
    assert_eq!(lab.record(&bundle)["profile"], "peer");
    succeeds(&mut certbot.by_http(&["plain.test"]));
    let plain = certbot.file("plain.test", "fullchain", 1);
    lab.verify(&plain, &["plain.test"]);
    let certificates = |bundle| std::fs::read_to_string(bundle).unwrap().matches("BEGIN CERTIFICATE").count();
    assert_eq!((certificates(&plain), certificates(&bundle)), (2, 3));
}

#[test]
fn certbot_obtains_and_revokes_on_postgresql() {
    let lab = Lab::new(Database::Postgres, &["app.test"]);
    let certbot = Certbot::new(&lab);
    succeeds(&mut certbot.register(&[]));
    succeeds(&mut certbot.by_http(&["app.test"]));
    let bundle = certbot.file("app.test", "fullchain", 1);
    lab.verify(&bundle, &["app.test"]);
    succeeds(&mut certbot.command(&["revoke", "--cert-name", "app.test", "--no-delete-after-revoke"]));
    assert_eq!(lab.record(&bundle)["status"], "revoked");
}
