//! Object identifiers of extensions, attributes and access methods, with the names they have here.

use const_oid::ObjectIdentifier;

macro_rules! identifiers {
    ($($(#[$doc:meta])* $constant:ident = $oid:literal, $name:literal;)*) => {
        $($(#[$doc])* pub(crate) const $constant: ObjectIdentifier = ObjectIdentifier::new_unwrap($oid);)*
        const NAMES: &[(ObjectIdentifier, &str)] = &[$(($constant, $name)),*];
    };
}

identifiers! {
    SUBJECT_DIRECTORY_ATTRIBUTES = "2.5.29.9", "subject_directory_attributes";
    SUBJECT_KEY_IDENTIFIER = "2.5.29.14", "subject_key_identifier";
    KEY_USAGE = "2.5.29.15", "key_usage";
    PRIVATE_KEY_USAGE_PERIOD = "2.5.29.16", "private_key_usage_period";
    SUBJECT_ALT_NAME = "2.5.29.17", "subject_alt_name";
    ISSUER_ALT_NAME = "2.5.29.18", "issuer_alt_name";
    BASIC_CONSTRAINTS = "2.5.29.19", "basic_constraints";
    CRL_NUMBER = "2.5.29.20", "crl_number";
    REASON_CODE = "2.5.29.21", "reason_code";
    INVALIDITY_DATE = "2.5.29.24", "invalidity_date";
    DELTA_CRL_INDICATOR = "2.5.29.27", "delta_crl_indicator";
    ISSUING_DISTRIBUTION_POINT = "2.5.29.28", "issuing_distribution_point";
    CERTIFICATE_ISSUER = "2.5.29.29", "certificate_issuer";
    NAME_CONSTRAINTS = "2.5.29.30", "name_constraints";
    CRL_DISTRIBUTION_POINTS = "2.5.29.31", "crl_distribution_points";
    CERTIFICATE_POLICIES = "2.5.29.32", "certificate_policies";
    POLICY_MAPPINGS = "2.5.29.33", "policy_mappings";
    AUTHORITY_KEY_IDENTIFIER = "2.5.29.35", "authority_key_identifier";
    POLICY_CONSTRAINTS = "2.5.29.36", "policy_constraints";
    EXTENDED_KEY_USAGE = "2.5.29.37", "extended_key_usage";
    FRESHEST_CRL = "2.5.29.46", "freshest_crl";
    INHIBIT_ANY_POLICY = "2.5.29.54", "inhibit_any_policy";
    AUTHORITY_INFORMATION_ACCESS = "1.3.6.1.5.5.7.1.1", "authority_information_access";
    QC_STATEMENTS = "1.3.6.1.5.5.7.1.3", "qc_statements";
    SUBJECT_INFORMATION_ACCESS = "1.3.6.1.5.5.7.1.11", "subject_information_access";
    TLS_FEATURE = "1.3.6.1.5.5.7.1.24", "tls_feature";
    ACME_IDENTIFIER = "1.3.6.1.5.5.7.1.31", "acme_identifier";
    OCSP_NO_CHECK = "1.3.6.1.5.5.7.48.1.5", "ocsp_no_check";
    SIGNED_CERTIFICATE_TIMESTAMPS = "1.3.6.1.4.1.11129.2.4.2", "signed_certificate_timestamps";
    PRECERTIFICATE_POISON = "1.3.6.1.4.1.11129.2.4.3", "precertificate_poison";
    NETSCAPE_CERTIFICATE_TYPE = "2.16.840.1.113730.1.1", "netscape_certificate_type";
    NETSCAPE_COMMENT = "2.16.840.1.113730.1.13", "netscape_comment";
    SMIME_CAPABILITIES = "1.2.840.113549.1.9.15", "smime_capabilities";
    MICROSOFT_CERTIFICATE_TEMPLATE_NAME = "1.3.6.1.4.1.311.20.2", "microsoft_certificate_template_name";
    MICROSOFT_CERTIFICATE_TEMPLATE = "1.3.6.1.4.1.311.21.7", "microsoft_certificate_template";
    MICROSOFT_APPLICATION_POLICIES = "1.3.6.1.4.1.311.21.10", "microsoft_application_policies";
    MICROSOFT_SECURITY_IDENTIFIER = "1.3.6.1.4.1.311.25.2", "microsoft_security_identifier";
    /// The PKCS #9 attribute that carries requested extensions (RFC 2985, section 5.4.2).
    EXTENSION_REQUEST = "1.2.840.113549.1.9.14", "extension_request";
    /// What older Microsoft programs use in its place.
    MICROSOFT_EXTENSION_REQUEST = "1.3.6.1.4.1.311.2.1.14", "microsoft_extension_request";
    /// The access method of OCSP responders.
    OCSP = "1.3.6.1.5.5.7.48.1", "ocsp";
    /// The access method of issuer certificates.
    CA_ISSUERS = "1.3.6.1.5.5.7.48.2", "ca_issuers";
}

/// Returns the name of an object identifier, or its dotted form.
pub(crate) fn name(oid: &ObjectIdentifier) -> String {
    NAMES.iter().find(|(known, _)| known == oid).map_or_else(|| oid.to_string(), |(_, name)| (*name).to_owned())
}
