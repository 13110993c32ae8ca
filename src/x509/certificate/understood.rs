//! What of a CA certificate is not understood here, so that nobody issues under a CA whose limits are not known.

use super::Certificate;
use crate::x509::extension::oids;

/// The extensions whose meaning is taken into account wherever a CA certificate is used.
const UNDERSTOOD: [const_oid::ObjectIdentifier; 14] = [
    oids::BASIC_CONSTRAINTS,
    oids::KEY_USAGE,
    oids::EXTENDED_KEY_USAGE,
    oids::SUBJECT_ALT_NAME,
    oids::SUBJECT_KEY_IDENTIFIER,
    oids::AUTHORITY_KEY_IDENTIFIER,
    oids::NAME_CONSTRAINTS,
    oids::CERTIFICATE_POLICIES,
    oids::POLICY_MAPPINGS,
    oids::POLICY_CONSTRAINTS,
    oids::INHIBIT_ANY_POLICY,
    oids::CRL_DISTRIBUTION_POINTS,
    oids::FRESHEST_CRL,
    oids::AUTHORITY_INFORMATION_ACCESS,
];

impl Certificate {
    /// Lists what a relying party has to understand of this certificate (RFC 5280, section 4.2) and is not understood here, each a
    /// phrase: critical extensions, and name constraints that cannot be judged by. Empty when there is nothing.
    #[must_use]
    pub fn not_understood(&self) -> Vec<String> {
        let critical = self.extensions.iter().filter(|extension| extension.critical);
        let unknown = critical.filter(|extension| !UNDERSTOOD.contains(&extension.oid)).map(|extension| {
            let (name, oid) = (oids::name(&extension.oid), extension.oid.to_string());
            if name == oid {
                format!("the critical extension `{oid}`")
            } else {
                format!("the critical extension `{name}` (`{oid}`)")
            }
        });
        let constraints = self.name_constraints.iter().flat_map(|constraints| {
            let unprocessed = constraints.unprocessed();
            unprocessed.map(|(subtree, reason)| format!("the name constraint `{subtree}`, which {reason}"))
        });
        unknown.chain(constraints).collect()
    }
}
