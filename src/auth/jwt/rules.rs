//! Rules that give a verified token its role and grants by its claims. The first rule that matches wins; unmatched means refused,
//! unless the provider has a default role.

use std::collections::BTreeMap;

use serde_json::Value;

use super::placeholders::GrantsTemplate;
use crate::auth::Role;
use crate::error::{Error, ErrorKind, Result};
use crate::policy::Grants;
use crate::policy::grants::GrantsDocument;

/// A rule as configured.
#[derive(Clone, Debug)]
pub struct JwtRule {
    /// The claims that must all be there, each with one of these values. Nested claims are named with dots between the levels, such as
    /// `kubernetes.io.namespace`, or by a JSON pointer (RFC 6901), such as `/kubernetes.io/namespace`. A claim that is an array matches when any of its elements does; booleans and
    /// whole numbers are compared by their text. Values are compared exactly.
    pub claims: BTreeMap<String, Vec<String>>,
    /// The role it gives.
    pub role: Role,
    /// The grants it gives, perhaps with `{claim}` placeholders.
    pub grants: GrantsDocument,
}

/// The rules of one provider, checked.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    default_role: Option<Role>,
}

#[derive(Clone, Debug)]
struct Rule {
    claims: Vec<(ClaimPath, Vec<String>)>,
    role: Role,
    grants: GrantsTemplate,
}

impl Rules {
    /// Checks and prepares the rules.
    ///
    /// # Errors
    /// `Configuration` for a rule without a claim, a claim without a value, or grants that no token could satisfy.
    pub(crate) fn compile(rules: Vec<JwtRule>, default_role: Option<Role>) -> Result<Self> {
        if rules.is_empty() && default_role.is_none() {
            return Err(Error::configuration(
                "there is neither a rule nor a default role, so no token could be admitted",
            ));
        }
        let rules = rules
            .into_iter()
            .enumerate()
            .map(|(index, rule)| {
                Rule::compile(rule).map_err(|error| Error::configuration(format!("`rules[{index}]`: {error}")))
            })
            .collect::<Result<_>>()?;
        Ok(Self { rules, default_role })
    }

    /// Returns role and grants of a token with these claims.
    ///
    /// # Errors
    /// `Unauthenticated` when no rule matches, or a claim cannot be put in the place of a placeholder.
    pub(crate) fn apply(&self, claims: &Value) -> Result<(Role, Grants)> {
        if let Some(rule) = self.rules.iter().find(|rule| rule.matches(claims)) {
            return Ok((rule.role, rule.grants.fill(claims)?));
        }
        match self.default_role {
            Some(role) => Ok((role, Grants::unrestricted())),
            None => Err(Error::new(
                ErrorKind::Unauthenticated,
                "the token is valid, but its claims match no rule of its provider",
            )),
        }
    }
}

impl Rule {
    fn compile(rule: JwtRule) -> Result<Self> {
        if rule.claims.is_empty() {
            return Err(Error::configuration("a rule needs a claim; a role for every token is the provider's `role`"));
        }
        let mut claims = Vec::new();
        for (name, values) in rule.claims {
            if values.is_empty() {
                return Err(Error::configuration(format!("the claim `{name}` has no value to match")));
            }
            claims.push((ClaimPath::parse(&name)?, values));
        }
        Ok(Self { claims, role: rule.role, grants: GrantsTemplate::compile(rule.grants)? })
    }

    fn matches(&self, claims: &Value) -> bool {
        self.claims.iter().all(|(path, values)| path.find(claims).is_some_and(|claim| one_of(claim, values)))
    }
}

fn one_of(claim: &Value, values: &[String]) -> bool {
    match claim {
        Value::Array(elements) => elements.iter().any(|element| scalar_is_one_of(element, values)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            scalar_is_one_of(claim, values)
        }
    }
}

fn scalar_is_one_of(claim: &Value, values: &[String]) -> bool {
    text(claim).is_some_and(|text| values.contains(&text))
}

/// Returns the text of a string, boolean or whole number; other values have none.
pub(crate) fn text(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Where a claim is: its name, with dots between the levels of nested claims, or a JSON pointer (RFC 6901) that begins with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimPath(String);

impl ClaimPath {
    /// Takes a path or a pointer.
    ///
    /// # Errors
    /// `Configuration` when it is or has an empty name.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if !text.starts_with('/') && text.split('.').any(str::is_empty) {
            return Err(Error::configuration(format!("the claim `{text}` is or has an empty name")));
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Finds the claim. Names may have dots of their own (`kubernetes.io`); a path that can be read in two ways finds nothing, so that a
    /// claim that a user may choose never takes the place of another.
    pub(crate) fn find<'a>(&self, claims: &'a Value) -> Option<&'a Value> {
        if self.0.starts_with('/') {
            return claims.pointer(&self.0);
        }
        let mut found = Vec::new();
        collect(claims, &self.0, &mut found);
        match found.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

fn collect<'a>(claims: &'a Value, path: &str, found: &mut Vec<&'a Value>) {
    found.extend(claims.get(path));
    for (dot, _) in path.match_indices('.') {
        if let (Some(name), Some(rest)) = (path.get(..dot), path.get(dot.saturating_add(1)..))
            && let Some(nested) = claims.get(name)
        {
            collect(nested, rest, found);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    fn rule(claims: &[(&str, &[&str])], role: Role) -> JwtRule {
        let claims = claims
            .iter()
            .map(|(name, values)| ((*name).to_owned(), values.iter().map(|value| (*value).to_owned()).collect()))
            .collect();
        JwtRule { claims, role, grants: GrantsDocument::default() }
    }

    #[test]
    fn takes_the_first_rule_whose_claims_all_match() {
        let rules = Rules::compile(
            vec![
                rule(&[("groups", &["admins"]), ("email_verified", &["true"])], Role::Administrator),
                rule(&[("groups", &["admins", "operators"])], Role::Operator),
            ],
            None,
        )
        .unwrap();
        let role = |claims| rules.apply(&claims).map(|(role, _)| role);
        assert_eq!(role(json!({"groups": ["x", "admins"], "email_verified": true})).unwrap(), Role::Administrator);
        assert_eq!(role(json!({"groups": ["admins"], "email_verified": false})).unwrap(), Role::Operator);
        assert_eq!(role(json!({"groups": "operators"})).unwrap(), Role::Operator);
        let refusal = role(json!({"groups": ["administrators"]})).unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::Unauthenticated);
        assert!(role(json!({"groups": {"admins": true}})).is_err());
        assert!(role(json!({})).is_err());
    }

    #[test]
    fn reads_nested_claims_by_json_pointer_only() {
        let rules =
            Rules::compile(vec![rule(&[("/kubernetes.io/namespace", &["payments"])], Role::Requester)], None).unwrap();
        assert!(rules.apply(&json!({"kubernetes.io": {"namespace": "payments"}})).is_ok());
        assert!(rules.apply(&json!({"/kubernetes.io/namespace": "payments"})).is_err());
        assert!(rules.apply(&json!({"kubernetes.io": {"namespace": "payments-2"}})).is_err());
    }

    #[test]
    fn falls_back_to_the_default_role_only_when_there_is_one() {
        let rules = Rules::compile(vec![rule(&[("a", &["1"])], Role::Operator)], Some(Role::Auditor)).unwrap();
        assert_eq!(rules.apply(&json!({"a": "2"})).unwrap().0, Role::Auditor);
        assert_eq!(rules.apply(&json!({"a": 1})).unwrap().0, Role::Operator);
    }

    #[test]
    fn refuses_rules_that_match_everything_or_nothing() {
        assert!(Rules::compile(Vec::new(), None).is_err());
        assert!(Rules::compile(vec![rule(&[], Role::Operator)], None).is_err());
        assert!(Rules::compile(vec![rule(&[("a", &[])], Role::Operator)], None).is_err());
        assert!(Rules::compile(vec![rule(&[("", &["a"])], Role::Operator)], None).is_err());
        assert!(Rules::compile(vec![rule(&[("a..b", &["a"])], Role::Operator)], None).is_err());
    }
}
