//! Kubeconfigs: what kubectl needs to reach the cluster, in one file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Identity;

/// A kubeconfig for one server and one user who shows a certificate. `name` names cluster, user
/// and context.
pub fn render(server: &str, authority_pem: &str, identity: &Identity, name: &str) -> String {
    let authority = STANDARD.encode(authority_pem);
    let certificate = STANDARD.encode(&identity.certificate_pem);
    let key = STANDARD.encode(&identity.key_pem);
    format!(
        "\
apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster:
    certificate-authority-data: {authority}
    server: {server}
contexts:
- name: {name}
  context:
    cluster: {name}
    user: {name}
current-context: {name}
preferences: {{}}
users:
- name: {name}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"
    )
}
