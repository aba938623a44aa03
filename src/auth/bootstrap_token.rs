//! Bootstrap tokens (`<id>.<secret>`): Secrets of `kube-system` by which a machine may introduce
//! itself, in the form that kubeadm and `k3s token` write.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::UserInfo;
use super::authentication::BOOTSTRAPPERS;
use crate::api::meta::{GroupResource, Key};
use crate::api::time;
use crate::api::tree::Value;
use crate::history::History;
use crate::util::clock;

/// Where the Secrets are.
const NAMESPACE: &str = "kube-system";
/// What their names start with; the token's id follows.
const NAME_PREFIX: &str = "bootstrap-token-";
/// Their type.
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// What the names of their users start with; the id follows.
const USER_PREFIX: &str = "system:bootstrap:";

/// The user of a token that a Secret of the history knows and allows to be used for this; none for
/// any other.
pub fn user(history: &History, token: &str) -> Option<Arc<UserInfo>> {
    let (id, secret) = parse(token)?;
    let secrets = GroupResource::new("", "secrets");
    let object = history.get(&Key::new(&secrets, NAMESPACE, &format!("{NAME_PREFIX}{id}")))?;
    if object.header.deleting {
        return None;
    }
    let tree = object.tree().ok()?;
    let known = Data(&tree);
    let same = verify_slices_are_equal(known.text("token-secret").as_bytes(), secret.as_bytes());
    let holds = tree.get("type").str() == TYPE
        && known.text("token-id") == id
        && same.is_ok()
        && known.text("usage-bootstrap-authentication") == "true"
        && !known.has_expired();
    holds.then(|| known.user(id)).flatten()
}

/// The two parts of a token: 6 and 16 characters of `[a-z0-9]`.
fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    (plain(id, 6) && plain(secret, 16)).then_some((id, secret))
}

/// The data of a Secret.
struct Data<'a>(&'a Value);

impl Data<'_> {
    /// The decoded text under a key; empty where there is none.
    fn text(&self, key: &str) -> String {
        let encoded = self.0.at(&["data", key]).str();
        STANDARD.decode(encoded).ok().and_then(|b| String::from_utf8(b).ok()).unwrap_or_default()
    }

    /// Whether the token's time is over; one that cannot be read is.
    fn has_expired(&self) -> bool {
        let text = self.text("expiration");
        !text.is_empty() && time::parse(&text).is_none_or(|end| end <= clock::now())
    }

    /// The user; none when the groups are not those of bootstrappers.
    fn user(&self, id: &str) -> Option<Arc<UserInfo>> {
        let more = self.text("auth-extra-groups");
        let more: Vec<&str> = more.split(',').map(str::trim).filter(|g| !g.is_empty()).collect();
        if !more.iter().copied().all(is_bootstrap_group) {
            return None;
        }
        let groups: Vec<&str> = std::iter::once(BOOTSTRAPPERS).chain(more).collect();
        Some(Arc::new(UserInfo::system(&format!("{USER_PREFIX}{id}"), &groups)))
    }
}

/// Whether a token may put its user into a group: `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`.
fn is_bootstrap_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let within = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b':' || b == b'-';
    rest.len() <= 256
        && rest.bytes().all(within)
        && rest.bytes().last().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::World;

    /// The user of a token for which there is a Secret with some data replaced; an empty value
    /// takes a key away.
    fn ask(token: &str, changes: &[(&str, &str)]) -> Option<Arc<UserInfo>> {
        let world = World::default();
        let mut data = Value::object();
        let usual = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ];
        for (key, value) in usual.iter().chain(changes) {
            data.set(key, STANDARD.encode(value));
        }
        let secret = format!(
            r#"{{"type":"{TYPE}","metadata":{{"name":"bootstrap-token-abcdef",
            "namespace":"kube-system"}},"data":{data}}}"#
        );
        world.put("", "secrets", &secret);
        user(&world.history, token)
    }

    #[test]
    fn a_secret_lets_its_token_in() {
        let groups = ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token");
        let user = ask("abcdef.0123456789abcdef", &[groups]).unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        let wanted = [
            "system:bootstrappers",
            "system:bootstrappers:kubeadm:default-node-token",
            "system:authenticated",
        ];
        assert_eq!(user.groups, wanted);
        assert!(
            ask("abcdef.0123456789abcdef", &[("expiration", "2999-01-01T00:00:00Z")]).is_some()
        );
    }

    #[test]
    fn whatever_is_wrong_keeps_it_out() {
        let right = "abcdef.0123456789abcdef";
        let wrong: [(&str, &[(&str, &str)]); 8] = [
            ("abcdef.0123456789abcdee", &[]),
            ("abcdeg.0123456789abcdef", &[]),
            ("abcdef.0123456789ABCDEF", &[("token-secret", "0123456789ABCDEF")]),
            (right, &[("token-id", "abcdeg")]),
            (right, &[("usage-bootstrap-authentication", "false")]),
            (right, &[("expiration", "2020-01-01T00:00:00Z")]),
            (right, &[("expiration", "soon")]),
            (right, &[("auth-extra-groups", "system:masters")]),
        ];
        for (token, changes) in wrong {
            assert!(ask(token, changes).is_none(), "{token} {changes:?}");
        }
    }
}
