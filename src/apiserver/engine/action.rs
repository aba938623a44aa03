//! Posts that make no object of their resource: bindings, evictions, tokens, reviews.

use std::sync::Arc;

use super::create::check_namespace;
use super::options::WriteOptions;
use super::patch::body_type;
use super::{Answer, Ask, Engine, Written, clock};
use crate::admission::Operation;
use crate::api::meta::{Meta, api_version};
use crate::api::registry::Errors;
use crate::api::status::Status;
use crate::api::time;
use crate::api::tree::Value;
use crate::auth::reviews;

impl Engine {
    /// Does what a post asks for; `None` where it is an ordinary create.
    pub(super) async fn act(
        &self,
        ask: &Ask,
        body: &Value,
        options: &WriteOptions,
    ) -> Option<Result<Written, Status>> {
        let resource = &ask.resource;
        let place = (&*resource.group, &*resource.plural, ask.subresource);
        let answer = match place {
            ("", "pods", "binding") => self.bind(ask, body, options).await,
            ("", "bindings", "") => self.bind_named(ask, body, options).await,
            ("", "pods", "eviction") => self.evict(ask, body, options).await,
            ("", "serviceaccounts", "token") => self.issue(ask, body, options).await,
            ("authentication.k8s.io" | "authorization.k8s.io", ..) => self.review(ask, body).await,
            _ => return None,
        };
        let typed =
            |answer| Written { answer: typed(ask, answer), created: true, warnings: vec![] };
        Some(answer.map(typed))
    }

    /// Answers a review.
    async fn review(&self, ask: &Ask, body: &Value) -> Result<Answer, Status> {
        let identity = self.identity.as_ref().ok_or_else(Status::no_such_path)?;
        let (user, authorizer) = (&ask.user, &*self.authorizer);
        let mut given = body.clone();
        check_namespace(&ask.namespace, &mut given)?;
        let mut errors = Errors::default();
        ask.resource.rules.validate(&given, &mut errors);
        ask.valid("", errors)?;
        let body = &given;
        let answer = match &*ask.resource.plural {
            "tokenreviews" => {
                reviews::token(body, &identity.tokens, identity.issuer.as_deref()).await?
            }
            "selfsubjectreviews" => reviews::self_subject(body, user),
            "selfsubjectaccessreviews" => reviews::self_access(body, user, authorizer),
            "subjectaccessreviews" | "localsubjectaccessreviews" => {
                reviews::access_of(body, authorizer)
            }
            "selfsubjectrulesreviews" => reviews::self_rules(body, user, &identity.authorization)?,
            _ => return Err(Status::no_such_path()),
        };
        Ok(Answer::Made(answer))
    }

    /// Issues a token for a service account.
    async fn issue(
        &self,
        ask: &Ask,
        body: &Value,
        options: &WriteOptions,
    ) -> Result<Answer, Status> {
        let identity = self.identity.as_ref().ok_or_else(Status::no_such_path)?;
        let mut request = body.clone();
        self.admit(ask, Operation::Create, &mut request, None, options).await?;
        identity.tokens.issue(&ask.namespace, &ask.name, &request).map(Answer::Made)
    }

    /// Assigns the pod to a node that the posted binding is named after.
    async fn bind_named(
        &self,
        ask: &Ask,
        body: &Value,
        options: &WriteOptions,
    ) -> Result<Answer, Status> {
        let registry = self.registry();
        let pods = registry.get("", "v1", "pods").ok_or_else(Status::no_such_path)?;
        let (resource, name) = (Arc::clone(pods), body.name().to_owned());
        let ask = Ask { resource, subresource: "binding", name, ..ask.clone() };
        self.bind(&ask, body, options).await
    }

    /// Assigns a pod to a node.
    async fn bind(
        &self,
        ask: &Ask,
        body: &Value,
        options: &WriteOptions,
    ) -> Result<Answer, Status> {
        check_binding(ask, body)?;
        let mut binding = body.clone();
        self.admit(ask, Operation::Create, &mut binding, None, options).await?;
        let transform = |pod: &Value, _: &mut Vec<String>| assigned(ask, pod, &binding);
        self.change(ask, options, &transform).await?;
        Ok(success(201))
    }
}

/// An answer with its type: that of the request, where the client left it out.
fn typed(ask: &Ask, answer: Answer) -> Answer {
    match answer {
        Answer::Made(mut value) if value.get("kind").str().is_empty() => {
            let ((group, version, kind), _) = body_type(ask);
            value.set("kind", kind);
            value.set("apiVersion", api_version(&group, &version));
            Answer::Made(value)
        }
        answer => answer,
    }
}

pub(super) fn success(code: i64) -> Answer {
    Answer::Made(Value::from([
        ("kind", "Status".into()),
        ("apiVersion", "v1".into()),
        ("metadata", Value::object()),
        ("status", "Success".into()),
        ("code", code.into()),
    ]))
}

fn check_binding(ask: &Ask, binding: &Value) -> Result<(), Status> {
    let mut errors = Errors::default();
    let target = binding.get("target");
    let kind = target.get("kind");
    if !matches!(kind.str(), "" | "Node") {
        errors.not_supported("target.kind", kind, &["Node", "<empty>"]);
    }
    if target.get("name").str().is_empty() {
        errors.required("target.name", "");
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("", "Binding", &ask.name, errors.into_causes()))
}

/// The pod, assigned to the node that a binding names.
fn assigned(ask: &Ask, pod: &Value, binding: &Value) -> Result<Value, Status> {
    let name = &ask.name;
    let node = pod.at(&["spec", "nodeName"]).str();
    if !binding.uid().is_empty() && binding.uid() != pod.uid() {
        return Err(ask.conflict(&format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            binding.uid(),
            pod.uid()
        )));
    }
    if pod.is_deleting() {
        return Err(
            ask.conflict(&format!("pod {name} is being deleted, cannot be assigned to a host"))
        );
    }
    if !node.is_empty() {
        return Err(ask.conflict(&format!("pod {name} is already assigned to node {node:?}")));
    }
    if !pod.at(&["spec", "schedulingGates"]).items().is_empty() {
        return Err(ask.conflict(&format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    let mut pod = pod.clone();
    // The binding says which pod it means by name and UID; a revision is nothing that it needs.
    pod.entry("metadata").remove("resourceVersion");
    pod.entry("spec").set("nodeName", binding.at(&["target", "name"]).str());
    for part in ["annotations", "labels"] {
        for (key, value) in binding.metadata().get(part).fields() {
            pod.entry_at(&["metadata", part]).set(key, value.clone());
        }
    }
    scheduled(&mut pod);
    Ok(pod)
}

/// Notes in the status that the pod has its node.
fn scheduled(pod: &mut Value) {
    let now = time::format(clock::now());
    let conditions = pod.entry_at(&["status", "conditions"]);
    if conditions.as_array_mut().is_none() {
        *conditions = Vec::new().into();
    }
    let Some(list) = conditions.as_array_mut() else { return };
    list.retain(|condition| condition.get("type").str() != "PodScheduled");
    list.push(Value::from([
        ("type", "PodScheduled".into()),
        ("status", "True".into()),
        ("lastProbeTime", Value::Null),
        ("lastTransitionTime", now.into()),
    ]));
}
