//! CAs of others below our root: OpenSSL asks for one under a profile that makes CAs, signs with it, and verifies what it signed.

use serde_json::{Value, json};

use super::lint_objects;
use crate::support::client::Client;
use crate::support::csr::Csr;
use crate::support::service::{Database, Service, issue_with, unique};
use crate::support::tools::{Scratch, attempt, openssl, run};

/// Puts a profile that makes CAs below the root, and returns its name.
fn profile(client: &Client, certificate_authority: &Value) -> String {
    let name = unique("subordinate");
    let document = json!({
        "issuer": "root",
        "additional_issuers": ["issuing"],
        "validity": {"default": "365d", "maximum": "1825d"},
        "key_usage": ["key_cert_sign", "crl_sign"],
        "subject": {"common_name": "required", "allowed": ["organization"]},
        "certificate_authority": certificate_authority,
    });
    client.put(&format!("/api/v1/profiles/{name}")).json(&document).expect(201);
    name
}

/// Somebody else's directory with keys and certificates, and OpenSSL in it.
struct Elsewhere(Scratch);

impl Elsewhere {
    fn new(service: &Service) -> Self {
        let scratch = Scratch::new();
        scratch.write("root.pem", service.root_pem());
        Self(scratch)
    }

    fn path(&self, file: &str) -> String {
        self.0.file(file).display().to_string()
    }

    /// Makes `<name>.key` and a request for it, with what is asked for.
    fn request(&self, name: &str, common_name: &str, extensions: &[&str]) -> String {
        let mut arguments: Vec<String> = "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout"
            .split(' ')
            .map(str::to_owned)
            .collect();
        arguments.extend([self.path(&format!("{name}.key")), "-out".to_owned(), self.path(&format!("{name}.csr"))]);
        arguments.extend(["-subj".to_owned(), format!("/O=Team/CN={common_name}")]);
        arguments.extend(extensions.iter().flat_map(|extension| ["-addext".to_owned(), (*extension).to_owned()]));
        run("openssl", &arguments);
        self.0.read(&format!("{name}.csr"))
    }

    /// Has a CA of theirs certify `<name>.csr`.
    fn sign(&self, ca: &str, name: &str, extensions: &str) {
        let file = self.0.write("extensions", format!("{extensions}\nauthorityKeyIdentifier=keyid\n"));
        openssl(&format!(
            "x509 -req -in {} -CA {} -CAkey {} -extfile {} -days 5 -out {}",
            self.path(&format!("{name}.csr")),
            self.path(&format!("{ca}.pem")),
            self.path(&format!("{ca}.key")),
            file.display(),
            self.path(&format!("{name}.pem"))
        ));
    }

    /// Makes a server certificate below a CA of theirs.
    fn server(&self, ca: &str, name: &str, host: &str) {
        self.request(name, host, &[]);
        let extensions = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
                          extendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash";
        self.sign(ca, name, &format!("{extensions}\nsubjectAltName=DNS:{host}"));
    }

    /// What OpenSSL says about a chain below our root, given from the root downwards.
    fn verify(&self, chain: &[&str]) -> (bool, String) {
        let (leaf, above) = chain.split_last().unwrap();
        let mut arguments = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"].map(str::to_owned).to_vec();
        arguments.push(self.path("root.pem"));
        for ca in above {
            arguments.extend(["-untrusted".to_owned(), self.path(&format!("{ca}.pem"))]);
        }
        arguments.push(self.path(&format!("{leaf}.pem")));
        let output = attempt("openssl", &arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    #[track_caller]
    fn accepts(&self, chain: &[&str]) {
        let (accepted, said) = self.verify(chain);
        assert!(accepted, "{said}");
    }

    #[track_caller]
    fn rejects(&self, chain: &[&str], why: &str) {
        let (accepted, said) = self.verify(chain);
        assert!(!accepted && said.contains(why), "{said}");
    }
}

const ASKING: [&str; 2] = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"];

#[test]
fn a_ca_of_somebody_else_signs_within_what_its_certificate_allows() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let constraints = json!({"permitted": {"dns": ["team.internal"]}, "excluded": {"ip": ["0.0.0.0/0", "::/0"]}});
    let profile = profile(&client, &json!({"path_length": 0, "name_constraints": constraints}));
    let elsewhere = Elsewhere::new(service);
    let body = json!({"csr": elsewhere.request("ca", "Team CA", &ASKING), "profile": profile});

    let preview = client.post("/api/v1/certificates/check").json(&body).expect(200).json();
    assert_eq!(
        preview["certificate"]["certificate_authority"],
        json!({"path_length": 0, "name_constraints": constraints}),
        "{preview}"
    );
    let record = issue_with(&client, &body);
    elsewhere.0.write("ca.pem", record["certificate"].as_str().unwrap());
    let text = openssl(&format!("x509 -in {} -noout -text", elsewhere.path("ca.pem")));
    for shown in
        ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign\n", "DNS:team.internal", "/pki/root.crl", "CA Issuers"]
    {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    lint_objects(&[elsewhere.path("root.pem"), format!("{}>{}", elsewhere.path("root.pem"), elsewhere.path("ca.pem"))]);

    elsewhere.server("ca", "server", "www.team.internal");
    elsewhere.accepts(&["ca", "server"]);
    elsewhere.0.write("chain.pem", elsewhere.0.read("server.pem") + &elsewhere.0.read("ca.pem"));
    let said = run(
        "certtool",
        &[
            "--verify".to_owned(),
            format!("--load-ca-certificate={}", elsewhere.path("root.pem")),
            format!("--infile={}", elsewhere.path("chain.pem")),
            "--verify-hostname=www.team.internal".to_owned(),
        ],
    );
    assert!(said.contains("Verified. The certificate is trusted."), "{said}");
    elsewhere.server("ca", "outside", "www.bank.internal");
    elsewhere.rejects(&["ca", "outside"], "permitted subtree violation");
    elsewhere.request("below", "CA below", &[]);
    elsewhere.sign(
        "ca",
        "below",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash",
    );
    elsewhere.server("below", "too-deep", "deep.team.internal");
    elsewhere.rejects(&["ca", "below", "too-deep"], "path length constraint exceeded");

    // A renewal keeps all of it.
    let serial = record["serial"].as_str().unwrap();
    let renewed = client.post(&format!("/api/v1/certificates/{serial}/renew")).json(&json!({})).expect(201).json();
    elsewhere.0.write("ca.pem", renewed["certificate"].as_str().unwrap());
    assert!(openssl(&format!("x509 -in {} -noout -text", elsewhere.path("ca.pem"))).contains("DNS:team.internal"));
    elsewhere.accepts(&["ca", "server"]);
    elsewhere.rejects(&["ca", "outside"], "permitted subtree violation");
}

#[test]
fn a_path_length_within_the_profiles_leaves_room_for_as_many_cas() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let profile = profile(&client, &json!({"path_length": 2}));
    let elsewhere = Elsewhere::new(service);
    let csr = elsewhere.request("ca", "Team CA", &["basicConstraints=critical,CA:TRUE,pathlen:1"]);
    let record = issue_with(&client, &json!({"csr": csr, "profile": profile}));
    elsewhere.0.write("ca.pem", record["certificate"].as_str().unwrap());
    elsewhere.request("below", "CA below", &[]);
    elsewhere.sign(
        "ca",
        "below",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash",
    );
    elsewhere.server("below", "server", "www.bank.internal");
    elsewhere.accepts(&["ca", "below", "server"]);

    let refused = |csr: String, issuer: &str, code: &str| {
        let body = json!({"csr": csr, "profile": profile, "issuer": issuer});
        let answer = client.post("/api/v1/certificates").json(&body).expect(422);
        assert_eq!(answer.violation_codes(), [code], "{}", answer.text());
    };
    let three = elsewhere.request("other", "Other CA", &["basicConstraints=critical,CA:TRUE,pathlen:3"]);
    refused(three, "root", "path_length_too_long");
    refused(elsewhere.request("other", "Other CA", &ASKING), "issuing", "issuer_path_length");
    let leaf = elsewhere.request("other", "Other CA", &["basicConstraints=critical,CA:FALSE"]);
    refused(leaf, "root", "ca_not_requested");
    let signing = elsewhere.request("other", "Other CA", &["keyUsage=critical,keyCertSign,digitalSignature"]);
    refused(signing, "root", "key_usage_not_allowed");
    let csr = Csr::new().common_name("chancery  issuing ca").pem();
    refused(csr, "root", "subject_of_issuer");
    let constrained = elsewhere.request("other", "Other CA", &["nameConstraints=critical,permitted;DNS:internal"]);
    refused(constrained, "root", "extension_not_allowed");
}

/// Who may have a CA below one of our issuers: administrators, and those whose grants name profile and issuer.
#[test]
fn only_administrators_and_those_who_were_named_get_a_ca() {
    let service = Service::shared(Database::Sqlite);
    let administrator = service.administrator();
    let profile = profile(&administrator, &json!({}));
    let elsewhere = Elsewhere::new(service);
    let body = json!({"csr": elsewhere.request("ca", "Team CA", &ASKING), "profile": profile});
    let both = json!({"profiles": [profile], "issuers": ["root"]});
    let with_names = json!({"profiles": [profile], "issuers": ["root"], "names": {"dns": {"allow": ["**"]}}});
    let refusals = |name: &str| {
        let path = format!("/api/v1/audit?actor=token:{name}&outcome=refused");
        administrator.get(&path).expect(200).json()["items"].as_array().unwrap().len()
    };
    for (role, grants, status) in [
        ("operator", json!({}), 403),
        ("requester", json!({}), 403),
        ("operator", json!({"profiles": [profile]}), 403),
        ("operator", json!({"issuers": ["root"]}), 403),
        ("operator", json!({"profiles": [profile], "issuers": ["issuing"]}), 403),
        ("requester", with_names.clone(), 403),
        ("administrator", json!({"names": with_names["names"]}), 403),
        ("administrator", json!({"profiles": ["server"]}), 403),
        ("auditor", both.clone(), 403),
        ("administrator", json!({}), 201),
        ("operator", both.clone(), 201),
        ("requester", both, 201),
    ] {
        let name = unique("ca-caller");
        let token = json!({"name": name, "role": role, "grants": grants});
        let created = administrator.post("/api/v1/tokens").json(&token).expect(201).json();
        let caller = administrator.bearer(created["token"].as_str().unwrap());
        let answer = caller.post("/api/v1/certificates").json(&body).send();
        assert_eq!(answer.status, status, "{role} {grants}: {}", answer.text());
        let check = caller.post("/api/v1/certificates/check").json(&body).send();
        assert_eq!(check.status, if status == 201 { 200 } else { 403 }, "{role} {grants}: {}", check.text());
        if status == 403 {
            assert_eq!(answer.problem_code(), "forbidden");
            assert!(refusals(&name) > 0, "{role} {grants} is not in the audit log");
        } else {
            let serial = answer.json()["serial"].as_str().unwrap().to_owned();
            let path = format!("/api/v1/certificates/{serial}/renew");
            caller.post(&path).json(&json!({})).expect(201);
            // An operator without the grant sees the certificate, and may not renew it.
            let other = service.with_role("operator");
            assert_eq!(other.post(&path).json(&json!({})).expect(403).problem_code(), "forbidden");
        }
    }
}

#[test]
fn profiles_that_make_no_ca_go_on_refusing_to() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let elsewhere = Elsewhere::new(service);
    let mut asking = ASKING.to_vec();
    asking.push("subjectAltName=DNS:a.internal");
    let csr = elsewhere.request("ca", "a.internal", &asking);
    let answer = client.post("/api/v1/certificates").json(&json!({"csr": csr, "profile": "server"})).expect(422);
    assert!(answer.violation_codes().contains(&"ca_not_allowed".to_owned()), "{}", answer.text());
    let document = json!({"certificate_authority": {"path_length": 0}});
    let answer = client.put("/api/v1/profiles/half-a-ca").json(&document).expect(400);
    assert!(answer.text().contains("must be `key_cert_sign` and `crl_sign`"), "{}", answer.text());
}
