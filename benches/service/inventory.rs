//! Reading an inventory of millions over REST: every search of the API, its first page and one far behind it, single records, the audit log, counts.
//!
//! One client asks over one connection, so that latencies are those of the answers and not of a queue. Each case is asked for with values from all
//! over the inventory.

use serde_json::Value;

use crate::load::{self, Target};
use crate::machine;
use crate::options::Options;
use crate::report::Report;
use crate::support::client::Client;
use crate::support::seed;
use crate::support::service::{Database, Service};

/// Requests of a case.
const REQUESTS: usize = 400;
/// Places all over the inventory that values are taken from.
const PLACES: u64 = 100;
/// Certificates of a page.
const PAGE: u64 = 100;
/// The far page; half way in when there are not as many.
const FAR: u64 = 10_000;
const DAY: i64 = 86_400;
/// The time over which the inventory is spread.
const SPAN: i64 = 730 * DAY;

/// Runs the part.
pub(crate) fn run(options: &Options, database: Database, report: &mut Report) {
    let mut service = Service::start(database);
    let began = std::time::Instant::now();
    seed::fill(&mut service, options.certificates);
    report.add("made", &[("certificates", options.certificates as f64), ("seconds", began.elapsed().as_secs_f64())]);
    let client = service.administrator();
    let target = Target::new(service.api(), &service.root_pem());
    let authorization = format!("Bearer {}", service.file("admin.token").trim());
    for (case, paths) in cases(&client, options.certificates) {
        let requests: Vec<Vec<u8>> = paths
            .iter()
            .map(|path| {
                load::request("GET", path, &[("Authorization", &authorization), ("Accept", "application/json")], &[])
            })
            .collect();
        let requests: Vec<Vec<u8>> = requests.iter().cycle().take(options.count(REQUESTS)).cloned().collect();
        let items = client.get(&paths[0]).expect(200).json()["items"].as_array().map_or(1, Vec::len);
        let (outcome, usage) = machine::measure(&service, database, || load::each_once(&target, 1, 200, &requests));
        assert_eq!(outcome.refused, 0, "every request of `{case}` is answered");
        report.add(
            case,
            &[
                ("items", items as f64),
                ("p50_ms", outcome.per_mille(500)),
                ("p99_ms", outcome.per_mille(990)),
                ("max_ms", outcome.per_mille(1000)),
                ("service_cpu_us", machine::microseconds(usage.service, outcome.answered())),
                ("database_cpu_us", machine::microseconds(usage.database, outcome.answered())),
            ],
        );
    }
}

/// Writes a moment as queries have it.
fn moment(unix: i64) -> String {
    let moment = time::OffsetDateTime::from_unix_timestamp(unix).expect("a moment");
    moment.format(&time::format_description::well_known::Rfc3339).expect("a text")
}

/// The cursor behind the first item of a listing: the place where it begins.
fn cursor(client: &Client, path: &str, query: &str) -> String {
    let page = client.get(&format!("{path}?{query}&limit=1")).expect(200).json();
    page["next_cursor"].as_str().expect("there is more").to_owned()
}

/// The cases with the addresses that they ask.
fn cases(client: &Client, count: u64) -> Vec<(&'static str, Vec<String>)> {
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let list = "/api/v1/certificates";
    let audit = "/api/v1/audit";
    // Moments all over the two years.
    let moments: Vec<i64> = (1..=PLACES).map(|place| now - SPAN + SPAN / PLACES as i64 * place as i64 - DAY).collect();
    let samples: Vec<Value> = moments
        .iter()
        .map(|at| {
            client.get(&format!("{list}?issued_before={}&limit=1", moment(*at))).expect(200).json()["items"][0].clone()
        })
        .collect();
    let each = |path: &dyn Fn(&Value) -> String| samples.iter().map(path).collect::<Vec<_>>();
    let at_each = |path: &dyn Fn(i64) -> String| moments.iter().map(|at| path(*at)).collect::<Vec<_>>();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let far = (FAR * PAGE).min(count / 2) as i64;
    let far_issued = now - far * (SPAN / 1000) / (count as i64 / 1000).max(1);
    let far_cursor = cursor(client, list, &format!("issued_before={}", moment(far_issued)));
    let far_oldest =
        cursor(client, list, &format!("sort=issued_at&issued_after={}", moment(now - SPAN + (now - far_issued))));
    let far_end =
        cursor(client, list, &format!("sort=not_after&expires_after={}", moment(now - SPAN + (now - far_issued))));
    let far_event = cursor(client, audit, &format!("before={}", moment(far_issued)));
    let one = |query: &str| vec![format!("{list}?{query}")];
    let within = |from: i64, to: i64| format!("expires_after={}&expires_before={}", moment(from), moment(to));
    let mut cases = vec![
        ("record by serial number", each(&|one| format!("{list}/{}", text(&one["serial"])))),
        ("search by serial number", each(&|one| format!("{list}?serial={}", text(&one["serial"])))),
        ("search by fingerprint", each(&|one| format!("{list}?fingerprint={}", text(&one["fingerprint_sha256"])))),
        ("search by key", each(&|one| format!("{list}?key={}", text(&one["key"]["spki_sha256"])))),
        ("newest first, page 1", one("limit=100")),
        ("newest first, page 10,000", one(&format!("cursor={far_cursor}"))),
        ("oldest first, page 1", one("sort=issued_at")),
        ("oldest first, page 10,000", one(&format!("sort=issued_at&cursor={far_oldest}"))),
        ("by end, page 1", one("sort=not_after")),
        ("by end, page 10,000", one(&format!("sort=not_after&cursor={far_end}"))),
        ("name, exact", each(&|one| format!("{list}?name={}", text(&one["subject_alt_names"][0]["value"])))),
        ("name of many", (0..50).map(|number| format!("{list}?name=svc-{}.example.com", number * 2)).collect()),
        (
            "names below a domain of 1 %",
            (0..50).map(|number| format!("{list}?name=*.team-{number:02}.internal")).collect(),
        ),
        ("names below a domain of 1 %, far", one(&format!("name=*.team-05.internal&cursor={far_cursor}"))),
        ("names below a domain of all", one("name=*.internal")),
        ("names below a domain of all, far", one(&format!("name=*.internal&cursor={far_cursor}"))),
        ("names below a domain of none", one("name=*.nowhere.internal")),
        (
            "ends within a day",
            (0..30).map(|day| format!("{list}?{}", within(now + day * DAY, now + (day + 1) * DAY))).collect(),
        ),
        ("ends within a month", one(&within(now, now + 30 * DAY))),
        ("ends within a month, newest first", one(&format!("sort=-issued_at&{}", within(now, now + 30 * DAY)))),
        ("status valid", one("status=valid")),
        ("status expired", one("status=expired")),
        ("status revoked", one("status=revoked")),
        ("status revoked, far", one(&format!("status=revoked&cursor={far_cursor}"))),
        ("status on hold", one("status=on_hold")),
        ("requester of half", one("requester=token:deploy")),
        ("requester of half, far", one(&format!("requester=token:deploy&cursor={far_cursor}"))),
        ("requester of few", (0..50).map(|number| format!("{list}?requester=token:team-{number}")).collect()),
        (
            "requester of few, by end",
            (0..50).map(|number| format!("{list}?requester=token:team-{number}&sort=not_after")).collect(),
        ),
        ("requester of none", one("requester=token:none")),
        ("label", (0..10).map(|number| format!("{list}?label=team:{}", number * 5)).collect()),
        ("label, far", one(&format!("label=team:5&cursor={far_cursor}"))),
        ("profile of most", one("profile=server")),
        ("profile of few", one("profile=rare")),
        ("profile of none", one("profile=none")),
        ("issuer of most", one("issuer=issuing")),
        ("issuer of few", one("issuer=root")),
        ("part of the subject, of 1 %", one("subject=team-24")),
        ("part of the subject, of none (a page of the walk)", one("subject=zzz")),
        ("profile of few that ends within a month", one(&format!("profile=rare&{}", within(now, now + 30 * DAY)))),
        ("label and requester", one("label=team:5&requester=token:team-9")),
        ("revoked of a requester of few", one("status=revoked&requester=token:team-9")),
        (
            "issued within a day",
            at_each(&|at| format!("{list}?issued_after={}&issued_before={}", moment(at - DAY), moment(at))),
        ),
        ("audit log, page 1", vec![audit.to_owned()]),
        ("audit log, page 10,000", vec![format!("{audit}?cursor={far_event}")]),
        ("audit log by actor of few", (0..50).map(|number| format!("{audit}?actor=token:team-{number}")).collect()),
        ("audit log by actor of half, far", vec![format!("{audit}?actor=token:deploy&cursor={far_event}")]),
        ("audit log by object", each(&|one| format!("{audit}?object=certificate:{}", text(&one["serial"])))),
        ("audit log by time", at_each(&|at| format!("{audit}?after={}&before={}", moment(at - DAY), moment(at)))),
        ("audit log, refused", vec![format!("{audit}?outcome=refused")]),
        ("audit log by rare action", vec![format!("{audit}?action=certificate.revoke")]),
        ("audit log by beginning of action", vec![format!("{audit}?action=issuer.*")]),
    ];
    cases.push(("statistics", vec!["/api/v1/statistics".to_owned()]));
    cases
}
