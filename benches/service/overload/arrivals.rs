//! Requests that come on schedule, whether or not earlier ones were answered, over connections that are there before.
//!
//! Each request takes the next connection whose turn it is. With enough connections its answer is there before its turn comes again; when it is not,
//! the next request is late, and both views are told: what somebody with a connection of his own sees, from when the request was sent, and what
//! somebody sees who had to wait for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::load::{self, Stream, Target};

const THREADS: usize = 2;
/// The longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a request may be behind its schedule and is not called late.
const LATE: Duration = Duration::from_millis(100);

/// What came of the arrivals.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// Arrivals a second.
    pub(crate) offered: f64,
    /// How many were sent late, for want of a free connection.
    pub(crate) late: usize,
    /// How long those took that got a certificate, from when they were sent; the shortest first.
    pub(crate) served: Vec<Duration>,
    /// The same from when they were due.
    pub(crate) served_since_due: Vec<Duration>,
    /// How long those took, from when they were sent, that were told to come back.
    pub(crate) refused: Vec<Duration>,
    /// The time from the first arrival to the last answer.
    pub(crate) wall: Duration,
}

/// A schedule.
struct Plan {
    requests: Arc<Vec<Vec<u8>>>,
    began: Instant,
    per_second: f64,
    count: usize,
    next: AtomicUsize,
}

impl Plan {
    /// The next request and when it is due.
    fn next(&self) -> Option<(Instant, &Vec<u8>)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.began + Duration::from_secs_f64(number as f64 / self.per_second);
        (number < self.count).then(|| (due, &self.requests[number % self.requests.len()]))
    }
}

/// Clients with a connection each, which stay connected from one schedule to the next.
pub(crate) struct Crowd {
    threads: Vec<(mpsc::Sender<Arc<Plan>>, mpsc::Receiver<Arrivals>)>,
}

impl Crowd {
    /// Connects so many clients.
    pub(crate) fn gather(target: &Target, connections: usize) -> Self {
        let connect = |thread: usize| {
            let (ask, asked) = mpsc::channel::<Arc<Plan>>();
            let (tell, told) = mpsc::channel();
            let target = target.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let mut streams = runtime.block_on(async {
                    let mut streams = Vec::new();
                    for _ in (thread..connections).step_by(THREADS) {
                        streams.push(target.connect().await);
                    }
                    streams
                });
                // Nothing has arrived yet: all are there.
                tell.send(Arrivals::default()).expect("somebody waits");
                while let Ok(plan) = asked.recv() {
                    let each = streams.iter_mut().map(|stream| keep_schedule(stream, &plan));
                    let each = runtime.block_on(futures_util::future::join_all(each));
                    tell.send(together(each)).expect("somebody waits");
                }
            });
            (ask, told)
        };
        let threads: Vec<_> = (0..THREADS).map(connect).collect();
        for (_, told) in &threads {
            told.recv().expect("the clients are connected");
        }
        Self { threads }
    }

    /// Sends so many requests a second for some time.
    pub(crate) fn arrive(&self, per_second: f64, time: Duration, requests: &Arc<Vec<Vec<u8>>>) -> Arrivals {
        let plan = Arc::new(Plan {
            requests: Arc::clone(requests),
            began: Instant::now() + Duration::from_millis(50),
            per_second,
            count: (per_second * time.as_secs_f64()) as usize,
            next: AtomicUsize::new(0),
        });
        for (ask, _) in &self.threads {
            ask.send(Arc::clone(&plan)).expect("the clients are there");
        }
        let mut arrivals = together(self.threads.iter().map(|(_, told)| told.recv().expect("a thread ends well")));
        arrivals.offered = per_second;
        arrivals.wall = plan.began.elapsed();
        for latencies in [&mut arrivals.served, &mut arrivals.served_since_due, &mut arrivals.refused] {
            latencies.sort_unstable();
        }
        arrivals
    }
}

fn together(each: impl IntoIterator<Item = Arrivals>) -> Arrivals {
    each.into_iter().fold(Arrivals::default(), |mut all, one| {
        all.served.extend(one.served);
        all.served_since_due.extend(one.served_since_due);
        all.refused.extend(one.refused);
        all.late += one.late;
        all
    })
}

async fn keep_schedule(stream: &mut Box<dyn Stream>, plan: &Plan) -> Arrivals {
    let (mut arrivals, mut buffer) = (Arrivals::default(), Vec::with_capacity(4096));
    while let Some((due, request)) = plan.next() {
        tokio::time::sleep_until(due.into()).await;
        let sent = Instant::now();
        arrivals.late += usize::from(sent.duration_since(due) > LATE);
        let exchanged = tokio::time::timeout(PATIENCE, load::exchange(stream, request, &mut buffer)).await;
        match exchanged.expect("an answer in time") {
            201 => {
                arrivals.served.push(sent.elapsed());
                arrivals.served_since_due.push(due.elapsed());
            }
            503 => {
                let answer = String::from_utf8_lossy(&buffer).to_ascii_lowercase();
                assert!(answer.contains("\r\nretry-after: "), "a refusal says when to come back: {answer}");
                arrivals.refused.push(sent.elapsed());
            }
            other => panic!("{other}: {}", String::from_utf8_lossy(&buffer)),
        }
    }
    arrivals
}

/// The latency that `part` of a thousand stayed within, in milliseconds.
pub(crate) fn per_mille(sorted: &[Duration], part: usize) -> f64 {
    sorted.get(sorted.len().saturating_sub(1) * part / 1000).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
