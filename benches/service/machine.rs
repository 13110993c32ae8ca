//! CPU time and memory of the service and its database, from `/proc`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::service::{Database, Service};

/// What doing something took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// CPU time of the service, in user and kernel mode.
    pub(crate) service: Duration,
    /// CPU time of the database's processes; none for SQLite, which works within the service.
    pub(crate) database: Duration,
    /// The most resident memory of the service beyond that at the beginning, in octets.
    pub(crate) extra_memory: u64,
    /// Time on the clock.
    pub(crate) wall: Duration,
}

impl Usage {
    /// CPU time of service and database for each of `count`, in microseconds.
    pub(crate) fn cpu_us(&self, count: usize) -> f64 {
        microseconds(self.service + self.database, count)
    }
}

/// A time for each of `count`, in microseconds.
pub(crate) fn microseconds(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// Octets as MiB.
pub(crate) fn mebibytes(octets: u64) -> f64 {
    octets as f64 / f64::from(1 << 20)
}

/// Does something and measures a service and its database meanwhile.
pub(crate) fn measure<T>(service: &Service, database: Database, work: impl FnOnce() -> T) -> (T, Usage) {
    let processes = [service.process_id()];
    measure_all(&processes, database, work)
}

/// Does something and measures processes of the service and their database meanwhile; the memory is that of the first.
pub(crate) fn measure_all<T>(processes: &[u32], database: Database, work: impl FnOnce() -> T) -> (T, Usage) {
    let first = processes[0];
    // Makes the kernel forget the greatest resident size so far.
    std::fs::write(format!("/proc/{first}/clear_refs"), "5").expect("the process is ours");
    let services = || processes.iter().map(|process| cpu_time(*process)).sum::<Duration>();
    let (service, cluster, memory, began) = (services(), cluster_time(database), resident(first), Instant::now());
    let done = work();
    let wall = began.elapsed();
    let usage = Usage {
        service: services().saturating_sub(service),
        database: cluster_time(database).saturating_sub(cluster),
        extra_memory: status(first, "VmHWM:").saturating_sub(memory),
        wall,
    };
    (done, usage)
}

/// The resident memory of a process, in octets.
pub(crate) fn resident(process: u32) -> u64 {
    status(process, "VmRSS:")
}

/// The part of the resident memory that is the process's own: neither of the program file nor of libraries, in octets.
pub(crate) fn anonymous(process: u32) -> u64 {
    status(process, "RssAnon:")
}

/// How many file descriptors a process has open: connections, but for a few.
pub(crate) fn descriptors(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).expect("the process is ours").count()
}

/// How many threads a process has.
pub(crate) fn threads(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/task")).expect("the process is there").count()
}

/// The CPU time of the calling thread.
pub(crate) fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel tells it");
    Duration::from_nanos(text.split_whitespace().next().expect("a number").parse().expect("nanoseconds"))
}

/// The CPU time of a process, in user and kernel mode.
pub(crate) fn cpu_time(process: u32) -> Duration {
    let fields = stat(process).expect("the process is there");
    ticks(&fields, &[11, 12])
}

/// The CPU time of all processes of the database, those included that have ended.
fn cluster_time(database: Database) -> Duration {
    if database == Database::Sqlite {
        return Duration::ZERO;
    }
    let postmaster = support::postgres::postmaster();
    let processes = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    let all: HashMap<u32, Vec<String>> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, stat(process)?)))
        .collect();
    let children = all.values().filter(|fields| fields[1] == postmaster.to_string());
    let of_children: Duration = children.map(|fields| ticks(fields, &[11, 12])).sum();
    // Of the postmaster itself, and of its children that have ended.
    of_children + ticks(&all[&postmaster], &[11, 12, 13, 14])
}

/// The fields of a process behind its name: the state is the first. Nothing when the process has ended.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything.
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn ticks(fields: &[String], which: &[usize]) -> Duration {
    let ticks: u64 = which.iter().map(|field| fields[*field].parse::<u64>().expect("a number of ticks")).sum();
    // The kernel reports 100 ticks a second on every architecture.
    Duration::from_millis(ticks * 10)
}

fn status(process: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process is there");
    let line = text.lines().find(|line| line.starts_with(name)).expect("the kernel tells it");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number of KiB") * 1024
}
