//! Service accounts.

use crate::api::meta::Meta;
use crate::api::registry::{Context, Rules};
use crate::api::tree::Value;

/// The rules of service accounts.
pub struct ServiceAccount;

const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";

impl Rules for ServiceAccount {
    fn prepare_create(&self, object: &mut Value, _context: Context) {
        keep_names(object);
    }

    fn prepare_update(&self, object: &mut Value, _old: &Value, _context: Context) {
        keep_names(object);
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        let new = object.annotation(MOUNTABLE).is_some() && old.annotation(MOUNTABLE).is_none();
        let warning = || {
            format!(
                "metadata.annotations[{MOUNTABLE}]: deprecated in v1.32+; prefer separate \
                 namespaces to isolate access to mounted secrets"
            )
        };
        new.then(warning).into_iter().collect()
    }
}

/// Of a reference to a secret only the name means anything.
fn keep_names(account: &mut Value) {
    let secrets = account.get_mut("secrets").map(Value::items_mut).into_iter().flatten();
    for secret in secrets {
        let name = secret.remove("name");
        *secret = [("name", name)].into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::clock::Wall;

    #[test]
    fn secrets_are_kept_by_name() {
        let json = br#"{"secrets":[{"name":"a","namespace":"n"}]}"#;
        let mut account = Value::parse(json).unwrap();
        ServiceAccount.prepare_create(&mut account, Context { now: Wall(0) });
        assert_eq!(account.to_string(), r#"{"secrets":[{"name":"a"}]}"#);
    }

    #[test]
    fn the_old_annotation_warns_once() {
        let json =
            br#"{"metadata":{"annotations":{"kubernetes.io/enforce-mountable-secrets":"true"}}}"#;
        let account = Value::parse(json).unwrap();
        assert_eq!(ServiceAccount.warnings(&account, &Value::Null).len(), 1);
        assert!(ServiceAccount.warnings(&account, &account).is_empty());
    }
}
