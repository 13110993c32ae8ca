//! CPU time and memory of a process while something is done, from `/proc`.

use std::time::{Duration, Instant};

/// What doing something took.
#[derive(Debug)]
pub(crate) struct Usage {
    /// CPU time of the process, in user and kernel mode.
    pub(crate) cpu: Duration,
    /// The most resident memory beyond that at the beginning, in octets.
    pub(crate) extra_memory: u64,
    /// Time on the clock.
    pub(crate) wall: Duration,
}

/// Does something and measures the process meanwhile.
pub(crate) fn measure(process: u32, work: impl FnOnce()) -> Usage {
    // Makes the kernel forget the greatest resident size so far.
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("the process is ours");
    let (cpu, memory, began) = (cpu_time(process), status(process, "VmRSS:"), Instant::now());
    work();
    let wall = began.elapsed();
    Usage {
        cpu: cpu_time(process).saturating_sub(cpu),
        extra_memory: status(process, "VmHWM:").saturating_sub(memory),
        wall,
    }
}

fn cpu_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process is there");
    // The name of the program, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name in parentheses").1.split_whitespace().collect();
    let ticks: u64 = [11, 12].map(|field: usize| fields[field].parse::<u64>().expect("a number of ticks")).iter().sum();
    // The kernel reports 100 ticks a second on every architecture.
    Duration::from_millis(ticks * 10)
}

fn status(process: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process is there");
    let line = text.lines().find(|line| line.starts_with(name)).expect("the kernel tells it");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number of KiB") * 1024
}
