//! Client certificates: the common name is the user, the organizations are the groups.

use rustls::pki_types::CertificateDer;
use x509_parser::der_parser::oid;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::UserInfo;

/// The user that a client certificate names; `None` when it names none.
pub fn user(certificate: &CertificateDer<'_>) -> Option<UserInfo> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    // Of several names the last, as upstream.
    let name = subject.iter_common_name().last()?.as_str().ok()?;
    if name.is_empty() {
        return None;
    }
    let groups: Vec<&str> = subject.iter_organization().filter_map(|o| o.as_str().ok()).collect();
    // Kubernetes' own attribute for a user's UID.
    let uid = subject.iter_by_oid(&oid!(1.3.6.1.4.1.57683.2)).next();
    let uid = uid.and_then(|uid| uid.as_str().ok()).unwrap_or_default();
    Some(UserInfo { uid: uid.to_owned(), ..UserInfo::system(name, &groups) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Pki, Profile};

    #[test]
    fn names_come_from_the_subject() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), true).unwrap();
        let profile = Profile::client("system:node:n1", "system:nodes");
        let identity = pki.client.issue(&profile).unwrap();
        let key = identity.certified_key().unwrap();
        let user = user(&key.cert[0]).unwrap();
        assert_eq!(user.as_node(), Some("n1"));
        assert!(user.is_in("system:authenticated"));
    }

    #[test]
    fn nonsense_names_nobody() {
        assert_eq!(user(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
