//! `chancery quickstart`: from nothing to a first certificate. Creates what is missing, serves, has its own client obtain and verify a
//! certificate over HTTPS, prints each step with the equivalent command, and keeps serving.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use secrecy::SecretString;
use tokio::sync::watch;

use super::first_certificate::{self, FIRST_NAME, Order};
use super::serve::{self, Endpoints};
use super::{block_on, files, init};
use crate::app::Service;
use crate::config::{Config, Log, Tls};
use crate::error::{Error, Result};
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where everything is kept [default: chancery-data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The API's address [default: 127.0.0.1:8443]; port 0 takes a free one.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// The address for CRLs and issuer certificates over plain HTTP [default: 127.0.0.1:8080].
    #[arg(long)]
    public_listen: Option<SocketAddr>,
    /// The address for metrics [default: 127.0.0.1:9090].
    #[arg(long)]
    metrics_listen: Option<SocketAddr>,
    /// Exit after the first certificate was verified.
    #[arg(long)]
    once: bool,
}

impl Arguments {
    /// Returns the settings that the arguments stand for.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if let Some(directory) = &self.data_dir {
            settings.push(("data_dir", directory.display().to_string()));
        }
        let listeners = [
            ("server.listen", self.listen),
            ("server.public_listen", self.public_listen),
            ("server.metrics_listen", self.metrics_listen),
        ];
        settings.extend(listeners.into_iter().filter_map(|(path, address)| Some((path, address?.to_string()))));
        settings
    }
}

pub(super) fn run(config: Config, arguments: &Arguments) -> Result<ExitCode> {
    telemetry::start(&log(&config))?;
    block_on(async move {
        files::create_directory(&config.data_dir)?;
        let opened = serve::open(&config).await?;
        let prepared = init::prepare(&config, &opened.ca, true).await?;
        let token = prepared.token.ok_or_else(|| Error::internal("no administrator token was made"))?;
        let endpoints = serve::endpoints(&config, opened.listeners.bound());
        serve::write_endpoints(&config, &endpoints)?;
        let service = Service::prepare(&config, Arc::clone(&opened.ca), opened.listeners.bound()).await?;
        describe(&config, &endpoints, prepared.created);

        let signalled = serve::stop_on_signal()?;
        let (finish, stop) = watch::channel(false);
        let running = service.run(opened.listeners, stop);
        let tour = tour(&config, &endpoints, &token, arguments.once, signalled, &finish);
        let (served, toured) = tokio::join!(running, tour);
        toured?;
        served?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Returns the log settings: unless they were changed only warnings are logged, so that the printed steps stand out.
fn log(config: &Config) -> Log {
    let default = Log::default();
    match config.log.level == default.level {
        true => Log { level: "warn".to_owned(), ..config.log.clone() },
        false => config.log.clone(),
    }
}

/// Obtains and verifies the first certificate, then waits for a signal unless `once`; in any case lets the service finish.
async fn tour(
    config: &Config,
    endpoints: &Endpoints,
    token: &SecretString,
    once: bool,
    mut signalled: watch::Receiver<bool>,
    finish: &watch::Sender<bool>,
) -> Result<()> {
    let result = async {
        if config.server.tls == Tls::On && config.server.certificate.is_none() {
            first_certificate(config, endpoints, token).await?;
        } else {
            println!("The first certificate is left out: `server.tls` or `server.certificate` is not the default.");
        }
        if !once {
            println!("Serving until Ctrl-C.");
            // An error means that the signals are gone, and with them any way to be told: finish.
            let _stopped = signalled.wait_for(|stop| *stop).await;
        }
        Ok(())
    }
    .await;
    finish.send_replace(true);
    result
}

fn describe(config: &Config, endpoints: &Endpoints, created: bool) {
    let directory = config.data_dir.display();
    println!("Chancery {}", env!("CARGO_PKG_VERSION"));
    println!();
    let what = if created { "Created" } else { "Found" };
    println!(
        "1. {what} a root CA, an issuing CA, the profiles `server`, `client` and `peer`, and an administrator token:"
    );
    println!("   {directory}/root.pem  {directory}/chain.pem  {directory}/admin.token");
    println!();
    println!("2. Serving");
    println!("   API      {}  (documentation at {}/docs)", endpoints.api, endpoints.api);
    if config.acme.enabled {
        println!("   ACME     {}/acme/directory  (for ACME clients, with root.pem as their root)", endpoints.api);
    }
    if let Some(public) = &endpoints.public {
        println!("   public   {public}  (CRLs and issuer certificates)");
    }
    if let Some(metrics) = &endpoints.metrics {
        println!("   metrics  {metrics}/metrics");
    }
    println!();
}

async fn first_certificate(config: &Config, endpoints: &Endpoints, token: &SecretString) -> Result<()> {
    let directory = &config.data_dir;
    let order =
        Order { api: &endpoints.api, root: directory.join("root.pem"), token, directory: directory.join("first") };
    let (shown, first) = (quoted(directory), quoted(&order.directory));
    let step = if first_certificate::is_there(&order) {
        println!("3. Found the first key and certificate in {first}/");
        println!();
        4
    } else {
        make_first_certificate(config, endpoints, &order).await?;
        5
    };
    first_certificate::verify(&order)?;
    println!("{step}. Verified it, as this does:");
    println!(
        "   openssl verify -x509_strict -CAfile {shown}/root.pem -untrusted {shown}/chain.pem {first}/certificate.pem"
    );
    println!();
    println!("Your turn: a certificate for a name of your own:");
    println!("   openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout app.key -out app.csr \\");
    println!("     -subj /CN=app.internal -addext subjectAltName=DNS:app.internal");
    println!("   {}", curl(&shown, &endpoints.api, "app.csr", "app.pem"));
    println!();
    Ok(())
}

async fn make_first_certificate(config: &Config, endpoints: &Endpoints, order: &Order<'_>) -> Result<()> {
    let csr = first_certificate::make_request(order)?;
    let (shown, first) = (quoted(&config.data_dir), quoted(&order.directory));
    println!("3. Made a key and a certificate signing request for `{FIRST_NAME}`, as this does:");
    println!(
        "   openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {first}/key.pem -out {first}/csr.pem \\"
    );
    println!("     -subj /CN={FIRST_NAME} -addext subjectAltName=DNS:{FIRST_NAME}");
    println!();
    let certificate = first_certificate::obtain(order, csr).await?;
    println!("4. Obtained a certificate, as this does:");
    println!("   {}", curl(&shown, &endpoints.api, &format!("{first}/csr.pem"), &format!("{first}/fullchain.pem")));
    println!("   serial {}, valid until {}", certificate.serial, certificate.not_after);
    println!();
    Ok(())
}

fn curl(directory: &str, api: &str, csr: &str, output: &str) -> String {
    format!(
        "curl --fail-with-body --cacert {directory}/root.pem -H \"Authorization: Bearer $(cat {directory}/admin.token)\" \
         -H 'Content-Type: application/pkcs10' -H 'Accept: application/pem-certificate-chain' \
         --data-binary @{csr} -o {output} '{api}/api/v1/certificates?profile=server'"
    )
}

/// Writes a path so that a shell reads it as one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ':' | '@'));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
