//! OCSP under issuers of every kind of key: asked by OpenSSL, GnuTLS, Python and curl, verified by them, linted by pkilint; altered
//! answers are refused by each.

use serde_json::{Value, json};

use super::judges::lint;
use crate::ocsp::{Asked, Relying};
use crate::support::client::Client;
use crate::support::service::{Database, Service};
use crate::support::tools::{Scratch, attempt, fixture, openssl, python, python_script, run};

/// A serial number that was never given.
const NEVER: &str = "0190000000000000000000000000000000000001";

#[test]
fn a_p256_issuer() {
    everybody_understands_the_answers(Service::shared(Database::Sqlite));
}

#[test]
fn a_p384_issuer_on_postgresql() {
    everybody_understands_the_answers(&with_keys(Database::Postgres, "ecdsa-p384", "ecdsa-p384"));
}

#[test]
fn an_ed25519_issuer() {
    everybody_understands_the_answers(&with_keys(Database::Sqlite, "rsa-3072", "ed25519"));
}

#[test]
fn an_rsa_issuer() {
    everybody_understands_the_answers(&with_keys(Database::Sqlite, "ecdsa-p384", "rsa-3072"));
}

/// Only Python's `cryptography` has ML-DSA among the judges.
#[test]
fn an_ml_dsa_issuer() {
    let service = with_keys(Database::Sqlite, "ml-dsa-65", "ml-dsa-44");
    let (record, cases) = cases(&service);
    let scratch = Scratch::new();
    scratch.write("issuing.pem", record["chain"][0].as_str().unwrap());
    let url = format!("{}/ocsp/issuing", service.public());
    python_asks(&scratch, &url, &cases);
    let relying = Relying::of(&service);
    for case in &cases {
        let answer = relying.post(relying.request(&case.serial));
        Asked::read(&answer, &relying.issuer).basic();
        scratch.write("answer.ocsp", &answer.body);
        let mut altered = answer.body.clone();
        let middle = altered.len() / 2;
        altered[middle] ^= 1;
        scratch.write("altered.ocsp", altered);
        let script = fixture("interop/ocsp.py").display().to_string();
        let issuer = scratch.file("issuing.pem").display().to_string();
        let accepts = |name: &str| {
            let path = scratch.file(name).display().to_string();
            attempt(python(), &[script.as_str(), "verify", &path, &issuer]).status.success()
        };
        assert_eq!([accepts("answer.ocsp"), accepts("altered.ocsp")], [true, false]);
    }
    lint(&[scratch.file("answer.ocsp").display().to_string()]);
}

fn with_keys(database: Database, root: &str, issuing: &str) -> Service {
    let settings = [("CHANCERY__HIERARCHY__ROOT__KEY", root), ("CHANCERY__HIERARCHY__ISSUING__KEY", issuing)];
    Service::start_with(database, &settings)
}

/// A certificate whose status is known.
struct Case {
    serial: String,
    /// As `ocsp.py` has it.
    expected: &'static str,
    /// As OpenSSL prints it.
    openssl: &'static [&'static str],
    /// As GnuTLS prints it.
    gnutls: &'static str,
}

fn cases(service: &Service) -> (Value, Vec<Case>) {
    let client = service.administrator();
    let record = service.issue(&["judged.internal"]);
    let serial = |record: &Value| record["serial"].as_str().unwrap().to_owned();
    let mut cases = vec![
        Case { serial: serial(&record), expected: "good", openssl: &[": good"], gnutls: "Certificate Status: good" },
        Case {
            serial: NEVER.to_owned(),
            expected: "unknown",
            openssl: &[": unknown"],
            gnutls: "Certificate Status: unknown",
        },
    ];
    for (reason, expected, openssl) in [
        ("key_compromise", "revoked:keyCompromise", &[": revoked", "Reason: keyCompromise"][..]),
        ("certificate_hold", "revoked:certificateHold", &[": revoked", "Reason: certificateHold"]),
        ("unspecified", "revoked:-", &[": revoked", "Revocation Time: "]),
    ] {
        let record = service.issue(&["revoked.internal"]);
        let path = format!("/api/v1/certificates/{}/revoke", serial(&record));
        client.post(&path).json(&json!({"reason": reason})).expect(200);
        cases.push(Case { serial: serial(&record), expected, openssl, gnutls: "Certificate Status: revoked" });
    }
    (record, cases)
}

fn everybody_understands_the_answers(service: &Service) {
    let (record, cases) = cases(service);
    let scratch = Scratch::new();
    scratch.write("root.pem", record["root"].as_str().unwrap());
    scratch.write("issuing.pem", record["chain"][0].as_str().unwrap());
    scratch.write("leaf.pem", record["certificate"].as_str().unwrap());
    let url = format!("{}/ocsp/issuing", service.public());
    openssl_asks(&scratch, &url, &cases);
    curl_fetches(&scratch, &url, &cases);
    gnutls_asks(&scratch, &url, &cases);
    python_asks(&scratch, &url, &cases);
    altered_answers_are_refused(&scratch);
    the_root_is_answered_for(&scratch, service);
    lint_answers(&scratch, &cases);
}

/// What every call of `openssl ocsp` has.
fn openssl_trust(scratch: &Scratch) -> String {
    format!("ocsp -issuer {0}/issuing.pem -CAfile {0}/root.pem -verify_other {0}/issuing.pem", scratch.path().display())
}

fn openssl_asks(scratch: &Scratch, url: &str, cases: &[Case]) {
    let trust = openssl_trust(scratch);
    for (number, case) in cases.iter().enumerate() {
        for nonce in ["-nonce", "-no_nonce"] {
            let output = scratch.file(&format!("{number}{nonce}.ocsp"));
            let arguments =
                format!("{trust} -url {url} {nonce} -serial 0x{} -respout {}", case.serial, output.display());
            let said = attempt("openssl", &arguments.split(' ').collect::<Vec<_>>());
            let said = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
            assert!(said.contains("Response verify OK") && !said.contains("WARNING"), "{}: {said}", case.expected);
            for words in case.openssl {
                assert!(said.contains(words), "{}: {said}", case.expected);
            }
        }
    }
    // All of them in one request, under SHA-256.
    let serials: Vec<String> = cases.iter().map(|case| format!("-serial 0x{}", case.serial)).collect();
    let output = scratch.file("all.ocsp");
    let said =
        openssl(&format!("{trust} -url {url} -nonce -sha256 {} -respout {}", serials.join(" "), output.display()));
    for case in cases {
        let status = case.openssl[0];
        assert!(said.contains(&format!("0x{}{status}", case.serial)), "{said}");
    }
}

fn curl_fetches(scratch: &Scratch, url: &str, cases: &[Case]) {
    let trust = openssl_trust(scratch);
    for (number, case) in cases.iter().enumerate() {
        let (request, response) = (scratch.file("request.der"), scratch.file(&format!("{number}-get.ocsp")));
        openssl(&format!("{trust} -no_nonce -serial 0x{} -reqout {}", case.serial, request.display()));
        let encoded = openssl(&format!("base64 -A -in {}", request.display()));
        let encoded = encoded.trim().replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let output = response.display().to_string();
        run("curl", &["-sS", "--fail", "--noproxy", "*", "-o", &output, &format!("{url}/{encoded}")]);
        let said = attempt(
            "openssl",
            &format!("{trust} -serial 0x{} -respin {output}", case.serial).split(' ').collect::<Vec<_>>(),
        );
        let said = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
        assert!(said.contains("Response verify OK") && said.contains(case.openssl[0]), "{said}");
    }
}

fn gnutls_asks(scratch: &Scratch, url: &str, cases: &[Case]) {
    let at = |name: &str| scratch.file(name).display().to_string();
    // It finds the address in the certificate, and asks with a nonce.
    let ask = format!("--ask --nonce --load-cert={} --load-issuer={}", at("leaf.pem"), at("issuing.pem"));
    let said = run("ocsptool", &ask.split(' ').collect::<Vec<_>>());
    assert!(said.contains("Certificate Status: good") && said.contains("Verifying OCSP Response: Success"), "{said}");
    assert!(!url.is_empty());
    for (number, case) in cases.iter().enumerate() {
        let verify = format!(
            "--verify-response --load-response={} --load-trust={} --load-issuer={}",
            at(&format!("{number}-no_nonce.ocsp")),
            at("issuing.pem"),
            at("issuing.pem")
        );
        let said = run("ocsptool", &verify.split(' ').collect::<Vec<_>>());
        assert!(said.contains("Verifying OCSP Response: Success"), "{said}");
        let shown = run(
            "ocsptool",
            &["--response-info", &format!("--load-response={}", at(&format!("{number}-no_nonce.ocsp")))],
        );
        assert!(shown.contains(case.gnutls), "{}: {shown}", case.expected);
    }
}

fn python_asks(scratch: &Scratch, url: &str, cases: &[Case]) {
    let issuer = scratch.file("issuing.pem").display().to_string();
    for case in cases {
        let said = python_script("interop/ocsp.py", &["ask", url, &issuer, &case.serial, case.expected]);
        assert!(said.starts_with("verified"), "{said}");
    }
}

/// A good answer whose status, time, nonce, signature or certificate was changed.
fn altered_answers_are_refused(scratch: &Scratch) {
    let good = std::fs::read(scratch.file("0-nonce.ocsp")).unwrap();
    let issuer = scratch.file("issuing.pem").display().to_string();
    let judge = |name: &str| {
        let path = scratch.file(name).display().to_string();
        let openssl =
            attempt("openssl", &format!("{} -respin {path}", openssl_trust(scratch)).split(' ').collect::<Vec<_>>());
        let openssl = String::from_utf8([openssl.stdout, openssl.stderr].concat()).unwrap();
        let arguments =
            [format!("--load-response={path}"), format!("--load-trust={issuer}"), format!("--load-issuer={issuer}")];
        let arguments: Vec<_> = std::iter::once("--verify-response".to_owned()).chain(arguments).collect();
        let gnutls = attempt("ocsptool", &arguments);
        let gnutls = gnutls.status.success() && String::from_utf8_lossy(&gnutls.stdout).contains("Success");
        let script = fixture("interop/ocsp.py").display().to_string();
        let python = attempt(python(), &[script.as_str(), "verify", &path, &issuer]).status.success();
        [openssl.contains("Response verify OK"), gnutls, python]
    };
    assert_eq!(judge("0-nonce.ocsp"), [true; 3], "the answer as it came");
    let year = good.windows(4).position(|window| window == b"2026" || window == b"2027").unwrap();
    let last = good.len() - 1;
    for (name, position) in [("time.ocsp", year + 3), ("certificate.ocsp", last), ("middle.ocsp", good.len() / 3)] {
        let mut altered = good.clone();
        altered[position] ^= 1;
        scratch.write(name, &altered);
        let accepted = judge(name);
        assert_eq!(accepted, [false; 3], "{name}");
    }
}

/// The root's responder answers for the issuing CA.
fn the_root_is_answered_for(scratch: &Scratch, service: &Service) {
    let here = scratch.path().display();
    let output = scratch.file("root.ocsp");
    let said = openssl(&format!(
        "ocsp -issuer {here}/root.pem -CAfile {here}/root.pem -cert {here}/issuing.pem -url {}/ocsp/root -respout {}",
        service.public(),
        output.display()
    ));
    assert!(said.contains("issuing.pem: good"), "{said}");
    // What the address in the certificate leads to is the same.
    let address = openssl(&format!("x509 -in {here}/issuing.pem -noout -ocsp_uri"));
    assert_eq!(address.trim(), format!("{}/ocsp/root", service.public()));
    assert_eq!(Client::new(service.public(), None).get("/pki/root.crt").send().status, 200);
}

fn lint_answers(scratch: &Scratch, cases: &[Case]) {
    let mut objects =
        vec![scratch.file("all.ocsp").display().to_string(), scratch.file("root.ocsp").display().to_string()];
    for number in 0..cases.len() {
        for kind in ["-nonce", "-no_nonce", "-get"] {
            objects.push(scratch.file(&format!("{number}{kind}.ocsp")).display().to_string());
        }
    }
    // The responder's certificate, as the answers carry it.
    let shown = openssl(&format!("ocsp -respin {} -noverify -resp_text", scratch.file("all.ocsp").display()));
    let start = shown.find("-----BEGIN CERTIFICATE-----").unwrap();
    let responder = scratch.write("responder.pem", &shown[start..]);
    objects.push(format!("{}>{}", scratch.file("issuing.pem").display(), responder.display()));
    lint(&objects);
}
