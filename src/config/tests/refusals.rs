//! Tests of refusals, word for word.

use super::*;

#[test]
fn unknown_keys_are_refused_with_the_nearest_name_and_their_place() {
    for (text, message) in [
        (
            "[server]\nlisen = \"127.0.0.1:1\"\n",
            "unknown key `server.lisen` in chancery.toml (line 2, column 1), did you mean `listen`?",
        ),
        ("data-dir = \"x\"\n", "unknown key `data-dir` in chancery.toml (line 1, column 1), did you mean `data_dir`?"),
        ("[servr]\n", "unknown key `servr` in chancery.toml (line 1, column 2), did you mean `server`?"),
        (
            "[hierarchy.root]\n\n  commonname = \"x\"\n",
            "unknown key `hierarchy.root.commonname` in chancery.toml (line 3, column 3), did you mean `common_name`?",
        ),
        (
            "[crl]\nzzz = 1\n",
            "unknown key `crl.zzz` in chancery.toml (line 2, column 1), known are `validity`, `refresh`, `delay_after_revocation`",
        ),
        (
            "[[profiles]]\nname = \"a\"\n[[profiles]]\nname = \"b\"\nvalidity = { maxmum = \"1d\" }\n",
            "unknown key `profiles[1].validity.maxmum` in chancery.toml (line 5, column 14), did you mean `maximum`?",
        ),
        (
            "[[profiles]]\nname = \"a\"\n[profiles.dns]\nalow = []\n",
            "unknown key `profiles[0].dns.alow` in chancery.toml (line 4, column 1), did you mean `allow`?",
        ),
    ] {
        assert_eq!(refusal(load_text(text)), message);
    }
    assert_eq!(
        refusal(load_environment(&[("CHANCERY__SERVER__LISTEN_FILE", "x")])),
        "unknown key `server.listen_file` in the environment variable `CHANCERY__SERVER__LISTEN_FILE`, known are `listen`, `public_listen`, `metrics_listen`, `tls`, `certificate`, `private_key`, `names`, `trusted_proxies`, `workers`, `shutdown_timeout`, `client_header_timeout`, `maximum_connections`"
    );
    assert_eq!(
        refusal(load_environment(&[("CHANCERY__DATABSE__URL", "x")])),
        "unknown key `databse` in the environment variable `CHANCERY__DATABSE__URL`, did you mean `database`?"
    );
    assert_eq!(
        refusal(load_text(&format!("{JWT}rules = [{{ claims = {{}}, role = \"auditor\", grant = {{}} }}]"))),
        "unknown key `authentication.jwt[0].rules[0].grant` in chancery.toml (line 9, column 43), did you mean `grants`?"
    );
}

#[test]
fn wrong_types_and_values_are_refused_with_their_place() {
    for (text, message) in [
        (
            "[server]\nlisten = \"localhost\"\n",
            "`server.listen` in chancery.toml (line 2, column 10): `localhost` is not an IP address and a port, such as `127.0.0.1:8443` or `[::1]:8443`",
        ),
        (
            "[server]\npublic_listen = \"no\"\n",
            "`server.public_listen` in chancery.toml (line 2, column 17): `no` is not an IP address and a port, such as `127.0.0.1:8443` or `[::1]:8443`, or `off`",
        ),
        (
            "[server]\ntls = true\n",
            "`server.tls` in chancery.toml (line 2, column 7): expected a string, found a boolean",
        ),
        (
            "[server]\ntls = \"of\"\n",
            "`server.tls` in chancery.toml (line 2, column 7): unknown value `of`, did you mean `off`?",
        ),
        (
            "[server]\nworkers = \"four\"\n",
            "`server.workers` in chancery.toml (line 2, column 11): expected a whole number that is not negative, found a string",
        ),
        (
            "[server]\nworkers = -1\n",
            "`server.workers` in chancery.toml (line 2, column 11): the value is out of range, expected a whole number that is not negative",
        ),
        (
            "[server]\nworkers = 99999999999999999999\n",
            "the configuration in chancery.toml (line 2, column 11): the number is too great",
        ),
        (
            "[server]\nworkers = 1.5\n",
            "`server.workers` in chancery.toml (line 2, column 11): expected a whole number that is not negative, found a number with a fraction",
        ),
        (
            "[server]\nshutdown_timeout = \"30\"\n",
            "`server.shutdown_timeout` in chancery.toml (line 2, column 20): `30` is not a duration; write a whole number and `s`, `m`, `h` or `d`, such as `90d`, at most `36500d`",
        ),
        (
            "[server]\nshutdown_timeout = 30\n",
            "`server.shutdown_timeout` in chancery.toml (line 2, column 20): expected a string, found a whole number",
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.1\", \"10.0.0.1/8\"]\n",
            "`server.trusted_proxies` in chancery.toml (line 2, column 19): `10.0.0.1/8` has bits set beyond its prefix; write `10.0.0.0/8`",
        ),
        (
            "[server]\ntrusted_proxies = [\"proxy\"]\n",
            "`server.trusted_proxies` in chancery.toml (line 2, column 19): `proxy` is not an IP address nor a block of addresses such as `10.0.0.0/8`",
        ),
        (
            "[server]\nnames = [\"a\", 1]\n",
            "`server.names[1]` in chancery.toml (line 2, column 15): expected a string, found a whole number",
        ),
        ("server = 1\n", "`server` in chancery.toml (line 1, column 10): expected a table, found a whole number"),
        (
            "[hierarchy.root]\nkey = \"ecdsa\"\n",
            "`hierarchy.root.key` in chancery.toml (line 2, column 7): `ecdsa` is not a key algorithm; known are ecdsa-p256, ecdsa-p384, ecdsa-p521, ed25519 and rsa-2048 to rsa-8192",
        ),
        (
            "public_url = 2026-01-01\n",
            "the configuration in chancery.toml (line 1, column 14): no setting is a date; write it in quotes if it is text",
        ),
        (
            "[[authentication.jwt]]\nname = \"sso\"\n",
            "`authentication.jwt[0].issuer` is missing in chancery.toml (line 1, column 1)",
        ),
        (
            "[[authentication.client_certificates]]\nfingerprint_sha256 = \"12\"\n",
            "`authentication.client_certificates[0].fingerprint_sha256` in chancery.toml (line 2, column 22): `12` is not a SHA-256 digest of 64 hex digits",
        ),
    ] {
        assert_eq!(refusal(load_text(text)), message);
    }
    for (algorithm, reason) in [
        ("HS256", "the algorithm `HS256` is refused: whoever can verify a token with it can forge one; accepted are "),
        ("hs512", "the algorithm `hs512` is refused: whoever can verify a token with it can forge one; accepted are "),
        ("None", "the algorithm `None` is refused: tokens with it are not signed; accepted are "),
        ("ES512", "`ES512` is not an algorithm that tokens may be signed with; known are "),
        ("rs256", "`rs256` is not an algorithm that tokens may be signed with; known are "),
    ] {
        let message = refusal(load_text(&JWT.replace("ES256", algorithm)));
        let place = "`authentication.jwt[0].algorithms` in chancery.toml (line 6, column 14): ";
        assert_eq!(message, format!("{place}{reason}ES256, ES384, EdDSA, RS256, RS384, RS512, PS256, PS384, PS512"));
    }
}

#[test]
fn what_is_not_toml_is_refused_with_its_place_and_without_the_line() {
    for line in ["passphrase = \"correct horse", "passphrase = correct horse", "passphrase \"correct horse\"", "horse"]
    {
        let message = refusal(load_text(&format!("[keys]\n{line}\n")));
        assert!(message.starts_with("the configuration in chancery.toml (line 2, column "), "{message}");
        assert!(!message.contains("horse"), "{message}");
    }
    let message = refusal(load_text("[server]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\n"));
    assert!(message.starts_with("the configuration in chancery.toml (line 3, column 1): duplicate key"), "{message}");
    let message = refusal(load(Some(Path::new("/absent/chancery.toml")), std::iter::empty()));
    assert!(message.starts_with("the configuration file `/absent/chancery.toml` cannot be read: "), "{message}");
}

#[test]
fn a_list_given_as_a_whole_cannot_also_be_given_in_part() {
    assert_eq!(
        refusal(load_environment(&[
            ("CHANCERY__PROFILES", "[{ name = \"web\" }]"),
            ("CHANCERY__PROFILES__0__ISSUER", "issuing"),
        ])),
        "`profiles` in the environment variable `CHANCERY__PROFILES__0__ISSUER`: it is given as a whole and cannot also be given in part"
    );
}

#[test]
fn values_of_the_environment_that_do_not_fit_are_refused_with_the_variable() {
    for (name, value, message) in [
        (
            "CHANCERY__SERVER__WORKERS",
            "many",
            "`server.workers` in the environment variable `CHANCERY__SERVER__WORKERS`: expected a whole number that is not negative, found a string",
        ),
        (
            "CHANCERY__SERVER__WORKERS",
            "",
            "`server.workers` in the environment variable `CHANCERY__SERVER__WORKERS`: expected a whole number that is not negative, found a string",
        ),
        (
            "CHANCERY__SERVER__WORKERS__X",
            "1",
            "`server.workers` in the environment variable `CHANCERY__SERVER__WORKERS__X`: expected a whole number that is not negative, found a table",
        ),
        (
            "CHANCERY__SERVER",
            "x",
            "`server` in the environment variable `CHANCERY__SERVER`: expected a table, found a string",
        ),
        (
            "CHANCERY__LIMITS__BODY",
            "1e6",
            "`limits.body` in the environment variable `CHANCERY__LIMITS__BODY`: expected a whole number that is not negative, found a string",
        ),
        ("CHANCERY__PROFILES__0__NAME", "A", "the configuration is not valid: the profile `A` is not valid: "),
        (
            "CHANCERY__PROFILES__1__NAME",
            "a",
            "`profiles` in the environment variable `CHANCERY__PROFILES__1__NAME`: `1` is not the number of one of its 0 items, nor of the next one",
        ),
        (
            "CHANCERY__SERVER__",
            "x",
            "the environment variable `CHANCERY__SERVER__` is not `CHANCERY__SECTION__KEY`: a name is empty",
        ),
        (
            "CHANCERY____SERVER",
            "x",
            "the environment variable `CHANCERY____SERVER` is not `CHANCERY__SECTION__KEY`: a name is empty",
        ),
    ] {
        let refusal = refusal(load_environment(&[(name, value)]));
        assert!(refusal.starts_with(message), "{refusal}");
    }
}

#[test]
fn what_types_cannot_say_is_refused() {
    let kek = "00".repeat(32);
    for (text, message) in [
        ("data_dir = \"\"", "`data_dir` is empty"),
        ("public_url = \"pki.internal\"", "`public_url` is not an absolute URL"),
        ("public_url = \"ftp://pki.internal\"", "`public_url` must begin with `http://` or `https://`"),
        ("public_url = \"http://pki.internal/\"", "`public_url` must not end with `/`"),
        ("public_url = \"http://pki.internal?a\"", "`public_url` must not have a `?` or `#` part"),
        ("public_url = \"http://a:b@pki.internal\"", "`public_url` must not have a user or a password"),
        (
            "public_url = \"http://PKI.internal\"",
            "`public_url` must be in normal form: lower-case scheme and host, no default port, special characters percent-encoded",
        ),
        (
            "public_url = \"http://pki.internal:80\"",
            "`public_url` must be in normal form: lower-case scheme and host, no default port, special characters percent-encoded",
        ),
        (
            "[server]\ncertificate = \"a\"",
            "`server.certificate` and `server.private_key` must be given both or neither",
        ),
        (
            "[server]\nprivate_key = \"a\"",
            "`server.certificate` and `server.private_key` must be given both or neither",
        ),
        (
            "[server]\ncertificate = \"a\"\nprivate_key = \"b\"\ntls = \"off\"",
            "`server.certificate` has no use when `server.tls` is `off`",
        ),
        (
            "[server]\nnames = [\"ca.internal\", \"10.0.0.1\", \"CA.internal\"]",
            "`server.names[2]` must be a DNS name in lower case or an IP address, not `CA.internal`",
        ),
        (
            "[server]\nnames = [\"1.2.3\"]",
            "`server.names[0]` must be a DNS name in lower case or an IP address, not `1.2.3`",
        ),
        (
            "[server]\npublic_listen = \"127.0.0.1:8443\"",
            "`server.listen` and `server.public_listen` are both `127.0.0.1:8443`",
        ),
        ("[server]\nworkers = 0", "`server.workers` is 0; accepted is 1 to 1024"),
        (
            "[server]\nclient_header_timeout = \"0s\"",
            "`server.client_header_timeout` is `0s`; accepted is `1s` to `5m`",
        ),
        ("[server]\nshutdown_timeout = \"2h\"", "`server.shutdown_timeout` is `2h`; accepted is `0s` to `1h`"),
        ("[server]\nmaximum_connections = 0", "`server.maximum_connections` is 0; accepted is 1 to 1000000"),
        ("[database]\nconnections = 0", "`database.connections` is 0; accepted is 1 to 1000"),
        ("[database]\nstatement_timeout = \"0s\"", "`database.statement_timeout` is `0s`; accepted is `1s` to `1h`"),
        ("[database]\nconnect_timeout = \"1h\"", "`database.connect_timeout` is `1h`; accepted is `1s` to `5m`"),
        (
            "[database]\nroot_certificates = \"x\"",
            "`database.root_certificates` has no use without a PostgreSQL `database.url`",
        ),
        (
            "[keys]\npassphrase = \"short\"",
            "`keys.passphrase`: the passphrase is too short; at least 12 characters are needed",
        ),
        (
            "[keys]\nkey_encryption_key = \"00\"",
            "`keys.key_encryption_key`: the key-encryption key must hold 64 hex digits or the base64 of 32 octets, and nothing else",
        ),
        (
            &format!("[keys]\nkey_encryption_key_file = \"a\"\nkey_encryption_key = \"{kek}\""),
            "at most one source of the key-encryption key may be given, not `keys.key_encryption_key_file` and `keys.key_encryption_key`",
        ),
        (
            "[hierarchy.root]\nname = \"Root\"",
            "`hierarchy.root.name` must be 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter",
        ),
        (
            "[hierarchy.root]\nname = \"issuing\"",
            "`hierarchy.root.name` and `hierarchy.issuing.name` are both `issuing`",
        ),
        (
            "[hierarchy.root]\ncommon_name = \" x\"",
            "`hierarchy.root.common_name` must have 1 to 64 characters, with no white space around them",
        ),
        (
            "[hierarchy.issuing]\norganization = \"\"",
            "`hierarchy.issuing.organization` must have 1 to 64 characters, with no white space around them",
        ),
        (
            "[hierarchy.issuing]\nkey = \"ecdsa-p521\"",
            "`hierarchy.issuing.key` is `ecdsa-p521`; keys can be made for ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072, rsa-4096 and rsa-8192",
        ),
        (
            "[hierarchy.issuing]\nvalidity = \"3651d\"",
            "`hierarchy.issuing.validity` is longer than `hierarchy.root.validity`",
        ),
        (
            "[hierarchy.issuing]\nvalidity = \"59m\"",
            "`hierarchy.issuing.validity` is `59m`; accepted is `1h` to `36500d`",
        ),
        (
            "[hierarchy.issuing]\nfile = \"x\"",
            "`hierarchy.issuing.file` and `hierarchy.issuing.passphrase` have no use unless `hierarchy.issuing.storage` is `file`",
        ),
        (
            "[hierarchy.issuing]\nstorage = \"file\"",
            "`hierarchy.issuing.passphrase` is needed when `hierarchy.issuing.storage` is `file`",
        ),
        (
            "[hierarchy.issuing]\nstorage = \"file\"\npassphrase = \"short\"",
            "`hierarchy.issuing.passphrase`: the passphrase is too short; at least 12 characters are needed",
        ),
        (
            "[crl]\nrefresh = \"24h\"",
            "`crl.refresh` must be shorter than `crl.validity`: the next CRL has to be there before the last ends",
        ),
        ("[crl]\ndelay_after_revocation = \"2d\"", "`crl.delay_after_revocation` is `2d`; accepted is `0s` to `1d`"),
        ("[limits]\ncsr_body = 1", "`limits.csr_body` is 1; accepted is 4096 to 16777216"),
        ("[limits]\nbody = 0", "`limits.body` is 0; accepted is 4096 to 67108864"),
        (
            "[log]\nlevel = \"a=b=c\"",
            "`log.level` is `a=b=c`; write `error`, `warn`, `info`, `debug` or `trace`, or directives such as `info,chancery::storage=debug`",
        ),
        ("default_profile = \"\"", "`default_profile` must be 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter"),
        ("[[profiles]]\nname = \"a\"\n[[profiles]]\nname = \"a\"", "`profiles` has the name `a` more than once"),
        (
            "[server]\nworkers = 0\n[limits]\nbody = 0",
            "`server.workers` is 0; accepted is 1 to 1024; `limits.body` is 0; accepted is 4096 to 67108864",
        ),
    ] {
        assert_eq!(problem(text), message, "{text}");
    }
}

#[test]
fn loose_rules_of_authentication_are_refused() {
    let jwt = |from: &str, to: &str| problem(&JWT.replace(from, to));
    for (from, to, message) in [
        (
            "\"sso\"",
            "\"S\"",
            "`authentication.jwt[0].name` must be 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter",
        ),
        ("\"https://sso.internal\"", "\"\"", "`authentication.jwt[0].issuer` is empty"),
        (
            "[\"chancery\"]",
            "[]",
            "`authentication.jwt[0].audience` must have at least one value and no empty one: tokens for others would be accepted",
        ),
        ("[\"ES256\"]", "[]", "`authentication.jwt[0].algorithms` must have at least one algorithm"),
        (
            "role",
            "jwks_file = \"x\"\nrole",
            "`authentication.jwt[0]` must have exactly one of `jwks_url`, `jwks_file` and `public_key_file`",
        ),
        (
            "jwks_url = \"https://sso.internal/keys\"",
            "",
            "`authentication.jwt[0]` must have exactly one of `jwks_url`, `jwks_file` and `public_key_file`",
        ),
        (
            "https://sso.internal/keys",
            "http://sso.internal/keys",
            "`authentication.jwt[0].jwks_url` must be `https://`, or `http://` on this machine",
        ),
        (
            "https://sso.internal/keys",
            "http://localhost.evil.test/keys",
            "`authentication.jwt[0].jwks_url` must be `https://`, or `http://` on this machine",
        ),
        (
            "https://sso.internal/keys",
            "file:///etc/keys",
            "`authentication.jwt[0].jwks_url` must be `https://`, or `http://` on this machine",
        ),
        (
            "role = \"requester\"",
            "",
            "`authentication.jwt[0]`: there is neither a rule nor a default role, so no token could be admitted",
        ),
        ("role", "leeway = \"1h\"\nrole", "`authentication.jwt[0].leeway` is `1h`; accepted is `0s` to `10m`"),
        ("role", "refresh = \"0s\"\nrole", "`authentication.jwt[0].refresh` is `0s`; accepted is `30s` to `1d`"),
        (
            "role",
            "maximum_age = \"0s\"\nrole",
            "`authentication.jwt[0].maximum_age` is `0s`; accepted is `1s` to `365d`",
        ),
        (
            "role",
            "subject_claim = \"\"\nrole",
            "`authentication.jwt[0].subject_claim`: the claim `` is or has an empty name",
        ),
        (
            "role",
            "rules = [{ claims = {}, role = \"auditor\" }]\nrole",
            "`authentication.jwt[0]`: `rules[0]`: a rule needs a claim; a role for every token is the provider's `role`",
        ),
        (
            "role",
            "rules = [{ claims = { a = [] }, role = \"auditor\" }]\nrole",
            "`authentication.jwt[0]`: `rules[0]`: the claim `a` has no value to match",
        ),
        (
            "role",
            "rules = [{ claims = { \"\" = \"b\" }, role = \"auditor\" }]\nrole",
            "`authentication.jwt[0]`: `rules[0]`: the claim `` is or has an empty name",
        ),
        (
            "role",
            "rules = [{ claims = { a = \"b\" }, role = \"auditor\", grants = { profiles = [\"{a\"] } }]\nrole",
            "`authentication.jwt[0]`: `rules[0]`: the grants cannot be used: `{a` has a brace without its partner",
        ),
    ] {
        assert_eq!(jwt(from, to), message);
    }
    let ca_certificates =
        JWT.replace("jwks_url = \"https://sso.internal/keys\"", "jwks_file = \"x\"\nca_certificates = \"y\"");
    assert_eq!(problem(&ca_certificates), "`authentication.jwt[0].ca_certificates` has no use without `jwks_url`");
    let twice = problem(&format!("{JWT}{JWT}"));
    assert_eq!(
        twice,
        "`authentication.jwt` has the name `sso` more than once; `authentication.jwt` has the issuer `https://sso.internal` more than once"
    );
    for url in ["http://localhost:8080/keys", "http://127.0.0.9/keys", "http://[::1]/keys"] {
        assert!(load_text(&JWT.replace("https://sso.internal/keys", url)).is_ok(), "{url}");
    }
    let client = |from: &str, to: &str| problem(&CLIENT.replace(from, to));
    for (from, to, message) in [
        (
            "\"deployer\"\nca",
            "\"\"\nca",
            "`authentication.client_certificates[0]`: client certificate rule ``: the name is not 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`",
        ),
        (
            "issuer:issuing",
            "issuer:",
            "`authentication.client_certificates[0].ca` must be 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter",
        ),
        (
            "issuer:issuing",
            "",
            "`authentication.client_certificates[0].ca` is empty; write `issuer:<name>` or the path of a PEM file",
        ),
        (
            "common_name = \"deployer\"",
            "",
            "`authentication.client_certificates[0]`: client certificate rule `deployer`: there is no condition; give `subject_alt_names` (`**` for any name), `common_name` or `fingerprint_sha256`",
        ),
        (
            "common_name = \"deployer\"",
            "common_name = \"\"",
            "`authentication.client_certificates[0].common_name` is empty",
        ),
        (
            "role",
            "subject_alt_names = []\nrole",
            "`authentication.client_certificates[0].subject_alt_names` is empty and would match nobody",
        ),
    ] {
        assert_eq!(client(from, to), message);
    }
    assert!(client("role", "subject_alt_names = [\"a..b\"]\nrole").starts_with(
        "`authentication.client_certificates[0]`: client certificate rule `deployer`: the name rules are not valid: "
    ));
    assert!(client("role", "grants = { names = { dns = { allow = [\"{sub}\"] } } }\nrole").starts_with(
        "`authentication.client_certificates[0]`: client certificate rule `deployer`: the name rules are not valid: "
    ));
}
