//! The service under test: the real program as a child process on free ports, in a directory of its own, on either database.
//!
//! A watchdog ends the child and deletes its directory when the test process ends, however it ends.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::csr::Csr;

/// How long a service may take to come up before the test fails. Generous: debug builds on busy machines are slow.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Which database a service runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Database {
    /// SQLite, in the data directory.
    Sqlite,
    /// A database of its own in the PostgreSQL that the tests started.
    Postgres,
}

impl Database {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];
}

/// A running service.
pub(crate) struct Service {
    directory: TempDir,
    environment: Vec<(String, String)>,
    process: Process,
    endpoints: Endpoints,
}

#[derive(Clone, Debug)]
struct Endpoints {
    api: String,
    public: String,
    metrics: String,
}

/// The child and the watchdog that ends it should we not.
struct Process {
    child: Child,
    watchdog: Child,
    /// The watchdog waits for the end of this pipe, which the kernel closes with us.
    _lifeline: ChildStdin,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both may be gone already.
        drop(self.watchdog.kill());
        drop(self.watchdog.wait());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

static SHARED: LazyLock<Mutex<HashMap<Database, &'static Service>>> = LazyLock::new(Mutex::default);

impl Service {
    /// A service that many tests share: do not stop it, and expect other tests' certificates in it.
    pub(crate) fn shared(database: Database) -> &'static Self {
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.entry(database).or_insert_with(|| Box::leak(Box::new(Self::start(database))))
    }

    /// A service of one's own.
    pub(crate) fn start(database: Database) -> Self {
        Self::start_with(database, &[])
    }

    /// A service of one's own with settings: environment variables.
    pub(crate) fn start_with(database: Database, settings: &[(&str, &str)]) -> Self {
        Self::start_in(directory(), database, settings)
    }

    /// A service of one's own with a configuration file and files beside it, in which `{dir}` is replaced by their directory.
    pub(crate) fn configured(database: Database, configuration: &str, files: &[(&str, &str)]) -> Self {
        let directory = directory();
        let here = directory.path().display().to_string();
        for (name, content) in files.iter().chain(&[("chancery.toml", configuration)]) {
            std::fs::write(directory.path().join(name), content.replace("{dir}", &here)).unwrap();
        }
        let configuration = format!("{here}/chancery.toml");
        Self::start_in(directory, database, &[("CHANCERY_CONFIG", &configuration)])
    }

    fn start_in(directory: TempDir, database: Database, settings: &[(&str, &str)]) -> Self {
        let mut environment: Vec<(String, String)> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match database {
            Database::Sqlite => {}
            Database::Postgres => {
                environment.push(("CHANCERY__DATABASE__URL".to_owned(), super::new_postgres_database()));
            }
        }
        let (process, endpoints) = launch(directory.path(), &environment);
        Self { directory, environment, process, endpoints }
    }

    /// Ends the process at once (SIGKILL), then starts it again on the same data. Addresses change.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// Ends the process at once (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }

    /// Starts the process again on the same data, after it ended.
    pub(crate) fn restart(&mut self) {
        let (process, endpoints) = launch(self.directory.path(), &self.environment);
        self.process = process;
        self.endpoints = endpoints;
    }

    /// Changes a setting for later starts and commands.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Takes a setting back.
    pub(crate) fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// Runs another command of the program on the same data.
    pub(crate) fn command(&self, arguments: &[&str]) -> Ran {
        let output = self.prepared(arguments).output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let output_text = text(&output.stdout);
        Ran {
            succeeded: output.status.success(),
            output: format!("{output_text}{}", text(&output.stderr)),
            printed: output_text,
        }
    }

    /// Serves with more settings, without waiting for anything. The process ends with what is returned.
    pub(crate) fn serve(&self, settings: &[(&str, &str)]) -> impl Drop + use<> {
        let log = File::create(self.directory.path().join("log")).unwrap();
        let child = self
            .prepared(&["serve"])
            .envs(settings.iter().copied())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        watched(child, self.directory.path())
    }

    fn prepared(&self, arguments: &[&str]) -> Command {
        let mut command = chancery();
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("CHANCERY__DATA_DIR", self.data());
        command
    }

    /// Asks the process to stop (SIGTERM) and returns its exit status.
    pub(crate) fn stop(&mut self) -> std::process::ExitStatus {
        self.signal("TERM");
        self.process.child.wait().unwrap()
    }

    /// The number of the process.
    #[allow(dead_code, reason = "for the benchmarks, which share this file")]
    pub(crate) fn process_id(&self) -> u32 {
        self.process.child.id()
    }

    /// Sends SQL to the database behind the service's back; on SQLite it waits for its turn.
    #[allow(dead_code, reason = "for the benchmarks, which share this file")]
    pub(crate) fn execute(&self, sql: &str) {
        let url = self.environment.iter().find(|(name, _)| name == "CHANCERY__DATABASE__URL");
        match url {
            Some((_, url)) => super::client::RUNTIME.block_on(super::postgres::execute(url, sql)),
            None => {
                let path = self.data().join("chancery.db").display().to_string();
                let mut connection = diesel::SqliteConnection::establish(&path).unwrap();
                connection.batch_execute(&format!("PRAGMA busy_timeout = 60000; {sql}")).unwrap();
            }
        }
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        super::tools::run("kill", &[format!("-{name}"), self.process.child.id().to_string()]);
    }

    /// The address of the database, for tests that write behind the service's back.
    pub(crate) fn database_url(&self) -> String {
        let given = self.environment.iter().find(|(name, _)| name == "CHANCERY__DATABASE__URL");
        given.map_or_else(|| format!("sqlite://{}", self.data().join("chancery.db").display()), |(_, url)| url.clone())
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        data_directory(self.directory.path())
    }

    /// A file of the data directory.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.data().join(name)).unwrap()
    }

    /// The program with this service's data directory and database, for commands that work beside it.
    pub(crate) fn program(&self) -> Command {
        let mut command = chancery();
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.envs(environment).env("CHANCERY__DATA_DIR", self.data());
        command
    }

    /// The root certificate, PEM.
    pub(crate) fn root_pem(&self) -> String {
        self.file("root.pem")
    }

    /// What the process wrote to standard output and error since its last start.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// The address of the API.
    pub(crate) fn api(&self) -> &str {
        &self.endpoints.api
    }

    /// The address of the public listener.
    pub(crate) fn public(&self) -> &str {
        &self.endpoints.public
    }

    /// The address of the metrics listener.
    pub(crate) fn metrics(&self) -> &str {
        &self.endpoints.metrics
    }

    /// A client without a credential.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(self.api(), Some(&self.root_pem()))
    }

    /// A client with the administrator's token.
    pub(crate) fn administrator(&self) -> Client {
        self.anonymous().bearer(self.file("admin.token").trim())
    }

    /// A client with a new token of a role, without grants.
    pub(crate) fn with_role(&self, role: &str) -> Client {
        self.with_grants(role, &json!({}))
    }

    /// A client with a new token of a role and grants.
    pub(crate) fn with_grants(&self, role: &str, grants: &Value) -> Client {
        let administrator = self.administrator();
        let created = administrator
            .post("/api/v1/tokens")
            .json(&json!({"name": unique(role), "role": role, "grants": grants}))
            .expect(201)
            .json();
        administrator.bearer(created["token"].as_str().unwrap())
    }

    /// Issues a certificate for DNS names under the profile `server`, and returns its record.
    pub(crate) fn issue(&self, names: &[&str]) -> Value {
        issue_with(&self.administrator(), &json!({"csr": Csr::for_dns(names).pem(), "profile": "server"}))
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Whether it ended well.
    pub(crate) succeeded: bool,
    /// What it wrote to standard output and then to standard error.
    pub(crate) output: String,
    printed: String,
}

impl Ran {
    /// The JSON that a command printed that ended well.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert!(self.succeeded, "{}", self.output);
        serde_json::from_str(&self.printed).unwrap_or_else(|error| panic!("{error}: {}", self.output))
    }
}

/// Issues by JSON, and returns the record.
#[track_caller]
pub(crate) fn issue_with(client: &Client, body: &Value) -> Value {
    client.post("/api/v1/certificates").json(body).expect(201).json()
}

/// A name that no other test uses.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("chancery-service-").tempdir().unwrap()
}

fn data_directory(directory: &Path) -> PathBuf {
    directory.join("data")
}

/// The program with an environment that holds none of our own settings. `CHANCERY_TEST_PROGRAM` is another build of it: benchmarks compare two.
pub(crate) fn chancery() -> Command {
    let program = std::env::var_os("CHANCERY_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_chancery").into());
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHANCERY_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn launch(directory: &Path, environment: &[(String, String)]) -> (Process, Endpoints) {
    let data = data_directory(directory);
    let endpoints_file = data.join("endpoints.json");
    if endpoints_file.exists() {
        std::fs::remove_file(&endpoints_file).unwrap();
    }
    let log = File::create(directory.join("log")).unwrap();
    let child = chancery()
        .args(["quickstart", "--listen", "127.0.0.1:0", "--public-listen", "127.0.0.1:0"])
        .args(["--metrics-listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut process = watched(child, directory);
    let endpoints = await_endpoints(&mut process, directory, &endpoints_file);
    (process, endpoints)
}

/// Waits for the end of its input, ends the service, and deletes its directory once the service can no longer write there.
const WATCHDOG: &str = r#"
cat >/dev/null
kill -9 "$1" 2>/dev/null
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
done
rm -rf "$2"
"#;

fn watched(child: Child, directory: &Path) -> Process {
    let mut watchdog = Command::new("sh")
        .args(["-c", WATCHDOG, "watchdog"])
        .arg(child.id().to_string())
        .arg(directory)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let lifeline = watchdog.stdin.take().unwrap();
    Process { child, watchdog, _lifeline: lifeline }
}

fn await_endpoints(process: &mut Process, directory: &Path, file: &Path) -> Endpoints {
    let started = Instant::now();
    let fail = |why: &str| -> ! {
        let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
        panic!("the service did not come up: {why}\n{log}");
    };
    let endpoints = loop {
        if let Some(status) = process.child.try_wait().unwrap() {
            fail(&format!("it ended with {status}"));
        }
        if started.elapsed() > START_LIMIT {
            fail(&format!("no endpoints.json within {START_LIMIT:?}"));
        }
        // Not there yet, or written half: the next look will tell.
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let at = |name: &str| value[name].as_str().unwrap().to_owned();
            break Endpoints { api: at("api"), public: at("public"), metrics: at("metrics") };
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let root = std::fs::read_to_string(data_directory(directory).join("root.pem")).unwrap();
    let client = Client::new(&endpoints.api, Some(&root));
    while !client.get("/readyz").attempt().is_ok_and(|answer| answer.status == 200) {
        if let Some(status) = process.child.try_wait().unwrap() {
            fail(&format!("it ended with {status}"));
        }
        if started.elapsed() > START_LIMIT {
            fail(&format!("not ready within {START_LIMIT:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // The tour issues a certificate, which would disturb those that count.
    while !std::fs::read_to_string(directory.join("log")).unwrap().contains("Serving until") {
        if let Some(status) = process.child.try_wait().unwrap() {
            fail(&format!("it ended with {status}"));
        }
        if started.elapsed() > START_LIMIT {
            fail(&format!("the tour did not end within {START_LIMIT:?}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    endpoints
}
