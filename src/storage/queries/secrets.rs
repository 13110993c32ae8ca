//! The sealed secrets beside CA keys: which are not under the present key-encryption key, and how they come under it.

use diesel::{BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;

use super::Connection;
use crate::error::Result;
use crate::signer::sealing::Sealed;
use crate::storage::schema::{idempotency_keys, ocsp_responders};
use crate::storage::{SealedSecret, SecretOwner};

/// Lists secrets that are not sealed under a key, at most `limit` after the one of `after`: OCSP responders by issuer, then answers.
pub(in super::super) async fn not_under(
    connection: &mut Connection,
    key_encryption_key_id: String,
    after: Option<SecretOwner>,
    limit: u16,
) -> Result<Vec<SealedSecret>> {
    let mut found = Vec::new();
    let after_answer = match after {
        Some(SecretOwner::IdempotencyAnswer { caller, key }) => Some((caller, key)),
        Some(SecretOwner::OcspResponder { issuer_id, .. }) => {
            found = responders(connection, &key_encryption_key_id, issuer_id, limit).await?;
            None
        }
        None => {
            found = responders(connection, &key_encryption_key_id, 0, limit).await?;
            None
        }
    };
    let left = usize::from(limit).saturating_sub(found.len());
    if left > 0 {
        found.extend(answers(connection, &key_encryption_key_id, after_answer, left).await?);
    }
    Ok(found)
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

async fn answers(
    connection: &mut Connection,
    key_encryption_key_id: &str,
    after: Option<(String, String)>,
    limit: usize,
) -> Result<Vec<SealedSecret>> {
    let mut query = idempotency_keys::table
        .filter(idempotency_keys::key_encryption_key_id.ne(key_encryption_key_id))
        .order((idempotency_keys::caller, idempotency_keys::key))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select((
            idempotency_keys::caller,
            idempotency_keys::key,
            idempotency_keys::key_encryption_key_id.assume_not_null(),
            idempotency_keys::sealed.assume_not_null(),
        ))
        .into_boxed();
    if let Some((caller, key)) = after {
        let same_caller = idempotency_keys::caller.eq(caller.clone()).and(idempotency_keys::key.gt(key));
        query = query.filter(idempotency_keys::caller.gt(caller).or(same_caller));
    }
    let rows: Vec<(String, String, String, Vec<u8>)> = query.load(connection).await?;
    let secret = |(caller, key, key_encryption_key_id, ciphertext)| SealedSecret {
        owner: SecretOwner::IdempotencyAnswer { caller, key },
        sealed: Sealed { key_encryption_key_id, ciphertext },
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
