//! What operators do with the batches of a send port: send what is open now, stop collecting and keep or release what is
//! open, start again. Collectors of all nodes look before each commit, so it holds at once.

use super::{PortName, Wish, commit, set_state, told};
use crate::access;
use crate::collect;
use crate::current::Current;
use crate::store::{Error, Store, Tx};
use crate::tracking::{self, Kind};
use crate::work;

/// What to do with the batches of a send port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Close the batch with this number now, or all that are open; collecting goes on with the next.
    SendNow(Option<i64>),
    /// Collect no more and close nothing: what is open stays open, what comes waits in its order. The version of the port's
    /// collector that the person saw, 0 when there was none.
    StopAndHold(i32),
    /// Close what is open, then collect no more.
    StopAndRelease(i32),
    /// Collect again.
    Start(i32),
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controlled {
    /// Done, with so many batches closed by it.
    Done(usize),
    /// No batch is open, or no longer that one: nothing was done.
    NothingOpen,
    /// Somebody else stopped or started it since the person looked.
    Changed,
    /// The port sends no batches.
    NoBatches,
}

/// Controls the batches of `port`: one transaction with its reason. The state of a collector is the one of kind
/// `collector` in [`crate::view::operations::port_settings`].
///
/// # Errors
///
/// Fails when the database does; then nothing was done.
pub async fn control(
    store: &Store,
    current: &Current,
    port: &str,
    control: Control,
    who: access::Entry<'_>,
) -> Result<Controlled, Error> {
    if current.configuration.send_ports.get(port).is_none_or(|port| port.batch.is_none()) {
        return Ok(Controlled::NoBatches);
    }
    let mut tx = store.begin("operate: control batches").await?;
    let (action, wish, version) = match control {
        Control::SendNow(_) => ("batch.sent_now", None, 0),
        Control::StopAndHold(version) => ("batch.held", Some(Wish::Hold), version),
        Control::StopAndRelease(version) => ("batch.released", Some(Wish::Hold), version),
        Control::Start(version) => ("batch.started", Some(Wish::Run), version),
    };
    if let Some(wish) = wish
        && !set_state(&mut tx, PortName { kind: "collector", name: port }, wish, version, who).await?
    {
        return Ok(Controlled::Changed);
    }
    let closed = close(&mut tx, current, port, control).await?;
    if closed.is_empty() && matches!(control, Control::SendNow(_)) {
        return Ok(Controlled::NothingOpen);
    }
    let version = current.configuration.version;
    let mut entry = told(Kind::PortStateChanged, version, action, who.reason, port);
    entry.person = Some(who.person.to_owned());
    tracking::record(&mut tx, &[entry]).await?;
    work::append(&mut tx, &closed).await?;
    commit(tx, who).await?;
    Ok(Controlled::Done(closed.len()))
}

async fn close(
    tx: &mut Tx,
    current: &Current,
    port: &str,
    control: Control,
) -> Result<Vec<work::NewWork>, Error> {
    match control {
        Control::SendNow(batch) => collect::close_open(tx, current, port, batch, "operator").await,
        Control::StopAndRelease(_) => collect::close_open(tx, current, port, None, "operator").await,
        Control::StopAndHold(_) | Control::Start(_) => Ok(Vec::new()),
    }
}
