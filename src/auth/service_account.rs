//! Service-account tokens: issued for an audience and a time, bound to a pod, node or secret, and
//! void as soon as the account or what they are bound to is gone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::UserInfo;
use crate::api::meta::{GroupResource, Key, Meta, split_api_version};
use crate::api::registry::Errors;
use crate::api::status::Status;
use crate::api::time;
use crate::api::tree::Value;
use crate::history::{History, Object};
use crate::limits;
use crate::pki::Signer;
use crate::util::clock::{self, Wall};
use crate::util::id;

/// Keys of `UserInfo.extra`.
const EXTRA: &str = "authentication.kubernetes.io";
/// The shortest lifetime that may be asked for, in seconds.
const EXPIRATION_S_MIN: i64 = 600;
/// The longest one.
const EXPIRATION_S_MAX: i64 = 1 << 32;
/// The lifetime when none is asked for.
const EXPIRATION_S_DEFAULT: i64 = 3600;
/// What kubelets ask for pods. Upstream gives such tokens a year and marks when they should have
/// been replaced, for programs that read their token only once; the node replaces the file anyway.
const EXPIRATION_S_OF_PODS: i64 = 3607;
/// The lifetime of those tokens.
const EXPIRATION_S_EXTENDED: i64 = 365 * 86_400;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Private,
    nbf: i64,
    sub: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Private {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Ref>,
    serviceaccount: Ref,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnafter: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ref {
    name: String,
    uid: String,
}

impl Ref {
    fn of(object: &Object) -> Self {
        Self { name: object.header.key.name.to_string(), uid: object.header.uid.to_string() }
    }
}

/// Why a token is not accepted. For logs and TokenReviews; clients see 401.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

/// A token that holds, and for which of the asked audiences.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The service account.
    pub user: Arc<UserInfo>,
    /// Those of the asked audiences that the token is for.
    pub audiences: Vec<String>,
}

/// A token whose signature has been checked.
struct Known {
    claims: Claims,
    user: Arc<UserInfo>,
}

/// Issues and checks service-account tokens.
pub struct Tokens {
    signer: Arc<Signer>,
    history: Arc<History>,
    issuer: String,
    /// The audiences that the API server answers to; the first is what a token is for by default.
    audiences: Vec<String>,
    /// Checked signatures by the hash of the token. What can change is asked each time.
    known: Mutex<HashMap<[u8; 32], Arc<Known>>>,
}

impl Tokens {
    /// Tokens of one issuer, a URL; the API server answers to `audiences`, at least one.
    pub fn new(
        signer: Arc<Signer>,
        history: Arc<History>,
        issuer: &str,
        audiences: Vec<String>,
    ) -> Self {
        let known = Mutex::new(HashMap::new());
        Self { signer, history, issuer: issuer.to_owned(), audiences, known }
    }

    /// Where accounts and other credentials are looked up.
    pub const fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// The audiences that the API server answers to.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The OpenID discovery document; `server` is the URL under which the keys are found.
    pub fn discovery(&self, server: &str) -> Value {
        let one = |text: &str| Value::from(vec![text.into()]);
        Value::from([
            ("issuer", self.issuer.as_str().into()),
            ("jwks_uri", format!("{server}/openid/v1/jwks").into()),
            ("response_types_supported", one("id_token")),
            ("subject_types_supported", one("public")),
            ("id_token_signing_alg_values_supported", one(self.signer.algorithm())),
        ])
    }

    /// The public keys, as JSON.
    pub fn jwks(&self) -> &str {
        self.signer.jwks()
    }

    /// Whose token this is, if it holds now and is for one of `audiences`.
    ///
    /// # Errors
    /// When it is not of this issuer, has expired, is for others, or its account or what it is
    /// bound to is gone.
    pub fn verify(&self, token: &str, audiences: &[String]) -> Result<Verified, Refused> {
        let known = self.known(token)?;
        let claims = &known.claims;
        let matching: Vec<String> =
            audiences.iter().filter(|wanted| claims.aud.contains(wanted)).cloned().collect();
        if matching.is_empty() {
            return Err(Refused(format!(
                "token audiences {:?} is invalid for the target audiences {audiences:?}",
                claims.aud
            )));
        }
        let now = clock::now().seconds();
        if now >= claims.exp {
            return Err(Refused("service account token has expired".into()));
        }
        if now < claims.nbf {
            return Err(Refused("service account token is not valid yet".into()));
        }
        self.still_there(&claims.kubernetes)?;
        Ok(Verified { user: Arc::clone(&known.user), audiences: matching })
    }

    fn known(&self, token: &str) -> Result<Arc<Known>, Refused> {
        let mut hash = [0u8; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        if let Some(known) = self.known.lock().get(&hash) {
            return Ok(Arc::clone(known));
        }
        let claims: Claims =
            self.signer.verify(token).map_err(|rejected| Refused(rejected.to_string()))?;
        if claims.iss != self.issuer {
            return Err(Refused(format!("the token was issued by {:?}", claims.iss)));
        }
        let user = Arc::new(claims.user());
        if claims.sub != user.name {
            return Err(Refused("the token's subject is not its service account".into()));
        }
        let entry = Arc::new(Known { claims, user });
        let mut known = self.known.lock();
        if known.len() >= limits::TOKEN_CACHE_MAX {
            known.clear();
        }
        known.insert(hash, Arc::clone(&entry));
        Ok(entry)
    }

    fn find(&self, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.history.get(&Key::new(&GroupResource::new("", plural), namespace, name))
    }

    /// Whether account, pod, secret and node of a token are the ones that it was issued for.
    fn still_there(&self, bound: &Private) -> Result<(), Refused> {
        let namespace = bound.namespace.as_str();
        let parts = [
            ("serviceaccounts", namespace, Some(&bound.serviceaccount)),
            ("pods", namespace, bound.pod.as_ref()),
            ("secrets", namespace, bound.secret.as_ref()),
            ("nodes", "", bound.node.as_ref()),
        ];
        for (plural, namespace, wanted) in parts {
            let Some(wanted) = wanted else { continue };
            let found = self.find(plural, namespace, &wanted.name);
            match found.filter(|object| *object.header.uid == *wanted.uid) {
                None => return Err(Refused(format!("{plural} {:?} is gone", wanted.name))),
                Some(object) if is_going(&object) => {
                    return Err(Refused(format!("{plural} {:?} is being deleted", wanted.name)));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// A token for the account `name` as a `TokenRequest` asks; the answer is that object with its
    /// status.
    ///
    /// # Errors
    /// 404 without the account or the bound object, 409 when the bound object is another than the
    /// one of the given UID, 422 for times out of range, 400 for what cannot be bound.
    pub fn issue(&self, namespace: &str, name: &str, request: &Value) -> Result<Value, Status> {
        let account = self
            .find("serviceaccounts", namespace, name)
            .ok_or_else(|| Status::not_found("", "serviceaccounts", name))?;
        let spec = request.get("spec");
        let asked = spec.get("expirationSeconds").as_int().unwrap_or(EXPIRATION_S_DEFAULT);
        check_expiration(asked)?;
        let audiences: Vec<String> =
            spec.get("audiences").items().iter().map(|a| a.str().to_owned()).collect();
        let audiences = if audiences.is_empty() { self.audiences.clone() } else { audiences };
        let mut bound = Private {
            namespace: namespace.to_owned(),
            node: None,
            pod: None,
            secret: None,
            serviceaccount: Ref::of(&account),
            warnafter: None,
        };
        self.bind(&mut bound, spec.get("boundObjectRef"), name)?;
        let now = clock::now().seconds();
        let for_us = audiences.iter().all(|audience| self.audiences.contains(audience));
        let extended = asked == EXPIRATION_S_OF_PODS && bound.pod.is_some() && for_us;
        if extended {
            bound.warnafter = Some(now + asked);
        }
        let claims = Claims {
            aud: audiences.clone(),
            exp: now + if extended { EXPIRATION_S_EXTENDED } else { asked },
            iat: now,
            iss: self.issuer.clone(),
            jti: id::uuid(),
            nbf: now,
            sub: UserInfo::service_account(namespace, name, "").name,
            kubernetes: bound,
        };
        let token = self.signer.sign(&claims).map_err(|e| Status::internal(e.to_string()))?;
        Ok(answer(request, (namespace, name), audiences, asked, &token))
    }

    /// Binds a token to the object that the request names.
    fn bind(&self, bound: &mut Private, wanted: &Value, account: &str) -> Result<(), Status> {
        if wanted.is_null() {
            return Ok(());
        }
        let (kind, name) = (wanted.get("kind").str(), wanted.get("name").str());
        let (plural, namespace) = match (wanted.get("apiVersion").str(), kind) {
            ("v1" | "", "Pod") => ("pods", bound.namespace.as_str()),
            ("v1" | "", "Secret") => ("secrets", bound.namespace.as_str()),
            ("v1" | "", "Node") => ("nodes", ""),
            (version, kind) => {
                let (group, version) = split_api_version(version);
                return Err(Status::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={kind}"
                )));
            }
        };
        let object = self
            .find(plural, namespace, name)
            .ok_or_else(|| Status::not_found("", plural, name))?;
        let uid = wanted.get("uid").str();
        if !uid.is_empty() && *object.header.uid != *uid {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. \
                 The object might have been deleted and then recreated"
            );
            return Err(Status::conflict("", kind, name, &why));
        }
        match kind {
            "Pod" => {
                let pod = object.tree().map_err(|e| Status::internal(e.to_string()))?;
                self.bind_pod(bound, &object, &pod, account)?;
            }
            "Secret" => bound.secret = Some(Ref::of(&object)),
            _ => bound.node = Some(Ref::of(&object)),
        }
        Ok(())
    }

    /// A pod's token names the node that the pod is on, too.
    fn bind_pod(
        &self,
        bound: &mut Private,
        object: &Object,
        pod: &Value,
        account: &str,
    ) -> Result<(), Status> {
        if pod.at(&["spec", "serviceAccountName"]).str() != account {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different \
                 serviceaccount name."
            )));
        }
        bound.pod = Some(Ref::of(object));
        let node = pod.at(&["spec", "nodeName"]).str();
        if !node.is_empty() {
            bound.node = self.find("nodes", "", node).map(|node| Ref::of(&node));
        }
        Ok(())
    }
}

impl Claims {
    fn user(&self) -> UserInfo {
        let bound = &self.kubernetes;
        let account = &bound.serviceaccount;
        let mut extra = BTreeMap::new();
        let mut add = |key: &str, value: &str| {
            extra.insert(format!("{EXTRA}/{key}"), vec![value.to_owned()]);
        };
        add("credential-id", &format!("JTI={}", self.jti));
        for (kind, found) in [("pod", &bound.pod), ("node", &bound.node)] {
            if let Some(found) = found {
                add(&format!("{kind}-name"), &found.name);
                add(&format!("{kind}-uid"), &found.uid);
            }
        }
        let user = UserInfo::service_account(&bound.namespace, &account.name, &account.uid);
        UserInfo { extra, ..user }
    }
}

/// Whether an object's deletion was due a minute ago: what goes with grace may use its token until
/// then.
fn is_going(object: &Object) -> bool {
    let due = |object: &Object| object.tree().ok().and_then(|tree| tree.deletion());
    object.header.deleting
        && due(object).is_none_or(|due: Wall| due.after(Duration::from_secs(60)) < clock::now())
}

fn check_expiration(seconds: i64) -> Result<(), Status> {
    let mut errors = Errors::default();
    let field = "spec.expirationSeconds";
    if seconds < EXPIRATION_S_MIN {
        let why = "may not specify a duration less than 10 minutes";
        errors.invalid(field, &seconds.into(), why);
    }
    if seconds > EXPIRATION_S_MAX {
        let why = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(field, &seconds.into(), why);
    }
    match errors.is_empty() {
        true => Ok(()),
        false => {
            Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", errors.into_causes()))
        }
    }
}

fn answer(
    request: &Value,
    (namespace, name): (&str, &str),
    audiences: Vec<String>,
    seconds: i64,
    token: &str,
) -> Value {
    let lifetime = Duration::from_secs(seconds.try_into().unwrap_or(0));
    let mut answer = request.clone();
    answer.set("apiVersion", "authentication.k8s.io/v1");
    answer.set("kind", "TokenRequest");
    let metadata = answer.entry("metadata");
    metadata.set("name", name);
    metadata.set("namespace", namespace);
    metadata.set("creationTimestamp", time::format(clock::now()));
    let spec = answer.entry("spec");
    spec.set("audiences", audiences.into_iter().map(Value::from).collect::<Vec<_>>());
    spec.set("expirationSeconds", seconds);
    spec.entry("boundObjectRef");
    let expires = time::format(clock::now().after(lifetime));
    answer.set(
        "status",
        Value::from([("token", token.into()), ("expirationTimestamp", expires.into())]),
    );
    answer
}

#[cfg(test)]
mod tests;
