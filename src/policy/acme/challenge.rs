//! The kinds of challenges, for which identifiers they are offered, and what their answers must hold.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::Identifier;

/// A kind of challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub enum ChallengeType {
    /// A file on the name's own web server (RFC 8555, section 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A TXT record of the name (RFC 8555, section 8.4).
    #[serde(rename = "dns-01")]
    Dns01,
    /// A TLS handshake with a certificate made for it (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// A TXT record that belongs to one account (draft-ietf-acme-dns-account-label).
    #[serde(rename = "dns-account-01")]
    DnsAccount01,
    /// A TXT record that stays and names account and CA (draft-ietf-acme-dns-persist).
    #[serde(rename = "dns-persist-01")]
    DnsPersist01,
}

impl ChallengeType {
    /// Every kind, in the order they are offered in.
    pub const ALL: [Self; 5] = [Self::Http01, Self::Dns01, Self::TlsAlpn01, Self::DnsAccount01, Self::DnsPersist01];

    /// Returns the name as ACME writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::DnsAccount01 => "dns-account-01",
            Self::DnsPersist01 => "dns-persist-01",
        }
    }

    /// Finds a kind by its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// Whether it can prove control of an identifier: a wildcard only through the DNS (RFC 8555, section 7.1.3; RFC 8737, section 3), an
    /// address never (RFC 8738, section 7).
    #[must_use]
    pub const fn proves(self, identifier: &Identifier) -> bool {
        match (self, identifier) {
            (Self::Http01 | Self::TlsAlpn01, Identifier::Dns { wildcard, .. }) => !*wildcard,
            (Self::Http01 | Self::TlsAlpn01, Identifier::Ip(_)) => true,
            (Self::Dns01 | Self::DnsAccount01 | Self::DnsPersist01, Identifier::Dns { .. }) => true,
            (Self::Dns01 | Self::DnsAccount01 | Self::DnsPersist01, Identifier::Ip(_)) => false,
        }
    }
}

impl fmt::Display for ChallengeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns the key authorization (RFC 8555, section 8.1): the token, a dot, and the thumbprint of the account key (RFC 7638), base64url.
#[must_use]
pub fn key_authorization(token: &str, thumbprint: &[u8; 32]) -> String {
    format!("{token}.{}", URL_SAFE_NO_PAD.encode(thumbprint))
}

/// Returns the SHA-256 of a key authorization: what tls-alpn-01 carries (RFC 8737, section 3), and dns-01 in base64url.
#[must_use]
pub fn key_authorization_digest(key_authorization: &str) -> [u8; 32] {
    let mut octets = [0; 32];
    for (octet, value) in octets.iter_mut().zip(digest::digest(&digest::SHA256, key_authorization.as_bytes()).as_ref())
    {
        *octet = *value;
    }
    octets
}

/// Returns the value of the TXT record of dns-01 and dns-account-01 (RFC 8555, section 8.4): 43 characters.
#[must_use]
pub fn txt_value(key_authorization: &str) -> String {
    URL_SAFE_NO_PAD.encode(key_authorization_digest(key_authorization))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn wildcards_are_proven_by_dns_and_addresses_without_it() {
        let dns = |wildcard| Identifier::Dns { name: "a.internal".to_owned(), wildcard };
        let offered = |identifier: &Identifier| {
            ChallengeType::ALL
                .into_iter()
                .filter(|kind| kind.proves(identifier))
                .map(ChallengeType::as_str)
                .collect::<Vec<_>>()
        };
        assert_eq!(offered(&dns(false)).len(), 5);
        assert_eq!(offered(&dns(true)), ["dns-01", "dns-account-01", "dns-persist-01"]);
        assert_eq!(offered(&Identifier::Ip("10.0.0.1".parse().unwrap())), ["http-01", "tls-alpn-01"]);
    }

    #[test]
    fn the_txt_value_is_the_digest_of_the_key_authorization() {
        // echo -n 'token.thumbprint' | openssl dgst -sha256 -binary | basenc --base64url
        let value =
            txt_value("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI");
        assert_eq!(value, "lCM7cZyQXcVHK2nnW3jjAhNT3Fvm18UN-kWZZknKoYM");
        assert_eq!(key_authorization("t", &[0; 32]), format!("t.{}", "A".repeat(43)));
    }

    #[test]
    fn names_turn_back_into_kinds() {
        for kind in ChallengeType::ALL {
            assert_eq!(ChallengeType::from_name(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert_eq!(ChallengeType::from_name("tls-sni-01"), None);
    }
}
