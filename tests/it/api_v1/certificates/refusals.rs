//! The table of bad input: requests that must be refused, each with its status, code and violations, and no certificate left behind.
//!
//! The rows are in `refusals/`, by what is wrong with them.

mod bodies;
mod callers;
mod keys;
mod names;
mod profiles;
mod tokens;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::client::{Client, Request};
use crate::support::csr::Csr;
use crate::support::service::{Database, Service};

/// One refused request.
struct Row {
    /// What is wrong, in words.
    what: String,
    request: Request,
    status: u16,
    code: &'static str,
    /// The codes of all violations, in order.
    violations: Vec<&'static str>,
}

/// Where rows are collected, and what they are made with.
struct Table<'a> {
    service: &'a Service,
    administrator: Client,
    rows: Vec<Row>,
}

impl Table<'_> {
    /// Adds a row.
    fn add(&mut self, what: impl Into<String>, request: Request, status: u16, code: &'static str) {
        self.rows.push(Row { what: what.into(), request, status, code, violations: Vec::new() });
    }

    /// Adds a row that the policy refuses, with every violation it must name.
    fn violates(&mut self, what: impl Into<String>, body: &Value, violations: &[&'static str]) {
        let request = self.administrator.post("/api/v1/certificates").json(body);
        self.rows.push(Row {
            what: what.into(),
            request,
            status: 422,
            code: "policy_violation",
            violations: violations.to_vec(),
        });
    }

    /// Adds a row: a CSR under the profile `server` that the policy refuses.
    fn server_refuses(&mut self, what: impl Into<String>, csr: &Csr, violations: &[&'static str]) {
        self.violates(what, &json!({"csr": csr.pem(), "profile": "server"}), violations);
    }

    /// Adds a row: a CSR under the profile `client` that the policy refuses.
    fn client_refuses(&mut self, what: impl Into<String>, csr: &Csr, violations: &[&'static str]) {
        self.violates(what, &json!({"csr": csr.pem(), "profile": "client"}), violations);
    }
}

/// Every serial number there is.
fn serials(client: &Client) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/api/v1/certificates?limit=1000{cursor}")).expect(200).json();
        found.extend(page["items"].as_array().unwrap().iter().map(|item| item["serial"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[test]
fn bad_input_is_refused_and_leaves_no_certificate() {
    let service = Service::configured(Database::Sqlite, tokens::CONFIGURATION, &tokens::files());
    let mut table = Table { service: &service, administrator: service.administrator(), rows: Vec::new() };
    bodies::rows(&mut table);
    keys::rows(&mut table);
    names::rows(&mut table);
    profiles::rows(&mut table);
    callers::rows(&mut table);
    tokens::rows(&mut table);
    let Table { administrator, rows, .. } = table;
    assert!(rows.len() >= 100, "only {} rows", rows.len());

    let before = serials(&administrator);
    let policy_refusals = rows.iter().filter(|row| row.code == "policy_violation").count();
    let mut wrong = Vec::new();
    for Row { what, request, status, code, violations } in rows {
        let answer = request.send();
        if answer.status != status {
            wrong.push(format!("{what}: {} instead of {status}: {}", answer.status, answer.text()));
            continue;
        }
        let found = (answer.problem_code(), answer.violation_codes());
        if found.0 != code || found.1 != violations {
            wrong.push(format!("{what}: {found:?} instead of ({code}, {violations:?}): {}", answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{} rows went wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(serials(&administrator), before, "a refused request left a certificate");

    let refused = audited_refusals(&administrator);
    assert!(refused >= policy_refusals, "{refused} of {policy_refusals} refusals by policy are in the audit log");
    let verification = administrator.get("/api/v1/audit/verify").expect(200).json();
    assert_eq!(verification["failures"], json!([]), "{verification}");
}

fn audited_refusals(client: &Client) -> usize {
    let mut count = 0;
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/api/v1/audit?outcome=refused&limit=1000{cursor}")).expect(200).json();
        count += page["items"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}

/// What the table sends, but for what makes each row bad, is good: or the rows would prove nothing.
#[test]
fn the_same_requests_without_their_fault_are_certified() {
    let service = Service::configured(Database::Sqlite, tokens::CONFIGURATION, &tokens::files());
    let client = service.administrator();
    let csr = || Csr::for_dns(&["good.internal"]).pem();
    client.post("/api/v1/certificates").json(&json!({"csr": csr(), "profile": "server"})).expect(201);
    client
        .post("/api/v1/certificates?profile=server")
        .body("application/pkcs10", Csr::for_dns(&["good.internal"]).der())
        .expect(201);
    let issue =
        |client: &Client| client.post("/api/v1/certificates").json(&json!({"csr": csr(), "profile": "server"})).send();
    let good = tokens::good(&service);
    let answer = issue(&service.anonymous().bearer(&good));
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["requester"], "jwt:sso:somebody");
}
