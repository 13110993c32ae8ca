//! Tests of imported keys against the OpenSSL command line, which writes every form there is, and against p12-keystore.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;

use super::*;
use crate::error::ErrorKind;
use crate::signer::generate;
use crate::x509::{Certificate, KeyAlgorithm};

const PASSPHRASE: &str = "corréct horse battery";

fn passphrase() -> SecretString {
    SecretString::from(PASSPHRASE)
}

/// Runs `openssl` in a directory; its arguments are separated by spaces. Returns what it printed.
fn openssl(directory: &Path, arguments: &str) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .env("PASSPHRASE", PASSPHRASE)
        .output()
        .expect("the openssl command line is installed");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs commands in a new directory, the last of which writes `key`.
fn made_by(commands: &[&str]) -> (tempfile::TempDir, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    for command in commands {
        openssl(directory.path(), command);
    }
    let content = std::fs::read(directory.path().join("key")).unwrap();
    (directory, content)
}

/// The public key of `plain.pem` as OpenSSL sees it.
fn expected(directory: &Path) -> Vec<u8> {
    openssl(directory, "pkey -in plain.pem -pubout -outform DER")
}

fn spki(key: &ImportedKey) -> Vec<u8> {
    key.signer().unwrap().public_key().spki_der().to_vec()
}

const EC: &str = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out plain.pem";
const RSA: &str = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out plain.pem";

#[test]
fn every_plain_form_is_read() {
    for (make, convert) in [
        (EC, "pkey -in plain.pem -out key"),
        (EC, "pkey -in plain.pem -outform DER -out key"),
        (EC, "ec -in plain.pem -out key"),
        (EC, "ec -in plain.pem -outform DER -out key"),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out plain.pem", "ec -in plain.pem -out key"),
        ("genpkey -algorithm ED25519 -out plain.pem", "pkey -in plain.pem -outform DER -out key"),
        (RSA, "pkey -in plain.pem -outform DER -out key"),
        (RSA, "rsa -in plain.pem -traditional -out key"),
        (RSA, "rsa -in plain.pem -traditional -outform DER -out key"),
    ] {
        let (directory, content) = made_by(&[make, convert]);
        let key = decode(&content, None).unwrap();
        assert_eq!(spki(&key), expected(directory.path()), "{make}; {convert}");
        let error = decode(&content, Some(&passphrase())).unwrap_err();
        assert_eq!(
            error.detail(),
            "a passphrase is given, but the private key is not encrypted; leave it out",
            "{convert}"
        );
    }
}

#[test]
fn every_encrypted_form_is_read_with_its_passphrase_only() {
    for (make, convert) in [
        (RSA, "rsa -in plain.pem -traditional -aes256 -passout env:PASSPHRASE -out key"),
        (RSA, "rsa -in plain.pem -traditional -aes192 -passout env:PASSPHRASE -out key"),
        (RSA, "rsa -in plain.pem -traditional -aes128 -passout env:PASSPHRASE -out key"),
        (RSA, "rsa -in plain.pem -traditional -des3 -passout env:PASSPHRASE -out key"),
        (
            RSA,
            "rsa -in plain.pem -traditional -des -provider legacy -provider default -passout env:PASSPHRASE -out key",
        ),
        (EC, "ec -in plain.pem -aes256 -passout env:PASSPHRASE -out key"),
        (EC, "ec -in plain.pem -aes128 -passout env:PASSPHRASE -out key"),
        (EC, "ec -in plain.pem -des3 -passout env:PASSPHRASE -out key"),
        (RSA, "rsa -in plain.pem -aes256 -passout env:PASSPHRASE -out key"),
        (EC, "pkcs8 -topk8 -in plain.pem -passout env:PASSPHRASE -out key"),
        (EC, "pkcs8 -topk8 -in plain.pem -passout env:PASSPHRASE -outform DER -out key"),
        (EC, "pkcs8 -topk8 -scrypt -in plain.pem -passout env:PASSPHRASE -out key"),
        (EC, "pkcs8 -topk8 -v2 des3 -in plain.pem -passout env:PASSPHRASE -out key"),
        (EC, "pkcs8 -topk8 -v2 des3 -v2prf hmacWithSHA1 -in plain.pem -passout env:PASSPHRASE -out key"),
        (EC, "pkcs8 -topk8 -v1 PBE-SHA1-3DES -in plain.pem -passout env:PASSPHRASE -out key"),
        (EC, "pkcs8 -topk8 -v1 PBE-SHA1-2DES -in plain.pem -passout env:PASSPHRASE -out key"),
        (
            EC,
            "pkcs8 -topk8 -v1 PBE-SHA1-RC2-128 -provider legacy -provider default -in plain.pem -passout env:PASSPHRASE -out key",
        ),
        (
            EC,
            "pkcs8 -topk8 -v1 PBE-SHA1-RC2-40 -provider legacy -provider default -in plain.pem -passout env:PASSPHRASE -out key",
        ),
        (
            EC,
            "pkcs8 -topk8 -v1 PBE-MD5-DES -provider legacy -provider default -in plain.pem -passout env:PASSPHRASE -out key",
        ),
        (
            EC,
            "pkcs8 -topk8 -v1 PBE-SHA1-DES -provider legacy -provider default -in plain.pem -passout env:PASSPHRASE -out key",
        ),
        (
            EC,
            "pkcs8 -topk8 -v1 PBE-MD5-RC2-64 -provider legacy -provider default -in plain.pem -passout env:PASSPHRASE -out key",
        ),
        (
            RSA,
            "pkcs8 -topk8 -v1 PBE-SHA1-RC2-64 -provider legacy -provider default -in plain.pem -passout env:PASSPHRASE -outform DER -out key",
        ),
    ] {
        let (directory, content) = made_by(&[make, convert]);
        let key = decode(&content, Some(&passphrase())).unwrap_or_else(|error| panic!("{convert}: {error}"));
        assert_eq!(spki(&key), expected(directory.path()), "{convert}");
        let error = decode(&content, None).unwrap_err();
        assert_eq!(error.detail(), "the private key is encrypted and no passphrase is given", "{convert}");
        let error = decode(&content, Some(&SecretString::from("another"))).unwrap_err();
        assert_eq!(error.detail(), "the passphrase is wrong, or the file is damaged", "{convert}");
    }
}

#[test]
fn no_wrong_passphrase_is_ever_taken_for_the_right_one() {
    // So many that some give padding that looks right.
    for convert in [
        "ec -in plain.pem -aes256 -passout env:PASSPHRASE -out key",
        "pkcs8 -topk8 -v1 PBE-SHA1-3DES -iter 1 -in plain.pem -passout env:PASSPHRASE -out key",
    ] {
        let (_directory, content) = made_by(&[EC, convert]);
        for count in 0..1500 {
            let error = decode(&content, Some(&SecretString::from(format!("wrong {count}")))).unwrap_err();
            assert_eq!(error.detail(), "the passphrase is wrong, or the file is damaged");
        }
    }
}

#[test]
fn keys_that_cannot_be_used_are_refused_for_what_they_are() {
    for (make, reason) in [
        (
            "genrsa -traditional -out key 1024",
            "the private key is weak: an RSA key of 1024 bits; at least 2048 are needed",
        ),
        (
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 -out key",
            "the private key is weak: ",
        ),
        (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out key",
            "EC keys on the curve `1.3.132.0.10` cannot sign here",
        ),
        ("genpkey -algorithm X25519 -out key", "keys of the algorithm `1.3.101.110` cannot sign here"),
    ] {
        let (_directory, content) = made_by(&[make]);
        let error = decode(&content, None).unwrap().signer().unwrap_err();
        assert!(error.detail().starts_with(reason), "{error}");
        assert_eq!(error.kind(), ErrorKind::Malformed);
    }
    let refusal = |content: &[u8]| decode(content, None).unwrap_err().detail().to_owned();
    let (_directory, public) = made_by(&[EC, "pkey -in plain.pem -pubout -outform DER -out key"]);
    assert!(refusal(&public).starts_with("it is not a private key; accepted are PKCS #8"));
    let (_directory, public) = made_by(&[EC, "pkey -in plain.pem -pubout -out key"]);
    assert!(refusal(&public).starts_with("it holds no private key in PEM"));
    assert!(refusal(b"").starts_with("it holds no private key in PEM"));
    assert!(refusal(&vec![b' '; (1 << 20) + 1]).contains("too long for a private key"));
    let header = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: ";
    let with = |dek_info: &str| {
        let pem = format!("{header}{dek_info}\n\nAAAA\n-----END EC PRIVATE KEY-----\n");
        decode(pem.as_bytes(), Some(&passphrase())).unwrap_err().detail().to_owned()
    };
    assert!(with("CAMELLIA-256-CBC,00112233445566778899AABBCCDDEEFF").contains("cipher `CAMELLIA-256-CBC`"));
    assert!(with("AES-256-CBC,0011").contains("is not 16 octets long"));
    assert!(with("AES-256-CBC,xx").contains("is not hex"));
    assert!(with("AES-256-CBC").contains("no `DEK-Info` header with a cipher"));
    assert!(with("AES-256-CBC,00112233445566778899AABBCCDDEEFF").contains("the passphrase is wrong"));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let own = generate::generate_pkcs8(KeyAlgorithm::EcdsaP256).unwrap();
    let other = generate::generate_pkcs8(KeyAlgorithm::EcdsaP384).unwrap();
    let [own, other] = [own, other].map(|pkcs8_der| ImportedKey { pkcs8_der, certificates: Vec::new() });
    let public_key = own.signer().unwrap().public_key().clone();
    own.signer_for(&public_key).unwrap();
    let error = other.signer_for(&public_key).unwrap_err();
    assert!(
        error.detail().starts_with("the private key does not fit the certificate: it is a `ecdsa-p384` key"),
        "{error}"
    );
    assert_eq!(format!("{own:?}"), "ImportedKey(with 0 certificates)");
}

/// Makes a CA (`ca.pem`, `plain.pem`) and an issuing CA below it (`chain.pem`).
const CA: [&str; 2] = [EC, "req -x509 -new -key plain.pem -subj /CN=Old -days 30 -out ca.pem"];

fn pkcs12(options: &str) -> (tempfile::TempDir, Vec<u8>) {
    let export = format!("pkcs12 -export -inkey plain.pem -in ca.pem {options} -out key");
    made_by(&[CA[0], CA[1], &export])
}

#[test]
fn pkcs12_files_of_openssl_are_read_with_their_password_only() {
    for options in [
        "-passout env:PASSPHRASE",
        "-legacy -passout env:PASSPHRASE",
        "-macalg sha512 -passout env:PASSPHRASE",
        "-certpbe NONE -passout env:PASSPHRASE",
        "-nomac -passout env:PASSPHRASE",
        "-nomac -legacy -passout env:PASSPHRASE",
        "-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1 -iter 1 -passout env:PASSPHRASE",
        "-name friendly -caname other -passout env:PASSPHRASE",
    ] {
        let (directory, content) = pkcs12(options);
        let key = decode_pkcs12(&content, Some(&passphrase())).unwrap_or_else(|error| panic!("{options}: {error}"));
        assert_eq!(spki(&key), expected(directory.path()), "{options}");
        let certificate = Certificate::from_der(&key.certificates[0]).unwrap();
        assert_eq!(certificate.subject.to_string(), "CN=Old");
        key.signer_for(&certificate.public_key).unwrap();
        let error = decode_pkcs12(&content, Some(&SecretString::from("another"))).unwrap_err();
        assert_eq!(error.detail(), "the password of the PKCS #12 file is wrong, or the file is damaged", "{options}");
        let error = decode_pkcs12(&content, None).unwrap_err();
        assert_eq!(error.detail(), "the PKCS #12 file has a password and none is given", "{options}");
        let error = decode(&content, None).unwrap_err();
        assert_eq!(error.detail(), "it is a PKCS #12 file, not a private key; import it as PKCS #12");
    }
}

#[test]
fn pkcs12_files_without_a_password_are_read() {
    for options in ["-passout pass:", "-legacy -passout pass:", "-nomac -keypbe NONE -certpbe NONE -passout pass:"] {
        let (directory, content) = pkcs12(options);
        for password in [None, Some(SecretString::from(""))] {
            let key = decode_pkcs12(&content, password.as_ref()).unwrap();
            assert_eq!(spki(&key), expected(directory.path()), "{options}");
        }
    }
    let (_directory, content) = pkcs12("-nomac -keypbe NONE -certpbe NONE -passout pass:");
    let error = decode_pkcs12(&content, Some(&passphrase())).unwrap_err();
    assert_eq!(error.detail(), "a password is given, but the PKCS #12 file has none; leave it out");
}

#[test]
fn pkcs12_files_without_a_key_or_with_several_are_refused() {
    let (_directory, content) = pkcs12("-nokeys -passout env:PASSPHRASE");
    let error = decode_pkcs12(&content, Some(&passphrase())).unwrap_err();
    assert_eq!(error.detail(), "the PKCS #12 file has no private key");

    let (directory, _) = pkcs12("-passout env:PASSPHRASE");
    let pem = std::fs::read_to_string(directory.path().join("ca.pem")).unwrap();
    let certificate = Certificate::from_pem(&pem).unwrap();
    let mut store = p12_keystore::KeyStore::new();
    for alias in ["first", "second"] {
        let key = generate::generate_pkcs8(KeyAlgorithm::EcdsaP256).unwrap();
        let certificate = p12_keystore::Certificate::from_der(certificate.as_der()).unwrap();
        let chain = p12_keystore::PrivateKeyChain::new(key.as_slice(), alias.as_bytes(), [certificate]);
        store.add_entry(alias, p12_keystore::KeyStoreEntry::PrivateKeyChain(chain));
    }
    let content = store.writer(PASSPHRASE).write().unwrap();
    let error = decode_pkcs12(&content, Some(&passphrase())).unwrap_err();
    assert!(error.detail().starts_with("the PKCS #12 file has several private keys (2 at least)"), "{error}");
    store.delete_entry("first");
    let content = store.writer(PASSPHRASE).write().unwrap();
    assert_eq!(decode_pkcs12(&content, Some(&passphrase())).unwrap().certificates, [certificate.as_der()]);
}

#[test]
fn a_chain_comes_with_the_key() {
    let (directory, _) = made_by(&[CA[0], CA[1], "pkey -in plain.pem -out key"]);
    openssl(
        directory.path(),
        "req -x509 -newkey ed25519 -noenc -keyout other.pem -subj /CN=Root -days 30 -out root.pem",
    );
    openssl(
        directory.path(),
        "pkcs12 -export -inkey plain.pem -in ca.pem -certfile root.pem -passout env:PASSPHRASE -out chain.p12",
    );
    let content = std::fs::read(directory.path().join("chain.p12")).unwrap();
    let key = decode_pkcs12(&content, Some(&passphrase())).unwrap();
    let subjects = |key: &ImportedKey| -> Vec<String> {
        key.certificates.iter().map(|der| Certificate::from_der(der).unwrap().subject.to_string()).collect()
    };
    assert_eq!(subjects(&key), ["CN=Old", "CN=Root"]);
    openssl(directory.path(), "pkcs12 -in chain.p12 -passin env:PASSPHRASE -noenc -out all.pem");
    let content = std::fs::read(directory.path().join("all.pem")).unwrap();
    assert_eq!(subjects(&decode(&content, None).unwrap()), ["CN=Old", "CN=Root"]);
}

#[test]
fn files_that_others_may_read_are_refused() {
    let (directory, content) = made_by(&[EC, "pkey -in plain.pem -out key"]);
    let path = directory.path().join("private");
    secret_file::create(&path, &content).unwrap();
    read(&path, None).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let error = read(&path, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.detail().contains("chmod 600"), "{error}");
    assert!(read_pkcs12(&path, None).unwrap_err().detail().contains("chmod 600"));
}

#[test]
fn costs_out_of_range_are_refused_before_any_work() {
    let limit = "the cost of its key derivation is out of range; accepted is 1 to 5000000 iterations";
    let oid = |text: &str| encoding::object_identifier(&ObjectIdentifier::new(text).unwrap());
    let octets = |content: &[u8]| encoding::value(encoding::OCTET_STRING, content);
    for (iterations, salt, reason) in [
        (encoding::unsigned(0), 8, limit),
        (encoding::unsigned(5_000_001), 8, limit),
        (encoding::unsigned(u64::MAX), 8, limit),
        (vec![encoding::INTEGER, 1, 0xff], 8, limit),
        (vec![encoding::INTEGER, 0], 8, limit),
        (encoding::unsigned(1), 2000, "the salt of the encryption is longer than 1024 octets"),
    ] {
        for algorithm in ["1.2.840.113549.1.12.1.3", "1.2.840.113549.1.5.3"] {
            let parameters = encoding::sequence(&[&octets(&vec![1; salt]), &iterations]);
            let algorithm = encoding::sequence(&[&oid(algorithm), &parameters]);
            let der = encoding::sequence(&[&algorithm, &octets(&[1; 32])]);
            assert_eq!(decode(&der, Some(&passphrase())).unwrap_err().detail(), reason);
        }
    }
    let unknown = encoding::sequence(&[&encoding::sequence(&[&oid("1.2.840.113549.1.12.1.1")]), &octets(&[1; 32])]);
    let error = decode(&unknown, Some(&passphrase())).unwrap_err();
    assert!(error.detail().contains("unsupported algorithm `1.2.840.113549.1.12.1.1`"), "{error}");
}

#[test]
fn truncated_and_altered_files_never_panic() {
    let (_directory, pkcs12) = pkcs12("-iter 1 -nomac -passout env:PASSPHRASE");
    let (_directory, mac) = {
        let export = "pkcs12 -export -inkey plain.pem -in ca.pem -iter 1 -passout env:PASSPHRASE -out key";
        made_by(&[CA[0], CA[1], export])
    };
    let (_directory, key) = made_by(&[
        EC,
        "pkcs8 -topk8 -v1 PBE-SHA1-3DES -iter 1 -in plain.pem -passout env:PASSPHRASE -outform DER -out key",
    ]);
    let (_directory, plain) = made_by(&[RSA, "rsa -in plain.pem -traditional -outform DER -out key"]);
    for whole in [&pkcs12, &mac, &key, &plain] {
        for length in 0..whole.len() {
            assert!(decode_pkcs12(&whole[..length], Some(&passphrase())).is_err());
            assert!(decode(&whole[..length], Some(&passphrase())).is_err());
        }
    }
    // Only what is before the ciphertext: there are the structures. A change may make the iterations many, but not above the limit.
    for whole in [&key, &plain] {
        for position in 0..60 {
            for value in [0, 1, 2, 4, 0x30, 0x80, 0xff] {
                let mut altered = whole.clone();
                altered[position] = value;
                if let Ok(key) = decode(&altered, None).or_else(|_error| decode(&altered, Some(&passphrase()))) {
                    let _outcome = key.signer();
                }
            }
        }
    }
    for position in 0..120 {
        for value in [0, 1, 4, 0x80, 0xff] {
            let mut altered = pkcs12.clone();
            altered[position] = value;
            let _outcome = decode_pkcs12(&altered, Some(&passphrase()));
        }
    }
}

#[test]
fn keys_of_the_pkcs12_derivation_are_those_of_a_known_answer() {
    // Made with OpenSSL: `openssl kdf -keylen 24 -kdfopt digest:SHA1 -kdfopt pass:... -kdfopt salt:... -kdfopt iter:... -kdfopt id:1 PKCS12KDF`.
    let directory = tempfile::tempdir().unwrap();
    for (digest_name, algorithm) in
        [("SHA1", &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY), ("SHA512", &aws_lc_rs::digest::SHA512)]
    {
        for length in [20, 24, 100, 300] {
            let password = pbe::bmp_string(&passphrase());
            let salt = hex::decode("0a58cf64530d823f").unwrap();
            let ours = pbe::derive(algorithm, &password, &salt, 7, pbe::Use::Mac, length);
            let theirs = openssl(
                directory.path(),
                &format!(
                    "kdf -keylen {length} -binary -kdfopt digest:{digest_name} -kdfopt hexpass:{} -kdfopt hexsalt:0a58cf64530d823f -kdfopt iter:7 -kdfopt id:3 PKCS12KDF",
                    hex::encode(&*password)
                ),
            );
            assert_eq!(*ours, theirs, "{digest_name} {length}");
        }
    }
}
