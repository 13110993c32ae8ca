//! Grants: what one principal may have signed, a further restriction on top of every profile.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::names::{NameRules, NameSections};
use crate::error::Result;

/// Grants as written in tokens, JWT mappings and client certificate rules. Absent means no further restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GrantsDocument {
    /// The profiles that may be used; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["server"]))]
    pub profiles: Option<Vec<String>>,
    /// The issuers that may be used; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Vec<String>>,
    /// The names that may be signed; all that the profile allows if absent. Types without a section are refused, and wildcards
    /// and underscores must be admitted here too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<NameSections>,
}

/// The fields of [`GrantsDocument`] as they are read.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    profiles: Option<Vec<String>>,
    issuers: Option<Vec<String>>,
    names: Option<NameSections>,
}

impl<'de> Deserialize<'de> for GrantsDocument {
    /// Reads an object and nothing else: what serde derives would also take the empty list, and read it as no restriction at all.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = GrantsDocument;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `profiles`, `issuers` and `names`")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<GrantsDocument, A::Error> {
        let Written { profiles, issuers, names } = Written::deserialize(MapAccessDeserializer::new(map))?;
        Ok(GrantsDocument { profiles, issuers, names })
    }
}

/// Compiled grants.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    document: GrantsDocument,
    names: Option<NameRules>,
}

impl Grants {
    /// Compiles grants.
    ///
    /// # Errors
    /// `Malformed` with the pattern and what would be accepted.
    pub fn compile(document: GrantsDocument) -> Result<Self> {
        let names = document.names.as_ref().map(NameRules::compile).transpose()?;
        Ok(Self { document, names })
    }

    /// Returns grants without any restriction.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self::default()
    }

    /// Returns the document.
    #[must_use]
    pub const fn document(&self) -> &GrantsDocument {
        &self.document
    }

    /// Returns the rules for names, if there is such a restriction.
    #[must_use]
    pub const fn names(&self) -> Option<&NameRules> {
        self.names.as_ref()
    }

    /// Whether the profile may be used.
    #[must_use]
    pub fn allow_profile(&self, name: &str) -> bool {
        self.document.profiles.as_ref().is_none_or(|profiles| profiles.iter().any(|profile| profile == name))
    }

    /// Whether the profile is named, rather than left open with all others.
    #[must_use]
    pub fn name_profile(&self, name: &str) -> bool {
        self.document.profiles.is_some() && self.allow_profile(name)
    }

    /// Whether the issuer is named, rather than left open with all others.
    #[must_use]
    pub fn name_issuer(&self, name: &str) -> bool {
        self.document.issuers.is_some() && self.allow_issuer(name)
    }

    /// Whether the issuer may be used.
    #[must_use]
    pub fn allow_issuer(&self, name: &str) -> bool {
        self.document.issuers.as_ref().is_none_or(|issuers| issuers.iter().any(|issuer| issuer == name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn what_is_absent_restricts_nothing() {
        let grants = Grants::compile(serde_json::from_str("{}").unwrap()).unwrap();
        assert!(grants.allow_profile("any") && grants.allow_issuer("any") && grants.names().is_none());
        assert_eq!(grants.document(), Grants::unrestricted().document());
    }

    #[test]
    fn only_an_object_is_a_grant() {
        for refused in ["[]", "null", "\"server\"", r#"[["server"]]"#] {
            assert!(serde_json::from_str::<GrantsDocument>(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn an_empty_list_admits_nothing() {
        let grants = Grants::compile(serde_json::from_str(r#"{"profiles": [], "issuers": []}"#).unwrap()).unwrap();
        assert!(!grants.allow_profile("server") && !grants.allow_issuer("issuing"));
    }

    #[test]
    fn lists_admit_what_they_name_exactly() {
        let text = r#"{"profiles": ["server"], "issuers": ["issuing"], "names": {"dns": {"allow": ["**.internal"]}}}"#;
        let grants = Grants::compile(serde_json::from_str(text).unwrap()).unwrap();
        assert!(grants.allow_profile("server") && grants.allow_issuer("issuing") && grants.names().is_some());
        assert!(!grants.allow_profile("Server") && !grants.allow_profile("server2") && !grants.allow_issuer(""));
        assert_eq!(serde_json::to_value(grants.document()).unwrap()["names"]["dns"]["maximum"], 100);
    }

    #[test]
    fn refuses_patterns_and_fields_that_are_none() {
        let document = serde_json::from_str(r#"{"names": {"ip": {"allow": ["10.0.0.1/8"]}}}"#).unwrap();
        assert!(Grants::compile(document).unwrap_err().detail().contains("`10.0.0.0/8`"));
        assert!(serde_json::from_str::<GrantsDocument>(r#"{"profile": ["server"]}"#).is_err());
    }
}
