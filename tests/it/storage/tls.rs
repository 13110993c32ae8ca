//! TLS to PostgreSQL: what each `sslmode` accepts of a server's certificate.

use chancery::ErrorKind;
use chancery::storage::{DatabaseOptions, open};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::fixture::{certificate, issue, options};
use crate::support::postgres::Server;

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_tls_mode_accepts_what_libpq_accepts() {
    let directory = tempfile::tempdir().unwrap();
    let (good, issuer) = authority();
    let (bad, _) = authority();
    let roots = [("good", good), ("bad", bad)].map(|(name, pem)| {
        let path = directory.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    });
    let key = KeyPair::generate().unwrap();
    let server_certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let server = tokio::task::spawn_blocking(move || {
        let server = Server::start();
        server.enable_tls(&server_certificate.pem(), &key.serialize_pem());
        server
    })
    .await
    .unwrap();
    server.create_database().await;

    let [good, bad] = roots;
    // Mode, roots, host, whether it connects. The certificate is for `localhost`.
    let cases = [
        ("disable", None, "127.0.0.1", true),
        ("prefer", None, "127.0.0.1", true),
        ("require", None, "127.0.0.1", true),
        ("require", Some(&good), "127.0.0.1", true),
        ("require", Some(&bad), "localhost", false),
        ("verify-ca", Some(&good), "127.0.0.1", true),
        ("verify-ca", Some(&bad), "localhost", false),
        ("verify-full", Some(&good), "localhost", true),
        ("verify-full", Some(&good), "127.0.0.1", false),
        ("verify-full", Some(&bad), "localhost", false),
        ("verify-full", None, "localhost", false),
    ];
    for (mode, roots, host, connects) in cases {
        let url = format!("{}?sslmode={mode}", server.url_of_host(host, "postgres"));
        let options = DatabaseOptions { root_certificates: roots.cloned(), ..options(&url) };
        match open(&options).await {
            Ok(storage) => {
                assert!(connects, "sslmode={mode} with {roots:?} connects to {host}");
                issue(&*storage, certificate(&[])).await;
                storage.close().await;
            }
            Err(error) => {
                assert!(!connects, "sslmode={mode} with {roots:?} does not connect to {host}: {error:?}");
                assert_eq!(error.kind(), ErrorKind::Unavailable);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_without_tls_is_refused_when_tls_is_required() {
    let fixture = super::fixture::Fixture::postgres().await;
    let required = fixture.url.replace("sslmode=disable", "sslmode=require");
    assert_eq!(open(&options(&required)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let preferred = fixture.url.replace("sslmode=disable", "sslmode=prefer");
    open(&options(&preferred)).await.unwrap();
}
