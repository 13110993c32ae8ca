//! The sealed secrets beside CA keys: which are not under the present key-encryption key, and how they come under it.

use diesel::sql_types::{Binary, Text};
use diesel::{BoolExpressionMethods, ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;

use super::Connection;
use super::statement::Statement;
use crate::error::Result;
use crate::signer::sealing::Sealed;
use crate::storage::schema::{acme_external_account_keys, idempotency_keys, ocsp_responders};
use crate::storage::{SealedSecret, SecretOwner};

/// Lists secrets that are not sealed under a key, at most `limit` after the one of `after`: OCSP responders by issuer, then external account
/// keys by row, then answers.
pub(in super::super) async fn not_under(
    connection: &mut Connection,
    key_encryption_key_id: String,
    after: Option<SecretOwner>,
    limit: u16,
) -> Result<Vec<SealedSecret>> {
    let mut found = Vec::new();
    // From where on each kind is read; `None`: it is behind us.
    let (responder, account_key, answer) = match after {
        None => (Some(0), i64::MIN, None),
        Some(SecretOwner::OcspResponder { issuer_id, .. }) => (Some(issuer_id), i64::MIN, None),
        Some(SecretOwner::ExternalAccountKey { id, .. }) => (None, id, None),
        Some(SecretOwner::IdempotencyAnswer { caller, key }) => (None, i64::MAX, Some((caller, key))),
    };
    let left = |found: &Vec<SealedSecret>| usize::from(limit).saturating_sub(found.len());
    if let Some(responder) = responder {
        found = responders(connection, &key_encryption_key_id, responder, limit).await?;
    }
    if left(&found) > 0 && answer.is_none() {
        let count = left(&found);
        found.extend(external_account_keys(connection, &key_encryption_key_id, account_key, count).await?);
    }
    if left(&found) > 0 {
        let count = left(&found);
        found.extend(answers(connection, &key_encryption_key_id, answer, count).await?);
    }
    Ok(found)
}

async fn external_account_keys(
    connection: &mut Connection,
    key_encryption_key_id: &str,
    after: i64,
    limit: usize,
) -> Result<Vec<SealedSecret>> {
    let condition = acme_external_account_keys::id
        .gt(after)
        .and(acme_external_account_keys::key_encryption_key_id.ne(key_encryption_key_id));
    let rows: Vec<(i64, String, String, Vec<u8>)> = acme_external_account_keys::table
        .filter(condition)
        .order(acme_external_account_keys::id)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select((
            acme_external_account_keys::id,
            acme_external_account_keys::key_id,
            acme_external_account_keys::key_encryption_key_id,
            acme_external_account_keys::sealed,
        ))
        .load(connection)
        .await?;
    let secret = |(id, key_id, key_encryption_key_id, ciphertext)| SealedSecret {
        owner: SecretOwner::ExternalAccountKey { id, key_id },
        sealed: Sealed { key_encryption_key_id, ciphertext },
    };
    Ok(rows.into_iter().map(secret).collect())
}

async fn responders(
    connection: &mut Connection,
    key_encryption_key_id: &str,
    after: i32,
    limit: u16,
) -> Result<Vec<SealedSecret>> {
    let condition =
        ocsp_responders::issuer_id.gt(after).and(ocsp_responders::key_encryption_key_id.ne(key_encryption_key_id));
    let rows: Vec<(i32, Vec<u8>, String, Vec<u8>)> = ocsp_responders::table
        .filter(condition)
        .order(ocsp_responders::issuer_id)
        .limit(i64::from(limit))
        .select((
            ocsp_responders::issuer_id,
            ocsp_responders::certificate,
            ocsp_responders::key_encryption_key_id,
            ocsp_responders::sealed,
        ))
        .load(connection)
        .await?;
    let secret = |(issuer_id, certificate, key_encryption_key_id, ciphertext)| SealedSecret {
        owner: SecretOwner::OcspResponder { issuer_id, certificate },
        sealed: Sealed { key_encryption_key_id, ciphertext },
    };
    Ok(rows.into_iter().map(secret).collect())
}

/// A sealed answer as read.
#[derive(Debug, diesel::QueryableByName)]
struct Answer {
    #[diesel(sql_type = Text)]
    caller: String,
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = Text)]
    key_encryption_key_id: String,
    #[diesel(sql_type = Binary)]
    sealed: Vec<u8>,
}

async fn answers(
    connection: &mut Connection,
    key_encryption_key_id: &str,
    after: Option<(String, String)>,
    limit: usize,
) -> Result<Vec<SealedSecret>> {
    // As a pair, so that a page begins where the one before ended; no caller is empty.
    let (caller, key) = after.unwrap_or_default();
    let rows: Vec<Answer> = Statement::new(
        "SELECT caller, key, key_encryption_key_id, sealed FROM idempotency_keys \
         WHERE (caller, key) > (?, ?) AND key_encryption_key_id <> ? ORDER BY caller, key LIMIT ?",
    )
    .bind(caller)
    .bind(key)
    .bind(key_encryption_key_id)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .load(connection)
    .await?;
    let secret = |answer: Answer| SealedSecret {
        owner: SecretOwner::IdempotencyAnswer { caller: answer.caller, key: answer.key },
        sealed: Sealed { key_encryption_key_id: answer.key_encryption_key_id, ciphertext: answer.sealed },
    };
    Ok(rows.into_iter().map(secret).collect())
}

/// Puts a secret in the place of one, if that one is still there.
pub(in super::super) async fn replace(
    connection: &mut Connection,
    owner: SecretOwner,
    from: Sealed,
    to: Sealed,
) -> Result<bool> {
    let written = match owner {
        SecretOwner::OcspResponder { issuer_id, .. } => {
            let there = ocsp_responders::issuer_id
                .eq(issuer_id)
                .and(ocsp_responders::key_encryption_key_id.eq(from.key_encryption_key_id))
                .and(ocsp_responders::sealed.eq(from.ciphertext));
            diesel::update(ocsp_responders::table.filter(there))
                .set((
                    ocsp_responders::key_encryption_key_id.eq(to.key_encryption_key_id),
                    ocsp_responders::sealed.eq(to.ciphertext),
                ))
                .execute(connection)
                .await?
        }
        SecretOwner::ExternalAccountKey { id, .. } => {
            let there = acme_external_account_keys::id
                .eq(id)
                .and(acme_external_account_keys::key_encryption_key_id.eq(from.key_encryption_key_id))
                .and(acme_external_account_keys::sealed.eq(from.ciphertext));
            diesel::update(acme_external_account_keys::table.filter(there))
                .set((
                    acme_external_account_keys::key_encryption_key_id.eq(to.key_encryption_key_id),
                    acme_external_account_keys::sealed.eq(to.ciphertext),
                ))
                .execute(connection)
                .await?
        }
        SecretOwner::IdempotencyAnswer { caller, key } => {
            let there = idempotency_keys::caller
                .eq(caller)
                .and(idempotency_keys::key.eq(key))
                .and(idempotency_keys::key_encryption_key_id.eq(from.key_encryption_key_id))
                .and(idempotency_keys::sealed.eq(from.ciphertext));
            diesel::update(idempotency_keys::table.filter(there))
                .set((
                    idempotency_keys::key_encryption_key_id.eq(to.key_encryption_key_id),
                    idempotency_keys::sealed.eq(to.ciphertext),
                ))
                .execute(connection)
                .await?
        }
    };
    Ok(written > 0)
}
