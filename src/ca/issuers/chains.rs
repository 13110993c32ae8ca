//! Chains of issuers: every way from an issuer's certificates to a root, through the certificates that the issuers above have.

use crate::error::Result;
use crate::storage::{CertificateState, IssuerCertificateRecord, IssuerRecord};
use crate::x509::Certificate;
use crate::x509::decoding::Reader;

/// The most issuers of a chain.
const LONGEST: usize = 10;
/// The most chains of an issuer: each certificate of each issuer above multiplies them.
const MOST: usize = 16;

/// Returns the chains of an issuer: first the primary one, which takes each issuer's primary certificate, then the others.
pub(in crate::ca) fn chains(record: &IssuerRecord, records: &[IssuerRecord]) -> Result<Vec<Vec<Certificate>>> {
    let mut found = Vec::new();
    let mut way = Way { records, below: Vec::new(), visited: Vec::new() };
    way.follow(record, &mut found)?;
    if found.is_empty() {
        // Issuers that signed each other in a circle, and nobody else: each stands for itself.
        for certificate in record.certificates.iter().take(1) {
            found.push(vec![Certificate::from_der(&certificate.der)?]);
        }
    }
    Ok(found)
}

/// Returns the subject of the first certificate on an issuer's primary chain that is revoked or on hold, or whose key is blocked, as far as is
/// known here.
pub(in crate::ca) fn revoked(record: &IssuerRecord, records: &[IssuerRecord]) -> Result<Option<String>> {
    let mut next = Some(record);
    for _link in 0..LONGEST {
        let Some(record) = next else { return Ok(None) };
        let Some(certificate) = record.certificates.first() else { return Ok(None) };
        let is_bad = match certificate.state {
            // Whatever certificates a compromised key has: others may sign by it, too.
            CertificateState::Valid => record.key_blocked,
            CertificateState::OnHold | CertificateState::Revoked => true,
        };
        if is_bad {
            return Ok(Some(Certificate::from_der(&certificate.der)?.subject.to_string()));
        }
        next = certificate.parent_id.and_then(|id| records.iter().find(|record| record.id == id));
    }
    Ok(None)
}

/// A way from an issuer upwards, as far as it was followed.
struct Way<'a> {
    records: &'a [IssuerRecord],
    below: Vec<Certificate>,
    visited: Vec<i32>,
}

impl Way<'_> {
    fn follow(&mut self, record: &IssuerRecord, found: &mut Vec<Vec<Certificate>>) -> Result<()> {
        // Nobody is twice on the way: issuers that signed each other would go on for ever.
        if self.visited.contains(&record.id) || self.visited.len() >= LONGEST {
            return Ok(());
        }
        self.visited.push(record.id);
        for certificate in &record.certificates {
            if found.len() >= MOST {
                break;
            }
            self.step(certificate, found)?;
        }
        self.visited.pop();
        Ok(())
    }

    fn step(&mut self, certificate: &IssuerCertificateRecord, found: &mut Vec<Vec<Certificate>>) -> Result<()> {
        let length = self.below.len();
        self.below.push(Certificate::from_der(&certificate.der)?);
        self.below.extend(upper_chain(&certificate.upper_chain)?);
        let parent = certificate.parent_id.and_then(|id| self.records.iter().find(|record| record.id == id));
        match parent {
            Some(parent) => self.follow(parent, found)?,
            None => found.push(self.below.clone()),
        }
        self.below.truncate(length);
        Ok(())
    }
}

/// Splits certificates that were recorded one after the other.
fn upper_chain(octets: &[u8]) -> Result<Vec<Certificate>> {
    let mut chain = Vec::new();
    let mut rest = Reader::new(octets);
    while !rest.is_empty() {
        chain.push(Certificate::from_der(rest.any("stored certificates above an issuer")?.raw)?);
    }
    Ok(chain)
}
