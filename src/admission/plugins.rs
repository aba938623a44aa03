//! The built-in plugins and the order in which they run.

use std::sync::Arc;

use async_trait::async_trait;

use super::meters::{Meters, Round, Stage};
use super::{
    Admission, AdmissionRequest, Charge, certificates, classes, lifecycle, limits, nodes, pods,
    priority, quota, rbac, restriction, runtime_class, security, service_account,
};
use crate::api::meta::{GroupResource, Key};
use crate::api::status::Status;
use crate::auth::Authorization;
use crate::history::{History, Object};

/// What plugins may look at besides the request.
pub struct World {
    history: Arc<History>,
    pub(super) authorization: Arc<Authorization>,
}

impl World {
    pub(super) const fn new(history: Arc<History>, authorization: Arc<Authorization>) -> Self {
        Self { history, authorization }
    }

    /// An object as it is stored.
    pub(super) fn find(
        &self,
        (group, plural): (&str, &str),
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Object>> {
        self.history.get(&Key::new(&GroupResource::new(group, plural), namespace, name))
    }

    /// The objects of a resource in a namespace as they are stored.
    pub(super) fn within(&self, resource: &GroupResource, namespace: &str) -> Vec<Arc<Object>> {
        self.history.snapshot(resource).in_namespace(namespace).cloned().collect()
    }

    /// All objects of a resource as they are stored.
    pub(super) fn all(&self, group: &str, plural: &str) -> Vec<Arc<Object>> {
        let snapshot = self.history.snapshot(&GroupResource::new(group, plural));
        snapshot.iter().cloned().collect()
    }
}

type Mutate = fn(&World, &mut AdmissionRequest<'_>) -> Result<(), Status>;
type Validate = fn(&World, &AdmissionRequest<'_>) -> Result<(), Status>;
type Judge = fn(&World, &AdmissionRequest<'_>) -> Result<Vec<String>, Status>;

/// One plugin: its upstream name, and what it does in which of the two rounds.
enum Plugin {
    Mutate(&'static str, Mutate),
    Validate(&'static str, Validate),
    /// As `Validate`, with warnings.
    Judge(&'static str, Judge),
}
use Plugin::{Judge as J, Mutate as M, Validate as V};

/// All plugins in upstream's order.
const PLUGINS: &[Plugin] = &[
    M("NamespaceLifecycle", lifecycle::admit),
    M("LimitRanger", limits::complete),
    V("LimitRanger", limits::check),
    M("ServiceAccount", service_account::admit),
    M("NodeRestriction", restriction::admit),
    M("TaintNodesByCondition", nodes::taint),
    J("PodSecurity", security::judge),
    M("Priority", priority::resolve),
    V("Priority", priority::validate),
    M("DefaultTolerationSeconds", pods::tolerations),
    M("DefaultStorageClass", classes::storage),
    M("StorageObjectInUseProtection", classes::protect),
    V("PersistentVolumeClaimResize", classes::resize),
    M("RuntimeClass", runtime_class::apply),
    V("RuntimeClass", runtime_class::check),
    M("CertificateRequester", certificates::requester),
    M("CertificateConditions", certificates::date),
    V("CertificateApproval", certificates::approve),
    V("CertificateSigning", certificates::sign),
    V("PodCertificateSigning", certificates::sign_for_pod),
    V("ClusterTrustBundleAttest", certificates::attest),
    V("CertificateSubjectRestriction", certificates::restrict_subject),
    M("DefaultIngressClass", classes::ingress),
    V("PodResizeValidator", pods::resize),
    // Upstream has this in the storage of roles, after all mutation.
    V("RBACEscalation", rbac::validate),
];

/// The name of the plugin that charges quotas, which comes after all others.
const QUOTA: &str = "ResourceQuota";

/// Runs the built-in plugins.
pub struct Plugins {
    world: World,
    meters: Arc<Meters>,
}

impl Plugins {
    /// Plugins that look things up in `history`, and rights in `authorization`.
    pub fn new(history: Arc<History>, authorization: Arc<Authorization>) -> Self {
        let meters = Arc::new(Meters::new(PLUGINS.len() + 1));
        Self { world: World::new(history, authorization), meters }
    }

    /// What is counted of the plugins.
    pub fn meters(&self) -> Arc<Meters> {
        Arc::clone(&self.meters)
    }

    fn change(
        &self,
        request: &mut AdmissionRequest<'_>,
        round: &mut Round<'_>,
    ) -> Result<(), Status> {
        for (index, plugin) in PLUGINS.iter().enumerate() {
            let M(name, mutate) = plugin else { continue };
            let done = mutate(&self.world, request);
            round.took(index, name, done.is_err());
            done.inspect_err(|error| refused(name, error))?;
        }
        Ok(())
    }

    fn judge(
        &self,
        request: &AdmissionRequest<'_>,
        round: &mut Round<'_>,
    ) -> Result<Vec<String>, Status> {
        let mut warnings = Vec::new();
        for (index, plugin) in PLUGINS.iter().enumerate() {
            let (name, judged) = match plugin {
                M(..) => continue,
                V(name, validate) => (name, validate(&self.world, request).map(|()| Vec::new())),
                J(name, judge) => (name, judge(&self.world, request)),
            };
            round.took(index, name, judged.is_err());
            warnings.append(&mut judged.inspect_err(|error| refused(name, error))?);
        }
        Ok(warnings)
    }
}

#[async_trait]
impl Admission for Plugins {
    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        let mut round = self.meters.round(Stage::Admit, request.operation);
        let done = self.change(request, &mut round);
        round.over(done.is_err());
        done
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<Vec<String>, Status> {
        let mut round = self.meters.round(Stage::Validate, request.operation);
        let judged = self.judge(request, &mut round);
        round.over(judged.is_err());
        judged
    }

    fn charge(&self, request: &AdmissionRequest<'_>) -> Result<Vec<Charge>, Status> {
        let mut round = self.meters.round(Stage::Validate, request.operation);
        let charged = quota::charge(&self.world, request);
        round.took(PLUGINS.len(), QUOTA, charged.is_err());
        charged.inspect_err(|error| refused(QUOTA, error))
    }
}

fn refused(plugin: &str, error: &Status) {
    tracing::debug!(plugin, %error, "write refused");
}
