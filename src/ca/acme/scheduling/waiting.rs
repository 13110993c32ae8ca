//! The looks that wait in memory, in turns by account: however many challenges one account answers at once, each other account's next one comes
//! after at most one of them. Those that wait in the database come in turns by account, too.

use std::collections::{BTreeMap, VecDeque};

/// What waits, by account. How much that is, is bounded by whoever lets it wait.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    of_account: BTreeMap<i64, VecDeque<T>>,
    /// The accounts of which something waits, each once, the next one first.
    turns: VecDeque<i64>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { of_account: BTreeMap::new(), turns: VecDeque::new() }
    }
}

impl<T> Waiting<T> {
    /// Lets something of an account wait.
    pub(super) fn push(&mut self, account: i64, item: T) {
        let of_account = self.of_account.entry(account).or_default();
        if of_account.is_empty() {
            self.turns.push_back(account);
        }
        of_account.push_back(item);
    }

    /// Takes what comes next: of the account whose turn it is, what has waited the longest.
    pub(super) fn pop(&mut self) -> Option<T> {
        let account = self.turns.pop_front()?;
        let of_account = self.of_account.get_mut(&account)?;
        let item = of_account.pop_front();
        if of_account.is_empty() {
            self.of_account.remove(&account);
        } else {
            self.turns.push_back(account);
        }
        item
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn accounts_take_turns_and_each_one_keeps_its_order() {
        let mut waiting = Waiting::default();
        for item in ["a1", "a2", "a3"] {
            waiting.push(1, item);
        }
        waiting.push(2, "b1");
        let mut taken = vec![waiting.pop().unwrap()];
        waiting.push(3, "c1");
        waiting.push(2, "b2");
        taken.extend(std::iter::from_fn(|| waiting.pop()));
        assert_eq!(taken, ["a1", "b1", "a2", "c1", "b2", "a3"]);
        assert!(waiting.of_account.is_empty() && waiting.turns.is_empty());
    }

    #[test]
    fn an_account_that_comes_again_waits_behind_those_that_are_there() {
        let mut waiting = Waiting::default();
        waiting.push(1, "a1");
        waiting.push(2, "b1");
        assert_eq!(waiting.pop(), Some("a1"));
        waiting.push(1, "a2");
        assert_eq!((waiting.pop(), waiting.pop(), waiting.pop()), (Some("b1"), Some("a2"), None));
    }
}
