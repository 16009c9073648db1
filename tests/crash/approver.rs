//! A person who decides at the console while the server dies and comes back under her hands.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orderly_tests::{Console, Page};
use tokio::task::JoinHandle;

const NAME: &str = "s.devries";
const PASSWORD: &str = "demo-devries";
/// Between two looks at an empty worklist, and before the next try at a server that is away.
const PAUSE: Duration = Duration::from_millis(50);

/// Approves whatever lies on the worklist until told to stop.
pub(crate) struct Approver {
    task: JoinHandle<Work>,
    over: Arc<AtomicBool>,
}

/// What the person lived through.
#[derive(Default)]
pub(crate) struct Work {
    /// Decisions whose receipt she saw.
    pub(crate) receipts: usize,
    /// Decisions that were sent and whose answer never came.
    pub(crate) answers_lost: usize,
}

impl Approver {
    /// `data` is the folder of the server, which says there where its console is.
    pub(crate) fn begin(data: &Path) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(work(data.join("addresses.json"), over.clone()));
        Self { task, over }
    }

    /// Finishes the decision she is at.
    pub(crate) async fn end(self) -> Work {
        self.over.store(true, Ordering::Relaxed);
        self.task.await.expect("the approver does not panic")
    }
}

async fn work(addresses: PathBuf, over: Arc<AtomicBool>) -> Work {
    let mut work = Work::default();
    let mut console: Option<Console> = None;
    while !over.load(Ordering::Relaxed) {
        let done = match (where_it_is(&addresses), &mut console) {
            (None, _) => None,
            (Some(address), None) => {
                console = Console::try_sign_in(&address, NAME, PASSWORD).await;
                continue;
            }
            // One session for all lives of the server: it is a row, too.
            (Some(address), Some(console)) => {
                console.moves_to(&address);
                decide_one(console, &mut work).await
            }
        };
        if done.is_none() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    work
}

fn where_it_is(addresses: &Path) -> Option<String> {
    let text = std::fs::read_to_string(addresses).ok()?;
    let addresses: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(addresses["http"].as_str()?.to_owned())
}

/// One task from the worklist to the receipt; none when there is no task or the server went away.
async fn decide_one(console: &Console, work: &mut Work) -> Option<()> {
    let path = console
        .try_get("/tasks")
        .await?
        .links("/tasks/")
        .into_iter()
        .find(|link| !link.contains("history"))?;
    let page = has_form(console.try_get(&path).await?, "/check")?;
    let check = console.try_submit(&page, "/check", &[("outcome", "approve"), ("reason", "")]).await?;
    let check = has_form(check, "/decide")?;
    match console.try_submit(&check, "/decide", &[("password", PASSWORD)]).await {
        Some(receipt) if receipt.status == 200 => {
            work.receipts += 1;
            // A click too many: the very same form again must change nothing.
            let _again = console.try_submit(&check, "/decide", &[("password", PASSWORD)]).await;
        }
        Some(_) => {}
        // She does not know whether it counted; the worklist tells her.
        None => work.answers_lost += 1,
    }
    Some(())
}

/// Somebody else's decision, or her own of before, may have closed the task since the list was read.
fn has_form(page: Page, action: &str) -> Option<Page> {
    (page.status == 200 && page.body.contains(&format!("{action}\""))).then_some(page)
}
