//! Exports of the inventory: every page after the other as one stream, so that memory does not grow with the number of certificates.

use std::collections::VecDeque;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;
use futures_util::stream;

use super::query::{ExportFormat, ListParameters, Sort};
use super::record::CertificateDocument;
use crate::auth::Authorized;
use crate::auth::permission::ReadCertificates;
use crate::ca::{CertificateAuthority, CertificateView};
use crate::error::{Error, Result};
use crate::storage::{CertificateFilter, Page, PageRequest};

/// The certificates of one page of the stream.
const PAGE: u16 = 500;

/// The columns of the CSV form.
const COLUMNS: [&str; 19] = [
    "serial",
    "status",
    "issuer",
    "profile",
    "profile_version",
    "subject",
    "subject_alt_names",
    "key_algorithm",
    "key_spki_sha256",
    "not_before",
    "not_after",
    "issued_at",
    "fingerprint_sha256",
    "requester",
    "source",
    "labels",
    "revocation_reason",
    "revoked_at",
    "invalidity_date",
];

/// Answers the export. The first page is read before the answer begins, so that a failure still has its status; a later one cuts the stream off.
///
/// # Errors
/// Those of the core.
pub(crate) async fn answer(
    ca: Arc<CertificateAuthority>,
    authorization: Authorized<ReadCertificates>,
    filter: CertificateFilter,
    list: ListParameters,
    format: ExportFormat,
) -> Result<HttpResponse> {
    let mut export = Export { ca, authorization, filter, sort: list.sort, format, after: None, done: false };
    let mut ready = VecDeque::new();
    if format == ExportFormat::Csv {
        ready.push_back(csv_lines(std::iter::once(COLUMNS.map(str::to_owned).to_vec()))?);
    }
    ready.push_back(export.next_page().await?);
    let (media_type, name) = match format {
        ExportFormat::Csv => ("text/csv; charset=utf-8; header=present", "certificates.csv"),
        ExportFormat::Ndjson => ("application/x-ndjson", "certificates.ndjson"),
    };
    let body = stream::try_unfold((export, ready), |(mut export, mut ready)| async move {
        if let Some(chunk) = ready.pop_front() {
            return Ok::<_, Error>(Some((chunk, (export, ready))));
        }
        if export.done {
            return Ok(None);
        }
        let chunk = export.next_page().await.inspect_err(|error| {
            tracing::error!(detail = error.detail(), cause = ?std::error::Error::source(error), "an export was cut off");
        })?;
        Ok(Some((chunk, (export, ready))))
    });
    Ok(HttpResponse::Ok()
        .content_type(media_type)
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .streaming(Box::pin(body)))
}

/// Where an export has come to.
struct Export {
    ca: Arc<CertificateAuthority>,
    authorization: Authorized<ReadCertificates>,
    filter: CertificateFilter,
    sort: Sort,
    format: ExportFormat,
    after: Option<(i64, i64)>,
    done: bool,
}

impl Export {
    async fn next_page(&mut self) -> Result<Bytes> {
        let page =
            PageRequest { limit: PAGE, sort: self.sort.key, descending: self.sort.descending, after: self.after };
        let Page { items: views, next } = self.ca.certificates(&self.authorization, self.filter.clone(), page).await?;
        self.done = next.is_none();
        self.after = next;
        match self.format {
            ExportFormat::Csv => csv_lines(views.iter().map(row).collect::<Result<Vec<_>>>()?.into_iter()),
            ExportFormat::Ndjson => json_lines(&views),
        }
    }
}

fn json_lines(views: &[CertificateView]) -> Result<Bytes> {
    let mut lines = Vec::new();
    for view in views {
        serde_json::to_writer(&mut lines, &CertificateDocument::of(view, false)?)
            .map_err(|error| Error::internal("a certificate record cannot be encoded").with_source(error))?;
        lines.push(b'\n');
    }
    Ok(lines.into())
}

fn csv_lines(rows: impl Iterator<Item = Vec<String>>) -> Result<Bytes> {
    let failed = |error: csv::Error| Error::internal("a CSV line cannot be encoded").with_source(error);
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        writer.write_record(row.iter().map(|cell| inert(cell).into_owned())).map_err(failed)?;
    }
    writer
        .into_inner()
        .map(Bytes::from)
        .map_err(|error| Error::internal("CSV lines cannot be encoded").with_source(error.to_string()))
}

/// Keeps spreadsheets from taking a cell for a formula: whoever asks for a certificate chooses subjects, names and labels.
fn inert(cell: &str) -> std::borrow::Cow<'_, str> {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}").into() } else { cell.into() }
}

fn row(view: &CertificateView) -> Result<Vec<String>> {
    let document = CertificateDocument::of(view, false)?;
    let word = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let names: Vec<String> = view.certificate.names.iter().map(ToString::to_string).collect();
    let labels: Vec<String> = document.labels.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    let revocation = document.revocation;
    Ok(vec![
        document.serial,
        word(serde_json::to_value(document.status)),
        document.issuer,
        document.profile,
        document.profile_version.to_string(),
        document.subject,
        names.join(" "),
        document.key.algorithm,
        document.key.spki_sha256,
        document.not_before.to_string(),
        document.not_after.to_string(),
        document.issued_at.to_string(),
        document.fingerprint_sha256,
        document.requester,
        word(serde_json::to_value(document.source)),
        labels.join(" "),
        revocation.as_ref().map(|revocation| revocation.reason.as_str().to_owned()).unwrap_or_default(),
        revocation.as_ref().map(|revocation| revocation.revoked_at.to_string()).unwrap_or_default(),
        revocation.and_then(|revocation| revocation.invalidity_date).map(|date| date.to_string()).unwrap_or_default(),
    ])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        let row = vec!["a,b".to_owned(), "=cmd()".to_owned(), "say \"hi\"".to_owned(), "-1".to_owned()];
        let lines = csv_lines(std::iter::once(row)).unwrap();
        assert_eq!(lines, "\"a,b\",'=cmd(),\"say \"\"hi\"\"\",'-1\r\n");
    }
}
