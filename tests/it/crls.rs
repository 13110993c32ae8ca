//! CRLs with shards and deltas, as relying parties and several replicas see them, on both databases.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Client, RUNTIME};
use crate::support::crl::{distribution, eventually, fetch, inspected, publish, release, revoke, serials};
use crate::support::csr::Csr;
use crate::support::postgres::Server;
use crate::support::service::{Database, Service, issue_with};

const SHARDS: (&str, &str) = ("CHANCERY__CRL__SHARDS", "4");
const DELTAS: (&str, &str) = ("CHANCERY__CRL__DELTA_INTERVAL", "1h");

fn serial(record: &Value) -> String {
    record["serial"].as_str().unwrap().to_owned()
}

/// The path of an address.
fn path(address: &str) -> &str {
    &address[address.find("/pki/").unwrap()..]
}

#[test]
fn a_certificate_names_its_shard_and_a_revocation_touches_no_other() {
    for database in Database::ALL {
        let service = Service::start_with(database, &[SHARDS]);
        // The serial number decides: with this many certificates it is near certain that two shards have one.
        let records: Vec<Value> = (0..12).map(|_| service.issue(&["sharded.internal"])).collect();
        let shards: BTreeSet<String> = records.iter().map(|record| distribution(record).0).collect();
        assert!(shards.len() > 1, "{shards:?}");
        let known: Vec<String> = (1..=4).map(|shard| format!("{}/pki/issuing/{shard}.crl", service.public())).collect();
        assert!(shards.iter().all(|address| known.contains(address)), "{shards:?}");
        let numbers = |service: &Service| -> Vec<i64> {
            let full = std::iter::once("/pki/issuing.crl".to_owned());
            let all = full.chain((1..=4).map(|shard| format!("/pki/issuing/{shard}.crl")));
            all.map(|address| inspected(service, &address)["number"].as_i64().unwrap()).collect()
        };
        let before = numbers(&service);
        let revoked = &records[0];
        let own = distribution(revoked).0;
        revoke(&service, revoked, "superseded");
        eventually("the revocation in its shard", || {
            serials(&inspected(&service, &own), "entries") == [serial(revoked)]
        });
        let changed: Vec<usize> = (0..5).filter(|shard| numbers(&service)[*shard] != before[*shard]).collect();
        assert_eq!(changed, [own.trim_end_matches(".crl").rsplit('/').next().unwrap().parse::<usize>().unwrap()]);

        let shard = inspected(&service, &own);
        assert_eq!(shard["issuing_distribution_point"]["full_name"], json!([own]));
        let extension = |crl: &Value, name: &str| {
            crl["extensions"].as_array().unwrap().iter().find(|extension| extension["name"] == name).cloned()
        };
        assert_eq!(extension(&shard, "issuing_distribution_point").unwrap()["critical"], true);
        assert_eq!((extension(&shard, "freshest_crl"), distribution(revoked).1), (None, None), "there are no deltas");
        // The full CRL has every shard's certificates and is about them all; it is made when asked for.
        assert_eq!(serials(&inspected(&service, "/pki/issuing.crl"), "entries"), [""; 0]);
        let answer = publish(&service);
        let full = inspected(&service, "/pki/issuing.crl");
        assert_eq!((&full["number"], &full["issuing_distribution_point"]), (&answer["number"], &Value::Null));
        assert_eq!(serials(&full, "entries"), [serial(revoked)]);
        assert_eq!(answer["published"].as_array().unwrap().len(), 1, "no shard lagged behind: {answer}");
        for missing in ["/pki/issuing/5.crl", "/pki/issuing/0.crl", "/pki/issuing/01.crl", "/pki/issuing/delta.crl"] {
            let answer = Client::new(service.public(), None).get(missing).expect(404);
            assert_eq!(answer.problem_code(), "not_found", "{missing}");
        }
    }
}

#[test]
fn a_delta_lists_what_changed_since_its_base_and_takes_releases_off_it() {
    for database in Database::ALL {
        let service = Service::start_with(database, &[SHARDS, DELTAS]);
        let (held, revoked) = (service.issue(&["held.internal"]), service.issue(&["revoked.internal"]));
        let (base, delta) = distribution(&held);
        let delta = delta.unwrap();
        assert_eq!(delta.strip_suffix("/delta.crl"), base.strip_suffix(".crl"));
        let first = inspected(&service, &base);
        assert_eq!(first["freshest_crl"], json!([delta]));
        // Issued together they have one number, and the delta adds nothing.
        let empty = inspected(&service, &delta);
        assert_eq!((&empty["number"], &empty["base_number"]), (&first["number"], &first["number"]));
        assert_eq!((&empty["is_delta"], &empty["this_update"]), (&json!(true), &first["this_update"]));
        assert_eq!((empty["revoked"].as_u64(), empty["removed"].as_array().unwrap().len()), (Some(0), 0));

        revoke(&service, &held, "certificate_hold");
        revoke(&service, &revoked, "key_compromise");
        let own = distribution(&revoked).1.unwrap();
        eventually("the hold in the delta", || {
            serials(&inspected(&service, &delta), "entries").contains(&serial(&held))
        });
        eventually("the revocation in its delta", || {
            serials(&inspected(&service, &own), "entries").contains(&serial(&revoked))
        });
        let with_hold = inspected(&service, &delta);
        assert_eq!(with_hold["base_number"], first["number"]);
        assert!(with_hold["number"].as_i64() > first["number"].as_i64());
        assert_eq!(with_hold["issuing_distribution_point"]["full_name"], json!([base]), "the scope of its base");
        assert_eq!(with_hold["freshest_crl"], json!([]), "a delta has none");
        assert_eq!(inspected(&service, &base)["number"], first["number"], "the base follows its own time");
        // The delta of the full CRL has both.
        eventually("both in the delta of the full CRL", || {
            let all: BTreeSet<String> =
                serials(&inspected(&service, "/pki/issuing/delta.crl"), "entries").into_iter().collect();
            all == BTreeSet::from([serial(&held), serial(&revoked)])
        });

        release(&service, &held);
        eventually("the release in the delta", || serials(&inspected(&service, &delta), "removed") == [serial(&held)]);
        assert!(!serials(&inspected(&service, &delta), "entries").contains(&serial(&held)));

        // Asked for, the complete CRLs have everything, and their deltas begin anew.
        let answer = publish(&service);
        let kinds: BTreeSet<(i64, bool)> = answer["published"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["shard"].as_i64().unwrap(), one["delta"].as_bool().unwrap()))
            .collect();
        assert!(kinds.contains(&(0, false)) && kinds.contains(&(0, true)), "{answer}");
        let complete = inspected(&service, &distribution(&revoked).0);
        assert_eq!(serials(&complete, "entries"), [serial(&revoked)]);
        assert!(!serials(&inspected(&service, &base), "entries").contains(&serial(&held)));
        let anew = inspected(&service, &delta);
        assert_eq!(anew["base_number"], inspected(&service, &base)["number"]);
        assert_eq!((anew["revoked"].as_u64(), anew["removed"].as_array().unwrap().len()), (Some(0), 0));
    }
}

#[test]
fn the_api_shows_every_shard_and_delta() {
    let service = Service::start_with(Database::Sqlite, &[SHARDS, DELTAS]);
    let client = service.administrator();
    for (query, address) in [
        ("", "/pki/issuing.crl"),
        ("?shard=0", "/pki/issuing.crl"),
        ("?delta=true", "/pki/issuing/delta.crl"),
        ("?shard=2", "/pki/issuing/2.crl"),
        ("?shard=2&delta=true", "/pki/issuing/2/delta.crl"),
    ] {
        let shown = format!("/api/v1/issuers/issuing/crl{query}");
        let der = client.get(&shown).header("accept", "application/pkix-crl").expect(200);
        assert_eq!(der.body, fetch(&service, address), "{query}");
        assert!(client.get(&shown).expect(200).text().starts_with("-----BEGIN X509 CRL-----\n"));
        // The API's listener serves relying parties too.
        assert_eq!(client.get(address).expect(200).body, der.body);
    }
    assert_eq!(client.get("/api/v1/issuers/issuing/crl?shard=9").expect(404).problem_code(), "not_found");
    for wrong in ["shard=-1", "shard=x", "delta=perhaps", "colour=red", "shard=1&shard=2"] {
        let answer = client.get(&format!("/api/v1/issuers/issuing/crl?{wrong}")).expect(400);
        assert_eq!(answer.problem_code(), "malformed", "{wrong}");
    }
}

#[test]
fn caches_are_told_how_long_and_asked_whether_it_changed() {
    let service = Service::start_with(Database::Sqlite, &[SHARDS, DELTAS]);
    let client = Client::new(service.public(), None);
    let age = |address: &str| -> u64 {
        let answer = client.get(address).expect(200);
        answer.header("cache-control").strip_prefix("public, max-age=").unwrap().parse().unwrap()
    };
    for address in [
        "/pki/issuing.crl",
        "/pki/issuing/1.crl",
        "/pki/issuing/delta.crl",
        "/pki/issuing/1/delta.crl",
        "/pki/root.crl",
    ] {
        let answer = client.get(address).expect(200);
        assert_eq!(answer.header("content-type"), "application/pkix-crl");
        let tag = answer.header("etag").to_owned();
        assert_eq!(client.get(address).header("if-none-match", &tag).expect(304).body.len(), 0);
        client.get(address).header("if-modified-since", answer.header("last-modified")).expect(304);
        client.get(address).header("if-none-match", "\"another\"").expect(200);
        assert_eq!(client.request("HEAD", address).expect(200).header("etag"), tag);
    }
    // A complete CRL with a delta is replaced every 12 hours; the delta at any moment, within an hour at the latest.
    assert!((43_000..=43_200).contains(&age("/pki/issuing/1.crl")), "{}", age("/pki/issuing/1.crl"));
    assert!((3_400..=3_600).contains(&age("/pki/issuing/1/delta.crl")));
    let without = Service::shared(Database::Sqlite);
    let answer = Client::new(without.public(), None).get("/pki/issuing.crl").expect(200);
    let age: u64 = answer.header("cache-control").strip_prefix("public, max-age=").unwrap().parse().unwrap();
    assert!(age <= 3600, "a revocation replaces it: {age}");
}

#[test]
fn an_expired_certificate_stays_for_one_crl_past_its_end() {
    for database in Database::ALL {
        let service = Service::start_with(database, &[SHARDS]);
        let client = service.administrator();
        let profile = json!({
            "dns": {"allow": ["**.internal"]},
            "validity": {"default": "6s", "maximum": "1h", "minimum": "1s", "backdate": "0s"},
        });
        client.put("/api/v1/profiles/short").json(&profile).expect(201);
        let csr = Csr::for_dns(&["short.internal"]).pem();
        let record = issue_with(&client, &json!({"csr": csr, "profile": "short"}));
        let lasting = service.issue(&["lasting.internal"]);
        revoke(&service, &record, "superseded");
        revoke(&service, &lasting, "superseded");
        publish(&service);
        let listed = || {
            let all: BTreeSet<String> =
                serials(&inspected(&service, "/pki/issuing.crl"), "entries").into_iter().collect();
            assert!(all.contains(&serial(&lasting)));
            all.contains(&serial(&record))
        };
        assert!(listed());
        std::thread::sleep(Duration::from_secs(8));
        publish(&service);
        assert!(listed(), "the first CRL past the end still has it");
        std::thread::sleep(Duration::from_millis(1100));
        publish(&service);
        assert!(!listed(), "the one after does not");
    }
}

#[test]
fn replicas_publish_one_sequence_and_serve_the_same_octets() {
    let url = crate::support::new_postgres_database();
    let sealing = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let settings = [
        ("CHANCERY__DATABASE__URL", url.as_str()),
        ("CHANCERY__KEYS__KEY_ENCRYPTION_KEY", sealing),
        ("CHANCERY__PUBLIC_URL", "http://pki.internal"),
        SHARDS,
        DELTAS,
    ];
    let (one, mut two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| Service::start_with(Database::Sqlite, &settings));
        let two = scope.spawn(|| Service::start_with(Database::Sqlite, &settings));
        (one.join().unwrap(), two.join().unwrap())
    });
    let record = one.issue(&["replicated.internal"]);
    let (base, delta) = distribution(&record);
    let delta = delta.unwrap();
    assert!(base.starts_with("http://pki.internal/pki/issuing/"), "{base}");
    // Both revoke and publish at the same time, over and over: every number is given once, and none falls.
    let numbers: Vec<i64> = std::thread::scope(|scope| {
        let callers: Vec<_> = [&one, &two]
            .into_iter()
            .map(|service| {
                scope.spawn(move || {
                    let mut numbers = Vec::new();
                    while numbers.len() < 5 {
                        revoke(service, &service.issue(&["replicated.internal"]), "superseded");
                        let answer = service.administrator().post("/api/v1/issuers/issuing/crl").send();
                        if answer.status == 200 {
                            numbers.push(answer.json()["number"].as_i64().unwrap());
                        } else {
                            assert_eq!(answer.status, 409, "{}", answer.text());
                        }
                    }
                    assert!(numbers.is_sorted(), "{numbers:?}");
                    numbers
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let distinct: BTreeSet<i64> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len(), "a number was given twice: {numbers:?}");
    let every = |service: &Service| {
        let mut all = vec![fetch(service, "/pki/issuing.crl"), fetch(service, "/pki/issuing/delta.crl")];
        for shard in 1..=4 {
            all.push(fetch(service, &format!("/pki/issuing/{shard}.crl")));
            all.push(fetch(service, &format!("/pki/issuing/{shard}/delta.crl")));
        }
        all
    };
    revoke(&two, &record, "key_compromise");
    eventually("the revocation at the other replica", || {
        serials(&inspected(&one, path(&delta)), "entries").contains(&serial(&record))
    });
    eventually("the same octets everywhere", || every(&one) == every(&two));
    // A process that starts serves what was published before it makes anything anew.
    let before = every(&one);
    two.kill_and_restart();
    assert!(every(&two) == before, "a restart published something or lost something");
    assert!(inspected(&two, "/pki/issuing.crl")["number"].as_i64().unwrap() >= *numbers.iter().max().unwrap());
}

#[test]
fn crls_are_served_on_while_the_database_is_away() {
    let server = Server::start();
    let url = RUNTIME.block_on(server.create_database());
    let service = Service::start_with(Database::Sqlite, &[("CHANCERY__DATABASE__URL", &url), SHARDS, DELTAS]);
    let record = service.issue(&["away.internal"]);
    let (base, delta) = distribution(&record);
    let delta = delta.unwrap();
    revoke(&service, &record, "superseded");
    eventually("the revocation in the delta", || serials(&inspected(&service, &delta), "entries") == [serial(&record)]);
    let addresses = ["/pki/issuing.crl", "/pki/root.crl", path(&base), path(&delta), "/pki/issuing.crt"];
    let before: Vec<Vec<u8>> = addresses.iter().map(|address| fetch(&service, address)).collect();
    server.stop();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(service.administrator().get("/api/v1/certificates").send().status, 503, "the database is away");
    let during: Vec<Vec<u8>> = addresses.iter().map(|address| fetch(&service, address)).collect();
    assert!(during == before);
    server.resume();
    eventually("the database", || service.administrator().get("/api/v1/certificates").send().status == 200);
    let next = service.issue(&["back.internal"]);
    revoke(&service, &next, "superseded");
    eventually("publication goes on", || {
        serials(&inspected(&service, "/pki/issuing/delta.crl"), "entries").contains(&serial(&next))
    });
}
