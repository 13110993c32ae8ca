//! The grammar of what is taken apart, checked strictly (ITU-T X.690, DER) before x509-parser reads the values.
//!
//! Only shapes: which fields there are, in which order, each encoded in the one way that DER allows. What they mean is not looked at.

use super::{Reader, Value};
use crate::error::{Error, Result};
use crate::x509::encoding::{self, context, context_constructed};

/// How a value is built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Anything; its content is not looked at.
    Any,
    /// A primitive value with this identifier octet.
    Primitive(u8),
    /// An INTEGER that is not negative.
    Unsigned,
    /// A BIT STRING of whole octets.
    OctetBits,
    /// `UTCTime` or `GeneralizedTime`, in UTC, with seconds, without fractions (RFC 5280, section 4.1.2.5).
    Time,
    /// These fields in this order, in a value with this identifier octet.
    Fields(u8, &'static [Field]),
    /// Any number of these, in a value with this identifier octet.
    Many(u8, &'static Self),
}

/// One field of a SEQUENCE.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    /// Must be there.
    Required(Shape),
    /// May be absent.
    Optional(Shape),
}

use Field::{Optional, Required};
use Shape::{Any, Fields, Many, OctetBits, Primitive, Unsigned};

const OID: Shape = Primitive(encoding::OBJECT_IDENTIFIER);
const ALGORITHM: Shape = Fields(encoding::SEQUENCE, &[Required(OID), Optional(Any)]);
const EXTENSION: Shape = Fields(
    encoding::SEQUENCE,
    &[Required(OID), Optional(Primitive(encoding::BOOLEAN)), Required(Primitive(encoding::OCTET_STRING))],
);

/// `Time`.
pub(crate) const TIME: Shape = Shape::Time;
/// An INTEGER that is not negative, such as a CRL number.
pub(crate) const UNSIGNED: Shape = Unsigned;
/// `Name`. An attribute value may be anything; what is odd about it is noted and judged later.
pub(crate) const NAME: Shape =
    Many(encoding::SEQUENCE, &Many(encoding::SET, &Fields(encoding::SEQUENCE, &[Required(OID), Required(Any)])));
/// `AlgorithmIdentifier`.
pub(crate) const ALGORITHM_IDENTIFIER: Shape = ALGORITHM;
/// `SubjectPublicKeyInfo`.
pub(crate) const PUBLIC_KEY: Shape = Fields(encoding::SEQUENCE, &[Required(ALGORITHM), Required(OctetBits)]);
/// `RSAPublicKey` (RFC 8017, appendix A.1.1).
pub(crate) const RSA_PUBLIC_KEY: Shape = Fields(encoding::SEQUENCE, &[Required(Unsigned), Required(Unsigned)]);
/// `Extensions`.
pub(crate) const EXTENSIONS: Shape = Many(encoding::SEQUENCE, &EXTENSION);

/// `Certificate` (RFC 5280, section 4.1).
pub(crate) const CERTIFICATE: Shape = Fields(
    encoding::SEQUENCE,
    &[
        Required(Fields(
            encoding::SEQUENCE,
            &[
                Optional(Fields(context_constructed(0), &[Required(Unsigned)])),
                Required(Unsigned),
                Required(ALGORITHM),
                Required(NAME),
                Required(Fields(encoding::SEQUENCE, &[Required(TIME), Required(TIME)])),
                Required(NAME),
                Required(PUBLIC_KEY),
                Optional(Primitive(context(1))),
                Optional(Primitive(context(2))),
                Optional(Fields(context_constructed(3), &[Required(EXTENSIONS)])),
            ],
        )),
        Required(ALGORITHM),
        Required(OctetBits),
    ],
);

/// `CertificationRequest` (RFC 2986, section 4).
pub(crate) const CERTIFICATE_REQUEST: Shape = Fields(
    encoding::SEQUENCE,
    &[
        Required(Fields(
            encoding::SEQUENCE,
            &[
                Required(Unsigned),
                Required(NAME),
                Required(PUBLIC_KEY),
                // The attributes are not optional, but some programs leave them out when there are none.
                Optional(Many(
                    context_constructed(0),
                    &Fields(encoding::SEQUENCE, &[Required(OID), Required(Many(encoding::SET, &Any))]),
                )),
            ],
        )),
        Required(ALGORITHM),
        Required(OctetBits),
    ],
);

/// `CertificateList` (RFC 5280, section 5.1).
pub(crate) const CERTIFICATE_LIST: Shape = Fields(
    encoding::SEQUENCE,
    &[
        Required(Fields(
            encoding::SEQUENCE,
            &[
                Optional(Unsigned),
                Required(ALGORITHM),
                Required(NAME),
                Required(TIME),
                Optional(TIME),
                Optional(Many(
                    encoding::SEQUENCE,
                    &Fields(encoding::SEQUENCE, &[Required(Unsigned), Required(TIME), Optional(EXTENSIONS)]),
                )),
                Optional(Fields(context_constructed(0), &[Required(EXTENSIONS)])),
            ],
        )),
        Required(ALGORITHM),
        Required(OctetBits),
    ],
);

/// `BasicConstraints`.
pub(crate) const BASIC_CONSTRAINTS: Shape =
    Fields(encoding::SEQUENCE, &[Optional(Primitive(encoding::BOOLEAN)), Optional(Unsigned)]);
/// `KeyUsage`.
pub(crate) const KEY_USAGE: Shape = Primitive(encoding::BIT_STRING);
/// `ExtKeyUsageSyntax`.
pub(crate) const EXTENDED_KEY_USAGE: Shape = Many(encoding::SEQUENCE, &OID);
/// `SubjectKeyIdentifier`.
pub(crate) const KEY_IDENTIFIER: Shape = Primitive(encoding::OCTET_STRING);
/// `AuthorityKeyIdentifier`.
pub(crate) const AUTHORITY_KEY_IDENTIFIER: Shape = Fields(
    encoding::SEQUENCE,
    &[Optional(Primitive(context(0))), Optional(Many(context_constructed(1), &Any)), Optional(Primitive(context(2)))],
);
/// `Features` of the TLS feature extension (RFC 7633).
pub(crate) const TLS_FEATURES: Shape = Many(encoding::SEQUENCE, &Unsigned);
/// `AuthorityInfoAccessSyntax` and `SubjectInfoAccessSyntax`.
pub(crate) const INFORMATION_ACCESS: Shape =
    Many(encoding::SEQUENCE, &Fields(encoding::SEQUENCE, &[Required(OID), Required(Any)]));
/// `CRLDistributionPoints`.
pub(crate) const DISTRIBUTION_POINTS: Shape = Many(
    encoding::SEQUENCE,
    &Fields(
        encoding::SEQUENCE,
        &[
            Optional(Many(context_constructed(0), &Any)),
            Optional(Primitive(context(1))),
            Optional(Many(context_constructed(2), &Any)),
        ],
    ),
);
/// `IssuingDistributionPoint`.
pub(crate) const ISSUING_DISTRIBUTION_POINT: Shape = Fields(
    encoding::SEQUENCE,
    &[
        Optional(Fields(context_constructed(0), &[Required(Any)])),
        Optional(Primitive(context(1))),
        Optional(Primitive(context(2))),
        Optional(Primitive(context(3))),
        Optional(Primitive(context(4))),
        Optional(Primitive(context(5))),
    ],
);
/// `NameConstraints`. A base is any `GeneralName`.
pub(crate) const NAME_CONSTRAINTS: Shape = Fields(
    encoding::SEQUENCE,
    &[
        Optional(Many(context_constructed(0), &GENERAL_SUBTREE)),
        Optional(Many(context_constructed(1), &GENERAL_SUBTREE)),
    ],
);
const GENERAL_SUBTREE: Shape =
    Fields(encoding::SEQUENCE, &[Required(Any), Optional(Primitive(context(0))), Optional(Primitive(context(1)))]);
/// `PolicyConstraints`.
pub(crate) const POLICY_CONSTRAINTS: Shape =
    Fields(encoding::SEQUENCE, &[Optional(Primitive(context(0))), Optional(Primitive(context(1)))]);
/// `PolicyMappings`.
pub(crate) const POLICY_MAPPINGS: Shape =
    Many(encoding::SEQUENCE, &Fields(encoding::SEQUENCE, &[Required(OID), Required(OID)]));
/// `CertificatePolicies`.
pub(crate) const CERTIFICATE_POLICIES: Shape =
    Many(encoding::SEQUENCE, &Fields(encoding::SEQUENCE, &[Required(OID), Optional(Many(encoding::SEQUENCE, &Any))]));

impl Shape {
    /// Checks that the input is exactly one value of this shape. `what` names it in errors.
    ///
    /// # Errors
    /// `Malformed`.
    pub(crate) fn check(&self, der: &[u8], what: &str) -> Result<()> {
        let mut reader = Reader::new(der);
        self.check_value(reader.any(what)?, what)?;
        reader.finish(what)
    }

    /// Whether a value with this identifier octet may be of this shape.
    fn begins_with(&self, tag: u8) -> bool {
        match self {
            Self::Any => true,
            Self::Primitive(own) | Self::Fields(own, _) | Self::Many(own, _) => *own == tag,
            Self::Unsigned => tag == encoding::INTEGER,
            Self::OctetBits => tag == encoding::BIT_STRING,
            Self::Time => tag == encoding::UTC_TIME || tag == encoding::GENERALIZED_TIME,
        }
    }

    // The recursion is as deep as the constants above, whatever the input.
    fn check_value(&self, value: Value<'_>, what: &str) -> Result<()> {
        if !self.begins_with(value.tag) {
            return Err(Error::malformed(format!("{what}: the tag 0x{:02x} is not expected there", value.tag)));
        }
        match self {
            Self::Any => Ok(()),
            Self::Primitive(_) | Self::Time => primitive(value, what),
            Self::Unsigned => {
                if value.content.first().is_some_and(|first| first & 0x80 != 0) {
                    return Err(Error::malformed(format!("{what}: an INTEGER is negative that must not be")));
                }
                primitive(value, what)
            }
            Self::OctetBits => match value.content {
                [0, ..] => Ok(()),
                _ => Err(Error::malformed(format!("{what}: a BIT STRING is not whole octets"))),
            },
            Self::Fields(_, fields) => {
                let mut reader = value.reader();
                for field in *fields {
                    match field {
                        Required(shape) => shape.check_value(reader.any(what)?, what)?,
                        Optional(shape) => {
                            if reader.peek().is_some_and(|tag| shape.begins_with(tag)) {
                                shape.check_value(reader.any(what)?, what)?;
                            }
                        }
                    }
                }
                reader.finish(what)
            }
            Self::Many(_, shape) => {
                let mut reader = value.reader();
                while !reader.is_empty() {
                    shape.check_value(reader.any(what)?, what)?;
                }
                Ok(())
            }
        }
    }
}

/// Checks the content of a primitive value where DER leaves no choice.
fn primitive(value: Value<'_>, what: &str) -> Result<()> {
    let problem = match (value.tag, value.content) {
        (encoding::BOOLEAN, [0x00 | 0xff]) => None,
        (encoding::BOOLEAN, _) => Some("a BOOLEAN is one octet, 0x00 or 0xff"),
        (encoding::INTEGER | encoding::ENUMERATED, []) => Some("an INTEGER has at least one octet"),
        (encoding::INTEGER | encoding::ENUMERATED, [0x00, next, ..]) if next & 0x80 == 0 => {
            Some("an INTEGER is not minimal")
        }
        (encoding::INTEGER | encoding::ENUMERATED, [0xff, next, ..]) if next & 0x80 != 0 => {
            Some("an INTEGER is not minimal")
        }
        (encoding::BIT_STRING, content) if !unused_bits_are_zero(content) => {
            Some("the unused bits of a BIT STRING are not zero")
        }
        (encoding::OBJECT_IDENTIFIER, content) if content.last().is_none_or(|last| last & 0x80 != 0) => {
            Some("not an object identifier that can be read")
        }
        (encoding::UTC_TIME, content) if !is_time(content, 12) => Some("not a UTCTime `YYMMDDHHMMSSZ`"),
        (encoding::GENERALIZED_TIME, content) if !is_time(content, 14) => {
            Some("not a GeneralizedTime `YYYYMMDDHHMMSSZ`")
        }
        _ => None,
    };
    problem.map_or(Ok(()), |problem| Err(Error::malformed(format!("{what}: {problem}"))))
}

fn unused_bits_are_zero(content: &[u8]) -> bool {
    match content {
        [] => false,
        [unused] => *unused == 0,
        [unused, .., last] => *unused < 8 && last.trailing_zeros() >= u32::from(*unused),
    }
}

fn is_time(content: &[u8], digits: usize) -> bool {
    matches!(content, [text @ .., b'Z'] if text.len() == digits && text.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_would_let_pass_is_refused() {
        for (shape, der) in [
            // A third field, a primitive SEQUENCE, a length that is not minimal.
            (RSA_PUBLIC_KEY, &[0x30, 9, 2, 1, 1, 2, 1, 3, 2, 1, 5][..]),
            (RSA_PUBLIC_KEY, &[0x10, 6, 2, 1, 1, 2, 1, 3]),
            (RSA_PUBLIC_KEY, &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 3]),
            // Negative, not minimal, empty.
            (RSA_PUBLIC_KEY, &[0x30, 6, 2, 1, 0x80, 2, 1, 3]),
            (RSA_PUBLIC_KEY, &[0x30, 7, 2, 2, 0, 1, 2, 1, 3]),
            (RSA_PUBLIC_KEY, &[0x30, 5, 2, 0, 2, 1, 3]),
            (BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 1]),
            (BASIC_CONSTRAINTS, &[0x30, 6, 1, 1, 0xff, 2, 1, 0x80]),
            (BASIC_CONSTRAINTS, &[0x30, 6, 2, 1, 0, 1, 1, 0xff]),
            (KEY_USAGE, &[3, 2, 7, 0xff]),
            (KEY_USAGE, &[3, 2, 8, 0]),
            (KEY_USAGE, &[3, 1, 1]),
            (EXTENDED_KEY_USAGE, &[0x30, 3, 6, 1, 0x80]),
            (EXTENDED_KEY_USAGE, &[0x30, 2, 6, 0]),
            (AUTHORITY_KEY_IDENTIFIER, &[0x30, 4, 0x82, 0, 0x80, 0]),
            (KEY_IDENTIFIER, &[4, 1, 0, 0]),
            (NAME, &[0x30, 4, 0x30, 2, 5, 0]),
            (TIME, b"\x17\x11260101000000+0000"),
        ] {
            assert!(shape.check(der, "value").is_err(), "{der:02x?}");
        }
    }

    #[test]
    fn what_is_right_passes() {
        for (shape, der) in [
            (RSA_PUBLIC_KEY, &[0x30, 6, 2, 1, 1, 2, 1, 3][..]),
            (BASIC_CONSTRAINTS, &[0x30, 0]),
            (BASIC_CONSTRAINTS, &[0x30, 6, 1, 1, 0xff, 2, 1, 0]),
            (KEY_USAGE, &[3, 2, 7, 0x80]),
            (AUTHORITY_KEY_IDENTIFIER, &[0x30, 2, 0x80, 0]),
            (TIME, b"\x17\x0d260101000000Z"),
        ] {
            shape.check(der, "value").unwrap();
        }
    }
}
