//! Chains of CA certificates: put in order and checked link by link.

use super::{Certificate, KeyUsage};
use crate::error::{Error, Result};

/// The most certificates of a chain; ordering takes time that grows with the square.
const MAXIMUM_LENGTH: usize = 16;

/// Orders `certificates` so that the first is issued by none of the others' keys below it: the given leaf-most CA first, each next one
/// certifying the one before, root last; and checks every signature, basic constraints and path lengths (RFC 5280, section 6.1.4).
///
/// Certificates given twice count once. A chain may end below its root; a root, if given, is the last.
///
/// # Errors
/// `Malformed` naming the link that does not hold.
pub fn order(certificates: Vec<Certificate>) -> Result<Vec<Certificate>> {
    let mut rest: Vec<Certificate> = Vec::new();
    for certificate in certificates {
        if !rest.iter().any(|known| known.as_der() == certificate.as_der()) {
            rest.push(certificate);
        }
    }
    if rest.is_empty() || rest.len() > MAXIMUM_LENGTH {
        return Err(Error::malformed(format!("a chain has 1 to {MAXIMUM_LENGTH} certificates, not {}", rest.len())));
    }
    let mut chain = vec![take_first(&mut rest)?];
    while let Some(last) = chain.last()
        && !rest.is_empty()
    {
        let next = take_issuer(last, &mut rest)?;
        chain.push(next);
    }
    check(&chain)?;
    Ok(chain)
}

/// Takes out the one certificate that issued none of the others.
fn take_first(certificates: &mut Vec<Certificate>) -> Result<Certificate> {
    let issued_nothing = |candidate: &Certificate| {
        certificates
            .iter()
            .all(|other| other.as_der() == candidate.as_der() || other.verify_issued_by(candidate).is_err())
    };
    let found: Vec<usize> = certificates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| issued_nothing(candidate))
        .map(|(index, _)| index)
        .collect();
    match found.as_slice() {
        [only] => Ok(certificates.swap_remove(*only)),
        [] => Err(Error::malformed(
            "the certificates certify each other in a circle; no one of them is the first of a chain",
        )),
        many => {
            let names: Vec<String> = many
                .iter()
                .filter_map(|index| certificates.get(*index))
                .map(|certificate| format!("`{}`", certificate.subject))
                .collect();
            Err(Error::malformed(format!(
                "the certificates are not one chain: {} certify none of the others, or the signatures do not verify",
                names.join(" and ")
            )))
        }
    }
}

fn take_issuer(certificate: &Certificate, rest: &mut Vec<Certificate>) -> Result<Certificate> {
    match rest.iter().position(|candidate| certificate.verify_issued_by(candidate).is_ok()) {
        Some(index) => Ok(rest.swap_remove(index)),
        None => Err(Error::malformed(format!(
            "`{}` is issued by `{}`, and no certificate in the chain has this name and a key that verifies it",
            certificate.subject, certificate.issuer
        ))),
    }
}

/// Checks what RFC 5280, section 6.1.4 (k) to (n), checks of each CA certificate. The signatures hold already, but for the last one's.
fn check(chain: &[Certificate]) -> Result<()> {
    // Self-issued certificates do not count for path lengths (section 4.2.1.9).
    let mut below: usize = 0;
    for certificate in chain {
        let subject = &certificate.subject;
        let Some(limit) = certificate.certificate_authority else {
            return Err(Error::malformed(format!("`{subject}` is not a CA certificate (basic constraints)")));
        };
        if certificate.key_usage.as_ref().is_some_and(|usages| !usages.contains(&KeyUsage::KeyCertSign)) {
            return Err(Error::malformed(format!("the key usage of `{subject}` does not allow to sign certificates")));
        }
        if limit.is_some_and(|limit| usize::from(limit) < below) {
            return Err(Error::malformed(format!(
                "the path length of `{subject}` allows {} CA certificates below it; the chain has {below}",
                limit.unwrap_or_default()
            )));
        }
        let self_issued = certificate.subject.as_der() == certificate.issuer.as_der();
        if !self_issued {
            below = below.saturating_add(1);
        }
    }
    match chain.last() {
        Some(last) if last.subject.as_der() == last.issuer.as_der() => {
            last.verify_issued_by(last).map_err(|error| last.not_its_own_signature(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::x509::testing::Authority;

    fn subjects(chain: &[Certificate]) -> Vec<String> {
        chain.iter().map(|certificate| certificate.subject.to_string()).collect()
    }

    #[test]
    fn any_order_becomes_leaf_most_first() {
        let root = Authority::root("Root");
        let middle = root.subordinate("Middle", Some(1));
        let issuing = middle.subordinate("Issuing", Some(0));
        let all = [&issuing, &middle, &root].map(|authority| authority.certificate.clone());
        for order_given in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let given = order_given.iter().map(|index: &usize| all[*index].clone()).collect();
            assert_eq!(subjects(&order(given).unwrap()), ["CN=Issuing", "CN=Middle", "CN=Root"]);
        }
        let without_root = order(vec![all[1].clone(), all[0].clone(), all[0].clone()]).unwrap();
        assert_eq!(subjects(&without_root), ["CN=Issuing", "CN=Middle"]);
    }

    #[test]
    fn links_that_do_not_hold_are_named() {
        let root = Authority::root("Root");
        let issuing = root.subordinate("Issuing", Some(0));
        let below = issuing.subordinate("Below", None);
        let error = order(vec![below.certificate, issuing.certificate.clone(), root.certificate.clone()]).unwrap_err();
        assert!(error.detail().contains("path length of `CN=Issuing`"), "{error}");
        let error = order(vec![issuing.certificate.clone(), Authority::root("Root").certificate]).unwrap_err();
        assert!(error.detail().contains("not one chain"), "{error}");
        let error = order(vec![root.leaf("a.example"), root.certificate.clone()]).unwrap_err();
        assert!(error.detail().contains("not a CA certificate"), "{error}");
        assert!(order(Vec::new()).is_err());
    }
}
