//! CAs that were run with other programs are imported and go on here: their certificates, their revocations, their CRL numbers.

mod elsewhere;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use serde_json::{Value, json};

use self::elsewhere::{OpensslCa, PASSPHRASE, StepCa};
use crate::support::client::Client;
use crate::support::csr::Csr;
use crate::support::service::{Database, Service, chancery, issue_with};
use crate::support::tools::{Scratch, attempt, openssl, python_script};

/// Runs `chancery issuer import` on the service's database; its answer, or its complaint.
fn import(service: &Service, arguments: &[&str]) -> Result<Value, String> {
    let output = service
        .program()
        .args(["issuer", "import"])
        .args(arguments)
        .env("CHANCERY_IMPORT_PASSPHRASE", PASSPHRASE)
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits until the running service knows of an issuer that another process made.
fn await_issuer(client: &Client, name: &str) -> Value {
    let started = Instant::now();
    loop {
        let answer = client.get(&format!("/api/v1/issuers/{name}")).send();
        if answer.status == 200 && !answer.json()["crl"].is_null() {
            return answer.json();
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{}: {}", answer.status, answer.text());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Fetches an issuer's CRL into the directory as `<name>.crl.pem`, checks its signature by OpenSSL, and returns OpenSSL's description.
fn crl(service: &Service, scratch: &Scratch, name: &str, ca: &str) -> String {
    await_issuer(&service.administrator(), name);
    let der = Client::new(service.public(), None).get(&format!("/pki/{name}.crl")).expect(200).body;
    scratch.write("crl.der", der);
    let directory = scratch.path().display();
    openssl(&format!("crl -inform DER -in {directory}/crl.der -out {directory}/{name}.crl.pem"));
    openssl(&format!("crl -in {directory}/{name}.crl.pem -CAfile {ca} -noout -verify"));
    openssl(&format!("crl -in {directory}/{name}.crl.pem -noout -text"))
}

/// Waits until the issuer's CRL holds a serial number.
fn await_revoked(service: &Service, scratch: &Scratch, name: &str, ca: &str, serial: &str) -> String {
    let started = Instant::now();
    let line = format!("Serial Number: {}\n", serial.to_uppercase());
    loop {
        let text = crl(service, scratch, name, ca);
        if text.contains(&line) {
            return text;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{serial} is not in {text}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The number that OpenSSL reads from a CRL's description.
fn number(text: &str) -> u64 {
    let after = text.split("X509v3 CRL Number:").nth(1).unwrap().trim_start();
    let line = after.lines().next().unwrap().trim();
    match line.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
        None => line.parse().unwrap(),
    }
}

/// Issues under an issuer and has OpenSSL verify the chain against the original CA certificate.
fn issues_under(service: &Service, scratch: &Scratch, name: &str, root: &str) {
    let client = service.administrator();
    let profile = format!("of-{name}");
    let document = json!({
        "issuer": name,
        "validity": {"default": "5d", "maximum": "5d"},
        "keys": ["ecdsa-p256"],
        "extended_key_usage": {"required": ["server_auth"]},
        "dns": {"allow": ["**.internal"]},
    });
    client.put(&format!("/api/v1/profiles/{profile}")).json(&document).expect(201);
    let body = json!({"csr": Csr::for_dns(&["new.internal"]).pem(), "profile": profile});
    let record = issue_with(&client, &body);
    assert_eq!(record["issuer"], name);
    let leaf = scratch.write("new.pem", record["certificate"].as_str().unwrap());
    let chain: String = record["chain"].as_array().unwrap().iter().map(|link| link.as_str().unwrap()).collect();
    let untrusted = if chain.is_empty() {
        String::new()
    } else {
        format!("-untrusted {}", scratch.write("untrusted.pem", chain).display())
    };
    let said = openssl(&format!("verify -verify_hostname new.internal -CAfile {root} {untrusted} {}", leaf.display()));
    assert!(said.trim_end().ends_with(": OK"), "{said}");
}

/// The certificates of an imported CA are in the inventory as they were, and are revoked as any others.
fn goes_on(service: &Service, scratch: &Scratch, name: &str, ca: &OpensslCa, imported_number: u64) {
    let client = service.administrator();
    let text = crl(service, scratch, name, &ca.certificate());
    assert!(number(&text) > imported_number, "{text}");
    for (serial, reason) in
        [(&ca.superseded, "Superseded"), (&ca.held, "Certificate Hold"), (&ca.lost, "Key Compromise")]
    {
        let entry = text.split("Serial Number: ").find(|entry| entry.starts_with(serial.as_str()));
        assert!(entry.is_some_and(|entry| entry.contains(reason)), "{serial} {reason}: {text}");
    }
    assert!(!text.contains(&format!("Serial Number: {}\n", ca.valid)));

    let found = client.get("/api/v1/certificates?name=valid.old.example").expect(200).json();
    let [record] = found["items"].as_array().unwrap().as_slice() else { panic!("{found}") };
    let of = |field: &str| record[field].as_str().unwrap().to_owned();
    assert_eq!(of("serial"), ca.valid.to_lowercase().trim_start_matches('0'));
    let said = ["status", "issuer", "profile", "source"].map(of);
    assert_eq!(said, ["valid", name, "chancery.imported", "import"]);
    let held = client.get(&format!("/api/v1/certificates/{}", ca.held)).expect(200).json();
    assert_eq!((&held["status"], &held["revocation"]["reason"]), (&json!("on_hold"), &json!("certificate_hold")));

    let before = number(&text);
    let path = format!("/api/v1/certificates/{}/revoke", of("serial"));
    client.post(&path).json(&json!({"reason": "cessation_of_operation"})).expect(200);
    let after = await_revoked(service, scratch, name, &ca.certificate(), &ca.valid);
    assert!(number(&after) > before, "{after}");
    let verified = attempt(
        "openssl",
        &["verify", "-crl_check", "-CAfile", &ca.certificate(), "-CRLfile"]
            .into_iter()
            .map(str::to_owned)
            .chain([scratch.file(&format!("{name}.crl.pem")).display().to_string(), ca.file("valid.crt")])
            .collect::<Vec<_>>(),
    );
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(!verified.status.success() && said.contains("certificate revoked"), "{said}");
}

/// The CA of the well-known guide: `genrsa -aes256 4096`, `req -x509 -days 3650`, then `openssl ca`.
#[test]
fn the_ca_of_the_openssl_guide_is_imported_by_the_command_line() {
    let ca = OpensslCa::of_the_guide();
    for database in Database::ALL {
        let service = Service::start(database);
        let scratch = Scratch::new();
        let arguments = ca.arguments("old-ca");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let imported = import(&service, &arguments).unwrap();
        assert_eq!(imported["imported"], 3, "{imported}");
        assert_eq!((&imported["revoked"], &imported["revoked_serials"]), (&json!(2), &json!(1)), "{imported}");
        assert_eq!((&imported["state"], &imported["default"]), (&json!("active"), &json!(false)), "{imported}");
        let skipped: Vec<&str> =
            imported["skipped"].as_array().unwrap().iter().map(|entry| entry["reason"].as_str().unwrap()).collect();
        assert!(skipped.iter().any(|reason| reason.starts_with("it is not signed by the CA")), "{skipped:?}");
        await_issuer(&service.administrator(), "old-ca");
        issues_under(&service, &scratch, "old-ca", &ca.certificate());
        goes_on(&service, &scratch, "old-ca", &ca, ca.crl_number());

        // Again: nothing is new, and what was revoked here since stays revoked.
        let again = import(&service, &arguments).unwrap();
        assert_eq!((&again["imported"], &again["already_there"]), (&json!(0), &json!(3)), "{again}");
        let complaint =
            import(&service, &["--name", "old-ca", "--certificate", &ca.certificate(), "--key", &ca.file("ca.key")]);
        assert!(complaint.unwrap_err().contains("there is an issuer `old-ca` already"));
        let complaint =
            import(&service, &["--name", "other", "--certificate", &ca.certificate(), "--key", &ca.file("ca.key")]);
        assert!(complaint.unwrap_err().contains("is that of an issuer here already"));
        let log = service.administrator().get("/api/v1/audit?action=issuer.import").expect(200).json();
        assert!(log["items"].as_array().unwrap().len() >= 4, "{log}");
        assert_eq!(service.administrator().get("/api/v1/audit/verify").expect(200).json()["failures"], json!([]));
    }
}

/// The same through the API: certificate and key first, then the certificates.
#[test]
fn the_ca_of_the_openssl_guide_is_imported_by_the_api() {
    let ca = OpensslCa::of_the_guide();
    for database in Database::ALL {
        let service = Service::start(database);
        let (client, scratch) = (service.administrator(), Scratch::new());
        let body = |passphrase: Option<&str>| {
            let mut body = json!({
                "kind": "import",
                "name": "old-ca",
                "certificate": ca.read("ca.crt"),
                "private_key": ca.read("ca.key"),
            });
            if let Some(passphrase) = passphrase {
                body["passphrase"] = json!(passphrase);
            }
            body
        };
        let refused =
            |passphrase| client.post("/api/v1/issuers").json(&body(passphrase)).expect(400).json()["detail"].clone();
        assert_eq!(refused(None), "`private_key`: the private key is encrypted and no passphrase is given");
        assert_eq!(refused(Some("wrong")), "`private_key`: the passphrase is wrong, or the file is damaged");
        let answer = client.post("/api/v1/issuers").json(&body(Some(PASSPHRASE))).expect(201);
        assert_eq!(answer.header("location"), "/api/v1/issuers/old-ca");
        let record = answer.json();
        assert_eq!(
            (&record["name"], &record["state"], &record["warnings"].as_array().unwrap().len()),
            (&json!("old-ca"), &json!("active"), &1)
        );
        // The guide's command makes none.
        assert!(record["warnings"][0].as_str().unwrap().contains("has no key usage"), "{record}");
        assert_eq!(client.post("/api/v1/issuers").json(&body(Some(PASSPHRASE))).expect(409).problem_code(), "conflict");
        issues_under(&service, &scratch, "old-ca", &ca.certificate());

        let import = |certificates: String, revocation: Value| {
            let mut body = json!({"certificates": certificates});
            if !revocation.is_null() {
                body["revocation"] = revocation;
            }
            client.post("/api/v1/certificates/import").json(&body).expect(200).json()
        };
        let foreign = service.issue(&["a.internal"])["certificate"].as_str().unwrap().to_owned();
        let valid = import(format!("{}{}{foreign}", ca.read("valid.crt"), ca.read("foreign.crt")), Value::Null);
        assert_eq!((&valid["imported"], &valid["revoked"], &valid["already_there"]), (&json!(1), &json!(0), &json!(1)));
        assert_eq!(valid["skipped"][0]["origin"], "certificates[1]");
        let reason = valid["skipped"][0]["reason"].as_str().unwrap();
        assert!(reason.starts_with("it is not signed by the issuer `old-ca`"), "{reason}");
        let early = json!({"reason": "superseded", "revoked_at": "2020-01-02T03:04:05Z"});
        let outcome = import(ca.read("superseded.crt"), early);
        assert_eq!((&outcome["imported"], &outcome["skipped_total"]), (&json!(0), &json!(1)), "{outcome}");
        assert!(outcome["skipped"][0]["reason"].as_str().unwrap().contains("before it begins"), "{outcome}");
        for (name, reason) in [("superseded", "superseded"), ("held", "certificate_hold"), ("lost", "key_compromise")] {
            let outcome = import(ca.read(&format!("{name}.crt")), json!({"reason": reason}));
            assert_eq!((&outcome["imported"], &outcome["revoked"]), (&json!(1), &json!(1)), "{outcome}");
        }
        await_revoked(&service, &scratch, "old-ca", &ca.certificate(), &ca.lost);
        goes_on(&service, &scratch, "old-ca", &ca, 0);

        // One that is there and valid is revoked when that is said, and what was said before stays.
        let there = service.issue(&["b.internal"]);
        let pem = there["certificate"].as_str().unwrap().to_owned();
        let outcome = import(pem.clone(), json!({"reason": "superseded"}));
        assert_eq!(
            (&outcome["imported"], &outcome["revoked"], &outcome["already_there"]),
            (&json!(0), &json!(1), &json!(0))
        );
        let path = format!("/api/v1/certificates/{}", there["serial"].as_str().unwrap());
        assert_eq!(client.get(&path).expect(200).json()["status"], "revoked");
        let outcome = import(pem, json!({"reason": "certificate_hold"}));
        assert_eq!((&outcome["revoked"], &outcome["skipped_total"]), (&json!(0), &json!(1)), "{outcome}");
        assert_eq!(client.get(&path).expect(200).json()["revocation"]["reason"], "superseded");
        let future = json!({"certificates": ca.read("valid.crt"), "revocation": {"reason": "superseded", "revoked_at": "2999-01-01T00:00:00Z"}});
        client.post("/api/v1/certificates/import").json(&future).expect(400);
    }
}

/// An intermediate as step-ca keeps it: an EC key in PEM with `DEK-Info`, its root beside it, revocations from its database.
#[test]
fn a_step_ca_is_imported_by_the_command_line() {
    let ca = StepCa::new();
    for database in Database::ALL {
        let service = Service::start(database);
        let scratch = Scratch::new();
        let imported = import(
            &service,
            &[
                "--name",
                "step",
                "--step-path",
                &ca.path(),
                "--certificates",
                &ca.file("exported"),
                "--revocations",
                &ca.file("revocations.jsonl"),
            ],
        )
        .unwrap();
        assert_eq!((&imported["imported"], &imported["revoked"]), (&json!(2), &json!(1)), "{imported}");
        assert_eq!((&imported["revoked_serials"], &imported["parent"]), (&json!(1), &Value::Null), "{imported}");
        let issuer = await_issuer(&service.administrator(), "step");
        assert_eq!(issuer["chain"].as_array().unwrap().len(), 1, "{issuer}");
        issues_under(&service, &scratch, "step", &ca.file("certs/root_ca.crt"));
        let chain = scratch.write("chain.pem", ca.chain());
        let text = crl(&service, &scratch, "step", &chain.display().to_string());
        assert!(text.contains(&format!("Serial Number: {}\n", ca.revoked)), "{text}");
        assert!(!text.contains(&ca.valid), "{text}");
    }
}

/// With nothing else in the database the imported CA is the default issuer, and `init` makes no root beside it. An import that was
/// interrupted leaves a disabled issuer without CRL; importing again finishes it.
#[test]
fn an_empty_database_begins_with_an_imported_ca_and_an_interrupted_import_is_finished() {
    let ca = StepCa::new();
    let scratch = Scratch::new();
    let run = |arguments: &[&str]| {
        let output = chancery()
            .args(arguments)
            .env("CHANCERY__DATA_DIR", scratch.file("data"))
            .env("CHANCERY_IMPORT_PASSPHRASE", PASSPHRASE)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    };
    let (path, exported) = (ca.path(), ca.file("exported"));
    let arguments = ["issuer", "import", "--name", "step", "--step-path", &path, "--certificates", &exported];
    let imported: Value = serde_json::from_str(&run(&arguments)).unwrap();
    assert_eq!((&imported["state"], &imported["default"]), (&json!("active"), &json!(true)), "{imported}");
    assert_eq!(imported["imported"], 2);

    let database = scratch.file("data/chancery.db").display().to_string();
    let mut connection = diesel::SqliteConnection::establish(&database).unwrap();
    connection.batch_execute("UPDATE issuers SET state = 3, is_default = 0; DELETE FROM certificate_names; DELETE FROM certificates WHERE id = (SELECT max(id) FROM certificates)").unwrap();
    let imported: Value = serde_json::from_str(&run(&arguments)).unwrap();
    assert_eq!((&imported["state"], &imported["default"]), (&json!("active"), &json!(true)), "{imported}");
    assert_eq!((&imported["imported"], &imported["already_there"]), (&json!(1), &json!(1)), "{imported}");

    assert!(run(&["init"]).contains("the issuers exist already"));
    assert_eq!(scratch.read("data/chain.pem"), ca.chain());
    assert!(scratch.file("data/admin.token").exists());
}

/// PKCS #12 by OpenSSL, new and old, and by Python.
#[test]
fn issuers_are_imported_from_pkcs12() {
    let service = Service::start(Database::Sqlite);
    let client = service.administrator();
    for (index, how) in ["openssl", "openssl -legacy", "python best", "python 3des"].into_iter().enumerate() {
        let scratch = Scratch::new();
        let directory = scratch.path().display().to_string();
        openssl(&format!(
            "req -x509 -newkey rsa:2048 -noenc -keyout {directory}/key -out {directory}/root.pem -days 300 -subj /CN=Boxed-{index}"
        ));
        match how.split_once(' ') {
            Some(("python", kind)) => {
                let files = ["key", "root.pem", "box.p12"].map(|name| format!("{directory}/{name}"));
                python_script("interop/make_pkcs12.py", &[kind, &files[0], &files[1], PASSPHRASE, &files[2]]);
            }
            _ => {
                let legacy = if how.ends_with("-legacy") { "-legacy" } else { "" };
                openssl(&format!(
                    "pkcs12 -export {legacy} -inkey {directory}/key -in {directory}/root.pem -passout pass:{PASSPHRASE} -out {directory}/box.p12"
                ));
            }
        }
        let box_ = STANDARD.encode(std::fs::read(scratch.file("box.p12")).unwrap());
        let name = format!("boxed-{index}");
        let body =
            |password: &str| json!({"kind": "import", "name": name, "pkcs12": box_, "pkcs12_password": password});
        let refusal = client.post("/api/v1/issuers").json(&body("wrong")).expect(400).json();
        assert_eq!(
            refusal["detail"], "`pkcs12`: the password of the PKCS #12 file is wrong, or the file is damaged",
            "{how}"
        );
        client.post("/api/v1/issuers").json(&body(PASSPHRASE)).expect(201);
        issues_under(&service, &scratch, &name, &format!("{directory}/root.pem"));
    }
}

/// Roots that old guides made: of version 1, or without key usage and with basic constraints that are not critical.
#[test]
fn old_roots_are_imported_and_what_is_no_ca_is_not() {
    let service = Service::start(Database::Sqlite);
    let client = service.administrator();
    let scratch = Scratch::new();
    let directory = scratch.path().display().to_string();
    openssl(&format!("req -new -newkey rsa:2048 -noenc -keyout {directory}/key -out {directory}/csr -subj /CN=Old"));
    let made = |name: &str, extensions: Option<&str>, options: &str| {
        let file = extensions.map_or_else(String::new, |text| {
            format!("-extfile {}", scratch.write(&format!("{name}.ext"), text).display())
        });
        openssl(&format!(
            "x509 -req -in {directory}/csr -signkey {directory}/key -days 100 {file} {options} -out {directory}/{name}.pem"
        ));
        scratch.read(&format!("{name}.pem"))
    };
    let attempt = |name: &str, certificate: &str| {
        let body =
            json!({"kind": "import", "name": name, "certificate": certificate, "private_key": scratch.read("key")});
        client.post("/api/v1/issuers").json(&body).send()
    };
    for (extensions, reason) in [
        ("basicConstraints=CA:FALSE", "is not a CA's: its basic constraints do not say `CA:TRUE`"),
        ("keyUsage=keyCertSign", "is not a CA's"),
        ("basicConstraints=CA:TRUE\nkeyUsage=digitalSignature", "does not allow to sign certificates"),
        (
            "basicConstraints=CA:TRUE\n1.2.3.4=critical,DER:0500",
            "is not understood here (RFC 5280, section 4.2): the critical extension `1.2.3.4`",
        ),
    ] {
        let answer = attempt("refused", &made("refused", Some(extensions), "-sha256"));
        assert_eq!(answer.status, 400, "{extensions}: {}", answer.text());
        assert!(answer.json()["detail"].as_str().unwrap().contains(reason), "{extensions}: {}", answer.text());
    }
    openssl(&format!("genrsa -out {directory}/key2 2048"));
    openssl(&format!("req -x509 -new -key {directory}/key2 -days 10 -subj /CN=Other -out {directory}/other.pem"));
    let answer = attempt("refused", &scratch.read("other.pem"));
    assert!(answer.text().contains("the private key does not fit the certificate"), "{}", answer.text());

    let old = made("old", None, "-sha256");
    assert!(openssl(&format!("x509 -in {directory}/old.pem -noout -text")).contains("Version: 1 (0x0)"));
    let answer = attempt("version-1", &old);
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(answer.json()["warnings"][0].as_str().unwrap().contains("is of version 1"), "{}", answer.text());
    issues_under(&service, &scratch, "version-1", &format!("{directory}/old.pem"));
    let text = crl(&service, &scratch, "version-1", &format!("{directory}/old.pem"));
    assert!(text.contains("No Revoked Certificates"), "{text}");

    openssl(&format!("req -new -newkey rsa:2048 -noenc -keyout {directory}/key -out {directory}/csr -subj /CN=Older"));
    let older = made("older", Some("basicConstraints=CA:TRUE"), "-sha1");
    let answer = attempt("without-usage", &older);
    assert_eq!(answer.status, 201, "{}", answer.text());
    issues_under(&service, &scratch, "without-usage", &format!("{directory}/older.pem"));
}
