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
            "unknown key `crl.zzz` in chancery.toml (line 2, column 1), known are `validity`, `refresh`, `delay_after_revocation`, `shards`, `delta_interval`",
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
        "unknown key `server.listen_file` in the environment variable `CHANCERY__SERVER__LISTEN_FILE`, known are `listen`, `public_listen`, `metrics_listen`, `tls`, `certificate`, `private_key`, `names`, `trusted_proxies`, `workers`, `shutdown_timeout`, `client_header_timeout`, `client_body_timeout`, `client_write_timeout`, `keep_alive`, `maximum_connections`, `maximum_connections_per_address`, `concurrent_requests`, `maximum_wait`"
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
            "[acme]\nresolvers = [\"dns.internal\"]\n",
            "`acme.resolvers` in chancery.toml (line 2, column 13): `dns.internal` is not an IP address with or without a port, such as `10.0.0.53` or `[fd00::53]:5353`",
        ),
        (
            "[acme]\nchallenges = [\"http-02\"]\n",
            "`acme.challenges[0]` in chancery.toml (line 2, column 15): unknown value `http-02`, did you mean `http-01`?",
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
            "[acme]\nhttp_01_port = 70000\n",
            "`acme.http_01_port` in chancery.toml (line 2, column 16): the value is out of range, expected a whole number from 0 to 65535",
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
            "`hierarchy.root.key` in chancery.toml (line 2, column 7): `ecdsa` is not a key algorithm; known are ecdsa-p256, ecdsa-p384, ecdsa-p521, ed25519, ml-dsa-44, ml-dsa-65, ml-dsa-87 and rsa-2048 to rsa-8192",
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
        (
            "[server]\nmaximum_connections_per_address = 0",
            "`server.maximum_connections_per_address` is 0; accepted is 1 to 1000000",
        ),
        ("[server]\nconcurrent_requests = 0", "`server.concurrent_requests` is 0; accepted is 1 to 100000"),
        ("[server]\nmaximum_wait = \"5ms\"", "`server.maximum_wait` is `5ms`; accepted is `10ms` to `1m`"),
        ("[server]\nkeep_alive = \"0s\"", "`server.keep_alive` is `0s`; accepted is `1s` to `1h`"),
        ("[server]\nclient_body_timeout = \"2h\"", "`server.client_body_timeout` is `2h`; accepted is `1s` to `1h`"),
        ("[server]\nclient_write_timeout = \"0s\"", "`server.client_write_timeout` is `0s`; accepted is `1s` to `1h`"),
        ("[database]\nmaximum_wait = \"2m\"", "`database.maximum_wait` is `2m`; accepted is `100ms` to `1m`"),
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
            "[[keys.previous]]\n",
            "`keys.previous[0]` must have exactly one of `key_encryption_key_file`, `key_encryption_key` and `passphrase`",
        ),
        (
            "[[keys.previous]]\npassphrase = \"short\"",
            "`keys.previous[0].passphrase`: the passphrase is too short; at least 12 characters are needed",
        ),
        (
            "[keys]\nfile_passphrase = \"short\"",
            "`keys.file_passphrase`: the passphrase is too short; at least 12 characters are needed",
        ),
        (
            "[[keys.files]]\npath = \"a\"\npassphrase = \"long enough for all\"\n[[keys.files]]\npath = \"a\"\npassphrase = \"short\"",
            "`keys.files[1].passphrase`: the passphrase is too short; at least 12 characters are needed; `keys.files` has the file `a` more than once",
        ),
        (
            "[[pkcs11]]\nname = \"hsm\"\nmodule = \"a.so\"",
            "`pkcs11[0]` must have exactly one of `token_label`, `serial` and `slot`",
        ),
        (
            "[[pkcs11]]\nname = \"hsm\"\nmodule = \"a.so\"\nslot = 1\nserial = \"1\"",
            "`pkcs11[0]` must have exactly one of `token_label`, `serial` and `slot`",
        ),
        (
            "[[pkcs11]]\nname = \"hsm\"\nmodule = \"a.so\"\ntoken_label = \"a label that is longer than thirty-two octets\"",
            "`pkcs11[0].token_label` must have 1 to 32 octets",
        ),
        (
            "[[pkcs11]]\nname = \"hsm\"\nmodule = \"a.so\"\nslot = 1\npin = \"1\"\npin_file = \"a\"",
            "`pkcs11[0]` must not have both `pin` and `pin_file`",
        ),
        (
            "[[pkcs11]]\nname = \"HSM\"\nmodule = \"\"\nslot = 1\npin = \"\"\nsessions = 0\ntimeout = \"2m\"",
            "`pkcs11[0].name` must be 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter; `pkcs11[0].module` is empty; `pkcs11[0].pin` is empty; leave it out when the token needs no login; `pkcs11[0].sessions` is 0; accepted is 1 to 64; `pkcs11[0].timeout` is `2m`; accepted is `1s` to `1m`",
        ),
        (
            "[[pkcs11]]\nname = \"a\"\nmodule = \"a\"\nslot = 1\n[[pkcs11]]\nname = \"a\"\nmodule = \"a\"\nslot = 2",
            "`pkcs11` has the name `a` more than once",
        ),
        (
            "[hierarchy.issuing]\nstorage = \"pkcs11\"",
            "`hierarchy.issuing.token` is needed when `hierarchy.issuing.storage` is `pkcs11`",
        ),
        (
            "[hierarchy.issuing]\nstorage = \"pkcs11\"\ntoken = \"hsm\"",
            "`hierarchy.issuing.token` is `hsm`, which no section `[[pkcs11]]` has as its name",
        ),
        (
            "[hierarchy.issuing]\ntoken = \"hsm\"",
            "`hierarchy.issuing.token` has no use unless `hierarchy.issuing.storage` is `pkcs11`",
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
            "[hierarchy.issuing]\nkey = \"rsa-2056\"",
            "`hierarchy.issuing.key` is `rsa-2056`; keys can be made for ecdsa-p256, ecdsa-p384, ecdsa-p521, ed25519, ml-dsa-44, ml-dsa-65, ml-dsa-87, rsa-2048, rsa-3072, rsa-4096 and rsa-8192",
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
        ("[crl]\nshards = 1025", "`crl.shards` is 1025; accepted is 0 to 1024"),
        ("[crl]\ndelta_interval = \"59s\"", "`crl.delta_interval` is `59s`; accepted is `1m` to `365d`"),
        (
            "[crl]\ndelta_interval = \"12h\"",
            "`crl.delta_interval` must be shorter than `crl.refresh`: deltas are for the time between",
        ),
        ("[crl]\ndelay_after_revocation = \"2d\"", "`crl.delay_after_revocation` is `2d`; accepted is `0s` to `1d`"),
        ("[ocsp]\nvalidity = \"0s\"", "`ocsp.validity` is `0s`; accepted is `1s` to `365d`"),
        (
            "[ocsp]\nresponder_validity = \"1d\"",
            "`ocsp.responder_validity` must be at least three times `ocsp.validity`: an answer ends with the certificate it is signed under",
        ),
        ("[ocsp]\ncache_size = 1", "`ocsp.cache_size` is 1; accepted is 1048576 to 68719476736"),
        ("[acme]\nbase_url = \"https://ca.internal/\"", "`acme.base_url` must not end with `/`"),
        (
            "[acme]\nterms_of_service = \"https://ca.internal/<terms>\"\nwebsite = \"ca.internal\"",
            "`acme.terms_of_service` must be the `http://` or `https://` address of a page, of ASCII characters without spaces, `<`, `>` and `\"`; `acme.website` must be the `http://` or `https://` address of a page, of ASCII characters without spaces, `<`, `>` and `\"`",
        ),
        (
            "[acme]\nprofiles = [\"Server\", \"a\", \"a\"]",
            "`acme.profiles[0]` must be 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter; `acme.profiles` has the name `a` more than once",
        ),
        (
            "[acme]\ncaa_identities = [\"CA.internal\"]\nissuer_domain_names = [\"10.0.0.1\"]",
            "`acme.caa_identities[0]` must be a DNS name in lower case, not `CA.internal`; `acme.issuer_domain_names[0]` must be a DNS name in lower case, not `10.0.0.1`",
        ),
        ("[acme]\nchallenges = [\"http-01\", \"http-01\"]", "`acme.challenges` has the name `http-01` more than once"),
        (
            "[acme]\nhttp_01_port = 0\nallowed_addresses = []",
            "`acme.http_01_port` is 0; accepted is 1 to 65535; `acme.allowed_addresses` is empty, so that no address could be contacted; leave it out for the default",
        ),
        (
            "[[acme.zones]]\nzone = \"a b\"\nresolvers = []",
            "`acme.zones[0].zone` must be a DNS name in lower case, not `a b`; `acme.zones[0].resolvers` is 0; accepted is 1 to 8",
        ),
        (
            "[[acme.zones]]\nzone = \"a\"\nresolvers = [\"::1\"]\n[[acme.zones]]\nzone = \"a\"\nresolvers = [\"::1\"]",
            "`acme.zones` has the name `a` more than once",
        ),
        (
            "[acme]\nprofiles = []\nresolvers = [\"10.0.0.1:0\"]",
            "`acme.profiles` is empty, so that no certificate could be had; leave it out for the default, or set `acme.enabled` to `false`; `acme.resolvers[0]` is `10.0.0.1:0`; accepted are the ports 1 to 65535",
        ),
        (
            "[[acme.zones]]\nzone = \"a\"\nresolvers = [\"[::1]:0\"]",
            "`acme.zones[0].resolvers[0]` is `[::1]:0`; accepted are the ports 1 to 65535",
        ),
        ("[acme]\nmaximum_pending_orders = 0", "`acme.maximum_pending_orders` is 0; accepted is 1 to 1000000"),
        ("[acme]\nmaximum_identifiers = 0", "`acme.maximum_identifiers` is 0; accepted is 1 to 1000"),
        (
            "[acme]\norder_lifetime = \"1s\"\nauthorization_lifetime = \"399d\"",
            "`acme.order_lifetime` is `1s`; accepted is `1m` to `90d`; `acme.authorization_lifetime` is `399d`; accepted is `1m` to `398d`",
        ),
        (
            "[acme.validation]\nattempts = 0\nconcurrency = 0\nattempt_timeout = \"4s\"",
            "`acme.validation.concurrency` is 0; accepted is 1 to 10000; `acme.validation.attempts` is 0; accepted is 1 to 20; `acme.validation.connect_timeout` (`5s`, the default) must not be longer than `acme.validation.attempt_timeout` (`4s`), which it is a part of",
        ),
        (
            "[acme.limits]\norders_per_account = { count = 1001, period = \"1s\" }",
            "`acme.limits.orders_per_account.count` is 1001, more than one in a millisecond; 0 is for no limit",
        ),
        (
            "[acme.limits]\norders_per_account = { count = 5, period = \"0s\" }",
            "`acme.limits.orders_per_account.period` is `0s`; accepted is `1s` to `365d`",
        ),
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
