//! Those who judge certificates: OpenSSL, GnuTLS, Python's `cryptography`, rustls-webpki, pkilint.

use std::path::PathBuf;
use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use serde_json::Value;

use crate::support::der;
use crate::support::tools::{Scratch, attempt, fixture, openssl, python, run};

/// What a certificate is for, and so how it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// TLS server.
    Server,
    /// TLS client.
    Client,
}

/// Certificates of one chain, written to files and judged together.
pub(super) struct Court {
    scratch: Scratch,
    root: PathBuf,
    intermediate: PathBuf,
    cases: Vec<Case>,
}

struct Case {
    leaf: PathBuf,
    full_chain: PathBuf,
    name: String,
    purpose: Purpose,
    is_ed25519: bool,
}

impl Court {
    /// Opens with the chain of a record: its root and its one CA certificate below.
    pub(super) fn of(record: &Value) -> Self {
        let scratch = Scratch::new();
        let root = scratch.write("root.pem", record["root"].as_str().unwrap());
        let chain = record["chain"].as_array().unwrap();
        assert_eq!(chain.len(), 1, "the issuing CA only");
        let intermediate = scratch.write("intermediate.pem", chain[0].as_str().unwrap());
        Self { scratch, root, intermediate, cases: Vec::new() }
    }

    /// Brings in a certificate record, to be verified for a name.
    pub(super) fn bring(&mut self, record: &Value, name: &str, purpose: Purpose) {
        let number = self.cases.len();
        let pem = record["certificate"].as_str().unwrap();
        let leaf = self.scratch.write(&format!("leaf-{number}.pem"), pem);
        let intermediate = record["chain"][0].as_str().unwrap();
        assert_eq!(record["root"].as_str().unwrap(), self.scratch.read("root.pem"), "the same root");
        assert_eq!(intermediate, self.scratch.read("intermediate.pem"), "the same issuing CA");
        let full_chain = self.scratch.write(&format!("chain-{number}.pem"), format!("{pem}{intermediate}"));
        let is_ed25519 = record["key"]["algorithm"] == "ed25519";
        self.cases.push(Case { leaf, full_chain, name: name.to_owned(), purpose, is_ed25519 });
    }

    /// Has every certificate judged by everybody.
    pub(super) fn judge(&self) {
        self.judge_without_lint();
        self.lint();
    }

    /// Has every certificate judged by everybody but pkilint, whose rules for RFC 5280 know neither wildcards nor `spiffe://`.
    pub(super) fn judge_without_lint(&self) {
        assert!(!self.cases.is_empty(), "nothing was brought in");
        self.judge_by_openssl();
        self.judge_by_gnutls();
        self.judge_by_python();
        self.judge_by_webpki();
    }

    fn judge_by_openssl(&self) {
        for case in &self.cases {
            let purpose = match case.purpose {
                Purpose::Server => format!("-purpose sslserver -verify_hostname {}", case.name),
                Purpose::Client => "-purpose sslclient".to_owned(),
            };
            let said = openssl(&format!(
                "verify -x509_strict -check_ss_sig {purpose} -CAfile {} -untrusted {} {}",
                self.root.display(),
                self.intermediate.display(),
                case.leaf.display()
            ));
            assert!(said.trim_end().ends_with(": OK"), "{said}");
        }
    }

    fn judge_by_gnutls(&self) {
        for case in &self.cases {
            let mut arguments = vec![
                "--verify".to_owned(),
                format!("--load-ca-certificate={}", self.root.display()),
                format!("--infile={}", case.full_chain.display()),
            ];
            match case.purpose {
                Purpose::Server => {
                    arguments.push(format!("--verify-hostname={}", case.name));
                    arguments.push("--verify-purpose=1.3.6.1.5.5.7.3.1".to_owned());
                }
                Purpose::Client => arguments.push("--verify-purpose=1.3.6.1.5.5.7.3.2".to_owned()),
            }
            let said = run("certtool", &arguments);
            assert!(said.contains("Chain verification output: Verified. The certificate is trusted."), "{said}");
        }
    }

    fn judge_by_python(&self) {
        let mut arguments = vec![
            fixture("interop/verify.py").display().to_string(),
            self.root.display().to_string(),
            self.intermediate.display().to_string(),
        ];
        for case in &self.cases {
            let purpose = match case.purpose {
                Purpose::Server => "server",
                Purpose::Client => "client",
            };
            arguments.push(format!("{purpose}:{}:{}", case.name, case.leaf.display()));
        }
        let said = run(python(), &arguments);
        assert_eq!(said.lines().filter(|line| line.starts_with("verified ")).count(), self.cases.len(), "{said}");
    }

    fn judge_by_webpki(&self) {
        const EVERY: &[&dyn SignatureVerificationAlgorithm] = &[
            webpki::aws_lc_rs::ECDSA_P256_SHA256,
            webpki::aws_lc_rs::ECDSA_P384_SHA384,
            webpki::aws_lc_rs::ECDSA_P521_SHA512,
            webpki::aws_lc_rs::ED25519,
            webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
        ];
        let read = |path: &PathBuf| -> CertificateDer<'static> {
            der::from_pem("CERTIFICATE", &std::fs::read_to_string(path).unwrap()).into()
        };
        let root = read(&self.root);
        let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
        let intermediates = [read(&self.intermediate)];
        let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
        for case in &self.cases {
            let leaf = read(&case.leaf);
            let certificate = webpki::EndEntityCert::try_from(&leaf)
                .unwrap_or_else(|error| panic!("webpki does not read {}: {error}", case.leaf.display()));
            let usage = match case.purpose {
                Purpose::Server => webpki::KeyUsage::server_auth(),
                Purpose::Client => webpki::KeyUsage::client_auth(),
            };
            certificate
                .verify_for_usage(EVERY, &anchors, &intermediates, now, usage, None, None)
                .unwrap_or_else(|error| panic!("webpki refuses {} (Ed25519: {}): {error}", case.name, case.is_ed25519));
            if case.purpose == Purpose::Server {
                let name = ServerName::try_from(case.name.as_str()).unwrap();
                certificate.verify_is_valid_for_subject_name(&name).unwrap();
            }
        }
    }

    /// Has pkilint look at the root, the issuing CA and every certificate.
    fn lint(&self) {
        let mut objects =
            vec![self.root.display().to_string(), format!("{}>{}", self.root.display(), self.intermediate.display())];
        objects
            .extend(self.cases.iter().map(|case| format!("{}>{}", self.intermediate.display(), case.leaf.display())));
        lint(&objects);
    }
}

/// Has pkilint look at objects (see `lint.py`), which must have no finding at WARNING or above.
#[track_caller]
pub(super) fn lint(objects: &[String]) {
    let mut arguments = vec![fixture("interop/lint.py").display().to_string()];
    arguments.extend_from_slice(objects);
    let output = attempt(python(), &arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let closing = format!("linted {} objects, 0 findings", objects.len());
    assert!(output.status.success() && said.contains(&closing), "pkilint: {said}");
}
