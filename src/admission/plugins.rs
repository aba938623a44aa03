//! The built-in plugins and the order in which they run.

use std::sync::Arc;

use async_trait::async_trait;

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

/// Runs the built-in plugins.
pub struct Plugins {
    world: World,
}

impl Plugins {
    /// Plugins that look things up in `history`, and rights in `authorization`.
    pub const fn new(history: Arc<History>, authorization: Arc<Authorization>) -> Self {
        Self { world: World::new(history, authorization) }
    }
}

#[async_trait]
impl Admission for Plugins {
    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        for plugin in PLUGINS {
            let M(name, mutate) = plugin else { continue };
            mutate(&self.world, request).inspect_err(|error| refused(name, error))?;
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<Vec<String>, Status> {
        let mut warnings = Vec::new();
        for plugin in PLUGINS {
            let (name, judged) = match plugin {
                M(..) => continue,
                V(name, validate) => (name, validate(&self.world, request).map(|()| Vec::new())),
                J(name, judge) => (name, judge(&self.world, request)),
            };
            warnings.append(&mut judged.inspect_err(|error| refused(name, error))?);
        }
        Ok(warnings)
    }

    fn charge(&self, request: &AdmissionRequest<'_>) -> Result<Vec<Charge>, Status> {
        let charged = quota::charge(&self.world, request);
        charged.inspect_err(|error| refused("ResourceQuota", error))
    }
}

fn refused(plugin: &str, error: &Status) {
    tracing::debug!(plugin, %error, "write refused");
}
