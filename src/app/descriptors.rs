//! File descriptors: how many the process may have, how many its connections need, and how many connections that allows.
//!
//! A process that runs out of them can open neither its files nor its database again, so connections stop short of that.

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// What is open beside connections: files, sockets of the runtime, connections to name servers and to hosts that challenges are looked at on.
const OTHERS: u64 = 256;
/// The connections of the listener of metrics.
const METRICS: u64 = 256;
/// The fewest connections of a listener, however few descriptors there are.
const FEWEST: u64 = 16;

/// Raises the limit of the process as far as it may, and returns it.
pub(crate) fn raise() -> u64 {
    let mut limits = getrlimit(Resource::Nofile);
    if limits.current != limits.maximum {
        let raised = rustix::process::Rlimit { current: limits.maximum, maximum: limits.maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limits = raised,
            Err(error) => tracing::debug!(%error, "the limit of file descriptors could not be raised"),
        }
    }
    // Without a number there is no limit.
    limits.current.unwrap_or(u64::MAX)
}

/// Returns how many descriptors the configuration needs at most.
#[must_use]
pub(crate) fn needed(config: &Config) -> u64 {
    let most = u64::try_from(config.server.maximum_connections).unwrap_or(u64::MAX);
    most.saturating_mul(listeners(config)).saturating_add(reserved(config))
}

/// How many connections there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connections {
    /// Of one listener: as many as are configured, or fewer, so that a quarter is left for the other one.
    pub(crate) each: usize,
    /// Of both together.
    pub(crate) together: usize,
}

/// Returns how many connections there can be within a limit.
#[must_use]
pub(crate) fn connections(config: &Config, limit: u64) -> Connections {
    let fitting = limit.saturating_sub(reserved(config)).max(FEWEST.saturating_mul(listeners(config)));
    let of_one = if listeners(config) == 1 { fitting } else { fitting - fitting / 4 };
    let as_size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let each = as_size(of_one).min(config.server.maximum_connections);
    let configured = config.server.maximum_connections.saturating_mul(as_size(listeners(config)));
    Connections { each, together: as_size(fitting).min(configured) }
}

/// Says what is to be done when the limit is too low; nothing when it is not.
#[must_use]
pub(crate) fn problem(config: &Config, limit: u64) -> Option<String> {
    let (needed, Connections { each, together }) = (needed(config), connections(config, limit));
    (needed > limit).then(|| {
        format!(
            "the process may have {limit} file descriptors and `server.maximum_connections` = {} needs {needed}: a listener takes {each} \
             connections, all together {together}; raise the limit (`LimitNOFILE=` of systemd, `--ulimit nofile=` of a container) or lower the setting",
            config.server.maximum_connections
        )
    })
}

fn listeners(config: &Config) -> u64 {
    if config.server.public_listen.is_some() { 2 } else { 1 }
}

fn reserved(config: &Config) -> u64 {
    let database = u64::try_from(config.database.connections).unwrap_or(u64::MAX);
    // SQLite opens up to three files for each.
    database.saturating_mul(3).saturating_add(OTHERS + METRICS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        let config = Config::default();
        let enough = needed(&config);
        let most = config.server.maximum_connections;
        assert_eq!(connections(&config, enough), Connections { each: most, together: most * 2 });
        assert_eq!(problem(&config, enough), None);
        let fitting = connections(&config, 4096);
        assert!(fitting.together as u64 + reserved(&config) <= 4096, "{fitting:?}");
        assert!(fitting.together > 3000 && fitting.each > 2000, "{fitting:?}");
        assert!(fitting.each < fitting.together, "one listener leaves something for the other: {fitting:?}");
        let told = problem(&config, 4096).unwrap();
        assert!(told.contains("4096") && told.contains(&fitting.together.to_string()), "{told}");
        assert_eq!(connections(&config, 10), Connections { each: 24, together: 32 });
    }

    #[test]
    fn ten_thousand_connections_to_the_api_fit_into_twenty_thousand_descriptors() {
        assert!(connections(&Config::default(), 20_000).each > 10_000);
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be() {
        let limit = raise();
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
        assert_eq!(limit, getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX));
    }
}
