//! Tests of keys against the OpenSSL command line: it reads what we write, we read what it writes, it verifies our signatures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;

use secrecy::SecretString;

use super::software::SoftwareSigner;
use super::{Signer, file, generate, secret_file};
use crate::error::ErrorKind;
use crate::x509::{KeyAlgorithm, SignatureAlgorithm};

const PASSPHRASE: &str = "correct horse battery";

/// Those that OpenSSL 3.0 knows; the others are in `ml_dsa.rs`.
const ALGORITHMS: [KeyAlgorithm; 5] = [
    KeyAlgorithm::EcdsaP256,
    KeyAlgorithm::EcdsaP384,
    KeyAlgorithm::EcdsaP521,
    KeyAlgorithm::Ed25519,
    KeyAlgorithm::Rsa(2048),
];

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

/// Makes a key with each command (which writes `key.pem`) and checks that the key we read is the one OpenSSL reads.
fn reads_what_openssl_writes(commands: &[&str], given: Option<&SecretString>) {
    let directory = tempfile::tempdir().unwrap();
    for command in commands {
        openssl(directory.path(), command);
    }
    let path = directory.path().join("key.pem");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let der = file::read(&path, given).unwrap();
    let ours = SoftwareSigner::from_pkcs8_der(&der).unwrap();
    let theirs = openssl(directory.path(), "pkey -in key.pem -passin env:PASSPHRASE -pubout -outform DER");
    assert_eq!(ours.public_key().spki_der(), theirs, "{commands:?}");
}

#[test]
fn openssl_reads_the_encrypted_keys_we_write_and_so_do_we() {
    for algorithm in ALGORITHMS {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let der = generate::generate_pkcs8(algorithm).unwrap();
        file::write_encrypted(&path, &der, &passphrase()).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap()) & 0o777, 0o600);
        let theirs = openssl(directory.path(), "pkey -in key.pem -passin env:PASSPHRASE -pubout -outform DER");
        let ours = SoftwareSigner::from_pkcs8_der(&file::read(&path, Some(&passphrase())).unwrap()).unwrap();
        assert_eq!(ours.public_key().spki_der(), theirs, "{algorithm}");
        let structure = String::from_utf8(openssl(directory.path(), "asn1parse -in key.pem")).unwrap();
        for part in ["PBES2", "PBKDF2", "hmacWithSHA256", "aes-256-cbc", "0927C0"] {
            assert!(structure.contains(part), "{part}: {structure}");
        }
    }
}

#[test]
fn openssl_reads_a_plain_key_that_we_made() {
    for algorithm in ALGORITHMS {
        let directory = tempfile::tempdir().unwrap();
        let der = generate::generate_pkcs8(algorithm).unwrap();
        secret_file::create(&directory.path().join("key.der"), &der).unwrap();
        openssl(directory.path(), "pkey -inform DER -in key.der -check -noout");
        let theirs = openssl(directory.path(), "pkey -inform DER -in key.der -pubout -outform DER");
        let signer = SoftwareSigner::from_pkcs8_der(&der).unwrap();
        assert_eq!(signer.public_key().spki_der(), theirs, "{algorithm}");
    }
}

#[test]
fn a_version_2_key_is_written_as_version_1_for_openssl() {
    let key = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let version_2 = key.to_pkcs8().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    file::write_encrypted(&path, version_2.as_ref(), &passphrase()).unwrap();
    openssl(directory.path(), "pkey -in key.pem -passin env:PASSPHRASE -noout");
    let from_version_2 = SoftwareSigner::from_pkcs8_der(version_2.as_ref()).unwrap();
    let from_file = SoftwareSigner::from_pkcs8_der(&file::read(&path, Some(&passphrase())).unwrap()).unwrap();
    assert_eq!(from_file.public_key(), from_version_2.public_key());
}

#[test]
fn plain_keys_of_openssl_are_read() {
    for command in [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out key.pem",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out key.pem",
        "genpkey -algorithm ED25519 -out key.pem",
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem",
        "genrsa -out key.pem 2048",
        "genrsa -traditional -out key.pem 3072",
        "ecparam -name prime256v1 -genkey -out key.pem",
        "ecparam -name secp384r1 -genkey -noout -out key.pem",
    ] {
        reads_what_openssl_writes(&[command], None);
    }
}

#[test]
fn encrypted_keys_of_openssl_are_read() {
    let plain = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out plain.pem";
    for command in [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass env:PASSPHRASE -out key.pem",
        "genpkey -algorithm ED25519 -aes-192-cbc -pass env:PASSPHRASE -out key.pem",
        "genpkey -algorithm RSA -aes-128-cbc -pass env:PASSPHRASE -out key.pem",
    ] {
        reads_what_openssl_writes(&[command], Some(&passphrase()));
    }
    for options in [
        "-v2 aes-256-cbc",
        "-v2 aes-256-cbc -v2prf hmacWithSHA1",
        "-v2 aes-256-cbc -v2prf hmacWithSHA224",
        "-v2 aes-256-cbc -v2prf hmacWithSHA384",
        "-v2 aes-256-cbc -v2prf hmacWithSHA512 -iter 100000",
        "-v2 des3",
        "-scrypt",
        "-scrypt -scrypt_N 1024 -scrypt_r 8 -scrypt_p 2",
    ] {
        let command = format!("pkcs8 -topk8 {options} -in plain.pem -passout env:PASSPHRASE -out key.pem");
        reads_what_openssl_writes(&[plain, &command], Some(&passphrase()));
    }
}

#[test]
fn a_key_that_cannot_be_read_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    let refusal = |commands: &[&str], given: Option<&str>| {
        for command in commands {
            openssl(directory.path(), command);
        }
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let given = given.map(SecretString::from);
        let error = file::read(&path, given.as_ref()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let detail = error.detail().to_owned();
        let prefix = format!("the key file `{}` cannot be used: ", path.display());
        detail.strip_prefix(&prefix).unwrap_or_else(|| panic!("{detail}")).to_owned()
    };

    let encrypted = "genpkey -algorithm ED25519 -aes256 -pass env:PASSPHRASE -out key.pem";
    assert_eq!(refusal(&[encrypted], None), "it is encrypted and no passphrase is given");
    assert_eq!(refusal(&[encrypted], Some("wrong")), "the passphrase is wrong, or the file is damaged");
    // Many wrong passphrases, so that some give padding that looks right.
    for count in 0..600 {
        let wrong = SecretString::from(format!("wrong {count}"));
        let error = file::read(&path, Some(&wrong)).unwrap_err();
        assert!(error.detail().ends_with("the passphrase is wrong, or the file is damaged"), "{error}");
    }

    let dek_info = "genrsa -traditional -aes256 -passout env:PASSPHRASE -out key.pem 2048";
    let detail = refusal(&[dek_info], Some(PASSPHRASE));
    assert!(detail.contains("`DEK-Info`") && detail.contains("openssl pkcs8 -topk8"), "{detail}");
    let dsa = "genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:2048 -out parameters.pem";
    let dsa_key = "gendsa -out dsa.pem parameters.pem";
    let traditional = "pkey -in dsa.pem -traditional -out key.pem";
    assert!(refusal(&[dsa, dsa_key, traditional], None).starts_with("a PEM block `DSA PRIVATE KEY` is not supported"));
    assert_eq!(
        refusal(&["genpkey -algorithm ED25519 -out plain.pem", "pkey -in plain.pem -pubout -out key.pem"], None),
        "it holds no private key in PEM; accepted are `ENCRYPTED PRIVATE KEY`, `PRIVATE KEY`, `EC PRIVATE KEY` and `RSA PRIVATE KEY`"
    );
    assert!(
        refusal(&["ecparam -name prime256v1 -genkey -noout -param_enc explicit -out key.pem"], None)
            .starts_with("its EC key does not name its curve; ")
    );
}

#[test]
fn a_file_with_several_keys_or_damage_is_refused() {
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (pem, reason) in [
        (format!("{key}{key}"), "it holds more than one private key"),
        (key.to_owned(), "its content is not a private key in PKCS #8 form"),
        (key.replace("AAAA", "A!AA"), "the PEM block of its key is not base64"),
        (key.replace("AAAA", "AAA"), "the PEM block of its key is not base64"),
        (key.replace("-----END PRIVATE KEY-----", ""), "a PEM block in it is not terminated by its `END` line"),
        (key.replace("END PRIVATE", "END RSA PRIVATE"), "a PEM block in it is not terminated by its `END` line"),
        (
            key.replace("BEGIN PRIVATE", "BEGIN EC PRIVATE").replace("END PRIVATE", "END EC PRIVATE"),
            "its content is not a private key in RFC 5915 form",
        ),
        (
            key.replace("PRIVATE", "OPENSSH PRIVATE"),
            "a PEM block `OPENSSH PRIVATE KEY` is not supported; convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in <old> -out <new>`",
        ),
    ] {
        assert_eq!(file::decode(pem.as_bytes(), None).unwrap_err().detail(), reason, "{pem}");
    }
    assert!(file::decode(&[0xff, 0xfe], None).is_err());
    assert!(file::decode(b"", None).is_err());
}

#[test]
fn a_short_passphrase_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    let der = generate::generate_pkcs8(KeyAlgorithm::Ed25519).unwrap();
    let error = file::write_encrypted(&path, &der, &SecretString::from("elevenchars")).unwrap_err();
    assert_eq!(error.detail(), "the passphrase is too short; at least 12 characters are needed");
    assert!(file::write_encrypted(&path, b"no key", &passphrase()).is_err());
    assert!(!path.exists());
}

#[test]
fn openssl_verifies_our_signatures() {
    let message = b"to be signed";
    for (algorithm, expected, in_line) in [
        (KeyAlgorithm::EcdsaP256, SignatureAlgorithm::EcdsaSha256, true),
        (KeyAlgorithm::EcdsaP384, SignatureAlgorithm::EcdsaSha384, true),
        (KeyAlgorithm::EcdsaP521, SignatureAlgorithm::EcdsaSha512, false),
        (KeyAlgorithm::Ed25519, SignatureAlgorithm::Ed25519, true),
        (KeyAlgorithm::Rsa(2048), SignatureAlgorithm::RsaSha256, false),
    ] {
        let signer = SoftwareSigner::from_pkcs8_der(&generate::generate_pkcs8(algorithm).unwrap()).unwrap();
        assert_eq!(signer.signature_algorithm(), expected);
        assert_eq!(signer.signs_in_line(), in_line);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key.der"), signer.public_key().spki_der()).unwrap();
        std::fs::write(directory.path().join("message"), message).unwrap();
        std::fs::write(directory.path().join("signature"), signer.sign(message).unwrap()).unwrap();
        let digest = match expected {
            SignatureAlgorithm::EcdsaSha384 => "-rawin -digest sha384",
            SignatureAlgorithm::EcdsaSha512 => "-rawin -digest sha512",
            SignatureAlgorithm::Ed25519 => "-rawin",
            _ => "-rawin -digest sha256",
        };
        let arguments = "pkeyutl -verify -pubin -keyform DER -inkey key.der -in message -sigfile signature";
        openssl(directory.path(), &format!("{arguments} {digest}"));
        signer.public_key().verify(expected, message, &signer.sign(message).unwrap()).unwrap();
        assert!(signer.public_key().verify(expected, b"another message", &signer.sign(message).unwrap()).is_err());
    }
}

#[test]
fn keys_that_cannot_sign_here_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    for (command, reason) in [
        (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
            "EC keys on the curve `1.3.132.0.10` cannot sign here",
        ),
        ("genpkey -algorithm X25519", "keys of the algorithm `1.3.101.110` cannot sign here"),
        ("genpkey -algorithm ED448", "keys of the algorithm `1.3.101.113` cannot sign here"),
        (
            "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
            "keys of the algorithm `1.2.840.113549.1.1.10` cannot sign here",
        ),
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024", "the private key is not valid (TooSmall)"),
    ] {
        let der = file::decode(&openssl(directory.path(), command), None).unwrap();
        let error = SoftwareSigner::from_pkcs8_der(&der).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert_eq!(
            error.detail(),
            format!(
                "{reason}; accepted are ECDSA P-256, P-384 and P-521, Ed25519, ML-DSA-44, -65 and -87, and RSA with 2048 to 8192 bits"
            )
        );
    }
    let der = generate::generate_pkcs8(KeyAlgorithm::EcdsaP256).unwrap();
    for length in 0..der.len() {
        assert!(SoftwareSigner::from_pkcs8_der(&der[..length]).is_err());
    }
    assert!(SoftwareSigner::from_pkcs8_der(&[der.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn debug_shows_the_algorithm_only() {
    let der = generate::generate_pkcs8(KeyAlgorithm::EcdsaP256).unwrap();
    let signer = SoftwareSigner::from_pkcs8_der(&der).unwrap();
    assert_eq!(format!("{signer:?}"), "SoftwareSigner(ecdsa-p256)");
}
