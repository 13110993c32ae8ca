//! The Prometheus recorder, and the gauges that are read at the moment of a scrape. What is counted is counted where it happens.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::ca::CertificateAuthority;
use crate::ca::crl::CrlPolicy;
use crate::error::{Error, Result};

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Upper bounds in seconds of the histograms of durations: an issuance takes half a millisecond, a bulk revocation seconds.
const SECONDS: [f64; 14] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Upper bounds of the histograms of sizes, such as that of commit batches.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Installs the process's recorder; calling it again changes nothing.
///
/// # Errors
/// `Configuration` when another library has installed one.
pub fn install() -> Result<()> {
    if RECORDER.get().is_some() {
        return Ok(());
    }
    let failed = |error| Error::configuration("the metrics recorder cannot be installed").with_source(error);
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &SIZES))
        .map_err(failed)?
        .build_recorder();
    // Two threads of a test binary may come here at once; the second finds the first one's recorder.
    let handle = RECORDER.get_or_init(|| {
        let handle = recorder.handle();
        if let Err(error) = metrics::set_global_recorder(recorder) {
            tracing::warn!(cause = %error, "another metrics recorder is installed; `/metrics` shows nothing");
        }
        handle
    });
    handle.run_upkeep();
    describe();
    Ok(())
}

fn describe() {
    metrics::describe_counter!("chancery_http_requests_total", "HTTP requests answered, by method, route and status.");
    metrics::describe_histogram!(
        "chancery_http_request_duration_seconds",
        "Seconds from the request's head to the answer's head, by route."
    );
    metrics::describe_counter!(
        "chancery_requests_shed_total",
        "Requests refused because there are too many, by kind of work and reason."
    );
    metrics::describe_gauge!("chancery_requests_in_progress", "Requests that are worked on, by kind of work.");
    metrics::describe_gauge!("chancery_requests_waiting", "Requests that wait for their turn, by kind of work.");
    metrics::describe_counter!(
        "chancery_connections_cut_total",
        "Connections that were refused or closed by the service, by reason; idle ones that HTTP/1.1 ends are not among them."
    );
    metrics::describe_counter!("chancery_authentication_failures_total", "Requests with no or a bad credential.");
    metrics::describe_gauge!("chancery_build_info", "Always 1; the version is a label.");
    metrics::describe_gauge!(
        "chancery_issuer_key_away",
        "1 while the device with the issuer's key is away or refuses it, else 0."
    );
    metrics::describe_counter!(
        "chancery_crl_failures_total",
        "Times that the CRLs of an issuer could no longer be published, by issuer; the last ones are served on."
    );
    metrics::describe_gauge!(
        "chancery_crl_age_seconds",
        "Seconds since the oldest of the issuer's published complete CRLs was made."
    );
    metrics::describe_gauge!(
        "chancery_crl_next_update_seconds",
        "Seconds until the first of the issuer's published CRLs ends; negative when it has ended."
    );
    metrics::describe_gauge!("chancery_crl_number", "The greatest number of the issuer's published CRLs.");
    metrics::describe_gauge!(
        "chancery_issuer_expires_in_days",
        "Days until the issuer certificate ends; negative when it has ended."
    );
    metrics::describe_gauge!(
        "chancery_issuer_expiry_timestamp_seconds",
        "When the issuer certificate ends, in Unix seconds."
    );
    metrics::describe_gauge!(
        "chancery_expiry_warnings",
        "Issuers and CRLs that end soon or have ended, as `/readyz` lists them."
    );
    metrics::describe_counter!(
        "chancery_ocsp_answers_total",
        "OCSP requests answered, by outcome: `signed`, or the OCSP error."
    );
    metrics::describe_counter!("chancery_acme_orders_total", "ACME orders made, by profile.");
    metrics::describe_counter!(
        "chancery_acme_finalizations_refused_total",
        "Finalizations of ACME orders that were refused, by the type of the problem."
    );
    metrics::describe_counter!(
        "chancery_acme_validations_total",
        "Looks at ACME challenges, by type and outcome: `valid`, `failed`, or `internal` for failures of our own."
    );
    metrics::describe_histogram!(
        "chancery_acme_validation_seconds",
        "Seconds that a look at an ACME challenge took, by type."
    );
    metrics::describe_gauge!(
        "chancery_acme_validation_queue",
        "ACME challenges that are being looked at in this process, or wait there for their turn."
    );
    metrics::describe_counter!(
        "chancery_acme_validation_results_lost_total",
        "Looks at ACME challenges whose results could not be written; they are repeated."
    );
    metrics::describe_gauge!("chancery_database_connections", "The most database connections.");
    metrics::describe_gauge!("chancery_database_connections_in_use", "Database connections in use.");
    metrics::describe_gauge!("chancery_database_waiting", "Callers that wait for a database connection.");
}

/// Takes in what was measured since the last time. Samples of durations pile up until then, and nobody need ever ask for them.
pub fn upkeep() {
    if let Some(handle) = RECORDER.get() {
        handle.run_upkeep();
    }
}

/// Refreshes the gauges and writes every metric in the Prometheus text format; empty before [`install`].
#[must_use]
pub fn render(ca: &CertificateAuthority) -> String {
    let Some(handle) = RECORDER.get() else { return String::new() };
    refresh(ca);
    handle.run_upkeep();
    handle.render()
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating point; seconds and counts are far below 2^52")]
fn refresh(ca: &CertificateAuthority) {
    metrics::gauge!("chancery_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let now = ca.clock().now().unix();
    let crls = ca.published_crls();
    for issuer in ca.issuers().all() {
        let name = issuer.path_name.clone();
        let left = issuer.certificate.not_after.unix() - now;
        metrics::gauge!("chancery_issuer_key_away", "issuer" => name.clone()).set(if issuer.device_is_away() {
            1.0
        } else {
            0.0
        });
        metrics::gauge!("chancery_issuer_expires_in_days", "issuer" => name.clone()).set(left as f64 / 86_400.0);
        metrics::gauge!("chancery_issuer_expiry_timestamp_seconds", "issuer" => name.clone())
            .set(issuer.certificate.not_after.unix() as f64);
        // Of several the one that is worst off: a shard that nobody publishes any more must not hide behind the others.
        let complete = crls.all_of(issuer.id).filter(|crl| crl.base_number.is_none());
        if let Some(made) = complete.map(|crl| crl.this_update.unix()).min() {
            metrics::gauge!("chancery_crl_age_seconds", "issuer" => name.clone()).set((now - made) as f64);
        }
        // A delta from a time when there were deltas ends for good.
        let has_deltas = CrlPolicy::of(&issuer.settings, ca.settings()).delta_interval.is_some();
        let current = crls.all_of(issuer.id).filter(|crl| has_deltas || crl.base_number.is_none());
        if let Some(ends) = current.map(|crl| crl.next_update.unix()).min() {
            metrics::gauge!("chancery_crl_next_update_seconds", "issuer" => name.clone()).set((ends - now) as f64);
        }
        if let Some(number) = crls.all_of(issuer.id).map(|crl| crl.number).max() {
            metrics::gauge!("chancery_crl_number", "issuer" => name).set(number as f64);
        }
    }
    metrics::gauge!("chancery_expiry_warnings").set(ca.expiry_warnings().len() as f64);
    let pool = ca.storage().pool_status();
    metrics::gauge!("chancery_database_connections").set(pool.size as f64);
    metrics::gauge!("chancery_database_connections_in_use").set(pool.in_use as f64);
    metrics::gauge!("chancery_database_waiting").set(pool.waiting as f64);
}
