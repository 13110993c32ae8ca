//! `chancery issuer`: the life of issuers without a service, and beside a running one.

use serde_json::Value;

use super::{attempt, complaint, run};
use crate::support::service::Database;
use crate::support::tools::{Scratch, openssl};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn issuers_are_managed_in_the_database() {
    for database in Database::ALL {
        let scratch = Scratch::new();
        let url = match database {
            Database::Sqlite => format!("sqlite://{}/chancery.db", scratch.path().display()),
            Database::Postgres => crate::support::new_postgres_database(),
        };
        scratch.write("chancery.toml", format!("data_dir = \"data\"\n[database]\nurl = \"{url}\"\n"));
        let here = scratch.path();
        let issuer = |arguments: &[&str]| {
            let all: Vec<&str> = std::iter::once("issuer").chain(arguments.iter().copied()).collect();
            run(here, &all)
        };
        let root = json(&issuer(&[
            "create",
            "root",
            "--name",
            "top",
            "--subject",
            "CN=Top,O=Example",
            "--key",
            "ecdsa-p384",
            "--validity",
            "3000d",
        ]));
        assert_eq!(root["key"]["algorithm"], "ecdsa-p384");
        let sub = json(&issuer(&[
            "create",
            "subordinate",
            "--name",
            "web",
            "--parent",
            "top",
            "--subject",
            "CN=Web",
            "--policy",
            "2.23.140.1.2.1",
        ]));
        assert_eq!((&sub["parent"], &sub["default"]), (&Value::from("top"), &Value::from(true)));
        let rolled = json(&issuer(&["rollover", "web", "--staged"]));
        assert_eq!((&rolled["generation"], &rolled["state"]), (&Value::from(2), &Value::from("staged")));
        let active = json(&issuer(&["set", "web.2", "--state", "active"]));
        assert_eq!((&active["state"], &active["default"]), (&Value::from("active"), &Value::from(true)));
        assert_eq!(json(&issuer(&["show", "web.1"]))["state"], "retired");
        assert_eq!(json(&issuer(&["list"]))["items"].as_array().unwrap().len(), 3);

        // Outside: the request is printed, and the certificate comes in from a file.
        let csr = issuer(&["create", "subordinate", "--name", "out", "--outside", "--subject", "CN=Out"]);
        assert_eq!(issuer(&["csr", "out"]), csr);
        let file = |name: &str| here.join(name).display().to_string();
        scratch.write("out.csr", &csr);
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {} -out {} -days 900 -subj /CN=Elsewhere -addext keyUsage=critical,keyCertSign,cRLSign",
            file("root.key"),
            file("root.pem")
        ));
        scratch.write("ext", "authorityKeyIdentifier=keyid\n");
        openssl(&format!(
            "x509 -req -in {} -CA {} -CAkey {} -CAcreateserial -days 800 -copy_extensions copy -extfile {} -out {}",
            file("out.csr"),
            file("root.pem"),
            file("root.key"),
            file("ext"),
            file("out.pem")
        ));
        let alone = attempt(here, &["issuer", "certificate", "out", "out.pem"], &[]);
        assert!(complaint(&alone).contains("send the certificates above it"));
        scratch.write("bundle.pem", format!("{}{}", scratch.read("out.pem"), scratch.read("root.pem")));
        assert_eq!(json(&issuer(&["certificate", "out", "bundle.pem"]))["state"], "active");
        let cross = issuer(&["cross-sign", "top", "root.pem", "--validity", "100d"]);
        scratch.write("cross.pem", cross);
        scratch.write("top.pem", root["certificate"].as_str().unwrap());
        openssl(&format!(
            "verify -x509_strict -CAfile {} -untrusted {} {}",
            file("top.pem"),
            file("cross.pem"),
            file("out.pem")
        ));

        for (arguments, expected) in [
            (&["issuer", "show", "nobody"][..], "there is no issuer"),
            (&["issuer", "set", "web", "--state", "disabled"][..], "default issuer"),
            (&["issuer", "create", "root", "--name", "top", "--subject", "CN=X"][..], "exists already"),
            (&["issuer", "create", "subordinate", "--name", "x", "--subject", "CN=X"][..], "--parent"),
        ] {
            let said = complaint(&attempt(here, arguments, &[]));
            assert!(said.contains(expected), "{arguments:?}: {said}");
        }
        assert!(run(here, &["issuer", "create", "subordinate", "--help"]).contains("Somebody outside signs it"));
        let doctor = attempt(here, &["doctor"], &[]);
        assert!(String::from_utf8_lossy(&doctor.stdout).contains("issuer web.2"));
    }
}

#[test]
fn keys_are_kept_in_files_that_the_command_line_names() {
    let scratch = Scratch::new();
    let here = scratch.path();
    let settings = |passphrase: &str| {
        let keys = format!("data_dir = \"data\"\n[keys]\nfile_passphrase = \"{passphrase}\"\n");
        scratch.write("chancery.toml", keys);
    };
    settings("a passphrase for key files");
    let issuer = |arguments: &str| {
        let all: Vec<&str> = std::iter::once("issuer").chain(arguments.split(' ')).collect();
        json(&run(here, &all))
    };
    let opens = |path: &str, issuer: &Value| {
        let file = here.join(path).display().to_string();
        let pass = "pass:a passphrase for key files";
        let key = crate::support::tools::run("openssl", &["pkey", "-in", &file, "-passin", pass, "-pubout"]);
        let certificate = scratch.write("ca.pem", issuer["certificate"].as_str().unwrap());
        assert_eq!(key, openssl(&format!("x509 -in {} -noout -pubkey", certificate.display())), "{path}");
    };
    let root = issuer("create root --name top --subject CN=Top --key-storage file --key-file top-secret.key");
    opens("top-secret.key", &root);
    let web = issuer("create subordinate --name web --parent top --subject CN=Web --key-storage file --key rsa-2048");
    opens("data/keys/web.key", &web);
    opens("data/keys/web.2.key", &issuer("rollover web"));
    let (file, cert) = (here.join("old.key").display().to_string(), here.join("old.pem").display().to_string());
    openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {file} -out {cert} -days 900 -subj /CN=Old -addext keyUsage=critical,keyCertSign,cRLSign"
    ));
    issuer("import --name old --certificate old.pem --key old.key --key-storage file");
    opens("data/keys/old.key", &issuer("show old"));

    for (arguments, expected) in [
        ("create root --name x --subject CN=X --key-storage pkcs11", "--token"),
        ("create root --name x --subject CN=X --key-storage pkcs11 --token hsm", "there is no token `hsm`"),
        ("create root --name x --subject CN=X --token hsm", "no use without `--key-storage pkcs11`"),
        (
            "create root --name x --subject CN=X --key-storage database --key-file x.key",
            "no use without `--key-storage file`",
        ),
        (
            "create root --name x --subject CN=X --key-storage file --key-file top-secret.key",
            "its key is another issuer's",
        ),
        ("rollover web --key-storage file --key-file nowhere/web.key", "nowhere/web.key"),
    ] {
        let all: Vec<&str> = std::iter::once("issuer").chain(arguments.split(' ')).collect();
        let said = complaint(&attempt(here, &all, &[]));
        assert!(said.contains(expected), "{arguments}: {said}");
    }
}
