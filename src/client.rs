//! How the rest of the program reads and writes the cluster, near or far.
//!
//! Scheduler, controllers and node see only [`Client`]. In a server process it reads the history
//! directly and writes through the same authorisation, admission and validation as anyone else;
//! in an agent it is HTTPS feeding a history of the same type. Nothing that uses it can tell.

pub mod events;
pub mod remote;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;

use crate::api::meta::GroupResource;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::history::{Cursor, Gone, History, Object, Snapshot};

/// A resource in the version that a component speaks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gvr {
    /// API group, empty for core.
    pub group: Cow<'static, str>,
    /// Version.
    pub version: Cow<'static, str>,
    /// Plural name.
    pub plural: Cow<'static, str>,
}

impl Gvr {
    /// How the history names it.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&self.group, &self.plural)
    }
}

macro_rules! resources {
    ($($(#[$doc:meta])* $name:ident = $group:literal, $version:literal, $plural:literal;)*) => {$(
        $(#[$doc])*
        pub const $name: Gvr = Gvr {
            group: Cow::Borrowed($group),
            version: Cow::Borrowed($version),
            plural: Cow::Borrowed($plural),
        };
    )*};
}
resources! {
    /// Namespaces.
    NAMESPACES = "", "v1", "namespaces";
    /// Nodes.
    NODES = "", "v1", "nodes";
    /// Pods.
    PODS = "", "v1", "pods";
    /// Services.
    SERVICES = "", "v1", "services";
    /// ResourceQuotas.
    RESOURCEQUOTAS = "", "v1", "resourcequotas";
    /// ReplicationControllers.
    REPLICATIONCONTROLLERS = "", "v1", "replicationcontrollers";
    /// Endpoints.
    ENDPOINTS = "", "v1", "endpoints";
    /// ConfigMaps.
    CONFIGMAPS = "", "v1", "configmaps";
    /// Secrets.
    SECRETS = "", "v1", "secrets";
    /// ServiceAccounts.
    SERVICEACCOUNTS = "", "v1", "serviceaccounts";
    /// Events.
    EVENTS = "", "v1", "events";
    /// EndpointSlices.
    ENDPOINTSLICES = "discovery.k8s.io", "v1", "endpointslices";
    /// Leases.
    LEASES = "coordination.k8s.io", "v1", "leases";
    /// ReplicaSets.
    REPLICASETS = "apps", "v1", "replicasets";
    /// Deployments.
    DEPLOYMENTS = "apps", "v1", "deployments";
    /// DaemonSets.
    DAEMONSETS = "apps", "v1", "daemonsets";
    /// StatefulSets.
    STATEFULSETS = "apps", "v1", "statefulsets";
    /// ControllerRevisions.
    CONTROLLERREVISIONS = "apps", "v1", "controllerrevisions";
    /// PodDisruptionBudgets.
    PODDISRUPTIONBUDGETS = "policy", "v1", "poddisruptionbudgets";
    /// PriorityClasses.
    PRIORITYCLASSES = "scheduling.k8s.io", "v1", "priorityclasses";
    /// RuntimeClasses.
    RUNTIMECLASSES = "node.k8s.io", "v1", "runtimeclasses";
    /// Jobs.
    JOBS = "batch", "v1", "jobs";
    /// CronJobs.
    CRONJOBS = "batch", "v1", "cronjobs";
    /// CertificateSigningRequests.
    CERTIFICATESIGNINGREQUESTS = "certificates.k8s.io", "v1", "certificatesigningrequests";
    /// ClusterTrustBundles.
    CLUSTERTRUSTBUNDLES = "certificates.k8s.io", "v1", "clustertrustbundles";
    /// PodCertificateRequests.
    PODCERTIFICATEREQUESTS = "certificates.k8s.io", "v1", "podcertificaterequests";
    /// SubjectAccessReviews.
    SUBJECTACCESSREVIEWS = "authorization.k8s.io", "v1", "subjectaccessreviews";
    /// ClusterRoleBindings.
    CLUSTERROLEBINDINGS = "rbac.authorization.k8s.io", "v1", "clusterrolebindings";
    /// ClusterRoles.
    CLUSTERROLES = "rbac.authorization.k8s.io", "v1", "clusterroles";
    /// PersistentVolumes.
    PERSISTENTVOLUMES = "", "v1", "persistentvolumes";
    /// PersistentVolumeClaims.
    PERSISTENTVOLUMECLAIMS = "", "v1", "persistentvolumeclaims";
    /// VolumeAttributesClasses.
    VOLUMEATTRIBUTESCLASSES = "storage.k8s.io", "v1", "volumeattributesclasses";
    /// IPAddresses.
    IPADDRESSES = "networking.k8s.io", "v1", "ipaddresses";
    /// ServiceCIDRs.
    SERVICECIDRS = "networking.k8s.io", "v1", "servicecidrs";
    /// FlowSchemas.
    FLOWSCHEMAS = "flowcontrol.apiserver.k8s.io", "v1", "flowschemas";
    /// PriorityLevelConfigurations.
    PRIORITYLEVELCONFIGURATIONS =
        "flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations";
    /// APIServices.
    APISERVICES = "apiregistration.k8s.io", "v1", "apiservices";
    /// CustomResourceDefinitions.
    CUSTOMRESOURCEDEFINITIONS = "apiextensions.k8s.io", "v1", "customresourcedefinitions";
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Make an object, or post to a subresource.
    Create,
    /// Replace an object.
    Update,
    /// Change an object.
    Patch(PatchKind),
    /// Remove an object.
    Delete,
}

/// The form of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge patch.
    Strategic,
}

/// One call on one object.
#[derive(Debug, Clone)]
pub struct Call {
    /// What to do.
    pub verb: Verb,
    /// On which resource.
    pub resource: Gvr,
    /// In which namespace; empty for cluster-wide resources.
    pub namespace: String,
    /// On which object; empty for creates of new objects.
    pub name: String,
    /// On which part of it; empty for the object itself.
    pub subresource: &'static str,
    /// Object, patch or `DeleteOptions`; null where the verb takes none.
    pub body: Value,
}

/// A resource as discovery lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// What it is called in paths.
    pub resource: Gvr,
    /// The kind of its objects.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether its objects can be listed, watched and deleted: reviews and the like cannot.
    pub stored: bool,
}

/// Reads and writes the cluster as one user.
#[async_trait]
pub trait Client: Send + Sync {
    /// Performs a call and returns the answer: the object as it is now, or a `Status`.
    ///
    /// # Errors
    /// The server's `Status`; transport failures read as 503.
    async fn call(&self, call: Call) -> Result<Value, Status>;

    /// A live view of a resource; the first use of a far view starts its feed.
    ///
    /// `selector` narrows what a far client fetches (`spec.nodeName=n1`); near views hold
    /// everything, so readers check themselves what they rely on. Near or far, the view is
    /// authorised in the namespace and for the name that the selector requires
    /// (`metadata.namespace=a,metadata.name=b`): a node may see single secrets so.
    fn view(&self, resource: &Gvr, field_selector: &str) -> View;

    /// The resources that the server has now, custom ones included.
    async fn served(&self) -> Result<Vec<Served>, Status>;
}

/// A resource as this process sees it.
#[derive(Clone)]
pub struct View {
    history: Arc<History>,
    resource: GroupResource,
    /// Turns true once the first list is in; a near view is born true.
    synced: tokio::sync::watch::Receiver<bool>,
}

impl View {
    /// A view of `resource` in `history`.
    pub const fn new(
        history: Arc<History>,
        resource: GroupResource,
        synced: tokio::sync::watch::Receiver<bool>,
    ) -> Self {
        Self { history, resource, synced }
    }

    /// Waits until the view has seen the cluster once. Until then it reads as empty.
    pub async fn synced(&self) {
        // An error means that the feeder is gone: the process is stopping.
        let _ = self.synced.clone().wait_for(|synced| *synced).await;
    }

    /// The state now.
    pub fn snapshot(&self) -> Snapshot {
        self.history.snapshot(&self.resource)
    }

    /// Waits until the view shows the write that made `revision`: who writes and then reads the
    /// view sees what it wrote. A near view always does.
    pub async fn reached(&self, revision: u64) {
        let Ok(mut cursor) = self.cursor(self.history.revision()) else { return };
        while self.history.revision() < revision && cursor.next(1).await.is_ok() {}
    }

    /// One object as it is now.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.snapshot().get(namespace, name).cloned()
    }

    /// The state now and a cursor on everything after it.
    pub fn follow(&self) -> (Snapshot, Cursor) {
        loop {
            let snapshot = self.snapshot();
            // Gone can only mean that the ring turned over between the two lines: look again.
            if let Ok(cursor) = self.history.cursor(&self.resource, snapshot.revision) {
                return (snapshot, cursor);
            }
        }
    }

    /// A cursor on everything after a revision.
    ///
    /// # Errors
    /// [`Gone`] when that is no longer known.
    pub fn cursor(&self, after: u64) -> Result<Cursor, Gone> {
        self.history.cursor(&self.resource, after)
    }
}

/// Calls in one line each.
impl dyn Client + '_ {
    fn to(verb: Verb, resource: &Gvr, namespace: &str, name: &str, body: Value) -> Call {
        Call {
            verb,
            resource: resource.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: "",
            body,
        }
    }

    /// Reads one object from the server.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn get(&self, resource: &Gvr, namespace: &str, name: &str) -> Result<Value, Status> {
        self.call(Self::to(Verb::Get, resource, namespace, name, Value::Null)).await
    }

    /// Makes an object.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn create(
        &self,
        resource: &Gvr,
        namespace: &str,
        object: Value,
    ) -> Result<Value, Status> {
        self.call(Self::to(Verb::Create, resource, namespace, "", object)).await
    }

    /// Replaces an object; its `resourceVersion` guards against lost updates.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn update(
        &self,
        resource: &Gvr,
        namespace: &str,
        name: &str,
        object: Value,
    ) -> Result<Value, Status> {
        self.call(Self::to(Verb::Update, resource, namespace, name, object)).await
    }

    /// Replaces the `status` of an object.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn update_status(
        &self,
        resource: &Gvr,
        namespace: &str,
        name: &str,
        object: Value,
    ) -> Result<Value, Status> {
        let call = Self::to(Verb::Update, resource, namespace, name, object);
        self.call(Call { subresource: "status", ..call }).await
    }

    /// Changes an object, or its `subresource` where that is not empty.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn patch(
        &self,
        resource: &Gvr,
        namespace: &str,
        name: &str,
        subresource: &'static str,
        kind: PatchKind,
        patch: Value,
    ) -> Result<Value, Status> {
        let call = Self::to(Verb::Patch(kind), resource, namespace, name, patch);
        self.call(Call { subresource, ..call }).await
    }

    /// Removes an object; `options` is a `DeleteOptions` or null.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn delete(
        &self,
        resource: &Gvr,
        namespace: &str,
        name: &str,
        options: Value,
    ) -> Result<Value, Status> {
        self.call(Self::to(Verb::Delete, resource, namespace, name, options)).await
    }

    /// Posts to a subresource: `binding`, `eviction`, `token`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn post(
        &self,
        resource: &Gvr,
        namespace: &str,
        name: &str,
        subresource: &'static str,
        body: Value,
    ) -> Result<Value, Status> {
        let call = Self::to(Verb::Create, resource, namespace, name, body);
        self.call(Call { subresource, ..call }).await
    }
}
