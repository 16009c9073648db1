//! Recomputes the record little by little while the server runs, round and round, so that a break is seen without
//! anybody asking.

use std::collections::BTreeMap;

use sqlx::PgPool;

use super::verify::{Page, Place, Walk};
use crate::store::Error;

/// Blocks of one step: little enough that a busy server does not feel it.
const BLOCKS: i64 = 20;

/// Walks along the chains.
#[derive(Debug, Default)]
pub struct Patrol {
    place: Option<Place>,
    /// What is broken, by chain; taken back when the chain is found sound again.
    broken: BTreeMap<i32, String>,
}

impl Patrol {
    /// Recomputes the next blocks, or goes on to the next chain.
    ///
    /// # Errors
    ///
    /// Fails when the database does.
    pub async fn step(&mut self, pool: &PgPool) -> Result<(), Error> {
        let Some(place) = &mut self.place else { return self.next_chain(pool, i32::MIN).await };
        let mut connection = pool.acquire().await?;
        let mut walk = Walk::begin(&mut connection).await?;
        let found = walk.page(place, BLOCKS).await?;
        let chain = place.chain;
        if let Some(first) = walk.report.breaks.first() {
            if self.broken.insert(chain, first.to_string()).is_none() {
                tracing::error!("The record does not fit together: {first}");
            }
        } else if found == Page::End {
            self.broken.remove(&chain);
        }
        match found {
            Page::More => Ok(()),
            Page::End | Page::Broken => self.next_chain(pool, chain).await,
        }
    }

    async fn next_chain(&mut self, pool: &PgPool, after: i32) -> Result<(), Error> {
        let next = sqlx::query_scalar!("SELECT id FROM audit_chain WHERE id > $1 ORDER BY id LIMIT 1", after)
            .fetch_optional(pool)
            .await?;
        // After the last one it begins anew.
        self.place = next.map(Place::begin);
        Ok(())
    }

    /// The chains that are broken, each with its sentence.
    #[must_use]
    pub fn breaks(&self) -> BTreeMap<String, String> {
        self.broken.iter().map(|(chain, text)| (format!("chain {chain}"), text.clone())).collect()
    }
}
