//! The attribute types of distinguished names that have a name here, with their bounds and string types.
//!
//! Which of them a profile admits is decided in `policy/`.

use const_oid::ObjectIdentifier;
use serde::{Deserialize, Serialize};

use crate::x509::encoding;

/// The attribute types that profiles and requests can name; any other is an unlisted OID and refused by policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttributeType {
    /// `C`, a two-letter country code, `PrintableString`.
    Country,
    /// `ST`.
    #[serde(alias = "state_or_province")]
    State,
    /// `L`.
    Locality,
    /// `street`.
    StreetAddress,
    /// `postalCode`.
    PostalCode,
    /// `O`.
    Organization,
    /// `OU`.
    OrganizationalUnit,
    /// `CN`.
    CommonName,
    /// `serialNumber`, of the subject and not of the certificate.
    SerialNumber,
    /// `GN`.
    GivenName,
    /// `SN`.
    Surname,
    /// `title`.
    Title,
    /// `DC`, `IA5String`.
    DomainComponent,
    /// `UID`.
    UserId,
    /// `emailAddress` (PKCS #9), `IA5String`.
    EmailAddress,
    /// `organizationIdentifier`.
    OrganizationIdentifier,
}

impl AttributeType {
    /// Every type.
    pub const ALL: [Self; 16] = [
        Self::Country,
        Self::State,
        Self::Locality,
        Self::StreetAddress,
        Self::PostalCode,
        Self::Organization,
        Self::OrganizationalUnit,
        Self::CommonName,
        Self::SerialNumber,
        Self::GivenName,
        Self::Surname,
        Self::Title,
        Self::DomainComponent,
        Self::UserId,
        Self::EmailAddress,
        Self::OrganizationIdentifier,
    ];

    /// Returns the `snake_case` name used in profiles and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::State => "state",
            Self::Locality => "locality",
            Self::StreetAddress => "street_address",
            Self::PostalCode => "postal_code",
            Self::Organization => "organization",
            Self::OrganizationalUnit => "organizational_unit",
            Self::CommonName => "common_name",
            Self::SerialNumber => "serial_number",
            Self::GivenName => "given_name",
            Self::Surname => "surname",
            Self::Title => "title",
            Self::DomainComponent => "domain_component",
            Self::UserId => "user_id",
            Self::EmailAddress => "email_address",
            Self::OrganizationIdentifier => "organization_identifier",
        }
    }

    /// Returns the short name of RFC 4514, section 3 (or OpenSSL's where that has none), such as `CN`.
    #[must_use]
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Country => "C",
            Self::State => "ST",
            Self::Locality => "L",
            Self::StreetAddress => "STREET",
            Self::PostalCode => "postalCode",
            Self::Organization => "O",
            Self::OrganizationalUnit => "OU",
            Self::CommonName => "CN",
            Self::SerialNumber => "serialNumber",
            Self::GivenName => "GN",
            Self::Surname => "SN",
            Self::Title => "title",
            Self::DomainComponent => "DC",
            Self::UserId => "UID",
            Self::EmailAddress => "emailAddress",
            Self::OrganizationIdentifier => "organizationIdentifier",
        }
    }

    /// Returns the object identifier.
    #[must_use]
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Country => const { ObjectIdentifier::new_unwrap("2.5.4.6") },
            Self::State => const { ObjectIdentifier::new_unwrap("2.5.4.8") },
            Self::Locality => const { ObjectIdentifier::new_unwrap("2.5.4.7") },
            Self::StreetAddress => const { ObjectIdentifier::new_unwrap("2.5.4.9") },
            Self::PostalCode => const { ObjectIdentifier::new_unwrap("2.5.4.17") },
            Self::Organization => const { ObjectIdentifier::new_unwrap("2.5.4.10") },
            Self::OrganizationalUnit => const { ObjectIdentifier::new_unwrap("2.5.4.11") },
            Self::CommonName => const { ObjectIdentifier::new_unwrap("2.5.4.3") },
            Self::SerialNumber => const { ObjectIdentifier::new_unwrap("2.5.4.5") },
            Self::GivenName => const { ObjectIdentifier::new_unwrap("2.5.4.42") },
            Self::Surname => const { ObjectIdentifier::new_unwrap("2.5.4.4") },
            Self::Title => const { ObjectIdentifier::new_unwrap("2.5.4.12") },
            Self::DomainComponent => const { ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25") },
            Self::UserId => const { ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1") },
            Self::EmailAddress => const { ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1") },
            Self::OrganizationIdentifier => const { ObjectIdentifier::new_unwrap("2.5.4.97") },
        }
    }

    /// Finds the type of an object identifier.
    #[must_use]
    pub fn from_oid(oid: &ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|attribute_type| attribute_type.oid() == *oid)
    }

    /// Finds the type of a name as people write it: the short or the `snake_case` name in either case, OpenSSL's long name, or
    /// the dotted object identifier.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let same = |other: &str| name.eq_ignore_ascii_case(other);
        let long_name_of = |attribute_type: Self| attribute_type.as_str().replace('_', "");
        match name {
            _ if same("S") || same("SP") || same("stateOrProvinceName") || same("state_or_province") => {
                Some(Self::State)
            }
            _ if same("E") || same("email") => Some(Self::EmailAddress),
            _ if same("street") => Some(Self::StreetAddress),
            _ if same("countryName") => Some(Self::Country),
            _ if same("localityName") => Some(Self::Locality),
            _ if same("organizationName") => Some(Self::Organization),
            _ if same("organizationalUnitName") => Some(Self::OrganizationalUnit),
            _ => Self::ALL.into_iter().find(|attribute_type| {
                same(attribute_type.short_name())
                    || same(attribute_type.as_str())
                    || same(&long_name_of(*attribute_type))
                    || name == attribute_type.oid().to_string()
            }),
        }
    }

    /// Returns the upper bound in characters of RFC 5280, appendix A.1 (`ub-common-name` 64 and so on); of X.520 for types that
    /// are not in it, and one DNS label for a domain component.
    #[must_use]
    pub const fn maximum_length(self) -> usize {
        match self {
            Self::Country => 2,
            Self::State => 128,
            Self::Locality => 128,
            Self::StreetAddress => 128,
            Self::PostalCode => 40,
            Self::Organization => 64,
            Self::OrganizationalUnit => 64,
            Self::CommonName => 64,
            Self::SerialNumber => 64,
            Self::GivenName => 32768,
            Self::Surname => 32768,
            Self::Title => 64,
            Self::DomainComponent => 63,
            Self::UserId => 256,
            Self::EmailAddress => 255,
            Self::OrganizationIdentifier => 256,
        }
    }

    /// Returns the one string type the value must have (RFC 5280, appendix A.1), or `None` when `UTF8String` and others may be used.
    pub(crate) const fn only_string_type(self) -> Option<(u8, &'static str)> {
        match self {
            Self::Country | Self::SerialNumber => Some((encoding::PRINTABLE_STRING, "PrintableString")),
            Self::DomainComponent | Self::EmailAddress => Some((encoding::IA5_STRING, "IA5String")),
            Self::State
            | Self::Locality
            | Self::StreetAddress
            | Self::PostalCode
            | Self::Organization
            | Self::OrganizationalUnit
            | Self::CommonName
            | Self::GivenName
            | Self::Surname
            | Self::Title
            | Self::UserId
            | Self::OrganizationIdentifier => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_each_of_its_names() {
        for attribute_type in AttributeType::ALL {
            assert_eq!(AttributeType::from_oid(&attribute_type.oid()), Some(attribute_type));
            assert_eq!(AttributeType::from_name(attribute_type.short_name()), Some(attribute_type));
            assert_eq!(AttributeType::from_name(attribute_type.as_str()), Some(attribute_type));
            let json = serde_json::to_string(&attribute_type).unwrap();
            assert_eq!(json, format!("\"{}\"", attribute_type.as_str()));
        }
        assert_eq!(AttributeType::from_name("organizationalUnitName"), Some(AttributeType::OrganizationalUnit));
        assert_eq!(AttributeType::from_name("nonsense"), None);
    }
}
