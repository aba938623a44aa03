//! The algebra of ownership: what a change means for those who own fields, and the removal of what
//! nobody applies any more.

use super::collect::collect;
use super::compare::{Changes, compare};
use super::conflict::Conflicts;
use super::managers::{Manager, Managers, Owned};
use super::merge::merge;
use super::reconcile::reconcile;
use super::remove::{remove, with_parents};
use super::set::Set;
use super::shape::{Type, equal};
use super::{Context, Versioned};
use crate::api::schema::Schema;
use crate::api::tree::Value;

/// An object in one version.
struct View {
    object: Value,
    schema: Schema,
}

impl View {
    fn ty(&self) -> Type<'_> {
        Type::root(self.schema.root())
    }

    fn paths(&self) -> Set {
        with_parents(&collect(&self.object, self.ty()), self.ty())
    }

    fn without(&self, gone: &Set) -> Self {
        let object = remove(&self.object, gone, self.ty());
        Self { object, schema: self.schema.clone() }
    }
}

/// An object in the version of managed paths; `None` for a version that is not served any more.
fn in_version(object: &Value, version: &str, context: &Context<'_>) -> Option<View> {
    let current = match object.get("apiVersion").str() {
        "" => context.api_version,
        given => given,
    };
    if current == version {
        return Some(View { object: object.clone(), schema: schema_of(version, context)? });
    }
    let Versioned { object, schema } = (context.convert)(object, version)?;
    Some(View { object, schema })
}

fn schema_of(version: &str, context: &Context<'_>) -> Option<Schema> {
    if version == context.api_version {
        return Some(context.schema.clone());
    }
    (context.schema_of)(version)
}

/// Drops managers of versions that are gone and brings the others' paths up to the schema.
pub(super) fn reconciled(mut managers: Managers, context: &Context<'_>) -> Managers {
    managers.entries.retain(|_, owned| {
        let Some(schema) = schema_of(&owned.api_version, context) else { return false };
        let set = std::mem::take(&mut owned.set);
        owned.set = reconcile(set, Type::root(schema.root()));
        true
    });
    managers
}

/// What a change from `old` to `new` by `writer` leaves to the others.
///
/// # Errors
/// Where others own what changed, unless it is taken by force.
fn take(
    old: &Value,
    new: &Value,
    managers: &mut Managers,
    writer: Option<&Manager>,
    force: bool,
    context: &Context<'_>,
) -> Result<Changes, Conflicts> {
    let changes = compare(old, new, Type::root(context.schema.root())).filtered(context.reset);
    let mut taken: Vec<(Manager, Set)> = Vec::new();
    managers.entries.retain(|manager, owned| {
        if Some(manager) == writer {
            return true;
        }
        let own = owned.api_version == context.api_version;
        let theirs = if own { Some(changes.clone()) } else { changes_in(old, new, owned, context) };
        let Some(theirs) = theirs else { return false };
        let lost = owned.set.intersection(&theirs.set());
        owned.set = owned.set.difference(&lost).difference(&theirs.removed);
        if !lost.is_empty() {
            taken.push((manager.clone(), lost));
        }
        true
    });
    if !force && !taken.is_empty() {
        return Err(Conflicts::of(taken.iter().map(|(manager, set)| (manager, set))));
    }
    managers.entries.retain(|_, owned| !owned.set.is_empty());
    Ok(changes)
}

/// The changes as a manager of another version sees them.
fn changes_in(old: &Value, new: &Value, owned: &Owned, context: &Context<'_>) -> Option<Changes> {
    let old = in_version(old, &owned.api_version, context)?;
    let new = in_version(new, &owned.api_version, context)?;
    Some(compare(&old.object, &new.object, new.ty()).filtered(context.reset))
}

/// What somebody who updates changed: the new owners of all, and the paths that are the writer's.
pub(super) fn update(
    old: &Value,
    new: &Value,
    managers: Managers,
    context: &Context<'_>,
) -> (Managers, Set) {
    let mut managers = reconciled(managers, context);
    match take(old, new, &mut managers, None, true, context) {
        Ok(changes) => {
            let own = changes.set();
            (managers, own)
        }
        // By force nothing conflicts.
        Err(_) => (managers, Set::default()),
    }
}

/// The object with a configuration applied, `None` if that changes nothing; and the owners.
///
/// # Errors
/// Conflicts, unless all is taken by force.
pub(super) fn apply(
    live: &Value,
    config: &Value,
    managers: Managers,
    manager: &Manager,
    force: bool,
    context: &Context<'_>,
) -> Result<(Option<Value>, Managers), Conflicts> {
    let mut managers = reconciled(managers, context);
    let ty = Type::root(context.schema.root());
    let merged = merge(live, config, ty);
    let set = context.reset.filter(collect(config, ty));
    let time = managers.entries.get(manager).and_then(|owned| owned.time.clone());
    let owned = Owned { set, api_version: context.api_version.to_owned(), time };
    let last = managers.entries.insert(manager.clone(), owned);
    let object = match last {
        Some(last) if !last.set.is_empty() => prune(merged, &managers, &last, context),
        _ => merged,
    };
    take(live, &object, &mut managers, Some(manager), force, context)?;
    let changed = !equal(live, &object);
    Ok((changed.then_some(object), managers))
}

/// Removes what a manager applied the last time and not this time, unless somebody else owns it or
/// it was never the manager's.
fn prune(merged: Value, managers: &Managers, last: &Owned, context: &Context<'_>) -> Value {
    let Some(view) = in_version(&merged, &last.api_version, context) else { return merged };
    let last_paths = with_parents(&last.set, view.ty());
    let pruned = view.without(&last_paths);
    let pruned = with_owned(&view, pruned, managers, &last.api_version, context);
    let pruned = with_dangling(&view, pruned, &last_paths, &last.api_version, context);
    in_version(&pruned.object, context.api_version, context).map_or(merged, |view| view.object)
}

/// Puts back what is owned by anybody.
fn with_owned(
    merged: &View,
    pruned: View,
    managers: &Managers,
    first: &str,
    context: &Context<'_>,
) -> View {
    let mut versions: Vec<(&str, Set)> = Vec::new();
    for owned in managers.entries.values() {
        match versions.iter_mut().find(|(version, _)| *version == owned.api_version) {
            Some((_, set)) => *set = set.union(&owned.set),
            None => versions.push((&owned.api_version, owned.set.clone())),
        }
    }
    // The version that was pruned goes first: what conversion needs may be among it.
    versions.sort_by_key(|(version, _)| *version != first);
    let mut pruned = pruned;
    for (version, set) in versions {
        let whole = in_version(&merged.object, version, context);
        let (Some(whole), Some(left)) = (whole, in_version(&pruned.object, version, context))
        else {
            continue;
        };
        let kept = left.paths().union(&with_parents(&set, whole.ty()));
        pruned = whole.without(&whole.paths().difference(&kept));
    }
    pruned
}

/// Puts back what the manager did not own before either.
fn with_dangling(
    merged: &View,
    pruned: View,
    last: &Set,
    version: &str,
    context: &Context<'_>,
) -> View {
    let Some(pruned) = in_version(&pruned.object, version, context) else { return pruned };
    let gone = merged.paths().difference(&pruned.paths());
    merged.without(&gone.intersection(last))
}
