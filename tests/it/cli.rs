//! The command line: `init`, `migrate`, `token`, `profile`, `config check`, `serve`, on files and databases of their own.

mod issuer;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::csr::Csr;
use crate::support::service::{Database, Service, chancery};
use crate::support::tools::{Scratch, openssl};

/// Runs the program in a directory, with a configuration file there.
fn attempt(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    chancery()
        .args(["--config", "chancery.toml"])
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(directory)
        .output()
        .unwrap()
}

#[track_caller]
fn run(directory: &Path, arguments: &[&str]) -> String {
    let output = attempt(directory, arguments, &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn tokens_and_profiles_are_managed_in_the_database() {
    for database in Database::ALL {
        let scratch = Scratch::new();
        let url = match database {
            Database::Sqlite => format!("sqlite://{}/chancery.db", scratch.path().display()),
            Database::Postgres => crate::support::new_postgres_database(),
        };
        scratch.write("chancery.toml", format!("data_dir = \"data\"\n[database]\nurl = \"{url}\"\n"));
        run(scratch.path(), &["migrate"]);
        assert!(run(scratch.path(), &["migrate"]).contains("up to date"));
        run(scratch.path(), &["init", "--no-token"]);
        assert!(run(scratch.path(), &["init", "--no-token"]).contains("exist already"));

        let created: Value = serde_json::from_str(&run(
            scratch.path(),
            &["token", "create", "deploy", "--role", "requester", "--profile", "server"],
        ))
        .unwrap();
        assert!(created["token"].as_str().unwrap().starts_with("chy_"), "{created}");
        assert_eq!(created["grants"], json!({"profiles": ["server"]}));
        let listed = run(scratch.path(), &["token", "list"]);
        assert!(listed.contains("\"deploy\"") && !listed.contains("chy_"), "{listed}");
        run(scratch.path(), &["token", "revoke", created["id"].as_str().unwrap()]);
        let listed: Value = serde_json::from_str(&run(scratch.path(), &["token", "list"])).unwrap();
        assert!(listed["items"][0]["revoked_at"].is_string(), "{listed}");
        complaint(&attempt(scratch.path(), &["token", "create", "x", "--role", "root"], &[]));

        scratch.write("web.toml", "[[profiles]]\nname = \"web\"\n[profiles.dns]\nallow = [\"**.internal\"]\n");
        run(scratch.path(), &["profile", "apply", "web.toml"]);
        assert!(run(scratch.path(), &["profile", "list"]).contains("\"web\""));
        let shown: Value = serde_json::from_str(&run(scratch.path(), &["profile", "show", "web"])).unwrap();
        assert_eq!(shown["dns"]["allow"], json!(["**.internal"]));
        scratch.write("bad.toml", "[[profiles]]\nname = \"bad\"\nkeys = [\"rsa-1024\"]\n");
        assert!(complaint(&attempt(scratch.path(), &["profile", "apply", "bad.toml"], &[])).contains("rsa-1024"));
        complaint(&attempt(scratch.path(), &["profile", "show", "bad"], &[]));
        assert!(run(scratch.path(), &["doctor"]).contains("unbroken"), "{database:?}");
    }
}

#[test]
fn the_configuration_is_checked_before_it_is_used() {
    let scratch = Scratch::new();
    for (text, expected) in [
        ("[server]\nlisen = \"127.0.0.1:1\"\n", "listen"),
        ("[servr]\n", "server"),
        ("[server]\nlisten = 5\n", "server.listen"),
        ("[server]\nlisten = \"nowhere\"\n", "nowhere"),
        ("[database]\nurl = \"mysql://x\"\n", "postgres://"),
        ("[crl]\nvalidity = \"1\"\n", "crl.validity"),
        ("[hierarchy.root]\nkey = \"rsa-1024\"\n", "rsa-1024"),
        ("[[profiles]]\nname = \"x\"\nkeys = []\n", "keys"),
        ("[server\n", "chancery.toml"),
        (
            "[[authentication.jwt]]\nname = \"a\"\nissuer = \"b\"\naudience = [\"c\"]\nalgorithms = [\"HS256\"]\n",
            "forge",
        ),
    ] {
        scratch.write("chancery.toml", text);
        for command in [["config", "check"].as_slice(), &["serve"]] {
            let said = complaint(&attempt(scratch.path(), command, &[]));
            assert!(said.contains(expected), "{text:?}: {said}");
        }
    }
    assert!(!scratch.file("chancery-data").exists(), "nothing was made");
    scratch.write("chancery.toml", "");
    assert!(run(scratch.path(), &["config", "check"]).contains("the configuration is valid"));
    let said = complaint(&attempt(scratch.path(), &["config", "check"], &[("CHANCERY__SERVER__LISEN", "127.0.0.1:1")]));
    assert!(said.contains("listen"), "{said}");
    complaint(&attempt(&scratch.file(""), &["--config", "missing.toml", "config", "check"], &[]));
}

/// A root whose key is kept in an encrypted file, as OpenSSL reads it, and secrets that come from files.
#[test]
fn keys_may_be_kept_in_files_and_secrets_come_from_files() {
    let scratch = Scratch::new();
    scratch.write(
        "chancery.toml",
        "data_dir = \"data\"\n[hierarchy.root]\nkey = \"ecdsa-p384\"\nstorage = \"file\"\nfile = \"root.key\"\n",
    );
    scratch.write("passphrase", "correct horse battery staple\n");
    scratch.write("sealing", "another long passphrase\n");
    for name in ["passphrase", "sealing"] {
        std::fs::set_permissions(scratch.file(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let secrets =
        [("CHANCERY__HIERARCHY__ROOT__PASSPHRASE_FILE", "passphrase"), ("CHANCERY__KEYS__PASSPHRASE_FILE", "sealing")];
    let output = attempt(scratch.path(), &["init"], &secrets);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!scratch.file("data/key-encryption.key").exists(), "the key comes from a passphrase");
    let mode = std::fs::metadata(scratch.file("root.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let at = |name: &str| scratch.file(name).display().to_string();
    let key = openssl(&format!("pkey -in {} -passin file:{} -pubout", at("root.key"), at("passphrase")));
    assert_eq!(key, openssl(&format!("x509 -in {} -noout -pubkey", at("data/root.pem"))));
    assert!(scratch.read("root.key").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));

    let doctor = attempt(scratch.path(), &["doctor"], &secrets);
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    scratch.write("passphrase", "wrong horse battery staple\n");
    assert!(!attempt(scratch.path(), &["doctor"], &secrets).status.success(), "with the wrong passphrase");
}

/// `serve` on a prepared database: the production form, with plain HTTP behind a proxy.
#[test]
fn serve_runs_what_init_prepared() {
    let scratch = Scratch::new();
    scratch.write(
        "chancery.toml",
        "data_dir = \"data\"\npublic_url = \"http://pki.internal\"\n[server]\nlisten = \"127.0.0.1:0\"\npublic_listen = \"off\"\n\
         metrics_listen = \"off\"\ntls = \"off\"\n[log]\nformat = \"json\"\n",
    );
    run(scratch.path(), &["init"]);
    let mut child = chancery()
        .args(["--config", "chancery.toml", "serve"])
        .current_dir(scratch.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready: Value = loop {
        let line = lines.next().expect("the service ended").unwrap();
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if event.to_string().contains("ready") {
            break event;
        }
    };
    let text = ready.to_string();
    let start = text.find("http://127.0.0.1:").unwrap_or_else(|| panic!("no address in {text}"));
    let address: String = text[start..].chars().take_while(|character| !matches!(character, '"' | '\\')).collect();
    let client = Client::new(&address, None).bearer(scratch.read("data/admin.token").trim());
    let body = json!({"csr": Csr::for_dns(&["served.internal"]).pem(), "profile": "server"});
    let record = client.post("/api/v1/certificates").json(&body).expect(201).json();
    let leaf = scratch.write("leaf.pem", record["certificate"].as_str().unwrap());
    let shown = openssl(&format!("x509 -in {} -noout -ext crlDistributionPoints", leaf.display()));
    assert!(shown.contains("URI:http://pki.internal/pki/issuing.crl"), "{shown}");

    crate::support::tools::run("kill", &["-TERM", &child.id().to_string()]);
    // What it still says is read, so that it can say it.
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {rest:?}");
}

/// A second service on the same PostgreSQL: both see one inventory, one set of tokens, one CRL sequence.
#[test]
fn replicas_share_one_database() {
    let url = crate::support::new_postgres_database();
    let key = Scratch::new();
    let sealing = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let settings = [("CHANCERY__DATABASE__URL", url.as_str()), ("CHANCERY__KEYS__KEY_ENCRYPTION_KEY", sealing)];
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| Service::start_with(Database::Sqlite, &settings));
        let two = scope.spawn(|| Service::start_with(Database::Sqlite, &settings));
        (one.join().unwrap(), two.join().unwrap())
    });
    drop(key);
    assert_eq!(one.root_pem(), two.root_pem(), "one root, though both started on an empty database");
    let record = one.issue(&["replicated.internal"]);
    let path = format!("/api/v1/certificates/{}", record["serial"].as_str().unwrap());
    assert_eq!(two.administrator().get(&path).expect(200).json(), record);
    // What one replica changes the other knows within seconds.
    let token = one.with_role("auditor");
    let elsewhere = |path: &str| format!("{}{path}", two.api());
    let eventually = |what: &str, holds: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_secs(20), "{what} did not come to hold");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    eventually("the token at the other replica", &|| token.get(&elsewhere("/api/v1/whoami")).send().status == 200);
    one.administrator().put("/api/v1/profiles/shared").json(&json!({"dns": {"allow": ["**.internal"]}})).expect(201);
    eventually("the profile at the other replica", &|| {
        two.administrator().get("/api/v1/profiles/shared").send().status == 200
    });
    let revoke = json!({"reason": "superseded"});
    one.administrator().post(&format!("{path}/revoke")).json(&revoke).expect(200);
    let number = |service: &Service| {
        service.administrator().get("/api/v1/issuers/issuing").expect(200).json()["crl"]["number"].as_i64().unwrap()
    };
    let published = one.administrator().post("/api/v1/issuers/issuing/crl").send();
    assert!([200, 409].contains(&published.status), "{}", published.text());
    eventually("one CRL at both", &|| number(&one) == number(&two) && number(&one) > 1);
    let verified = two.administrator().get("/api/v1/audit/verify").expect(200).json();
    assert_eq!(verified["intact"], true, "{verified}");
}

#[test]
fn a_reader_that_has_gone_ends_no_command_badly_and_a_full_disk_does() {
    let scratch = Scratch::new();
    scratch.write("chancery.toml", "data_dir = \"data\"\n");
    run(scratch.path(), &["init", "--no-token"]);
    let into = |output: Stdio| {
        let arguments = ["--config", "chancery.toml", "issuer", "list"];
        chancery().args(arguments).current_dir(scratch.path()).stdout(output).stderr(Stdio::piped()).output().unwrap()
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = into(writer.into());
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert!(complaint(&into(full.into())).contains("the output could not be written"));
}
