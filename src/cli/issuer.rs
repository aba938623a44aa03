//! Arguments in the words of kube-apiserver: those of an outside issuer of tokens.

use jsonwebtoken::Algorithm;

use crate::auth::oidc::{ALGORITHMS, Settings};

/// The arguments that are known.
const KNOWN: [&str; 9] = [
    "oidc-issuer-url",
    "oidc-client-id",
    "oidc-ca-file",
    "oidc-username-claim",
    "oidc-username-prefix",
    "oidc-groups-claim",
    "oidc-groups-prefix",
    "oidc-required-claim",
    "oidc-signing-algs",
];

/// The issuer that `key=value` arguments describe; none where there are none. `own` is the issuer
/// of this cluster's own tokens.
///
/// # Errors
/// Everything that is wrong with them.
pub fn issuer(arguments: &[String], own: &str) -> Result<Option<Settings>, Vec<String>> {
    let mut faults = Vec::new();
    let mut given: Vec<(&str, &str)> = Vec::new();
    for argument in arguments {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        match KNOWN.contains(&name) {
            true => given.push((name, value)),
            false => faults.push(format!(
                "{name:?} is none of the arguments that rk takes here: {}",
                KNOWN.join(", ")
            )),
        }
    }
    if given.is_empty() {
        return if faults.is_empty() { Ok(None) } else { Err(faults) };
    }
    let settings = settings(&given, own, &mut faults);
    if faults.is_empty() { Ok(Some(settings)) } else { Err(faults) }
}

fn settings(given: &[(&str, &str)], own: &str, faults: &mut Vec<String>) -> Settings {
    // Of an argument that is given twice the last counts.
    let one = |wanted: &str| {
        let found = given.iter().rev().find(|(name, value)| *name == wanted && !value.is_empty());
        found.map(|(_, value)| (*value).to_owned())
    };
    let issuer = one("oidc-issuer-url").unwrap_or_default();
    let client_id = one("oidc-client-id").unwrap_or_default();
    match issuer.is_empty() || client_id.is_empty() {
        true => faults.push(
            "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags \
             are set"
                .to_owned(),
        ),
        false => faults.extend(url_fault(&issuer, own)),
    }
    let username_claim = one("oidc-username-claim").unwrap_or_else(|| "sub".to_owned());
    let username_prefix = match one("oidc-username-prefix").as_deref() {
        Some("-") => String::new(),
        Some(prefix) => prefix.to_owned(),
        None if username_claim == "email" => String::new(),
        None => format!("{issuer}#"),
    };
    let authorities = one("oidc-ca-file").and_then(|path| {
        let read = std::fs::read_to_string(&path);
        read.inspect_err(|e| faults.push(format!("oidc-ca-file: cannot read {path}: {e}"))).ok()
    });
    Settings {
        username_claim,
        username_prefix,
        groups_claim: one("oidc-groups-claim").unwrap_or_default(),
        groups_prefix: one("oidc-groups-prefix").unwrap_or_default(),
        required: required(given, faults),
        algorithms: algorithms(&one("oidc-signing-algs").unwrap_or_default(), faults),
        authorities,
        issuer,
        client_id,
    }
}

fn url_fault(issuer: &str, own: &str) -> Option<String> {
    let wrong = |why: &str| Some(format!("oidc-issuer-url: {issuer:?}: {why}"));
    let url: http::Uri = match issuer.parse() {
        Ok(url) => url,
        Err(_) => return wrong("it is no URL"),
    };
    if url.scheme_str() != Some("https") {
        return wrong("URL scheme must be https");
    }
    if url.query().is_some() || issuer.contains('#') {
        return wrong("URL must not contain a query or fragment");
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return wrong("URL must not contain a username or password");
    }
    (issuer == own).then(|| wrong("it is the issuer of service accounts' tokens")).flatten()
}

fn required(given: &[(&str, &str)], faults: &mut Vec<String>) -> Vec<(String, String)> {
    let mut required = Vec::new();
    for (_, value) in given.iter().filter(|(name, _)| *name == "oidc-required-claim") {
        match value.split_once('=') {
            Some((claim, wanted)) => {
                required.push((claim.trim().to_owned(), wanted.trim().to_owned()));
            }
            None => faults.push(format!(
                "oidc-required-claim: malformed pair, expect string=string: {value:?}"
            )),
        }
    }
    required
}

fn algorithms(text: &str, faults: &mut Vec<String>) -> Vec<Algorithm> {
    if text.is_empty() {
        return vec![Algorithm::RS256];
    }
    let mut allowed = Vec::new();
    for name in text.split(',').map(str::trim) {
        match ALGORITHMS.iter().find(|(known, _)| *known == name) {
            Some((_, algorithm)) => allowed.push(*algorithm),
            None => {
                let known: Vec<&str> = ALGORITHMS.iter().map(|(known, _)| *known).collect();
                faults.push(format!(
                    "oidc-signing-algs: unsupported signing alg: {name:?}; rk knows {}",
                    known.join(", ")
                ));
            }
        }
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Option<Settings>, Vec<String>> {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        issuer(&arguments, "https://kubernetes.default.svc.cluster.local")
    }

    const URL: &str = "oidc-issuer-url=https://issuer.example";
    const ID: &str = "oidc-client-id=me";

    #[test]
    fn defaults_are_upstream_s() {
        assert_eq!(read(&[]), Ok(None));
        let settings = read(&[URL, ID]).unwrap().unwrap();
        assert_eq!(settings.username_claim, "sub");
        assert_eq!(settings.username_prefix, "https://issuer.example#");
        assert_eq!(settings.algorithms, [Algorithm::RS256]);
        let of = |more: &[&str]| read(&[&[URL, ID], more].concat()).unwrap().unwrap();
        let email = of(&["oidc-username-claim=email"]);
        assert_eq!(email.username_prefix, "");
        assert_eq!(of(&["oidc-username-prefix=-"]).username_prefix, "");
        assert_eq!(of(&["oidc-username-prefix=x:"]).username_prefix, "x:");
        let claims = of(&["oidc-required-claim=a=b=c", "oidc-required-claim=d=e"]).required;
        assert_eq!(claims, [("a".into(), "b=c".into()), ("d".into(), "e".into())]);
        let algorithms = of(&["oidc-signing-algs=ES256, PS512"]).algorithms;
        assert_eq!(algorithms, [Algorithm::ES256, Algorithm::PS512]);
    }

    #[test]
    fn what_cannot_be_is_told() {
        let said = |arguments: &[&str]| read(arguments).unwrap_err().join("\n");
        assert!(said(&["audit-log-path=x"]).contains("none of the arguments that rk takes here"));
        assert!(said(&[URL]).contains("must be specified together"));
        assert!(said(&["oidc-issuer-url=http://a", ID]).contains("URL scheme must be https"));
        let own = "oidc-issuer-url=https://kubernetes.default.svc.cluster.local";
        assert!(said(&[own, ID]).contains("the issuer of service accounts' tokens"));
        assert!(said(&[URL, ID, "oidc-required-claim=x"]).contains("malformed pair"));
        assert!(said(&[URL, ID, "oidc-signing-algs=HS256"]).contains("unsupported signing alg"));
        assert!(said(&[URL, ID, "oidc-ca-file=/nowhere"]).contains("cannot read /nowhere"));
    }
}
