//! Callers without a credential, with a bad one, or with one that does not allow this; and what belongs to somebody else.

use serde_json::json;

use super::Table;
use crate::support::csr::Csr;
use crate::support::service::issue_with;

pub(super) fn rows(table: &mut Table<'_>) {
    credentials(table);
    permissions(table);
    grants(table);
    issuers(table);
    ownership(table);
}

fn credentials(table: &mut Table<'_>) {
    let anonymous = table.service.anonymous();
    let body = json!({"csr": Csr::for_dns(&["good.internal"]).pem(), "profile": "server"});
    let post = || anonymous.post("/api/v1/certificates").json(&body);
    table.add("no credential", post(), 401, "unauthenticated");
    let token = table.service.file("admin.token").trim().to_owned();
    for (what, value) in [
        ("another scheme", "Basic YWRtaW46YWRtaW4=".to_owned()),
        ("a token without scheme", token.clone()),
        ("an empty token", "Bearer ".to_owned()),
        ("an unknown token", format!("Bearer chy_{}", "A".repeat(43))),
        ("a token with a changed character", format!("Bearer {}", flip_last(&token))),
        ("a token cut short", format!("Bearer {}", &token[..token.len() - 1])),
        ("a token with more behind it", format!("Bearer {token}A")),
        ("two tokens", format!("Bearer {token} {token}")),
        ("text", "Bearer let me in".to_owned()),
    ] {
        table.add(what, post().header("authorization", &value), 401, "unauthenticated");
    }
    let created = table
        .administrator
        .post("/api/v1/tokens")
        .json(&json!({"name": "revoked", "role": "administrator"}))
        .expect(201)
        .json();
    table.administrator.delete(&format!("/api/v1/tokens/{}", created["id"].as_str().unwrap())).send();
    let revoked = format!("Bearer {}", created["token"].as_str().unwrap());
    table.add("a revoked token", post().header("authorization", &revoked), 401, "unauthenticated");
}

/// The token with its last character but one changed, so that the change is not in bits that base64 does not use.
fn flip_last(token: &str) -> String {
    let mut characters: Vec<char> = token.chars().collect();
    let index = characters.len() - 2;
    characters[index] = if characters[index] == 'A' { 'B' } else { 'A' };
    characters.into_iter().collect()
}

fn permissions(table: &mut Table<'_>) {
    let body = json!({"csr": Csr::for_dns(&["good.internal"]).pem(), "profile": "server"});
    let auditor = table.service.with_role("auditor");
    table.add("an auditor issues", auditor.post("/api/v1/certificates").json(&body), 403, "forbidden");
    let operator = table.service.with_role("operator");
    let profile = json!({"dns": {"allow": ["**"]}});
    table.add("an operator writes a profile", operator.put("/api/v1/profiles/open").json(&profile), 403, "forbidden");
    let token = json!({"name": "mine", "role": "administrator"});
    table.add("an operator makes a token", operator.post("/api/v1/tokens").json(&token), 403, "forbidden");
    let requester = table.service.with_role("requester");
    table.add("a requester reads the audit log", requester.get("/api/v1/audit"), 403, "forbidden");
    table.add("a requester makes a token", requester.post("/api/v1/tokens").json(&token), 403, "forbidden");
}

fn grants(table: &mut Table<'_>) {
    let requester = table.service.with_grants(
        "requester",
        &json!({"profiles": ["server"], "issuers": ["issuing"], "names": {"dns": {"allow": ["*.shop.internal"]}}}),
    );
    let body = |name: &str, profile: &str| json!({"csr": Csr::for_dns(&[name]).pem(), "profile": profile});
    let mut post = |what: &str, body: serde_json::Value, status, code, violations: &[&'static str]| {
        let request = requester.post("/api/v1/certificates").json(&body);
        table.rows.push(super::Row { what: what.to_owned(), request, status, code, violations: violations.to_vec() });
    };
    post("a profile outside the grants", body("a.shop.internal", "peer"), 403, "forbidden", &[]);
    let outside = ["name_not_allowed"];
    post("a name outside the grants", body("a.bank.internal", "server"), 422, "policy_violation", &outside);
    post("a name below the granted ones", body("a.b.shop.internal", "server"), 422, "policy_violation", &outside);
    post("the granted suffix itself", body("shop.internal", "server"), 422, "policy_violation", &outside);
    post("outside both", body("www.example.org", "server"), 422, "policy_violation", &["name_not_allowed"; 2]);
    let address = json!({"csr": Csr::for_dns(&["a.shop.internal"]).ip(&[10, 0, 0, 1]).pem(), "profile": "server"});
    post("a type of name without a grant", address, 422, "policy_violation", &["name_type_not_allowed"]);
    let mut added = body("a.shop.internal", "server");
    added["subject_alt_names"] = json!(["b.bank.internal"]);
    post("a name outside, beside the CSR", added, 422, "policy_violation", &outside);
}

fn issuers(table: &mut Table<'_>) {
    let body = json!({"csr": Csr::for_dns(&["good.internal"]).pem(), "profile": "server"});
    let requester = table.service.with_grants("requester", &json!({"issuers": ["root"]}));
    let request = requester.post("/api/v1/certificates").json(&body);
    table.add("an issuer outside the grants", request, 403, "forbidden");
    let mut root = body;
    root["issuer"] = json!("root");
    table.violates("an issuer that the profile does not admit", &root, &["issuer_not_allowed"]);
}

fn ownership(table: &mut Table<'_>) {
    let owner = table.service.with_role("requester");
    let other = table.service.with_role("requester");
    let body = json!({"csr": Csr::for_dns(&["owned.internal"]).pem(), "profile": "server"});
    let record = issue_with(&owner, &body);
    let path = format!("/api/v1/certificates/{}", record["serial"].as_str().unwrap());
    table.add("somebody else's certificate", other.get(&path), 404, "not_found");
    table.add("somebody else's certificate as PEM", other.get(&format!("{path}.pem")), 404, "not_found");
    let reason = json!({"reason": "superseded"});
    table.add("revoking somebody else's", other.post(&format!("{path}/revoke")).json(&reason), 404, "not_found");
    table.add("renewing somebody else's", other.post(&format!("{path}/renew")).json(&json!({})), 404, "not_found");
    table.add("releasing one's own", owner.post(&format!("{path}/release")), 403, "forbidden");
    let nothing = other.get("/api/v1/certificates").expect(200).json();
    assert_eq!(nothing["items"], json!([]), "a requester lists its own only");
    let filter = json!({"filter": {"name": "owned.internal"}, "reason": "superseded"});
    let bulk = other.post("/api/v1/certificates/revoke").json(&filter).expect(200).json();
    assert_eq!((&bulk["matched"], &bulk["revoked"]), (&json!(0), &json!(0)), "{bulk}");
}
