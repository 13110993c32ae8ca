//! Name constraints: a table of constraints and names, judged by our matching and by OpenSSL, GnuTLS, Python's `cryptography` and
//! rustls-webpki. Whatever ours lets pass, they must accept; what ours refuses and OpenSSL accepts is a known list. And certificate
//! policies, about which we and OpenSSL agree.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use chancery::policy::issuer::{Candidate, IssuerLimits};
use chancery::x509::certificate::assemble;
use chancery::x509::extension::Extension;
use chancery::x509::name_constraints::{CommonNameUse, JudgedNames, NameForm};
use chancery::x509::{
    Certificate, CertificateTemplate, DistinguishedName, KeyUsage, NameConstraints, NameConstraintsDocument, NameType,
    PublicKey, SerialNumber, SignatureAlgorithm, SubjectAltName, Timestamp,
};
use const_oid::ObjectIdentifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::json;

use crate::support::csr::Key;
use crate::support::der;
use crate::support::tools::{Scratch, attempt, python_script};

/// A certificate of each kind, by its subject and its names.
const LEAVES: &[(&str, &[&str])] = &[
    ("", &["dns:example.com"]),
    ("", &["dns:a.example.com"]),
    ("", &["dns:a.b.example.com"]),
    ("", &["dns:*.example.com"]),
    ("", &["dns:*.a.example.com"]),
    ("", &["dns:*.com"]),
    ("", &["dns:notexample.com"]),
    ("", &["dns:secret.example.com"]),
    ("", &["dns:x.secret.example.com"]),
    ("", &["dns:*.secret.example.com"]),
    ("", &["dns:example.org"]),
    ("", &["dns:localhost"]),
    ("", &["dns:a.example.com", "dns:example.org"]),
    ("CN=a.example.com", &["dns:a.example.com"]),
    ("CN=www.example.org", &["dns:a.example.com"]),
    ("CN=www.example.org", &["ip:10.0.0.1"]),
    ("CN=www.example.org", &[]),
    ("CN=10.0.0.1", &["ip:10.0.0.1"]),
    ("CN=A server", &["ip:10.0.0.1"]),
    ("CN=a.example.com", &["ip:10.0.0.1"]),
    ("", &["ip:10.0.0.1"]),
    ("", &["ip:10.9.0.1"]),
    ("", &["ip:192.168.0.1"]),
    ("", &["ip:fd00::1"]),
    ("", &["ip:2001:db8::1"]),
    ("", &["dns:a.example.com", "ip:10.0.0.1", "ip:fd00::1"]),
    ("", &["email:ops@example.com"]),
    ("", &["email:OPS@example.com"]),
    ("", &["email:a@example.com"]),
    ("", &["email:a@sub.example.com"]),
    ("", &["email:a@notexample.com"]),
    ("emailAddress=a@example.com,CN=a.example.com", &["dns:a.example.com"]),
    ("emailAddress=a@example.org,CN=a.example.com", &["dns:a.example.com"]),
    ("emailAddress=nobody,CN=a.example.com", &["dns:a.example.com"]),
    ("", &["uri:https://example.com/"]),
    ("", &["uri:https://a.example.com:8443/x"]),
    ("", &["uri:https://a.example.com?x"]),
    ("", &["uri:https://a.example.com/x:y"]),
    ("", &["uri:https://a.example.com"]),
    ("", &["uri:https://10.0.0.1/"]),
    ("", &["uri:spiffe://example.com/ns/a"]),
    ("", &["uri:urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]),
    ("CN=a.example.com,O=Example", &["dns:a.example.com"]),
    ("CN=a.example.com,O=EXAMPLE", &["dns:a.example.com"]),
    ("CN=a.example.com,O=Example Two", &["dns:a.example.com"]),
    ("CN=a.example.com,OU=Unit,O=Example", &["dns:a.example.com"]),
    ("CN=a.example.com,O=Other", &["dns:a.example.com"]),
];

/// Constraints, as documents.
fn documents() -> Vec<serde_json::Value> {
    vec![
        json!({"permitted": {"dns": ["example.com"]}}),
        json!({"permitted": {"dns": ["a.example.com", "localhost"]}}),
        json!({"permitted": {"dns": ["com"]}, "excluded": {"dns": ["secret.example.com"]}}),
        json!({"excluded": {"dns": ["secret.example.com"]}}),
        json!({"excluded": {"dns": ["a.b.example.com"]}}),
        json!({"excluded": {"dns": ["example.com"]}}),
        json!({"excluded": {"dns": [""]}}),
        json!({"permitted": {"ip": ["10.0.0.0/8"]}}),
        json!({"permitted": {"ip": ["fd00::/8"]}}),
        json!({"permitted": {"ip": ["10.0.0.1/32", "2001:db8::/32"]}}),
        json!({"permitted": {"ip": ["10.0.0.0/8"]}, "excluded": {"ip": ["10.9.0.0/16"]}}),
        json!({"excluded": {"ip": ["0.0.0.0/0", "::/0"]}}),
        json!({"permitted": {"email": ["example.com"]}}),
        json!({"permitted": {"email": [".example.com"]}}),
        json!({"permitted": {"email": ["ops@example.com"]}}),
        json!({"excluded": {"email": ["example.com"]}}),
        json!({"excluded": {"email": [".example.com"]}}),
        json!({"excluded": {"email": ["ops@example.com"]}}),
        json!({"permitted": {"uri": ["example.com"]}}),
        json!({"permitted": {"uri": [".example.com"]}}),
        json!({"excluded": {"uri": ["a.example.com"]}}),
        json!({"excluded": {"uri": [".example.com"]}}),
        json!({"permitted": {"directory": ["O=Example"]}}),
        json!({"permitted": {"directory": ["OU=Unit,O=Example"]}}),
        json!({"excluded": {"directory": ["O=Example"]}}),
        json!({
            "permitted": {"dns": ["example.com"], "email": ["example.com"], "uri": ["example.com"]},
            "excluded": {"ip": ["0.0.0.0/0", "::/0"], "dns": ["secret.example.com"]},
        }),
    ]
}

/// Constraints that are not written here but come with imported CAs: every DNS name permitted, and a dot in front.
fn foreign() -> Vec<NameConstraints> {
    let list = |tag, base: &[u8]| {
        let subtree = der::wrap(der::SEQUENCE, &[der::tlv(der::NAME_DNS, base)]);
        NameConstraints::from_der(&der::wrap(der::SEQUENCE, &[der::tlv(tag, &subtree)])).unwrap()
    };
    vec![list(0xa0, b""), list(0xa0, b".example.com"), list(0xa1, b".example.com")]
}

/// One kind of certificate.
struct Leaf {
    described: String,
    subject: DistinguishedName,
    names: Vec<SubjectAltName>,
    path: PathBuf,
    der: Vec<u8>,
}

/// The CA certificate with one of the constraints.
struct Authority {
    constraints: NameConstraints,
    described: String,
    path: PathBuf,
    der: Vec<u8>,
}

/// Everything that is judged: one root, one key and one name of an issuing CA with a certificate for each constraint, one of each kind
/// of leaf.
struct Table {
    scratch: Scratch,
    root: Vec<u8>,
    authorities: Vec<Authority>,
    leaves: Vec<Leaf>,
}

fn distinguished_name(text: &str) -> DistinguishedName {
    DistinguishedName::parse(text).unwrap()
}

fn sign(issuer: (&str, &Key), subject: &DistinguishedName, key: &Key, extensions: &[Extension]) -> Vec<u8> {
    let now = i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let to_be_signed = CertificateTemplate {
        serial: &SerialNumber::from_bytes(&[7, 7]).unwrap(),
        signature_algorithm: SignatureAlgorithm::EcdsaSha256,
        issuer: &distinguished_name(issuer.0),
        not_before: Timestamp::from_unix(now - 3_600),
        not_after: Timestamp::from_unix(now + 86_400),
        subject,
        public_key: &PublicKey::from_spki_der(&key.spki()).unwrap(),
        extensions,
    };
    let to_be_signed = to_be_signed.to_be_signed().unwrap();
    assemble(&to_be_signed, SignatureAlgorithm::EcdsaSha256, &issuer.1.sign(&to_be_signed))
}

const ROOT: &str = "CN=Root";
const ISSUING: &str = "CN=Issuing";

impl Table {
    fn new() -> Self {
        let scratch = Scratch::new();
        let (root_key, issuing_key, leaf_key) = (Key::new(), Key::new(), Key::new());
        let public = |key: &Key| PublicKey::from_spki_der(&key.spki()).unwrap();
        let ca = |key: &Key| {
            vec![
                Extension::basic_constraints(Some(None)),
                Extension::key_usage(&[KeyUsage::KeyCertSign, KeyUsage::CrlSign].into()),
                Extension::subject_key_identifier(&public(key)),
                Extension::authority_key_identifier(&public(&root_key).key_identifier()),
            ]
        };
        let root = sign((ROOT, &root_key), &distinguished_name(ROOT), &root_key, &ca(&root_key));
        scratch.write("root.pem", der::pem("CERTIFICATE", &root));

        let compiled = documents().into_iter().map(|document| {
            let document: NameConstraintsDocument = serde_json::from_value(document).unwrap();
            document.compile("name_constraints").unwrap()
        });
        let authorities = compiled.chain(foreign()).enumerate().map(|(index, constraints)| {
            let mut extensions = ca(&issuing_key);
            extensions.push(constraints.to_extension());
            let der = sign((ROOT, &root_key), &distinguished_name(ISSUING), &issuing_key, &extensions);
            let path = scratch.write(&format!("ca-{index}.pem"), der::pem("CERTIFICATE", &der));
            let described = serde_json::to_string(&NameConstraintsDocument::from(&constraints)).unwrap();
            Authority { constraints, described, path, der }
        });
        let authorities = authorities.collect();

        let leaves = LEAVES.iter().enumerate().map(|(index, (subject, names))| {
            let parse = |text: &&str| {
                let (kind, value) = text.split_once(':').unwrap();
                let name_type = NameType::ALL.into_iter().find(|name_type| name_type.as_str() == kind).unwrap();
                SubjectAltName::parse(name_type, value).unwrap()
            };
            let parsed: Vec<SubjectAltName> = names.iter().map(parse).collect();
            let mut extensions = vec![
                Extension::basic_constraints(None),
                Extension::key_usage(&[KeyUsage::DigitalSignature].into()),
                Extension::extended_key_usage(&["server_auth".parse().unwrap(), "client_auth".parse().unwrap()]),
                Extension::subject_key_identifier(&public(&leaf_key)),
                Extension::authority_key_identifier(&public(&issuing_key).key_identifier()),
            ];
            if !parsed.is_empty() {
                extensions.push(Extension::subject_alt_name(&parsed, subject.is_empty()));
            }
            let subject = distinguished_name(subject);
            let der = sign((ISSUING, &issuing_key), &subject, &leaf_key, &extensions);
            let path = scratch.write(&format!("leaf-{index}.pem"), der::pem("CERTIFICATE", &der));
            let described = format!("`{subject}` {names:?}");
            Leaf { described, subject, names: parsed, path, der }
        });
        let leaves = leaves.collect();
        Self { scratch, root, authorities, leaves }
    }

    /// The pairs that a judge is asked about and accepts.
    fn accepted(&self, mut accepts: impl FnMut(&Authority, &Leaf) -> bool) -> BTreeSet<(usize, usize)> {
        let mut accepted = BTreeSet::new();
        for (ca_index, ca) in self.authorities.iter().enumerate() {
            for (leaf_index, leaf) in self.leaves.iter().enumerate() {
                if accepts(ca, leaf) {
                    accepted.insert((ca_index, leaf_index));
                }
            }
        }
        accepted
    }

    fn by_us(&self) -> BTreeSet<(usize, usize)> {
        self.accepted(|ca, leaf| {
            // As an importer would read them.
            let ca = Certificate::from_der(&ca.der).unwrap();
            let judged = JudgedNames { subject: &leaf.subject, names: &leaf.names, common_name: CommonNameUse::Host };
            ca.name_constraints.unwrap().conflicts(&judged).is_empty()
        })
    }

    fn by_openssl(&self) -> BTreeSet<(usize, usize)> {
        let mut accepted = BTreeSet::new();
        let root = self.scratch.file("root.pem").display().to_string();
        for (ca_index, ca) in self.authorities.iter().enumerate() {
            let mut arguments = ["verify", "-x509_strict", "-CAfile", &root, "-untrusted"].map(str::to_owned).to_vec();
            arguments.push(ca.path.display().to_string());
            arguments.extend(self.leaves.iter().map(|leaf| leaf.path.display().to_string()));
            let output = attempt("openssl", &arguments);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            for (leaf_index, leaf) in self.leaves.iter().enumerate() {
                if said.lines().any(|line| line == format!("{}: OK", leaf.path.display())) {
                    accepted.insert((ca_index, leaf_index));
                }
            }
        }
        accepted
    }

    fn by_webpki(&self) -> BTreeSet<(usize, usize)> {
        let root = CertificateDer::from(self.root.as_slice());
        let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
        let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
        self.accepted(|ca, leaf| {
            let (leaf, ca) = (CertificateDer::from(leaf.der.as_slice()), CertificateDer::from(ca.der.as_slice()));
            let certificate = webpki::EndEntityCert::try_from(&leaf).unwrap();
            let usage = webpki::KeyUsage::server_auth();
            let algorithms = &[webpki::aws_lc_rs::ECDSA_P256_SHA256];
            certificate.verify_for_usage(algorithms, &anchors, &[ca], now, usage, None, None).is_ok()
        })
    }

    fn by_python(&self) -> BTreeSet<(usize, usize)> {
        let files = |paths: Vec<&PathBuf>| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        let mut arguments = vec![self.scratch.file("root.pem").display().to_string()];
        arguments.extend(files(self.authorities.iter().map(|ca| &ca.path).collect()));
        arguments.push("--".to_owned());
        arguments.extend(files(self.leaves.iter().map(|leaf| &leaf.path).collect()));
        let said = python_script("interop/constraints.py", &arguments);
        let pair = |line: &str| {
            let (ca, leaf) = line.split_once(' ').unwrap();
            (ca.parse().unwrap(), leaf.parse().unwrap())
        };
        said.lines().map(pair).collect()
    }

    fn by_gnutls(&self, asked: &BTreeSet<(usize, usize)>) -> BTreeSet<(usize, usize)> {
        let root = format!("--load-ca-certificate={}", self.scratch.file("root.pem").display());
        let accepts = |(ca, leaf): &(usize, usize)| {
            let chain: String = [&self.leaves[*leaf].path, &self.authorities[*ca].path]
                .into_iter()
                .map(|path| std::fs::read_to_string(path).unwrap())
                .collect();
            let file = self.scratch.write("chain.pem", chain);
            let infile = format!("--infile={}", file.display());
            let output = attempt("certtool", &["--verify", &root, &infile]);
            String::from_utf8_lossy(&output.stdout).contains("Verified. The certificate is trusted.")
        };
        asked.iter().filter(|pair| accepts(pair)).copied().collect()
    }

    /// The pairs where a name of one of these forms stands against a constraint on it.
    fn constraining(&self, forms: &[NameForm]) -> BTreeSet<(usize, usize)> {
        self.accepted(|ca, leaf| {
            let has = |form: NameForm| match form {
                NameForm::Directory => true,
                NameForm::Email => leaf.names.iter().any(|name| name.name_type() == NameType::Email),
                NameForm::Uri => leaf.names.iter().any(|name| name.name_type() == NameType::Uri),
                NameForm::Dns | NameForm::Ip | NameForm::Other(_) => false,
            };
            forms.iter().any(|form| ca.constraints.constrain(*form) && has(*form))
        })
    }

    fn described(&self, pairs: &BTreeSet<(usize, usize)>) -> Vec<String> {
        let one = |(ca, leaf): &(usize, usize)| {
            format!("{} against {}", self.leaves[*leaf].described, self.authorities[*ca].described)
        };
        pairs.iter().map(one).collect()
    }
}

fn without(pairs: &BTreeSet<(usize, usize)>, others: &BTreeSet<(usize, usize)>) -> BTreeSet<(usize, usize)> {
    pairs.difference(others).copied().collect()
}

#[test]
fn what_passes_our_matching_passes_theirs() {
    let table = Table::new();
    let ours = table.by_us();
    let all = table.accepted(|_, _| true);
    assert!(ours.len() > 500 && without(&all, &ours).len() > 200, "{} of {} pass", ours.len(), all.len());

    let openssl = table.by_openssl();
    assert_eq!(table.described(&without(&ours, &openssl)), [""; 0], "OpenSSL");
    insta::assert_json_snapshot!("stricter_than_openssl", table.described(&without(&openssl, &ours)));

    // webpki processes no constraints on the other types: it rejects every certificate with such a name.
    let unknown = table.constraining(&[NameForm::Email, NameForm::Uri, NameForm::Directory]);
    assert_eq!(table.described(&without(&without(&ours, &unknown), &table.by_webpki())), [""; 0], "webpki");

    // Neither does Python's verifier, which wants alternative names in any case, and takes those constraints for malformed that are not
    // written here.
    let foreign = foreign();
    let skipped = table.accepted(|ca, leaf| leaf.names.is_empty() || foreign.contains(&ca.constraints));
    let unknown = unknown.union(&skipped).copied().collect();
    assert_eq!(table.described(&without(&without(&ours, &unknown), &table.by_python())), [""; 0], "Python");

    // GnuTLS rejects URIs under constraints on them.
    let asked = without(&ours, &table.constraining(&[NameForm::Uri]));
    assert_eq!(table.described(&without(&asked, &table.by_gnutls(&asked))), [""; 0], "GnuTLS");
}

const P: &str = "1.2.3.4";
const Q: &str = "1.2.3.9";
const ANY_POLICY: &str = "2.5.29.32.0";

fn policies(policies: &[&str]) -> Extension {
    let policies: Vec<ObjectIdentifier> = policies.iter().map(|policy| policy.parse().unwrap()).collect();
    Extension::certificate_policies(&policies)
}

fn critical(oid: &str, value: &[u8]) -> Extension {
    Extension { oid: oid.parse().unwrap(), critical: true, value: value.to_vec() }
}

/// `requireExplicitPolicy` after so many certificates.
fn explicit(skip: u8) -> Extension {
    critical("2.5.29.36", &[0x30, 3, 0x80, 1, skip])
}

/// Certificate policies that are required, mapped and inhibited along a chain: ours and OpenSSL's path validation agree about each.
#[test]
fn policies_are_valid_where_openssl_finds_them_valid() {
    let mapping = critical("2.5.29.33", &[0x30, 12, 0x30, 10, 6, 3, 0x2a, 3, 4, 6, 3, 0x2a, 3, 9]);
    let inhibit_mapping = critical("2.5.29.36", &[0x30, 6, 0x80, 1, 0, 0x81, 1, 0]);
    let inhibit_any = critical("2.5.29.54", &[2, 1, 0]);
    let upper = [
        vec![],
        vec![policies(&[P]), explicit(0)],
        vec![policies(&[P]), explicit(2)],
        vec![policies(&[P]), explicit(3)],
        vec![policies(&[ANY_POLICY]), explicit(0)],
        vec![policies(&[ANY_POLICY]), explicit(0), inhibit_any],
        vec![policies(&[P]), explicit(0), mapping.clone()],
        vec![policies(&[P]), inhibit_mapping],
        vec![explicit(0)],
    ];
    let lower = [
        vec![],
        vec![policies(&[P])],
        vec![policies(&[Q])],
        vec![policies(&[ANY_POLICY])],
        vec![policies(&[P]), mapping],
        vec![policies(&[P]), explicit(1)],
    ];
    let of_leaf: [&[&str]; 5] = [&[], &[P], &[Q], &[P, Q], &[ANY_POLICY]];

    let scratch = Scratch::new();
    let write = |name: &str, der: &[u8]| scratch.write(name, der::pem("CERTIFICATE", der)).display().to_string();
    let keys = [Key::new(), Key::new(), Key::new(), Key::new()];
    let [root_key, upper_key, lower_key, leaf_key] = &keys;
    let ca = |key: &Key, issuer: &Key, further: &[Extension]| {
        let public = |key: &Key| PublicKey::from_spki_der(&key.spki()).unwrap();
        let mut extensions = vec![
            Extension::basic_constraints(Some(None)),
            Extension::key_usage(&[KeyUsage::KeyCertSign, KeyUsage::CrlSign].into()),
            Extension::subject_key_identifier(&public(key)),
            Extension::authority_key_identifier(&public(issuer).key_identifier()),
        ];
        extensions.extend_from_slice(further);
        extensions
    };
    let root = sign((ROOT, root_key), &distinguished_name(ROOT), root_key, &ca(root_key, root_key, &[]));
    let root_path = write("root.pem", &root);
    let leaf = |policies_of_leaf: &&[&str]| {
        let mut extensions = ca(leaf_key, lower_key, &[]);
        extensions[0] = Extension::basic_constraints(None);
        extensions[1] = Extension::key_usage(&[KeyUsage::DigitalSignature].into());
        if !policies_of_leaf.is_empty() {
            extensions.push(policies(policies_of_leaf));
        }
        let der = sign(("CN=Lower", lower_key), &distinguished_name("CN=leaf"), leaf_key, &extensions);
        write(&format!("leaf-{}.pem", policies_of_leaf.join("-")), &der)
    };
    let leaves: Vec<String> = of_leaf.iter().map(leaf).collect();

    let (mut valid, mut differing) = (0, Vec::new());
    for (upper_index, of_upper) in upper.iter().enumerate() {
        let name = distinguished_name("CN=Upper");
        let upper = sign((ROOT, root_key), &name, upper_key, &ca(upper_key, root_key, of_upper));
        for (lower_index, of_lower) in lower.iter().enumerate() {
            let name = distinguished_name("CN=Lower");
            let lower = sign(("CN=Upper", upper_key), &name, lower_key, &ca(lower_key, upper_key, of_lower));
            let chain = [&lower, &upper, &root].map(|der| Certificate::from_der(der).unwrap());
            let limits = IssuerLimits::of_chain(&chain[0], &chain[1..]);
            // Without a policy that the relying party accepts, OpenSSL accepts none.
            let verify = ["verify", "-policy_check", "-policy", ANY_POLICY, "-CAfile", &root_path];
            let mut arguments: Vec<String> = verify.map(str::to_owned).to_vec();
            for (name, der) in [("upper.pem", &upper), ("lower.pem", &lower)] {
                arguments.extend(["-untrusted".to_owned(), write(name, der)]);
            }
            arguments.extend_from_slice(&leaves);
            let output = attempt("openssl", &arguments);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            for (path, policies) in leaves.iter().zip(of_leaf) {
                let identifiers: Vec<ObjectIdentifier> = policies.iter().map(|text| text.parse().unwrap()).collect();
                let candidate = Candidate {
                    subject: Some(&distinguished_name("CN=leaf")),
                    names: &[],
                    extended_key_usage: &[],
                    certificate_policies: &identifiers,
                    certificate_authority: None,
                };
                let ours = limits.violations(&candidate, |part| format!("{part:?}")).is_empty();
                let theirs = said.lines().any(|line| line == format!("{path}: OK"));
                valid += usize::from(theirs);
                if ours != theirs {
                    differing.push(format!("{upper_index} {lower_index} {policies:?}: {ours}, OpenSSL {theirs}"));
                }
            }
        }
    }
    assert_eq!(differing, [""; 0], "the numbers are those of the CA certificates above");
    assert!((60..200).contains(&valid), "{valid} of 270 are valid");
}
