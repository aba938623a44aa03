//! What a write costs its namespace: quotas, stored in the commit that stores the object.
//!
//! Writers of one namespace that are charged take turns, so that they do not spoil each other's
//! commits; that no quota is overdrawn is seen to by the commit itself, which expects each quota as
//! it was looked at.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use super::options::WriteOptions;
use super::{Ask, Engine, admission_request};
use crate::admission::{Charge, Operation};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::history::{Draft, Object};
use crate::limits;
use crate::store::{Commit, CommitError, Expect, Write};

/// Whose turn it is, namespaces sharing a few turns.
pub(super) struct Turns {
    turns: Vec<Mutex<()>>,
}

impl Default for Turns {
    fn default() -> Self {
        let turns = std::iter::repeat_with(Mutex::default).take(limits::QUOTA_TURNS).collect();
        Self { turns }
    }
}

impl Turns {
    async fn take(&self, namespace: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        namespace.hash(&mut hasher);
        let at = usize::try_from(hasher.finish()).unwrap_or(usize::MAX) % self.turns.len();
        self.turns[at].lock().await
    }
}

/// What a write costs, and the turn that it has until it is stored.
#[derive(Default)]
pub(super) struct Charging<'e> {
    charges: Vec<Charge>,
    _turn: Option<MutexGuard<'e, ()>>,
}

impl Charging<'_> {
    /// Whether the write costs nothing.
    pub(super) fn is_free(&self) -> bool {
        self.charges.is_empty()
    }
}

impl Engine {
    /// Works out what a write costs. Hold the result until the object is stored.
    ///
    /// # Errors
    /// 403 where a quota does not allow it.
    pub(super) async fn charge(
        &self,
        ask: &Ask,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
        options: &WriteOptions,
    ) -> Result<Charging<'_>, Status> {
        let request = admission_request(ask, operation, object, old, options);
        if self.admission.charge(&request)?.is_empty() || options.dry_run {
            return Ok(Charging::default());
        }
        let turn = self.turns.take(&ask.namespace).await;
        // Whoever had the turn before has been charged meanwhile.
        let charges = self.admission.charge(&request)?;
        Ok(Charging { charges, _turn: Some(turn) })
    }

    /// Stores an object together with what it costs.
    pub(super) async fn commit_charged(
        &self,
        write: Write,
        charging: Charging<'_>,
        lazy: bool,
    ) -> Result<Arc<Object>, CommitError> {
        let lazy = lazy && charging.is_free();
        let mut writes = vec![write];
        writes.extend(charging.charges.iter().map(put));
        let written = self.store.commit(Commit { writes, lazy }).await?;
        let first = written.into_iter().next();
        first.ok_or_else(|| CommitError::Backend("a commit made no object".into()))
    }
}

fn put(charge: &Charge) -> Write {
    let header = &charge.stored.header;
    let draft = Draft::new(header.key.clone(), charge.tree.clone(), header.fields.clone());
    Write::Put { draft, expect: Expect::Revision(header.revision), ttl: None }
}
