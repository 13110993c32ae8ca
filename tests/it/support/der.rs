//! Writes DER by hand, so that tests can make what no honest encoder would.

/// SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// SET.
pub(crate) const SET: u8 = 0x31;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// `UTF8String`.
pub(crate) const UTF8_STRING: u8 = 0x0c;
/// `IA5String`.
pub(crate) const IA5_STRING: u8 = 0x16;
/// `PrintableString`.
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
/// The tag of an `rfc822Name` in a `GeneralName`.
pub(crate) const NAME_EMAIL: u8 = 0x81;
/// The tag of a `dNSName`.
pub(crate) const NAME_DNS: u8 = 0x82;
/// The tag of a `directoryName`.
pub(crate) const NAME_DIRECTORY: u8 = 0xa4;
/// The tag of a `uniformResourceIdentifier`.
pub(crate) const NAME_URI: u8 = 0x86;
/// The tag of an `iPAddress`.
pub(crate) const NAME_IP: u8 = 0x87;
/// The tag of a `registeredID`.
pub(crate) const NAME_REGISTERED_ID: u8 = 0x88;

/// Writes one value: tag, length, content.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short @ 0..=127 => out.push(u8::try_from(short).unwrap()),
        long => {
            let octets: Vec<u8> = long.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
            out.push(0x80 | u8::try_from(octets.len()).unwrap());
            out.extend(octets);
        }
    }
    out.extend_from_slice(content);
    out
}

/// Writes a value around others.
pub(crate) fn wrap(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(tag, &parts.concat())
}

/// Writes an OBJECT IDENTIFIER from its dotted form.
pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut content = Vec::new();
    let mut push = |mut arc: u64| {
        let mut octets = vec![u8::try_from(arc & 0x7f).unwrap()];
        arc >>= 7;
        while arc > 0 {
            octets.push(0x80 | u8::try_from(arc & 0x7f).unwrap());
            arc >>= 7;
        }
        octets.reverse();
        content.extend(octets);
    };
    push(arcs[0] * 40 + arcs[1]);
    arcs[2..].iter().copied().for_each(&mut push);
    tlv(0x06, &content)
}

/// Writes a BOOLEAN.
pub(crate) fn boolean(value: bool) -> Vec<u8> {
    tlv(0x01, &[if value { 0xff } else { 0 }])
}

/// Writes a BIT STRING of whole octets.
pub(crate) fn bit_string(octets: &[u8]) -> Vec<u8> {
    tlv(BIT_STRING, &[&[0], octets].concat())
}

/// Writes a name of one relative distinguished name per attribute.
pub(crate) fn name(attributes: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let parts: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(kind, tag, value)| wrap(SET, &[wrap(SEQUENCE, &[oid(kind), tlv(*tag, value)])]))
        .collect();
    wrap(SEQUENCE, &parts)
}

/// Writes an extension (RFC 5280, section 4.1).
pub(crate) fn extension(kind: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![oid(kind)];
    if critical {
        parts.push(boolean(true));
    }
    parts.push(tlv(OCTET_STRING, value));
    wrap(SEQUENCE, &parts)
}

/// Writes PEM.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, der).unwrap()
}

/// Reads the first PEM block of a label.
pub(crate) fn from_pem(label: &str, text: &str) -> Vec<u8> {
    let start = text.find(&format!("-----BEGIN {label}-----")).unwrap_or_else(|| panic!("no {label} in {text}"));
    let end_line = format!("-----END {label}-----");
    let end = start + text[start..].find(&end_line).unwrap() + end_line.len();
    let (found, der) = pem_rfc7468::decode_vec(&text.as_bytes()[start..end]).unwrap();
    assert_eq!(found, label);
    der
}
