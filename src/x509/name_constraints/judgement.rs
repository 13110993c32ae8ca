//! Judges all names of a certificate against the constraints of one CA above it: its subject, its alternative names, and what of the
//! subject verifiers take for a name as well.

use super::matching::Name;
use super::{NameConstraints, NameForm, Subtree};
use crate::x509::distinguished_name::AttributeType;
use crate::x509::{DistinguishedName, SubjectAltName};

/// The names of a certificate, exactly as they will be signed.
#[derive(Clone, Copy, Debug)]
pub struct JudgedNames<'a> {
    /// The subject.
    pub subject: &'a DistinguishedName,
    /// The subject alternative names.
    pub names: &'a [SubjectAltName],
    /// What the common name may be taken for.
    pub common_name: CommonNameUse,
}

/// What verifiers may take a common name for when there is no DNS name among the alternative names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommonNameUse {
    /// The name of a host, whatever it looks like: the certificate is one for servers.
    Host,
    /// The name of a host if it looks like one.
    PerhapsHost,
    /// Nothing: the certificate is that of a CA.
    Nothing,
}

/// Where a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The whole subject.
    Subject,
    /// A common name in the subject.
    CommonName,
    /// An e-mail address in the subject.
    EmailAddress,
    /// The subject alternative name of this index.
    Name(usize),
}

/// A name that does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// Where it stands.
    pub place: Place,
    /// The form of name as which it was judged.
    pub form: NameForm,
    /// The name.
    pub value: String,
    /// Why it does not pass.
    pub cause: Cause<'a>,
}

/// Why a name does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause<'a> {
    /// It lies in this excluded subtree.
    Excluded(&'a Subtree),
    /// It lies in none of the permitted subtrees of its form.
    NotPermitted,
    /// This subtree of its form cannot be judged by.
    Unprocessed(&'a Subtree, &'a str),
    /// It cannot itself be judged; why.
    Unclear(&'static str),
}

const NO_HOST: &str = "it has no DNS name as its host, as `https://app.internal/` has";
const HOST_IN_DOUBT: &str =
    "verifiers differ on where its host ends; put a `/` behind the host, and no `:` in the path";
const WIDE_WILDCARD: &str =
    "a wildcard before a name of one label is rejected where DNS names are constrained; ask for each name by itself";
const NO_ADDRESS: &str = "it is not an e-mail address such as `ops@example.com`";

impl NameConstraints {
    /// Returns every name that does not pass.
    #[must_use]
    pub fn conflicts(&self, judged: &JudgedNames<'_>) -> Vec<Conflict<'_>> {
        let mut conflicts = Vec::new();
        if !judged.subject.is_empty() {
            let cause = self.cause(NameForm::Directory, Ok(Name::Directory(judged.subject)));
            add(&mut conflicts, Place::Subject, NameForm::Directory, &|| judged.subject.to_string(), cause);
        }
        for (index, name) in judged.names.iter().enumerate() {
            let (form, cause) = self.alternative_name(name);
            add(&mut conflicts, Place::Name(index), form, &|| name.value(), cause);
        }
        for address in judged.subject.values(AttributeType::EmailAddress) {
            add(&mut conflicts, Place::EmailAddress, NameForm::Email, &|| address.to_owned(), self.email(address));
        }
        let has_dns_name = judged.names.iter().any(|name| matches!(name, SubjectAltName::Dns(_)));
        for common_name in judged.subject.values(AttributeType::CommonName).filter(|_| !has_dns_name) {
            let is_host = match judged.common_name {
                CommonNameUse::Host => true,
                CommonNameUse::PerhapsHost => looks_like_a_host(common_name),
                CommonNameUse::Nothing => false,
            };
            if is_host {
                let name = common_name.to_lowercase();
                let cause = self.cause(NameForm::Dns, dns(&name));
                add(&mut conflicts, Place::CommonName, NameForm::Dns, &|| common_name.to_owned(), cause);
            }
        }
        conflicts
    }

    fn alternative_name(&self, name: &SubjectAltName) -> (NameForm, Option<Cause<'_>>) {
        match name {
            SubjectAltName::Dns(name) => (NameForm::Dns, self.cause(NameForm::Dns, dns(name.as_str()))),
            SubjectAltName::Ip(address) => (NameForm::Ip, self.cause(NameForm::Ip, Ok(Name::Ip(*address)))),
            SubjectAltName::Uri(uri) => {
                (NameForm::Uri, self.cause(NameForm::Uri, uri_host(uri.as_str()).map(Name::UriHost)))
            }
            SubjectAltName::Email(email) => (NameForm::Email, self.email(email.as_str())),
        }
    }

    fn email(&self, address: &str) -> Option<Cause<'_>> {
        let Some((local, host)) = address.rsplit_once('@') else {
            return self.cause(NameForm::Email, Err(NO_ADDRESS));
        };
        let host = host.to_lowercase();
        self.cause(NameForm::Email, Ok(Name::Email { local, host: &host }))
    }

    /// Judges one name, or the reason why it cannot be judged.
    fn cause(&self, form: NameForm, name: Result<Name<'_>, &'static str>) -> Option<Cause<'_>> {
        let of_form = |subtrees: &'_ [Subtree]| subtrees.iter().any(|subtree| subtree.form() == form);
        let (has_permitted, has_excluded) = (of_form(&self.permitted), of_form(&self.excluded));
        if !has_permitted && !has_excluded {
            return None;
        }
        let unprocessed = self.unprocessed().find(|(subtree, _)| subtree.form() == form);
        if let Some((subtree, reason)) = unprocessed {
            return Some(Cause::Unprocessed(subtree, reason));
        }
        let name = match name {
            Ok(name) => name,
            Err(reason) => return Some(Cause::Unclear(reason)),
        };
        if let Some(subtree) = self.excluded.iter().find(|subtree| subtree.refuses(name)) {
            return Some(Cause::Excluded(subtree));
        }
        (has_permitted && !self.permitted.iter().any(|subtree| subtree.admits(name))).then_some(Cause::NotPermitted)
    }
}

fn add<'a>(
    conflicts: &mut Vec<Conflict<'a>>,
    place: Place,
    form: NameForm,
    value: &dyn Fn() -> String,
    cause: Option<Cause<'a>>,
) {
    conflicts.extend(cause.map(|cause| Conflict { place, form, value: value(), cause }));
}

/// Returns a DNS name unless webpki would reject it as malformed, which it does not where nothing is constrained.
fn dns(name: &str) -> Result<Name<'_>, &'static str> {
    match name.strip_prefix("*.") {
        Some(rest) if !rest.contains('.') => Err(WIDE_WILDCARD),
        Some(_) | None => Ok(Name::Dns(name)),
    }
}

/// Returns the host of a URI in normal form. RFC 5280, section 4.2.1.10: a URI whose host is not a DNS name is to be rejected.
fn uri_host(uri: &str) -> Result<&str, &'static str> {
    let (_scheme, rest) = uri.split_once("://").ok_or(NO_HOST)?;
    let end = rest.find(['/', '?', '#', ':']).unwrap_or(rest.len());
    let host = rest.get(..end).unwrap_or(rest);
    let is_number = |label: &str| label.bytes().all(|octet| octet.is_ascii_digit());
    if host.is_empty() || host.starts_with('[') || host.rsplit('.').next().is_none_or(is_number) {
        return Err(NO_HOST);
    }
    // OpenSSL looks for the first `:` anywhere, and for the first `/` only when there is none.
    let as_openssl = rest.find(':').or_else(|| rest.find('/')).unwrap_or(rest.len());
    if as_openssl == end { Ok(host) } else { Err(HOST_IN_DOUBT) }
}

/// Whether a common name looks like a host name to OpenSSL: two labels at least, of letters, digits, hyphens and underscores.
fn looks_like_a_host(common_name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_' || octet == b'*')
    };
    common_name.contains('.') && common_name.split('.').all(is_label)
}
