//! The settings of one issuer, kept with it as JSON: what is absent follows the process's settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Settings;
use crate::error::{Error, Result};
use crate::policy::duration;

/// The greatest number of CRL shards.
pub const MAXIMUM_SHARDS: u16 = 1024;

/// The settings of one issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IssuerSettings {
    /// Its CRLs.
    #[serde(skip_serializing_if = "is_default")]
    pub crl: IssuerCrlSettings,
    /// Its OCSP answers.
    #[serde(skip_serializing_if = "is_default")]
    pub ocsp: IssuerOcspSettings,
    /// The addresses that it writes into certificates.
    #[serde(skip_serializing_if = "is_default")]
    pub urls: IssuerUrls,
}

/// The CRLs of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IssuerCrlSettings {
    /// How many shards its CRL has for certificates issued from now on, at most 1024; 0: none, certificates name the full CRL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1024, example = 16)]
    pub shards: Option<u16>,
    /// How long a CRL is valid.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "7d")]
    pub validity: Option<Duration>,
    /// How old a CRL gets before the next one is made.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "24h")]
    pub refresh: Option<Duration>,
    /// How long after a full CRL or delta the next delta is made; with `0s` there are no deltas.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "1h")]
    pub delta_interval: Option<Duration>,
}

/// The OCSP answers of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IssuerOcspSettings {
    /// How long an answer is valid.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "12h")]
    pub validity: Option<Duration>,
}

/// Addresses written into certificates instead of those under the public URL; an empty list leaves the address out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IssuerUrls {
    /// Where the full CRL is fetched. Not used for certificates of a shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<Vec<String>>,
    /// Where the issuer's certificate is fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_issuers: Option<Vec<String>>,
    /// Where OCSP is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<Vec<String>>,
}

impl IssuerSettings {
    /// Reads the stored document.
    ///
    /// # Errors
    /// `Internal` when it is not one that this version wrote.
    pub fn from_stored(document: &str) -> Result<Self> {
        serde_json::from_str(document)
            .map_err(|error| Error::internal("the stored settings of an issuer cannot be read").with_source(error))
    }

    /// Returns the document to be stored.
    ///
    /// # Errors
    /// `Internal` when it cannot be encoded.
    pub fn to_stored(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::internal("the settings of an issuer cannot be encoded").with_source(error))
    }

    /// Checks the values against each other and against what the process's settings fill in.
    ///
    /// # Errors
    /// `Malformed`, naming the field and what would be accepted.
    pub fn check(&self, process: &Settings) -> Result<()> {
        let shards = self.crl.shards.unwrap_or_default();
        if shards > MAXIMUM_SHARDS {
            return Err(Error::malformed(format!("`crl.shards` is {shards}; at most {MAXIMUM_SHARDS}")));
        }
        let validity = self.crl.validity.unwrap_or(process.crl_validity);
        let refresh = self.crl.refresh.unwrap_or(process.crl_refresh);
        if validity < Duration::from_secs(60) || validity > Duration::from_secs(365 * 86_400) {
            return Err(Error::malformed("`crl.validity` must be from `60s` to `365d`"));
        }
        if refresh.is_zero() || refresh >= validity {
            return Err(Error::malformed(
                "`crl.refresh` must be shorter than `crl.validity`: the next CRL has to be there before the last ends",
            ));
        }
        let delta_interval = self.crl.delta_interval.filter(|interval| !interval.is_zero());
        if delta_interval.is_some_and(|interval| interval < Duration::from_secs(60)) {
            return Err(Error::malformed("`crl.delta_interval` must be `60s` or more, or `0s` for no deltas"));
        }
        if delta_interval.is_some_and(|interval| interval >= refresh) {
            return Err(Error::malformed(
                "`crl.delta_interval` must be shorter than `crl.refresh`, or `0s` for no deltas",
            ));
        }
        if self
            .ocsp
            .validity
            .is_some_and(|validity| validity < Duration::from_secs(60) || validity > Duration::from_secs(365 * 86_400))
        {
            return Err(Error::malformed("`ocsp.validity` must be from `60s` to `365d`"));
        }
        for (field, urls) in [("crl", &self.urls.crl), ("ca_issuers", &self.urls.ca_issuers), ("ocsp", &self.urls.ocsp)]
        {
            check_urls(field, urls.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }
}

fn check_urls(field: &str, urls: &[String]) -> Result<()> {
    if urls.len() > 4 {
        return Err(Error::malformed(format!("`urls.{field}` has {} addresses; at most 4", urls.len())));
    }
    for url in urls {
        let is_address = url.len() <= 1024
            && url.bytes().all(|octet| octet.is_ascii_graphic())
            && url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https" | "ldap"));
        if !is_address {
            return Err(Error::malformed(format!(
                "`urls.{field}`: `{}` is not an `http`, `https` or `ldap` address of at most 1024 characters",
                url.chars().take(64).flat_map(char::escape_default).collect::<String>()
            )));
        }
    }
    Ok(())
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A duration that may be absent, written as people write it.
mod optional_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::duration;

    #[expect(clippy::ref_option, reason = "the signature that serde asks for")]
    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => duration::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| duration::parse(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn process() -> Settings {
        Settings {
            public_url: "http://pki.test".to_owned(),
            crl_validity: Duration::from_secs(86_400),
            crl_refresh: Duration::from_secs(43_200),
            expiry_warning: Duration::from_secs(90 * 86_400),
            crl_shards: 0,
            crl_delta_interval: None,
            ocsp: crate::ca::ocsp::OcspSettings::default(),
        }
    }

    #[test]
    fn settings_are_read_as_they_were_stored() {
        let text = r#"{"crl":{"shards":16,"validity":"7d","refresh":"1d","delta_interval":"1h"},"urls":{"ocsp":[]}}"#;
        let settings = IssuerSettings::from_stored(text).unwrap();
        settings.check(&process()).unwrap();
        assert_eq!(settings.to_stored().unwrap(), text);
        assert_eq!(IssuerSettings::default().to_stored().unwrap(), "{}");
    }

    #[test]
    fn bad_settings_are_refused_with_what_would_be_accepted() {
        for (text, expected) in [
            (r#"{"crl":{"shards":1025}}"#, "at most 1024"),
            (r#"{"crl":{"validity":"1h"}}"#, "shorter than `crl.validity`"),
            (r#"{"crl":{"delta_interval":"12h"}}"#, "shorter than `crl.refresh`"),
            (r#"{"crl":{"delta_interval":"59s"}}"#, "must be `60s` or more"),
            (r#"{"crl":{"validity":"400d"}}"#, "from `60s` to `365d`"),
            (r#"{"ocsp":{"validity":"1s"}}"#, "`ocsp.validity`"),
            (r#"{"urls":{"crl":["ftp://pki.test/x"]}}"#, "`urls.crl`"),
        ] {
            let error = serde_json::from_str::<IssuerSettings>(text).unwrap().check(&process()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(serde_json::from_str::<IssuerSettings>(r#"{"crls":{}}"#).is_err());
    }
}
