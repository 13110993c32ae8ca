//! `chancery doctor`: looks at everything an operator would be asked about, and says what is wrong and what to do.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{block_on, print_json};
use crate::app::{self, descriptors};
use crate::auth::permission::ReadAudit;
use crate::auth::{Authorized, Caller};
use crate::ca::CertificateAuthority;
use crate::config::{self, Config};
use crate::error::Result;
use crate::storage::IssuerState;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How a check ended, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Finding {
    Good,
    Warning,
    Bad,
}

#[derive(Debug, Serialize)]
struct Check {
    check: String,
    finding: Finding,
    detail: String,
}

#[derive(Debug, Default)]
struct Report(Vec<Check>);

impl Report {
    fn add(&mut self, check: impl Into<String>, finding: Finding, detail: impl Into<String>) {
        self.0.push(Check { check: check.into(), finding, detail: detail.into() });
    }

    fn add_result<T>(&mut self, check: &str, result: Result<T>, detail: impl FnOnce(T) -> String) {
        match result {
            Ok(value) => self.add(check, Finding::Good, detail(value)),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})")).unwrap_or_default();
                self.add(check, Finding::Bad, format!("{error}{cause}"));
            }
        }
    }
}

pub(super) fn run(config: Config, arguments: Arguments) -> Result<ExitCode> {
    let report = block_on(async move { Ok(examine(&config).await) })?;
    if arguments.json {
        print_json(&report.0)?;
    } else {
        for Check { check, finding, detail } in &report.0 {
            let mark = match finding {
                Finding::Good => "ok     ",
                Finding::Warning => "warning",
                Finding::Bad => "BAD    ",
            };
            println!("{mark} {check}: {detail}");
        }
    }
    let bad = report.0.iter().any(|check| check.finding == Finding::Bad);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn examine(config: &Config) -> Report {
    let mut report = Report::default();
    let warnings = config::check(config);
    if warnings.is_empty() {
        report.add("configuration", Finding::Good, "valid");
    }
    for warning in warnings {
        report.add("configuration", Finding::Warning, warning);
    }
    let limit = descriptors::raise();
    match descriptors::problem(config, limit) {
        None => report.add("file descriptors", Finding::Good, format!("{limit}, enough for every connection")),
        Some(problem) => report.add("file descriptors", Finding::Warning, problem),
    }
    private(&mut report, &config.data_dir, "data directory");
    match app::open(config).await {
        Err(error) => report.add_result::<()>("database and keys", Err(error), |()| String::new()),
        Ok(ca) => {
            report.add("database and keys", Finding::Good, "the database is at this version and every key opens");
            examine_authority(&mut report, &ca).await;
            ca.storage().close().await;
        }
    }
    report
}

async fn examine_authority(report: &mut Report, ca: &CertificateAuthority) {
    let now = ca.clock().now();
    let issuers = ca.issuers();
    if issuers.default_issuer().is_none() {
        report.add("issuers", Finding::Bad, "there is no default issuer; run `chancery init`");
    }
    let warnings = ca.expiry_warnings();
    for pending in issuers.pending() {
        report.add(
            format!("issuer {}", pending.path_name),
            Finding::Warning,
            format!("it waits for its certificate; `chancery issuer csr {}` prints the request", pending.name),
        );
    }
    for issuer in issuers.all() {
        let left = issuer.certificate.not_after.since(now);
        let days = left.as_secs() / 86_400;
        let warning = warnings.iter().find(|warning| warning.object == format!("issuer:{}", issuer.path_name));
        let finding = match warning {
            Some(warning) if warning.ended => Finding::Bad,
            _ if issuer.revoked.is_some() && issuer.state == IssuerState::Active => Finding::Bad,
            Some(_) => Finding::Warning,
            None => Finding::Good,
        };
        let away = issuer.device_is_away();
        let finding = if away { Finding::Bad } else { finding };
        let key = match (issuer.can_sign(), away) {
            (true, _) => "its key is at hand",
            (false, true) => "the device with its key is away or refuses us",
            (false, false) => "its key is not at hand",
        };
        let mut detail = format!("valid until {} ({days} days), {key}", issuer.certificate.not_after);
        if let Some(revoked) = &issuer.revoked {
            detail.push_str(&format!("; the certificate of `{revoked}` on its chain is revoked or on hold"));
        }
        if let Some(warning) = warning {
            detail.push_str(&format!("; {}", warning.detail));
        }
        report.add(format!("issuer {}", issuer.path_name), finding, detail);
        let Some(crl) = ca.published_crls().of_issuer(issuer.id).cloned() else {
            report.add(
                format!("CRL {}", issuer.path_name),
                Finding::Warning,
                "not published yet; `chancery serve` does that",
            );
            continue;
        };
        let finding = if crl.next_update < now { Finding::Bad } else { Finding::Good };
        report.add(
            format!("CRL {}", issuer.path_name),
            finding,
            format!("number {}, next update by {}", crl.number, crl.next_update),
        );
    }
    match Authorized::<ReadAudit>::check(Caller::internal("command-line")) {
        Err(error) => report.add_result::<()>("audit log", Err(error), |()| String::new()),
        Ok(authorization) => match ca.verify_audit(&authorization).await {
            Ok(found) if !found.failures.is_empty() => report.add("audit log", Finding::Bad, found.failures.join("; ")),
            result => report.add_result("audit log", result, |found| {
                format!("{} events in {} chains, unbroken", found.events, found.chains)
            }),
        },
    }
}

fn private(report: &mut Report, path: &Path, name: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 == 0 => {
            report.add(name, Finding::Good, format!("`{}` is private", path.display()));
        }
        Ok(_) => report.add(
            name,
            Finding::Warning,
            format!("`{0}` can be entered by others: `chmod 700 {0}`", path.display()),
        ),
        Err(error) => report.add(name, Finding::Warning, format!("`{}`: {error}", path.display())),
    }
}
