//! What the service takes when nothing is asked of it: memory, time from its start until it is ready, size of the program; and what memory it
//! keeps after a load.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use crate::issuance::Subject;
use crate::machine;
use crate::options::Options;
use crate::report::Report;
use crate::requests::KeyType;
use crate::support;
use crate::support::client::Client;
use crate::support::service::{Database, Service};

/// How long a service is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(5);
/// How long after a load its memory is read again: the allocator gives back what is not needed in the background.
const AFTER: Duration = Duration::from_secs(20);
/// How often the service is started; the median counts.
const STARTS: usize = 10;
/// Connections of the load.
const CONNECTIONS: usize = 64;

/// Runs the part.
pub(crate) fn run(options: &Options, database: Database, report: &mut Report) {
    if database == Database::Sqlite || options.databases().count() == 1 {
        let program = support::service::chancery().get_program().to_owned();
        let size = std::fs::metadata(program).expect("the program is there").len();
        report.add("program", &[("size_mib", machine::mebibytes(size))]);
    }
    let mut service = Service::start(database);
    let subject = Subject::new(&service, database);
    let requests = subject.requests(KeyType::P256, options.count(60_000));
    let (_, usage) = subject.load(CONNECTIONS, &requests);
    let process = service.process_id();
    let at_once = machine::resident(process);
    std::thread::sleep(AFTER);
    let mut figures = memory(process);
    figures.push(("at_once_mib", machine::mebibytes(at_once)));
    figures.push(("most_extra_mib", machine::mebibytes(usage.extra_memory)));
    report.add(format!("{} s after {} certificates", AFTER.as_secs(), requests.len()), &figures);
    assert!(service.stop().success());

    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let (running, took) = Running::start(&service);
        starts.push((took, machine::cpu_time(running.0.id())));
    }
    starts.sort_unstable();
    let (took, cpu) = starts[STARTS / 2];
    report.add("start to ready", &[("median_ms", milliseconds(took)), ("cpu_ms", milliseconds(cpu))]);

    let (running, _took) = Running::start(&service);
    std::thread::sleep(IDLE);
    report.add(format!("idle, {} s after the start", IDLE.as_secs()), &memory(running.0.id()));
}

fn memory(process: u32) -> Vec<(&'static str, f64)> {
    let (resident, anonymous) = (machine::resident(process), machine::anonymous(process));
    vec![
        ("resident_mib", machine::mebibytes(resident)),
        ("anonymous_mib", machine::mebibytes(anonymous)),
        ("of_files_mib", machine::mebibytes(resident.saturating_sub(anonymous))),
        ("threads", machine::threads(process) as f64),
    ]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The program as it is run in production, on the data of a service that was stopped.
struct Running(Child);

impl Running {
    /// Starts it with TLS and the default configuration, and returns how long that took until it said that it is ready over HTTP.
    fn start(service: &Service) -> (Self, Duration) {
        let mut command = service.program();
        command.arg("serve").stderr(Stdio::piped());
        for listener in ["LISTEN", "PUBLIC_LISTEN", "METRICS_LISTEN"] {
            command.env(format!("CHANCERY__SERVER__{listener}"), "127.0.0.1:0");
        }
        let began = Instant::now();
        let mut child = command.spawn().expect("the program starts");
        let log = child.stderr.take().expect("its log is read");
        let running = Self(child);
        let (address, rest) = address_in(log);
        let client = Client::new(&address, Some(&service.root_pem()));
        while !client.get("/readyz").attempt().is_ok_and(|answer| answer.status == 200) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let took = began.elapsed();
        // Nobody else reads the rest, and a full pipe would hold the service up.
        std::thread::spawn(move || rest.lines().map_while(Result::ok).for_each(drop));
        (running, took)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        support::tools::run("kill", &["-TERM".to_owned(), self.0.id().to_string()]);
        drop(self.0.wait());
    }
}

/// Finds the address of the API in the log.
fn address_in(log: ChildStderr) -> (String, BufReader<ChildStderr>) {
    let mut log = BufReader::new(log);
    let mut seen = String::new();
    loop {
        let begins = seen.len();
        assert!(log.read_line(&mut seen).expect("a log in UTF-8") > 0, "the service ended: {seen}");
        let line = &seen[begins..];
        if let Some((_, rest)) = line.split_once(" ready api=") {
            return (rest.split(' ').next().expect("an address").to_owned(), log);
        }
    }
}
