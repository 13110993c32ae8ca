//! Which certificate policies are valid at the end of an issuer's chain, when one of its CAs demands a valid one (RFC 5280,
//! sections 6.1.3 to 6.1.5): the part of path validation that does not depend on the relying party.

use std::collections::BTreeSet;

use const_oid::ObjectIdentifier;

use super::{Candidate, Part};
use crate::error::Violation;
use crate::policy::{listed, shown, violation};
use crate::x509::Certificate;
use crate::x509::certificate::PolicyRules;

/// The policy that stands for all.
const ANY_POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32.0");

/// What the chain says about policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PolicyLimits {
    /// After how many more certificates a valid policy is needed, and which CA says so.
    explicit: Option<(u32, String)>,
    /// The policies that are valid; all if `None`.
    valid: Option<BTreeSet<ObjectIdentifier>>,
    /// After how many more certificates policies are not mapped; never if `None`.
    inhibit_mapping: Option<u32>,
    /// After how many more certificates `anyPolicy` stands for nothing; never if `None`.
    inhibit_any: Option<u32>,
}

impl PolicyLimits {
    /// Walks down a chain that is given from the issuer upwards. The policies of a trust anchor do not count (section 6.1.1), but what it
    /// demands is taken into account, as it is when the anchor is used as an intermediate.
    pub(super) fn of_chain(chain: &[&Certificate]) -> Self {
        let mut limits = Self::default();
        for (index, certificate) in chain.iter().enumerate().rev() {
            let is_anchor = certificate.is_self_issued() && index.saturating_add(1) == chain.len();
            let rules = &certificate.policies;
            if !is_anchor {
                limits.narrow(rules, certificate.is_self_issued());
                limits.map(&rules.mappings);
                if !certificate.is_self_issued() {
                    limits.descend();
                }
            }
            limits.add(rules, certificate);
        }
        limits
    }

    /// Keeps the policies that the certificate has as well (section 6.1.3 (d) and (e)).
    fn narrow(&mut self, rules: &PolicyRules, is_self_issued: bool) {
        let of_certificate = rules.policies.as_deref().unwrap_or_default();
        if of_certificate.contains(&ANY_POLICY) && (self.inhibit_any != Some(0) || is_self_issued) {
            return;
        }
        let of_certificate = of_certificate.iter().filter(|policy| **policy != ANY_POLICY);
        self.valid = Some(match &self.valid {
            None => of_certificate.copied().collect(),
            Some(valid) => of_certificate.filter(|policy| valid.contains(policy)).copied().collect(),
        });
    }

    /// Puts the subject's policies in the place of the issuer's that are equal to them (section 6.1.4 (b)).
    fn map(&mut self, mappings: &[(ObjectIdentifier, ObjectIdentifier)]) {
        let is_inhibited = self.inhibit_mapping == Some(0);
        // Where every policy is valid, whatever they are mapped to is too.
        let Some(valid) = &mut self.valid else { return };
        let mapped = mappings.iter().filter(|(from, _)| !is_inhibited && valid.contains(from)).map(|(_, to)| *to);
        let mapped: Vec<ObjectIdentifier> = mapped.collect();
        valid.retain(|policy| !mappings.iter().any(|(from, _)| from == policy));
        valid.extend(mapped);
    }

    /// Counts one certificate (section 6.1.4 (h)).
    fn descend(&mut self) {
        let explicit = self.explicit.as_mut().map(|(count, _)| count);
        for count in [explicit, self.inhibit_mapping.as_mut(), self.inhibit_any.as_mut()].into_iter().flatten() {
            *count = count.saturating_sub(1);
        }
    }

    /// Takes up the certificate's own demands (section 6.1.4 (i) and (j)).
    fn add(&mut self, rules: &PolicyRules, certificate: &Certificate) {
        if let Some(count) = rules.require_explicit_policy
            && self.explicit.as_ref().is_none_or(|(known, _)| count < *known)
        {
            self.explicit = Some((count, certificate.subject.to_string()));
        }
        let least = |known: Option<u32>, new: Option<u32>| match (known, new) {
            (Some(known), Some(new)) => Some(known.min(new)),
            (known, new) => known.or(new),
        };
        self.inhibit_mapping = least(self.inhibit_mapping, rules.inhibit_policy_mapping);
        self.inhibit_any = least(self.inhibit_any, rules.inhibit_any_policy);
    }

    /// Returns the violation of having no valid policy where one is demanded.
    pub(super) fn violation(&self, candidate: &Candidate<'_>, field: &impl Fn(Part) -> String) -> Option<Violation> {
        let (count, ca) = self.explicit.as_ref()?;
        // The certificate itself is counted (section 6.1.5 (a)); below a CA there is at least one more.
        let counted = if candidate.certificate_authority.is_some() { 2 } else { 1 };
        if *count > counted {
            return None;
        }
        let policies = candidate.certificate_policies;
        let is_valid = |policy: &ObjectIdentifier| match &self.valid {
            _ if *policy == ANY_POLICY => {
                self.inhibit_any != Some(0) && self.valid.as_ref().is_none_or(|valid| !valid.is_empty())
            }
            None => true,
            Some(valid) => valid.contains(policy),
        };
        if policies.iter().any(is_valid) {
            return None;
        }
        let ca = shown(ca);
        let accepted = match &self.valid {
            None => "write at least one certificate policy in the profile".to_owned(),
            Some(valid) if valid.is_empty() => {
                "the certificates of the chain have none in common, so that nothing below it is accepted; use another issuer"
                    .to_owned()
            }
            Some(valid) => {
                let valid: Vec<&ObjectIdentifier> = valid.iter().collect();
                format!("valid there: {}", listed(&valid))
            }
        };
        let message = if policies.is_empty() {
            format!("the CA `{ca}` requires a certificate policy, and the profile writes none; {accepted}")
        } else {
            format!(
                "the CA `{ca}` requires a certificate policy that is valid in its chain, and of the profile's ({}) none is; {accepted}",
                listed(policies)
            )
        };
        let value = policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let rule = "issuer.policy_constraints";
        Some(violation("issuer_certificate_policies", field(Part::CertificatePolicies), &value, rule, message))
    }
}
