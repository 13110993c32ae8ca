//! Counts over the inventory.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use serde::Serialize;

use super::State;
use crate::auth::permission::ReadStatistics;
use crate::ca::issuer::Issuers;
use crate::error::Result;
use crate::http::extract::{Auth, Parameters};
use crate::storage::Statistics;
use crate::x509::Timestamp;

/// Counts over the inventory.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Statistics)]
pub struct StatisticsDocument {
    /// By status: `valid`, `on_hold`, `revoked`, `expired`.
    #[schema(example = json!({"valid": 120, "revoked": 3}))]
    pub by_status: BTreeMap<String, i64>,
    /// By profile.
    #[schema(example = json!({"server": 100, "client": 23}))]
    pub by_profile: BTreeMap<String, i64>,
    /// By issuer.
    #[schema(example = json!({"issuing": 123}))]
    pub by_issuer: BTreeMap<String, i64>,
    /// Valid certificates by the week of their end, the next 53 weeks; weeks without any are left out.
    pub expiring_by_week: Vec<PeriodDocument>,
    /// Issued by day, the last 30 days; days without any are left out.
    pub issued_by_day: Vec<PeriodDocument>,
    /// The moment up to which everything is counted, about a minute ago, while more than 10,000 certificates are issued in that time, or more
    /// than 1,000 revoked in ten seconds; null when everything is counted.
    pub counted_until: Option<Timestamp>,
}

/// The count of a week or a day.
#[derive(Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = PeriodCount)]
pub struct PeriodDocument {
    /// Its first day: for weeks the Monday.
    #[schema(example = "2030-01-28", format = Date)]
    pub begins: String,
    /// How many.
    #[schema(example = 7)]
    pub certificates: i64,
}

impl StatisticsDocument {
    fn of(statistics: Statistics, issuers: &Issuers) -> Self {
        // An issuer that another replica made a moment ago may not have its name here yet.
        let name = |id: i32| issuers.by_id(id).map_or_else(|| format!("#{id}"), |issuer| issuer.name.clone());
        Self {
            by_status: statistics.by_status,
            by_profile: statistics.by_profile,
            by_issuer: statistics.by_issuer.into_iter().fold(BTreeMap::new(), |mut counts, (id, count)| {
                // The generations of a name count together.
                *counts.entry(name(id)).or_default() += count;
                counts
            }),
            expiring_by_week: periods(statistics.expiring_by_week),
            issued_by_day: periods(statistics.issued_by_day),
            counted_until: statistics.counted_until.map(Timestamp::from_unix),
        }
    }
}

fn periods(counts: BTreeMap<i64, i64>) -> Vec<PeriodDocument> {
    let period = |(begins, certificates)| PeriodDocument {
        begins: Timestamp::from_unix(begins).to_date_time().date().to_string(),
        certificates,
    };
    counts.into_iter().filter(|(_, count)| *count > 0).map(period).collect()
}

/// Counts over the inventory.
///
/// By status, profile and issuer; by the week in which valid certificates end; by the day of issue.
#[utoipa::path(
    get, path = "/api/v1/statistics", operation_id = "readStatistics", tag = "tools",
    responses((status = 200, description = "The counts.", body = StatisticsDocument, example = json!({
        "by_status": {"valid": 120, "revoked": 3},
        "by_profile": {"server": 100, "client": 23},
        "by_issuer": {"issuing": 123},
        "expiring_by_week": [{"begins": "2030-01-28", "certificates": 7}],
        "issued_by_day": [{"begins": "2030-01-31", "certificates": 12}],
        "counted_until": null,
    })))
)]
pub async fn read(authorization: Auth<ReadStatistics>, state: State, _query: Parameters<()>) -> Result<HttpResponse> {
    let statistics = state.ca.statistics(&authorization).await?;
    Ok(HttpResponse::Ok().json(StatisticsDocument::of(statistics, &state.ca.issuers())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_on_dates_and_empty_ones_are_left_out() {
        let counts = BTreeMap::from([(1_895_788_800, 7), (1_896_393_600, 0)]);
        assert_eq!(periods(counts), [PeriodDocument { begins: "2030-01-28".to_owned(), certificates: 7 }]);
    }
}
