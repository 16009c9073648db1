//! What this machine can do at best, measured in the same run: bare commits of the same bytes, and a plain
//! scan of memory for the parser.
#![expect(clippy::disallowed_methods, reason = "measures from outside the server")]

use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use orderly_hl7::Message;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::load::result_message;

/// Messages a bare commit carries.
const BATCH: usize = 100;

/// Bare commits, messages a second.
pub(crate) struct StorageLimit {
    /// One body, one work row and one tracking row a message.
    pub(crate) receive: f64,
    /// Two bodies, two work rows and three tracking rows a message.
    pub(crate) flow: f64,
}

/// Milliseconds that the disk takes to make a write durable.
pub(crate) struct Flush {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) most: f64,
}

/// Writes what a commit of some messages writes, again and again at the same places of a file that has its size, as a
/// recycled segment of the write-ahead log has.
///
/// # Errors
///
/// Whatever the file system answers.
pub(crate) fn flush(folder: &Path, duration: Duration) -> std::io::Result<Flush> {
    const WRITE: usize = 32 << 10;
    const PLACES: u64 = 512;
    let path = folder.join("flush");
    let file = std::fs::File::create(&path)?;
    let bytes = vec![1_u8; WRITE];
    for place in 0..PLACES {
        file.write_all_at(&bytes, place * WRITE as u64)?;
    }
    file.sync_all()?;
    let (started, mut times) = (Instant::now(), Vec::new());
    while started.elapsed() < duration || times.is_empty() {
        let begun = Instant::now();
        file.write_all_at(&bytes, times.len() as u64 % PLACES * WRITE as u64)?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    std::fs::remove_file(&path)?;
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    Ok(Flush { p50: at(50), p99: at(99), most: at(100) })
}

/// Two connections insert batches into scratch tables as fast as they can, each batch one commit.
///
/// # Errors
///
/// Whatever Postgres answers.
pub(crate) async fn storage(options: &PgConnectOptions, duration: Duration) -> anyhow::Result<StorageLimit> {
    let mut connection = PgConnection::connect_with(options).await?;
    sqlx::raw_sql(
        "DROP TABLE IF EXISTS bench_body, bench_row;
         CREATE TABLE bench_body (id bigint PRIMARY KEY, hash bytea NOT NULL, body bytea NOT NULL);
         CREATE TABLE bench_row (id bigint NOT NULL, number bigint NOT NULL, detail bytea, PRIMARY KEY (id, number));",
    )
    .execute(&mut connection)
    .await?;
    let receive = commits(options, duration, 0, 1, 2).await?;
    let flow = commits(options, duration, 1 << 40, 2, 5).await?;
    sqlx::raw_sql("DROP TABLE bench_body, bench_row").execute(&mut connection).await?;
    Ok(StorageLimit { receive, flow })
}

async fn commits(
    options: &PgConnectOptions,
    duration: Duration,
    first: i64,
    bodies: usize,
    rows: usize,
) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut tasks = Vec::new();
    for worker in 0..2_i64 {
        let options = options.clone();
        tasks.push(tokio::spawn(async move {
            let mut connection = PgConnection::connect_with(&options).await?;
            let body = result_message("LIMIT000000001", 100_001).into_bytes();
            let mut next = first + (worker << 36);
            let mut messages = 0_usize;
            while started.elapsed() < duration {
                let count = BATCH * bodies;
                let ids: Vec<i64> = (next..).take(count).collect();
                let hashes: Vec<Vec<u8>> = ids.iter().map(|id| [id.to_be_bytes(); 4].concat()).collect();
                let contents = vec![body.clone(); count];
                let row_ids: Vec<i64> = ids.iter().copied().cycle().take(BATCH * rows).collect();
                let numbers: Vec<i64> = (0..).take(BATCH * rows).collect();
                sqlx::query(
                    "WITH bodies AS (INSERT INTO bench_body SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]))
                     INSERT INTO bench_row SELECT id, number, NULL FROM unnest($4::bigint[], $5::bigint[]) AS r (id, number)",
                )
                .bind(&ids)
                .bind(&hashes)
                .bind(&contents)
                .bind(&row_ids)
                .bind(&numbers)
                .execute(&mut connection)
                .await?;
                next += i64::try_from(count)?;
                messages += BATCH;
            }
            anyhow::Ok(messages)
        }));
    }
    let mut messages = 0;
    for task in tasks {
        messages += task.await??;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^52")]
    Ok(messages as f64 / started.elapsed().as_secs_f64())
}

/// Microseconds for a message of about 1 KB: parse with ten fields read, and a scan for delimiters.
pub(crate) fn parser() -> (f64, f64) {
    let mut message = result_message("PARSE0001", 100_001);
    for line in 3..9 {
        message.push_str(&format!(
            "OBX|{line}|NM|2823-3^Potassium^LN||4.{line}|mmol/L|3.5-5.1|N|||F|||20260301100000\r"
        ));
    }
    let bytes = message.into_bytes();
    let paths: Vec<orderly_hl7::Path> = [
        "MSH-9.1", "MSH-10", "PID-3.1", "PID-5.1", "PID-7", "PV1-3.1", "OBR-4.1", "OBX-5", "OBX[4]-5",
        "OBX[8]-6",
    ]
    .iter()
    .map(|path| path.parse().expect("the paths above are well formed"))
    .collect();
    let parse = microseconds(|| {
        let message = Message::parse(bytes.clone()).expect("the message above is readable");
        for path in &paths {
            black_box(message.get(path));
        }
    });
    let scan = microseconds(|| {
        let found =
            bytes.iter().filter(|byte| matches!(**byte, b'|' | b'^' | b'~' | b'\\' | b'&' | b'\r')).count();
        black_box(found);
    });
    (parse, scan)
}

fn microseconds(mut work: impl FnMut()) -> f64 {
    const ROUNDS: u32 = 20_000;
    for _ in 0..ROUNDS / 10 {
        work();
    }
    let started = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
}
