//! Tests of `docker/chancery.example.toml`: it loads, its defaults are the defaults, and it shows every setting.

use super::*;

/// The example with some of its comments turned into settings.
fn example(markers: &[&str]) -> String {
    let text = include_str!("../../../docker/chancery.example.toml");
    let is_setting = |line: &str| {
        let name = line.split([' ', '=']).next().unwrap_or_default();
        let plain = !name.is_empty()
            && name.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_');
        plain && line[name.len()..].starts_with(" = ")
    };
    let uncomment = |line: &str| {
        markers
            .iter()
            .filter_map(|marker| line.strip_prefix(marker))
            .find(|rest| is_setting(rest) || line.starts_with("#: "))
            .unwrap_or(line)
            .to_owned()
    };
    text.lines().map(|line| uncomment(line) + "\n").collect()
}

#[test]
fn the_example_loads_as_it_is() {
    let config = load_text(&example(&[])).unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}

#[test]
fn the_defaults_that_the_example_shows_are_the_defaults() {
    let text = example(&["# "]);
    let shown = text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])).count();
    assert_eq!(shown, 72, "{text}");
    let config = load_text(&text).unwrap();
    let mut expected = Config::default();
    // Two are derived from the data directory, and shown as they come out.
    expected.database.url = Some(expected.database_url());
    let KeySource::File(file) = expected.key_source() else { panic!("the key comes from a file") };
    expected.keys.key_encryption_key_file = Some(file);
    assert_eq!(format!("{config:#?}"), format!("{expected:#?}"));
}

#[test]
fn every_setting_that_the_example_shows_exists_and_is_well_formed() {
    // All at once contradict each other in these points, and in no other.
    assert_eq!(
        problem(&example(&["# ", "#: "])),
        "`database.root_certificates` has no use without a PostgreSQL `database.url`; \
         at most one source of the key-encryption key may be given, not `keys.key_encryption_key_file` and `keys.key_encryption_key` and `keys.passphrase`; \
         `pkcs11[0]` must have exactly one of `token_label`, `serial` and `slot`; \
         `pkcs11[0]` must not have both `pin` and `pin_file`; \
         `hierarchy.root.file` and `hierarchy.root.passphrase` have no use unless `hierarchy.root.storage` is `file`; \
         `hierarchy.root.token` has no use unless `hierarchy.root.storage` is `pkcs11`; \
         `hierarchy.issuing.file` and `hierarchy.issuing.passphrase` have no use unless `hierarchy.issuing.storage` is `file`; \
         `hierarchy.issuing.token` has no use unless `hierarchy.issuing.storage` is `pkcs11`; \
         `authentication.jwt[0]` must have exactly one of `jwks_url`, `jwks_file` and `public_key_file`"
    );
    let contradictions = [
        "root_certificates",
        "key_encryption_key",
        "serial",
        "slot",
        "pin",
        "token",
        "file",
        "jwks_file",
        "public_key_file",
    ];
    let mut section = "";
    let mut text = String::new();
    let shown = example(&["#: "]);
    for line in shown.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let name = line.split(" = ").next().unwrap_or_default();
        // The CAs are in the database here, and have none.
        let passphrase = name == "passphrase" && section.starts_with("[hierarchy.");
        if !contradictions.contains(&name) && !passphrase {
            text += line;
            text += "\n";
        }
    }
    let config = load_text(&text).unwrap();
    assert_eq!(config.authentication.jwt[0].rules.len(), 2);
    assert_eq!(config.authentication.jwt[0].rules[0].claims["email_verified"].accepted(), ["true"]);
    assert_eq!(config.profiles[0].name, "web");
    assert!(config.hierarchy.root.storage == KeyStorage::Database);
}

#[test]
fn the_example_shows_every_setting() {
    let text = example(&["# ", "#: "]);
    let settings: Vec<&str> = text.lines().filter_map(|line| line.split_once(" = ").map(|(name, _)| name)).collect();
    // The names come from the refusal of a name that is near none.
    for section in [
        "",
        "[server]",
        "[database]",
        "[keys]",
        "[[keys.previous]]",
        "[[keys.files]]",
        "[[pkcs11]]",
        "[hierarchy.root]",
        "[crl]",
        "[ocsp]",
        "[acme]",
        "[acme.validation]",
        "[acme.limits]",
        "[[acme.zones]]",
        "[limits]",
        "[log]",
        "[[authentication.jwt]]",
        "[[authentication.jwt]]\n[[authentication.jwt.rules]]",
        "[[authentication.client_certificates]]",
        "[[profiles]]",
    ] {
        let message = refusal(load_text(&format!("{section}\nqqqqqqqqqqqqqqqqqqqqqqqq = 1\n")));
        let known = message.split_once("known are ").unwrap_or_else(|| panic!("{message}")).1;
        for name in known.split(", ").map(|name| name.trim_matches('`')) {
            let table = text.contains(&format!("[{name}]")) || text.contains(&format!("[{name}."));
            let inner = text.contains(&format!(".{name}]")) || text.contains(&format!(".{name}."));
            assert!(
                settings.contains(&name) || table || inner || text.contains(&format!("[[{name}]]")),
                "{section} {name}"
            );
        }
    }
}
