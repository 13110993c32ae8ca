//! Names for algorithms that are not supported, so that a refusal can say what it refuses.

use const_oid::ObjectIdentifier;

const KEYS: [(&str, &str); 21] = [
    ("1.2.840.113549.1.1.7", "rsa-oaep"),
    ("1.2.840.113549.1.1.10", "rsassa-pss"),
    ("1.2.840.113549.1.3.1", "dh"),
    ("1.2.840.10046.2.1", "dh"),
    ("1.2.840.10040.4.1", "dsa"),
    ("1.3.101.110", "x25519"),
    ("1.3.101.111", "x448"),
    ("1.3.101.113", "ed448"),
    ("1.3.132.1.12", "ecdh"),
    ("1.2.643.7.1.1.1.1", "gost-2012-256"),
    ("1.2.643.7.1.1.1.2", "gost-2012-512"),
    ("2.16.840.1.101.3.4.3.32", "hash-ml-dsa-44"),
    ("2.16.840.1.101.3.4.3.33", "hash-ml-dsa-65"),
    ("2.16.840.1.101.3.4.3.34", "hash-ml-dsa-87"),
    ("2.16.840.1.101.3.4.3.20", "slh-dsa-sha2-128s"),
    ("2.16.840.1.101.3.4.3.21", "slh-dsa-sha2-128f"),
    ("2.16.840.1.101.3.4.3.24", "slh-dsa-sha2-256s"),
    ("2.16.840.1.101.3.4.3.26", "slh-dsa-shake-128s"),
    ("2.16.840.1.101.3.4.4.1", "ml-kem-512"),
    ("2.16.840.1.101.3.4.4.2", "ml-kem-768"),
    ("2.16.840.1.101.3.4.4.3", "ml-kem-1024"),
];

const CURVES: [(&str, &str); 18] = [
    ("1.2.840.10045.3.1.1", "ecdsa-p192"),
    ("1.3.132.0.33", "ecdsa-p224"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.132.0.8", "secp160r1"),
    ("1.3.132.0.31", "secp192k1"),
    ("1.3.132.0.32", "secp224k1"),
    ("1.3.132.0.26", "sect233k1"),
    ("1.3.132.0.27", "sect233r1"),
    ("1.3.132.0.16", "sect283k1"),
    ("1.3.132.0.17", "sect283r1"),
    ("1.3.36.3.3.2.8.1.1.3", "brainpoolP192r1"),
    ("1.3.36.3.3.2.8.1.1.5", "brainpoolP224r1"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.8", "brainpoolP256t1"),
    ("1.3.36.3.3.2.8.1.1.9", "brainpoolP320r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
    ("1.2.156.10197.1.301", "sm2"),
];

const SIGNATURES: [(&str, &str); 20] = [
    ("1.2.840.113549.1.1.2", "md2WithRSAEncryption"),
    ("1.2.840.113549.1.1.3", "md4WithRSAEncryption"),
    ("1.2.840.113549.1.1.4", "md5WithRSAEncryption"),
    ("1.2.840.113549.1.1.5", "sha1WithRSAEncryption"),
    ("1.3.14.3.2.29", "sha1WithRSASignature"),
    ("1.2.840.113549.1.1.14", "sha224WithRSAEncryption"),
    ("1.2.840.113549.1.1.10", "rsassa-pss"),
    ("1.2.840.10045.4.1", "ecdsa-with-SHA1"),
    ("1.2.840.10045.4.3.1", "ecdsa-with-SHA224"),
    ("2.16.840.1.101.3.4.3.10", "ecdsa-with-SHA3-256"),
    ("2.16.840.1.101.3.4.3.11", "ecdsa-with-SHA3-384"),
    ("2.16.840.1.101.3.4.3.12", "ecdsa-with-SHA3-512"),
    ("1.2.840.10040.4.3", "dsa-with-SHA1"),
    ("2.16.840.1.101.3.4.3.1", "dsa-with-SHA224"),
    ("2.16.840.1.101.3.4.3.2", "dsa-with-SHA256"),
    ("1.3.101.113", "ed448"),
    ("2.16.840.1.101.3.4.3.32", "hash-ml-dsa-44"),
    ("2.16.840.1.101.3.4.3.33", "hash-ml-dsa-65"),
    ("2.16.840.1.101.3.4.3.34", "hash-ml-dsa-87"),
    ("1.2.156.10197.1.501", "sm2-with-SM3"),
];

/// Returns the name of a key algorithm, or its dotted form.
pub(super) fn key_algorithm(oid: &ObjectIdentifier) -> String {
    find(&KEYS, oid)
}

/// Returns the name of an elliptic curve, or its dotted form.
pub(super) fn curve(oid: &ObjectIdentifier) -> String {
    find(&CURVES, oid)
}

/// Returns the name of a signature algorithm, or its dotted form.
pub(in crate::x509) fn signature_algorithm(oid: &ObjectIdentifier) -> String {
    find(&SIGNATURES, oid)
}

fn find(table: &[(&str, &str)], oid: &ObjectIdentifier) -> String {
    let dotted = oid.to_string();
    table.iter().find(|(known, _)| *known == dotted).map_or(dotted, |(_, name)| (*name).to_owned())
}
