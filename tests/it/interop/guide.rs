//! The usual guide, "make a CA, a server and a client certificate, then connect", done with this CA: OpenSSL's and Python's TLS servers
//! and clients with mutual authentication.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::json;

use crate::support::csr::{Csr, Key};
use crate::support::service::{Database, Service, issue_with};
use crate::support::tools::{Scratch, fixture, openssl, python};

/// A directory with `root.pem`, and certificates with their chains and keys for a server, a client, and a client of another CA.
fn prepared() -> Scratch {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let scratch = Scratch::new();
    scratch.write("root.pem", service.root_pem());
    for (name, profile) in [("server", "server"), ("client", "client")] {
        let key = Key::new();
        let csr = Csr::for_dns(&["localhost"]).ip(&[127, 0, 0, 1]).common_name("localhost").pem_with(&key);
        let record = issue_with(&client, &json!({"csr": csr, "profile": profile}));
        let chain = format!("{}{}", record["certificate"].as_str().unwrap(), record["chain"][0].as_str().unwrap());
        scratch.write(&format!("{name}.pem"), chain);
        scratch.write(&format!("{name}.key"), key.to_pem());
    }
    openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout {0}/foreign.key -out {0}/foreign.pem -days 2 -subj /CN=localhost \
         -addext extendedKeyUsage=clientAuth",
        scratch.path().display()
    ));
    scratch
}

/// A server process that is ended with the test.
struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    /// Starts `openssl s_server` on a free port that demands a client certificate, and waits until it accepts.
    fn openssl(scratch: &Scratch) -> Self {
        let mut child = Command::new("openssl")
            .args(
                "s_server -accept 127.0.0.1:0 -cert server.pem -cert_chain server.pem -key server.key -CAfile root.pem"
                    .split(' '),
            )
            .args("-Verify 2 -verify_return_error -www".split(' '))
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut seen = String::new();
        let port = loop {
            let mut line = String::new();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "s_server ended: {seen}");
            seen.push_str(&line);
            if let Some(address) = line.trim().strip_prefix("ACCEPT ") {
                break address.rsplit(':').next().unwrap().parse().unwrap();
            }
        };
        Self { child, output, port }
    }

    /// Starts a Python HTTPS server that demands a client certificate.
    fn python(scratch: &Scratch) -> Self {
        let mut child = Command::new(python())
            .arg(fixture("interop/https_server.py"))
            .args(["server.pem", "server.key", "root.pem"])
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("the server said {line:?} instead of its port"));
        Self { child, output, port }
    }

    /// What it printed until it is ended.
    fn remaining_output(mut self) -> String {
        self.child.kill().unwrap();
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        text
    }
}

/// Asks the server for a page by `openssl s_client`; the whole output, and whether it succeeded.
fn s_client(scratch: &Scratch, port: u16, credential: &str) -> (bool, String) {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-CAfile", "root.pem", "-servername", "localhost"])
        .args("-verify_hostname localhost -verify_return_error -quiet -ign_eof".split(' '))
        .args(credential.split_whitespace())
        .current_dir(scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The server may have refused and closed already.
    drop(child.stdin.take().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n"));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[test]
fn openssl_server_and_client_authenticate_each_other() {
    let scratch = prepared();
    let server = Server::openssl(&scratch);
    let (success, said) = s_client(&scratch, server.port, "-cert client.pem -cert_chain client.pem -key client.key");
    assert!(success && said.contains("HTTP/1.0 200 ok"), "{said}");
    assert!(said.contains("Verify return code: 0 (ok)"), "the server says so of the client: {said}");
}

#[test]
fn openssl_server_refuses_a_client_without_certificate() {
    let scratch = prepared();
    let server = Server::openssl(&scratch);
    let (_, said) = s_client(&scratch, server.port, "");
    assert!(!said.contains("HTTP/1.0 200") && said.contains("alert"), "{said}");
}

#[test]
fn openssl_server_refuses_a_client_of_another_ca() {
    let scratch = prepared();
    let server = Server::openssl(&scratch);
    let (_, said) = s_client(&scratch, server.port, "-cert foreign.pem -key foreign.key");
    assert!(!said.contains("HTTP/1.0 200") && said.contains("alert"), "{said}");
}

/// A server certificate is not for clients: its extended key usage says so.
#[test]
fn openssl_server_refuses_a_server_certificate_as_client() {
    let scratch = prepared();
    let server = Server::openssl(&scratch);
    let (_, said) = s_client(&scratch, server.port, "-cert server.pem -cert_chain server.pem -key server.key");
    assert!(!said.contains("HTTP/1.0 200") && said.contains("alert"), "{said}");
}

#[test]
fn a_client_refuses_a_server_that_does_not_chain_to_the_root() {
    let scratch = prepared();
    let server = Server::openssl(&scratch);
    std::fs::copy(scratch.file("foreign.pem"), scratch.file("root.pem")).unwrap();
    let (success, said) = s_client(&scratch, server.port, "-cert client.pem -cert_chain client.pem -key client.key");
    assert!(!success && said.contains("verify error"), "{said}");
}

#[test]
fn python_https_server_and_requests_authenticate_each_other() {
    let scratch = prepared();
    let server = Server::python(&scratch);
    let output = Command::new(python())
        .arg(fixture("interop/https_client.py"))
        .args([&server.port.to_string(), "root.pem", "client.pem", "client.key", "foreign.pem", "foreign.key"])
        .current_dir(scratch.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "with certificate: 200 hello localhost\nwithout certificate: refused\nforeign certificate: refused\nunknown root: refused\n"
    );
    let log = server.remaining_output();
    assert_eq!(log.matches("served").count(), 1, "{log}");
}
