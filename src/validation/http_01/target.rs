//! Where a request of http-01 goes: the identifier first, then what redirects lead to.

use std::fmt;

use super::super::host::Host;
use super::super::settings::ValidationSettings;
use crate::policy::acme::Identifier;

/// The longest path with query that a redirect may lead to, in octets.
const MAXIMUM_PATH: usize = 2000;

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The ports that redirects may lead to: the scheme's own, and that of the challenges. Others would make a scanner of us.
    const fn ports(self, settings: &ValidationSettings) -> [u16; 2] {
        let configured = match self {
            Self::Http => settings.http_01_port,
            Self::Https => settings.tls_alpn_01_port,
        };
        [self.default_port(), configured]
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: u16,
    /// Path and query, in ASCII.
    pub(super) path: String,
}

impl Target {
    /// The file of the challenge.
    pub(super) fn first(identifier: &Identifier, port: u16, token: &str) -> Self {
        let path = format!("/.well-known/acme-challenge/{token}");
        Self { scheme: Scheme::Http, host: Host::of(identifier), port, path }
    }

    /// Returns the value of `Host`.
    pub(super) fn authority(&self) -> String {
        self.host.authority(self.port, self.scheme.default_port())
    }

    /// Follows a redirect (RFC 9110, section 10.2.2); a fragment is left out.
    ///
    /// # Errors
    /// Why it is not followed; of `location` at most the host is named, in safe characters.
    pub(super) fn redirected(&self, location: &str, settings: &ValidationSettings) -> Result<Self, String> {
        let from = &self.host;
        // A name that is not one to the URL standard, such as one that ends in a number, cannot be the base of a relative reference.
        let base = url::Url::parse(&self.whole_url()).ok();
        let url = url::Url::options()
            .base_url(base.as_ref())
            .parse(location)
            .map_err(|_malformed| format!("`{from}` redirects to what is not a URL"))?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(format!("`{from}` redirects to another scheme than `http` and `https`")),
        };
        let host = Host::of_url(&url)
            .ok_or_else(|| format!("`{from}` redirects to a host that is neither a DNS name nor an address"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("`{from}` redirects to `{host}` with user information, which is not followed"));
        }
        let port = url.port_or_known_default().unwrap_or_else(|| scheme.default_port());
        let [own, configured] = scheme.ports(settings);
        if port != own && port != configured {
            let accepted = if own == configured { own.to_string() } else { format!("{own} and {configured}") };
            return Err(format!(
                "`{from}` redirects to port {port} of `{host}`; with `{}` accepted is {accepted}",
                scheme.as_str()
            ));
        }
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        if path.len() > MAXIMUM_PATH {
            return Err(format!(
                "`{from}` redirects to a path of {} octets at `{host}`; accepted are {MAXIMUM_PATH}",
                path.len()
            ));
        }
        Ok(Self { scheme, host, port, path })
    }

    /// Returns the whole URL. It holds what a redirect said, so it is compared and asked for, but not shown.
    pub(super) fn whole_url(&self) -> String {
        format!("{}://{}{}", self.scheme.as_str(), self.authority(), self.path)
    }
}

/// The target as messages show it: without the path, which a redirect may have chosen.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} port {}", self.scheme.as_str(), self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn first() -> Target {
        Target::first(&Identifier::Dns { name: "app.internal".to_owned(), wildcard: false }, 5002, "token")
    }

    fn settings() -> ValidationSettings {
        ValidationSettings { http_01_port: 5002, tls_alpn_01_port: 5001, ..ValidationSettings::default() }
    }

    fn redirected(location: &str) -> Result<String, String> {
        first().redirected(location, &settings()).map(|target| target.whole_url())
    }

    #[test]
    fn the_first_target_is_the_well_known_file() {
        assert_eq!(first().whole_url(), "http://app.internal:5002/.well-known/acme-challenge/token");
        let v6 = Target::first(&Identifier::Ip("fd00::1".parse().unwrap()), 80, "token");
        assert_eq!(v6.whole_url(), "http://[fd00::1]/.well-known/acme-challenge/token");
        assert_eq!(v6.authority(), "[fd00::1]");
    }

    #[test]
    fn references_are_resolved_and_fragments_left_out() {
        for (location, expected) in [
            ("/other", "http://app.internal:5002/other"),
            ("other?a=b#c", "http://app.internal:5002/.well-known/acme-challenge/other?a=b"),
            ("../x", "http://app.internal:5002/.well-known/x"),
            ("?q", "http://app.internal:5002/.well-known/acme-challenge/token?q"),
            ("//b.internal/x", "http://b.internal/x"),
            ("http://b.internal", "http://b.internal/"),
            ("http://b.internal:80/x", "http://b.internal/x"),
            ("http://b.internal:5002/x", "http://b.internal:5002/x"),
            ("https://b.internal/x", "https://b.internal/x"),
            ("https://B.internal.:443/x#y", "https://b.internal/x"),
            ("https://b.internal:5001/x", "https://b.internal:5001/x"),
            ("http://10.0.0.1/x", "http://10.0.0.1/x"),
            ("https://[fd00::1]:5001/x", "https://[fd00::1]:5001/x"),
        ] {
            assert_eq!(redirected(location).unwrap(), expected, "{location}");
        }
    }

    #[test]
    fn redirects_elsewhere_are_refused() {
        for (location, why) in [
            ("ftp://b.internal/x", "another scheme"),
            ("javascript:alert(1)", "another scheme"),
            ("file:///etc/passwd", "another scheme"),
            ("http://", "not a URL"),
            ("http://a b/", "not a URL"),
            ("http://[fe80::1%25eth0]/", "not a URL"),
            ("http://b!.internal/", "neither a DNS name nor an address"),
            ("http://user@b.internal/", "user information"),
            ("http://user:secret@b.internal/", "user information"),
            ("http://:secret@b.internal/", "user information"),
            ("http://b.internal:8080/", "port 8080"),
            ("http://b.internal:443/", "port 443"),
            ("https://b.internal:80/", "port 80"),
            ("http://b.internal:0/", "port 0"),
            ("http://b.internal:65536/", "not a URL"),
        ] {
            let refusal = redirected(location).unwrap_err();
            assert!(refusal.contains(why), "{location}: {refusal}");
            assert!(!refusal.contains("secret"), "{refusal}");
        }
        assert!(redirected(&format!("/{}", "a".repeat(1999))).is_ok());
        let refusal = redirected(&format!("/{}", "a".repeat(2000))).unwrap_err();
        assert!(refusal.contains("path of 2001 octets"), "{refusal}");
        let refusal = redirected(&format!("/?{}", "a".repeat(2000))).unwrap_err();
        assert!(refusal.contains("path of 2002 octets"), "{refusal}");
    }

    #[test]
    fn a_relative_reference_needs_a_base_that_is_a_url() {
        let odd = Target::first(&Identifier::Dns { name: "app.1".to_owned(), wildcard: false }, 80, "token");
        assert!(odd.redirected("/x", &settings()).unwrap_err().contains("not a URL"));
        assert!(odd.redirected("http://b.internal/x", &settings()).is_ok());
    }

    #[test]
    fn the_host_of_a_location_is_cut_short() {
        let label = "a".repeat(60);
        let refusal = redirected(&format!("http://{label}.{label}.internal:8080/")).unwrap_err();
        assert!(refusal.contains(&format!("`{label}.aaa...`")), "{refusal}");
    }
}
