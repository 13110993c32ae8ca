//! The chain above an imported issuer, found among our issuers and the certificates given with it. Pure.

use super::checks;
use crate::error::{Error, Result};
use crate::x509::Certificate;

/// The most certificates above an issuer.
const LONGEST: usize = 8;

/// What is above an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Above {
    /// Nothing: it is a root.
    Root,
    /// One of our issuers, by row.
    Issuer(i32),
    /// Certificates of somebody else, nearest first; the last is a root, unless an incomplete chain was admitted.
    Outside(Vec<Vec<u8>>),
}

/// Finds what is above `certificate`. `ours` are the certificates of our issuers with their rows.
///
/// # Errors
/// `Malformed` when the chain does not lead to a root and `incomplete` does not admit that, or a link of it does not hold.
pub(super) fn above<'a>(
    certificate: &Certificate,
    ours: impl Iterator<Item = (i32, &'a Certificate)>,
    given: &[Certificate],
    incomplete: bool,
) -> Result<Above> {
    if is_root(certificate)? {
        return Ok(Above::Root);
    }
    for (row, issuer) in ours {
        if certificate.verify_issued_by(issuer).is_ok() {
            check_link(issuer, 0)?;
            return Ok(Above::Issuer(row));
        }
    }
    let mut chain: Vec<&Certificate> = Vec::new();
    let mut last = certificate;
    while !is_root(last)? && chain.len() < LONGEST {
        let issuer = given.iter().find(|candidate| {
            let known = |other: &&Certificate| other.as_der() == candidate.as_der();
            !known(&last) && !chain.iter().any(known) && last.verify_issued_by(candidate).is_ok()
        });
        let Some(issuer) = issuer else { break };
        check_link(issuer, chain.len())?;
        chain.push(issuer);
        last = issuer;
    }
    if !is_root(last)? && !incomplete {
        return Err(Error::malformed(format!(
            "the chain above `{}` is not complete: `{}` is issued by `{}`, whose certificate was not given or does not verify it; give the whole chain up to the root, or admit that it is incomplete",
            certificate.subject, last.subject, last.issuer
        )));
    }
    Ok(Above::Outside(chain.into_iter().map(|certificate| certificate.as_der().to_vec()).collect()))
}

/// Whether a certificate is a root: it bears its own name, and its own key verifies it as far as its algorithm is verified at all.
fn is_root(certificate: &Certificate) -> Result<bool> {
    if !certificate.is_self_issued() {
        return Ok(false);
    }
    let verifiable = certificate.signature_algorithm().is_ok();
    match certificate.verify_once_issued_by(certificate) {
        Ok(()) => Ok(true),
        // MD5 and the like: it is taken at its word, as those do who trust it.
        Err(_unverifiable) if !verifiable => Ok(true),
        // A certificate of a CA for its own next key (RFC 5280, section 3.2): its issuer is another one.
        Err(_other_key) if certificate.authority_key_identifier != certificate.subject_key_identifier => Ok(false),
        Err(error) => Err(certificate.not_its_own_signature(error)),
    }
}

/// Checks a certificate above: a CA's, whose path length admits the issuer below it and `between` CAs in between.
fn check_link(certificate: &Certificate, between: usize) -> Result<()> {
    checks::is_ca(certificate)?;
    let limit = certificate.certificate_authority.flatten();
    if limit.is_some_and(|limit| usize::from(limit) < between + 1) {
        return Err(Error::malformed(format!(
            "the path length of `{}` allows {} CA certificates below it; the chain has {}",
            certificate.subject,
            limit.unwrap_or_default(),
            between + 1
        )));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::x509::testing::Authority;

    #[test]
    fn the_chain_is_found_in_any_order_up_to_the_root() {
        let root = Authority::root("Root");
        let middle = root.subordinate("Middle", Some(1));
        let issuing = middle.subordinate("Issuing", Some(0)).certificate;
        let (root, middle) = (root.certificate, middle.certificate);
        let upper = Above::Outside(vec![middle.as_der().to_vec(), root.as_der().to_vec()]);
        let stranger = Authority::root("Stranger").certificate;
        for given in [vec![middle.clone(), root.clone()], vec![stranger, root.clone(), issuing.clone(), middle.clone()]]
        {
            assert_eq!(above(&issuing, std::iter::empty(), &given, false).unwrap(), upper);
        }
        assert_eq!(above(&root, std::iter::empty(), &[], false).unwrap(), Above::Root);
        let ours = [(7, &middle)];
        assert_eq!(above(&issuing, ours.into_iter(), &[], false).unwrap(), Above::Issuer(7));
    }

    #[test]
    fn an_incomplete_chain_is_refused_unless_it_is_admitted() {
        let root = Authority::root("Root");
        let middle = root.subordinate("Middle", None);
        let issuing = middle.subordinate("Issuing", None).certificate;
        let error = above(&issuing, std::iter::empty(), std::slice::from_ref(&middle.certificate), false).unwrap_err();
        assert!(
            error.detail().contains("`CN=Middle` is issued by `CN=Root`, whose certificate was not given"),
            "{error}"
        );
        let found = above(&issuing, std::iter::empty(), std::slice::from_ref(&middle.certificate), true).unwrap();
        assert_eq!(found, Above::Outside(vec![middle.certificate.as_der().to_vec()]));
        // One of the same name that did not sign it is no issuer.
        let other = Authority::root("Middle").certificate;
        assert!(above(&issuing, std::iter::empty(), &[other], false).is_err());
    }

    #[test]
    fn a_chain_that_is_too_long_for_its_path_length_is_refused() {
        let root = Authority::root("Root");
        let middle = root.subordinate("Middle", Some(0));
        let issuing = middle.subordinate("Issuing", None).certificate;
        let given = [middle.certificate.clone(), root.certificate];
        let error = above(&issuing, std::iter::empty(), &given, false).unwrap_err();
        assert!(error.detail().starts_with("the path length of `CN=Middle` allows 0 CA certificates"), "{error}");
        let ours = [(1, &middle.certificate)];
        assert!(above(&issuing, ours.into_iter(), &[], false).is_err());
    }
}
