//! ClusterTrustBundles: the authorities that a signer's certificates are trusted by.

use super::signer;
use crate::api::kinds::check::At;
use crate::api::kinds::table::NAME;
use crate::api::kinds::tabled::{Cell, Tabled};
use crate::api::kinds::text;
use crate::api::meta::Meta;
use crate::api::registry::Errors;
use crate::api::tree::Value;
use crate::util::x509::{self, Certificate};

/// Bytes of a bundle.
const BUNDLE_MAX: usize = 1 << 20;

/// The rules of ClusterTrustBundles.
pub const TRUST_BUNDLE: Tabled = Tabled {
    check: |root, errors| {
        name(root.value(), errors);
        let spec = root.field("spec");
        let at = spec.field("signerName");
        if !at.is_empty() {
            signer(at, errors);
        }
        anchors(spec.field("trustBundle"), errors);
    },
    name: text::path_segment,
    immutable: &["spec.signerName"],
    selectable: &["spec.signerName"],
    columns: &[
        (NAME, Cell::Name),
        (("SignerName", "string", 0, "Whose bundle it is."), Cell::At("spec.signerName")),
    ],
    ..Tabled::PLAIN
};

fn name(bundle: &Value, errors: &mut Errors) {
    let (signer, name) = (bundle.at(&["spec", "signerName"]).str(), bundle.name());
    if name.is_empty() {
        // That one is missing has been told.
        return;
    }
    let faults = name_faults(name, signer);
    faults.iter().for_each(|fault| errors.invalid("metadata.name", &name.into(), fault));
}

/// What is wrong with the name of a bundle: one of a signer is named after it.
pub fn name_faults(name: &str, signer: &str) -> Vec<String> {
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        _ if signer.is_empty() && name.contains(':') => {
            vec!["ClusterTrustBundle without signer name must not have \":\" in its name".into()]
        }
        _ if signer.is_empty() => text::dns_subdomain(name),
        Some(own) => text::dns_subdomain(own),
        None => vec![format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
        )],
    }
}

/// What is trusted: authorities' certificates, each once.
fn anchors(at: At<'_>, errors: &mut Errors) {
    if at.str().len() > BUNDLE_MAX {
        return errors.too_long(at, BUNDLE_MAX);
    }
    let blocks = x509::blocks(at.str().as_bytes());
    let mut faults: Vec<String> = blocks
        .iter()
        .enumerate()
        .filter_map(|(index, block)| Some(format!("entry {index} {}", not_an_anchor(block)?)))
        .collect();
    if faults.is_empty() {
        if blocks.is_empty() {
            faults.push("at least one trust anchor must be provided".to_owned());
        }
        for (index, block) in blocks.iter().enumerate() {
            let same = |other: &usize| blocks[*other].contents() == block.contents();
            let all: Vec<usize> = (0..blocks.len()).filter(same).collect();
            if all.len() > 1 && all[0] == index {
                let list = all.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
                faults.push(format!("duplicate trust anchor (indices [{list}])"));
            }
        }
    }
    faults.iter().for_each(|why| errors.invalid(at, &"<value omitted>".into(), why));
}

/// Why a block is no trust anchor, if it is none.
fn not_an_anchor(block: &pem::Pem) -> Option<String> {
    if block.tag() != x509::CERTIFICATE {
        return Some(format!("has bad block type: {}", block.tag()));
    }
    if block.headers().iter().next().is_some() {
        return Some("has PEM block headers".to_owned());
    }
    match Certificate::of_der(block.contents()) {
        Err(_) => Some("does not parse as X.509".to_owned()),
        Ok(certificate) if !certificate.is_authority => {
            Some("does not have the CA bit set".to_owned())
        }
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{certificate, told};
    use super::*;
    use crate::api::registry::Rules;

    fn faults(name: &str, signer: &str, pem: &str) -> Vec<String> {
        let spec = Value::from([("signerName", signer.into()), ("trustBundle", pem.into())]);
        let metadata = Value::from([("name", name.into())]);
        let bundle = Value::from([("metadata", metadata), ("spec", spec)]);
        told(|errors| TRUST_BUNDLE.validate(&bundle, errors))
    }

    #[test]
    fn names_follow_the_signer() {
        let pem = certificate(true);
        assert!(faults("a", "", &pem).is_empty());
        assert!(faults("a.b:c:mine", "a.b/c", &pem).is_empty());
        let said = faults("mine", "a.b/c", &pem).concat();
        assert!(said.contains("must be named with prefix a.b:c:"), "{said}");
        let said = faults("a:b", "", &pem).concat();
        assert!(said.contains("must not have \":\" in its name"), "{said}");
        assert!(faults("a.b:c:", "a.b/c", &pem).concat().contains("RFC 1123 subdomain"));
    }

    #[test]
    fn anchors_are_authorities_each_once() {
        let said = |pem: &str| faults("a", "", pem);
        let (one, two) = (certificate(true), certificate(true));
        assert!(said(&format!("of mine\n{one}{two}")).is_empty());
        let of = |why: &str| format!("spec.trustBundle: Invalid value: \"<value omitted>\": {why}");
        assert_eq!(said("none"), [of("at least one trust anchor must be provided")]);
        assert_eq!(
            said(&format!("{one}{two}{one}")),
            [of("duplicate trust anchor (indices [0 2])")]
        );
        let leaf = certificate(false);
        assert_eq!(said(&format!("{one}{leaf}")), [of("entry 1 does not have the CA bit set")]);
        let other = one.replace("CERTIFICATE", "MINE");
        assert_eq!(said(&other), [of("entry 0 has bad block type: MINE")]);
    }
}
