//! Load generator and sink: closed loop, one message outstanding a connection, answers checked by control id.
#![expect(clippy::disallowed_methods, reason = "measures from outside the server")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const FRAME_END: u8 = 0x1c;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What the times in control ids count from.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What one run gave.
pub(crate) struct Measured {
    pub(crate) messages: u64,
    pub(crate) elapsed: Duration,
    /// Sent to acknowledged, sorted.
    pub(crate) latencies: Latencies,
}

/// Sorted times.
#[derive(Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let index = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(index).copied().unwrap_or_default()
    }
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^52")]
        let messages = self.messages as f64;
        messages / self.elapsed.as_secs_f64()
    }
}

/// A laboratory result of about 444 bytes; `control` is its MSH-10, `patient` its PID-3.1.
pub(crate) fn result_message(control: &str, patient: u64) -> String {
    format!(
        "MSH|^~\\&|LIS|BENCH|ORDERLY|BENCH|20260301101500||ORU^R01^ORU_R01|{control}|P|2.5.1\r\
         PID|1||{patient}^^^NORTH^MR||Aldermark^Testa||19800101|F|||1 Sample Street^^Northgate\r\
         PV1|1|I|4A^401^1\r\
         ORC|RE|P{patient}^OE|L{patient}^LIS\r\
         OBR|1|P{patient}^OE|L{patient}^LIS|CHEM^Chemistry^L|||20260301100000\r\
         OBX|1|NM|2823-3^Potassium^LN||4.1|mmol/L|3.5-5.1|N|||F\r\
         OBX|2|NM|2345-7^Glucose^LN||5.6|mmol/L|3.9-7.8|N|||F\r"
    )
}

/// How messages are sent.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// Each has one message outstanding.
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    /// Messages a second over all connections; none: as fast as they are answered.
    pub(crate) rate: Option<f64>,
}

/// Sends and waits for the last answers, all on one thread of its own: the load must not cost more than it has to.
///
/// `run` makes the control ids of this run unlike those of any other.
pub(crate) async fn generate(address: &str, run: &str, load: Load) -> anyhow::Result<Measured> {
    let (address, run) = (address.to_owned(), run.to_owned());
    let generator = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(send_all(&address, &run, load))
    });
    generator.await?
}

async fn send_all(address: &str, run: &str, load: Load) -> anyhow::Result<Measured> {
    let started = Instant::now();
    let mut tasks = Vec::with_capacity(load.connections);
    for connection in 0..load.connections {
        let (address, run) = (address.to_owned(), run.to_owned());
        tasks.push(tokio::spawn(async move { converse(&address, &run, connection, started, load).await }));
    }
    let mut latencies = Vec::new();
    let deadline = tokio::time::Instant::from_std(started) + load.duration + ANSWER_TIMEOUT;
    for task in tasks {
        let answered = tokio::time::timeout_at(deadline, task);
        latencies.append(&mut answered.await.context("no acknowledgment within 30 s")???);
    }
    let elapsed = started.elapsed();
    Ok(Measured { messages: latencies.len() as u64, elapsed, latencies: Latencies::new(latencies) })
}

async fn converse(
    address: &str,
    run: &str,
    connection: usize,
    started: Instant,
    load: Load,
) -> anyhow::Result<Vec<Duration>> {
    let mut pace = load.rate.map(|rate| Pace::new(started, connection, load.connections, rate));
    let mut stream =
        TcpStream::connect(address).await.with_context(|| format!("could not connect to {address}"))?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::new();
    let mut buffer = vec![0; 8192];
    let mut frame = Vec::with_capacity(600);
    let mut number = 0_u64;
    while started.elapsed() < load.duration {
        number += 1;
        let sent = match &mut pace {
            Some(pace) => pace.next().await,
            None => Instant::now(),
        };
        let control = format!("{run}{connection:x}X{number:x}T{:x}", sent.duration_since(*BEGUN).as_micros());
        let patient = 100_000 + (connection as u64) * 1000 + number % 50;
        frame.clear();
        frame.push(0x0b);
        frame.extend_from_slice(result_message(&control, patient).as_bytes());
        frame.extend_from_slice(&[FRAME_END, b'\r']);
        stream.write_all(&frame).await?;
        let length = read_frame(&mut stream, &mut buffer).await?;
        latencies.push(sent.elapsed());
        check_answer(&buffer[..length], &control)?;
    }
    Ok(latencies)
}

/// When a connection of many sends next, so that all together keep a rate.
struct Pace {
    due: Instant,
    interval: Duration,
}

impl Pace {
    fn new(started: Instant, connection: usize, connections: usize, rate: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred connections")]
        let (place, of) = (connection as f64, connections as f64);
        Self {
            due: started + Duration::from_secs_f64(place / rate),
            interval: Duration::from_secs_f64(of / rate),
        }
    }

    /// Waits; gives the instant to count from. A message that waited for the answer before it counts from when it was
    /// due; one that slept, from when it woke, since a timer is late by up to a millisecond.
    async fn next(&mut self) -> Instant {
        let due = self.due;
        self.due += self.interval;
        if Instant::now() >= due {
            return due;
        }
        tokio::time::sleep_until(due.into()).await;
        Instant::now()
    }
}

fn check_answer(answer: &[u8], control: &str) -> anyhow::Result<()> {
    let at = answer.windows(4).position(|four| four == b"MSA|").context("the answer has no MSA segment")?;
    let msa = &answer[at + 4..];
    ensure!(
        msa.starts_with(b"AA|") || msa.starts_with(b"CA|"),
        "the answer is not positive: {}",
        String::from_utf8_lossy(&msa[..msa.len().min(60)])
    );
    ensure!(msa[3..].starts_with(control.as_bytes()), "the answer is for another message");
    Ok(())
}

async fn read_frame(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<usize> {
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).await?;
        if read == 0 {
            bail!("the connection was closed before the answer");
        }
        length += read;
        if length >= 2 && buffer[length - 2] == FRAME_END {
            return Ok(length);
        }
        if length == buffer.len() {
            buffer.resize(length * 2, 0);
        }
    }
}

/// Receives, answers AA and counts.
pub(crate) struct Sink {
    /// Where it listens.
    pub(crate) address: String,
    arrivals: Arc<Arrivals>,
    stop: CancellationToken,
}

/// What came to the sink.
#[derive(Default)]
struct Arrivals {
    count: AtomicU64,
    /// From sent to here, since they were last taken.
    times: Mutex<Vec<Duration>>,
}

impl Arrivals {
    /// A message came; its control id says when it was sent.
    fn note(&self, control: &[u8]) {
        let sent = control.iter().rposition(|byte| *byte == b'T').and_then(|at| {
            u64::from_str_radix(std::str::from_utf8(&control[at + 1..]).ok()?, 16)
                .ok()
                .map(Duration::from_micros)
        });
        if let Some(sent) = sent {
            self.times().push(BEGUN.elapsed().saturating_sub(sent));
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Vec<Duration>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    /// Listens at `address`, on a thread of its own.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let listener =
            std::net::TcpListener::bind(address).with_context(|| format!("could not listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.to_string();
        let arrivals = Arc::new(Arrivals::default());
        let stop = CancellationToken::new();
        let (counter, stopped) = (arrivals.clone(), stop.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            let served = runtime.block_on(stopped.run_until_cancelled(accept_all(listener, counter)));
            served.unwrap_or(Ok(()))
        });
        Ok(Self { address, arrivals, stop })
    }

    pub(crate) fn received(&self) -> u64 {
        self.arrivals.count.load(Ordering::Relaxed)
    }

    /// From sent to received, of all that came since this was last asked.
    pub(crate) fn take_times(&self) -> Latencies {
        Latencies::new(std::mem::take(&mut *self.arrivals.times()))
    }

    pub(crate) fn close(&self) {
        self.stop.cancel();
    }
}

async fn accept_all(listener: std::net::TcpListener, arrivals: Arc<Arrivals>) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(take_all(stream, arrivals.clone()));
    }
}

async fn take_all(mut stream: TcpStream, arrivals: Arc<Arrivals>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut answer = Vec::with_capacity(256);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while let Some(end) = buffer.iter().position(|byte| *byte == FRAME_END) {
            let control = field(&buffer[..end], 9).unwrap_or_default();
            arrivals.note(control);
            answer.clear();
            answer.extend_from_slice(b"\x0bMSH|^~\\&|SINK|BENCH|ORDERLY|BENCH|20260301101500||ACK^R01|S");
            answer.extend_from_slice(control);
            answer.extend_from_slice(b"|P|2.5.1\rMSA|AA|");
            answer.extend_from_slice(control);
            answer.extend_from_slice(b"\r\x1c\r");
            stream.write_all(&answer).await?;
            let next = (end + 2).min(buffer.len());
            buffer.drain(..next);
        }
    }
}

/// The MSH field behind the `bars`th bar.
fn field(message: &[u8], bars: usize) -> Option<&[u8]> {
    message.split(|byte| *byte == b'|').nth(bars)
}
