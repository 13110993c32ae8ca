//! The check of the audit chains over the stored bytes, page by page.

use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::Connection;
use crate::error::Result;
use crate::storage::AuditVerification;
use crate::storage::audit_chain::{CHAINS, ChainCheck, ChainHead, StoredLink};
use crate::storage::rows::{AuditRow, ChainRow};
use crate::storage::schema::{audit_chains, audit_events};

const PAGE: i64 = 1000;

/// Checks every link of every chain. Events that are written meanwhile do not disturb it.
pub(in super::super) async fn verify(connection: &mut Connection) -> Result<AuditVerification> {
    let mut found = AuditVerification { events: 0, chains: 0, failures: Vec::new() };
    for chain in 0..CHAINS {
        let Some(head) = head_of(connection, chain).await? else {
            found.failures.push(format!("chain {chain}: its head is missing"));
            continue;
        };
        found.chains += 1;
        let (events, failure) = verify_chain(connection, &head).await?;
        found.events += events;
        let failure = match failure {
            None => beyond_head(connection, chain).await?,
            broken => broken,
        };
        found.failures.extend(failure);
    }
    // Each by its end of the index.
    let below: i64 = audit_events::table.filter(audit_events::chain.lt(0)).count().get_result(connection).await?;
    let above: i64 = audit_events::table.filter(audit_events::chain.ge(CHAINS)).count().get_result(connection).await?;
    let stray = below.saturating_add(above);
    if stray > 0 {
        found.failures.push(format!("{stray} events belong to no chain"));
    }
    Ok(found)
}

async fn verify_chain(connection: &mut Connection, head: &ChainHead) -> Result<(u64, Option<String>)> {
    let mut check = ChainCheck::new(head.chain);
    let mut events = 0;
    let mut last = i64::MIN;
    loop {
        let rows: Vec<AuditRow> = audit_events::table
            .filter(audit_events::chain.eq(head.chain))
            .filter(audit_events::sequence.gt(last))
            .filter(audit_events::sequence.le(head.sequence))
            .order(audit_events::sequence)
            .limit(PAGE)
            .select(AuditRow::as_select())
            .load(connection)
            .await?;
        let Some(end) = rows.last() else { return Ok((events, check.finish(head))) };
        last = end.sequence;
        for row in &rows {
            events += 1;
            let columns = row.columns();
            check.event(StoredLink { sequence: row.sequence, columns: &columns, bytes: &row.bytes, hash: &row.hash });
        }
    }
}

/// Finds events after the end of a chain. The last event is read before the head, which can only have moved on since.
async fn beyond_head(connection: &mut Connection, chain: i32) -> Result<Option<String>> {
    let last: Option<i64> = audit_events::table
        .filter(audit_events::chain.eq(chain))
        .select(diesel::dsl::max(audit_events::sequence))
        .first(connection)
        .await?;
    let head = head_of(connection, chain).await?.map_or(0, |head| head.sequence);
    Ok(last
        .filter(|last| *last > head)
        .map(|last| format!("chain {chain} has event {last} after its head, which says {head}")))
}

async fn head_of(connection: &mut Connection, chain: i32) -> Result<Option<ChainHead>> {
    let row: Option<ChainRow> =
        audit_chains::table.find(chain).select(ChainRow::as_select()).first(connection).await.optional()?;
    Ok(row.map(ChainHead::from))
}
