//! Where SQLite differs for ACME: lists as JSON, rows one by one, no row locks, and nonces in memory.

use diesel::ExpressionMethods;
use diesel::query_builder::AstPass;
use diesel::result::QueryResult;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel_async::RunQueryDsl;

use super::queries::statement::Statement;
use super::{Backend, Connection, Database};
use crate::error::Result;
use crate::storage::rows::acme::{authorization_status_code, encode, identifier_type_code};
use crate::storage::schema::{acme_authorizations, acme_order_authorizations};
use crate::storage::{AcmeAuthorizationStatus, NewAcmeAuthorization, NonceTaken};
use crate::x509::Timestamp;

/// Rows are not locked: there is one writer.
pub(super) const FOR_SHARE: &str = "";
/// Rows are not locked: there is one writer.
pub(super) const FOR_UPDATE: &str = "";
/// Rows are not locked: there is one writer.
pub(super) const FOR_UPDATE_SKIP_LOCKED: &str = "";
/// Joins the authorizations of links.
pub(super) const JOIN_AUTHORIZATIONS: &str =
    "JOIN acme_authorizations ON acme_authorizations.id = acme_order_authorizations.authorization_id";
/// The condition that a column is one of a list.
pub(super) const IN_TEXTS: &str = "IN (SELECT value FROM json_each(?))";
/// The same for numbers.
pub(super) const IN_NUMBERS: &str = "IN (SELECT value FROM json_each(?))";

/// A list as one value: JSON.
#[derive(Clone, Debug)]
pub(super) struct List(String);

impl List {
    /// Makes a list of numbers.
    pub(super) fn numbers(values: Vec<i64>) -> Result<Self> {
        encode("a list", &values).map(Self)
    }

    /// Makes a list of texts.
    pub(super) fn texts(values: Vec<String>) -> Result<Self> {
        encode("a list", &values).map(Self)
    }

    /// Gives the list to a statement.
    pub(super) fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Backend>) -> QueryResult<()> {
        out.push_bind_param::<Text, _>(&self.0)
    }
}

/// Inserts authorizations.
pub(super) async fn insert_authorizations(
    connection: &mut Connection,
    authorizations: &[NewAcmeAuthorization],
) -> Result<()> {
    for one in authorizations {
        let validated = (one.status == AcmeAuthorizationStatus::Valid).then(|| one.created_at.unix());
        diesel::insert_into(acme_authorizations::table)
            .values((
                acme_authorizations::id.eq(one.id),
                acme_authorizations::account_id.eq(one.account_id),
                acme_authorizations::identifier_type.eq(identifier_type_code(&one.identifier)),
                acme_authorizations::identifier.eq(one.identifier.authorization_value()),
                acme_authorizations::wildcard.eq(one.identifier.is_wildcard()),
                acme_authorizations::status.eq(authorization_status_code(one.status)),
                acme_authorizations::token.eq(&one.token),
                acme_authorizations::created_at.eq(one.created_at.unix()),
                acme_authorizations::expires_at.eq(one.expires_at.unix()),
                acme_authorizations::validated_at.eq(validated),
            ))
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Links an order to its authorizations, in their order.
pub(super) async fn insert_links(connection: &mut Connection, order: i64, authorizations: Vec<i64>) -> Result<()> {
    for (position, authorization) in (0_i16..).zip(authorizations) {
        diesel::insert_into(acme_order_authorizations::table)
            .values((
                acme_order_authorizations::order_id.eq(order),
                acme_order_authorizations::position.eq(position),
                acme_order_authorizations::authorization_id.eq(authorization),
            ))
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// The writer gives it to its connection without the wrapper.
impl diesel::RunQueryDsl<SqliteConnection> for Statement {}

impl Database {
    /// Returns the epoch of nonces.
    #[expect(clippy::unused_async, reason = "PostgreSQL's counterpart asks the database")]
    pub(super) async fn epoch(&self) -> Result<[u8; 16]> {
        Ok(self.nonces.epoch())
    }

    /// Takes a nonce.
    #[expect(clippy::unused_async, reason = "PostgreSQL's counterpart asks the database")]
    pub(super) async fn take(&self, epoch: [u8; 16], nonce: [u8; 16], expires_at: Timestamp) -> Result<NonceTaken> {
        self.nonces.take(epoch, nonce, expires_at)
    }

    /// Forgets the nonces that are too old to be taken again; answers how many.
    #[expect(clippy::unused_async, reason = "PostgreSQL's counterpart asks the database")]
    pub(super) async fn forget_nonces(&self, now: Timestamp, _limit: i64) -> Result<u64> {
        Ok(self.nonces.forget(now))
    }

    /// Does nothing: the memory of nonces is bounded with each one that is taken.
    #[expect(clippy::unused_async, reason = "PostgreSQL's counterpart asks the database")]
    pub(super) async fn bound_nonces(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::{Arc, Mutex};

    use diesel::connection::{Connection as _, InstrumentationEvent};
    use diesel::sql_types::Text;
    use futures_util::FutureExt;

    use super::super::queries::acme::{
        accounts, authorizations, clean_up, order_listing, orders, rate_limits, renewal,
    };
    use super::super::{Connection, connection};
    use super::Statement;
    use crate::policy::acme::Identifier;
    use crate::storage::group_commit::Ending;
    use crate::storage::{
        AcmeAccountFilter, AcmeAccountStatus, AcmeOrderFilter, AcmeProblem, NewAcmeAccount, NewAcmeOrder,
        OrderAuthorization, RateLimitCharge, StartValidation, ValidationOutcome, ValidationResult,
    };
    use crate::x509::{SerialNumber, Timestamp};

    #[derive(Debug, diesel::QueryableByName)]
    struct Step {
        #[diesel(sql_type = Text)]
        detail: String,
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    fn problem() -> AcmeProblem {
        AcmeProblem { error_type: "dns".to_owned(), detail: "x".to_owned(), subproblems: Vec::new() }
    }

    /// Runs what an order needs, and what runs every few seconds.
    async fn run_hot_paths(connection: &mut Connection) {
        let charge = || RateLimitCharge { limit: "x", key: "k".to_owned(), cost_ms: 1, period_ms: 10, now_ms: 5 };
        rate_limits::charge(connection, vec![charge()]).await.unwrap();
        rate_limits::check(connection, vec![charge()]).await.unwrap();
        let account = NewAcmeAccount {
            id: 1,
            thumbprint: [1; 32],
            jwk: String::new(),
            contacts: Vec::new(),
            terms_of_service: None,
            binding: None,
            created_at: at(0),
            created_from: None,
        };
        let event = crate::storage::AuditEvent {
            occurred_at_ms: 0,
            actor: "x".to_owned(),
            action: "x".to_owned(),
            outcome: crate::storage::AuditOutcome::Success,
            object: "x".to_owned(),
            remote_address: None,
            request_id: None,
            details: serde_json::Value::Null,
        };
        accounts::create(connection, account, Vec::new(), event.clone()).await.unwrap();
        accounts::find(connection, 1).await.unwrap().unwrap();
        accounts::by_key(connection, [1; 32]).await.unwrap().unwrap();
        let filter = AcmeAccountFilter { principal: Some("x".to_owned()), ..AcmeAccountFilter::default() };
        accounts::list(connection, filter, None, 10).await.unwrap();
        let identifier = Identifier::Dns { name: "a.internal".to_owned(), wildcard: false };
        let authorization = crate::storage::NewAcmeAuthorization {
            id: 5,
            account_id: 1,
            identifier: identifier.clone(),
            status: crate::storage::AcmeAuthorizationStatus::Pending,
            token: "t".to_owned(),
            created_at: at(0),
            expires_at: at(100),
        };
        for (id, authorization) in [(1, OrderAuthorization::New(authorization)), (2, OrderAuthorization::Existing(5))] {
            let order = NewAcmeOrder {
                id,
                account_id: 1,
                profile: "p".to_owned(),
                identifiers: vec![identifier.clone()],
                not_before: None,
                not_after: None,
                replaces: Some(format!("r{id}")),
                created_at: at(0),
                expires_at: at(100),
                maximum_pending: 10,
                authorizations: vec![authorization],
            };
            orders::create(connection, order, vec![charge()]).await.unwrap();
        }
        orders::replacement(connection, "r1".to_owned()).await.unwrap().unwrap();
        authorizations::valid(connection, 1, vec![identifier], at(0)).await.unwrap();
        let start = StartValidation {
            id: 5,
            account_id: 1,
            challenge: crate::policy::acme::ChallengeType::Http01,
            thumbprint: [1; 32],
            account_url: "x".to_owned(),
            holder: "me".to_owned(),
            now_ms: 1,
            lease_until_ms: 1,
            limit: None,
            most_processing: 100,
        };
        assert_eq!(authorizations::processing(connection, 1, 10).await.unwrap(), 0);
        authorizations::start(connection, start).await.unwrap().unwrap();
        assert_eq!(authorizations::due(connection, "me".to_owned(), 1, 2, 10).await.unwrap().len(), 1);
        let outcome = ValidationOutcome::Invalid { error: problem() };
        let result = ValidationResult {
            id: 5,
            holder: "me".to_owned(),
            now: at(0),
            outcome,
            charges: vec![charge()],
            audit: None,
        };
        assert!(matches!(authorizations::finish(connection, result).await.unwrap(), Ending::Commit(true)));
        assert!(!authorizations::deactivate(connection, 5, 1, problem()).await.unwrap());
        orders::begin_finalization(connection, (1, 1), vec![1], "me".to_owned(), at(0), at(1)).await.unwrap();
        orders::due(connection, "me".to_owned(), at(0), at(1), 10).await.unwrap();
        orders::fail(connection, 1, problem()).await.unwrap();
        orders::find(connection, 1, Some(1)).await.unwrap().unwrap();
        orders::of_certificate(connection, 1, SerialNumber::from_bytes(&[1]).unwrap(), 1).await.unwrap();
        orders::of_account(connection, 1, None, 10).await.unwrap();
        let filter = AcmeOrderFilter { identifier: Some("a.internal".to_owned()), ..AcmeOrderFilter::default() };
        order_listing::list(connection, filter, None, 10).await.unwrap();
        renewal::of_certificate(connection, 1, SerialNumber::from_bytes(&[1]).unwrap(), at(0)).await.unwrap();
        accounts::end(connection, 1, AcmeAccountStatus::Revoked, problem(), event).await.unwrap();
        clean_up::rate_limits(connection, at(1)).await.unwrap();
        clean_up::expire_orders(connection, at(1)).await.unwrap();
        clean_up::orders(connection, at(1000)).await.unwrap();
        clean_up::authorizations(connection, at(1000)).await.unwrap();
    }

    #[tokio::test]
    async fn no_statement_reads_a_table_row_by_row() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chancery.db");
        connection::migrate(path.clone()).await.unwrap();
        let mut opened = connection::open_writer(&path).unwrap();
        let statements: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&statements);
        connection::direct(&mut opened, move |inner| {
            inner.set_instrumentation(move |event: InstrumentationEvent<'_>| {
                if let InstrumentationEvent::StartQuery { query, .. } = event {
                    seen.lock().unwrap().push(query.to_string());
                }
            });
            Ok(())
        })
        .unwrap();
        run_hot_paths(&mut opened).now_or_never().unwrap();
        let statements: Vec<String> = statements.lock().unwrap().clone();
        assert!(statements.len() > 40, "{} statements were seen", statements.len());
        for text in statements {
            // What stands behind the text are diesel's words about the values.
            let sql = text.split(" -- binds").next().unwrap().to_owned();
            let explain = format!("EXPLAIN QUERY PLAN {sql}");
            let steps: Vec<Step> = connection::direct(&mut opened, move |inner| {
                Ok(diesel::RunQueryDsl::load(diesel::sql_query(explain), inner).unwrap())
            })
            .unwrap();
            for step in steps {
                let is_scan = step.detail.starts_with("SCAN") && step.detail.contains("acme_");
                assert!(!is_scan, "`{sql}`: {}", step.detail);
            }
        }
        let unindexed = "SELECT id FROM acme_orders WHERE identifiers = 'x'";
        let steps: Vec<Step> = connection::direct(&mut opened, move |inner| {
            Ok(diesel::RunQueryDsl::load(Statement::new(format!("EXPLAIN QUERY PLAN {unindexed}")), inner)?)
        })
        .unwrap();
        assert!(steps[0].detail.starts_with("SCAN acme_orders"), "such a thing would be seen: {steps:?}");
    }
}
