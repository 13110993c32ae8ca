//! Listings of certificates: every filter, and keyset pagination, whose cost does not grow with the table.

use diesel::sql_types::{BigInt, Bool};
use diesel::{BoolExpressionMethods, ExpressionMethods, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::certificates::{Listing, revoked_condition};
use super::{Connection, dialect};
use crate::error::{Error, Result};
use crate::storage::rows::{CertificateRow, STATE_ON_HOLD, STATE_REVOKED, STATE_VALID};
use crate::storage::schema::{certificate_labels, certificate_names, certificates};
use crate::storage::{
    CertificateFilter, CertificateRecord, CertificateStatus, NameFilter, PageRequest, SortKey, names,
};
use crate::x509::{NameType, Timestamp};

/// Lists certificates.
pub(in super::super) async fn certificates(
    connection: &mut Connection,
    filter: CertificateFilter,
    page: PageRequest,
) -> Result<Vec<CertificateRecord>> {
    let query = paged(filtered(certificates::table.into_boxed(), filter)?, page);
    let rows: Vec<CertificateRow> = query.select(CertificateRow::as_select()).load(connection).await?;
    rows.into_iter().map(CertificateRow::into_record).collect()
}

fn paged(query: Listing, page: PageRequest) -> Listing {
    let query = query.limit(i64::from(page.limit));
    let query = match (page.sort, page.descending) {
        (SortKey::IssuedAt, false) => query.order((certificates::issued_at.asc(), certificates::id.asc())),
        (SortKey::IssuedAt, true) => query.order((certificates::issued_at.desc(), certificates::id.desc())),
        (SortKey::NotAfter, false) => query.order((certificates::not_after.asc(), certificates::id.asc())),
        (SortKey::NotAfter, true) => query.order((certificates::not_after.desc(), certificates::id.desc())),
    };
    let Some((value, row)) = page.after else { return query };
    // A comparison of row values is one index range on both databases; diesel has no words for it.
    let comparison = match (page.sort, page.descending) {
        (SortKey::IssuedAt, false) => "(certificates.issued_at, certificates.id) > (",
        (SortKey::IssuedAt, true) => "(certificates.issued_at, certificates.id) < (",
        (SortKey::NotAfter, false) => "(certificates.not_after, certificates.id) > (",
        (SortKey::NotAfter, true) => "(certificates.not_after, certificates.id) < (",
    };
    query
        .filter(diesel::dsl::sql::<Bool>(comparison).bind::<BigInt, _>(value).sql(", ").bind::<BigInt, _>(row).sql(")"))
}

fn filtered(mut query: Listing, filter: CertificateFilter) -> Result<Listing> {
    if let Some(status) = filter.status {
        let now = filter.now.ok_or_else(|| Error::internal("a filter by status needs the moment it is asked for"))?;
        query = with_status(query, status, now);
    }
    if let Some(owner) = filter.owner {
        query = query.filter(certificates::requester.eq(owner));
    }
    if let Some(requester) = filter.requester {
        query = query.filter(certificates::requester.eq(requester));
    }
    if let Some(profile) = filter.profile {
        query = query.filter(certificates::profile.eq(profile));
    }
    if let Some(issuer_ids) = filter.issuer_ids {
        query = query.filter(certificates::issuer_id.eq_any(issuer_ids));
    }
    if let Some(part) = filter.subject {
        query = dialect::subject_contains(query, like_pattern(&part));
    }
    if let Some(name) = filter.name {
        query = with_name(query, &name);
    }
    if let Some(serial) = filter.serial {
        query = query.filter(certificates::serial.eq(serial.as_bytes().to_vec()));
    }
    if let Some(fingerprint) = filter.fingerprint_sha256 {
        query = query.filter(certificates::fingerprint_sha256.eq(fingerprint.to_vec()));
    }
    if let Some(spki) = filter.spki_sha256 {
        query = query.filter(certificates::spki_sha256.eq(spki.to_vec()));
    }
    for (key, value) in filter.labels {
        let labelled = certificate_labels::table
            .filter(certificate_labels::key.eq(key).and(certificate_labels::value.eq(value)))
            .select(certificate_labels::certificate_id);
        query = query.filter(certificates::id.eq_any(labelled));
    }
    if let Some(moment) = filter.issued_after {
        query = query.filter(certificates::issued_at.ge(moment.unix()));
    }
    if let Some(moment) = filter.issued_before {
        query = query.filter(certificates::issued_at.lt(moment.unix()));
    }
    if let Some(moment) = filter.expires_after {
        query = query.filter(certificates::not_after.ge(moment.unix()));
    }
    if let Some(moment) = filter.expires_before {
        query = query.filter(certificates::not_after.lt(moment.unix()));
    }
    Ok(query)
}

fn with_status(query: Listing, status: CertificateStatus, now: Timestamp) -> Listing {
    // `not_after` is the last second of validity.
    match status {
        CertificateStatus::Valid => {
            query.filter(certificates::state.eq(STATE_VALID)).filter(certificates::not_after.ge(now.unix()))
        }
        CertificateStatus::OnHold => query
            .filter(revoked_condition())
            .filter(certificates::state.eq(STATE_ON_HOLD))
            .filter(certificates::not_after.ge(now.unix())),
        CertificateStatus::Revoked => query.filter(revoked_condition()).filter(certificates::state.eq(STATE_REVOKED)),
        CertificateStatus::Expired => {
            query.filter(certificates::state.ne(STATE_REVOKED)).filter(certificates::not_after.lt(now.unix()))
        }
    }
}

fn with_name(query: Listing, name: &NameFilter) -> Listing {
    let dns = names::type_code(NameType::Dns);
    match name {
        NameFilter::Exact(value) => {
            let as_dns =
                certificate_names::name_type.eq(dns).and(certificate_names::search_key.eq(names::dns_key(value)));
            let as_other =
                certificate_names::name_type.ne(dns).and(certificate_names::search_key.eq(names::plain_key(value)));
            let named = certificate_names::table.filter(as_dns.or(as_other)).select(certificate_names::certificate_id);
            query.filter(certificates::id.eq_any(named))
        }
        NameFilter::DnsSuffix(suffix) => {
            let (from, to) = names::suffix_range(suffix);
            let named = certificate_names::table
                .filter(certificate_names::search_key.ge(from).and(certificate_names::search_key.lt(to)))
                .filter(certificate_names::name_type.eq(dns))
                .select(certificate_names::certificate_id);
            query.filter(certificates::id.eq_any(named))
        }
    }
}

/// Makes a pattern for LIKE that matches any text with this part, taken literally, in it.
fn like_pattern(part: &str) -> String {
    let mut pattern = String::with_capacity(part.len() + 2);
    pattern.push('%');
    for character in part.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}
