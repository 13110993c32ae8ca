//! Asks DNS servers: which ones for which zone, what is asked, and what an answer means. A single exchange with a server is in `exchange.rs`.
//!
//! Challenges are answered by what is in the DNS now: there is no cache, no hosts file and no search list. The servers are recursive resolvers
//! that the operator trusts; where they validate DNSSEC, what is bogus comes back as SERVFAIL and proves nothing.

mod chain;
mod exchange;
mod failure;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use self::chain::{Chain, Step};
use self::exchange::{Reply, Server, Trouble};
use self::failure::Absent;
use crate::ca::acme::validation::ValidationFailure;
use crate::error::{AcmeErrorType, Error, Result};
use crate::policy::acme::caa::CaaRecord;

/// The most servers that one zone may have.
const MAXIMUM_SERVERS: usize = 8;

/// The most addresses of one family that a name is taken to have.
const MAXIMUM_ADDRESSES: usize = 8;

/// The most CAA records of one name that are judged; more are refused, as none may be overlooked.
const MAXIMUM_CAA_RECORDS: usize = 100;

/// The port of DNS servers.
const PORT: u16 = 53;

/// Which servers are asked, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverSettings {
    /// The servers for names of no zone in `zones`; empty: those of the operating system.
    pub resolvers: Vec<SocketAddr>,
    /// The zones with servers of their own; of several that hold a name the longest counts.
    pub zones: Vec<ZoneResolvers>,
    /// How long one server may take for one answer, over UDP and TCP together.
    pub timeout: Duration,
    /// How often a server that does not answer is asked.
    pub attempts: u32,
}

impl Default for ResolverSettings {
    fn default() -> Self {
        Self { resolvers: Vec::new(), zones: Vec::new(), timeout: Duration::from_secs(2), attempts: 2 }
    }
}

/// The servers of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneResolvers {
    /// The zone: its name and all names below.
    pub zone: String,
    /// The servers, in the order they are asked in; at least one.
    pub resolvers: Vec<SocketAddr>,
}

/// What a look-up found out.
enum Answer {
    /// Records of the type that was asked for, at least one.
    Records(Vec<RData>),
    /// There are none.
    Absent(Absent),
}

/// Asks DNS servers.
pub struct Resolver {
    /// Zones with servers of their own, longest first.
    zones: Vec<Group>,
    default: Group,
    timeout: Duration,
    attempts: u32,
}

/// The servers that are asked for the names of a zone.
struct Group {
    /// The zone, absolute.
    zone: Name,
    /// None when those of the operating system were to be asked and could not be found.
    servers: Vec<Server>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("zone", &self.zone).field("servers", &self.addresses()).finish()
    }
}

impl Group {
    fn new(zone: Name, mut addresses: Vec<SocketAddr>, timeout: Duration) -> Result<Self> {
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        if addresses.len() > MAXIMUM_SERVERS {
            return Err(Error::configuration(format!(
                "{} DNS servers are given for the zone `{zone}`; at most {MAXIMUM_SERVERS} are taken",
                addresses.len()
            )));
        }
        let servers = addresses.into_iter().map(|address| Server::new(address, timeout)).collect::<Result<_>>()?;
        Ok(Self { zone, servers })
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::address).collect()
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("zones", &self.zones).field("default", &self.default).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Makes a resolver. Sends nothing. When the servers of the operating system are to be asked and cannot be found, each look-up fails and says
    /// so.
    ///
    /// # Errors
    /// `Configuration` for a zone that is no name, is given twice or has no servers, for too many servers, and for bounds of zero.
    pub fn new(settings: ResolverSettings) -> Result<Self> {
        if settings.timeout.is_zero() || settings.attempts == 0 {
            return Err(Error::configuration("the timeout and the attempts of DNS look-ups must be more than zero"));
        }
        let mut zones: Vec<Group> = Vec::with_capacity(settings.zones.len());
        for ZoneResolvers { zone, resolvers } in settings.zones {
            let Some(name) = absolute(&zone) else {
                return Err(Error::configuration(format!("the zone `{zone}` is not a name; write `corp.internal`")));
            };
            if resolvers.is_empty() {
                return Err(Error::configuration(format!("the zone `{zone}` has no resolvers; give at least one")));
            }
            if zones.iter().any(|known| known.zone == name) {
                return Err(Error::configuration(format!("the zone `{zone}` is given twice; give its resolvers once")));
            }
            zones.push(Group::new(name, resolvers, settings.timeout)?);
        }
        zones.sort_by_key(|group| std::cmp::Reverse(group.zone.num_labels()));
        let default = if settings.resolvers.is_empty() { exchange::system_servers() } else { settings.resolvers };
        let default = Group::new(Name::root(), default, settings.timeout)?;
        Ok(Self { zones, default, timeout: settings.timeout, attempts: settings.attempts })
    }

    /// Returns the addresses of a name, IPv6 first, at most eight of each family. Aliases are followed.
    ///
    /// # Errors
    /// `dns` when there are none, or when neither question was answered.
    pub async fn addresses(&self, name: &str) -> std::result::Result<Vec<IpAddr>, ValidationFailure> {
        let six = self.look_up(name, RecordType::AAAA);
        let four = self.look_up(name, RecordType::A);
        let (six, four) = future::join(six, four).await;
        let mut found = Vec::new();
        let mut trouble = None;
        let mut absent = None;
        for outcome in [six, four] {
            match outcome {
                Ok(Answer::Records(records)) => {
                    let addresses = records.iter().filter_map(|data| match data {
                        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                        RData::A(address) => Some(IpAddr::V4(address.0)),
                        _ => None,
                    });
                    found.extend(addresses.take(MAXIMUM_ADDRESSES));
                }
                Ok(Answer::Absent(reason)) => absent = Some(reason),
                Err(failure) => trouble = Some(failure),
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        // What could not be asked may exist; that it failed is said before that the other family is absent.
        Err(trouble
            .or_else(|| absent.map(|absent| absent.failure("AAAA or A")))
            .unwrap_or_else(|| failure::not_a_name(name)))
    }

    /// Returns the TXT records of a name, the strings of each joined; octets that are no UTF-8 are replaced by U+FFFD. As many as fit into a DNS
    /// message, and at least one. Aliases are followed.
    ///
    /// # Errors
    /// `dns` when there are none, or when the question was not answered.
    pub async fn txt(&self, name: &str) -> std::result::Result<Vec<String>, ValidationFailure> {
        match self.look_up(name, RecordType::TXT).await? {
            Answer::Absent(absent) => Err(absent.failure("TXT")),
            Answer::Records(records) => Ok(records
                .iter()
                .filter_map(|data| match data {
                    RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
                    _ => None,
                })
                .collect()),
        }
    }

    /// Returns the CAA records of a name; empty when it has none or does not exist. Aliases are followed (RFC 8659, section 3).
    ///
    /// # Errors
    /// `dns` when the question was not answered.
    pub async fn caa(&self, name: &str) -> std::result::Result<Vec<CaaRecord>, ValidationFailure> {
        let records = match self.look_up(name, RecordType::CAA).await? {
            Answer::Absent(_) => return Ok(Vec::new()),
            Answer::Records(records) => records,
        };
        if records.len() > MAXIMUM_CAA_RECORDS {
            return Err(ValidationFailure::new(
                AcmeErrorType::Caa,
                format!("`{name}` has {} CAA records; at most {MAXIMUM_CAA_RECORDS} are judged", records.len()),
            ));
        }
        Ok(records
            .into_iter()
            .filter_map(|data| match data {
                RData::CAA(caa) => Some(CaaRecord { flags: caa.flags(), tag: caa.tag, value: caa.value }),
                _ => None,
            })
            .collect())
    }

    /// Asks for the records of a name and follows aliases. What a server says of a name in a zone of other servers is not taken from it.
    async fn look_up(&self, name: &str, kind: RecordType) -> std::result::Result<Answer, ValidationFailure> {
        let Some(mut current) = absolute(name) else {
            return Err(failure::not_a_name(name));
        };
        let mut chain = Chain::new(current.clone());
        loop {
            let group = self.group(&current);
            let reply = self
                .ask(group, &current, kind)
                .await
                .map_err(|troubles| failure::unanswered(&chain, kind, &troubles, self.timeout))?;
            match chain.read(reply, kind, |target| std::ptr::eq(self.group(target), group)) {
                Step::Records(records) => return Ok(Answer::Records(records)),
                Step::Ask(target) => current = target,
                Step::Absent { exists } => {
                    return Ok(Answer::Absent(Absent { chain, exists, asked: group.addresses() }));
                }
                Step::Loop => return Err(failure::alias_loop(&chain)),
                Step::TooLong => return Err(failure::too_many_aliases(&chain)),
            }
        }
    }

    /// Asks the servers of a group one after the other until one answers; who was silent is asked again.
    async fn ask(
        &self,
        group: &Group,
        name: &Name,
        kind: RecordType,
    ) -> std::result::Result<Reply, Vec<(SocketAddr, Trouble)>> {
        let mut troubles: HashMap<SocketAddr, Trouble> = HashMap::with_capacity(group.servers.len());
        for _ in 0..self.attempts {
            for server in &group.servers {
                if troubles.get(&server.address()).is_some_and(|trouble| !trouble.may_pass()) {
                    continue;
                }
                match server.ask(name, kind, self.timeout).await {
                    Ok(reply) => return Ok(reply),
                    Err(trouble) => {
                        tracing::debug!(server = %server.address(), %name, %kind, ?trouble, "a DNS server did not answer");
                        troubles.insert(server.address(), trouble);
                    }
                }
            }
        }
        Err(group.addresses().into_iter().filter_map(|address| troubles.remove_entry(&address)).collect())
    }

    /// Returns the servers for a name.
    fn group(&self, name: &Name) -> &Group {
        self.zones.iter().find(|group| group.zone.zone_of(name)).unwrap_or(&self.default)
    }
}

/// Reads a server as the configuration writes it: an IP address, with a port unless that is 53.
///
/// # Errors
/// `Configuration` when it is neither.
pub fn parse_server(text: &str) -> Result<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, PORT));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(address),
        Ok(_) | Err(_) => Err(Error::configuration(format!(
            "the DNS server `{text}` is not an IP address with or without a port; write `10.0.0.53`, `10.0.0.53:5353` or \
             `[fd00::53]:53`"
        ))),
    }
}

/// Returns a name of letters, digits, hyphens, underscores and dots as an absolute one; `None` for everything else, and for one that is too long.
fn absolute(name: &str) -> Option<Name> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        return None;
    }
    // What fails here is a label or a name that is too long, or a label that is empty: no name.
    Name::from_ascii(format!("{name}.")).ok()
}

#[cfg(test)]
mod tests;
