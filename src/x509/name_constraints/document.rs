//! Name constraints as they are written in the configuration file and in JSON, and shown there.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{NameConstraints, NameForm, Subtree, decode};
use crate::error::{Error, Result};
use crate::x509::{DistinguishedName, printable};

/// The most subtrees of one document: every name of every certificate is compared with each, and verifiers give up on too many.
const MAXIMUM_SUBTREES: usize = 500;

/// Name constraints as written: what the certificates below a CA may name, and what they may not. A list of `permitted` names makes all
/// other names of that type not permitted; types without a list are not constrained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NameConstraintsDocument {
    /// The only names that may be signed, by type.
    #[serde(skip_serializing_if = "SubtreesDocument::is_empty")]
    pub permitted: SubtreesDocument,
    /// Names that may not be signed, though they be permitted.
    #[serde(skip_serializing_if = "SubtreesDocument::is_empty")]
    pub excluded: SubtreesDocument,
}

/// Names by type, each with all that is below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SubtreesDocument {
    /// DNS names, each with all below it. Where names are excluded, the empty text is every name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["example.internal"]))]
    pub dns: Vec<String>,
    /// Blocks of addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["10.0.0.0/8", "fd00::/8"]))]
    pub ip: Vec<String>,
    /// A mailbox (`ops@example.com`), all of a host (`example.com`), or all of the hosts below a domain (`.example.com`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["example.com", ".example.com"]))]
    pub email: Vec<String>,
    /// URIs of a host (`cluster.internal`), or of all hosts below a domain (`.cluster.internal`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["cluster.internal"]))]
    pub uri: Vec<String>,
    /// Distinguished names that subjects begin with, most specific part first as in RFC 4514.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["O=Example,C=SE"]))]
    pub directory: Vec<String>,
    /// Others of an imported CA, shown in hex; they cannot be written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other: Vec<String>,
}

impl SubtreesDocument {
    /// Whether nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        let lists = [&self.dns, &self.ip, &self.email, &self.uri, &self.directory, &self.other];
        lists.iter().map(|list| list.len()).sum()
    }

    fn compile(&self, field: &str, problems: &mut Vec<String>) -> Vec<Subtree> {
        type Parse = fn(&str) -> Result<Subtree, String>;
        let lists: [(NameForm, &[String], Parse); 5] = [
            (NameForm::Dns, &self.dns, dns),
            (NameForm::Ip, &self.ip, ip),
            (NameForm::Email, &self.email, email),
            (NameForm::Uri, &self.uri, uri),
            (NameForm::Directory, &self.directory, directory),
        ];
        let mut subtrees = Vec::with_capacity(self.len());
        for (form, texts, parse) in lists {
            for text in texts {
                match parse(text) {
                    Ok(subtree) if subtrees.contains(&subtree) => {
                        problems.push(format!("`{field}.{}`: `{}` is there twice", form.as_str(), shown(text)));
                    }
                    Ok(subtree) => subtrees.push(subtree),
                    Err(problem) => problems.push(format!("`{field}.{}`: `{}` {problem}", form.as_str(), shown(text))),
                }
            }
        }
        if !self.other.is_empty() {
            problems.push(format!(
                "`{field}.other` is only shown, not taken; write `dns`, `ip`, `email`, `uri` or `directory`"
            ));
        }
        subtrees
    }

    fn of(subtrees: &[Subtree]) -> Self {
        let mut document = Self::default();
        for subtree in subtrees {
            let list = match subtree {
                Subtree::Dns { .. } => &mut document.dns,
                Subtree::Ip(_) => &mut document.ip,
                Subtree::Email { .. } => &mut document.email,
                Subtree::Uri { .. } => &mut document.uri,
                Subtree::Directory(_) => &mut document.directory,
                Subtree::Unprocessed { .. } => &mut document.other,
            };
            list.push(subtree.to_string());
        }
        document
    }
}

impl NameConstraintsDocument {
    /// Checks the document and prepares it. `field` names it in problems, such as `name_constraints`.
    ///
    /// What is taken is what all verifiers understand in the same way: no dot before a DNS name, no empty e-mail or URI constraint.
    ///
    /// # Errors
    /// `Malformed` with every problem.
    pub fn compile(&self, field: &str) -> Result<NameConstraints> {
        let mut problems = Vec::new();
        let constraints = self.compile_into(field, &mut problems);
        if problems.is_empty() {
            Ok(constraints)
        } else {
            Err(Error::malformed(format!("the name constraints are not valid: {}", problems.join("; "))))
        }
    }

    /// As [`Self::compile`], adding to a list of problems.
    pub(crate) fn compile_into(&self, field: &str, problems: &mut Vec<String>) -> NameConstraints {
        let count = self.permitted.len().saturating_add(self.excluded.len());
        if count == 0 {
            problems.push(format!("`{field}` constrains nothing; list names under `permitted` or `excluded`"));
        }
        if count > MAXIMUM_SUBTREES {
            problems.push(format!("`{field}` has {count} entries; at most {MAXIMUM_SUBTREES} are taken"));
            return NameConstraints::default();
        }
        // Nothing is gained by them, and Python's verifier rejects what is below such a CA.
        for (form, texts) in [(NameForm::Dns, &self.permitted.dns), (NameForm::Directory, &self.permitted.directory)] {
            if texts.iter().any(String::is_empty) {
                let form = form.as_str();
                problems.push(format!("`{field}.permitted.{form}`: the empty name permits every name; leave it out"));
            }
        }
        NameConstraints {
            permitted: self.permitted.compile(&format!("{field}.permitted"), problems),
            excluded: self.excluded.compile(&format!("{field}.excluded"), problems),
        }
    }
}

impl From<&NameConstraints> for NameConstraintsDocument {
    fn from(constraints: &NameConstraints) -> Self {
        Self {
            permitted: SubtreesDocument::of(constraints.permitted()),
            excluded: SubtreesDocument::of(constraints.excluded()),
        }
    }
}

/// Returns a text as messages show it.
fn shown(text: &str) -> String {
    printable::text(text.char_indices().nth(100).and_then(|(end, _)| text.get(..end)).unwrap_or(text))
}

fn dns(text: &str) -> Result<Subtree, String> {
    if let Some(name) = text.strip_prefix('.') {
        return Err(format!(
            "has a dot in front, which verifiers read differently; write `{}`, which covers all names below it as well",
            shown(name)
        ));
    }
    decode::dns(text)
}

fn ip(text: &str) -> Result<Subtree, String> {
    let block: IpNet =
        text.parse().map_err(|error| format!("is not a block such as `10.0.0.0/8` or `fd00::/8` ({error})"))?;
    if block.addr() != block.network() {
        return Err(format!("has address bits beyond its prefix; write `{}`", block.trunc()));
    }
    if let IpNet::V6(block) = block
        && block.addr().to_ipv4_mapped().is_some()
    {
        return Err("is an IPv4-mapped block, whose addresses are never signed; write the IPv4 block".to_owned());
    }
    Ok(Subtree::Ip(block))
}

/// Says what to write instead of an empty text, which is no constraint to some verifiers and to others one that nothing meets.
fn refuse_empty(text: &str) -> Result<(), String> {
    if !text.is_empty() {
        return Ok(());
    }
    Err("is empty, which verifiers read differently; to admit none, permit only a host that does not exist, such as `invalid`"
        .to_owned())
}

fn email(text: &str) -> Result<Subtree, String> {
    refuse_empty(text)?;
    decode::email(text)
}

fn uri(text: &str) -> Result<Subtree, String> {
    refuse_empty(text)?;
    if text.contains("://") {
        return Err("is a URI; write its host alone, as constraints are put on hosts".to_owned());
    }
    decode::uri(text)
}

fn directory(text: &str) -> Result<Subtree, String> {
    DistinguishedName::parse(text).map(Subtree::Directory).map_err(|error| format!("is refused: {error}"))
}
