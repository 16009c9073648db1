//! T2 placeholder
use crate::configuration::Configuration;
use crate::current::Running;
use crate::lane::Lanes;
use crate::node::{Claimed, Node};
use crate::notice::Notices;
use crate::store::{Error, Store};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// worker
#[derive(Debug, Clone)]
pub struct Worker;
impl Worker {
    pub(crate) async fn start(
        _: &Store,
        _: &Lanes,
        _: &Arc<Node>,
        _: &Running,
        _: &Notices,
        _: &TaskTracker,
        _: &CancellationToken,
    ) -> Result<Self, Error> {
        Ok(Self)
    }
    pub(crate) async fn open(&self, _: &[Claimed]) -> Result<(), Error> {
        Ok(())
    }
    pub(crate) fn remember(&self, _: &Arc<Configuration>) {}
    pub(crate) fn remembered(&self) -> Vec<Arc<Configuration>> { Vec::new() }
    pub(crate) fn is_idle(&self) -> bool {
        true
    }
}
