//! Where PostgreSQL differs for ACME: lists as arrays, rows of many at once, row locks, and nonces in tables that are not logged.

use diesel::OptionalExtension;
use diesel::query_builder::AstPass;
use diesel::result::QueryResult;
use diesel::sql_types::{Array, BigInt, Binary, Bool, SmallInt, Text};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;

use super::queries::statement::Statement;
use super::{Backend, Connection, Database};
use crate::error::{Error, Result};
use crate::policy::acme::Identifier;
use crate::storage::rows::acme::{authorization_status_code, identifier_type_code};
use crate::storage::{NewAcmeAuthorization, NonceTaken};
use crate::x509::Timestamp;

/// The most used nonces that are kept, about: a thousand in each second of the hour that a nonce is good for, and some hundred megabytes.
const MOST_NONCES: i64 = 4_000_000;

/// Locks rows that are read, against changes by others.
pub(super) const FOR_SHARE: &str = " FOR SHARE";
/// Locks rows that are read, to change them.
pub(super) const FOR_UPDATE: &str = " FOR UPDATE";
/// Locks rows that are read, but for those that others have locked.
pub(super) const FOR_UPDATE_SKIP_LOCKED: &str = " FOR UPDATE SKIP LOCKED";
/// Joins the authorizations of links by their numbers, one by one: a plan made while the tables were empty would otherwise read all of them.
pub(super) const JOIN_AUTHORIZATIONS: &str = "CROSS JOIN LATERAL (SELECT * FROM acme_authorizations AS one \
    WHERE one.id = acme_order_authorizations.authorization_id OFFSET 0) AS acme_authorizations";
/// What makes of a list the rows of a sub-select of one column.
pub(super) const IN_TEXTS: &str = "= ANY(?)";
/// The same for numbers.
pub(super) const IN_NUMBERS: &str = "= ANY(?)";

/// A list as one value.
#[derive(Clone, Debug)]
pub(super) enum List {
    Bools(Vec<bool>),
    SmallInts(Vec<i16>),
    BigInts(Vec<i64>),
    Texts(Vec<String>),
}

impl List {
    /// Makes a list of numbers.
    pub(super) fn numbers(values: Vec<i64>) -> Result<Self> {
        Ok(Self::BigInts(values))
    }

    /// Makes a list of texts.
    pub(super) fn texts(values: Vec<String>) -> Result<Self> {
        Ok(Self::Texts(values))
    }

    /// Gives the list to a statement.
    pub(super) fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Backend>) -> QueryResult<()> {
        match self {
            Self::Bools(values) => out.push_bind_param::<Array<Bool>, _>(values),
            Self::SmallInts(values) => out.push_bind_param::<Array<SmallInt>, _>(values),
            Self::BigInts(values) => out.push_bind_param::<Array<BigInt>, _>(values),
            Self::Texts(values) => out.push_bind_param::<Array<Text>, _>(values),
        }
    }
}

/// Inserts authorizations by one statement.
pub(super) async fn insert_authorizations(
    connection: &mut Connection,
    authorizations: &[NewAcmeAuthorization],
) -> Result<()> {
    let each = |column: fn(&NewAcmeAuthorization) -> i64| List::BigInts(authorizations.iter().map(column).collect());
    Statement::new(
        "INSERT INTO acme_authorizations (id, account_id, identifier_type, identifier, wildcard, status, token, \
         created_at, expires_at, validated_at) SELECT n.*, CASE n.status WHEN 1 THEN n.created_at END FROM \
         UNNEST(?, ?, ?, ?, ?, ?, ?, ?, ?) AS n (id, account_id, identifier_type, identifier, wildcard, status, token, \
         created_at, expires_at)",
    )
    .bind(each(|one| one.id))
    .bind(each(|one| one.account_id))
    .bind(List::SmallInts(authorizations.iter().map(|one| identifier_type_code(&one.identifier)).collect()))
    .bind(List::Texts(authorizations.iter().map(|one| Identifier::authorization_value(&one.identifier)).collect()))
    .bind(List::Bools(authorizations.iter().map(|one| one.identifier.is_wildcard()).collect()))
    .bind(List::SmallInts(authorizations.iter().map(|one| authorization_status_code(one.status)).collect()))
    .bind(List::Texts(authorizations.iter().map(|one| one.token.clone()).collect()))
    .bind(each(|one| one.created_at.unix()))
    .bind(each(|one| one.expires_at.unix()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Links an order to its authorizations, in their order, by one statement.
pub(super) async fn insert_links(connection: &mut Connection, order: i64, authorizations: Vec<i64>) -> Result<()> {
    Statement::new(
        "INSERT INTO acme_order_authorizations (order_id, position, authorization_id) \
         SELECT ?, n.position - 1, n.id FROM UNNEST(?) WITH ORDINALITY AS n (id, position)",
    )
    .bind(order)
    .bind(List::BigInts(authorizations))
    .execute(connection)
    .await?;
    Ok(())
}

/// A column of octets.
#[derive(Debug, diesel::QueryableByName)]
struct Octets {
    #[diesel(sql_type = Binary)]
    epoch: Vec<u8>,
}

async fn read_epoch(connection: &mut Connection) -> Result<Option<[u8; 16]>> {
    let row: Option<Octets> =
        Statement::new("SELECT epoch FROM acme_nonce_epochs WHERE id = 1").get_result(connection).await.optional()?;
    row.map(|row| {
        <[u8; 16]>::try_from(row.epoch)
            .map_err(|_octets: Vec<u8>| Error::internal("the epoch of nonces is not 16 octets"))
    })
    .transpose()
}

/// A number as estimated.
#[derive(Debug, diesel::QueryableByName)]
struct Estimate {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

fn new_epoch() -> Result<[u8; 16]> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|error| Error::internal("the random source failed").with_source(error))?;
    Ok(random)
}

impl Database {
    /// Returns the epoch of nonces; the first to ask after the tables were emptied makes one.
    pub(super) async fn epoch(&self) -> Result<[u8; 16]> {
        self.read(|connection| {
            async move {
                if let Some(epoch) = read_epoch(connection).await? {
                    return Ok(epoch);
                }
                let random = new_epoch()?;
                Statement::new("INSERT INTO acme_nonce_epochs (id, epoch) VALUES (1, ?) ON CONFLICT (id) DO NOTHING")
                    .bind(random.as_slice())
                    .execute(connection)
                    .await?;
                read_epoch(connection).await?.ok_or_else(|| Error::internal("the epoch of nonces is not kept"))
            }
            .boxed()
        })
        .await
    }

    /// Takes a nonce by one statement outside of a transaction: one that writes to unlogged tables only waits for no disk.
    pub(super) async fn take(&self, epoch: [u8; 16], nonce: [u8; 16], expires_at: Timestamp) -> Result<NonceTaken> {
        self.read(move |connection| {
            async move {
                let taken = Statement::new(
                    "INSERT INTO acme_used_nonces (nonce, expires_at) SELECT ?, ? \
                     WHERE EXISTS (SELECT 1 FROM acme_nonce_epochs WHERE id = 1 AND epoch = ?) ON CONFLICT (nonce) DO NOTHING",
                )
                .bind(nonce.as_slice())
                .bind(expires_at.unix())
                .bind(epoch.as_slice())
                .execute(connection)
                .await?;
                if taken == 1 {
                    return Ok(NonceTaken::Taken);
                }
                let present = read_epoch(connection).await?;
                Ok(if present == Some(epoch) { NonceTaken::Used } else { NonceTaken::EpochEnded })
            }
            .boxed()
        })
        .await
    }

    /// Begins a new epoch when more than [`MOST_NONCES`] are kept: whoever used them cannot use them again then either. How many there are is
    /// what the database estimates, which costs nothing.
    pub(super) async fn bound_nonces(&self) -> Result<()> {
        let estimate = self
            .read(|connection| {
                async move {
                    let row: Estimate = Statement::new(
                        "SELECT GREATEST(reltuples::bigint, pg_stat_get_live_tuples(oid)) AS number FROM pg_class \
                         WHERE oid = 'acme_used_nonces'::regclass",
                    )
                    .get_result(connection)
                    .await?;
                    Ok(row.number)
                }
                .boxed()
            })
            .await?;
        if estimate <= MOST_NONCES {
            return Ok(());
        }
        tracing::warn!(estimate, "too many nonces are used: those that clients hold are refused, and they get others");
        self.write(|connection| {
            async move {
                let Some(ended) = read_epoch(connection).await? else { return Ok(()) };
                let begun = Statement::new("UPDATE acme_nonce_epochs SET epoch = ? WHERE id = 1 AND epoch = ?")
                    .bind(new_epoch()?.as_slice())
                    .bind(ended.as_slice())
                    .execute(connection)
                    .await?;
                // Whoever takes a nonce waits for this lock before it looks at the epoch.
                if begun == 1 {
                    Statement::new("TRUNCATE acme_used_nonces").execute(connection).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// Forgets some of the nonces that are too old to be taken again; answers how many, at most `limit`.
    pub(super) async fn forget_nonces(&self, now: Timestamp, limit: i64) -> Result<u64> {
        self.read(move |connection| {
            async move {
                let deleted = Statement::new(
                    "WITH due AS MATERIALIZED (SELECT nonce FROM acme_used_nonces WHERE expires_at <= ? \
                     ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED) \
                     DELETE FROM acme_used_nonces WHERE nonce IN (SELECT nonce FROM due)",
                )
                .bind(now.unix())
                .bind(limit)
                .execute(connection)
                .await?;
                Ok(u64::try_from(deleted).unwrap_or(u64::MAX))
            }
            .boxed()
        })
        .await
    }
}
