//! Certificates for pods: asked of a signer when they are needed, anew before they end.
//!
//! Contract: each source of a volume that wants a certificate has a key and a
//! PodCertificateRequest of its own. The request's end, which a signer writes, decides: what was
//! issued holds until its successor is; what was denied or has failed is not asked for again while
//! the pod lives. Nothing is kept when this process ends: the next one asks anew, and what is
//! mounted stays until it has its answer.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Pod, PodCertificateProjection};
use parking_lot::Mutex;

use super::objects;
use super::pod::account;
use super::volume::payload::{CertificateWish, Credentials};
use crate::api::meta::Meta;
use crate::api::time;
use crate::api::tree::Value;
use crate::client::{Client, PODCERTIFICATEREQUESTS as REQUESTS, SERVICEACCOUNTS, View};
use crate::pki::request;
use crate::util::backoff::Backoff;
use crate::util::clock::Wall;
use crate::util::id;
use crate::util::x509::{self, KeyKind};

/// A certificate is replaced so much later at the most than its signer says, so that those that
/// were issued together are not asked for together.
const JITTER_S_MAX: u64 = 5 * 60;
/// From then on after the time that its signer named, its replacement is overdue: kubelet's rule.
const OVERDUE: Duration = Duration::from_secs(10 * 60);
/// First and longest wait after a replacement could not be asked for.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(120);
/// What is said while a signer has not decided.
const NOT_YET: &str = "credential bundle is not issued yet";

/// The certificates of one pod.
pub struct Certificates {
    client: Arc<dyn Client>,
    node: String,
    nodes: View,
    /// This node's requests; looked at from the first wish on.
    requests: OnceLock<View>,
    known: Mutex<HashMap<CertificateWish, State>>,
}

/// What there is for the sources of a pod's volumes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Each source's certificate, or why it has none.
    pub credentials: HashMap<CertificateWish, Result<Credentials, String>>,
    /// What the pod's users shall know: reasons and messages of warnings.
    pub told: Vec<(&'static str, String)>,
}

enum State {
    /// The first is being waited for.
    Waiting(Asked),
    /// There is one.
    Issued(Issued, Option<Asked>),
    /// There will be none.
    Ended(String),
}

/// A request that was made.
struct Asked {
    name: String,
    revision: u64,
    key: String,
}

struct Issued {
    credentials: Credentials,
    /// When to ask for another.
    refresh: Wall,
    /// Until when it is valid.
    end: Wall,
    /// When to ask again after that went wrong.
    retry: Option<Wall>,
    backoff: Backoff,
    told_overdue: bool,
    told_expired: bool,
}

/// How a request ended.
enum Outcome {
    Pending,
    /// Somebody has removed it.
    Gone,
    Issued(Issued),
    Ended(&'static str, String, String),
}

impl Certificates {
    /// No certificates yet, on the node of this name.
    pub fn new(client: Arc<dyn Client>, node: &str, nodes: View) -> Self {
        let (node, requests) = (node.to_owned(), OnceLock::new());
        Self { client, node, nodes, requests, known: Mutex::default() }
    }

    /// The certificates that a pod's volumes shall hold: those that are due are asked for.
    pub async fn fetch(
        &self,
        pod: &Pod,
        wishes: &[(CertificateWish, &PodCertificateProjection)],
        now: Wall,
    ) -> Fetched {
        let mut fetched = Fetched::default();
        for (wish, source) in wishes {
            let state = self.known.lock().remove(wish);
            let (state, given) = match state {
                None => self.begin(pod, source).await,
                Some(State::Waiting(asked)) => self.wait(pod, asked, &mut fetched).await,
                Some(State::Issued(issued, asked)) => {
                    self.keep(pod, source, (issued, asked), now, &mut fetched).await
                }
                Some(State::Ended(why)) => (Some(State::Ended(why.clone())), Err(why)),
            };
            if let Some(state) = state {
                self.known.lock().insert(wish.clone(), state);
            }
            fetched.credentials.insert(wish.clone(), given);
        }
        fetched
    }

    /// When there is something to do that nobody else tells of.
    pub fn due(&self) -> Option<Wall> {
        let known = self.known.lock();
        known.values().filter_map(State::due).min()
    }

    async fn begin(&self, pod: &Pod, source: &PodCertificateProjection) -> Step {
        match self.ask(pod, source).await {
            Ok(asked) => (Some(State::Waiting(asked)), Err(NOT_YET.to_owned())),
            Err(why) => (None, Err(format!("while creating initial PodCertificateRequest: {why}"))),
        }
    }

    async fn wait(&self, pod: &Pod, asked: Asked, fetched: &mut Fetched) -> Step {
        match self.outcome(pod, &asked).await {
            Outcome::Pending => (Some(State::Waiting(asked)), Err(NOT_YET.to_owned())),
            Outcome::Gone => {
                let name = format!("{}/{}", namespace(pod), asked.name);
                (None, Err(format!("PodCertificateRequest {name:?} appears to have been deleted")))
            }
            Outcome::Issued(issued) => issued.step(None),
            Outcome::Ended(reason, message, why) => {
                fetched.told.push((reason, message));
                (Some(State::Ended(why.clone())), Err(why))
            }
        }
    }

    /// Replaces a certificate in time. While that goes on, or goes wrong, it stays in use.
    async fn keep(
        &self,
        pod: &Pod,
        source: &PodCertificateProjection,
        (mut issued, asked): (Issued, Option<Asked>),
        now: Wall,
        fetched: &mut Fetched,
    ) -> Step {
        issued.tell(now, fetched);
        let Some(asked) = asked else {
            if issued.refresh > now || issued.retry.is_some_and(|retry| retry > now) {
                return issued.step(None);
            }
            let asked = match self.ask(pod, source).await {
                Ok(asked) => Some(asked),
                Err(error) => {
                    issued.retry = Some(now.after(issued.backoff.fail()));
                    tracing::info!(error, "cannot ask for a pod's next certificate");
                    None
                }
            };
            return issued.step(asked);
        };
        match self.outcome(pod, &asked).await {
            Outcome::Pending => issued.step(Some(asked)),
            Outcome::Gone => {
                issued.retry = Some(now.after(issued.backoff.fail()));
                issued.step(None)
            }
            Outcome::Issued(next) => next.step(None),
            Outcome::Ended(reason, message, why) => {
                fetched.told.push((reason, message));
                (Some(State::Ended(why.clone())), Err(why))
            }
        }
    }

    /// Makes a key and a request to certify it.
    async fn ask(&self, pod: &Pod, source: &PodCertificateProjection) -> Result<Asked, String> {
        let name = account(pod);
        let account = self.client.get(&SERVICEACCOUNTS, namespace(pod), name).await;
        let account =
            account.map_err(|error| format!("while fetching service account: {error}"))?;
        let node = self.nodes.get("", &self.node);
        let node =
            node.ok_or_else(|| format!("while getting node object: no node {:?}", self.node));
        let node = node?.header.uid.to_string();
        let kind = key_kind(&source.key_type)
            .ok_or_else(|| format!("unknown key type {:?}", source.key_type))?;
        let made = tokio::task::spawn_blocking(move || request::bare(kind)).await;
        let failed = |error: &dyn std::fmt::Display| format!("while generating keypair: {error}");
        let (key, proof) = made.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        let body = body(pod, source, &[account.uid(), &self.node, &node], &proof);
        let made = self.client.create(&REQUESTS, namespace(pod), body).await;
        let made = made.map_err(|error| format!("while creating on API: {error}"))?;
        let revision = made.resource_version().parse().unwrap_or(0);
        Ok(Asked { name: made.name().to_owned(), revision, key })
    }

    async fn outcome(&self, pod: &Pod, asked: &Asked) -> Outcome {
        let view = self
            .requests
            .get_or_init(|| self.client.view(&REQUESTS, &objects::of_node(&self.node)));
        view.synced().await;
        view.reached(asked.revision).await;
        let found = view.get(namespace(pod), &asked.name);
        let Some(object) = found.and_then(|object| object.tree().ok()) else {
            return Outcome::Gone;
        };
        outcome(&object, asked)
    }
}

/// What a source has next, and what it has now.
type Step = (Option<State>, Result<Credentials, String>);

impl State {
    fn due(&self) -> Option<Wall> {
        let Self::Issued(issued, asked) = self else { return None };
        match asked {
            None => Some(issued.retry.unwrap_or(issued.refresh).max(issued.refresh)),
            Some(_) => {
                let overdue = (!issued.told_overdue).then(|| issued.refresh.after(OVERDUE));
                let end = (!issued.told_expired).then_some(issued.end);
                overdue.into_iter().chain(end).min()
            }
        }
    }
}

impl Issued {
    fn step(self, asked: Option<Asked>) -> Step {
        let credentials = self.credentials.clone();
        (Some(State::Issued(self, asked)), Ok(credentials))
    }

    /// Tells once that the next certificate does not come.
    fn tell(&mut self, now: Wall, fetched: &mut Fetched) {
        if !self.told_overdue && now > self.refresh.after(OVERDUE) {
            self.told_overdue = true;
            let message = "PodCertificate refresh overdue".to_owned();
            fetched.told.push(("CertificateOverdueForRefresh", message));
        }
        if !self.told_expired && now > self.end {
            self.told_expired = true;
            fetched.told.push(("CertificateExpired", "PodCertificate expired".to_owned()));
        }
    }
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// The kind of key that a volume's source names.
fn key_kind(name: &str) -> Option<KeyKind> {
    Some(match name {
        "RSA3072" => KeyKind::Rsa(3072),
        "RSA4096" => KeyKind::Rsa(4096),
        "ECDSAP256" => KeyKind::Curve(256),
        "ECDSAP384" => KeyKind::Curve(384),
        "ECDSAP521" => KeyKind::Curve(521),
        "ED25519" => KeyKind::Ed25519,
        _ => return None,
    })
}

fn body(
    pod: &Pod,
    source: &PodCertificateProjection,
    [account_uid, node, node_uid]: &[&str; 3],
    proof: &[u8],
) -> Value {
    let text = |field: &Option<String>| Value::from(field.clone().unwrap_or_default());
    let (name, uid) = (text(&pod.metadata.name), text(&pod.metadata.uid));
    let owner = Value::from([
        ("apiVersion", "v1".into()),
        ("kind", "Pod".into()),
        ("name", name.clone()),
        ("uid", uid.clone()),
    ]);
    let metadata = Value::from([
        ("generateName", "req-".into()),
        ("namespace", namespace(pod).into()),
        ("ownerReferences", vec![owner].into()),
    ]);
    let mut spec = Value::from([
        ("signerName", source.signer_name.as_str().into()),
        ("podName", name),
        ("podUID", uid),
        ("serviceAccountName", account(pod).into()),
        ("serviceAccountUID", (*account_uid).into()),
        ("nodeName", (*node).into()),
        ("nodeUID", (*node_uid).into()),
        ("stubPKCS10Request", STANDARD.encode(proof).into()),
    ]);
    if let Some(seconds) = source.max_expiration_seconds {
        spec.set("maxExpirationSeconds", i64::from(seconds));
    }
    for (key, value) in source.user_annotations.iter().flatten() {
        spec.entry("unverifiedUserAnnotations").set(key, value.as_str());
    }
    Value::from([
        ("apiVersion", "certificates.k8s.io/v1".into()),
        ("kind", "PodCertificateRequest".into()),
        ("metadata", metadata),
        ("spec", spec),
    ])
}

fn outcome(object: &Value, asked: &Asked) -> Outcome {
    let status = object.get("status");
    for condition in status.get("conditions").items() {
        let (reason, message) = (condition.get("reason").str(), condition.get("message").str());
        let why = format!("reason={reason:?} message={message:?}");
        let ended = |kind, how: &str, was: &str| {
            let told = format!(
                "PodCertificateRequest {}/{} {how}, reason={reason:?}, message={message:?}",
                object.namespace(),
                asked.name
            );
            let why = format!("PodCertificateRequest was permanently {was}: {why}");
            Outcome::Ended(kind, told, why)
        };
        match condition.get("type").str() {
            "Denied" => return ended("Denied", "was denied", "denied"),
            "Failed" => return ended("Failed", "failed", "failed"),
            "Issued" => return Outcome::Issued(issued(status, &asked.key)),
            _ => {}
        }
    }
    Outcome::Pending
}

fn issued(status: &Value, key: &str) -> Issued {
    let at = |field: &str| time::parse(status.get(field).str()).unwrap_or(Wall(0));
    let jitter = Duration::from_secs(u64::from_le_bytes(id::random()) % JITTER_S_MAX);
    let chain = clean(status.get("certificateChain").str());
    Issued {
        credentials: Credentials { key: key.to_owned(), chain },
        refresh: at("beginRefreshAt").after(jitter),
        end: at("notAfter"),
        retry: None,
        backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
        told_overdue: false,
        told_expired: false,
    }
}

/// The certificates of a chain, without what else its text says.
fn clean(chain: &str) -> String {
    x509::blocks(chain.as_bytes())
        .iter()
        .map(|block| x509::certificate_pem(block.contents()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::client::NODES;
    use crate::node::testing::Cluster;

    /// A pod's certificates, and what the cluster answers.
    struct Given {
        cluster: Arc<Cluster>,
        certificates: Certificates,
        pod: Pod,
        source: PodCertificateProjection,
    }

    fn given() -> Given {
        let cluster = Cluster::new();
        cluster.put("", "nodes", "", "node", r#"{"metadata":{"uid":"node-uid"}}"#);
        let nodes = cluster.client().view(&NODES, "");
        let pod = r#"{"metadata":{"name":"p","namespace":"n","uid":"u"},
            "spec":{"serviceAccountName":"sa","containers":[]}}"#;
        let source = PodCertificateProjection {
            signer_name: "a.b/c".to_owned(),
            key_type: "ED25519".to_owned(),
            user_annotations: Some(BTreeMap::from([("a.b/d".to_owned(), "e".to_owned())])),
            ..PodCertificateProjection::default()
        };
        let certificates = Certificates::new(cluster.client(), "node", nodes);
        Given { cluster, certificates, pod: serde_json::from_str(pod).unwrap(), source }
    }

    impl Given {
        /// What there is at a time, in seconds.
        async fn at(&self, seconds: i64) -> (Result<String, String>, Vec<&'static str>) {
            let wish = ("v".to_owned(), 0);
            let wishes = [(wish.clone(), &self.source)];
            let now = Wall::from_seconds(seconds);
            let fetched = self.certificates.fetch(&self.pod, &wishes, now).await;
            let chain = fetched.credentials[&wish].clone().map(|credentials| credentials.chain);
            (chain, fetched.told.iter().map(|(reason, _)| *reason).collect())
        }

        /// Answers the next question with an account, and the one after with a request of this
        /// name, which is there from then on.
        fn will_make(&self, request: &str) {
            let account = Value::parse(br#"{"metadata":{"uid":"sa-uid"}}"#).unwrap();
            let made = format!(r#"{{"metadata":{{"name":"{request}","resourceVersion":"1"}}}}"#);
            let made = Value::parse(made.as_bytes()).unwrap();
            self.cluster.answers.lock().extend([Ok(account), Ok(made)]);
            self.put(request, "{}");
        }

        fn put(&self, request: &str, status: &str) {
            let json = format!(r#"{{"status":{status}}}"#);
            self.cluster.put(&REQUESTS.group, &REQUESTS.plural, "n", request, &json);
        }

        /// Issues a certificate that is to be replaced from 100,000 on and ends at 200,000.
        fn issue(&self, request: &str, der: &str) {
            let chain = x509::certificate_pem(der.as_bytes());
            let at = |seconds| time::format(Wall::from_seconds(seconds));
            let status = Value::from([
                ("certificateChain", format!("noise\n{chain}").into()),
                ("beginRefreshAt", at(100_000).into()),
                ("notAfter", at(200_000).into()),
                ("conditions", vec![Value::from([("type", "Issued".into())])].into()),
            ]);
            self.put(request, &status.to_string());
        }
    }

    fn not_yet() -> (Result<String, String>, Vec<&'static str>) {
        (Err(NOT_YET.to_owned()), Vec::new())
    }

    fn chain(der: &str) -> (Result<String, String>, Vec<&'static str>) {
        (Ok(x509::certificate_pem(der.as_bytes())), Vec::new())
    }

    #[tokio::test]
    async fn a_certificate_is_asked_for_once_and_kept_until_its_successor_is_issued() {
        let given = given();
        given.will_make("r1");
        assert_eq!(given.at(0).await, not_yet());
        assert_eq!(given.at(1).await, not_yet());
        given.issue("r1", "one");
        assert_eq!(given.at(2).await, chain("one"));
        let due = given.certificates.due().unwrap().seconds();
        assert!((100_000..100_300).contains(&due), "{due}");
        assert_eq!(given.at(99_999).await, chain("one"));
        given.will_make("r2");
        assert_eq!(given.at(due + 1).await, chain("one"));
        given.issue("r2", "two");
        assert_eq!(given.at(due + 2).await, chain("two"));
        let calls = given.cluster.calls.lock();
        assert_eq!(calls.len(), 4, "an account and a request, twice");
        let spec = calls[1].body.get("spec");
        let text = |field| spec.get(field).str();
        assert_eq!(
            ["serviceAccountUID", "nodeName", "nodeUID", "podUID", "signerName"].map(text),
            ["sa-uid", "node", "node-uid", "u", "a.b/c"]
        );
        assert_eq!(spec.at(&["unverifiedUserAnnotations", "a.b/d"]).str(), "e");
    }

    #[tokio::test]
    async fn what_is_late_is_told_once() {
        let given = given();
        given.will_make("r1");
        assert_eq!(given.at(0).await, not_yet());
        given.issue("r1", "one");
        assert_eq!(given.at(1).await, chain("one"));
        given.will_make("r2");
        assert_eq!(given.at(100_300).await, chain("one"));
        let due = given.certificates.due().unwrap().seconds();
        assert!((100_600..100_900).contains(&due), "{due}");
        let told = given.at(due + 1).await.1;
        assert_eq!(told, ["CertificateOverdueForRefresh"]);
        assert_eq!(given.certificates.due(), Some(Wall::from_seconds(200_000)));
        assert_eq!(given.at(200_001).await.1, ["CertificateExpired"]);
        assert_eq!((given.at(200_002).await, given.certificates.due()), (chain("one"), None));
    }

    #[tokio::test]
    async fn a_denial_is_for_good() {
        let given = given();
        given.will_make("r1");
        assert_eq!(given.at(0).await, not_yet());
        let denied = r#"{"conditions":[{"type":"Denied","reason":"No","message":"not you"}]}"#;
        given.put("r1", denied);
        let why = "PodCertificateRequest was permanently denied: reason=\"No\" message=\"not you\"";
        assert_eq!(given.at(1).await, (Err(why.to_owned()), vec!["Denied"]));
        assert_eq!(given.at(2).await, (Err(why.to_owned()), vec![]));
    }

    #[tokio::test]
    async fn a_request_that_was_removed_is_made_again() {
        let given = given();
        given.will_make("r1");
        assert_eq!(given.at(0).await, not_yet());
        given.certificates.known.lock().values_mut().for_each(|state| {
            let State::Waiting(asked) = state else { panic!("it waits") };
            asked.name = "removed".to_owned();
        });
        let (why, _) = given.at(1).await;
        assert!(why.unwrap_err().ends_with("appears to have been deleted"));
        given.will_make("r2");
        assert_eq!(given.at(2).await, not_yet());
    }
}
