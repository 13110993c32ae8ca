//! A real PostgreSQL for the tests: one cluster per test process, a database per test.
//!
//! It is made with `initdb` in a temporary directory and listens on a free loopback port. A watchdog process waits for the end of its
//! input, a pipe that this process holds open: however this process ends, the watchdog then stops the server and removes the directory.
//! A machine without PostgreSQL fails the tests; they are never skipped.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

static SHARED: OnceLock<Server> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Makes a new, empty database in the shared server and returns its URL.
pub(crate) async fn database() -> String {
    let server = tokio::task::spawn_blocking(shared).await.expect("PostgreSQL starts");
    server.create_database().await
}

/// The server that all tests of this process share.
pub(crate) fn shared() -> &'static Server {
    SHARED.get_or_init(Server::start)
}

/// The process of the shared server that is the parent of all its others.
#[allow(dead_code, reason = "for the benchmarks, which share this file")]
pub(crate) fn postmaster() -> u32 {
    let file = std::fs::read_to_string(shared().directory.join("data/postmaster.pid")).expect("the server runs");
    file.lines().next().and_then(|line| line.trim().parse().ok()).expect("a number of a process")
}

/// Runs SQL on a connection of the test's own.
pub(crate) async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the test connects");
    let driver = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("`{sql}` fails: {error}"));
    drop(client);
    driver.await.expect("the connection ends").expect("without an error");
}

/// A PostgreSQL server of the tests' own.
#[derive(Debug)]
pub(crate) struct Server {
    binaries: PathBuf,
    directory: PathBuf,
    port: u16,
    watchdog: Child,
}

impl Server {
    /// Makes a cluster and starts it.
    pub(crate) fn start() -> Self {
        let binaries = binaries();
        let root = std::env::temp_dir().canonicalize().expect("there is a temporary directory");
        let directory = root.join(format!("chancery-postgres-{}-{}", std::process::id(), free_port()));
        std::fs::create_dir(&directory).expect("the directory is new");
        give_to_postgres(&directory);
        let watchdog = watchdog(&binaries, &directory);
        let port = free_port();
        let server = Self { binaries, directory, port, watchdog };
        server.initialise();
        server.resume();
        server
    }

    /// Returns the URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://chancery:secret@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Makes a new, empty database and returns its URL.
    pub(crate) async fn create_database(&self) -> String {
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        execute(&self.url("postgres"), &format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    /// Stops the server at once, as a crash does.
    pub(crate) fn stop(&self) {
        self.control(&["-m", "immediate", "stop"]);
    }

    /// Starts the server (again).
    pub(crate) fn resume(&self) {
        let log = self.directory.join("log");
        self.control(&["-w", "-t", "60", "-l", log.to_str().expect("a UTF-8 path"), "start"]);
    }

    /// Makes the server offer TLS with this certificate, PEM.
    pub(crate) fn enable_tls(&self, certificate: &str, key: &str) {
        let data = self.directory.join("data");
        for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
            let path = data.join(name);
            std::fs::write(&path, pem).expect("the file is written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("its mode is set");
            give_to_postgres(&path);
        }
        self.configure("ssl = on\n");
        self.stop();
        self.resume();
    }

    /// Returns the URL of a database without parameters, by this host name.
    pub(crate) fn url_of_host(&self, host: &str, database: &str) -> String {
        format!("postgres://chancery:secret@{host}:{}/{database}", self.port)
    }

    /// Has every statement logged, with application, process and transaction.
    pub(crate) async fn log_statements(&self) {
        let url = self.url("postgres");
        for setting in ["log_statement = 'all'", "log_line_prefix = '%a %p %x '"] {
            execute(&url, &format!("ALTER SYSTEM SET {setting}")).await;
        }
        execute(&url, "SELECT pg_reload_conf()").await;
    }

    /// Logs statements no more.
    #[allow(dead_code, reason = "for the benchmarks, which share this file")]
    pub(crate) async fn log_no_statements(&self) {
        let url = self.url("postgres");
        execute(&url, "ALTER SYSTEM RESET log_statement").await;
        execute(&url, "SELECT pg_reload_conf()").await;
    }

    /// Has every new session log the plan of each statement with the rows that it really read, and take no table row by row where an index
    /// could serve.
    pub(crate) async fn explain_statements(&self) {
        self.configure(
            "session_preload_libraries = 'auto_explain'\nauto_explain.log_min_duration = 0\nauto_explain.log_analyze = on\n\
             auto_explain.log_timing = off\nauto_explain.log_format = 'json'\nenable_seqscan = off\n",
        );
        execute(&self.url("postgres"), "SELECT pg_reload_conf()").await;
    }

    /// Returns the server's log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).expect("the server logs")
    }

    fn configure(&self, settings: &str) {
        let path = self.directory.join("data/postgresql.conf");
        let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("initdb made the configuration");
        file.write_all(settings.as_bytes()).expect("the settings are written");
    }

    fn initialise(&self) {
        let password = self.directory.join("password");
        std::fs::write(&password, "secret\n").expect("the password file is written");
        give_to_postgres(&password);
        let data = self.directory.join("data");
        run(as_postgres(&self.binaries.join("initdb"))
            .args(["--username=chancery", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"])
            .arg(format!("--pwfile={}", password.display()))
            .arg(&data));
        let settings = format!(
            "\nlisten_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nmax_connections = 200\nfsync = on\n\
             synchronous_commit = on\nlog_min_messages = warning\nshared_buffers = 64MB\n",
            self.port,
            self.directory.display()
        );
        self.configure(&settings);
    }

    fn control(&self, arguments: &[&str]) {
        run(as_postgres(&self.binaries.join("pg_ctl")).arg("-D").arg(self.directory.join("data")).args(arguments));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input wakes the watchdog, which stops the server and removes the directory.
        drop(self.watchdog.stdin.take());
        let status = self.watchdog.wait().expect("the watchdog ends");
        assert!(status.success(), "the watchdog stops the server");
    }
}

/// Starts the process that cleans up when this one ends, in whatever way.
fn watchdog(binaries: &Path, directory: &Path) -> Child {
    let script =
        "cat > /dev/null; \"$1/pg_ctl\" -D \"$2/data\" -m immediate -w -t 30 stop > /dev/null 2>&1; rm -rf \"$2\"";
    as_postgres(Path::new("/bin/sh"))
        .args(["-c", script, "watchdog"])
        .arg(binaries)
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // In a group of its own: an interrupt from the terminal is not for it.
        .process_group(0)
        .spawn()
        .expect("the watchdog starts")
}

fn run(command: &mut Command) {
    // Not captured through a pipe: the server that pg_ctl starts would hold it open.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("the command starts");
    assert!(status.success(), "{command:?} fails: {status}");
}

/// Makes a command that runs as the user `postgres` when the tests run as root, whom PostgreSQL refuses.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|of_this_process| of_this_process.uid() == 0)
}

fn give_to_postgres(path: &Path) {
    if is_root() {
        let accounts = std::fs::read_to_string("/etc/passwd").expect("there are accounts");
        let account = accounts
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&"postgres"))
            .expect("there is an account `postgres`");
        let number = |index: usize| account[index].parse::<u32>().expect("a number");
        chown(path, Some(number(2)), Some(number(3))).expect("root gives files away");
    }
}

/// Finds the directory of PostgreSQL's programs: the newest of the system's, or the one on `PATH`.
fn binaries() -> PathBuf {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&on_path).find(|directory| directory.join("initdb").is_file()) {
        // Resolved, because `pg_ctl` and `initdb` look for their companions beside them.
        let initdb = found.join("initdb").canonicalize().expect("it exists");
        return initdb.parent().expect("a file is in a directory").to_owned();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .map(|version| version.path())
        .filter(|version| version.join("bin/initdb").is_file())
        .max_by_key(|version| version.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()))
        .map(|version| version.join("bin"))
        .expect("PostgreSQL's `initdb` is on PATH or in /usr/lib/postgresql/*/bin; without it the tests fail")
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port is free").port()
}

/// Waits until something holds, at most half a minute.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(30), "{what} did not come to hold");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
