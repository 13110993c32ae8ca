//! Names of every type: outside the profile, malformed, and tricks that other checkers fell for.

use serde_json::json;

use super::Table;
use crate::support::csr::Csr;
use crate::support::der;

pub(super) fn rows(table: &mut Table<'_>) {
    dns(table);
    addresses(table);
    other_types(table);
    several(table);
    subjects(table);
}

fn dns(table: &mut Table<'_>) {
    for name in [
        "www.example.org",
        "WWW.Example.ORG",
        "internal",
        "evilinternal",
        "app.internal.example.org",
        "app-internal.example",
        "xn--bcher-kva.example",
        "localhost.example.org",
    ] {
        table.server_refuses(name, &Csr::for_dns(&[name]), &["name_not_allowed"]);
    }
    let long_label = format!("{}.internal", "a".repeat(64));
    let long_name = format!("{}internal", "abcdefghijklm.".repeat(18));
    for name in [
        "10.0.0.1",
        "::1",
        "[fd00::1]",
        "www.example.org\0.internal",
        "app.internal\0.example.org",
        "app.internal.",
        ".internal",
        ".app.internal",
        "a..internal",
        "",
        " ",
        "app.internal ",
        "app internal",
        "a\nb.internal",
        "*",
        "*.",
        "**.internal",
        "a.*.internal",
        "w*.internal",
        "*w.internal",
        "*.*.internal",
        "-app.internal",
        "app-.internal",
        "app.internal:443",
        "https://app.internal",
        "user@app.internal",
        "app.internal/path",
        "app.internal;",
        "app,internal",
        "bücher.internal",
        "xn--.internal",
        "0x7f.1",
        long_label.as_str(),
        long_name.as_str(),
    ] {
        let shown = name.escape_debug();
        table.server_refuses(format!("the DNS name {shown}"), &Csr::for_dns(&[name]), &["name_malformed"]);
    }
    let latin = Csr::new().name(der::NAME_DNS, b"b\xfccher.internal");
    table.server_refuses("a DNS name in Latin-1", &latin, &["name_malformed"]);
    table.server_refuses("an underscore", &Csr::for_dns(&["_sip.internal"]), &["underscore_not_allowed"]);
    table.client_refuses("a wildcard for a client", &Csr::for_dns(&["*.app.internal"]), &["wildcard_not_allowed"]);
    table.violates(
        "a name outside, given beside a good CSR",
        &json!({"csr": Csr::for_dns(&["good.internal"]).pem(), "profile": "server", "subject_alt_names": ["www.example.org"]}),
        &["name_not_allowed"],
    );
    table.violates(
        "an IP address given as DNS name",
        &json!({"csr": Csr::for_dns(&["good.internal"]).pem(), "profile": "server",
                "subject_alt_names": [{"type": "dns", "value": "127.0.0.1"}]}),
        &["name_malformed"],
    );
}

fn addresses(table: &mut Table<'_>) {
    table.server_refuses("a public address", &Csr::new().ip(&[8, 8, 8, 8]), &["name_not_allowed"]);
    table.server_refuses("an address just outside its block", &Csr::new().ip(&[172, 32, 0, 1]), &["name_not_allowed"]);
    let metadata = Csr::new().ip(&[169, 254, 169, 254]);
    table.server_refuses("the address of cloud metadata", &metadata, &["name_not_allowed"]);
    let public_v6 = [0x20, 0x01, 0x48, 0x60, 0x48, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x88];
    table.server_refuses("a public IPv6 address", &Csr::new().ip(&public_v6), &["name_not_allowed"]);
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
    table.server_refuses("an IPv4 address within IPv6", &Csr::new().ip(&mapped), &["name_malformed"]);
    for length in [0_usize, 3, 5, 8, 15, 17, 32] {
        let address = Csr::new().ip(&vec![10; length]);
        table.server_refuses(format!("an address of {length} octets"), &address, &["name_malformed"]);
    }
}

fn other_types(table: &mut Table<'_>) {
    let spiffe = Csr::for_dns(&["good.internal"]).uri("spiffe://cluster.internal/web");
    table.server_refuses("a URI for a server", &spiffe, &["name_type_not_allowed"]);
    let email = Csr::for_dns(&["good.internal"]).email("root@good.internal");
    table.server_refuses("an e-mail address for a server", &email, &["name_type_not_allowed"]);
    table.client_refuses("a web address", &Csr::new().uri("https://app.internal/"), &["name_not_allowed"]);
    for uri in ["", "spiffe:", "//cluster.internal/x", "not a uri", "spiffe://a b/x", "spiffe://x/\0", "/path/only"] {
        let shown = uri.escape_debug();
        table.client_refuses(format!("the URI {shown}"), &Csr::new().uri(uri), &["name_malformed"]);
    }
    for email in
        ["", "nobody", "@internal", "a@", "a@b@internal", "a b@internal", "a@in ternal", "a\0@internal", "Ä@internal"]
    {
        let shown = email.escape_debug();
        table.client_refuses(format!("the e-mail address {shown}"), &Csr::new().email(email), &["name_malformed"]);
    }
    let directory = der::name(&[("2.5.4.3", der::UTF8_STRING, b"good.internal")]);
    let unsupported = ["name_type_not_supported"];
    let csr = Csr::for_dns(&["good.internal"]).name(der::NAME_DIRECTORY, &directory);
    table.server_refuses("a directory name", &csr, &unsupported);
    let csr = Csr::for_dns(&["good.internal"]).name(der::NAME_REGISTERED_ID, &[0x2a, 0x03]);
    table.server_refuses("a registered identifier", &csr, &unsupported);
    let user_principal = [
        der::oid("1.3.6.1.4.1.311.20.2.3"),
        der::tlv(0xa0, &der::tlv(der::UTF8_STRING, b"administrator@good.internal")),
    ];
    let csr = Csr::for_dns(&["good.internal"]).name(0xa0, &user_principal.concat());
    table.server_refuses("a user principal name", &csr, &unsupported);
}

fn several(table: &mut Table<'_>) {
    let organization = Csr::new().subject(&[("2.5.4.10", der::UTF8_STRING, b"Example")]);
    table.server_refuses("no name", &organization, &["names_required"]);
    let both = ["common_name_not_in_names", "names_required"];
    table.server_refuses("a common name alone", &Csr::new().common_name("good.internal"), &both);
    table.client_refuses("neither name nor subject", &Csr::new(), &["names_required"]);
    let many: Vec<String> = (0..101).map(|number| format!("host-{number}.internal")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    table.server_refuses("101 names", &Csr::for_dns(&many), &["too_many_names"]);
    let mixed =
        Csr::for_dns(&["good.internal", "www.example.org", "bad..internal"]).ip(&[8, 8, 8, 8]).email("a@b.internal");
    table.server_refuses(
        "several at once, all reported",
        &mixed,
        &["name_malformed", "name_not_allowed", "name_not_allowed", "name_type_not_allowed"],
    );
}

fn subjects(table: &mut Table<'_>) {
    let csr = Csr::for_dns(&["good.internal"]).common_name("other.internal");
    table.server_refuses("a common name that is no name", &csr, &["common_name_not_in_names"]);
    let good = || Csr::for_dns(&["good.internal"]);
    let (utf8, printable, ia5) = (der::UTF8_STRING, der::PRINTABLE_STRING, der::IA5_STRING);
    for (what, attribute, tag, value, violation) in [
        ("a serial number in the subject", "2.5.4.5", printable, "42", "subject_attribute_not_allowed"),
        (
            "an e-mail address in the subject",
            "1.2.840.113549.1.9.1",
            ia5,
            "a@b.internal",
            "subject_attribute_not_allowed",
        ),
        ("a domain component", "0.9.2342.19200300.100.1.25", ia5, "internal", "subject_attribute_not_allowed"),
        ("an unknown attribute", "1.3.6.1.4.1.99999.1", utf8, "x", "subject_attribute_not_allowed"),
        ("a country of three letters", "2.5.4.6", printable, "GBR", "subject_attribute_malformed"),
        ("a country in UTF-8", "2.5.4.6", utf8, "GB", "subject_attribute_malformed"),
        ("an empty organisation", "2.5.4.10", utf8, "", "subject_attribute_malformed"),
    ] {
        table.server_refuses(what, &good().subject(&[(attribute, tag, value.as_bytes())]), &[violation]);
    }
    let long = "o".repeat(65);
    let csr = good().subject(&[("2.5.4.10", utf8, long.as_bytes())]);
    table.server_refuses("an organisation of 65 characters", &csr, &["subject_attribute_malformed"]);
    let csr = good().subject(&[("2.5.4.10", der::PRINTABLE_STRING, b"a*b")]);
    table.server_refuses("a star in a PrintableString", &csr, &["subject_attribute_malformed"]);
    let csr = good().subject(&[("2.5.4.10", utf8, b"\xff\xfe")]);
    table.server_refuses("an organisation that is not UTF-8", &csr, &["subject_attribute_malformed"]);
    let csr = good().subject(&[("2.5.4.10", utf8, b"a\0b")]);
    table.server_refuses("NUL in the organisation", &csr, &["subject_attribute_malformed"]);
}
