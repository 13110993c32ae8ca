//! PURE: X.509 in and out. Bytes to values and values to bytes, with no clock, no randomness, no I/O.
//!
//! What a certificate may contain is decided in `policy/`; when to make one in `ca/`.

pub mod certificate;
pub mod chain;
pub mod crl;
pub mod csr;
pub(crate) mod decoding;
pub mod distinguished_name;
pub(crate) mod encoding;
pub mod extension;
pub mod inspect;
pub(crate) mod json;
pub mod jws;
pub mod key;
pub mod lint;
pub mod name_constraints;
pub mod ocsp;
pub mod pem;
pub mod pkcs7;
pub(crate) mod printable;
pub mod serial;
pub mod subject_alt_name;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
pub mod timestamp;
pub mod usage;

pub use certificate::{Certificate, CertificateTemplate};
pub use csr::CertificateRequest;
pub use distinguished_name::DistinguishedName;
pub use key::{KeyAlgorithm, PublicKey, SignatureAlgorithm};
pub use name_constraints::{NameConstraints, NameConstraintsDocument};
pub use serial::SerialNumber;
pub use subject_alt_name::{NameType, SubjectAltName};
pub use timestamp::Timestamp;
pub use usage::{ExtendedKeyUsage, KeyUsage};
