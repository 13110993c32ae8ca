//! Tests of refused rules of authentication, word for word.

use super::*;

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
