//! CRLs judged by OpenSSL, GnuTLS, Python's `cryptography` and pkilint: full, sharded and delta, for issuers of every kind of key. Good
//! certificates pass and revoked ones do not.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::judges::lint;
use crate::support::crl::{distribution, eventually, fetch, inspected, publish, release, revoke, serials, to_pem};
use crate::support::service::{Database, Service};
use crate::support::tools::{Scratch, attempt, fixture, python, run};

const SHARDS: (&str, &str) = ("CHANCERY__CRL__SHARDS", "2");
const DELTAS: (&str, &str) = ("CHANCERY__CRL__DELTA_INTERVAL", "30m");

/// With the first option alone OpenSSL 3.0 takes a delta for a complete CRL when it is the newest that fits.
const WITH_DELTAS: &[&str] = &["-use_deltas", "-extended_crl"];

/// A service with what its certificates are judged by.
struct Trial {
    service: Service,
    scratch: Scratch,
    root: PathBuf,
    issuing: PathBuf,
    /// How many CRLs were fetched: each is kept, also the earlier ones of one address.
    fetched: AtomicU32,
}

/// A CRL that was fetched: DER for most judges, PEM for OpenSSL and GnuTLS.
struct Crl {
    der: PathBuf,
    pem: PathBuf,
}

impl Trial {
    fn begin(settings: &[(&str, &str)]) -> Self {
        let service = Service::start_with(Database::Sqlite, settings);
        let scratch = Scratch::new();
        let root = scratch.write("root.pem", service.root_pem());
        let record = service.issue(&["first.internal"]);
        let issuing = scratch.write("issuing.pem", record["chain"][0].as_str().unwrap());
        Self { service, scratch, root, issuing, fetched: AtomicU32::new(0) }
    }

    fn fetch(&self, address: &str) -> Crl {
        let der = fetch(&self.service, address);
        let number = self.fetched.fetch_add(1, Ordering::Relaxed);
        let name = format!("{number}{}", address[address.find("/pki/").unwrap()..].replace('/', "_"));
        let pem = self.scratch.write(&format!("{name}.pem"), to_pem(&der));
        Crl { der: self.scratch.write(&name, der), pem }
    }

    fn leaf(&self, record: &Value) -> PathBuf {
        let name = format!("{}.pem", record["serial"].as_str().unwrap());
        self.scratch.write(&name, record["certificate"].as_str().unwrap())
    }

    /// Has OpenSSL verify a certificate against CRLs; returns whether it passes and what was said.
    fn openssl(&self, record: &Value, options: &[&str], crls: &[&Crl]) -> (bool, String) {
        let leaf = self.leaf(record);
        let mut arguments: Vec<String> = ["verify", "-x509_strict", "-crl_check_all"].map(str::to_owned).into();
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        for (option, file) in [("-CAfile", &self.root), ("-untrusted", &self.issuing)] {
            arguments.extend([option.to_owned(), file.display().to_string()]);
        }
        let root = self.fetch("/pki/root.crl");
        for crl in crls.iter().copied().chain(std::iter::once(&root)) {
            arguments.extend(["-CRLfile".to_owned(), crl.pem.display().to_string()]);
        }
        arguments.push(leaf.display().to_string());
        let output = attempt("openssl", &arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    #[track_caller]
    fn accepts(&self, record: &Value, options: &[&str], crls: &[&Crl]) {
        let (passes, said) = self.openssl(record, options, crls);
        assert!(passes && said.trim_end().ends_with(": OK"), "{options:?}: {said}");
    }

    #[track_caller]
    fn refuses(&self, record: &Value, options: &[&str], crls: &[&Crl], why: &str) {
        let (passes, said) = self.openssl(record, options, crls);
        assert!(!passes && said.contains(why), "{options:?}: {said}");
    }

    /// Has the other judges read CRLs: kind, address in its issuing distribution point, CRL, serial numbers that it lists.
    fn judge(&self, crls: &[(&str, Option<&str>, &Crl, Vec<String>)]) {
        let mut arguments = vec![fixture("interop/crl.py").display().to_string(), self.issuing.display().to_string()];
        for (kind, uri, crl, serials) in crls {
            let uri = uri.unwrap_or("-");
            arguments.push(format!("{kind}:{uri}:{}:{}", crl.der.display(), serials.join(",")));
        }
        let said = run(python(), &arguments);
        assert_eq!(said.matches("read ").count(), crls.len(), "{said}");
        for (kind, _, crl, _) in crls {
            let arguments = [
                "--verify-crl".to_owned(),
                format!("--load-ca-certificate={}", self.issuing.display()),
                format!("--infile={}", crl.pem.display()),
            ];
            let said = run("certtool", &arguments);
            assert!(said.contains("Verification output: Verified."), "{kind}: {said}");
            // The root did not sign it.
            let arguments = [
                "--verify-crl".to_owned(),
                format!("--load-ca-certificate={}", self.root.display()),
                format!("--infile={}", crl.pem.display()),
            ];
            let output = attempt("certtool", &arguments);
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(!output.status.success() || said.contains("Not verified."), "{said}");
        }
        lint(&crls.iter().map(|(_, _, crl, _)| crl.der.display().to_string()).collect::<Vec<_>>());
    }
}

fn serial(record: &Value) -> String {
    record["serial"].as_str().unwrap().to_owned()
}

fn hierarchy(key: &str) -> [(&str, &str); 2] {
    [("CHANCERY__HIERARCHY__ROOT__KEY", key), ("CHANCERY__HIERARCHY__ISSUING__KEY", key)]
}

/// One full CRL, made anew after each revocation.
fn full(key: &str) {
    let trial = Trial::begin(&hierarchy(key));
    let (good, bad) = (trial.service.issue(&["good.internal"]), trial.service.issue(&["bad.internal"]));
    let (address, delta) = distribution(&bad);
    assert_eq!(delta, None);
    let before = trial.fetch(&address);
    trial.accepts(&bad, &[], &[&before]);
    trial.judge(&[("full", None, &before, Vec::new())]);
    revoke(&trial.service, &bad, "key_compromise");
    eventually("the revocation", || serials(&inspected(&trial.service, &address), "entries") == [serial(&bad)]);
    let after = trial.fetch(&address);
    trial.accepts(&good, &[], &[&after]);
    trial.refuses(&bad, &[], &[&after], "certificate revoked");
    trial.refuses(&good, &[], &[], "unable to get certificate CRL");
    trial.judge(&[("full", None, &after, vec![serial(&bad)])]);
}

/// Two shards with deltas: the base is from before the revocation, which only the delta has.
fn sharded_with_deltas(key: &str) {
    let [root, issuing] = hierarchy(key);
    let trial = Trial::begin(&[root, issuing, SHARDS, DELTAS]);
    // Both in the same shard, and a third in the other one.
    let bad = trial.service.issue(&["bad.internal"]);
    let (address, delta) = distribution(&bad);
    let delta = delta.unwrap();
    let find = |own: bool| loop {
        let record = trial.service.issue(&["good.internal"]);
        if (distribution(&record).0 == address) == own {
            break record;
        }
    };
    let (good, elsewhere) = (find(true), find(false));
    let base = trial.fetch(&address);
    revoke(&trial.service, &bad, "key_compromise");
    eventually("the revocation", || serials(&inspected(&trial.service, &delta), "entries") == [serial(&bad)]);
    let fresh = trial.fetch(&delta);
    trial.accepts(&bad, &[], &[&base]);
    trial.accepts(&good, WITH_DELTAS, &[&base, &fresh]);
    trial.refuses(&bad, WITH_DELTAS, &[&base, &fresh], "certificate revoked");
    let other = trial.fetch(&distribution(&elsewhere).0);
    trial.accepts(&elsewhere, &[], &[&other]);
    // The CRL of another shard says nothing of it, and a delta without its base neither.
    trial.refuses(&good, &[], &[&other], "different CRL scope");
    trial.refuses(&good, WITH_DELTAS, &[&fresh], "unable to get certificate CRL");

    // Held since the base that is made now, and released again.
    let held = good;
    revoke(&trial.service, &held, "certificate_hold");
    publish(&trial.service);
    let with_hold = trial.fetch(&address);
    trial.refuses(&held, WITH_DELTAS, &[&with_hold], "certificate revoked");
    release(&trial.service, &held);
    eventually("the release", || serials(&inspected(&trial.service, &delta), "removed") == [serial(&held)]);
    let released = trial.fetch(&delta);
    trial.accepts(&held, WITH_DELTAS, &[&with_hold, &released]);
    trial.refuses(&bad, WITH_DELTAS, &[&with_hold, &released], "certificate revoked");

    let (whole, of_whole) = (trial.fetch("/pki/issuing.crl"), trial.fetch("/pki/issuing/delta.crl"));
    trial.judge(&[
        ("shard", Some(&address), &base, Vec::new()),
        ("delta", Some(&address), &fresh, vec![serial(&bad)]),
        ("shard", Some(&address), &with_hold, vec![serial(&bad), serial(&held)]),
        ("delta", Some(&address), &released, vec![serial(&held)]),
        ("full", None, &whole, vec![serial(&bad), serial(&held)]),
        ("delta", None, &of_whole, vec![serial(&held)]),
    ]);
}

#[test]
fn full_crls_of_a_p256_issuer() {
    full("ecdsa-p256");
}

#[test]
fn full_crls_of_a_p384_issuer() {
    full("ecdsa-p384");
}

#[test]
fn full_crls_of_an_ed25519_issuer() {
    full("ed25519");
}

#[test]
fn full_crls_of_an_rsa_issuer() {
    full("rsa-2048");
}

#[test]
fn shards_and_deltas_of_a_p256_issuer() {
    sharded_with_deltas("ecdsa-p256");
}

#[test]
fn shards_and_deltas_of_a_p384_issuer() {
    sharded_with_deltas("ecdsa-p384");
}

#[test]
fn shards_and_deltas_of_an_ed25519_issuer() {
    sharded_with_deltas("ed25519");
}

#[test]
fn shards_and_deltas_of_an_rsa_issuer() {
    sharded_with_deltas("rsa-2048");
}

/// Shards without deltas: the shard itself is made anew.
#[test]
fn shards_alone() {
    let trial = Trial::begin(&[SHARDS]);
    let bad = trial.service.issue(&["bad.internal"]);
    let (address, delta) = distribution(&bad);
    assert_eq!(delta, None);
    trial.accepts(&bad, &[], &[&trial.fetch(&address)]);
    revoke(&trial.service, &bad, "superseded");
    eventually("the revocation", || serials(&inspected(&trial.service, &address), "entries") == [serial(&bad)]);
    let shard = trial.fetch(&address);
    trial.refuses(&bad, &[], &[&shard], "certificate revoked");
    trial.refuses(&bad, &["-extended_crl"], &[&shard], "certificate revoked");
    trial.judge(&[("shard", Some(&address), &shard, vec![serial(&bad)])]);
}

/// Deltas without shards.
#[test]
fn deltas_alone() {
    let trial = Trial::begin(&[DELTAS]);
    let (good, bad) = (trial.service.issue(&["good.internal"]), trial.service.issue(&["bad.internal"]));
    let (address, delta) = distribution(&bad);
    let delta = delta.unwrap();
    assert!(address.ends_with("/pki/issuing.crl") && delta.ends_with("/pki/issuing/delta.crl"), "{address} {delta}");
    let base = trial.fetch(&address);
    revoke(&trial.service, &bad, "superseded");
    eventually("the revocation", || serials(&inspected(&trial.service, &delta), "entries") == [serial(&bad)]);
    let fresh = trial.fetch(&delta);
    trial.accepts(&good, WITH_DELTAS, &[&base, &fresh]);
    trial.refuses(&bad, WITH_DELTAS, &[&base, &fresh], "certificate revoked");
    trial.judge(&[("full", None, &base, Vec::new()), ("delta", None, &fresh, vec![serial(&bad)])]);
}
