//! ConfigMaps and Secrets as their readers need them, names to bytes, and bundles of trust.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Container, Pod, Volume};

use crate::api::tree::Value;
use crate::node::pod::plans;

/// A kind of object that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
    /// All ClusterTrustBundles: which of them a volume chooses is seen when it is written. They
    /// have no namespace; a reference to them has no name.
    TrustBundles,
    /// The PodCertificateRequests of the pod that the reference names. What they say is not part
    /// of [`Sources`]: whoever made them looks at them.
    CertificateRequests,
}

impl Kind {
    /// As messages name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::TrustBundles => "ClusterTrustBundle",
            Self::CertificateRequests => "PodCertificateRequest",
        }
    }

    /// As errors name its resource.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
            Self::TrustBundles => "clustertrustbundle",
            Self::CertificateRequests => "podcertificaterequest",
        }
    }
}

/// One object that a pod refers to; it is in the pod's namespace.
pub type Reference = (Kind, String);

/// What an object holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// `data` of a ConfigMap; decoded `data` of a Secret.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Decoded `binaryData` of a ConfigMap.
    pub binary: BTreeMap<String, Vec<u8>>,
    /// `type` of a Secret.
    pub kind: String,
    /// Never changes.
    pub immutable: bool,
}

impl Content {
    /// Reads an object's tree.
    pub fn of(kind: Kind, tree: &Value) -> Self {
        let plain = |key: &str| {
            let field = |(k, v): (&str, &Value)| (k.to_owned(), v.str().as_bytes().to_vec());
            tree.get(key).fields().map(field).collect()
        };
        let decoded = |key: &str| {
            let field =
                |(k, v): (&str, &Value)| Some((k.to_owned(), STANDARD.decode(v.str()).ok()?));
            tree.get(key).fields().filter_map(field).collect()
        };
        let (data, binary) = match kind {
            Kind::ConfigMap => (plain("data"), decoded("binaryData")),
            Kind::Secret => (decoded("data"), BTreeMap::new()),
            Kind::TrustBundles | Kind::CertificateRequests => (BTreeMap::new(), BTreeMap::new()),
        };
        let immutable = tree.get("immutable").is_true();
        Self { data, binary, kind: tree.get("type").str().to_owned(), immutable }
    }

    /// All keys and their bytes.
    pub fn all(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.data.iter().chain(&self.binary)
    }

    /// The bytes of a key.
    pub fn get(&self, key: &str) -> Option<&Vec<u8>> {
        self.data.get(key).or_else(|| self.binary.get(key))
    }
}

/// What the objects that a pod refers to hold; those that do not exist are missing.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    objects: HashMap<Reference, Arc<Content>>,
    bundles: Vec<Value>,
}

/// An object that should be there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} \"{name}\" not found", kind.resource())]
pub struct Missing {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl Sources {
    /// Adds what an object holds.
    pub fn add(&mut self, reference: Reference, content: Arc<Content>) {
        self.objects.insert(reference, content);
    }

    /// Adds a bundle of trust.
    pub fn add_bundle(&mut self, bundle: Value) {
        self.bundles.push(bundle);
    }

    /// All bundles of trust.
    pub fn bundles(&self) -> &[Value] {
        &self.bundles
    }

    /// What an object holds; none where it is missing and may be.
    ///
    /// # Errors
    /// When it is missing and must not be.
    pub fn find(
        &self,
        kind: Kind,
        name: &str,
        optional: bool,
    ) -> Result<Option<&Content>, Missing> {
        match self.objects.get(&(kind, name.to_owned())) {
            Some(content) => Ok(Some(content)),
            None if optional => Ok(None),
            None => Err(Missing { kind, name: name.to_owned() }),
        }
    }
}

/// All that a pod's environment, volumes and image pulls need.
pub fn references(pod: &Pod) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    for plan in plans(pod) {
        of_container(&plan.spec, &mut found);
    }
    let Some(spec) = &pod.spec else { return found };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    for volume in spec.volumes.iter().flatten() {
        of_volume(volume, name, &mut found);
    }
    for secret in spec.image_pull_secrets.iter().flatten() {
        found.insert((Kind::Secret, secret.name.clone()));
    }
    found
}

/// What a container's environment needs.
pub fn of_container(container: &Container, found: &mut BTreeSet<Reference>) {
    for from in container.env_from.iter().flatten() {
        found.extend(from.config_map_ref.iter().map(|r| (Kind::ConfigMap, r.name.clone())));
        found.extend(from.secret_ref.iter().map(|r| (Kind::Secret, r.name.clone())));
    }
    for from in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
        found.extend(from.config_map_key_ref.iter().map(|r| (Kind::ConfigMap, r.name.clone())));
        found.extend(from.secret_key_ref.iter().map(|r| (Kind::Secret, r.name.clone())));
    }
}

/// What a volume of the pod of this name needs.
fn of_volume(volume: &Volume, pod: &str, found: &mut BTreeSet<Reference>) {
    found.extend(volume.config_map.iter().map(|source| (Kind::ConfigMap, source.name.clone())));
    let secret = volume.secret.iter().filter_map(|source| source.secret_name.clone());
    found.extend(secret.map(|name| (Kind::Secret, name)));
    let projected =
        volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    for source in projected {
        found.extend(source.config_map.iter().map(|s| (Kind::ConfigMap, s.name.clone())));
        found.extend(source.secret.iter().map(|s| (Kind::Secret, s.name.clone())));
        let bundle = source.cluster_trust_bundle.iter();
        found.extend(bundle.map(|_| (Kind::TrustBundles, String::new())));
        let certificate = source.pod_certificate.iter();
        found.extend(certificate.map(|_| (Kind::CertificateRequests, pod.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_reference_once() {
        let json = r#"{"metadata":{"name":"a"},"spec":{"imagePullSecrets":[{"name":"pull"}],
            "containers":[{"name":"a","envFrom":[{"configMapRef":{"name":"m"}},
              {"secretRef":{"name":"s"}}],"env":[
              {"name":"x","valueFrom":{"configMapKeyRef":{"name":"m","key":"k"}}},
              {"name":"y","valueFrom":{"secretKeyRef":{"name":"t","key":"k"}}}]}],
            "volumes":[{"name":"v","configMap":{"name":"v"}},
              {"name":"w","secret":{"secretName":"w"}},
              {"name":"p","projected":{"sources":[{"configMap":{"name":"pm"}},
                {"secret":{"name":"ps"}},{"serviceAccountToken":{"path":"t"}},
                {"podCertificate":{"signerName":"a.b/c","keyType":"ED25519"}}]}}]}}"#;
        let found = references(&serde_json::from_str(json).unwrap());
        let names: Vec<_> = found.iter().map(|(kind, name)| (kind.resource(), &**name)).collect();
        let expected = [
            ("configmap", "m"),
            ("configmap", "pm"),
            ("configmap", "v"),
            ("secret", "ps"),
            ("secret", "pull"),
            ("secret", "s"),
            ("secret", "t"),
            ("secret", "w"),
            ("podcertificaterequest", "a"),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn reads_data_of_both_kinds() {
        let map = Value::parse(br#"{"data":{"a":"x"},"binaryData":{"b":"AP8="}}"#).unwrap();
        let content = Content::of(Kind::ConfigMap, &map);
        assert_eq!(
            (content.get("a").unwrap().as_slice(), content.get("b").unwrap().as_slice()),
            (b"x".as_slice(), [0, 255].as_slice())
        );
        let secret = Value::parse(br#"{"data":{"a":"eA=="},"type":"Opaque"}"#).unwrap();
        assert_eq!(Content::of(Kind::Secret, &secret).data["a"], b"x");
    }

    #[test]
    fn says_what_is_missing() {
        let error = Sources::default().find(Kind::Secret, "s", false).unwrap_err();
        assert_eq!(error.to_string(), "secret \"s\" not found");
        assert_eq!(Sources::default().find(Kind::Secret, "s", true), Ok(None));
    }
}
