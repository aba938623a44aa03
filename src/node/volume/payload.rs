//! The files of volumes that come from the API: configMap, secret, downwardAPI, projected. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, Container, DownwardAPIVolumeFile, KeyToPath, Pod,
    PodCertificateProjection, ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::atomic::{File, Payload};
use crate::api::meta::Meta;
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;
use crate::node::container::fields::{self, Addresses, FieldError};
use crate::node::pod::plans;
use crate::node::source::{Content, Kind, Missing, Sources};
use crate::util::x509;

/// What files are made from.
pub struct Context<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its and the node's addresses.
    pub addresses: &'a Addresses,
    /// What the node can give.
    pub allocatable: &'a BTreeMap<String, Text>,
    /// ConfigMaps and Secrets.
    pub sources: &'a Sources,
    /// Tokens that were asked for.
    pub tokens: &'a HashMap<TokenWish, String>,
    /// Certificates that were asked for.
    pub certificates: &'a HashMap<CertificateWish, Result<Credentials, String>>,
}

/// A service account token that a volume shall hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenWish {
    /// Whom it is for; empty for the API server.
    pub audience: String,
    /// How long it is wished to hold.
    pub seconds: i64,
}

impl TokenWish {
    fn of(projection: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: projection.audience.clone().unwrap_or_default(),
            seconds: projection.expiration_seconds.unwrap_or(3600),
        }
    }
}

/// The tokens that a volume shall hold.
pub fn token_wishes(volume: &Volume) -> Vec<TokenWish> {
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    sources.filter_map(|source| source.service_account_token.as_ref()).map(TokenWish::of).collect()
}

/// Which source of which volume shall hold a certificate of the pod.
pub type CertificateWish = (String, usize);

/// A certificate, and what proves that it is one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The private key in PEM.
    pub key: String,
    /// The certificate and those between it and its authority, in PEM.
    pub chain: String,
}

/// The certificates that a volume shall hold.
pub fn certificate_wishes(
    volume: &Volume,
) -> impl Iterator<Item = (CertificateWish, &PodCertificateProjection)> {
    let projected = volume.projected.iter().flat_map(|volume| volume.sources.iter().flatten());
    projected.enumerate().filter_map(|(index, source)| {
        Some(((volume.name.clone(), index), source.pod_certificate.as_ref()?))
    })
}

/// Why a volume has no files yet: the end of a `FailedMount` event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// An object is missing.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A key is missing in it.
    #[error("{} references non-existent {}key: {key}", kind.resource(), match kind {
        Kind::ConfigMap => "config ",
        Kind::Secret => "secret ",
        Kind::TrustBundles | Kind::CertificateRequests => "",
    })]
    NoKey {
        /// In what.
        kind: Kind,
        /// The key.
        key: String,
    },
    /// A field cannot be had.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A token has not come yet.
    #[error("failed to fetch token: no token for audience {0:?} yet")]
    NoToken(String),
    /// There is no bundle of trust of this name.
    #[error(
        "while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io {0:?} not found"
    )]
    NoBundle(String),
    /// Nor any that is chosen by signer and labels.
    #[error("combination of signerName and labelSelector matched zero ClusterTrustBundles")]
    NoBundles,
    /// A certificate has not come yet, or never will.
    #[error("{0}")]
    NoCertificate(String),
    /// More than one source of a volume is not there.
    #[error("[{}]", joined(.0))]
    Several(Vec<Self>),
}

/// Messages, each once.
fn joined(errors: &[PayloadError]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in errors.iter().map(ToString::to_string) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.join(", ")
}

/// Whether a volume's files come from the API.
pub fn is_served(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// The files of a volume.
///
/// # Errors
/// When something that is not optional is missing.
pub fn payload(volume: &Volume, context: &Context<'_>) -> Result<Payload, PayloadError> {
    let mut out = Payload::new();
    let mode = |mode: Option<i32>| bits(mode).unwrap_or(0o644);
    if let Some(source) = &volume.config_map {
        let wish = Wish::new(Kind::ConfigMap, &source.name, source.optional, &source.items);
        wish.add(context, mode(source.default_mode), &mut out)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let wish = Wish::new(Kind::Secret, name, source.optional, &source.items);
        wish.add(context, mode(source.default_mode), &mut out)?;
    } else if let Some(source) = &volume.downward_api {
        add_fields(source.items.as_deref(), context, mode(source.default_mode), &mut out)?;
    } else if let Some(projected) = &volume.projected {
        let mut wrong = Vec::new();
        for (index, source) in projected.sources.iter().flatten().enumerate() {
            let wish = (volume.name.clone(), index);
            let mode = mode(projected.default_mode);
            wrong.extend(add_projected(source, &wish, context, mode, &mut out).err());
        }
        // Whoever looks shall not have to mend one to see the next.
        match wrong.len() {
            0 => {}
            1 => return Err(wrong.remove(0)),
            _ => return Err(PayloadError::Several(wrong)),
        }
    }
    Ok(out)
}

fn bits(mode: Option<i32>) -> Option<u32> {
    u32::try_from(mode?).ok().map(|mode| mode & 0o777)
}

fn add_projected(
    source: &VolumeProjection,
    wish: &CertificateWish,
    context: &Context<'_>,
    mode: u32,
    out: &mut Payload,
) -> Result<(), PayloadError> {
    if let Some(map) = &source.config_map {
        Wish::new(Kind::ConfigMap, &map.name, map.optional, &map.items).add(context, mode, out)?;
    }
    if let Some(secret) = &source.secret {
        let wish = Wish::new(Kind::Secret, &secret.name, secret.optional, &secret.items);
        wish.add(context, mode, out)?;
    }
    if let Some(fields) = &source.downward_api {
        add_fields(fields.items.as_deref(), context, mode, out)?;
    }
    if let Some(token) = &source.service_account_token {
        add_token(token, context, mode, out)?;
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        let bytes = anchors(bundle, context.sources.bundles())?;
        let (mode, owner) = private(context.pod, mode);
        out.insert(bundle.path.clone(), File { bytes, mode, owner });
    }
    if let Some(files) = &source.pod_certificate {
        add_certificate(wish, files, context, mode, out)?;
    }
    Ok(())
}

/// Keys of an object that shall be files.
struct Wish<'a> {
    kind: Kind,
    name: &'a str,
    optional: bool,
    items: &'a [KeyToPath],
}

impl<'a> Wish<'a> {
    fn new(
        kind: Kind,
        name: &'a str,
        optional: Option<bool>,
        items: &'a Option<Vec<KeyToPath>>,
    ) -> Self {
        let items = items.as_deref().unwrap_or_default();
        Self { kind, name, optional: optional.unwrap_or(false), items }
    }

    fn add(self, context: &Context<'_>, mode: u32, out: &mut Payload) -> Result<(), PayloadError> {
        let content = context.sources.find(self.kind, self.name, self.optional)?;
        let Some(content) = content else { return Ok(()) };
        if self.items.is_empty() {
            out.extend(content.all().map(|(key, bytes)| (key.clone(), file(bytes.clone(), mode))));
            return Ok(());
        }
        for item in self.items {
            self.add_item(item, content, mode, out)?;
        }
        Ok(())
    }

    fn add_item(
        &self,
        item: &KeyToPath,
        content: &Content,
        mode: u32,
        out: &mut Payload,
    ) -> Result<(), PayloadError> {
        match content.get(&item.key) {
            Some(bytes) => {
                let file = file(bytes.clone(), bits(item.mode).unwrap_or(mode));
                out.insert(item.path.clone(), file);
            }
            None if self.optional => {}
            None => return Err(PayloadError::NoKey { kind: self.kind, key: item.key.clone() }),
        }
        Ok(())
    }
}

const fn file(bytes: Vec<u8>, mode: u32) -> File {
    File { bytes, mode, owner: None }
}

fn add_fields(
    items: Option<&[DownwardAPIVolumeFile]>,
    context: &Context<'_>,
    mode: u32,
    out: &mut Payload,
) -> Result<(), PayloadError> {
    for item in items.into_iter().flatten() {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => fields::field(context.pod, context.addresses, &field.field_path)?,
            (None, Some(selector)) => {
                let none = Container::default();
                fields::resource(context.pod, &none, selector, context.allocatable)?
            }
            (None, None) => continue,
        };
        let file = file(value.into_bytes(), bits(item.mode).unwrap_or(mode));
        out.insert(item.path.clone(), file);
    }
    Ok(())
}

fn add_token(
    token: &ServiceAccountTokenProjection,
    context: &Context<'_>,
    mode: u32,
    out: &mut Payload,
) -> Result<(), PayloadError> {
    let wish = TokenWish::of(token);
    let text =
        context.tokens.get(&wish).ok_or_else(|| PayloadError::NoToken(wish.audience.clone()))?;
    let (mode, owner) = private(context.pod, mode);
    let file = File { bytes: text.clone().into_bytes(), mode, owner };
    out.insert(token.path.clone(), file);
    Ok(())
}

fn add_certificate(
    wish: &CertificateWish,
    files: &PodCertificateProjection,
    context: &Context<'_>,
    mode: u32,
    out: &mut Payload,
) -> Result<(), PayloadError> {
    let none = || PayloadError::NoCertificate("no credentials yet".to_owned());
    let given = context.certificates.get(wish).ok_or_else(none)?;
    let Credentials { key, chain } =
        given.as_ref().map_err(|why| PayloadError::NoCertificate(why.clone()))?;
    let (mode, owner) = private(context.pod, mode);
    let parts = [
        (&files.credential_bundle_path, format!("{key}{chain}")),
        (&files.key_path, key.clone()),
        (&files.certificate_chain_path, chain.clone()),
    ];
    for (path, text) in parts {
        if let Some(path) = path.as_ref().filter(|path| !path.is_empty()) {
            out.insert(path.clone(), File { bytes: text.into_bytes(), mode, owner });
        }
    }
    Ok(())
}

/// Mode and owner of what is for the pod's user or group alone, where either is known.
fn private(pod: &Pod, mode: u32) -> (u32, Option<u32>) {
    let owner = common_user(pod);
    let known = owner.is_some() || fs_group(pod).is_some();
    (if known { 0o600 } else { mode }, owner)
}

/// What is trusted by the bundles that a volume chooses, each once, whatever else their text says.
fn anchors(
    wish: &ClusterTrustBundleProjection,
    bundles: &[Value],
) -> Result<Vec<u8>, PayloadError> {
    let chosen: Vec<&Value> = match &wish.name {
        Some(name) => bundles.iter().filter(|bundle| bundle.name() == name).collect(),
        None => chosen_by_signer(wish, bundles),
    };
    match &wish.name {
        _ if !chosen.is_empty() || wish.optional == Some(true) => {}
        Some(name) => return Err(PayloadError::NoBundle(name.clone())),
        None => return Err(PayloadError::NoBundles),
    }
    let texts = chosen.iter().map(|bundle| bundle.at(&["spec", "trustBundle"]).str());
    let all: BTreeSet<Vec<u8>> = texts
        .flat_map(|text| x509::blocks(text.as_bytes()))
        .map(|block| block.contents().to_vec())
        .collect();
    let text = |der: Vec<u8>| x509::certificate_pem(&der);
    Ok(all.into_iter().map(text).collect::<String>().into_bytes())
}

/// No selector at all chooses nothing, an empty one everything of the signer.
fn chosen_by_signer<'b>(
    wish: &ClusterTrustBundleProjection,
    bundles: &'b [Value],
) -> Vec<&'b Value> {
    let signer = wish.signer_name.as_deref().unwrap_or_default();
    let selector = wish.label_selector.as_ref().and_then(|selector| Value::of(selector).ok());
    // Validation lets no other in.
    let Ok(selector) = LabelSelector::from_object(&selector.unwrap_or_default()) else {
        return Vec::new();
    };
    let of_signer = bundles.iter().filter(|b| b.at(&["spec", "signerName"]).str() == signer);
    of_signer.filter(|b| selector.matches(b.metadata().get("labels"))).collect()
}

/// The group that shall own a pod's volumes.
pub fn fs_group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    u32::try_from(context.fs_group?).ok()
}

/// The user that all containers of a pod run as, where the spec says one and the same.
fn common_user(pod: &Pod) -> Option<u32> {
    let of_pod = pod.spec.as_ref()?.security_context.as_ref().and_then(|c| c.run_as_user);
    let plans = plans(pod);
    let user = |spec: &Container| {
        spec.security_context.as_ref().and_then(|own| own.run_as_user).or(of_pod)
    };
    let first = user(&plans.first()?.spec)?;
    let same = plans.iter().all(|plan| user(&plan.spec) == Some(first));
    same.then(|| u32::try_from(first).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What every certificate that is wished for says.
    const KINDS: &str = r#""signerName":"a.b/c","keyType":"ED25519""#;

    fn files(volume: &str, spec: &str) -> Result<Vec<String>, String> {
        let volume: Volume = serde_json::from_str(&format!(r#"{{"name":"v",{volume}}}"#)).unwrap();
        let pod = format!(
            r#"{{"metadata":{{"name":"p","namespace":"n","labels":{{"a":"b"}}}},
                "spec":{{"containers":[{{"name":"c","resources":{{"limits":{{"cpu":"2"}}}}}}]{spec}}}}}"#
        );
        let mut sources = Sources::default();
        let map = Value::parse(br#"{"data":{"x":"1","y":"2"},"binaryData":{"z":"AA=="}}"#).unwrap();
        sources.add((Kind::ConfigMap, "m".into()), Arc::new(Content::of(Kind::ConfigMap, &map)));
        let secret = Value::parse(br#"{"data":{"pw":"aHVzaA=="}}"#).unwrap();
        sources.add((Kind::Secret, "s".into()), Arc::new(Content::of(Kind::Secret, &secret)));
        for (name, signer, label, der) in
            [("mine", "", "a", "one"), ("s:x", "a.b/s", "a", "two"), ("s:y", "a.b/s", "b", "two")]
        {
            let text = pem::encode(&pem::Pem::new(x509::CERTIFICATE, der.as_bytes()));
            let json = format!(
                r#"{{"metadata":{{"name":"{name}","labels":{{"l":"{label}"}}}},"spec":{{
                "signerName":"{signer}","trustBundle":{:?}}}}}"#,
                format!("comment\n{text}{text}")
            );
            sources.add_bundle(Value::parse(json.as_bytes()).unwrap());
        }
        let wish = TokenWish { audience: String::new(), seconds: 3607 };
        let credentials = Credentials { key: "key ".to_owned(), chain: "chain".to_owned() };
        let context = Context {
            pod: &serde_json::from_str(&pod).unwrap(),
            addresses: &Addresses::default(),
            allocatable: &BTreeMap::new(),
            sources: &sources,
            tokens: &[(wish, "jwt".to_owned())].into(),
            certificates: &HashMap::from([
                (("v".to_owned(), 0), Ok(credentials)),
                (("v".to_owned(), 1), Err("it was denied".to_owned())),
            ]),
        };
        let payload = payload(&volume, &context).map_err(|error| error.to_string())?;
        let line = |(path, file): (String, File)| {
            let owner = file.owner.map_or_else(String::new, |owner| format!(" {owner}"));
            format!("{path} {:o} {:?}{owner}", file.mode, String::from_utf8_lossy(&file.bytes))
        };
        Ok(payload.into_iter().map(line).collect())
    }

    #[test]
    fn whole_objects_and_chosen_keys() {
        let all = files(r#""configMap":{"name":"m"}"#, "").unwrap();
        assert_eq!(all, ["x 644 \"1\"", "y 644 \"2\"", "z 644 \"\\0\""]);
        let chosen = r#""secret":{"secretName":"s","defaultMode":256,
            "items":[{"key":"pw","path":"d/pw"}]}"#;
        assert_eq!(files(chosen, "").unwrap(), ["d/pw 400 \"hush\""]);
        let moded = r#""configMap":{"name":"m","items":[{"key":"x","path":"x","mode":511}]}"#;
        assert_eq!(files(moded, "").unwrap(), ["x 777 \"1\""]);
    }

    #[test]
    fn what_is_missing_is_told_unless_optional() {
        let cases = [
            (r#""configMap":{"name":"q"}"#, "configmap \"q\" not found"),
            (
                r#""configMap":{"name":"m","items":[{"key":"q","path":"q"}]}"#,
                "configmap references non-existent config key: q",
            ),
            (
                r#""secret":{"secretName":"s","items":[{"key":"q","path":"q"}]}"#,
                "secret references non-existent secret key: q",
            ),
        ];
        for (volume, error) in cases {
            assert_eq!(files(volume, ""), Err(error.to_owned()));
        }
        assert_eq!(files(r#""configMap":{"name":"q","optional":true}"#, ""), Ok(vec![]));
    }

    #[test]
    fn bundles_are_chosen_by_name_or_by_signer_and_labels() {
        let of = |wish: &str, spec: &str| {
            let bundle = format!(r#"{{"clusterTrustBundle":{{"path":"ca",{wish}}}}}"#);
            let lines = files(&format!(r#""projected":{{"sources":[{bundle}]}}"#), spec)?;
            Ok::<_, String>(lines.concat())
        };
        let pem = |der: &str| {
            let text = pem::encode(&pem::Pem::new(x509::CERTIFICATE, der.as_bytes()));
            format!("ca 644 {:?}", text.replace("\r\n", "\n"))
        };
        assert_eq!(of(r#""name":"mine""#, ""), Ok(pem("one")));
        assert_eq!(of(r#""signerName":"a.b/s","labelSelector":{}"#, ""), Ok(pem("two")));
        let labelled = r#""signerName":"a.b/s","labelSelector":{"matchLabels":{"l":"b"}}"#;
        assert_eq!(of(labelled, ""), Ok(pem("two")));
        let none = of(r#""name":"no""#, "").unwrap_err();
        assert!(
            none.ends_with("clustertrustbundle.certificates.k8s.io \"no\" not found"),
            "{none}"
        );
        for nothing in [r#""signerName":"a.b/s""#, r#""signerName":"c.d/s","labelSelector":{}"#] {
            let said = of(nothing, "").unwrap_err();
            assert_eq!(said, PayloadError::NoBundles.to_string());
            assert_eq!(of(&format!(r#"{nothing},"optional":true"#), ""), Ok("ca 644 \"\"".into()));
        }
        let owned = r#","securityContext":{"runAsUser":7}"#;
        assert!(of(r#""name":"mine""#, owned).unwrap().starts_with("ca 600"));
    }

    #[test]
    fn certificates_are_written_in_one_file_or_in_two() {
        let of = |paths: &[&str], spec: &str| {
            let sources: Vec<String> =
                paths.iter().map(|paths| format!(r#"{{"podCertificate":{{{paths}}}}}"#)).collect();
            files(&format!(r#""projected":{{"sources":[{}]}}"#, sources.join(",")), spec)
        };
        let both = r#""credentialBundlePath":"both","keyPath":"","#;
        assert_eq!(of(&[&format!("{both}{KINDS}")], "").unwrap(), ["both 644 \"key chain\""]);
        let apart = format!(r#""keyPath":"k","certificateChainPath":"d/c",{KINDS}"#);
        assert_eq!(of(&[&apart], "").unwrap(), ["d/c 644 \"chain\"", "k 644 \"key \""]);
        let owned = r#","securityContext":{"runAsUser":7}"#;
        assert_eq!(of(&[&apart], owned).unwrap(), ["d/c 600 \"chain\" 7", "k 600 \"key \" 7"]);
        assert_eq!(of(&[&apart, &apart], ""), Err("it was denied".to_owned()));
        let none = "[it was denied, no credentials yet]";
        assert_eq!(of(&[&apart, &apart, &apart, &apart], ""), Err(none.to_owned()), "each once");
    }

    #[test]
    fn projected_volumes_join_all_sources() {
        let volume = r#""projected":{"defaultMode":420,"sources":[
            {"serviceAccountToken":{"path":"token","expirationSeconds":3607}},
            {"configMap":{"name":"m","items":[{"key":"x","path":"ca.crt"}]}},
            {"downwardAPI":{"items":[
              {"path":"labels","fieldRef":{"fieldPath":"metadata.labels"}},
              {"path":"cpu","resourceFieldRef":{"containerName":"c","resource":"limits.cpu"}}]}}]}"#;
        let plain = ["ca.crt 644 \"1\"", "cpu 644 \"2\"", "labels 644 \"a=\\\"b\\\"\""];
        let token = |line: &'static str| [plain.as_slice(), &[line]].concat();
        assert_eq!(files(volume, "").unwrap(), token("token 644 \"jwt\""));
        let grouped = r#","securityContext":{"fsGroup":5}"#;
        assert_eq!(files(volume, grouped).unwrap(), token("token 600 \"jwt\""));
        let owned = r#","securityContext":{"runAsUser":7}"#;
        assert_eq!(files(volume, owned).unwrap(), token("token 600 \"jwt\" 7"));
        let other =
            r#""projected":{"sources":[{"serviceAccountToken":{"path":"t","audience":"v"}}]}"#;
        assert!(files(other, "").unwrap_err().contains("no token for audience \"v\" yet"));
    }
}
