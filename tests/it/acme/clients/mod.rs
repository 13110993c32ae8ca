//! Real ACME clients against the service, over HTTPS with its own root, on loopback: certbot, lego in the version that Debian packages, the lego
//! library in its present version, and instant-acme. How the server behaves to a client that means ill is not asked here.

mod certbot;
mod instant_acme;
mod lego;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chancery::x509::Timestamp;
use serde_json::{Value, json};

use crate::support::dns::DnsServer;
use crate::support::service::{Database, Service, unique};
use crate::support::tools::{Scratch, openssl};

/// How many seconds a client may take: generous, as debug builds on busy machines are slow.
const LIMIT: &str = "180";

/// What `hook` does is asked of the fake DNS server by one line. lego's provider `exec` calls it so, and so do the hooks that certbot is given.
const HOOK: &str = r#"#!/usr/bin/env bash
set -euo pipefail
exec 3<>/dev/tcp/127.0.0.1/{port}
printf '%s %s %s\n' "$1" "$2" "$3" >&3
read -r answer <&3
[[ "$answer" == done ]]
"#;

/// A service that answers ACME, a DNS server that it asks, and what the clients need to prove their names, all of which lead to loopback.
struct Lab {
    service: Service,
    dns: Arc<DnsServer>,
    scratch: Scratch,
    /// Where the service looks for http-01.
    http: SocketAddr,
    /// Where the service looks for tls-alpn-01.
    tls: SocketAddr,
}

impl Lab {
    /// Starts everything; the names have an address.
    fn new(database: Database, hosts: &[&str]) -> Self {
        Self::with(database, hosts, "")
    }

    /// Starts everything, with more lines in the section `[acme]`.
    fn with(database: Database, hosts: &[&str], settings: &str) -> Self {
        let dns = Arc::new(DnsServer::start());
        for host in hosts {
            dns.add_address(host, Ipv4Addr::LOCALHOST);
        }
        let (http, tls) = (free_address(), free_address());
        let configuration = format!(
            "[acme]\nhttp_01_port = {}\ntls_alpn_01_port = {}\nresolvers = [\"{}\"]\nallowed_addresses = [\"127.0.0.0/8\"]\n{settings}\n",
            http.port(),
            tls.port(),
            dns.address()
        );
        let service = Service::configured(database, &configuration, &[]);
        let scratch = Scratch::new();
        scratch.write("root.pem", service.root_pem());
        let hook = scratch.write("hook", HOOK.replace("{port}", &serve_hook(&dns).port().to_string()));
        std::fs::set_permissions(hook, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { service, dns, scratch, http, tls }
    }

    /// The default directory.
    fn directory(&self) -> String {
        format!("{}/acme/directory", self.service.api())
    }

    /// The directory of a profile.
    fn directory_of(&self, profile: &str) -> String {
        format!("{}/acme/{profile}/directory", self.service.api())
    }

    /// A path in the directory of the test, as text.
    fn path(&self, name: &str) -> String {
        self.scratch.file(name).display().to_string()
    }

    /// A client's program, which trusts our root only, knows of no proxy, and is ended when it takes too long.
    fn program(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", LIMIT]).arg(program.as_ref()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        let root = self.path("root.pem");
        command.env("REQUESTS_CA_BUNDLE", &root).env("LEGO_CA_CERTIFICATES", &root).env("HOME", self.scratch.path());
        command
    }

    /// A new external account key: its identifier and the key itself.
    fn external_account(&self, document: &Value) -> (String, String) {
        let client = self.service.administrator();
        let key = client.post("/api/v1/acme/external-account-keys").json(document).expect(201).json();
        (key["key_id"].as_str().unwrap().to_owned(), key["hmac_key"].as_str().unwrap().to_owned())
    }

    /// Has the operator say that the certificate of a file is to be renewed between two moments, in seconds from now.
    fn renew_between(&self, certificate: &Path, from: i64, to: i64) {
        let serial = Serial::of(certificate);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let moment = |seconds: i64| Timestamp::from_unix(i64::try_from(now).unwrap() + seconds).to_string();
        let body = json!({
            "issuer": "issuing",
            "serial": serial.0,
            "starts_at": moment(from),
            "ends_at": moment(to),
            "explanation_url": "https://status.internal/renew",
        });
        self.service.administrator().post("/api/v1/acme/renewal-windows").json(&body).expect(201);
    }

    /// The record of the certificate of a file, which must have come by ACME.
    fn record(&self, certificate: &Path) -> Value {
        let serial = Serial::of(certificate).0;
        let record = self.service.administrator().get(&format!("/api/v1/certificates/{serial}")).expect(200).json();
        assert_eq!(record["source"], "acme");
        record
    }

    /// Has OpenSSL verify the first certificate of a file by our root and the certificates behind it, and checks its names.
    fn verify(&self, bundle: &Path, names: &[&str]) {
        self.verify_by(&self.path("root.pem"), bundle, names);
    }

    /// As [`Self::verify`], by another root.
    fn verify_by(&self, root: &str, bundle: &Path, names: &[&str]) {
        let bundle = bundle.display();
        openssl(&format!("verify -x509_strict -purpose sslserver -CAfile {root} -untrusted {bundle} {bundle}"));
        let shown = openssl(&format!("x509 -in {bundle} -noout -ext subjectAltName"));
        let line = shown.lines().last().unwrap().trim().to_owned();
        let mut found: Vec<&str> = line.split(", ").collect();
        found.sort_unstable();
        let mut wanted: Vec<String> = names
            .iter()
            .map(|name| match name.parse::<std::net::IpAddr>() {
                Ok(_) => format!("IP Address:{name}"),
                Err(_) => format!("DNS:{name}"),
            })
            .collect();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
    }

    /// Makes another root, `name`, that also certifies the key of ours, so that there are two chains. Returns the file it is in.
    fn second_root(&self, name: &str) -> PathBuf {
        let client = self.service.administrator();
        let ours = self.service.root_pem();
        let document = json!({"kind": "root", "name": unique("second-root"), "subject": format!("CN={name}")});
        let second = client.post("/api/v1/issuers").json(&document).expect(201).json();
        let path = format!("/api/v1/issuers/{}/cross-sign", second["name"].as_str().unwrap());
        client.post(&path).json(&json!({"certificate": ours, "validity": "30d"})).expect(201);
        self.scratch.write("second-root.pem", second["certificate"].as_str().unwrap())
    }
}

/// A serial number as the API writes it.
#[derive(Debug, PartialEq, Eq)]
struct Serial(String);

impl Serial {
    /// That of the first certificate of a file.
    fn of(file: &Path) -> Self {
        let shown = openssl(&format!("x509 -in {} -noout -serial", file.display()));
        Self(shown.trim().strip_prefix("serial=").unwrap().to_ascii_lowercase())
    }
}

/// Runs a client that must succeed, and returns what it said.
#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let (succeeded, said) = outcome(command);
    assert!(succeeded, "{command:?}\n{said}");
    said
}

/// Runs a client that must fail by itself, and returns what it said.
#[track_caller]
fn fails(command: &mut Command) -> String {
    let (succeeded, said) = outcome(command);
    assert!(!succeeded, "{command:?}\n{said}");
    said
}

#[track_caller]
fn outcome(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // By `timeout`: 124 when it ended the program, 125 to 127 when there is none to run.
    let code = output.status.code();
    assert!(!matches!(code, None | Some(124)), "{command:?} took more than {LIMIT} seconds\n{said}");
    assert!(
        !matches!(code, Some(125..=127)),
        "{command:?} does not run; scripts/test installs what the tests need\n{said}"
    );
    (output.status.success(), said)
}

/// An address that nobody listens at. It is below those that the system takes for connections of its own, so that it stays free.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 8_000).unwrap();
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Listens for the lines of the hook until the process ends.
fn serve_hook(dns: &Arc<DnsServer>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let dns = Arc::downgrade(dns);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Without the server the test is over.
            let (Some(dns), Ok(stream)) = (dns.upgrade(), stream) else { return };
            obey(&dns, stream);
        }
    });
    address
}

/// Does what one line says and answers `done`; a line that makes no sense is not answered, and the hook fails.
fn obey(dns: &DnsServer, mut stream: TcpStream) {
    let mut line = String::new();
    if BufReader::new(&stream).read_line(&mut line).is_err() {
        return;
    }
    match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["present", name, value] => dns.add_txt(name, value),
        ["cleanup", name, _] => dns.remove(name),
        _ => return,
    }
    // The hook that asked may be gone; then its client has failed.
    drop(stream.write_all(b"done\n"));
}
