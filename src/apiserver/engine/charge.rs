//! What a write costs its namespace: quotas, charged in the commit that stores the object.
//!
//! That no quota is overdrawn is seen to by the commit itself, which asks each quota as it is then.

use std::sync::Arc;

use super::options::WriteOptions;
use super::{Ask, Engine, admission_request};
use crate::admission::{Charge, Operation, Verdict};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::history::{Draft, Object};
use crate::store::{Commit, CommitError, Next, Transition, Write};

impl Engine {
    /// Works out what a write costs; nothing for a dry run, which is only told what it would be.
    ///
    /// # Errors
    /// 403 where a quota does not allow it.
    pub(super) fn charge(
        &self,
        ask: &Ask,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
        options: &WriteOptions,
    ) -> Result<Vec<Charge>, Status> {
        let charges =
            self.admission.charge(&admission_request(ask, operation, object, old, options))?;
        Ok(if options.dry_run { Vec::new() } else { charges })
    }

    /// Stores an object together with what it costs.
    pub(super) async fn commit_charged(
        &self,
        write: Write,
        charges: Vec<Charge>,
        lazy: bool,
    ) -> Result<Arc<Object>, CommitError> {
        let lazy = lazy && charges.is_empty();
        let writes = std::iter::once(write).chain(charges.into_iter().map(change)).collect();
        let written = self.store.commit(Commit { writes, lazy }).await?;
        let first = written.into_iter().next();
        first.ok_or_else(|| CommitError::Backend("a commit made no object".into()))
    }
}

fn change(charge: Charge) -> Write {
    let key = charge.key().clone();
    let transition = Transition::new(move |stored: &Object| match charge.on(stored) {
        Verdict::Becomes(tree) => {
            let header = &stored.header;
            Next::Becomes(Draft::new(header.key.clone(), tree, header.fields.clone()))
        }
        Verdict::Stale => Next::Stale,
        Verdict::Refuses(why) => Next::Refuses(why),
    });
    Write::Change { key, transition }
}
