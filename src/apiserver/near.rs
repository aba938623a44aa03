//! The client of this process's own components: the same door as HTTP's, without the HTTP.
//!
//! A call is authorised, admitted and validated as anybody's. A view shows the history itself; it
//! is authorised once, when it is taken, so that what works near works far.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::engine::{Answer, Ask, DeleteOptions, Engine, Query, State, WriteOptions, body_type};
use crate::api::codec::{FieldValidation, conform};
use crate::api::patch::Patch;
use crate::api::registry::Resource;
use crate::api::selector::FieldSelector;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::auth::{Attributes, UserInfo};
use crate::client::{Call, Client, Gvr, PatchKind, Served, Verb, View};
use crate::history::History;

/// A client in the server's own process, acting as one user.
pub struct Near {
    engine: Arc<Engine>,
    user: Arc<UserInfo>,
    /// The name under which it owns fields.
    manager: String,
    synced: watch::Sender<bool>,
    /// What a view shows that its user may not see.
    nothing: Arc<History>,
    never: watch::Sender<bool>,
}

impl Near {
    /// A client that acts as `user`.
    pub fn new(engine: Arc<Engine>, user: UserInfo) -> Self {
        Self {
            engine,
            manager: manager(&user.name).to_owned(),
            user: Arc::new(user),
            synced: watch::Sender::new(true),
            nothing: History::new(0, 0),
            never: watch::Sender::new(false),
        }
    }

    fn ask(&self, call: &Call) -> Result<Ask, Status> {
        let Gvr { group, version, plural } = &call.resource;
        let registry = self.engine.registry();
        let resource = registry.get(group, version, plural).ok_or_else(Status::no_such_path)?;
        if !call.subresource.is_empty() && resource.subresource(call.subresource).is_none() {
            return Err(Status::no_such_path());
        }
        Ok(Ask {
            user: Arc::clone(&self.user),
            resource: Arc::clone(resource),
            subresource: call.subresource,
            namespace: call.namespace.clone(),
            name: call.name.clone(),
        })
    }

    async fn perform(&self, ask: &Ask, verb: Verb, body: Value) -> Result<Answer, Status> {
        let options = WriteOptions { manager: self.manager.clone(), ..WriteOptions::default() };
        let engine = &self.engine;
        let written = match verb {
            Verb::Get => return engine.read(ask, State::Newest),
            Verb::Create => engine.post(ask, conformed(ask, body)?, &options).await?,
            Verb::Update => engine.replace(ask, conformed(ask, body)?, &options).await?,
            Verb::Patch(kind) => {
                let patch = read_patch(kind, &body.encode())?;
                engine.patch(ask, &patch, FieldValidation::Strict, &options).await?
            }
            Verb::Delete => {
                engine.delete(ask, &DeleteOptions::new(&Query::default(), body)?).await?
            }
        };
        Ok(written.answer)
    }
}

/// What a component's program is called elsewhere: under that name it owns fields.
fn manager(user: &str) -> &str {
    match user.strip_prefix("system:") {
        Some(node) if node.starts_with("node:") => "kubelet",
        Some("apiserver") => "kube-apiserver",
        Some(component) => component,
        None => user,
    }
}

fn verb_name(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "get",
        Verb::Create => "create",
        Verb::Update => "update",
        Verb::Patch(_) => "patch",
        Verb::Delete => "delete",
    }
}

fn read_patch(kind: PatchKind, text: &[u8]) -> Result<Patch, Status> {
    Ok(match kind {
        PatchKind::Json => Patch::json(text),
        PatchKind::Merge => Patch::merge(text),
        PatchKind::Strategic => Patch::strategic(text),
    }?)
}

/// A component's object in the shape of its kind. What its kind does not have is the component's
/// mistake, and is refused.
fn conformed(ask: &Ask, body: Value) -> Result<Value, Status> {
    let (_, schema) = body_type(ask);
    let decoded = conform(body, &schema).map_err(|error| Status::bad_request(error.to_string()))?;
    let accepted = decoded.accept(FieldValidation::Strict);
    accepted.map(|(value, _)| value).map_err(|error| Status::bad_request(error.to_string()))
}

#[async_trait]
impl Client for Near {
    async fn call(&self, call: Call) -> Result<Value, Status> {
        let ask = self.ask(&call)?;
        self.engine.authorize(&ask.attributes(verb_name(call.verb)))?;
        let answer = self.perform(&ask, call.verb, call.body).await?;
        answer.into_value(&ask.resource)
    }

    fn view(&self, resource: &Gvr, field_selector: &str) -> View {
        let storage = self
            .engine
            .registry()
            .get(&resource.group, &resource.version, &resource.plural)
            .map_or_else(|| resource.group_resource(), |served| served.storage.clone());
        let fields = FieldSelector::parse(field_selector).ok();
        for verb in ["list", "watch"] {
            let (group, plural) = (&resource.group, &resource.plural);
            let required = |path| fields.as_ref().and_then(|f| f.required(path)).unwrap_or("");
            let wanted = Attributes {
                fields: fields.as_ref(),
                namespace: required("metadata.namespace"),
                name: required("metadata.name"),
                ..Attributes::resource(&self.user, verb, group, plural)
            };
            if let Err(refused) = self.engine.authorize(&wanted) {
                tracing::error!(error = %refused, "a component may not see what it works on");
                return View::new(Arc::clone(&self.nothing), storage, self.never.subscribe());
            }
        }
        View::new(Arc::clone(self.engine.history()), storage, self.synced.subscribe())
    }

    async fn served(&self) -> Result<Vec<Served>, Status> {
        let stored = |verbs: &[&str]| ["list", "watch", "delete"].iter().all(|v| verbs.contains(v));
        let served = self.engine.registry();
        let entry = |r: &Arc<Resource>| Served {
            resource: Gvr {
                group: r.group.clone().into(),
                version: r.version.clone().into(),
                plural: r.plural.clone().into(),
            },
            kind: r.kind.clone(),
            namespaced: r.namespaced(),
            stored: stored(&r.verbs),
        };
        Ok(served.iter().map(entry).collect())
    }
}
