//! What PostgreSQL did for the service, read from its own log: statements, and transactions that were forced to disk.

use std::collections::{BTreeMap, BTreeSet};

/// One logged statement.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// The process of its connection.
    process: u32,
    /// The transaction it ran in, 0 before that wrote anything.
    transaction: u64,
    /// Its words.
    pub(crate) text: String,
}

impl Statement {
    /// Whether it begins or ends a transaction.
    pub(crate) fn is_frame(&self) -> bool {
        ["BEGIN", "COMMIT", "ROLLBACK"].iter().any(|word| self.text.to_ascii_uppercase().starts_with(word))
    }
}

/// Reads what was logged of the service's connections, as `Server::log_statements` has it logged.
pub(crate) fn read(log: &str) -> Vec<Statement> {
    log.lines()
        .filter_map(|line| {
            let (prefix, rest) = line.split_once("LOG:  ")?;
            // A prepared statement is logged as `execute s1: ...`, a simple one as `statement: ...`.
            let text = rest
                .strip_prefix("statement: ")
                .or_else(|| rest.strip_prefix("execute ")?.split_once(": ").map(|(_, text)| text))?;
            let mut words = prefix.split_whitespace().rev();
            let transaction = words.next()?.parse().ok()?;
            let process = words.next()?.parse().ok()?;
            let application = words.next().unwrap_or_default();
            let text = text.trim().to_owned();
            (application == "chancery").then_some(Statement { process, transaction, text })
        })
        .collect()
}

/// Counts statements, without those that begin and end transactions and without `idle`, which run when nothing is asked for; and durable commits.
pub(crate) fn count(statements: &[Statement], idle: &BTreeSet<String>) -> (usize, usize) {
    let (mut counted, mut commits) = (0, 0);
    let mut open: BTreeMap<u32, bool> = BTreeMap::new();
    for Statement { process, transaction, text } in statements {
        let upper = text.to_ascii_uppercase();
        if upper.starts_with("BEGIN") {
            open.insert(*process, true);
            // One that is grouped takes its lock with the same words.
        } else if upper.starts_with("COMMIT") {
            open.insert(*process, false);
            commits += usize::from(*transaction != 0);
        } else if upper.starts_with("ROLLBACK") {
            open.insert(*process, false);
        } else if !idle.contains(text) {
            counted += 1;
            let writes = ["INSERT", "UPDATE", "DELETE", "WITH"].iter().any(|word| upper.starts_with(word));
            // The table of used nonces is not logged: what only writes to it is not forced to disk.
            let durable = !upper.contains("ACME_USED_NONCES");
            if writes && durable && open.get(process) != Some(&true) {
                commits += 1;
            }
        }
    }
    (counted, commits)
}
