//! Tests of loading: defaults, the environment over the file, secrets, warnings. Refusals and the example file have their own files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod authentication_refusals;
mod example;
mod refusals;

use std::time::Duration;

use secrecy::ExposeSecret;

use super::database::{Backend, PostgresTls};
use super::hierarchy::KeyStorage;
use super::*;
use crate::error::ErrorKind;
use crate::policy::acme::ChallengeType;
use crate::x509::KeyAlgorithm;

fn load_text_with(text: &str, environment: &[(&str, &str)]) -> Result<Config> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chancery.toml");
    std::fs::write(&path, text).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(Some(&path), environment)
}

fn load_text(text: &str) -> Result<Config> {
    load_text_with(text, &[])
}

fn load_environment(environment: &[(&str, &str)]) -> Result<Config> {
    load(None, environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn refusal(result: Result<Config>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    error.detail().to_owned()
}

/// The problems that validation finds, without what stands before them.
fn problem(text: &str) -> String {
    let detail = refusal(load_text(text));
    detail.strip_prefix("the configuration is not valid: ").unwrap_or_else(|| panic!("{detail}")).to_owned()
}

const JWT: &str = r#"
[[authentication.jwt]]
name = "sso"
issuer = "https://sso.internal"
audience = ["chancery"]
algorithms = ["ES256"]
jwks_url = "https://sso.internal/keys"
role = "requester"
"#;

const CLIENT: &str = r#"
[[authentication.client_certificates]]
name = "deployer"
ca = "issuer:issuing"
common_name = "deployer"
role = "operator"
"#;

#[test]
fn nothing_given_gives_the_defaults() {
    let config = load_environment(&[("HOME", "/root"), ("CHANCERY_CONFIG", "x"), ("PATH", "")]).unwrap();
    insta::assert_debug_snapshot!(config);
    assert_eq!(config.database_url().to_string(), "sqlite://chancery-data/chancery.db");
    assert!(
        matches!(config.key_source(), KeySource::File(path) if path == Path::new("chancery-data/key-encryption.key"))
    );
    assert_eq!(config.server.certificate_names(), ["localhost", "127.0.0.1", "::1"]);
}

#[test]
fn the_environment_sets_every_kind_of_value() {
    let config = load_environment(&[
        ("CHANCERY__DATA_DIR", "/var/lib/chancery"),
        ("CHANCERY__SERVER__LISTEN", "[::]:8443"),
        ("CHANCERY__SERVER__PUBLIC_LISTEN", "off"),
        ("CHANCERY__SERVER__TLS", "off"),
        ("CHANCERY__SERVER__WORKERS", "3"),
        ("CHANCERY__SERVER__NAMES", "ca.internal, pki.internal"),
        ("CHANCERY__SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\", \"::1\"]"),
        ("chancery__server__shutdown_timeout", "2m"),
        ("Chancery__Hierarchy__Root__Key", "rsa-4096"),
        ("CHANCERY__HIERARCHY__ROOT__ORGANIZATION", "12345"),
        ("CHANCERY__CRL", "{ validity = \"48h\", refresh = \"6h\" }"),
        ("CHANCERY__KEYS__PASSPHRASE", "123456789012"),
        ("CHANCERY__AUTHENTICATION__JWT__0__NAME", "sso"),
        ("CHANCERY__AUTHENTICATION__JWT__0__ISSUER", "https://sso.internal"),
        ("CHANCERY__AUTHENTICATION__JWT__0__AUDIENCE", "chancery,pki"),
        ("CHANCERY__AUTHENTICATION__JWT__0__ALGORITHMS", "ES256"),
        ("CHANCERY__AUTHENTICATION__JWT__0__PUBLIC_KEY_FILE", "/etc/sso.pem"),
        ("CHANCERY__AUTHENTICATION__JWT__0__MAXIMUM_AGE", "1h"),
        ("CHANCERY__AUTHENTICATION__JWT__0__RULES__0__CLAIMS", "{ groups = [\"a\", 7] }"),
        ("CHANCERY__AUTHENTICATION__JWT__0__RULES__0__ROLE", "auditor"),
        ("CHANCERY__AUTHENTICATION__JWT__0__RULES__1__CLAIMS__VERIFIED", "true"),
        ("CHANCERY__AUTHENTICATION__JWT__0__RULES__1__CLAIMS__TEAM", "pki"),
        ("CHANCERY__AUTHENTICATION__JWT__0__RULES__1__ROLE", "operator"),
        ("CHANCERY__PROFILES__0__NAME", "web"),
        ("CHANCERY__PROFILES__0__NAMES_REQUIRED", "TRUE"),
        ("CHANCERY__PROFILES__0__EXTENDED_KEY_USAGE__REQUIRED", "server_auth"),
        ("CHANCERY__PROFILES__0__DNS__ALLOW", "**.internal"),
    ])
    .unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/chancery"));
    assert_eq!(config.database_url().to_string(), "sqlite:///var/lib/chancery/chancery.db");
    assert_eq!(config.server.listen.to_string(), "[::]:8443");
    assert_eq!(config.server.public_listen, None);
    assert_eq!(config.server.tls, Tls::Off);
    assert_eq!(config.server.workers, Some(3));
    assert_eq!(config.server.certificate_names(), ["localhost", "127.0.0.1", "::1", "ca.internal", "pki.internal"]);
    assert_eq!(config.server.trusted_proxies, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(config.server.shutdown_timeout, Duration::from_secs(120));
    assert_eq!(config.hierarchy.root.key, KeyAlgorithm::Rsa(4096));
    assert_eq!(config.hierarchy.root.common_name, "Chancery Root CA");
    assert_eq!(config.hierarchy.root.organization.as_deref(), Some("12345"));
    assert_eq!(config.hierarchy.issuing.key, KeyAlgorithm::EcdsaP256);
    assert_eq!(config.crl.validity, Duration::from_secs(48 * 3600));
    assert_eq!(config.crl.delay_after_revocation, Duration::from_secs(1));
    assert!(matches!(config.key_source(), KeySource::Passphrase(text) if text.expose_secret() == "123456789012"));
    let jwt = &config.authentication.jwt[0];
    assert_eq!(jwt.audience, ["chancery", "pki"]);
    assert_eq!(jwt.keys(), Some(authentication::JwtKeys::PublicKeyFile(Path::new("/etc/sso.pem"))));
    assert_eq!(jwt.maximum_age, Some(Duration::from_secs(3600)));
    assert_eq!(jwt.rules[0].claims["groups"].accepted(), ["a", "7"]);
    assert_eq!(jwt.rules[1].claims["verified"].accepted(), ["true"]);
    assert_eq!(jwt.rules[1].claims["team"].accepted(), ["pki"]);
    assert_eq!(jwt.rules[1].role, RoleName::Operator);
    assert!(config.profiles[0].names_required);
    assert_eq!(config.profiles[0].dns.as_ref().unwrap().allow, ["**.internal"]);
}

#[test]
fn the_environment_sets_acme() {
    let config = load_environment(&[
        ("CHANCERY__ACME__BASE_URL", "https://ca.internal"),
        ("CHANCERY__ACME__PROFILES", "server,web"),
        ("CHANCERY__ACME__HTTP_01_PORT", "5002"),
        ("CHANCERY__ACME__RESOLVERS", "127.0.0.1:8053, ::1"),
        ("CHANCERY__ACME__ALLOWED_ADDRESSES", "127.0.0.0/8"),
        ("CHANCERY__ACME__CHALLENGES", "dns-01,http-01"),
        ("CHANCERY__ACME__ZONES__0__ZONE", "corp.internal"),
        ("CHANCERY__ACME__ZONES__0__RESOLVERS", "10.0.0.53"),
        ("CHANCERY__ACME__VALIDATION__ATTEMPTS", "2"),
        ("CHANCERY__ACME__LIMITS__ORDERS_PER_ACCOUNT", "{ count = 5, period = \"1m\" }"),
        ("CHANCERY__ACME__TERMS_OF_SERVICE", "https://ca.internal/terms"),
    ])
    .unwrap();
    let acme = &config.acme;
    assert_eq!(acme.base_url.as_deref(), Some("https://ca.internal"));
    assert_eq!(acme.resolvers, ["127.0.0.1:8053".parse().unwrap(), "[::1]:53".parse().unwrap()]);
    assert_eq!(acme.allowed_addresses, Some(vec!["127.0.0.0/8".parse().unwrap()]));
    assert_eq!(acme.zones[0].resolvers, ["10.0.0.53:53".parse().unwrap()]);
    let settings = acme.settings(Some("web"));
    assert_eq!(settings.profiles, Some(vec!["server".to_owned(), "web".to_owned()]));
    assert_eq!(settings.default_profile, "web");
    assert_eq!(settings.challenges, [ChallengeType::Dns01, ChallengeType::Http01]);
    assert_eq!(settings.validation.attempts, 2);
    assert_eq!(settings.limits.orders_per_account.count, 5);
    assert_eq!(settings.terms_of_service.as_deref(), Some("https://ca.internal/terms"));
    assert_eq!(settings.website, None);
    assert_eq!(Acme::default().settings(None), crate::ca::acme::AcmeSettings::default());
}

#[test]
fn the_environment_counts_more_than_the_file_and_the_command_line_more_than_both() {
    let text = "data_dir = \"file\"\n[server]\nlisten = \"127.0.0.1:1\"\nworkers = 1\n[[profiles]]\nname = \"one\"\ncommon_name_in_names = true\n";
    let config = load_text_with(
        text,
        &[
            ("CHANCERY__SERVER__LISTEN", "127.0.0.1:2"),
            ("CHANCERY__PROFILES__0__NAME", "first"),
            ("CHANCERY__PROFILES__1__NAME", "second"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.server.workers, Some(1));
    let names: Vec<_> =
        config.profiles.iter().map(|profile| (profile.name.as_str(), profile.common_name_in_names)).collect();
    assert_eq!(names, [("first", true), ("second", false)]);

    let environment = [("CHANCERY__DATA_DIR".to_owned(), "environment".to_owned())];
    let command_line = [("data_dir", "command".to_owned())];
    let config = load_with(None, environment.into_iter(), command_line.into_iter()).unwrap();
    assert_eq!(config.data_dir, Path::new("command"));
    let command_line = [("server.listen", "x".to_owned())];
    assert!(
        refusal(load_with(None, std::iter::empty(), command_line.into_iter()))
            .starts_with("`server.listen` on the command line: `x` is not an IP address")
    );
}

#[test]
fn secrets_are_read_from_the_files_that_the_environment_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let named = path.to_str().unwrap();
    for (content, expected) in [
        ("postgres://a:b@db/x", "postgres://a:b@db/x"),
        ("postgres://a:b@db/x\n", "postgres://a:b@db/x"),
        ("postgres://a:b@db/x\r\n", "postgres://a:b@db/x"),
    ] {
        std::fs::write(&path, content).unwrap();
        let config = load_environment(&[("CHANCERY__DATABASE__URL_FILE", named)]).unwrap();
        assert_eq!(config.database_url().secret().expose_secret(), expected);
    }
    std::fs::write(&path, " two  words and more\n\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = load_environment(&[("CHANCERY__KEYS__PASSPHRASE_FILE", named)]).unwrap();
    assert!(
        matches!(config.key_source(), KeySource::Passphrase(text) if text.expose_secret() == " two  words and more\n")
    );
    let config = load_environment(&[
        ("CHANCERY__HIERARCHY__ROOT__STORAGE", "file"),
        ("CHANCERY__HIERARCHY__ROOT__PASSPHRASE_FILE", named),
    ])
    .unwrap();
    assert_eq!(config.hierarchy.root.passphrase.as_ref().unwrap().expose_secret(), " two  words and more\n");
    assert_eq!(config.key_file(&config.hierarchy.root).unwrap(), Path::new("chancery-data/root.key"));
    assert_eq!(config.key_file(&config.hierarchy.issuing), None);

    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = load_environment(&[
        ("CHANCERY__KEYS__FILE_PASSPHRASE_FILE", named),
        ("CHANCERY__KEYS__PREVIOUS__0__KEY_ENCRYPTION_KEY_FILE", "/etc/old.key"),
        ("CHANCERY__KEYS__PREVIOUS__1__PASSPHRASE_FILE", named),
        ("CHANCERY__KEYS__FILES__0__PATH", "/etc/one.key"),
        ("CHANCERY__KEYS__FILES__0__PASSPHRASE_FILE", named),
    ])
    .unwrap();
    let expected = config.keys.file_passphrase.as_ref().unwrap().expose_secret();
    assert!(expected.starts_with(" two  words"));
    assert_eq!(config.keys.previous[0].key_encryption_key_file.as_deref(), Some(Path::new("/etc/old.key")));
    assert_eq!(config.keys.previous[1].passphrase.as_ref().unwrap().expose_secret(), expected);
    assert_eq!(config.keys.files[0].passphrase.expose_secret(), expected);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let message = refusal(load_environment(&[("CHANCERY__KEYS__PASSPHRASE_FILE", named)]));
    assert!(message.contains("`CHANCERY__KEYS__PASSPHRASE_FILE`") && message.contains("chmod 600"), "{message}");
    assert_eq!(
        refusal(load_environment(&[
            ("CHANCERY__DATABASE__URL_FILE", named),
            ("CHANCERY__DATABASE__URL", "sqlite://x")
        ])),
        "`database.url` is given twice in the environment, by `CHANCERY__DATABASE__URL_FILE` and by `CHANCERY__DATABASE__URL`"
    );
    assert!(
        refusal(load_environment(&[("CHANCERY__DATA_DIR", "a"), ("chancery__data_dir", "b")])).contains("given twice")
    );
    assert!(refusal(load_environment(&[("CHANCERY__DATABASE__URL_FILE", "/absent/file")])).starts_with(
        "the environment variable `CHANCERY__DATABASE__URL_FILE`: the file `/absent/file` cannot be read: "
    ));
    // A setting whose own name ends in `_file` is that setting.
    let config = load_environment(&[("CHANCERY__KEYS__KEY_ENCRYPTION_KEY_FILE", "/etc/kek")]).unwrap();
    assert!(matches!(config.key_source(), KeySource::File(path) if path == Path::new("/etc/kek")));
}

#[test]
fn secrets_are_not_shown() {
    let secret = "S3cret-S3cret-S3cret";
    let config = load_text(&format!(
        "[database]\nurl = \"postgres://chancery:{secret}@db.internal/ca?password={secret}\"\n[keys]\npassphrase = \"{secret}\"\n[hierarchy.root]\nstorage = \"file\"\npassphrase = \"{secret}\"\n"
    ))
    .unwrap();
    let shown = format!("{config:?} {config:#?} {} {:?}", config.database_url(), config.database_options());
    assert!(!shown.contains("S3cret"), "{shown}");
    assert!(shown.contains("postgres://chancery:***@db.internal/ca"), "{shown}");
    for text in [
        format!("[keys]\nkey_encryption_key = \"{secret}\"\n"),
        format!("[database]\nurl = \"mysql://a:{secret}@db/x\"\n"),
        format!("[database]\nurl = \"postgres://a:{secret}@/x\"\n"),
        format!("[database]\nurl = \"postgres://a:{secret}@h/x?sslmode=no\"\n"),
        format!("[database]\nurl = \"postgres://a:{secret} {secret}@h/x\"\n"),
        format!("[keys]\npassphrase = [\"{secret}\"]\n"),
        format!("[keys]\npassphrase = {{ a = \"{secret}\" }}\n"),
        format!("keys = \"{secret}\"\n"),
    ] {
        let message = refusal(load_text(&text));
        assert!(!message.contains("S3cret"), "{message}");
    }
    let variable = refusal(load_environment(&[("CHANCERY__DATABASE__URL", "mysql://S3cret")]));
    assert!(!variable.contains("S3cret"), "{variable}");
}

#[test]
fn addresses_of_databases_are_told_apart() {
    let backend = |url: &str| url.parse::<DatabaseUrl>().map(|url| url.backend().clone());
    assert_eq!(backend("sqlite://a/b.db").unwrap(), Backend::Sqlite("a/b.db".into()));
    assert_eq!(backend("sqlite:///var/b.db").unwrap(), Backend::Sqlite("/var/b.db".into()));
    for (url, shown, tls) in [
        ("postgres://db/ca", "postgres://db/ca", PostgresTls::Prefer),
        ("postgresql://u@db/ca?sslmode=disable", "postgres://u@db/ca", PostgresTls::Disable),
        ("postgres://u:p@db:1/ca?sslmode=require", "postgres://u:***@db:1/ca", PostgresTls::Require),
        ("postgres://u:p@a,b/ca?x=y&sslmode=verify-full", "postgres://u:***@a,b/ca", PostgresTls::VerifyFull),
        ("postgres://u:p@q@db/ca", "postgres://u:***@db/ca", PostgresTls::Prefer),
        ("postgres:///ca?host=/run/postgresql", "postgres:///ca", PostgresTls::Prefer),
    ] {
        assert_eq!(backend(url).unwrap(), Backend::Postgres { shown: shown.to_owned(), tls }, "{url}");
    }
    for (url, reason) in [
        ("sqlite::memory:", "SQLite in memory is refused: a CA must not forget what it issued; write `sqlite://path`"),
        (
            "sqlite://:memory:",
            "SQLite in memory is refused: a CA must not forget what it issued; write `sqlite://path`",
        ),
        ("sqlite:chancery.db", "write the path of the SQLite file as `sqlite://path`"),
        ("sqlite://", "write the path of the SQLite file as `sqlite://path`"),
        ("sqlite://data/", "write the path of the SQLite file as `sqlite://path`"),
        ("sqlite://a.db?mode=ro", "an SQLite address has no options: `?` and `#` are refused"),
        ("mysql://db/ca", "an address of a database begins with `sqlite://`, `postgres://` or `postgresql://`"),
        ("", "an address of a database begins with `sqlite://`, `postgres://` or `postgresql://`"),
        ("postgres://", "the PostgreSQL address names no host"),
        ("postgres://u:p@/ca", "the PostgreSQL address names no host"),
        ("postgres://db/ca?sslmode", "the options of a PostgreSQL address are `name=value`"),
        (
            "postgres://db/ca?sslmode=verify-ca",
            "the `sslmode` of PostgreSQL must be `disable`, `prefer`, `require` or `verify-full`",
        ),
        ("postgres://db/c a", "an address of a database has no white space"),
    ] {
        assert_eq!(backend(url).unwrap_err().detail(), reason, "{url}");
    }
}

#[test]
fn a_fingerprint_is_read_with_or_without_colons() {
    for digits in ["ff".repeat(32), "FF".repeat(32), format!("{}FF", "ff:".repeat(31))] {
        let text = CLIENT.replace("role", &format!("fingerprint_sha256 = \"{digits}\"\nrole"));
        let rule = load_text(&text).unwrap().authentication.client_certificates[0].clone();
        assert_eq!(rule.fingerprint_sha256.unwrap().0, [0xff; 32]);
    }
}

#[test]
fn what_is_perhaps_not_meant_is_warned_of() {
    let warnings = |text: &str| check(&load_text(text).unwrap());
    let quiet = "public_url = \"http://pki.internal\"\n";
    assert_eq!(warnings(quiet), Vec::<String>::new());
    assert_eq!(
        warnings(""),
        ["`public_url` is not set: certificates will point to an address that other machines may not reach"]
    );
    for (text, start) in [
        (
            "[server]\ntls = \"off\"\nlisten = \"0.0.0.0:1\"\ntrusted_proxies = [\"10.0.0.1\"]",
            "`server.tls` is `off` and `server.listen` is `0.0.0.0:1`",
        ),
        ("[server]\ntls = \"off\"", "`server.tls` is `off` and `server.trusted_proxies` is empty"),
        ("[server]\npublic_listen = \"off\"", "`server.public_listen` is `off`"),
        ("[server]\nmetrics_listen = \"0.0.0.0:1\"", "`server.metrics_listen` is `0.0.0.0:1`"),
        ("[database]\nurl = \"postgres://u:p@db/ca\"", "`database.url` does not say `sslmode=verify-full`"),
        ("[acme]\nhttp_01_port = 5002", "`acme.http_01_port` is 5002, not 80"),
        ("[acme]\ntls_alpn_01_port = 5001", "`acme.tls_alpn_01_port` is 5001, not 443"),
        (
            "[acme]\nallowed_addresses = [\"10.0.0.0/8\", \"127.0.0.1\"]",
            "`acme.allowed_addresses` holds loopback addresses",
        ),
        ("[acme]\nallowed_addresses = [\"0.0.0.0/0\"]", "`acme.allowed_addresses` holds loopback addresses"),
        ("[acme]\nchallenges = []", "`acme.challenges` is empty"),
        ("[acme]\nchallenges = [\"dns-persist-01\"]", "`acme.challenges` is `dns-persist-01` alone"),
        ("[acme]\nbase_url = \"http://ca.internal\"", "`acme.base_url` is `http`"),
        ("[acme]\nprofiles = [\"server\", \"nope\"]", "`acme.profiles` has `nope`, which is neither built in"),
        (
            "[acme]\nissuer_domain_names = [\"ca.internal\"]",
            "`acme.issuer_domain_names` is set and `acme.base_url` is not",
        ),
        ("[crl]\nrefresh = \"13h\"", "`crl.refresh` is more than half of `crl.validity`"),
        (
            "[server]\ncertificate = \"/absent/c\"\nprivate_key = \"/\"",
            "`server.certificate` names the file `/absent/c`, which is not there",
        ),
    ] {
        let warnings = warnings(&format!("{quiet}{text}"));
        assert!(warnings[0].starts_with(start), "{warnings:?}");
    }
    assert_eq!(warnings(&format!("{quiet}[acme]\nenabled = false\nhttp_01_port = 5002")), Vec::<String>::new());
    assert!(warnings("public_url = \"https://pki.internal\"")[0].starts_with("`public_url` is `https`"));
    for url in ["postgres://u:p@db/ca?sslmode=verify-full", "postgres://localhost:5432/ca", "postgres:///ca?host=/run"]
    {
        assert_eq!(warnings(&format!("{quiet}[database]\nurl = \"{url}\"")), Vec::<String>::new(), "{url}");
    }
    let off = format!("{quiet}[server]\ntls = \"off\"\ntrusted_proxies = [\"10.0.0.1\"]\n{CLIENT}");
    assert!(warnings(&off)[0].contains("`authentication.client_certificates` cannot match anybody"));
    let files =
        format!("{quiet}{}", JWT.replace("jwks_url = \"https://sso.internal/keys\"", "jwks_file = \"/absent/k\""));
    assert_eq!(warnings(&files), ["`authentication.jwt[0].jwks_file` names the file `/absent/k`, which is not there"]);
}
