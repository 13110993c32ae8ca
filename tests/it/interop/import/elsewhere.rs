//! CAs run with other programs, each in a directory of its own.

use std::path::Path;

use crate::support::tools::{Scratch, openssl};

/// What protects their keys.
pub(super) const PASSPHRASE: &str = "correct-horse-battery";

/// A CA run with `openssl ca`.
pub(super) struct OpensslCa {
    scratch: Scratch,
    /// Serial numbers in hex, as OpenSSL writes them.
    pub(super) valid: String,
    pub(super) superseded: String,
    pub(super) held: String,
    /// Revoked, and its certificate is not among those that were kept.
    pub(super) lost: String,
}

const CONFIGURATION: &str = "
[ca]
default_ca = guide
[guide]
dir = {dir}/demoCA
database = $dir/index.txt
new_certs_dir = $dir/newcerts
serial = $dir/serial
crlnumber = $dir/crlnumber
certificate = {dir}/ca.crt
private_key = {dir}/ca.key
default_md = sha256
default_days = 365
default_crl_days = 30
policy = anything
copy_extensions = copy
x509_extensions = leaf
crl_extensions = crl_extensions
[anything]
commonName = supplied
[leaf]
basicConstraints = CA:FALSE
[crl_extensions]
authorityKeyIdentifier = keyid
";

impl OpensslCa {
    /// Makes the CA of the guide, issues four certificates, revokes three and makes a CRL.
    pub(super) fn of_the_guide() -> Self {
        let scratch = Scratch::new();
        let directory = scratch.path().display().to_string();
        std::fs::create_dir_all(scratch.file("demoCA/newcerts")).unwrap();
        scratch.write("demoCA/index.txt", "");
        scratch.write("demoCA/serial", "1000\n");
        scratch.write("demoCA/crlnumber", "1F\n");
        scratch.write("openssl.cnf", CONFIGURATION.replace("{dir}", &directory));
        openssl(&format!("genrsa -aes256 -traditional -passout pass:{PASSPHRASE} -out {directory}/ca.key 4096"));
        assert!(scratch.read("ca.key").contains("DEK-Info: AES-256-CBC"));
        openssl(&format!(
            "req -x509 -new -key {directory}/ca.key -passin pass:{PASSPHRASE} -sha256 -days 3650 -subj /C=DE/O=Guide/CN=Old-CA -out {directory}/ca.crt"
        ));
        let ca = |arguments: &str| {
            openssl(&format!("ca -batch -config {directory}/openssl.cnf -passin pass:{PASSPHRASE} {arguments}"));
        };
        for name in ["valid", "superseded", "held", "lost"] {
            openssl(&format!(
                "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout {directory}/{name}.key -subj /CN={name}.old.example \
                 -addext subjectAltName=DNS:{name}.old.example -out {directory}/{name}.csr"
            ));
            ca(&format!("-in {directory}/{name}.csr -out {directory}/{name}.crt"));
        }
        for (name, reason) in [("superseded", "superseded"), ("held", "certificateHold"), ("lost", "keyCompromise")] {
            ca(&format!("-revoke {directory}/{name}.crt -crl_reason {reason}"));
        }
        ca(&format!("-gencrl -out {directory}/crl.pem"));
        let serial = |name: &str| serial_of(&scratch.file(&format!("{name}.crt")));
        let [valid, superseded, held, lost] = ["valid", "superseded", "held", "lost"].map(serial);
        std::fs::remove_file(scratch.file(&format!("demoCA/newcerts/{lost}.pem"))).unwrap();
        // What somebody else signed under the same name, and what is no certificate at all.
        openssl(&format!(
            "req -x509 -newkey rsa:2048 -noenc -keyout {directory}/foreign.key -subj /C=DE/O=Guide/CN=Old-CA -days 2 -out {directory}/foreign.crt"
        ));
        std::fs::copy(scratch.file("foreign.crt"), scratch.file("demoCA/newcerts/foreign.pem")).unwrap();
        scratch.write("demoCA/newcerts/README", "nothing\n");
        std::os::unix::fs::symlink("..", scratch.file("demoCA/newcerts/loop")).unwrap();
        Self { scratch, valid, superseded, held, lost }
    }

    /// The arguments of `chancery issuer import`.
    pub(super) fn arguments(&self, name: &str) -> Vec<String> {
        ["--name", name, "--certificate", &self.certificate(), "--key", &self.file("ca.key")]
            .into_iter()
            .chain(["--openssl-ca-dir", &self.file("demoCA"), "--crl", &self.file("crl.pem")])
            .map(str::to_owned)
            .collect()
    }

    /// The number of its CRL.
    pub(super) fn crl_number(&self) -> u64 {
        let said = openssl(&format!("crl -in {} -noout -crlnumber", self.file("crl.pem")));
        u64::from_str_radix(said.trim().rsplit("0x").next().unwrap().trim_start_matches("crlNumber="), 16).unwrap()
    }

    /// The path of its certificate.
    pub(super) fn certificate(&self) -> String {
        self.file("ca.crt")
    }

    /// The path of a file.
    pub(super) fn file(&self, name: &str) -> String {
        self.scratch.file(name).display().to_string()
    }

    /// Reads a file.
    pub(super) fn read(&self, name: &str) -> String {
        self.scratch.read(name)
    }
}

/// A CA with the files of step-ca.
pub(super) struct StepCa {
    scratch: Scratch,
    /// Serial numbers in hex, as OpenSSL writes them.
    pub(super) valid: String,
    pub(super) revoked: String,
}

impl StepCa {
    /// Makes root and intermediate, two certificates, and the record of two revocations, of one of which the certificate is not there.
    pub(super) fn new() -> Self {
        let scratch = Scratch::new();
        let directory = scratch.path().display().to_string();
        for name in ["certs", "secrets", "exported"] {
            std::fs::create_dir(scratch.file(name)).unwrap();
        }
        let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc";
        openssl(&format!(
            "req -x509 {ec} -keyout {directory}/root.key -out {directory}/certs/root_ca.crt -days 3650 -subj /O=Step/CN=Step-Root \
             -addext basicConstraints=critical,CA:TRUE,pathlen:1 -addext keyUsage=critical,keyCertSign,cRLSign"
        ));
        let extensions = |name: &str, text: &str| scratch.write(name, text).display().to_string();
        let intermediate = extensions(
            "intermediate.ext",
            "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
        );
        let leaf = extensions(
            "leaf.ext",
            "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:a.step.example\n",
        );
        openssl(&format!(
            "req -new {ec} -keyout {directory}/plain.key -out {directory}/intermediate.csr -subj /O=Step/CN=Step-Intermediate"
        ));
        openssl(&format!(
            "x509 -req -in {directory}/intermediate.csr -CA {directory}/certs/root_ca.crt -CAkey {directory}/root.key -days 3000 -extfile {intermediate} -out {directory}/certs/intermediate_ca.crt"
        ));
        openssl(&format!(
            "ec -in {directory}/plain.key -aes256 -passout pass:{PASSPHRASE} -out {directory}/secrets/intermediate_ca_key"
        ));
        assert!(scratch.read("secrets/intermediate_ca_key").contains("DEK-Info: AES-256-CBC"));
        for name in ["valid", "revoked"] {
            openssl(&format!(
                "req -new {ec} -keyout {directory}/{name}.key -out {directory}/{name}.csr -subj /CN={name}.step.example"
            ));
            openssl(&format!(
                "x509 -req -in {directory}/{name}.csr -CA {directory}/certs/intermediate_ca.crt -CAkey {directory}/plain.key -days 30 -extfile {leaf} -outform DER -out {directory}/exported/{name}.crt"
            ));
        }
        let [valid, revoked] =
            ["valid", "revoked"].map(|name| serial_of(&scratch.file(&format!("exported/{name}.crt"))));
        let record = |serial: &str| {
            format!(
                "{{\"Serial\":\"{serial}\",\"ProvisionerID\":\"admin\",\"ReasonCode\":4,\"Reason\":\"\",\"RevokedAt\":\"2026-01-02T03:04:05.678Z\",\"TokenID\":\"\",\"MTLS\":false}}\n"
            )
        };
        scratch.write(
            "revocations.jsonl",
            format!("{}{}", record(&decimal(&revoked)), record("123456789012345678901234567890")),
        );
        Self { scratch, valid, revoked }
    }

    /// Its directory.
    pub(super) fn path(&self) -> String {
        self.scratch.path().display().to_string()
    }

    /// The path of a file.
    pub(super) fn file(&self, name: &str) -> String {
        self.scratch.file(name).display().to_string()
    }

    /// Intermediate and root, PEM.
    pub(super) fn chain(&self) -> String {
        format!("{}{}", self.scratch.read("certs/intermediate_ca.crt"), self.scratch.read("certs/root_ca.crt"))
    }
}

/// The serial number of a certificate in hex, as OpenSSL writes it.
fn serial_of(path: &Path) -> String {
    openssl(&format!("x509 -in {} -noout -serial", path.display())).trim().trim_start_matches("serial=").to_owned()
}

/// Writes hex as decimal.
fn decimal(hex: &str) -> String {
    let mut digits = vec![0_u8];
    for nibble in hex.chars().map(|digit| digit.to_digit(16).unwrap()) {
        let mut carry = nibble;
        for digit in digits.iter_mut().rev() {
            let value = u32::from(*digit) * 16 + carry;
            *digit = u8::try_from(value % 10).unwrap();
            carry = value / 10;
        }
        while carry > 0 {
            digits.insert(0, u8::try_from(carry % 10).unwrap());
            carry /= 10;
        }
    }
    digits.into_iter().map(|digit| char::from(b'0' + digit)).collect()
}
