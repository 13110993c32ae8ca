//! Requests that come on schedule, whether or not earlier ones were answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::load::{self, Stream, Target};

const THREADS: usize = 2;
/// The longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of the arrivals.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// Arrivals a second.
    pub(crate) offered: f64,
    /// How many were sent more than 100 ms after they were due, for want of a free connection.
    pub(crate) late: usize,
    /// How long those took that got a certificate, from when they were sent; the shortest first.
    pub(crate) served: Vec<Duration>,
    /// The same of those that were told to come back.
    pub(crate) refused: Vec<Duration>,
    /// The time from the first arrival to the last answer.
    pub(crate) wall: Duration,
}

/// Sends so many requests a second for some time, over as many connections as it takes, up to a number.
pub(crate) fn arrive(
    target: &Target,
    connections: usize,
    per_second: f64,
    time: Duration,
    requests: &[Vec<u8>],
) -> Arrivals {
    let count = (per_second * time.as_secs_f64()) as usize;
    let next = AtomicUsize::new(0);
    let ready = std::sync::Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        let (next, ready) = (&next, &ready);
        let work = move |thread: usize| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut streams = Vec::new();
                for _ in (thread..connections).step_by(THREADS) {
                    streams.push(target.connect().await);
                }
                ready.wait();
                let began = Instant::now();
                let due = || {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let moment = began + Duration::from_secs_f64(number as f64 / per_second);
                    (number < count).then(|| (moment, &requests[number % requests.len()]))
                };
                let each = streams.iter_mut().map(|stream| keep_schedule(stream, &due));
                futures_util::future::join_all(each).await
            })
        };
        let workers: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        ready.wait();
        let began = Instant::now();
        let mut arrivals = Arrivals { offered: per_second, ..Arrivals::default() };
        for (served, refused, late) in workers.into_iter().flat_map(|worker| worker.join().expect("a thread ends well"))
        {
            arrivals.served.extend(served);
            arrivals.refused.extend(refused);
            arrivals.late += late;
        }
        arrivals.wall = began.elapsed();
        arrivals.served.sort_unstable();
        arrivals.refused.sort_unstable();
        arrivals
    })
}

async fn keep_schedule<'a>(
    stream: &mut Box<dyn Stream>,
    next: &impl Fn() -> Option<(Instant, &'a Vec<u8>)>,
) -> (Vec<Duration>, Vec<Duration>, usize) {
    const LATE: Duration = Duration::from_millis(100);
    let (mut served, mut refused, mut late, mut buffer) = (Vec::new(), Vec::new(), 0, Vec::with_capacity(4096));
    while let Some((due, request)) = next() {
        tokio::time::sleep_until(due.into()).await;
        let sent = Instant::now();
        late += usize::from(sent.duration_since(due) > LATE);
        let exchanged = tokio::time::timeout(PATIENCE, load::exchange(stream, request, &mut buffer)).await;
        match exchanged.expect("an answer in time") {
            201 => served.push(sent.elapsed()),
            503 => refused.push(sent.elapsed()),
            other => panic!("{other}: {}", String::from_utf8_lossy(&buffer)),
        }
    }
    (served, refused, late)
}

/// The latency that `part` of a thousand stayed within, in milliseconds.
pub(crate) fn per_mille(sorted: &[Duration], part: usize) -> f64 {
    sorted.get(sorted.len().saturating_sub(1) * part / 1000).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
