//! Get and list: states of a resource, cut from the history.
//!
//! A list is a vector of shared objects at one revision; whoever encodes it streams their bytes.
//! Pages need no held snapshot: each is cut from the history as it was at the first page's
//! revision, as far back as the ring reaches, and after that gets 410.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::options::{ListOptions, State, too_large};
use super::{Ask, Engine, components};
use crate::api::registry::Resource;
use crate::api::selector::{FieldSelector, LabelSelector};
use crate::api::status::{Details, Status};
use crate::api::tree::Value;
use crate::history::{Header, Object, Snapshot};

/// Objects of one resource at one revision.
#[derive(Debug)]
pub struct List {
    /// The revision of the list.
    pub revision: u64,
    /// The objects, in order of namespace and name.
    pub items: Vec<Arc<Object>>,
    /// The token for the next page; empty at the end.
    pub resume: String,
    /// How many objects the next pages have, where that is known.
    pub remaining: Option<usize>,
}

impl Engine {
    /// Reads one object.
    ///
    /// # Errors
    /// 404, or 504 for a revision that has not been reached.
    pub fn get(&self, ask: &Ask, state: State) -> Result<Arc<Object>, Status> {
        if let State::NotOlderThan(asked) | State::Exact(asked) = state {
            self.check_reached(asked)?;
        }
        let found = match components::make(&ask.resource) {
            true => components::one(ask),
            false => self.history.get(&ask.key()),
        };
        found.ok_or_else(|| ask.not_found())
    }

    /// Lists objects.
    ///
    /// # Errors
    /// 400 for selectors and tokens that make no sense, 410 for a state that is gone, 504 for one
    /// that has not been reached.
    pub fn list(&self, ask: &Ask, options: &ListOptions) -> Result<List, Status> {
        check_fields(&ask.resource, &options.fields)?;
        let filter = Filter::new(ask, &options.labels, &options.fields);
        if components::make(&ask.resource) {
            let mut page = Page::new(0);
            page.fill(components::all(&ask.resource).iter(), &filter);
            return Ok(List {
                revision: 0,
                items: page.items,
                remaining: None,
                resume: String::new(),
            });
        }
        let (snapshot, from) = self.state(ask, options)?;
        let mut page = Page::new(options.limit);
        match from {
            Some(Place { namespace, name }) => {
                let rest = snapshot.range_from(&namespace, &name);
                page.fill(rest.take_while(|o| filter.in_scope(&o.header)), &filter);
            }
            None => page.fill(snapshot.in_namespace(&ask.namespace), &filter),
        }
        let all = options.labels.is_everything() && options.fields.is_everything();
        let resume = page.next.as_ref().map(|place| token(snapshot.revision, place));
        Ok(List {
            revision: snapshot.revision,
            items: page.items,
            remaining: resume.as_ref().filter(|_| all).map(|_| page.left),
            resume: resume.unwrap_or_default(),
        })
    }

    /// The state that a list reads, and where in it the page begins.
    fn state(&self, ask: &Ask, options: &ListOptions) -> Result<(Snapshot, Option<Place>), Status> {
        let storage = &ask.resource.storage;
        if options.resume.is_empty() {
            let snapshot = match options.state {
                State::Newest | State::NotOlderThan(0) => self.history.snapshot(storage),
                State::NotOlderThan(asked) => {
                    self.check_reached(asked)?;
                    self.history.snapshot(storage)
                }
                State::Exact(asked) => {
                    self.check_reached(asked)?;
                    let gone = |_| {
                        Status::expired(format!(
                            "The provided resource version {asked} is too old to be read."
                        ))
                    };
                    self.history.at(storage, asked).map_err(gone)?
                }
            };
            return Ok((snapshot, None));
        }
        let (revision, place) = read_token(&options.resume)?;
        let Some(revision) = revision else {
            return Ok((self.history.snapshot(storage), Some(place)));
        };
        let snapshot = self.history.at(storage, revision).map_err(|_| expired(&place))?;
        Ok((snapshot, Some(place)))
    }

    pub(super) fn check_reached(&self, asked: u64) -> Result<(), Status> {
        let current = self.history.revision();
        if asked > current { Err(too_large(asked, current)) } else { Ok(()) }
    }
}

/// Which objects a reader wants.
#[derive(Clone)]
pub(super) struct Filter {
    namespace: String,
    labels: LabelSelector,
    fields: FieldSelector,
    /// Whose objects must be looked into, since their headers do not hold what is asked for.
    look_into: Option<Arc<Resource>>,
}

impl Filter {
    pub(super) fn new(ask: &Ask, labels: &LabelSelector, fields: &FieldSelector) -> Self {
        let mut fields = fields.clone();
        for (path, ..) in &mut fields.terms {
            *path = ask.resource.rules.indexed(path).to_owned();
        }
        if !ask.name.is_empty() {
            fields.terms.push(("metadata.name".into(), true, ask.name.clone()));
        }
        let paths = ask.resource.rules.selectable_paths();
        let inside = fields.terms.iter().any(|(path, ..)| paths.contains(path));
        Self {
            namespace: ask.namespace.clone(),
            labels: labels.clone(),
            fields,
            look_into: inside.then(|| Arc::clone(&ask.resource)),
        }
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn in_scope(&self, header: &Header) -> bool {
        self.namespace.is_empty() || *header.key.namespace == self.namespace
    }

    pub(super) fn matches(&self, object: &Object) -> bool {
        let header = &object.header;
        self.in_scope(header) && self.labels.matches(header) && self.has_fields(object)
    }

    fn has_fields(&self, object: &Object) -> bool {
        let Some(resource) = &self.look_into else {
            return self.fields.matches(|path| object.header.field(path));
        };
        let tree = object.tree().unwrap_or_default();
        let paths = self.fields.terms.iter().map(|(path, ..)| path);
        let read = |path: &String| (path.clone(), resource.rules.selected(&tree, path));
        let values: BTreeMap<String, String> = paths.map(read).collect();
        self.fields.matches(|path| match path.starts_with("metadata.") {
            true => object.header.field(path),
            false => values.get(path).map(String::as_str),
        })
    }
}

/// The objects of one page as it is being filled.
struct Page {
    limit: usize,
    items: Vec<Arc<Object>>,
    next: Option<Place>,
    left: usize,
}

impl Page {
    fn new(limit: usize) -> Self {
        let limit = if limit == 0 { usize::MAX } else { limit };
        Self { limit, items: Vec::new(), next: None, left: 0 }
    }

    fn fill<'a>(&mut self, objects: impl Iterator<Item = &'a Arc<Object>>, filter: &Filter) {
        for object in objects.filter(|o| filter.matches(o)) {
            if self.items.len() < self.limit {
                self.items.push(Arc::clone(object));
                continue;
            }
            self.next.get_or_insert_with(|| Place::of(&object.header));
            self.left += 1;
        }
    }
}

/// Where the next page begins.
struct Place {
    namespace: String,
    name: String,
}

impl Place {
    fn of(header: &Header) -> Self {
        Self { namespace: header.key.namespace.to_string(), name: header.key.name.to_string() }
    }
}

/// What tokens of this form carry, so that others are told apart.
const TOKEN: &str = "meta.k8s.io/v1";
/// The revision in a token that continues with whatever there is now.
const INCONSISTENT: i64 = -1;

fn token(revision: u64, place: &Place) -> String {
    token_at(i64::try_from(revision).unwrap_or(INCONSISTENT), place)
}

fn token_at(revision: i64, place: &Place) -> String {
    let value = Value::from([
        ("v", TOKEN.into()),
        ("rv", revision.into()),
        ("ns", place.namespace.as_str().into()),
        ("start", place.name.as_str().into()),
    ]);
    URL_SAFE_NO_PAD.encode(value.encode())
}

fn read_token(text: &str) -> Result<(Option<u64>, Place), Status> {
    let broken = |why: &str| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let json =
        URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|e| broken(&e.to_string()))?;
    let value = Value::parse(&json).map_err(|e| broken(&e.to_string()))?;
    if value.get("v").str() != TOKEN || value.get("start").str().is_empty() {
        return Err(broken("server does not recognize this encoded version"));
    }
    let place = Place {
        namespace: value.get("ns").str().to_owned(),
        name: value.get("start").str().to_owned(),
    };
    let revision = value.get("rv").as_int().unwrap_or(0);
    match revision {
        INCONSISTENT => Ok((None, place)),
        1.. => Ok((u64::try_from(revision).ok(), place)),
        _ => Err(broken("incorrect encoded start resourceVersion")),
    }
}

/// 410 for a page of a state that is gone, with a token that goes on inconsistently.
fn expired(place: &Place) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can \
         start a new list without the continue parameter, or use the continue token in this \
         response to retrieve the remainder of the results. Continuing with the provided token \
         results in an inconsistent list - objects that were created, modified, or deleted between \
         the time the first chunk was returned and now may show up in the list.",
    );
    let resume = token_at(INCONSISTENT, place);
    status.details = Some(Box::new(Details { resume, ..Details::default() }));
    status
}

/// Whether objects of a resource can be selected by all of these fields.
pub(super) fn check_fields(resource: &Resource, fields: &FieldSelector) -> Result<(), Status> {
    let selectable = resource.rules.selectable();
    let paths = resource.rules.selectable_paths();
    let known = |path: &str| {
        matches!(path, "metadata.name" | "metadata.namespace")
            || selectable.contains(&path)
            || paths.iter().any(|known| known == path)
    };
    let Some((path, ..)) = fields.terms.iter().find(|(path, ..)| !known(path)) else {
        return Ok(());
    };
    if selectable.is_empty() && !resource.custom {
        return Err(Status::bad_request(format!(
            "{path:?} is not a known field selector: only \"metadata.name\", \
             \"metadata.namespace\""
        )));
    }
    Err(Status::bad_request(format!("field label not supported: {path}")))
}
