//! `GET /api/v1/certificates`: search, pages, order, export; the same on both databases.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::csr::{Csr, Key};
use crate::support::service::{Database, Service, issue_with, unique};

/// A service with certificates of one team, told apart from other tests' by a label.
struct Inventory {
    client: Client,
    label: String,
    records: Vec<Value>,
}

impl Inventory {
    fn on(database: Database) -> Self {
        let client = Service::shared(database).administrator();
        let label = unique("inventory");
        let records = (0..7)
            .map(|number| {
                let name = format!("host-{number}.{label}.internal");
                let csr = Csr::for_dns(&[&name]).common_name_and_organization(&name, &format!("Org {label}")).pem();
                let validity = format!("{}d", 10 + number);
                let labels = json!({"inventory": label, "parity": if number % 2 == 0 { "even" } else { "odd" }});
                let profile = if number == 6 { "peer" } else { "server" };
                issue_with(&client, &json!({"csr": csr, "profile": profile, "validity": validity, "labels": labels}))
            })
            .collect();
        Self { client, label, records }
    }

    /// The numbers of the records that a query finds within this inventory, in order.
    fn find(&self, query: &str) -> Vec<usize> {
        let path = format!("/api/v1/certificates?label=inventory:{}&{query}", self.label);
        let items = self.client.get(&path).expect(200).json();
        items["items"].as_array().unwrap().iter().map(|item| self.number(item)).collect()
    }

    fn number(&self, item: &Value) -> usize {
        self.records.iter().position(|record| record["serial"] == item["serial"]).expect("a record of this inventory")
    }
}

#[test]
fn every_condition_finds_what_it_says() {
    for database in Database::ALL {
        let inventory = Inventory::on(database);
        let Inventory { client, label, records } = &inventory;
        let text = |number: usize, field: &str| records[number][field].as_str().unwrap().to_owned();
        let path = format!("/api/v1/certificates/{}/revoke", text(2, "serial"));
        client.post(&path).json(&json!({"reason": "superseded"})).expect(200);
        let path = format!("/api/v1/certificates/{}/revoke", text(3, "serial"));
        client.post(&path).json(&json!({"reason": "certificate_hold"})).expect(200);

        let serial = text(1, "serial");
        let with_colons: Vec<&str> = (0..20).map(|at| &serial[at * 2..at * 2 + 2]).collect();
        let fingerprint = text(4, "fingerprint_sha256");
        let key = records[5]["key"]["spki_sha256"].as_str().unwrap();
        for (query, expected) in [
            (String::new(), vec![6, 5, 4, 3, 2, 1, 0]),
            ("sort=issued_at".to_owned(), vec![0, 1, 2, 3, 4, 5, 6]),
            ("sort=not_after".to_owned(), vec![0, 1, 2, 3, 4, 5, 6]),
            ("sort=-not_after".to_owned(), vec![6, 5, 4, 3, 2, 1, 0]),
            ("status=valid".to_owned(), vec![6, 5, 4, 1, 0]),
            ("status=revoked".to_owned(), vec![2]),
            ("status=on_hold".to_owned(), vec![3]),
            ("status=expired".to_owned(), vec![]),
            ("profile=peer".to_owned(), vec![6]),
            ("issuer=issuing&limit=2".to_owned(), vec![6, 5]),
            ("issuer=root".to_owned(), vec![]),
            ("requester=token:admin".to_owned(), vec![6, 5, 4, 3, 2, 1, 0]),
            ("requester=token:nobody".to_owned(), vec![]),
            (format!("subject=host-3.{label}"), vec![3]),
            (format!("subject=org%20{label}"), vec![6, 5, 4, 3, 2, 1, 0]),
            (format!("name=host-1.{label}.internal"), vec![1]),
            (format!("name=HOST-1.{label}.Internal"), vec![1]),
            (format!("name=*.{label}.internal"), vec![6, 5, 4, 3, 2, 1, 0]),
            (format!("name={label}.internal"), vec![]),
            (format!("serial={serial}"), vec![1]),
            (format!("serial={}", with_colons.join(":").to_uppercase()), vec![1]),
            (format!("fingerprint={fingerprint}"), vec![4]),
            (format!("key={key}"), vec![5]),
            ("label=parity:odd".to_owned(), vec![5, 3, 1]),
            ("label=parity:even&status=revoked".to_owned(), vec![2]),
            ("label=parity:other".to_owned(), vec![]),
            (format!("expires_before={}", text(2, "not_after")), vec![0, 1]),
            (format!("expires_before={}&sort=-issued_at", text(2, "not_after")), vec![1, 0]),
            (format!("expires_after={}&sort=not_after", text(5, "not_after")), vec![5, 6]),
            ("issued_after=2000-01-01T00:00:00Z&issued_before=2001-01-01T00:00:00Z".to_owned(), vec![]),
            ("issued_after=2000-01-01T00:00:00Z&limit=1".to_owned(), vec![6]),
        ] {
            assert_eq!(inventory.find(&query), expected, "{database:?}: {query}");
        }
    }
}

/// A walk over pages sees each row once, in order, while certificates are issued in between.
#[test]
fn pages_are_stable_under_inserts() {
    for database in Database::ALL {
        let inventory = Inventory::on(database);
        for sort in ["issued_at", "-issued_at", "not_after", "-not_after"] {
            let mut seen = Vec::new();
            let mut cursor = String::new();
            loop {
                let path =
                    format!("/api/v1/certificates?label=inventory:{}&sort={sort}&limit=2{cursor}", inventory.label);
                let page = inventory.client.get(&path).expect(200).json();
                seen.extend(page["items"].as_array().unwrap().iter().map(|item| inventory.number(item)));
                // Another inventory's certificate: it must not disturb this walk.
                issue_with(
                    &inventory.client,
                    &json!({"csr": Csr::for_dns(&["between.internal"]).pem(), "profile": "server"}),
                );
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            let expected: Vec<usize> = if sort.starts_with('-') { (0..7).rev().collect() } else { (0..7).collect() };
            assert_eq!(seen, expected, "{database:?}: {sort}");
        }
    }
}

#[test]
fn bad_queries_are_refused() {
    let client = Service::shared(Database::Sqlite).administrator();
    for query in [
        "limit=0",
        "limit=1001",
        "limit=ten",
        "colour=red",
        "status=gone",
        "sort=name",
        "cursor=garbage",
        "serial=xyz",
        "fingerprint=12",
        "key=12",
        "label=nocolon",
        "issued_after=yesterday",
        "status=valid&status=revoked",
        "issuer=nobody",
        "name=a..internal",
        "format=xml",
        "format=csv&limit=5",
    ] {
        let answer = client.get(&format!("/api/v1/certificates?{query}")).expect(400);
        assert_eq!(answer.problem_code(), "malformed", "{query}");
    }
}

/// A cursor of one order is not a cursor of another.
#[test]
fn cursors_are_bound_to_their_order() {
    let inventory = Inventory::on(Database::Sqlite);
    let first = inventory.client.get("/api/v1/certificates?limit=1&sort=issued_at").expect(200).json();
    let cursor = first["next_cursor"].as_str().unwrap();
    inventory.client.get(&format!("/api/v1/certificates?limit=1&sort=issued_at&cursor={cursor}")).expect(200);
    inventory.client.get(&format!("/api/v1/certificates?limit=1&sort=not_after&cursor={cursor}")).expect(400);
}

#[test]
fn lists_leave_out_the_chain_unless_asked() {
    let inventory = Inventory::on(Database::Sqlite);
    let path = format!("/api/v1/certificates?limit=1&label=inventory:{}", inventory.label);
    let item = inventory.client.get(&path).expect(200).json()["items"][0].clone();
    assert_eq!((&item["chain"], &item["root"]), (&Value::Null, &Value::Null));
    let item = inventory.client.get(&format!("{path}&chain=true")).expect(200).json()["items"][0].clone();
    assert_eq!(item, inventory.records[6]);
}

#[test]
fn exports_hold_every_row_and_no_formula() {
    for database in Database::ALL {
        let inventory = Inventory::on(database);
        // A label that a spreadsheet would compute.
        let body = json!({
            "csr": Csr::for_dns(&[&format!("formula.{}.internal", inventory.label)]).pem_with(&Key::new()),
            "profile": "server",
            "labels": {"=cmd()": "x", "inventory": inventory.label},
        });
        let formula = inventory.client.post("/api/v1/certificates").json(&body).send();
        let expected: BTreeSet<&str> =
            inventory.records.iter().map(|record| record["serial"].as_str().unwrap()).collect();

        let path = format!("/api/v1/certificates?label=inventory:{}&sort=issued_at", inventory.label);
        let csv = inventory.client.get(&format!("{path}&format=csv")).expect(200);
        assert!(csv.header("content-type").starts_with("text/csv"), "{}", csv.header("content-type"));
        let mut reader = csv::Reader::from_reader(csv.body.as_slice());
        let headers = reader.headers().unwrap().clone();
        let column = headers.iter().position(|header| header == "serial").unwrap();
        let mut serials = BTreeSet::new();
        for row in reader.records() {
            let row = row.unwrap();
            assert!(!row.iter().any(|cell| cell.starts_with('=')), "{row:?}");
            serials.insert(row[column].to_owned());
        }
        let extra = usize::from(formula.status == 201);
        assert_eq!(serials.len(), expected.len() + extra, "{database:?}");
        assert!(expected.iter().all(|serial| serials.contains(*serial)));

        let lines = inventory.client.get(&format!("{path}&format=ndjson")).expect(200);
        assert!(lines.header("content-type").starts_with("application/x-ndjson"));
        let text = lines.text();
        let first: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(first.len(), expected.len() + extra);
        assert_eq!(first[0]["serial"], inventory.records[0]["serial"]);
        assert_eq!(first[0]["certificate"], inventory.records[0]["certificate"]);
    }
}
