//! No question that is asked of the service makes the database read more rows than a page may look at.
//!
//! PostgreSQL tells the plan of every statement with the rows that it read, while each list of the OpenAPI document is asked for with every
//! condition and every pair of conditions, on an inventory that is larger than that. SQLite tells no numbers: of every statement that it is
//! sent in all tests of the storage its plan is looked at. A condition that is new has no value here, and fails.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use chancery::storage::{
    AcmeAccountFilter, AcmeAccountStatus, AcmeOrderFilter, AcmeOrderStatus, AuditFilter, AuditOutcome,
    CertificateFilter, CertificateStatus, NameFilter, PageRequest, SortKey, Storage,
};
use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::{Connection as _, RunQueryDsl as _, SqliteConnection};
use serde_json::{Value, json};

use super::fixture::{Fixture, at, certificate, event, issue, serial};
use super::on_both_databases;
use crate::support::client::{Client, RUNTIME};
use crate::support::postgres::{Server, execute};
use crate::support::seed;
use crate::support::service::{Database, Service};

/// Certificates of the inventory: more than any statement may read.
const CERTIFICATES: u64 = 60_000;
/// The most rows that a step of a plan may read: those that are put in order for a page, and some that are recorded meanwhile.
const MOST: f64 = 21_000.0;
/// Tables that do not grow with what is issued.
const SMALL: &[&str] = &[
    "__diesel_schema_migrations",
    "acme_nonce_epochs",
    "audit_chains",
    "certificate_counting",
    "counted_changes",
    "crl_scopes",
    "fresh_counts",
    "fresh_states",
    "generation",
    "issuer_certificates",
    "issuers",
    "leases",
    "ca_keys",
    "ocsp_responders",
    "profile_versions",
    "profiles",
    "published_crls",
    "settings",
    "uncounted_days",
];

#[test]
fn postgresql_reads_no_more_rows_than_a_page_may_look_at() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start();
    let url = runtime.block_on(server.create_database());
    let mut service = Service::start_with(Database::Sqlite, &[("CHANCERY__DATABASE__URL", &url)]);
    seed::fill(&mut service, CERTIFICATES);
    assert!(service.stop().success());
    runtime.block_on(server.explain_statements());
    let before = server.log().len();
    service.restart();
    let asked = ask_everything(&service);
    assert!(asked > 500, "{asked} questions were asked");
    change_something(&service);
    // The jobs have run, and a session writes what it logs when it answers.
    assert!(service.stop().success());
    runtime.block_on(execute(&url, "SELECT COUNT(*) FROM certificates WHERE key_algorithm = 'unindexed'"));
    let log = server.log();
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut statements = 0;
    for plan in plans(&log[before..]) {
        statements += 1;
        found.extend(judge(&plan["Plan"]).map(|why| format!("{why}: {}", plan["Query Text"].as_str().unwrap())));
    }
    assert!(statements > 1000, "{statements} plans were logged");
    let (deliberate, found): (Vec<_>, Vec<_>) = found.into_iter().partition(|one| one.contains("unindexed"));
    assert_eq!(deliberate.len(), 1, "a statement without index is found");
    assert!(found.is_empty(), "{} statements read too much:\n{}", found.len(), found.join("\n"));
}

/// Reads the plans that `auto_explain` wrote.
fn plans(log: &str) -> impl Iterator<Item = Value> + '_ {
    log.split(" plan:\n").skip(1).map(|text| {
        // Lines that go on begin with a tab.
        let lines: String = text.lines().take_while(|line| line.starts_with('\t')).collect();
        serde_json::from_str(&lines).unwrap_or_else(|error| panic!("{error}: {lines}"))
    })
}

/// Tells what is wrong with the steps of a plan.
fn judge(plan: &Value) -> impl Iterator<Item = String> {
    let mut wrong = Vec::new();
    let mut steps = vec![plan];
    while let Some(step) = steps.pop() {
        steps.extend(step["Plans"].as_array().into_iter().flatten());
        let Some(table) = step["Relation Name"].as_str() else { continue };
        let number = |name: &str| step[name].as_f64().unwrap_or(0.0);
        let read = (number("Actual Rows") + number("Rows Removed by Filter") + number("Rows Removed by Index Recheck"))
            * number("Actual Loops");
        let kind = step["Node Type"].as_str().unwrap();
        if kind == "Seq Scan" && !SMALL.contains(&table) {
            wrong.push(format!("`{table}` is read row by row"));
        } else if read > MOST {
            wrong.push(format!("{read} rows of `{table}` are read"));
        }
    }
    wrong.into_iter()
}

/// Asks for every list with every condition and pair of conditions, and for the page behind; returns how often.
fn ask_everything(service: &Service) -> usize {
    let client = service.administrator();
    let document = client.get("/openapi.json").expect(200).json();
    let one = client.get("/api/v1/certificates?limit=1&requester=token:ci").expect(200).json()["items"][0].clone();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let Some(operation) = operations.get("get").filter(|_| path.starts_with("/api/v1/")) else { continue };
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let conditions: Vec<Vec<String>> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| values(path, parameter, &one))
            .collect();
        let path = path
            .replace("{serial}", one["serial"].as_str().unwrap())
            .replace("{name}", "issuing")
            .replace("{format}", "pem")
            .replace("{id}", "1")
            .replace("{key_id}", "none");
        asked += ask(&client, &path, "");
        for (place, first) in conditions.iter().enumerate() {
            for one in first {
                asked += ask(&client, &path, one);
                for other in conditions.iter().skip(place + 1).flatten() {
                    asked += ask(&client, &path, &format!("{one}&{other}"));
                }
            }
        }
    }
    asked
}

/// Asks for a page and the one behind it.
fn ask(client: &Client, path: &str, query: &str) -> usize {
    let answer = client.get(&format!("{path}?{query}")).send();
    assert!(matches!(answer.status, 200 | 404 | 409), "{path}?{query}: {}", answer.text());
    let next = answer.status == 200 && answer.text().contains("\"next_cursor\":\"");
    if next {
        let cursor = answer.json()["next_cursor"].as_str().unwrap().to_owned();
        let sorted = if query.is_empty() { String::new() } else { format!("{query}&") };
        client.get(&format!("{path}?{sorted}cursor={cursor}")).expect(200);
    }
    1 + usize::from(next)
}

/// What a condition is asked for with: something frequent, something rare, something that is not there. Nothing for what is no condition.
fn values(path: &str, parameter: &Value, one: &Value) -> Option<Vec<String>> {
    let name = parameter["name"].as_str().unwrap();
    let of = |values: &[&str]| Some(values.iter().map(|value| format!("{name}={value}")).collect());
    let schema = &parameter["schema"];
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return of(&words);
    }
    match name {
        "limit" | "cursor" | "format" | "chain" => None,
        "sort" => of(&["issued_at", "not_after", "-not_after"]),
        "profile" => of(&["server", "rare", "none"]),
        // Beside a serial number it says which of several is meant.
        "issuer" if path.contains("{serial}") => None,
        "issuer" => of(&["issuing", "root"]),
        "requester" | "actor" => of(&["token:deploy", "token:team-9", "token:none"]),
        "subject" => of(&["team-24", "zzz"]),
        "name" => of(&["svc-42.example.com", "*.internal", "*.team-24.internal", "*.nowhere.internal"]),
        "label" => of(&["team:5", "team:none"]),
        "issued_after" | "issued_before" | "expires_after" | "expires_before" | "after" | "before"
        | "created_after" | "created_before" => of(&["2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"]),
        "serial" => of(&[one["serial"].as_str().unwrap()]),
        "fingerprint" => of(&[one["fingerprint_sha256"].as_str().unwrap()]),
        "key" => of(&[one["key"]["spki_sha256"].as_str().unwrap()]),
        "object" => of(&[&format!("certificate:{}", one["serial"].as_str().unwrap())]),
        "action" => of(&["certificate.issue", "certificate.revoke", "certificate.*", "issuer.*"]),
        // Which of several documents, by their keys.
        "alternate" | "shard" | "version" | "account" => of(&["1"]),
        "delta" => of(&["true"]),
        "external_account_key" => of(&["none"]),
        "principal" => of(&["token:none"]),
        "thumbprint" => of(&["00".repeat(32).as_str()]),
        _ => panic!("`{path}` has the condition `{name}`: say here what to ask for"),
    }
}

/// Issues, renews, revokes and releases, in bulk too.
fn change_something(service: &Service) {
    let client = service.administrator();
    let issued = service.issue(&["plans.internal"]);
    let path = format!("/api/v1/certificates/{}", issued["serial"].as_str().unwrap());
    client.post(&format!("{path}/renew")).json(&json!({})).send();
    client.post(&format!("{path}/revoke")).json(&json!({"reason": "certificate_hold"})).expect(200);
    client.post(&format!("{path}/release")).json(&json!({})).expect(200);
    client.post(&format!("{path}/revoke")).json(&json!({"reason": "superseded"})).expect(200);
    let few = json!({"filter": {"profile": "rare"}, "reason": "superseded", "dry_run": true});
    client.post("/api/v1/certificates/revoke").json(&few).expect(200);
    client.post("/api/v1/issuers/issuing/crl").expect(200);
}

on_both_databases!(every_list_is_asked_for_and_every_job_runs);

async fn every_list_is_asked_for_and_every_job_runs(fixture: Fixture) {
    let storage = fixture.open().await;
    exercise(&*storage).await;
    storage.close().await;
}

/// The name of the environment variable with the file that the statements are written to.
const STATEMENTS: &str = "CHANCERY_TEST_STATEMENTS";
/// The steps that read a table which grows, and why they may.
const ADMITTED: &[(&str, &str)] = &[];

/// Writes every statement of this process that SQLite is sent to a file, if the environment names one.
pub(super) fn observe() {
    static FILE: OnceLock<Option<Mutex<File>>> = OnceLock::new();
    struct Observer;
    impl Instrumentation for Observer {
        fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
            if let (InstrumentationEvent::StartQuery { query, .. }, Some(Some(file))) = (event, FILE.get()) {
                // What stands behind the text are diesel's words about the values.
                let text = query.to_string();
                let sql = text.split(" -- binds").next().unwrap_or_default();
                writeln!(file.lock().unwrap(), "{}", json!(sql)).unwrap();
            }
        }
    }
    FILE.get_or_init(|| {
        let path = std::env::var_os(STATEMENTS)?;
        diesel::connection::set_default_instrumentation(|| Some(Box::new(Observer))).unwrap();
        Some(Mutex::new(File::create(path).unwrap()))
    });
}

#[test]
fn sqlite_reads_no_table_that_grows_row_by_row() {
    // What is observed is every connection of a process: one that runs all tests of the storage on SQLite, with every operation that front
    // doors and jobs know, and nothing else.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("statements");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["storage::", "--skip", "::postgres::", "--skip", "postgresql", "--skip", "row_by_row"])
        .args(["--skip", "storage::faults", "--skip", "storage::tls"])
        .env(STATEMENTS, &file)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let seen: BTreeSet<String> = std::fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|sql: &String| {
            ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"].iter().any(|word| sql.starts_with(word))
        })
        .filter(|sql| !sql.contains("pragma_"))
        .collect();
    assert!(seen.len() > 400, "{} statements were seen", seen.len());
    let catalog = Catalog::read();
    let wrong: Vec<String> = seen.iter().flat_map(|sql| catalog.scans(sql)).collect();
    assert!(wrong.is_empty(), "{} of {} statements:\n{}", wrong.len(), seen.len(), wrong.join("\n"));
    for deliberate in [
        "SELECT id FROM certificates WHERE key_algorithm = 'x'",
        "SELECT one.id FROM issuers CROSS JOIN certificates AS one WHERE one.not_before = issuers.id",
        "SELECT COUNT(*) FROM (SELECT requester FROM certificates GROUP BY requester)",
        "DELETE FROM idempotency_keys WHERE request_sha256 = x'00'",
    ] {
        assert_eq!(catalog.scans(deliberate).len(), 1, "`{deliberate}` would be seen");
    }
}

/// A step of a plan.
#[derive(diesel::QueryableByName)]
struct Step {
    #[diesel(sql_type = diesel::sql_types::Text)]
    detail: String,
}

/// A table or an index as the database has it.
#[derive(diesel::QueryableByName)]
struct Entry {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    table: String,
}

/// An empty database, with the names of its tables and indexes. Plans do not depend on what it holds: nobody gathers statistics.
struct Catalog {
    connection: RefCell<SqliteConnection>,
    /// The table of each index, and each table as its own.
    tables: BTreeMap<String, String>,
    _fixture: Fixture,
}

impl Catalog {
    fn read() -> Self {
        let fixture = Fixture::sqlite();
        RUNTIME.block_on(async { fixture.open().await.close().await });
        let path = fixture.url.strip_prefix("sqlite://").unwrap();
        let mut connection = SqliteConnection::establish(path).unwrap();
        let entries: Vec<Entry> =
            diesel::sql_query("SELECT name, tbl_name AS \"table\" FROM sqlite_master").load(&mut connection).unwrap();
        let tables = entries.into_iter().map(|entry| (entry.name, entry.table)).collect();
        Self { connection: RefCell::new(connection), tables, _fixture: fixture }
    }

    /// Finds the steps of a statement that read a table that grows, or all of an index of one.
    fn scans(&self, sql: &str) -> Vec<String> {
        let steps: Vec<Step> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}"))
            .load(&mut *self.connection.borrow_mut())
            .unwrap_or_else(|error| panic!("`{sql}`: {error}"));
        steps
            .iter()
            .filter(|step| self.table_scanned(sql, &step.detail).is_some_and(|table| !SMALL.contains(&&*table)))
            .map(|step| format!("`{sql}`: {}", step.detail))
            .filter(|found| !ADMITTED.iter().any(|(admitted, _why)| found.contains(admitted)))
            .collect()
    }

    /// The table that a step reads row by row; none when it is a part of the statement, or when rows are looked up.
    fn table_scanned(&self, sql: &str, detail: &str) -> Option<String> {
        // An automatic index is made of all rows, each time.
        let made = detail.strip_prefix("SEARCH ").filter(|_| detail.contains(" AUTOMATIC "));
        let words: Vec<&str> = detail.strip_prefix("SCAN ").or(made)?.split(' ').collect();
        let name = words[0];
        if let Some(table) = self.tables.get(name) {
            return Some(table.clone());
        }
        let index = words.iter().position(|word| *word == "INDEX").and_then(|place| words.get(place + 1));
        if let Some(table) = index.and_then(|index| self.tables.get(*index)) {
            return Some(table.clone());
        }
        self.tables.values().find(|table| sql.contains(&format!("{table} AS {name}"))).cloned()
    }
}

/// Asks the storage for every list with every condition and pair of conditions, and for what jobs and front doors ask besides.
async fn exercise(storage: &dyn Storage) {
    let issued = issue(storage, certificate(&["a.internal"])).await;
    for filter in pairs(&certificate_filters(), merged) {
        for (sort, descending) in [
            (SortKey::IssuedAt, true),
            (SortKey::IssuedAt, false),
            (SortKey::NotAfter, true),
            (SortKey::NotAfter, false),
        ] {
            for after in [None, Some((at(10).unix(), 7))] {
                storage.certificates(&filter, PageRequest { limit: 100, sort, descending, after }).await.unwrap();
            }
        }
    }
    for filter in pairs(&audit_filters(), merged_audit) {
        for before in [None, Some(7)] {
            storage.audit_events(&filter, before, 100).await.unwrap();
        }
    }
    for filter in order_filters() {
        storage.acme_orders(&filter, Some(7), 100).await.unwrap();
    }
    for filter in account_filters() {
        storage.acme_accounts(&filter, Some(7), 100).await.unwrap();
    }
    storage.record_audit(event("issuer.create", "x")).await.unwrap();
    storage.statistics(at(0)).await.unwrap();
    storage.count_certificates(at(1000)).await.unwrap();
    storage.certificates_by_serial(&issued).await.unwrap();
    storage.certificate_status(1, &issued).await.unwrap();
    storage.certificate_status(1, &serial()).await.unwrap();
    storage.changed_serials(1, 0, 10).await.unwrap();
    storage.issuer_change_counts().await.unwrap();
    for shard in [None, Some(1)] {
        storage.revoked_certificates(1, shard, at(0), (0, 0), 10).await.unwrap();
        storage.changed_certificates(1, shard, 0, 10).await.unwrap();
    }
    storage.revoked_serials(1, 0, at(0), None, 10).await.unwrap();
    storage.key_is_blocked(&[1; 32]).await.unwrap();
    storage.idempotent_answer("x", "y", at(0)).await.unwrap();
    storage.token_by_secret(&[1; 32]).await.unwrap();
    storage.tokens(Some(9), 10).await.unwrap();
    storage.verify_audit().await.unwrap();
    storage.clean_up(at(0)).await.unwrap();
    storage.clean_up_acme(at(0), at(0)).await.unwrap();
    storage.ready().await.unwrap();
}

/// Joins every two of some filters, and gives each alone too.
fn pairs<F: Clone + Default>(filters: &[F], join: fn(F, F) -> F) -> Vec<F> {
    let mut joined = vec![F::default()];
    for (place, one) in filters.iter().enumerate() {
        joined.extend(filters[place..].iter().map(|other| join(one.clone(), other.clone())));
    }
    joined
}

/// One filter for each condition. It names every field, so that a new one does not compile without its value here.
fn certificate_filters() -> Vec<CertificateFilter> {
    let all = CertificateFilter {
        owner: Some("token:a".to_owned()),
        status: Some(CertificateStatus::Revoked),
        now: Some(at(0)),
        profile: Some("server".to_owned()),
        issuer_ids: Some(vec![1, 2]),
        requester: Some("token:a".to_owned()),
        subject: Some("a".to_owned()),
        name: Some(NameFilter::Exact("a.internal".to_owned())),
        serial: Some(serial()),
        fingerprint_sha256: Some([1; 32]),
        spki_sha256: Some([1; 32]),
        labels: vec![("a".to_owned(), "b".to_owned())],
        issued_after: Some(at(0)),
        issued_before: Some(at(9)),
        expires_after: Some(at(0)),
        expires_before: Some(at(9)),
    };
    let none = || CertificateFilter { now: all.now, ..CertificateFilter::default() };
    let suffix = Some(NameFilter::DnsSuffix("internal".to_owned()));
    let mut filters = vec![
        CertificateFilter { owner: all.owner.clone(), ..none() },
        CertificateFilter { profile: all.profile.clone(), ..none() },
        CertificateFilter { issuer_ids: all.issuer_ids.clone(), ..none() },
        CertificateFilter { requester: all.requester.clone(), ..none() },
        CertificateFilter { subject: all.subject.clone(), ..none() },
        CertificateFilter { name: all.name.clone(), ..none() },
        CertificateFilter { name: suffix, ..none() },
        CertificateFilter { serial: all.serial.clone(), ..none() },
        CertificateFilter { fingerprint_sha256: all.fingerprint_sha256, ..none() },
        CertificateFilter { spki_sha256: all.spki_sha256, ..none() },
        CertificateFilter { labels: all.labels.clone(), ..none() },
        CertificateFilter { issued_after: all.issued_after, ..none() },
        CertificateFilter { issued_before: all.issued_before, ..none() },
        CertificateFilter { expires_after: all.expires_after, ..none() },
        CertificateFilter { expires_before: all.expires_before, ..none() },
    ];
    for status in
        [CertificateStatus::Valid, CertificateStatus::OnHold, CertificateStatus::Revoked, CertificateStatus::Expired]
    {
        filters.push(CertificateFilter { status: Some(status), ..none() });
    }
    filters
}

fn merged(one: CertificateFilter, other: CertificateFilter) -> CertificateFilter {
    CertificateFilter {
        owner: one.owner.or(other.owner),
        status: one.status.or(other.status),
        now: one.now.or(other.now),
        profile: one.profile.or(other.profile),
        issuer_ids: one.issuer_ids.or(other.issuer_ids),
        requester: one.requester.or(other.requester),
        subject: one.subject.or(other.subject),
        name: one.name.or(other.name),
        serial: one.serial.or(other.serial),
        fingerprint_sha256: one.fingerprint_sha256.or(other.fingerprint_sha256),
        spki_sha256: one.spki_sha256.or(other.spki_sha256),
        labels: [one.labels, other.labels].concat(),
        issued_after: one.issued_after.or(other.issued_after),
        issued_before: one.issued_before.or(other.issued_before),
        expires_after: one.expires_after.or(other.expires_after),
        expires_before: one.expires_before.or(other.expires_before),
    }
}

fn audit_filters() -> Vec<AuditFilter> {
    let none = AuditFilter::default;
    let mut filters = vec![
        AuditFilter { actor: Some("x".to_owned()), ..none() },
        AuditFilter { object: Some("x".to_owned()), ..none() },
        AuditFilter { outcome: Some(AuditOutcome::Success), ..none() },
        AuditFilter { outcome: Some(AuditOutcome::Refused), ..none() },
        AuditFilter { after: Some(at(0)), ..none() },
        AuditFilter { before: Some(at(0)), ..none() },
    ];
    for action in ["certificate.issue", "certificate.revoke", "certificate.*", "issuer.*", "*"] {
        filters.push(AuditFilter { action: Some(action.to_owned()), ..none() });
    }
    filters
}

fn merged_audit(one: AuditFilter, other: AuditFilter) -> AuditFilter {
    AuditFilter {
        actor: one.actor.or(other.actor),
        action: one.action.or(other.action),
        outcome: one.outcome.or(other.outcome),
        object: one.object.or(other.object),
        after: one.after.or(other.after),
        before: one.before.or(other.before),
    }
}

fn order_filters() -> Vec<AcmeOrderFilter> {
    let none = AcmeOrderFilter::default;
    let mut filters = vec![
        none(),
        AcmeOrderFilter { account_id: Some(1), ..none() },
        AcmeOrderFilter { profile: Some("server".to_owned()), ..none() },
        AcmeOrderFilter { identifier: Some("a.internal".to_owned()), ..none() },
        AcmeOrderFilter { created_after: Some(at(0)), from_row: Some(7), ..none() },
        AcmeOrderFilter { created_before: Some(at(0)), ..none() },
    ];
    for status in
        [AcmeOrderStatus::Pending, AcmeOrderStatus::Processing, AcmeOrderStatus::Valid, AcmeOrderStatus::Invalid]
    {
        filters.push(AcmeOrderFilter { status: Some(status), ..none() });
    }
    filters
}

fn account_filters() -> Vec<AcmeAccountFilter> {
    let none = AcmeAccountFilter::default;
    let mut filters = vec![
        none(),
        AcmeAccountFilter { external_account_key: Some("x".to_owned()), ..none() },
        AcmeAccountFilter { principal: Some("x".to_owned()), ..none() },
        AcmeAccountFilter { thumbprint: Some([1; 32]), ..none() },
    ];
    for status in [AcmeAccountStatus::Valid, AcmeAccountStatus::Deactivated, AcmeAccountStatus::Revoked] {
        filters.push(AcmeAccountFilter { status: Some(status), ..none() });
    }
    filters
}
