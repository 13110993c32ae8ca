//! The audit chains' link function and the check of a chain, over bytes. It reads and writes no database.
//!
//! A link is SHA-256 over a domain separator, the chain, the sequence, the link before and the stored bytes of the event, so an event
//! cannot be altered, left out, moved or cut off at the end without breaking the chain or its head.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{AuditEvent, AuditOutcome};
use crate::error::{Error, Result};

/// How many chains there are: writers on several connections do not wait for one another.
pub(super) const CHAINS: i32 = 16;

/// About how many octets the event of an issuance has.
const USUAL_LENGTH: usize = 1024;

const DOMAIN: &[u8] = b"chancery audit event v1\0";

/// The event as stored. The order of the fields is the order in the bytes.
#[derive(Serialize, Deserialize)]
struct StoredForm<S, D> {
    time: i64,
    actor: S,
    action: S,
    outcome: AuditOutcome,
    object: S,
    remote_address: Option<S>,
    request_id: Option<S>,
    details: D,
}

/// The columns by which events are searched; they repeat what the bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SearchColumns {
    pub(super) occurred_at: i64,
    pub(super) actor: String,
    pub(super) action: String,
    pub(super) outcome: i16,
    pub(super) object: String,
}

/// An event ready to be written.
#[derive(Clone, Debug)]
pub(super) struct EncodedEvent {
    pub(super) columns: SearchColumns,
    pub(super) bytes: Vec<u8>,
}

/// The end of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainHead {
    pub(super) chain: i32,
    pub(super) sequence: i64,
    pub(super) hash: Vec<u8>,
}

impl ChainHead {
    /// Advances the head by one event and returns the event's sequence and link.
    pub(super) fn append(&mut self, bytes: &[u8]) -> (i64, Vec<u8>) {
        self.sequence = self.sequence.saturating_add(1);
        self.hash = link(self.chain, self.sequence, &self.hash, bytes).to_vec();
        (self.sequence, self.hash.clone())
    }
}

impl<D: Serialize> AuditEvent<D> {
    /// Writes the details as JSON text.
    ///
    /// # Errors
    /// `Internal` when they cannot be written so.
    pub fn with_written_details(self) -> Result<AuditEvent<Box<RawValue>>> {
        let details = to_raw_value(&self.details)
            .map_err(|error| Error::internal("the details of an audit event cannot be written").with_source(error))?;
        let Self { occurred_at_ms, actor, action, outcome, object, remote_address, request_id, details: _ } = self;
        Ok(AuditEvent { occurred_at_ms, actor, action, outcome, object, remote_address, request_id, details })
    }
}

/// Encodes an event into the bytes that are linked and stored, and its search columns.
pub(super) fn encode<D: Serialize>(event: AuditEvent<D>) -> Result<EncodedEvent> {
    let stored = StoredForm {
        time: event.occurred_at_ms,
        actor: event.actor.as_str(),
        action: &event.action,
        outcome: event.outcome,
        object: &event.object,
        remote_address: event.remote_address.as_deref(),
        request_id: event.request_id.as_deref(),
        details: &event.details,
    };
    let mut bytes = Vec::with_capacity(USUAL_LENGTH);
    serde_json::to_writer(&mut bytes, &stored)
        .map_err(|error| Error::internal("an audit event cannot be encoded").with_source(error))?;
    let columns = SearchColumns {
        occurred_at: event.occurred_at_ms,
        actor: column_text(event.actor),
        action: column_text(event.action),
        outcome: outcome_code(event.outcome),
        object: column_text(event.object),
    };
    Ok(EncodedEvent { columns, bytes })
}

/// Decodes the stored bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<AuditEvent> {
    let stored: StoredForm<String, serde_json::Value> = serde_json::from_slice(bytes)
        .map_err(|error| Error::internal("a stored audit event cannot be decoded").with_source(error))?;
    Ok(AuditEvent {
        occurred_at_ms: stored.time,
        actor: stored.actor,
        action: stored.action,
        outcome: stored.outcome,
        object: stored.object,
        remote_address: stored.remote_address,
        request_id: stored.request_id,
        details: stored.details,
    })
}

/// Returns the stored number of an outcome.
pub(super) const fn outcome_code(outcome: AuditOutcome) -> i16 {
    match outcome {
        AuditOutcome::Success => 0,
        AuditOutcome::Refused => 1,
    }
}

/// Returns text as a search column can hold it: PostgreSQL refuses NUL.
pub(super) fn column_text(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// Computes the link of an event.
fn link(chain: i32, sequence: i64, previous: &[u8], bytes: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(DOMAIN);
    context.update(&chain.to_be_bytes());
    context.update(&sequence.to_be_bytes());
    context.update(previous);
    context.update(bytes);
    let mut hash = [0; 32];
    for (octet, computed) in hash.iter_mut().zip(context.finish().as_ref()) {
        *octet = *computed;
    }
    hash
}

/// The check of one chain: takes its events in order, then its head.
#[derive(Debug)]
pub(super) struct ChainCheck {
    head: ChainHead,
    failure: Option<String>,
}

/// A stored event as the check needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredLink<'a> {
    pub(super) sequence: i64,
    pub(super) columns: &'a SearchColumns,
    pub(super) bytes: &'a [u8],
    pub(super) hash: &'a [u8],
}

impl ChainCheck {
    /// Begins at the start of a chain.
    pub(super) fn new(chain: i32) -> Self {
        Self { head: ChainHead { chain, sequence: 0, hash: vec![0; 32] }, failure: None }
    }

    /// Checks the next event. Only the first break is kept.
    pub(super) fn event(&mut self, stored: StoredLink<'_>) {
        if self.failure.is_none() {
            self.failure = self.judge(stored).err();
        }
    }

    /// Ends the check at the chain's head; answers the first break.
    pub(super) fn finish(self, head: &ChainHead) -> Option<String> {
        let chain = self.head.chain;
        self.failure.or_else(|| {
            if self.head.sequence != head.sequence {
                let (last, expected) = (self.head.sequence, head.sequence);
                return Some(format!(
                    "chain {chain} ends at event {last}, its head says {expected}: events are missing"
                ));
            }
            (self.head.hash != head.hash).then(|| format!("chain {chain}: the head does not match the last event"))
        })
    }

    fn judge(&mut self, stored: StoredLink<'_>) -> std::result::Result<(), String> {
        let chain = self.head.chain;
        let sequence = stored.sequence;
        let expected = self.head.sequence.saturating_add(1);
        if sequence != expected {
            return Err(format!("chain {chain}: event {expected} is missing, event {sequence} stands in its place"));
        }
        let (_, hash) = self.head.append(stored.bytes);
        if hash != stored.hash {
            return Err(format!("chain {chain}, event {sequence}: the event does not match its link"));
        }
        let event = decode(stored.bytes)
            .map_err(|error| format!("chain {chain}, event {sequence}: the event cannot be read: {error}"))?;
        let columns = encode(event).map_err(|error| format!("chain {chain}, event {sequence}: {error}"))?.columns;
        if columns != *stored.columns {
            return Err(format!("chain {chain}, event {sequence}: the search columns do not match the event"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn event(number: i64) -> AuditEvent {
        AuditEvent {
            occurred_at_ms: number,
            actor: "token:deploy".to_owned(),
            action: "certificate.issue".to_owned(),
            outcome: AuditOutcome::Success,
            object: format!("certificate:{number:02x}"),
            remote_address: Some("192.0.2.1".to_owned()),
            request_id: None,
            details: serde_json::json!({"b": 1, "a": [true, null]}),
        }
    }

    fn chain(events: i64) -> (Vec<(i64, EncodedEvent, Vec<u8>)>, ChainHead) {
        let mut head = ChainHead { chain: 3, sequence: 0, hash: vec![0; 32] };
        let links = (1..=events)
            .map(|number| {
                let encoded = encode(event(number)).unwrap();
                let (sequence, hash) = head.append(&encoded.bytes);
                (sequence, encoded, hash)
            })
            .collect();
        (links, head)
    }

    fn check(links: &[(i64, EncodedEvent, Vec<u8>)], head: &ChainHead) -> Option<String> {
        let mut check = ChainCheck::new(3);
        for (sequence, encoded, hash) in links {
            check.event(StoredLink { sequence: *sequence, columns: &encoded.columns, bytes: &encoded.bytes, hash });
        }
        check.finish(head)
    }

    #[test]
    fn events_survive_encoding_with_the_order_of_their_details() {
        let encoded = encode(event(7)).unwrap();
        assert_eq!(decode(&encoded.bytes).unwrap(), event(7));
        let text = String::from_utf8(encoded.bytes).unwrap();
        assert!(text.contains(r#""details":{"b":1,"a":[true,null]}"#), "{text}");
    }

    #[test]
    fn the_link_is_the_documented_digest() {
        let mut input = b"chancery audit event v1\0".to_vec();
        input.extend([0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1]);
        input.extend([0; 32]);
        input.extend(b"{}");
        let expected = digest::digest(&digest::SHA256, &input);
        assert_eq!(link(3, 1, &[0; 32], b"{}").as_slice(), expected.as_ref());
    }

    #[test]
    fn an_untouched_chain_verifies() {
        let (links, head) = chain(5);
        assert_eq!(check(&links, &head), None);
    }

    #[test]
    fn every_way_of_tampering_is_found() {
        let (links, head) = chain(5);
        let mut altered = links.clone();
        altered[2].1.bytes[10] ^= 1;
        assert!(check(&altered, &head).unwrap().contains("event 3"));
        let mut truncated = links.clone();
        truncated.pop();
        assert!(check(&truncated, &head).unwrap().contains("missing"));
        let mut swapped = links.clone();
        swapped.swap(1, 2);
        assert!(check(&swapped, &head).is_some());
        let mut exchanged = links.clone();
        let bytes = exchanged[1].1.clone();
        exchanged[1].1 = exchanged[2].1.clone();
        exchanged[2].1 = bytes;
        assert!(check(&exchanged, &head).is_some());
        let mut removed = links.clone();
        removed.remove(0);
        assert!(check(&removed, &head).unwrap().contains("event 1 is missing"));
        let mut renamed = links.clone();
        renamed[4].1.columns.actor = "token:other".to_owned();
        assert!(check(&renamed, &head).unwrap().contains("search columns"));
        let rewound = ChainHead { sequence: 4, hash: links[3].2.clone(), ..head };
        assert!(check(&links, &rewound).is_some());
    }
}
