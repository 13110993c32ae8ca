//! How kinds of value that serde does not know are read: optional durations, addresses that may be `off`, address blocks.
//! Also the helpers that sections check their values with.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::policy::duration;

/// Reads a duration that may be absent.
pub(super) fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration::deserialize(deserializer).map(Some)
}

/// Reads a duration that may be shorter than a second: `250ms`, or as others are written.
pub(super) fn short_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let Some(digits) = text.strip_suffix("ms") else { return duration::parse(&text).map_err(D::Error::custom) };
    let is_number = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number).map(Duration::from_millis).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is not a duration; write a whole number and `ms`, `s`, `m`, `h` or `d`, such as `250ms`"
        ))
    })
}

/// Reads the address of a listener.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_syntax| D::Error::custom(not_an_address(&text, "")))
}

/// Reads the address of a listener that may be `off`.
pub(super) fn address_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_syntax| D::Error::custom(not_an_address(&text, ", or `off`")))
}

fn not_an_address(text: &str, or: &str) -> String {
    format!("`{text}` is not an IP address and a port, such as `127.0.0.1:8443` or `[::1]:8443`{or}")
}

/// Reads a list of address blocks; an address alone is a block of one.
pub(super) fn blocks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .into_iter()
        .map(|text| {
            let block = text.parse::<IpNet>().or_else(|_block| text.parse::<IpAddr>().map(IpNet::from));
            match block {
                Ok(block) if block == block.trunc() => Ok(block),
                Ok(block) => {
                    Err(D::Error::custom(format!("`{text}` has bits set beyond its prefix; write `{}`", block.trunc())))
                }
                Err(_syntax) => Err(D::Error::custom(format!(
                    "`{text}` is not an IP address nor a block of addresses such as `10.0.0.0/8`"
                ))),
            }
        })
        .collect()
}

/// Reads a list of address blocks that may be absent.
pub(super) fn optional_blocks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<IpNet>>, D::Error> {
    blocks(deserializer).map(Some)
}

/// Reads a list of DNS servers: addresses, with a port if it is not 53.
pub(super) fn name_servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    const PORT: u16 = 53;
    Vec::<String>::deserialize(deserializer)?
        .into_iter()
        .map(|text| {
            let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT));
            address.or_else(|_port| text.parse::<SocketAddr>()).map_err(|_syntax| {
                D::Error::custom(format!(
                    "`{text}` is not an IP address with or without a port, such as `10.0.0.53` or `[fd00::53]:5353`"
                ))
            })
        })
        .collect()
}

/// Notes a problem unless a number is within its limits.
pub(super) fn within(problems: &mut Vec<String>, setting: &str, value: usize, minimum: usize, maximum: usize) {
    if !(minimum..=maximum).contains(&value) {
        problems.push(format!("`{setting}` is {value}; accepted is {minimum} to {maximum}"));
    }
}

/// Notes a problem unless a duration is within its limits, in seconds.
pub(super) fn lasting(problems: &mut Vec<String>, setting: &str, value: Duration, minimum: u64, maximum: u64) {
    if !(minimum..=maximum).contains(&value.as_secs()) {
        problems.push(format!(
            "`{setting}` is `{}`; accepted is `{}` to `{}`",
            duration::format(value),
            duration::format(Duration::from_secs(minimum)),
            duration::format(Duration::from_secs(maximum))
        ));
    }
}

/// Notes a problem unless a duration is within its limits, in milliseconds.
pub(super) fn shortly(problems: &mut Vec<String>, setting: &str, value: Duration, minimum: u64, maximum: u64) {
    let shown = |value: Duration| match value.subsec_millis() {
        0 => duration::format(value),
        _ => format!("{}ms", value.as_millis()),
    };
    let (minimum, maximum) = (Duration::from_millis(minimum), Duration::from_millis(maximum));
    if !(minimum..=maximum).contains(&value) {
        problems.push(format!(
            "`{setting}` is `{}`; accepted is `{}` to `{}`",
            shown(value),
            shown(minimum),
            shown(maximum)
        ));
    }
}

/// Notes a problem unless the text is a name: 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter.
pub(super) fn named(problems: &mut Vec<String>, setting: &str, name: &str) {
    let valid = (1..=63).contains(&name.len())
        && name.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
        && name.starts_with(|first: char| first.is_ascii_lowercase());
    if !valid {
        problems.push(format!("`{setting}` must be 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter"));
    }
}

/// Notes a problem for every name that is there more than once.
pub(super) fn distinct<'a>(problems: &mut Vec<String>, setting: &str, names: impl Iterator<Item = &'a str>) {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            problems.push(format!("`{setting}` has the name `{name}` more than once"));
        }
    }
}
