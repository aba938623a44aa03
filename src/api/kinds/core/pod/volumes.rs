//! Volumes: one source each, of the kinds that are implemented.

use crate::api::kinds::check::{self, At, Rule, required};
use crate::api::kinds::{certificates, selector, text};
use crate::api::registry::Errors;
use crate::api::tree::Value;

use super::containers::PULL_POLICY;
use super::env::{field_reference, resource_reference};

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const EMPTY_DIR_MODE: &str = "must be a number between 0 and 01777 (octal), both inclusive";
const TWO_SOURCES: &str = "may not specify more than 1 volume type";
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// The fields that a downward API volume can show.
const SHOWN: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// The kinds of keys that a pod can have certified.
const KEY_TYPES: &[&str] =
    &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
/// The files that a certificate of a pod can be in.
const CERTIFICATE_PATHS: [&str; 3] = ["credentialBundlePath", "keyPath", "certificateChainPath"];

const HOST_PATH_TYPES: &[&str] = &[
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// Checks all volumes; returns the well-formed ones, which containers may mount.
pub fn validate<'a>(volumes: At<'a>, errors: &mut Errors) -> Vec<&'a Value> {
    let mut sound: Vec<&Value> = Vec::new();
    for (index, value) in volumes.value().items().iter().enumerate() {
        let before = errors.len();
        let path = format!("{volumes}[{index}]");
        let volume = At::path(&path, value);
        source(volume, errors);
        let name = volume.field("name");
        Rule::RequiredText(text::dns_label).check(name, errors);
        if sound.iter().any(|other| other.get("name") == name.value()) {
            errors.duplicate(name, &name);
        }
        if errors.len() == before {
            sound.push(value);
        }
    }
    sound
}

/// Checks a volume's source.
type Check = fn(At<'_>, &mut Errors);

/// The sources that are checked here; all others are `not_yet`.
const SOURCES: &[(&str, Check)] = &[
    ("emptyDir", empty_dir),
    ("hostPath", host_path),
    ("secret", secret),
    ("configMap", config_map),
    ("downwardAPI", downward),
    ("projected", projected),
    ("image", image),
];

fn source(volume: At<'_>, errors: &mut Errors) {
    let given = |(key, source): &(&str, &Value)| *key != "name" && !source.is_null();
    let count = volume.value().fields().filter(given).count();
    if count == 0 {
        errors.required(volume, "must specify a volume type");
    }
    for (number, (key, _)) in volume.value().fields().filter(given).enumerate() {
        if number > 0 {
            errors.forbidden(volume.field(key), TWO_SOURCES);
        } else if let Some((_, check)) = SOURCES.iter().find(|(name, _)| *name == key) {
            check(volume.field(key), errors);
        }
    }
}

fn empty_dir(at: At<'_>, errors: &mut Errors) {
    use crate::api::quantity::Quantity;
    let limit = at.field("sizeLimit");
    if !limit.is_null() && !Quantity::of(&limit).is_ok_and(|q| !q.is_negative()) {
        errors.forbidden(limit, "SizeLimit field must be a valid resource quantity");
    }
    mode(at.field("mode"), 0o1777, EMPTY_DIR_MODE, errors);
}

fn image(at: At<'_>, errors: &mut Errors) {
    required(at.field("reference"), "", errors);
    PULL_POLICY.check(at.field("pullPolicy"), errors);
}

fn host_path(at: At<'_>, errors: &mut Errors) {
    if required(at.field("path"), "", errors) {
        no_backsteps(at.field("path"), errors);
        check::one_of(at.field("type"), HOST_PATH_TYPES, errors);
    }
}

fn secret(at: At<'_>, errors: &mut Errors) {
    required(at.field("secretName"), "", errors);
    files(at, errors);
}

fn config_map(at: At<'_>, errors: &mut Errors) {
    required(at.field("name"), "", errors);
    files(at, errors);
}

/// A default mode and chosen keys, alike for secrets and config maps.
fn files(at: At<'_>, errors: &mut Errors) {
    file_mode(at.field("defaultMode"), errors);
    user(at.field("defaultUser"), errors);
    at.field("items").items().for_each(|item| key_to_path(item, errors));
}

fn key_to_path(at: At<'_>, errors: &mut Errors) {
    required(at.field("key"), "", errors);
    required(at.field("path"), "", errors);
    local_path(at.field("path"), errors);
    file_mode(at.field("mode"), errors);
    user(at.field("user"), errors);
}

fn downward(at: At<'_>, errors: &mut Errors) {
    file_mode(at.field("defaultMode"), errors);
    user(at.field("defaultUser"), errors);
    // Upstream reports faults of the files under the volume, without their index.
    let path = at.to_string();
    for file in at.value().get("items").items() {
        downward_file(At::path(&path, file), errors);
    }
}

fn downward_file(at: At<'_>, errors: &mut Errors) {
    required(at.field("path"), "", errors);
    local_path(at.field("path"), errors);
    let (field, resource) = (at.field("fieldRef"), at.field("resourceFieldRef"));
    match (field.is_null(), resource.is_null()) {
        (true, true) => errors.required(at, "one of fieldRef and resourceFieldRef is required"),
        (true, false) => resource_reference(resource, true, errors),
        (false, both) => {
            field_reference(field, SHOWN, errors);
            if !both {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(at, &"resource".into(), why);
            }
        }
    }
    file_mode(at.field("mode"), errors);
    user(at.field("user"), errors);
}

fn projected(at: At<'_>, errors: &mut Errors) {
    file_mode(at.field("defaultMode"), errors);
    user(at.field("defaultUser"), errors);
    for source in at.field("sources").items() {
        projected_source(at, source, errors);
    }
    conflicting_paths(at, errors);
}

fn projected_source(volume: At<'_>, source: At<'_>, errors: &mut Errors) {
    for name in ["secret", "configMap"] {
        let from = source.field(name);
        if !from.is_null() {
            required(from.field("name"), "", errors);
            from.field("items").items().for_each(|item| key_to_path(item, errors));
        }
    }
    // Upstream reports faults of the files under the source, without their index.
    let path = source.field("downwardAPI").to_string();
    for file in source.value().at(&["downwardAPI", "items"]).items() {
        downward_file(At::path(&path, file), errors);
    }
    let token = source.field("serviceAccountToken");
    if !token.is_null() {
        projected_token(volume, token, errors);
    }
    let bundle = source.field("clusterTrustBundle");
    if !bundle.is_null() {
        trust_bundle(bundle, errors);
    }
    let certificate = source.field("podCertificate");
    if !certificate.is_null() {
        pod_certificate(certificate, errors);
    }
    if source.value().fields().filter(|(_, value)| !value.is_null()).count() > 1 {
        errors.forbidden(source, "may not specify more than 1 volume type per source");
    }
}

fn trust_bundle(at: At<'_>, errors: &mut Errors) {
    let (name, signer, labels) =
        (at.field("name"), at.field("signerName"), at.field("labelSelector"));
    match (name.is_null(), signer.is_null()) {
        (true, true) => errors.required(at, "either name or signerName must be specified"),
        (false, false) => errors.invalid(at, &at, "only one of name and signerName may be used"),
        (false, true) => {
            bundle_name(name, errors);
            if !labels.is_null() {
                let why = "labelSelector must be unset if name is specified";
                errors.invalid(labels, &labels, why);
            }
        }
        (true, false) => {
            required(signer, "must be a valid signer name", errors);
            certificates::signer(signer, errors);
            selector::check(labels, errors);
        }
    }
    required(at.field("path"), "", errors);
    user(at.field("user"), errors);
    local_path(at.field("path"), errors);
}

fn bundle_name(name: At<'_>, errors: &mut Errors) {
    required(name, "must be a valid object name", errors);
    let signer = name.str().rsplit_once(':').map(|(signer, _)| signer.replace(':', "/"));
    let faults = certificates::trust_bundle_name_faults(name.str(), &signer.unwrap_or_default());
    for fault in faults {
        errors.invalid(name, &name, &format!("not a valid clustertrustbundlename: {fault}"));
    }
}

fn pod_certificate(at: At<'_>, errors: &mut Errors) {
    certificates::signer(at.field("signerName"), errors);
    certificates::user_annotations(at.field("userAnnotations"), errors);
    user(at.field("user"), errors);
    let kind = at.field("keyType");
    if !KEY_TYPES.contains(&kind.str()) {
        errors.not_supported(kind, &kind.str().into(), KEY_TYPES);
    }
    let seconds = at.field("maxExpirationSeconds");
    let (min, max) = certificates::lifetimes(at.get("signerName").str());
    let mut outside = |bound: &str| {
        let why = format!("if provided, maxExpirationSeconds must be {bound}");
        errors.invalid(seconds, &seconds, &why);
    };
    match seconds.as_int() {
        Some(given) if given < min => outside(&format!(">= {min}")),
        Some(given) if given > max => outside(&format!("<= {max}")),
        _ => {}
    }
    let paths = CERTIFICATE_PATHS.map(|name| at.field(name));
    for path in paths {
        local_path(path, errors);
    }
    if paths.iter().all(|path| path.is_empty()) {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.required(at, why);
    }
}

/// Two files of one projected volume may not have one path.
fn conflicting_paths(volume: At<'_>, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for source in volume.value().get("sources").items() {
        for (kind, from) in source.fields() {
            let own: &[&str] = match kind {
                "clusterTrustBundle" => &["path"],
                "podCertificate" => &CERTIFICATE_PATHS,
                _ => &[],
            };
            let given = |name: &&str| kind == "clusterTrustBundle" || !from.get(name).is_empty();
            for path in own.iter().filter(|name| given(name)).map(|name| from.get(name)) {
                match seen.contains(&path.str()) {
                    true => errors.invalid(volume, path, "conflicting duplicate paths"),
                    false => seen.push(path.str()),
                }
            }
            for item in from.get("items").items() {
                let path = item.get("path");
                let shown = if kind == "downwardAPI" { path } else { from.get("name") };
                if seen.contains(&path.str()) {
                    errors.invalid(volume, shown, "conflicting duplicate paths");
                } else if !path.is_empty() {
                    seen.push(path.str());
                }
            }
        }
    }
}

fn projected_token(volume: At<'_>, token: At<'_>, errors: &mut Errors) {
    let seconds = token.field("expirationSeconds");
    match seconds.as_int() {
        None => errors.required(seconds, ""),
        Some(given) if given < TOKEN_SECONDS_MIN => {
            errors.invalid(seconds, &seconds, "may not specify a duration less than 10 minutes");
        }
        Some(given) if given > TOKEN_SECONDS_MAX => {
            errors.invalid(
                seconds,
                &seconds,
                "may not specify a duration larger than 2^32 seconds",
            );
        }
        Some(_) => {}
    }
    // Upstream reports the token's path under the volume.
    let path = format!("{volume}.path");
    let at = At::path(&path, token.value().get("path"));
    if required(at, "", errors) {
        local_path(at, errors);
    }
    user(token.field("user"), errors);
}

fn file_mode(at: At<'_>, errors: &mut Errors) {
    mode(at, 0o777, MODE, errors);
}

fn mode(at: At<'_>, max: i64, why: &str, errors: &mut Errors) {
    if at.as_int().is_some_and(|mode| !(0..=max).contains(&mode)) {
        errors.invalid(at, &at, why);
    }
}

fn user(at: At<'_>, errors: &mut Errors) {
    check::between(at, 0, i32::MAX.into(), errors);
}

/// A path may not climb.
pub fn no_backsteps(at: At<'_>, errors: &mut Errors) {
    if at.str().split('/').any(|step| step == "..") {
        errors.invalid(at, &at, "must not contain '..'");
    }
}

/// A path below a volume.
pub fn descending(at: At<'_>, errors: &mut Errors) {
    if at.str().starts_with('/') {
        errors.invalid(at, &at, "must be a relative path");
    }
    no_backsteps(at, errors);
}

/// A path below a volume that does not take the names that atomic updates need.
fn local_path(at: At<'_>, errors: &mut Errors) {
    descending(at, errors);
    if at.str().starts_with("..") && !at.str().starts_with("../") {
        errors.invalid(at, &at, "must not start with '..'");
    }
}
