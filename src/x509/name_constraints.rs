//! Name constraints (RFC 5280, section 4.2.1.10): which names the certificates below a CA may hold. Read, written, and matched.
//!
//! Matching is as strict as the strictest verifier known, so that whatever passes here passes everywhere. What happens when a name does
//! not pass is decided in `policy/issuer.rs`.

mod decode;
mod document;
mod judgement;
mod matching;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests;

use std::fmt;

use ipnet::IpNet;

use super::extension::{Extension, oids};
use super::{DistinguishedName, encoding};
use crate::error::Result;

pub use document::{NameConstraintsDocument, SubtreesDocument};
pub use judgement::{Cause, CommonNameUse, Conflict, JudgedNames, Place};

/// The constraints of one CA certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameConstraints {
    permitted: Vec<Subtree>,
    excluded: Vec<Subtree>,
}

/// The forms of name that are constrained, each by itself: a constraint on one form says nothing about the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameForm {
    /// `dNSName`.
    Dns,
    /// `iPAddress`.
    Ip,
    /// `rfc822Name`, and e-mail addresses in the subject.
    Email,
    /// `uniformResourceIdentifier`.
    Uri,
    /// `directoryName`, which the subject is.
    Directory,
    /// Any other, by its number in `GeneralName`; no name of such a form is ever signed here.
    Other(u8),
}

/// The names that one constraint covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subtree {
    /// A DNS name and all below it; every name when `name` is empty.
    Dns {
        /// The name in lower case.
        name: String,
        /// Whether the name itself is not covered: some CAs write a dot in front and mean this.
        only_below: bool,
    },
    /// A block of addresses.
    Ip(IpNet),
    /// A mailbox, all mailboxes of a host, or those of all hosts below a domain.
    Email {
        /// The part before `@`, if this is a mailbox.
        local: Option<String>,
        /// The host or domain in lower case.
        host: String,
        /// Whether the hosts below the domain are meant, and not itself.
        only_below: bool,
    },
    /// The URIs of a host, or of all hosts below a domain.
    Uri {
        /// The host or domain in lower case.
        host: String,
        /// Whether the hosts below the domain are meant, and not itself.
        only_below: bool,
    },
    /// A distinguished name and all that begin with it; every name when it is empty.
    Directory(DistinguishedName),
    /// One that cannot be judged by: no name of its form passes.
    Unprocessed {
        /// The form of name.
        form: NameForm,
        /// The DER of the `GeneralSubtree`.
        der: Vec<u8>,
        /// Why not.
        reason: String,
    },
}

impl NameForm {
    /// Returns the form's name in JSON and in rules: `dns`, `ip`, `email`, `uri`, `directory` or `other`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Ip => "ip",
            Self::Email => "email",
            Self::Uri => "uri",
            Self::Directory => "directory",
            Self::Other(_) => "other",
        }
    }

    /// Returns the form as people call it.
    #[must_use]
    pub const fn described(self) -> &'static str {
        match self {
            Self::Dns => "DNS name",
            Self::Ip => "IP address",
            Self::Email => "e-mail address",
            Self::Uri => "URI",
            Self::Directory => "directory name",
            Self::Other(_) => "name of another type",
        }
    }
}

impl Subtree {
    /// Returns the form of name that is constrained.
    #[must_use]
    pub const fn form(&self) -> NameForm {
        match self {
            Self::Dns { .. } => NameForm::Dns,
            Self::Ip(_) => NameForm::Ip,
            Self::Email { .. } => NameForm::Email,
            Self::Uri { .. } => NameForm::Uri,
            Self::Directory(_) => NameForm::Directory,
            Self::Unprocessed { form, .. } => *form,
        }
    }

    /// Encodes the `GeneralSubtree`.
    fn to_der(&self) -> Vec<u8> {
        let base = match self {
            Self::Dns { .. } => encoding::value(encoding::context(2), self.to_string().as_bytes()),
            Self::Email { .. } => encoding::value(encoding::context(1), self.to_string().as_bytes()),
            Self::Uri { .. } => encoding::value(encoding::context(6), self.to_string().as_bytes()),
            Self::Ip(IpNet::V4(block)) => {
                let octets = [block.network().octets(), block.netmask().octets()].concat();
                encoding::value(encoding::context(7), &octets)
            }
            Self::Ip(IpNet::V6(block)) => {
                let octets = [block.network().octets(), block.netmask().octets()].concat();
                encoding::value(encoding::context(7), &octets)
            }
            Self::Directory(name) => encoding::constructed(encoding::context_constructed(4), &[name.as_der()]),
            Self::Unprocessed { der, .. } => return der.clone(),
        };
        encoding::sequence(&[&base])
    }
}

/// Writes the base as documents have it: `example.com`, `.example.com`, `10.0.0.0/8`, `ops@example.com`, `O=Example,C=SE`.
impl fmt::Display for Subtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = |only_below: bool| if only_below { "." } else { "" };
        match self {
            Self::Dns { name, only_below } => write!(f, "{}{name}", dot(*only_below)),
            Self::Ip(block) => write!(f, "{block}"),
            Self::Email { local: Some(local), host, .. } => write!(f, "{local}@{host}"),
            Self::Email { local: None, host, only_below } | Self::Uri { host, only_below } => {
                write!(f, "{}{host}", dot(*only_below))
            }
            Self::Directory(name) => write!(f, "{name}"),
            Self::Unprocessed { form, der, .. } => write!(f, "{}:{}", form.as_str(), hex::encode(der)),
        }
    }
}

impl NameConstraints {
    /// Reads the value of the extension. Constraints that cannot be processed are kept ([`Subtree::Unprocessed`]).
    ///
    /// # Errors
    /// `Malformed` when it is not DER of this shape, or has more than 4,096 subtrees.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        decode::name_constraints(der)
    }

    /// Returns the extension, critical.
    #[must_use]
    pub fn to_extension(&self) -> Extension {
        let list = |number: u8, subtrees: &[Subtree]| match subtrees {
            [] => Vec::new(),
            some => {
                let encoded: Vec<Vec<u8>> = some.iter().map(Subtree::to_der).collect();
                encoding::constructed(encoding::context_constructed(number), &[&encoded.concat()])
            }
        };
        let value = encoding::sequence(&[&list(0, &self.permitted), &list(1, &self.excluded)]);
        Extension { oid: oids::NAME_CONSTRAINTS, critical: true, value }
    }

    /// Returns what is permitted: for each form of name that occurs in it, the only names of that form that are.
    #[must_use]
    pub fn permitted(&self) -> &[Subtree] {
        &self.permitted
    }

    /// Returns what is excluded, though it be permitted.
    #[must_use]
    pub fn excluded(&self) -> &[Subtree] {
        &self.excluded
    }

    /// Returns the subtrees that cannot be judged by, with the reasons.
    pub fn unprocessed(&self) -> impl Iterator<Item = (&Subtree, &str)> {
        self.permitted.iter().chain(&self.excluded).filter_map(|subtree| match subtree {
            Subtree::Unprocessed { reason, .. } => Some((subtree, reason.as_str())),
            _ => None,
        })
    }

    /// Whether names of the form are constrained at all.
    #[must_use]
    pub fn constrain(&self, form: NameForm) -> bool {
        self.permitted.iter().chain(&self.excluded).any(|subtree| subtree.form() == form)
    }

    /// Returns the forms of name that this permits some of, while CAs above with the constraints of `above` leave none of these: no name of the form
    /// could ever pass. Where verifiers might differ, it is taken for possible.
    #[must_use]
    pub fn unreachable_below(&self, above: &Self) -> Vec<NameForm> {
        let mut forms = Vec::new();
        for form in self.permitted.iter().map(Subtree::form) {
            let of_form = |subtree: &&Subtree| subtree.form() == form;
            let bounds: Vec<&Subtree> = above.permitted.iter().filter(of_form).collect();
            let is_lost = |own: &Subtree| {
                (!bounds.is_empty() && !bounds.iter().any(|bound| bound.may_meet(own)))
                    || above.excluded.iter().filter(of_form).any(|excluded| excluded.contains(own))
            };
            if !forms.contains(&form) && self.permitted.iter().filter(of_form).all(is_lost) {
                forms.push(form);
            }
        }
        forms
    }

    /// Returns how many subtrees there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.permitted.len().saturating_add(self.excluded.len())
    }

    /// Whether there is no subtree.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.permitted.is_empty() && self.excluded.is_empty()
    }
}
