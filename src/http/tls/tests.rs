//! Handshakes in memory, and files that are refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::os::unix::fs::PermissionsExt as _;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    generate_simple_self_signed,
};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, ServerConnection, SupportedProtocolVersion};

use super::*;
use crate::error::ErrorKind;

/// A self-signed server certificate for `localhost`.
fn server_certificate() -> (TlsCertificate, Vec<u8>) {
    let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let der = made.cert.der().to_vec();
    let key = Zeroizing::new(made.signing_key.serialize_der());
    (TlsCertificate::from_der(vec![der.clone()], key).unwrap(), der)
}

/// A CA for clients and a client certificate of it with its key.
struct Client {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

fn client(purpose: ExtendedKeyUsagePurpose) -> Client {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "clients");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap().der().to_vec();
    let issuer = Issuer::new(params, ca_key);
    let mut params = CertificateParams::new(vec!["agent.internal".to_owned()]).unwrap();
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().der().to_vec();
    Client { ca, certificate, key: key.serialize_der() }
}

/// What both sides know after a handshake.
struct Established {
    server_certificate: Vec<u8>,
    client_certificates: Vec<Vec<u8>>,
    version: ProtocolVersion,
    protocol: Option<Vec<u8>>,
}

fn handshake(
    config: &Arc<ServerConfig>,
    trusted: &[u8],
    client: Option<&Client>,
    version: &'static SupportedProtocolVersion,
) -> Result<Established, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(trusted.to_vec())).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut client_config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from(client.certificate.clone())],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(client.key.clone())),
            )
            .unwrap(),
    };
    client_config.alpn_protocols = vec![b"h2".to_vec()];
    let mut ours = ServerConnection::new(Arc::clone(config)).unwrap();
    let mut theirs = ClientConnection::new(Arc::new(client_config), "localhost".try_into().unwrap()).unwrap();
    while ours.is_handshaking() || theirs.is_handshaking() || ours.wants_write() || theirs.wants_write() {
        let mut sent = Vec::new();
        while theirs.wants_write() {
            theirs.write_tls(&mut sent).unwrap();
        }
        let mut sent = sent.as_slice();
        while !sent.is_empty() {
            ours.read_tls(&mut sent).unwrap();
            ours.process_new_packets()?;
        }
        let mut answer = Vec::new();
        while ours.wants_write() {
            ours.write_tls(&mut answer).unwrap();
        }
        let mut answer = answer.as_slice();
        while !answer.is_empty() {
            theirs.read_tls(&mut answer).unwrap();
            theirs.process_new_packets()?;
        }
    }
    Ok(Established {
        server_certificate: theirs.peer_certificates().unwrap()[0].to_vec(),
        client_certificates: ours.peer_certificates().unwrap_or_default().iter().map(|der| der.to_vec()).collect(),
        version: ours.protocol_version().unwrap(),
        protocol: ours.alpn_protocol().map(<[u8]>::to_vec),
    })
}

#[test]
fn speaks_tls_1_2_and_1_3_and_http_2() {
    let (certificate, der) = server_certificate();
    let certificates = Arc::new(SwappableCertificate::new(certificate));
    let config = server_config(certificates, Arc::new(SwappableRoots::new(&[]).unwrap())).unwrap();
    for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let established = handshake(&config, &der, None, version).unwrap();
        assert_eq!(established.version, expected);
        assert_eq!(established.protocol.as_deref(), Some(b"h2".as_slice()));
        assert_eq!(established.server_certificate, der);
    }
}

#[test]
fn serves_the_new_certificate_after_a_swap() {
    let ((first, first_der), (second, second_der)) = (server_certificate(), server_certificate());
    let certificates = Arc::new(SwappableCertificate::new(first));
    let roots = Arc::new(SwappableRoots::new(&[]).unwrap());
    let config = server_config(Arc::clone(&certificates), roots).unwrap();
    assert_eq!(handshake(&config, &first_der, None, &TLS13).unwrap().server_certificate, first_der);
    certificates.replace(second);
    assert_eq!(handshake(&config, &second_der, None, &TLS13).unwrap().server_certificate, second_der);
}

#[test]
fn takes_client_certificates_of_the_present_roots_and_insists_on_none() {
    let (certificate, der) = server_certificate();
    let roots = Arc::new(SwappableRoots::new(&[]).unwrap());
    let certificates = Arc::new(SwappableCertificate::new(certificate));
    let config = server_config(certificates, Arc::clone(&roots)).unwrap();
    let agent = client(ExtendedKeyUsagePurpose::ClientAuth);
    let stranger = client(ExtendedKeyUsagePurpose::ClientAuth);
    for version in [&TLS12, &TLS13] {
        roots.replace(&[]).unwrap();
        assert!(handshake(&config, &der, Some(&agent), version).unwrap().client_certificates.is_empty());
        roots.replace(std::slice::from_ref(&agent.ca)).unwrap();
        let established = handshake(&config, &der, Some(&agent), version).unwrap();
        assert_eq!(established.client_certificates, std::slice::from_ref(&agent.certificate));
        assert!(handshake(&config, &der, None, version).unwrap().client_certificates.is_empty());
        assert!(handshake(&config, &der, Some(&stranger), version).is_err());
        roots.replace(std::slice::from_ref(&stranger.ca)).unwrap();
        assert!(handshake(&config, &der, Some(&agent), version).is_err());
        assert!(handshake(&config, &der, Some(&stranger), version).is_ok());
    }
}

#[test]
fn refuses_server_certificates_of_clients() {
    let (certificate, der) = server_certificate();
    let server = client(ExtendedKeyUsagePurpose::ServerAuth);
    let roots = Arc::new(SwappableRoots::new(std::slice::from_ref(&server.ca)).unwrap());
    let config = server_config(Arc::new(SwappableCertificate::new(certificate)), roots).unwrap();
    assert!(handshake(&config, &der, Some(&server), &TLS13).is_err());
}

#[test]
fn keeps_the_present_roots_when_new_ones_cannot_be_used() {
    let agent = client(ExtendedKeyUsagePurpose::ClientAuth);
    let roots = SwappableRoots::new(std::slice::from_ref(&agent.ca)).unwrap();
    assert_eq!(roots.replace(&[b"not a certificate".to_vec()]).unwrap_err().kind(), ErrorKind::Configuration);
    assert!(roots.offer_client_auth() && !roots.client_auth_mandatory());
}

#[test]
fn reads_files_whose_key_only_the_owner_can_read() {
    let directory = tempfile::tempdir().unwrap();
    let (chain, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
    let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    for mode in [0o600, 0o400] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        TlsCertificate::from_files(&chain, &key).unwrap();
    }
    for mode in [0o640, 0o604, 0o644, 0o660] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = TlsCertificate::from_files(&chain, &key).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.detail().contains("chmod 600"), "{error}");
    }
    assert_eq!(certificates_from_file(&chain).unwrap(), [made.cert.der().to_vec()]);
}

#[test]
fn refuses_files_that_do_not_fit() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let (one, other) = (
        generate_simple_self_signed(["localhost".to_owned()]).unwrap(),
        generate_simple_self_signed(["localhost".to_owned()]).unwrap(),
    );
    let chain = path("chain.pem", &one.cert.pem());
    let key = path("key.pem", &one.signing_key.serialize_pem());
    let cases = [
        (chain.clone(), path("other.pem", &other.signing_key.serialize_pem())),
        (path("empty.pem", ""), key.clone()),
        (key.clone(), key.clone()),
        (chain.clone(), chain.clone()),
        (directory.path().join("absent.pem"), key),
        (chain, directory.path().join("absent.pem")),
    ];
    for (chain, key) in cases {
        assert_eq!(TlsCertificate::from_files(&chain, &key).unwrap_err().kind(), ErrorKind::Configuration);
    }
    assert!(TlsCertificate::from_der(Vec::new(), Zeroizing::new(Vec::new())).is_err());
}
