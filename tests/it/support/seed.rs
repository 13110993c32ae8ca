//! A large inventory, written behind the service's back: certificates with names, labels, revocations and audit events, as years of issuance
//! would have left them. Used by the test of plans with some ten thousand, by the benchmark with ten million.
//!
//! Every second of two years has its share. Of 20 certificates 16 have the profile `server` (90 days), 3 `client` (398 days), the rest `peer`
//! (30 days) but for one in 100,000, which is `rare`. Half are of `token:deploy`, three in ten of `token:ci`, the others of a thousand
//! requesters. One in five has a label, one in two a second name, one in a hundred is revoked, one in 5,000 on hold. The hash chain of the audit
//! log does not verify.

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, RunQueryDsl as _, SqliteConnection};

use super::client::RUNTIME;
use super::service::Service;

/// The name in the certificate that the others are made of; those of the others are as long.
const NAME: &str = "host-00000000.team-00.internal";
/// The tables that are filled.
const TABLES: &str = "'certificates', 'certificate_names', 'certificate_labels', 'audit_events'";

/// A definition of an index as the database has it.
#[derive(Debug, PartialEq, Eq, diesel::QueryableByName)]
struct Index {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    sql: String,
}

/// Fills the database of a service, which is stopped meanwhile. Indexes are made when the rows are there, as the migrations have them.
pub(crate) fn fill(service: &mut Service, count: u64) {
    let template = template(service);
    assert!(service.stop().success(), "the service stops");
    let url = service.database_url();
    match url.strip_prefix("sqlite://") {
        Some(path) => fill_sqlite(path, &template, count),
        None => RUNTIME.block_on(fill_postgres(&url, &template, count)),
    }
    service.restart();
}

/// Issues the certificate that the others are made of, and cuts it at its serial number and its names.
fn template(service: &Service) -> Vec<String> {
    let issued = service.issue(&[NAME]);
    let pem = issued["certificate"].as_str().expect("a certificate in PEM");
    let (_label, der) = pem_rfc7468::decode_vec(pem.as_bytes()).expect("PEM");
    let serial = hex::decode(issued["serial"].as_str().expect("a serial number")).expect("hex");
    let mut pieces = Vec::new();
    let mut rest = der.as_slice();
    for cut in [serial.as_slice(), NAME.as_bytes(), NAME.as_bytes()] {
        let place = rest.windows(cut.len()).position(|window| window == cut);
        let Some(place) = place else { break };
        pieces.push(hex::encode(&rest[..place]));
        rest = &rest[place + cut.len()..];
    }
    assert!(pieces.len() >= 2, "serial number and name stand in the certificate");
    pieces.push(hex::encode(rest));
    pieces
}

fn fill_sqlite(path: &str, template: &[String], count: u64) {
    let mut connection = SqliteConnection::establish(path).expect("the database can be opened");
    let definitions = |connection: &mut SqliteConnection| -> Vec<Index> {
        let sql = format!(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ({TABLES}) ORDER BY name"
        );
        diesel::sql_query(sql).load(connection).expect("the catalog can be read")
    };
    connection
        .batch_execute(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000; \
             PRAGMA temp_store = FILE;",
        )
        .expect("settings for loading");
    let indexes = definitions(&mut connection);
    for index in &indexes {
        connection.batch_execute(&format!("DROP INDEX {}", index.name)).expect("an index goes");
    }
    for statement in Dialect::Sqlite.statements(template, count) {
        connection.batch_execute(&statement).unwrap_or_else(|error| panic!("`{statement}` fails: {error}"));
    }
    for index in &indexes {
        connection.batch_execute(&index.sql).expect("an index comes back");
    }
    assert_eq!(definitions(&mut connection), indexes);
    connection
        .batch_execute("PRAGMA journal_mode = WAL; PRAGMA locking_mode = NORMAL;")
        .expect("settings as they were");
}

async fn fill_postgres(url: &str, template: &[String], count: u64) {
    let drop = format!(
        "SET maintenance_work_mem = '1GB'; SET work_mem = '256MB'; SET statement_timeout = 0; \
         CREATE TEMP TABLE dropped AS SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ({TABLES}) AND schemaname = 'public' \
         AND indexname NOT LIKE '%_pkey'; \
         DO $$ DECLARE index RECORD; BEGIN FOR index IN SELECT indexname FROM dropped LOOP EXECUTE 'DROP INDEX ' || index.indexname; END LOOP; END $$"
    );
    let make = "DO $$ DECLARE index RECORD; BEGIN FOR index IN SELECT indexdef FROM dropped LOOP EXECUTE index.indexdef; END LOOP; \
         IF EXISTS (SELECT indexname, indexdef FROM dropped EXCEPT SELECT indexname, indexdef FROM pg_indexes) THEN \
         RAISE EXCEPTION 'the indexes are not what they were'; END IF; END $$";
    let mut statements = vec![drop];
    statements.extend(Dialect::Postgres.statements(template, count));
    statements.push(make.to_owned());
    super::postgres::execute(url, &statements.join("; ")).await;
    super::postgres::execute(url, "VACUUM (ANALYZE)").await;
}

/// How a database writes what the statements are made of.
#[derive(Clone, Copy)]
enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    fn octets(self, digits: &str) -> String {
        match self {
            Self::Sqlite => format!("x'{digits}'"),
            Self::Postgres => format!("'\\x{digits}'::BYTEA"),
        }
    }

    /// Concatenates octets; names are turned into octets.
    fn concatenated(self, parts: &[String]) -> String {
        match self {
            Self::Sqlite => format!("CAST({} AS BLOB)", parts.join(" || ")),
            Self::Postgres => parts.join(" || "),
        }
    }

    fn padded(self, number: &str, digits: u32) -> String {
        match self {
            Self::Sqlite => format!("printf('%0{digits}d', {number})"),
            Self::Postgres => format!("lpad(({number})::TEXT, {digits}, '0')"),
        }
    }

    fn hex(self, number: &str, digits: u32) -> String {
        match self {
            Self::Sqlite => format!("printf('%0{digits}x', {number})"),
            Self::Postgres => format!("lpad(to_hex({number}), {digits}, '0')"),
        }
    }

    fn of_hex(self, digits: &str) -> String {
        match self {
            Self::Sqlite => format!("unhex({digits})"),
            Self::Postgres => format!("decode({digits}, 'hex')"),
        }
    }

    /// 32 octets that look random.
    fn digest(self, number: &str) -> String {
        match self {
            Self::Sqlite => "randomblob(32)".to_owned(),
            Self::Postgres => format!("sha256(int8send({number}))"),
        }
    }

    fn as_octets(self, text: &str) -> String {
        match self {
            Self::Sqlite => format!("CAST({text} AS BLOB)"),
            Self::Postgres => format!("convert_to({text}, 'UTF8')"),
        }
    }

    fn to_hex(self, octets: &str) -> String {
        match self {
            Self::Sqlite => format!("lower(hex({octets}))"),
            Self::Postgres => format!("encode({octets}, 'hex')"),
        }
    }

    fn numbers(self, count: u64) -> String {
        match self {
            Self::Sqlite => format!(
                "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) SELECT n FROM numbers) AS numbers"
            ),
            Self::Postgres => format!("generate_series(1::BIGINT, {count}) AS numbers (n)"),
        }
    }

    fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(strftime('%s', 'now') AS INTEGER)",
            Self::Postgres => "extract(epoch FROM now())::BIGINT",
        }
    }

    /// The statements that fill the tables.
    fn statements(self, template: &[String], count: u64) -> Vec<String> {
        // Two years in which as many were issued each day; none in the last hour.
        let issued = format!("({} - 63075600 + n * 63072000 / {count})", self.now());
        // 6 octets of milliseconds, as serial numbers have them, and 14 that differ.
        let digits = format!(
            "{} || {} || {}",
            self.hex(&format!("({issued} * 1000 + n % 1000)"), 12),
            self.hex("n", 12),
            self.hex("n * 2654435761", 16)
        );
        let name = format!(
            "'host-' || {} || '.team-' || {} || '.internal'",
            self.padded("n / 4 % 100000000", 8),
            self.padded("n % 100", 2)
        );
        let mut parts = vec![self.octets(&template[0]), "serial".to_owned()];
        for piece in &template[1..] {
            parts.push(self.octets(piece));
            parts.push(self.as_octets("name"));
        }
        parts.pop();
        let der = self.concatenated(&parts);
        // 18 is what no version counts with.
        let certificates = format!(
            "INSERT INTO certificates (id, serial, issuer_id, profile, profile_version, requester, source, subject, key_algorithm, spki_sha256, \
             fingerprint_sha256, not_before, not_after, issued_at, labels, state, revoked_at, revocation_reason, der, crl_shard, change_number) \
             SELECT (issued << 29) | ((n & 16777215) << 5) | 18, serial, issuer_id, profile, 1, requester, CASE WHEN n % 3 = 0 THEN 1 ELSE 0 END, \
             'CN=' || name || ',O=Example', 'ecdsa-p256', {spki}, {fingerprint}, issued - 300, \
             issued + CASE profile WHEN 'server' THEN 7776000 WHEN 'client' THEN 34387200 ELSE 2592000 END, issued, \
             CASE WHEN n % 5 = 0 THEN '{{\"team\":\"' || (n % 100) || '\"}}' END, state, CASE WHEN state <> 0 THEN issued + 3600 END, \
             CASE state WHEN 1 THEN 6 WHEN 2 THEN 4 END, {der}, 0, CASE WHEN state <> 0 THEN n / 100 + 1 END \
             FROM (SELECT n, {issued} AS issued, {serial} AS serial, {name} AS name, \
             CASE WHEN n % 1000000 = 5 THEN (SELECT id FROM issuers WHERE name = 'root') ELSE (SELECT id FROM issuers WHERE name = 'issuing') END \
             AS issuer_id, \
             CASE WHEN n % 20 < 16 THEN 'server' WHEN n % 20 < 19 THEN 'client' WHEN n % 100000 = 19 THEN 'rare' ELSE 'peer' END AS profile, \
             CASE WHEN n % 10 < 5 THEN 'token:deploy' WHEN n % 10 < 8 THEN 'token:ci' ELSE 'token:team-' || (n % 1009) END AS requester, \
             CASE WHEN n % 5000 = 7 THEN 1 WHEN n % 100 = 7 THEN 2 ELSE 0 END AS state FROM {numbers}) AS made",
            spki = self.digest("-n"),
            fingerprint = self.digest("n"),
            serial = self.of_hex(&digits),
            numbers = self.numbers(count),
        );
        let n = "((id >> 5) & 16777215)";
        let seeded = "FROM certificates WHERE (id & 31) = 18";
        let first_name = format!(
            "'internal.team-' || {} || '.host-' || {}",
            self.padded(&format!("{n} % 100"), 2),
            self.padded(&format!("{n} / 4 % 100000000"), 8)
        );
        let event = format!(
            "'{{\"time\":' || (issued_at * 1000) || ',\"actor\":\"' || requester || '\",\"action\":\"certificate.issue\",\"outcome\":\"success\",\"object\":\"\
             certificate:' || {serial} || '\",\"remote_address\":\"192.0.2.7\",\"request_id\":\"01a1fea0-2c4d-723c-889c-e92a363a2e3d\",\"details\":\
             {{\"issuer\":\"issuing\",\"profile\":\"' || profile || '\",\"profile_version\":1,\"source\":\"rest\",\"subject\":\"' || subject || '\",\
             \"subject_alt_names\":[\"dns:' || substr(subject, 4, 30) || '\"],\"not_after\":\"2027-02-19T15:01:12Z\",\"fingerprint_sha256\":\"' || {fingerprint} \
             || '\"}}}}'",
            serial = self.to_hex("serial"),
            fingerprint = self.to_hex("fingerprint_sha256"),
        );
        vec![
            certificates,
            format!("INSERT INTO certificate_names (certificate_id, type, search_key) SELECT id, 0, {first_name} {seeded}"),
            format!(
                "INSERT INTO certificate_names (certificate_id, type, search_key) SELECT id, 0, 'com.example.svc-' || ({n} % 5000) {seeded} AND {n} % 2 = 0"
            ),
            format!(
                "INSERT INTO certificate_labels (certificate_id, key, value) SELECT id, 'team', CAST({n} % 100 AS TEXT) {seeded} AND {n} % 5 = 0"
            ),
            format!(
                "INSERT INTO audit_events (id, chain, sequence, occurred_at, actor, action, outcome, object, bytes, hash) \
                 SELECT ((issued_at * 1000 + {n} % 1000) << 21) | (((1000000 + {n}) & 131071) << 4), 0, 1000000 + {n}, issued_at * 1000 + {n} % 1000, \
                 requester, CASE WHEN state <> 0 AND {n} % 3 = 0 THEN 'certificate.revoke' ELSE 'certificate.issue' END, \
                 CASE WHEN {n} % 2000 = 1 THEN 1 ELSE 0 END, 'certificate:' || {}, {}, fingerprint_sha256 {seeded}",
                self.to_hex("serial"),
                self.as_octets(&event)
            ),
            format!("UPDATE issuers SET revocations = {count} / 100 + 1 WHERE name = 'issuing'"),
            format!(
                "INSERT INTO crl_scopes (issuer_id, shard, last_change) SELECT id, 0, {count} / 100 + 1 FROM issuers WHERE name = 'issuing' \
                 ON CONFLICT (issuer_id, shard) DO UPDATE SET last_change = excluded.last_change"
            ),
            "DELETE FROM certificate_counts".to_owned(),
            format!(
                "INSERT INTO certificate_counts (issued_day, kind, number, name, certificates) WITH grouped AS MATERIALIZED ( \
                 SELECT (id >> 29) / 86400 AS day, not_after / 3600 AS hour, issuer_id, profile, COUNT(*) AS count FROM certificates \
                 GROUP BY 1, 2, 3, 4) \
                 SELECT {day}, 0, issuer_id, '', SUM(count) FROM grouped GROUP BY 1, 3 \
                 UNION ALL SELECT {day}, 1, 0, profile, SUM(count) FROM grouped GROUP BY 1, 4 \
                 UNION ALL SELECT {day}, 2, day, '', SUM(count) FROM grouped GROUP BY 1, 3 \
                 UNION ALL SELECT {day}, 3, hour / 24, '', SUM(count) FROM grouped GROUP BY 1, 3 \
                 UNION ALL SELECT {day}, 4, hour, '', SUM(count) FROM grouped GROUP BY 1, 3",
                day = "CAST(day AS INTEGER)"
            ),
            "DELETE FROM certificate_totals".to_owned(),
            "INSERT INTO certificate_totals (kind, number, name, certificates) \
             SELECT kind, number, name, SUM(certificates) FROM certificate_counts GROUP BY 1, 2, 3 \
             UNION ALL SELECT 3 + 2 * state, not_after / 86400, '', COUNT(*) FROM certificates WHERE state <> 0 GROUP BY 1, 2 \
             UNION ALL SELECT 4 + 2 * state, not_after / 3600, '', COUNT(*) FROM certificates WHERE state <> 0 GROUP BY 1, 2"
                .to_owned(),
            "DELETE FROM counted_states".to_owned(),
            "INSERT INTO counted_states (certificate_id, state) SELECT id, state FROM certificates WHERE state <> 0".to_owned(),
            "DELETE FROM counted_changes".to_owned(),
            "INSERT INTO counted_changes (issuer_id, change_number) SELECT id, revocations FROM issuers".to_owned(),
            "UPDATE certificate_counting SET counted = (SELECT MAX(id) FROM certificates)".to_owned(),
        ]
    }
}
