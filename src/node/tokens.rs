//! Service account tokens for pods: asked for when they are needed, anew before they end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use super::pod::account;
use super::volume::payload::TokenWish;
use crate::api::status::Status;
use crate::api::time;
use crate::api::tree::Value;
use crate::client::{Client, SERVICEACCOUNTS};
use crate::util::clock::Wall;

/// A token is replaced at the latest when it is this old, however long it holds: kubelet's rule.
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The tokens of one pod.
pub struct Tokens {
    client: Arc<dyn Client>,
    known: Mutex<HashMap<TokenWish, Token>>,
}

#[derive(Clone)]
struct Token {
    text: String,
    /// When to ask for another.
    refresh: Wall,
}

impl Tokens {
    /// No tokens yet.
    pub fn new(client: Arc<dyn Client>) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// The tokens that a pod's volumes shall hold, those that are due asked for anew.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn fetch(
        &self,
        pod: &Pod,
        wishes: &[TokenWish],
        now: Wall,
    ) -> Result<HashMap<TokenWish, String>, Status> {
        let mut tokens = HashMap::new();
        for wish in wishes {
            let known = self.known.lock().get(wish).filter(|token| token.refresh > now).cloned();
            let token = match known {
                Some(token) => token,
                None => self.ask(pod, wish, now).await?,
            };
            tokens.insert(wish.clone(), token.text);
        }
        Ok(tokens)
    }

    /// When the first of the tokens is due.
    pub fn due(&self) -> Option<Wall> {
        self.known.lock().values().map(|token| token.refresh).min()
    }

    async fn ask(&self, pod: &Pod, wish: &TokenWish, now: Wall) -> Result<Token, Status> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let body = request(pod, wish);
        let post = self.client.post(&SERVICEACCOUNTS, namespace, account(pod), "token", body);
        let answer = post.await?;
        let status = answer.get("status");
        let text = status.get("token").str().to_owned();
        if text.is_empty() {
            return Err(Status::internal("the server gave no token"));
        }
        let end = time::parse(status.get("expirationTimestamp").str());
        let token = Token { text, refresh: refresh_at(end, wish, now) };
        self.known.lock().insert(wish.clone(), token.clone());
        Ok(token)
    }
}

fn request(pod: &Pod, wish: &TokenWish) -> Value {
    let text = |field: &Option<String>| Value::from(field.clone().unwrap_or_default());
    let bound = Value::from([
        ("kind", "Pod".into()),
        ("apiVersion", "v1".into()),
        ("name", text(&pod.metadata.name)),
        ("uid", text(&pod.metadata.uid)),
    ]);
    let mut spec =
        Value::from([("expirationSeconds", wish.seconds.into()), ("boundObjectRef", bound)]);
    if !wish.audience.is_empty() {
        spec.set("audiences", vec![Value::from(wish.audience.as_str())]);
    }
    Value::from([
        ("apiVersion", "authentication.k8s.io/v1".into()),
        ("kind", "TokenRequest".into()),
        ("metadata", Value::object()),
        ("spec", spec),
    ])
}

/// After four fifths of a token's life, or a day.
fn refresh_at(end: Option<Wall>, wish: &TokenWish, now: Wall) -> Wall {
    let wished = Duration::from_secs(u64::try_from(wish.seconds).unwrap_or(3600));
    let life = end.map_or(wished, |end| end.since(now));
    now.after((life * 4 / 5).min(AGE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::Cluster;

    fn answer(token: &str, end: i64) -> Value {
        let status = Value::from([
            ("token", token.into()),
            ("expirationTimestamp", time::format(Wall::from_seconds(end)).into()),
        ]);
        Value::from([("status", status)])
    }

    #[tokio::test]
    async fn tokens_are_kept_until_they_are_due() {
        let cluster = Cluster::new();
        let tokens = Tokens::new(cluster.client());
        let text = r#"{"metadata":{"name":"p","namespace":"n","uid":"u"},
            "spec":{"serviceAccountName":"sa","containers":[]}}"#;
        let pod: Pod = serde_json::from_str(text).unwrap();
        let wishes = [TokenWish { audience: "vault".into(), seconds: 1000 }];
        *cluster.answers.lock() = vec![Ok(answer("one", 2000)), Ok(answer("two", 3000))];
        let at = |seconds| tokens.fetch(&pod, &wishes, Wall::from_seconds(seconds));
        assert_eq!(at(1000).await.unwrap()[&wishes[0]], "one");
        assert_eq!(tokens.due(), Some(Wall::from_seconds(1800)));
        assert_eq!(at(1799).await.unwrap()[&wishes[0]], "one");
        assert_eq!(at(1800).await.unwrap()[&wishes[0]], "two");
        let calls = cluster.calls.lock();
        assert_eq!((calls.len(), &*calls[0].name, calls[0].subresource), (2, "sa", "token"));
        assert_eq!(calls[0].body.at(&["spec", "boundObjectRef", "uid"]).str(), "u");
        assert_eq!(calls[0].body.at(&["spec", "audiences"]).items()[0].str(), "vault");
    }

    #[test]
    fn long_lives_are_cut_to_a_day() {
        let wish = TokenWish { audience: String::new(), seconds: 1_000_000 };
        let refresh = refresh_at(None, &wish, Wall::from_seconds(0));
        assert_eq!(refresh, Wall::from_seconds(86_400));
    }
}
