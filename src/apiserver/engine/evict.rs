//! Eviction: the deletion of a pod that the pod's disruption budget must allow.

use super::action::success;
use super::options::{DeleteOptions, Query, WriteOptions};
use super::{Answer, Ask, Engine, as_served, clock};
use crate::admission::Operation;
use crate::api::meta::{GroupResource, Meta};
use crate::api::selector::LabelSelector;
use crate::api::status::{Cause, Status};
use crate::api::time;
use crate::api::tree::Value;

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// More evictions than this that the budget's controller has not seen are too many.
const PENDING_MAX: usize = 2000;
/// When to ask again of a budget that is being looked at.
const RETRY_S: u32 = 10;

impl Engine {
    /// Deletes a pod on behalf of somebody who clears a node.
    ///
    /// # Errors
    /// 429 while the pod's budget does not allow it; those of a deletion.
    pub(super) async fn evict(
        &self,
        ask: &Ask,
        body: &Value,
        options: &WriteOptions,
    ) -> Result<Answer, Status> {
        if ![ask.name.as_str(), ""].contains(&body.name()) {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let mut given = body.get("deleteOptions").clone();
        if given.is_null() {
            given = Value::object();
        }
        let mut delete = DeleteOptions::new(&Query::default(), given)?;
        delete.write.dry_run |= options.dry_run;
        let mut eviction = body.clone();
        self.admit(ask, Operation::Create, &mut eviction, None, options).await?;
        let ask = Ask { subresource: "", ..ask.clone() };
        let current = self.history.get(&ask.key()).ok_or_else(|| ask.not_found())?;
        let pod = as_served(&ask.resource, &current)?;
        if let Some(budget) = self.budget_of(&ask, &pod)? {
            // A pod that does not count must still not count when it goes.
            let counts = is_ready(&pod) || !spares_unready(&budget);
            if counts {
                self.spend(&ask, &budget, &delete).await?;
            } else if delete.revision.is_none() {
                delete.revision = Some(pod.resource_version().to_owned());
            }
        }
        self.mark(&ask, &mut delete).await?;
        self.delete(&ask, &delete).await?;
        Ok(success(201))
    }

    /// The budget that guards a pod; a pod that has not started or has ended is not guarded.
    fn budget_of(&self, ask: &Ask, pod: &Value) -> Result<Option<Value>, Status> {
        let phase = pod.at(&["status", "phase"]).str();
        if pod.is_deleting() || matches!(phase, "Succeeded" | "Failed" | "Pending") {
            return Ok(None);
        }
        let resource = GroupResource::new("policy", "poddisruptionbudgets");
        let all = self.history.snapshot(&resource);
        let labels = pod.metadata().get("labels");
        let selects = |budget: &Value| {
            let selector = budget.at(&["spec", "selector"]);
            let found = LabelSelector::from_object(selector);
            !selector.is_null() && found.is_ok_and(|selector| selector.matches(labels))
        };
        let trees = all.in_namespace(&ask.namespace).filter_map(|budget| budget.tree().ok());
        let mut budgets = trees.filter(selects);
        let first = budgets.next();
        if budgets.next().is_some() {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource \
                 does not support.",
            ));
        }
        Ok(first)
    }

    /// Takes one disruption off a budget.
    async fn spend(&self, ask: &Ask, budget: &Value, delete: &DeleteOptions) -> Result<(), Status> {
        let registry = self.registry();
        let found = registry.get("policy", "v1", "poddisruptionbudgets");
        let resource = found.ok_or_else(Status::no_such_path)?.clone();
        let name = budget.name().to_owned();
        let budget = Ask { resource, subresource: "status", name, ..ask.clone() };
        let transform = |stored: &Value, _: &mut Vec<String>| spent(stored, &ask.name);
        self.change(&budget, &delete.write, &transform).await.map(drop)
    }

    /// Notes on the pod why it goes.
    async fn mark(&self, ask: &Ask, delete: &mut DeleteOptions) -> Result<(), Status> {
        if delete.write.dry_run {
            return Ok(());
        }
        let status = Ask { subresource: "status", ..ask.clone() };
        let revision = delete.revision.clone();
        let transform = |pod: &Value, _: &mut Vec<String>| {
            if revision.as_deref().is_some_and(|wanted| wanted != pod.resource_version()) {
                return Err(Status::too_many_requests(REFUSED, RETRY_S));
            }
            Ok(disrupted(pod))
        };
        let written = self.change(&status, &delete.write, &transform).await?;
        if revision.is_some() {
            let pod = written.answer.into_value(&ask.resource)?;
            delete.revision = Some(pod.resource_version().to_owned());
        }
        Ok(())
    }
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod.at(&["status", "conditions"]).items().iter();
    conditions.any(|c| c.get("type").str() == "Ready" && c.get("status").str() == "True")
}

/// Whether a budget lets pods go that are not ready.
fn spares_unready(budget: &Value) -> bool {
    let count = |name: &str| budget.at(&["status", name]).as_int().unwrap_or(0);
    let (current, desired) = (count("currentHealthy"), count("desiredHealthy"));
    budget.at(&["spec", "unhealthyPodEvictionPolicy"]).str() == "AlwaysAllow"
        || desired > 0 && current >= desired
}

/// The pod with the condition that says why it goes.
fn disrupted(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let condition = Value::from([
        ("type", "DisruptionTarget".into()),
        ("status", "True".into()),
        ("reason", "EvictionByEvictionAPI".into()),
        ("message", "Eviction API: evicting".into()),
        ("lastProbeTime", Value::Null),
        ("lastTransitionTime", time::format(clock::now()).into()),
    ]);
    let list = pod.entry_at(&["status", "conditions"]);
    let mut conditions = list.items().to_vec();
    conditions.retain(|condition| condition.get("type").str() != "DisruptionTarget");
    conditions.push(condition);
    *list = conditions.into();
    pod
}

/// The budget with one disruption less, that of this pod; or why it allows none.
fn spent(budget: &Value, pod: &str) -> Result<Value, Status> {
    let status = budget.get("status");
    let count = |name: &str| status.get(name).as_int().unwrap_or(0);
    let name = budget.name();
    if count("observedGeneration") < budget.generation() {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refusal(RETRY_S, why));
    }
    if status.get("disruptedPods").fields().count() > PENDING_MAX {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden("policy", "poddisruptionbudgets", name, why));
    }
    let allowed = count("disruptionsAllowed");
    if allowed <= 0 {
        let (desired, current) = (count("desiredHealthy"), count("currentHealthy"));
        let why = match current <= desired {
            true => format!(
                "The disruption budget {name} needs {desired} healthy pods and has {current} \
                 currently"
            ),
            false => format!("The disruption budget {name} does not allow evicting pods currently"),
        };
        return Err(refusal(0, why));
    }
    let mut spent = budget.clone();
    spent.entry("status").set("disruptionsAllowed", allowed - 1);
    let now = time::format(clock::now());
    spent.entry_at(&["status", "disruptedPods"]).set(pod, now);
    Ok(spent)
}

fn refusal(retry_s: u32, why: String) -> Status {
    let mut status = Status::too_many_requests(REFUSED, retry_s);
    let cause = Cause { reason: "DisruptionBudget", message: why, field: String::new() };
    if let Some(details) = &mut status.details {
        details.causes.push(cause);
    }
    status
}
