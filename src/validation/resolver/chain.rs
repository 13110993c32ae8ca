//! Aliases: from the name that was asked for, over CNAME records, to the one that has what is looked for. Sends nothing.

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::exchange::Reply;

/// The most aliases that are followed from one name.
pub(super) const MAXIMUM_ALIASES: usize = 8;

/// A name and the names it leads to.
#[derive(Debug)]
pub(super) struct Chain {
    names: Vec<Name>,
}

/// What an answer leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// What was looked for.
    Records(Vec<RData>),
    /// The name at the end of the chain must be asked for.
    Ask(Name),
    /// The name at the end of the chain has no such records; `exists` when it has others, or names below.
    Absent {
        /// Whether the name exists.
        exists: bool,
    },
    /// The name at the end of the chain stands in it already.
    Loop,
    /// The chain has more than [`MAXIMUM_ALIASES`] aliases.
    TooLong,
}

impl Chain {
    /// Begins with the name that was asked for.
    pub(super) fn new(name: Name) -> Self {
        Self { names: vec![name] }
    }

    /// Returns the names, the one that was asked for first.
    pub(super) fn names(&self) -> &[Name] {
        &self.names
    }

    /// Reads the answer to a question for the name at the end of the chain. Goes on within the answer as long as its server may be believed
    /// about the next name.
    pub(super) fn read(&mut self, reply: Reply, kind: RecordType, believed: impl Fn(&Name) -> bool) -> Step {
        let mut followed = false;
        while let Some(current) = self.names.last() {
            let of_current = || reply.answers.iter().filter(|record| record.name == *current);
            let records: Vec<RData> =
                of_current().filter(|record| record.record_type() == kind).map(|record| record.data.clone()).collect();
            if !records.is_empty() {
                return Step::Records(records);
            }
            let alias = of_current().find_map(|record| match &record.data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            });
            let Some(target) = alias else {
                break;
            };
            if self.names.contains(&target) {
                self.names.push(target);
                return Step::Loop;
            }
            self.names.push(target.clone());
            if self.names.len() > MAXIMUM_ALIASES.saturating_add(1) {
                return Step::TooLong;
            }
            if !believed(&target) {
                return Step::Ask(target);
            }
            followed = true;
        }
        match (reply.code, self.names.last()) {
            // The code is about the end of the chain (RFC 6604, section 3).
            (ResponseCode::NXDomain, _) => Step::Absent { exists: false },
            // A server that follows no aliases says nothing about where they lead.
            (_, Some(last)) if followed => Step::Ask(last.clone()),
            _ => Step::Absent { exists: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::Record;
    use hickory_resolver::proto::rr::rdata::{A, CNAME};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn alias(owner: &str, target: &str) -> Record {
        Record::from_rdata(name(owner), 0, RData::CNAME(CNAME(name(target))))
    }

    fn address(owner: &str) -> Record {
        Record::from_rdata(name(owner), 0, RData::A(A::new(192, 0, 2, 1)))
    }

    fn step(code: ResponseCode, answers: Vec<Record>) -> (Step, usize) {
        let mut chain = Chain::new(name("a.internal."));
        let step = chain.read(Reply { code, answers }, RecordType::A, |target| !target.to_ascii().contains("foreign"));
        (step, chain.names().len())
    }

    #[test]
    fn aliases_are_followed_in_any_order_and_case() {
        let found = || Step::Records(vec![RData::A(A::new(192, 0, 2, 1))]);
        assert_eq!(step(ResponseCode::NoError, vec![address("A.INTERNAL.")]), (found(), 1));
        let answers =
            vec![address("c.internal."), alias("B.internal.", "c.internal."), alias("a.internal.", "b.INTERNAL.")];
        assert_eq!(step(ResponseCode::NoError, answers), (found(), 3));
    }

    #[test]
    fn records_of_other_names_are_nothing() {
        let answers = vec![address("b.internal."), alias("b.internal.", "a.internal.")];
        assert_eq!(step(ResponseCode::NoError, answers), (Step::Absent { exists: true }, 1));
        assert_eq!(step(ResponseCode::NXDomain, vec![]), (Step::Absent { exists: false }, 1));
    }

    #[test]
    fn what_the_server_did_not_say_is_asked_for() {
        let dangling = vec![alias("a.internal.", "b.internal.")];
        assert_eq!(step(ResponseCode::NoError, dangling.clone()), (Step::Ask(name("b.internal.")), 2));
        assert_eq!(step(ResponseCode::NXDomain, dangling), (Step::Absent { exists: false }, 2));
        let foreign = vec![alias("a.internal.", "b.foreign."), address("b.foreign.")];
        assert_eq!(step(ResponseCode::NoError, foreign), (Step::Ask(name("b.foreign.")), 2));
    }

    #[test]
    fn loops_and_long_chains_end() {
        assert_eq!(step(ResponseCode::NoError, vec![alias("a.internal.", "a.internal.")]).0, Step::Loop);
        let answers = vec![alias("a.internal.", "b.internal."), alias("b.internal.", "a.internal.")];
        assert_eq!(step(ResponseCode::NoError, answers), (Step::Loop, 3));
        let long = |count: u32| {
            let mut answers = vec![alias("a.internal.", "n1.internal.")];
            answers.extend((1..count).map(|n| alias(&format!("n{n}.internal."), &format!("n{}.internal.", n + 1))));
            answers.push(address(&format!("n{count}.internal.")));
            step(ResponseCode::NoError, answers)
        };
        assert!(matches!(long(8), (Step::Records(_), 9)));
        assert_eq!(long(9), (Step::TooLong, 10));
    }
}
