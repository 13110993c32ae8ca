//! What clients and operators read when the DNS did not give what was looked for: which records, and what the servers that were asked said; which
//! servers these are is for the log alone.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::chain::{Chain, MAXIMUM_ALIASES};
use super::exchange::Trouble;
use crate::ca::acme::validation::ValidationFailure;
use crate::error::AcmeErrorType;

/// The most octets of a name that are repeated: all that a name may have.
const MAXIMUM_SHOWN: usize = 253;

/// That there are no records of the type that was asked for.
#[derive(Debug)]
pub(super) struct Absent {
    /// The name and where it leads to.
    pub(super) chain: Chain,
    /// Whether the name at the end exists.
    pub(super) exists: bool,
    /// Who said so.
    pub(super) asked: Vec<SocketAddr>,
}

impl Absent {
    /// Says so; `kinds` are the types that were asked for.
    pub(super) fn failure(&self, kinds: &str) -> ValidationFailure {
        let what = if self.exists {
            format!("has no {kinds} record")
        } else {
            format!("does not exist (NXDOMAIN; looked for {kinds} records)")
        };
        // The addresses of the servers are the operator's business, not that of clients.
        tracing::info!(servers = ?self.asked, name = subject(&self.chain), "the DNS has no {kinds} record: it {what}");
        dns(format!("{} {what}", subject(&self.chain)))
    }
}

/// Says that no server answered, and what each one did instead.
pub(super) fn unanswered(
    chain: &Chain,
    kind: RecordType,
    troubles: &[(SocketAddr, Trouble)],
    timeout: Duration,
) -> ValidationFailure {
    if troubles.is_empty() {
        return ValidationFailure::new(
            AcmeErrorType::ServerInternal,
            "this service has no DNS servers to ask: give `resolvers` in `[acme]`",
        );
    }
    tracing::info!(name = alias_of(chain), %kind, ?troubles, "no DNS server gave an answer");
    let mut each: Vec<String> = Vec::with_capacity(troubles.len());
    for (_server, trouble) in troubles {
        let said = format!("a DNS server {}", described(*trouble, timeout));
        if !each.contains(&said) {
            each.push(said);
        }
    }
    dns(format!("the {kind} records of {} could not be looked up: {}", alias_of(chain), each.join("; ")))
}

/// Says that aliases lead back to one of themselves.
pub(super) fn alias_loop(chain: &Chain) -> ValidationFailure {
    let names: Vec<String> = chain.names().iter().map(|name| format!("`{}`", shown(name))).collect();
    dns(format!("the aliases (CNAME records) form a loop: {}", names.join(" -> ")))
}

/// Says that there are too many aliases.
pub(super) fn too_many_aliases(chain: &Chain) -> ValidationFailure {
    let first = chain.names().first().map(shown).unwrap_or_default();
    dns(format!("more than {MAXIMUM_ALIASES} aliases (CNAME records) follow each other from `{first}`"))
}

/// Says that a text cannot be asked for.
pub(super) fn not_a_name(name: &str) -> ValidationFailure {
    let name = safe(name);
    dns(format!("`{name}` cannot be looked up: it is not a name of at most 253 octets, with labels of at most 63 letters, digits, hyphens and underscores"))
        .into_final()
}

fn dns(detail: String) -> ValidationFailure {
    ValidationFailure::new(AcmeErrorType::Dns, detail)
}

fn described(trouble: Trouble, timeout: Duration) -> String {
    match trouble {
        Trouble::Code(ResponseCode::ServFail) => {
            "answered SERVFAIL (it could not reach the servers of the zone, or DNSSEC validation failed)".to_owned()
        }
        Trouble::Code(ResponseCode::Refused) => "answered REFUSED (it does not look up this name for us)".to_owned(),
        Trouble::Code(code) => format!("answered with the error {} ({code})", u16::from(code)),
        Trouble::Silent => format!("did not answer within {timeout:?}"),
        Trouble::Unreachable => "could not be reached".to_owned(),
        Trouble::Malformed => "answered with something that is no answer to the question".to_owned(),
        Trouble::Truncated => "cut its answer short over TCP".to_owned(),
    }
}

/// Names the start of a chain, and where it leads to, as the subject of a sentence about the end.
fn subject(chain: &Chain) -> String {
    match chain.names() {
        [first, .., last] => format!("`{}`, to which `{}` is an alias,", shown(last), shown(first)),
        names => format!("`{}`", names.first().map(shown).unwrap_or_default()),
    }
}

/// Names the end of a chain, and where it began.
fn alias_of(chain: &Chain) -> String {
    match chain.names() {
        [first, .., last] => format!("`{}` (to which `{}` is an alias)", shown(last), shown(first)),
        names => format!("`{}`", names.first().map(shown).unwrap_or_default()),
    }
}

/// Returns a name as messages show it.
fn shown(name: &Name) -> String {
    let text = name.to_ascii();
    safe(text.strip_suffix('.').unwrap_or(&text))
}

/// Replaces what is neither letter, digit, hyphen, underscore, dot nor star, and cuts.
fn safe(text: &str) -> String {
    text.chars()
        .take(MAXIMUM_SHOWN)
        .map(|character| match character {
            '-' | '_' | '.' | '*' => character,
            _ if character.is_ascii_alphanumeric() => character,
            _ => '?',
        })
        .collect()
}
