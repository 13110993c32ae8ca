//! Distinct CSRs of each key type, made before the clock runs, on every processor.

use std::sync::Arc;

use rcgen::{
    CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
};

/// The key of a CSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    P256,
    P384,
    Ed25519,
    Rsa2048,
}

/// RSA keys take long to make: each of so many makes many requests, which are distinct all the same.
const RSA_KEYS: usize = 8;

impl KeyType {
    pub(crate) const ALL: [Self; 4] = [Self::P256, Self::P384, Self::Ed25519, Self::Rsa2048];

    /// The name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Ed25519 => "Ed25519",
            Self::Rsa2048 => "RSA-2048",
        }
    }

    /// Something that makes CSRs with such keys.
    pub(crate) fn generator(self) -> Generator {
        let keys = match self {
            Self::Rsa2048 => (0..RSA_KEYS).map(|_| self.key()).collect(),
            Self::P256 | Self::P384 | Self::Ed25519 => Vec::new(),
        };
        Generator { key_type: self, keys: Arc::new(keys) }
    }

    fn key(self) -> KeyPair {
        let algorithm = match self {
            Self::P256 => &PKCS_ECDSA_P256_SHA256,
            Self::P384 => &PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &PKCS_ED25519,
            Self::Rsa2048 => {
                return KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key");
            }
        };
        KeyPair::generate_for(algorithm).expect("a key")
    }
}

/// Makes CSRs.
#[derive(Debug)]
pub(crate) struct Generator {
    key_type: KeyType,
    keys: Arc<Vec<KeyPair>>,
}

impl Generator {
    /// Makes a CSR for a DNS name, which is its common name too, in DER.
    pub(crate) fn csr(&self, name: &str) -> Vec<u8> {
        self.request(name, 0).1
    }

    fn request(&self, name: &str, number: usize) -> (String, Vec<u8>) {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let fresh;
        let key = if self.keys.is_empty() {
            fresh = self.key_type.key();
            &fresh
        } else {
            &self.keys[number % self.keys.len()]
        };
        let request = params.serialize_request(key).expect("a CSR");
        (request.pem().expect("PEM"), request.der().to_vec())
    }

    /// Makes distinct CSRs in PEM.
    pub(crate) fn many(&self, count: usize) -> Vec<String> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let make = |thread: usize| -> Vec<String> {
            let numbers = (thread..count).step_by(threads);
            numbers.map(|number| self.request(&format!("host-{number}.bench.internal"), number).0).collect()
        };
        std::thread::scope(|scope| {
            let made: Vec<_> = (0..threads).map(|thread| scope.spawn(move || make(thread))).collect();
            made.into_iter().flat_map(|thread| thread.join().expect("CSRs are made")).collect()
        })
    }
}
