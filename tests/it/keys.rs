//! Keys where they are kept: in an HSM that goes away and comes back, in files, sealed anew and moved while the service issues.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::client::{Client, RUNTIME};
use crate::support::csr::Csr;
use crate::support::hsm::Hsm;
use crate::support::service::{Database, Service, chancery};
use crate::support::tools::{Scratch, openssl};

/// How long what must happen by itself may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Callers that issue until they are told to stop, none of whom may be refused.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<usize>>,
}

impl Load {
    fn on(service: &Service) -> Self {
        let client = service.administrator();
        let stop = Arc::new(AtomicBool::new(false));
        let callers = (0..4)
            .map(|caller| {
                let (client, stop) = (client.clone(), Arc::clone(&stop));
                let body =
                    json!({"csr": Csr::for_dns(&[&format!("load-{caller}.internal")]).pem(), "profile": "server"});
                RUNTIME.spawn(async move {
                    let mut issued = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let answer = client.post("/api/v1/certificates").json(&body).try_send().await.unwrap();
                        assert_eq!(answer.status, 201, "{}", answer.text());
                        issued += 1;
                    }
                    issued
                })
            })
            .collect();
        Self { stop, callers }
    }

    /// Ends the load, and answers how many certificates were issued.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.into_iter().map(|caller| RUNTIME.block_on(caller).unwrap()).sum()
    }
}

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn start(database: Database, hsm: &Hsm, more: &[(&str, &str)]) -> Service {
    let mut settings = hsm.settings();
    settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Service::start_with(database, &borrowed(&settings))
}

fn try_issue(client: &Client) -> crate::support::client::Answer {
    let body = json!({"csr": Csr::for_dns(&["tried.internal"]).pem(), "profile": "server"});
    client.post("/api/v1/certificates").json(&body).send()
}

#[track_caller]
fn eventually(what: &str, mut attempt: impl FnMut() -> bool) {
    let started = Instant::now();
    while !attempt() {
        assert!(started.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Verifies a certificate and its revocation list with OpenSSL against the root alone.
fn assert_verifies(service: &Service, record: &Value) {
    let scratch = Scratch::new();
    scratch.write("root.pem", service.root_pem());
    scratch.write("leaf.pem", record["certificate"].as_str().unwrap());
    scratch.write("chain.pem", record["chain"][0].as_str().unwrap());
    for issuer in ["root", "issuing"] {
        let crl = service.anonymous().get(&format!("{}/pki/{issuer}.crl", service.public())).expect(200);
        let der = scratch.write(&format!("{issuer}.der"), &crl.body);
        openssl(&format!("crl -inform DER -in {} -out {}", der.display(), scratch.file(issuer).display()));
    }
    let file = |name: &str| scratch.file(name).display().to_string();
    openssl(&format!(
        "verify -x509_strict -crl_check_all -CAfile {} -untrusted {} -CRLfile {} -CRLfile {} {}",
        file("root.pem"),
        file("chain.pem"),
        file("root"),
        file("issuing"),
        file("leaf.pem")
    ));
}

#[test]
fn a_root_in_a_file_certifies_an_issuing_key_in_an_hsm_on_sqlite() {
    offline_root_and_hsm(Database::Sqlite, "ecdsa-p256");
}

#[test]
fn a_root_in_a_file_certifies_an_issuing_key_in_an_hsm_on_postgresql() {
    offline_root_and_hsm(Database::Postgres, "rsa-2048");
}

fn offline_root_and_hsm(database: Database, algorithm: &str) {
    let hsm = Hsm::new();
    let mut service = start(
        database,
        &hsm,
        &[
            ("CHANCERY__HIERARCHY__ISSUING__KEY", algorithm),
            ("CHANCERY__HIERARCHY__ROOT__STORAGE", "file"),
            ("CHANCERY__HIERARCHY__ROOT__PASSPHRASE", "a passphrase for the root"),
        ],
    );
    let listed = service.command(&["keys", "list"]).json();
    let location = &listed["items"][1]["location"];
    assert_eq!(listed["items"][1]["issuers"], json!(["issuing"]));
    assert_eq!((&listed["items"][1]["algorithm"], &location["place"]), (&json!(algorithm), &json!("pkcs11")));
    let uri = location["uri"].as_str().unwrap();
    assert!(
        uri.starts_with("pkcs11:token=chancery%20test;id=%") && uri.ends_with(";object=issuing;type=private"),
        "{uri}"
    );
    assert_verifies(&service, &service.issue(&["before.internal"]));

    // The root goes into the safe, and nothing notices.
    std::fs::rename(service.data().join("root.key"), service.data().join("root.key.offline")).unwrap();
    service.kill_and_restart();
    assert_verifies(&service, &service.issue(&["root-offline.internal"]));
    let revoked = service.issue(&["revoked.internal"]);
    let path = format!("/api/v1/certificates/{}/revoke", revoked["serial"].as_str().unwrap());
    service.administrator().post(&path).json(&json!({"reason": "superseded"})).expect(200);
    service.administrator().post("/api/v1/issuers/issuing/crl").expect(200);
    assert_eq!(
        service.administrator().get("/readyz").expect(200).json()["checks"][3],
        json!({"name": "signer", "status": "ok"})
    );

    // The HSM goes away while the service runs, and comes back.
    let client = service.administrator();
    hsm.unplug();
    eventually("the token is missed", || try_issue(&client).status == 503);
    let refused = try_issue(&client).expect(503);
    assert_eq!(refused.problem_code(), "unavailable");
    assert!(!refused.header("retry-after").is_empty());
    let check = client.get("/readyz").expect(200).json()["checks"][3].clone();
    assert_eq!((&check["name"], &check["status"]), (&json!("signer"), &json!("warning")));
    client.get(&format!("{}/pki/issuing.crl", service.public())).expect(200);
    client.get("/api/v1/certificates").expect(200);
    let doctor = service.command(&["doctor"]);
    assert!(!doctor.succeeded && doctor.output.contains("the device with its key is away"), "{}", doctor.output);
    hsm.plug();
    eventually("the token is found again", || try_issue(&client).status == 201);
    assert_eq!(client.get("/readyz").expect(200).json()["checks"][3], json!({"name": "signer", "status": "ok"}));
    assert_verifies(&service, &service.issue(&["after.internal"]));
    let checked = service.command(&["keys", "check"]);
    assert!(checked.output.contains("ok      issuing: "), "{}", checked.output);
    // It never leaves.
    let refused = service.command(&["keys", "move", "issuing", "--to", "database"]);
    assert!(!refused.succeeded && refused.output.contains("in a token, which it cannot leave"), "{}", refused.output);
}

#[test]
fn a_service_starts_without_its_hsm_and_signs_when_it_comes() {
    let hsm = Hsm::new();
    let mut service = start(Database::Sqlite, &hsm, &[]);
    service.kill();
    hsm.unplug();
    let ports: Vec<u16> = {
        let free: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        free.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
    };
    let address = |index: usize| format!("127.0.0.1:{}", ports[index]);
    let _process = service.serve(&[
        ("CHANCERY__SERVER__LISTEN", &address(0)),
        ("CHANCERY__SERVER__PUBLIC_LISTEN", &address(1)),
        ("CHANCERY__SERVER__METRICS_LISTEN", &address(2)),
    ]);
    let public = Client::new(&format!("http://{}", address(1)), None);
    let metrics = Client::new(&format!("http://{}", address(2)), None);
    eventually("the service starts", || {
        metrics.get("/readyz").attempt().is_ok_and(|answer| answer.json()["checks"][3]["status"] == "warning")
    });
    public.get("/pki/issuing.crl").expect(200);
    public.get("/pki/root.crt").expect(200);
    assert!(metrics.get("/metrics").expect(200).text().contains("chancery_issuer_key_away{issuer=\"issuing\"} 1"));
    hsm.plug();
    // The listener's own certificate follows, too.
    let api = Client::new(&format!("https://{}", address(0)), Some(&service.root_pem()));
    let client = api.bearer(service.file("admin.token").trim());
    eventually("the API has a certificate of the issuer", || client.get("/readyz").attempt().is_ok());
    assert_eq!(try_issue(&client).status, 201);
    assert_eq!(client.get("/readyz").expect(200).json()["checks"][3]["status"], "ok");
}

#[test]
fn lost_sessions_and_failing_calls_cost_no_request() {
    let hsm = Hsm::failing();
    let service = start(Database::Sqlite, &hsm, &[]);
    let load = Load::on(&service);
    let started = Instant::now();
    let mut troubles = 0;
    while started.elapsed() < Duration::from_secs(6) {
        // Sessions closed, logged out; CKR_SESSION_HANDLE_INVALID, CKR_DEVICE_REMOVED, CKR_USER_NOT_LOGGED_IN.
        for (name, content) in
            [("close-sessions", ""), ("log-out", ""), ("fail-once", "179"), ("fail-once", "50"), ("fail-once", "257")]
        {
            hsm.trouble(name, content);
            eventually("the trouble is met", || !hsm.is_troubled(name));
            troubles += 1;
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    let issued = load.end();
    assert!(troubles >= 5 && issued > troubles, "{issued} certificates, {troubles} troubles");
}

#[test]
fn an_hsm_that_hangs_is_given_up_and_the_rest_goes_on() {
    let hsm = Hsm::failing();
    let service = start(Database::Sqlite, &hsm, &[]);
    let client = service.administrator();
    hsm.trouble("hang", "");
    let started = Instant::now();
    let callers: Vec<_> = (0..30)
        .map(|_| {
            let body = json!({"csr": Csr::for_dns(&["hanging.internal"]).pem(), "profile": "server"});
            RUNTIME.spawn(client.post("/api/v1/certificates").json(&body).try_send())
        })
        .collect();
    // Everything that needs no signature is answered meanwhile.
    let listing = Instant::now();
    client.get("/api/v1/certificates").expect(200);
    client.get(&format!("{}/pki/issuing.crl", service.public())).expect(200);
    assert!(listing.elapsed() < Duration::from_secs(2), "{:?}", listing.elapsed());
    for caller in callers {
        let answer = RUNTIME.block_on(caller).unwrap().unwrap().expect(503);
        assert!(!answer.header("retry-after").is_empty());
    }
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    hsm.end_trouble("hang");
    eventually("the token is found again", || try_issue(&client).status == 201);
}

#[test]
fn keys_are_sealed_anew_while_the_service_issues_on_sqlite() {
    reseal_under_load(Database::Sqlite);
}

#[test]
fn keys_are_sealed_anew_while_the_service_issues_on_postgresql() {
    reseal_under_load(Database::Postgres);
}

fn reseal_under_load(database: Database) {
    let mut service = Service::start(database);
    let old = service.data().join("key-encryption.key").display().to_string();
    let new = service.data().join("key-encryption-2.key").display().to_string();
    // An answer that is sealed, too.
    let ask = |service: &Service| {
        let body = json!({"name": "sealed-answer", "role": "auditor"});
        service.administrator().post("/api/v1/tokens").header("idempotency-key", "once").json(&body).expect(201).json()
    };
    let secret = ask(&service)["token"].clone();
    let before = service.command(&["keys", "list"]).json();
    assert_eq!(before["sealed_under_previous_keys"], 0);
    let generated = service.command(&["keys", "generate", &new]).json();
    assert_ne!(generated["key_encryption_key"], before["key_encryption_key"]);
    assert!(!service.command(&["keys", "generate", &new]).succeeded, "a key file is never overwritten");

    // Without the old key nothing can be opened.
    service.set("CHANCERY__KEYS__KEY_ENCRYPTION_KEY_FILE", &new);
    assert!(!service.command(&["keys", "list"]).succeeded);
    service.set("CHANCERY__KEYS__PREVIOUS__0__KEY_ENCRYPTION_KEY_FILE", &old);
    service.kill_and_restart();
    let listed = service.command(&["keys", "list"]).json();
    assert_eq!(listed["key_encryption_key"], generated["key_encryption_key"]);
    let sealed = listed["sealed_under_previous_keys"].as_u64().unwrap();
    assert!(sealed >= 3, "two CA keys and an answer: {listed}");

    let load = Load::on(&service);
    std::thread::sleep(Duration::from_millis(500));
    // Twice at once: what one does the other finds done.
    let (one, other) = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| service.command(&["keys", "reseal"]).json()));
        let [one, other] = both.map(|run| run.join().unwrap());
        (one, other)
    });
    let count = |done: &Value| -> u64 {
        ["ca_keys", "ocsp_responders", "external_account_keys", "idempotency_answers"]
            .iter()
            .map(|kind| done[kind].as_u64().unwrap())
            .sum()
    };
    assert_eq!(count(&one) + count(&other), sealed, "{one} {other}");
    assert_eq!((&one["failures"], &other["failures"]), (&json!([]), &json!([])));
    // The service has seen the change, and signs on.
    std::thread::sleep(Duration::from_secs(3));
    assert!(load.end() > 10);
    assert_eq!(count(&service.command(&["keys", "reseal"]).json()), 0);
    assert_eq!(service.command(&["keys", "list"]).json()["sealed_under_previous_keys"], 0);
    assert!(!service.log().contains("cannot be opened"), "{}", service.log());

    // The old key can go.
    service.unset("CHANCERY__KEYS__PREVIOUS__0__KEY_ENCRYPTION_KEY_FILE");
    std::fs::remove_file(&old).unwrap();
    service.kill_and_restart();
    assert_verifies(&service, &service.issue(&["new-key.internal"]));
    assert_eq!(ask(&service)["token"], secret, "the sealed answer is replayed");
    let doctor = service.command(&["doctor"]);
    assert!(doctor.succeeded, "{}", doctor.output);
    let events = service.administrator().get("/api/v1/audit?action=keys.reseal").expect(200).text();
    assert!(events.contains(generated["key_encryption_key"].as_str().unwrap()), "{events}");
}

#[test]
fn keys_are_moved_while_the_service_issues_on_sqlite() {
    move_under_load(Database::Sqlite);
}

#[test]
fn keys_are_moved_while_the_service_issues_on_postgresql() {
    move_under_load(Database::Postgres);
}

fn move_under_load(database: Database) {
    let mut service = Service::start(database);
    let refused = service.command(&["keys", "move", "issuing", "--to", "file"]);
    assert!(!refused.succeeded && refused.output.contains("keys.file_passphrase"), "{}", refused.output);
    service.set("CHANCERY__KEYS__FILE_PASSPHRASE", "a passphrase for key files");
    service.kill_and_restart();
    let refused = service.command(&["keys", "move", "issuin", "--to", "file"]);
    assert!(!refused.succeeded && refused.output.contains("there is no issuer `issuin`"), "{}", refused.output);

    let load = Load::on(&service);
    let moved = service.command(&["keys", "move", "issuing", "--to", "file"]).json();
    let path = service.data().join("keys/issuing.key");
    assert_eq!(moved["to"], json!({"place": "file", "path": path}));
    assert_private_key(&path);
    assert_eq!(service.command(&["keys", "move", "issuing", "--to", "file"]).json()["moved"], false);
    std::thread::sleep(Duration::from_secs(3));
    let back = service.command(&["keys", "move", "issuing", "--to", "database"]).json();
    assert_eq!((&back["moved"], &back["to"]["place"]), (&json!(true), &json!("database")));
    assert!(back["note"].as_str().unwrap().contains("still holds the key"), "{back}");
    std::thread::sleep(Duration::from_secs(3));
    // A file that is there and holds this key is taken, one that holds another is left alone.
    assert_eq!(service.command(&["keys", "move", "issuing", "--to", "file"]).json()["moved"], true);
    let refused = service.command(&["keys", "move", "root", "--to", "file", "--file", path.to_str().unwrap()]);
    assert!(!refused.succeeded && refused.output.contains("holds another key"), "{}", refused.output);
    std::thread::sleep(Duration::from_secs(2));
    assert!(load.end() > 10);
    assert!(!service.log().contains("cannot be opened"), "{}", service.log());

    // The root goes to a file, and the file away.
    let offline = service.data().join("offline-root.key");
    service.command(&["keys", "move", "root", "--to", "file", "--file", offline.to_str().unwrap()]).json();
    assert_private_key(&offline);
    std::fs::remove_file(&offline).unwrap();
    service.kill_and_restart();
    assert_verifies(&service, &service.issue(&["moved.internal"]));
    let keys = service.command(&["keys", "check"]);
    assert!(
        !keys.succeeded && keys.output.contains("ok      issuing: ") && keys.output.contains("BAD     root: "),
        "{}",
        keys.output
    );
    let events = service.administrator().get("/api/v1/audit?action=key.move").expect(200).json();
    let outcomes: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|event| event["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "success").count(), 4, "{events}");
    assert!(outcomes.contains(&"refused"), "{events}");
}

/// OpenSSL opens it with the passphrase, and nobody else may read it.
fn assert_private_key(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    let shown = path.display().to_string();
    assert!(std::fs::read_to_string(path).unwrap().contains("BEGIN ENCRYPTED PRIVATE KEY"));
    crate::support::tools::run(
        "openssl",
        &["pkey", "-in", &shown, "-passin", "pass:a passphrase for key files", "-noout", "-check"],
    );
}

#[test]
fn a_token_that_is_not_configured_is_named() {
    let hsm = Hsm::new();
    let scratch = Scratch::new();
    let mut command = chancery();
    command.envs(hsm.settings()).env("CHANCERY__DATA_DIR", scratch.path());
    // The section is gone, so the name means nothing.
    for name in ["NAME", "MODULE", "TOKEN_LABEL", "PIN_FILE", "TIMEOUT"] {
        command.env_remove(format!("CHANCERY__PKCS11__0__{name}"));
    }
    let output = command.arg("init").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("which no section `[[pkcs11]]` has as its name"), "{said}");
}
