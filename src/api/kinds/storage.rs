//! The storage group, and the core group's volumes and claims. Nothing in rk provisions, attaches
//! or mounts them yet.

use super::check::{self, At, Rule};
use super::fallback::Fallback;
use super::table::{AGE, NAME};
use super::tabled::{Cell, Tabled};
use super::text;
use crate::api::meta::Meta;
use crate::api::registry::{Context, Errors};
use crate::api::time;
use crate::api::tree::Value;

/// What marks the class that claims without one get.
pub const IS_DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const ACCESS_MODES: &[&str] =
    &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
const RECLAIM: &[&str] = &["Delete", "Recycle", "Retain"];

/// StorageClasses.
pub const STORAGE_CLASS: Tabled = Tabled {
    defaults: &[
        ("reclaimPolicy", Fallback::Text("Delete")),
        ("volumeBindingMode", Fallback::Text("Immediate")),
    ],
    rules: &[
        ("provisioner", Rule::Required("")),
        ("provisioner", Rule::Each(driver)),
        ("reclaimPolicy", Rule::OneOf(&["Delete", "Retain"])),
        ("volumeBindingMode", Rule::RequiredOneOf(&["Immediate", "WaitForFirstConsumer"])),
    ],
    check_update: |root, old, errors| {
        for field in ["parameters", "provisioner", "reclaimPolicy"] {
            if root.get(field) != old.get(field) {
                errors.forbidden(field, &format!("updates to {field} are forbidden."));
            }
        }
    },
    immutable: &["volumeBindingMode"],
    columns: &[
        (NAME, Cell::Made(class_name)),
        (("Provisioner", "string", 0, "What makes the volumes."), Cell::At("provisioner")),
        (
            ("ReclaimPolicy", "string", 0, "What becomes of them."),
            Cell::Or("reclaimPolicy", "Delete"),
        ),
        (
            ("VolumeBindingMode", "string", 0, "When they are bound."),
            Cell::Or("volumeBindingMode", "Immediate"),
        ),
        (
            ("AllowVolumeExpansion", "string", 0, "Whether they may grow."),
            Cell::Flag("allowVolumeExpansion", false),
        ),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores StorageClasses, but provisions no volumes yet",
    ..Tabled::PLAIN
};

/// The class that a claim names, be it by the annotation of old.
pub fn claimed_class(claim: &Value) -> Option<&str> {
    const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
    claim.annotation(BETA_CLASS).or_else(|| claim.at(&["spec", "storageClassName"]).as_str())
}

fn class_name(object: &Value) -> Value {
    let default = IS_DEFAULT.iter().any(|key| object.annotation(key) == Some("true"));
    if default { format!("{} (default)", object.name()).into() } else { object.name().into() }
}

/// A driver's or provisioner's name: a qualified one, in any case, and shown in lower case.
fn driver(at: At<'_>, errors: &mut Errors) {
    let lower = at.str().to_lowercase();
    if lower.is_empty() {
        return;
    }
    for fault in text::label_key(&lower) {
        errors.invalid(at, &lower.as_str().into(), &fault);
    }
}

/// How long the name of a CSI driver may be.
const CSI_DRIVER_MAX: usize = 63;

/// Checks the name of a CSI driver.
pub(super) fn csi_driver(at: At<'_>, errors: &mut Errors) {
    if !check::required(at, "", errors) {
        return;
    }
    if at.str().len() > CSI_DRIVER_MAX {
        errors.too_long(at, CSI_DRIVER_MAX);
    }
    for fault in text::dns_subdomain(&at.str().to_lowercase()) {
        errors.invalid(at, &at, &fault);
    }
}

/// The same of the driver that attaches a volume, in the words of upstream's newer validators.
fn attacher(at: At<'_>, errors: &mut Errors) {
    if !check::required(at, "", errors) {
        return;
    }
    if at.str().len() > CSI_DRIVER_MAX {
        errors.too_long_characters(at, CSI_DRIVER_MAX);
    }
    for fault in text::dns_subdomain(&at.str().to_lowercase()) {
        let fault = fault
            .replace("a lowercase RFC 1123", "an RFC 1123")
            .replace("lower case alphanumeric", "alphanumeric")
            .replace("'example.com'", "'Example.com'");
        errors.invalid(at, &at, &fault);
    }
}

/// VolumeAttachments.
pub const VOLUME_ATTACHMENT: Tabled = Tabled {
    defaults: &[("status.attached", Fallback::Flag(false))],
    check: |root, errors| {
        let spec = root.field("spec");
        let source = spec.field("source");
        let given = ["inlineVolumeSpec", "persistentVolumeName"]
            .iter()
            .filter(|field| !source.get(field).is_empty());
        match given.count() {
            0 => errors.required(
                source,
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            ),
            1 => {}
            _ => errors.forbidden(
                source,
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            ),
        }
        check::formatted(spec.field("nodeName"), text::dns_subdomain, errors);
        Rule::Text(text::dns_subdomain).check(source.field("persistentVolumeName"), errors);
        attacher(spec.field("attacher"), errors);
    },
    immutable: &["spec"],
    status: true,
    columns: &[
        (NAME, Cell::Name),
        (("Attacher", "string", 0, "The driver that attaches."), Cell::At("spec.attacher")),
        (("PV", "string", 0, "The volume."), Cell::At("spec.source.persistentVolumeName")),
        (("Node", "string", 0, "Where it is to be."), Cell::At("spec.nodeName")),
        (("Attached", "boolean", 0, "Whether it is there."), Cell::Flag("status.attached", false)),
        (AGE, Cell::Age),
    ],
    formats: &[("Attacher", "name")],
    unserved: "rk stores VolumeAttachments, but attaches no volumes yet",
    ..Tabled::PLAIN
};

/// CSIDrivers.
pub const CSI_DRIVER: Tabled = Tabled {
    defaults: &[
        ("spec.attachRequired", Fallback::Flag(true)),
        ("spec.podInfoOnMount", Fallback::Flag(false)),
        ("spec.storageCapacity", Fallback::Flag(false)),
        ("spec.fsGroupPolicy", Fallback::Text("ReadWriteOnceWithFSType")),
        ("spec.requiresRepublish", Fallback::Flag(false)),
        ("spec.seLinuxMount", Fallback::Flag(false)),
        ("spec.preventPodSchedulingIfMissing", Fallback::Flag(false)),
    ],
    complete: |object| {
        let spec = object.entry("spec");
        if spec.get("volumeLifecycleModes").is_empty() {
            spec.set("volumeLifecycleModes", vec![Value::from("Persistent")]);
        }
    },
    rules: &[
        ("spec.fsGroupPolicy", Rule::OneOf(&["File", "None", "ReadWriteOnceWithFSType"])),
        ("spec.volumeLifecycleModes[]", Rule::OneOf(&["Ephemeral", "Persistent"])),
        ("spec.tokenRequests[].expirationSeconds", Rule::Between(600, 1 << 32)),
    ],
    check: |root, errors| {
        let spec = root.field("spec");
        check::unique(spec.field("tokenRequests"), "audience", errors);
    },
    immutable: &["spec.attachRequired", "spec.volumeLifecycleModes"],
    generations: true,
    first_generation: false,
    columns: &[
        (NAME, Cell::Name),
        (("AttachRequired", "boolean", 0, ""), Cell::Flag("spec.attachRequired", true)),
        (("PodInfoOnMount", "boolean", 0, ""), Cell::Flag("spec.podInfoOnMount", false)),
        (("StorageCapacity", "boolean", 0, ""), Cell::Flag("spec.storageCapacity", false)),
        (("TokenRequests", "string", 0, ""), Cell::Made(token_requests)),
        (("RequiresRepublish", "boolean", 0, ""), Cell::Flag("spec.requiresRepublish", false)),
        (("Modes", "string", 0, ""), Cell::Made(modes)),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores CSIDrivers, but has no volumes by CSI yet",
    ..Tabled::PLAIN
};

fn token_requests(object: &Value) -> Value {
    let list = object.at(&["spec", "tokenRequests"]).items();
    joined(list.iter().map(|request| request.get("audience").str()), "<unset>")
}

fn modes(object: &Value) -> Value {
    let list = object.at(&["spec", "volumeLifecycleModes"]).items();
    joined(list.iter().map(Value::str), "<none>")
}

/// Texts with commas between.
fn joined<'t>(texts: impl Iterator<Item = &'t str>, none: &str) -> Value {
    match texts.collect::<Vec<_>>().as_slice() {
        [] => none.into(),
        texts => texts.join(",").into(),
    }
}

/// CSINodes.
pub const CSI_NODE: Tabled = Tabled {
    rules: &[
        ("spec.drivers[].nodeID", Rule::Required("")),
        ("spec.drivers[].allocatable.count", Rule::NotNegative),
    ],
    check: |root, errors| {
        let spec = root.field("spec");
        let drivers = spec.field("drivers");
        drivers.items().for_each(|driver| csi_driver(driver.field("name"), errors));
        check::unique(drivers, "name", errors);
    },
    columns: &[
        (NAME, Cell::Name),
        (("Drivers", "integer", 0, "How many drivers the node has."), Cell::Count("spec.drivers")),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores CSINodes, but has no volumes by CSI yet",
    ..Tabled::PLAIN
};

/// CSIStorageCapacities.
pub const CSI_STORAGE_CAPACITY: Tabled = Tabled {
    check: |root, errors| {
        check::formatted(root.field("storageClassName"), text::dns_subdomain, errors);
    },
    immutable: &["nodeTopology", "storageClassName"],
    columns: &[
        (NAME, Cell::Name),
        (("Created At", "date", 0, AGE.3), Cell::At("metadata.creationTimestamp")),
    ],
    unserved: "rk stores CSIStorageCapacities, but places no pods by them yet",
    ..Tabled::PLAIN
};

/// VolumeAttributesClasses.
pub const VOLUME_ATTRIBUTES_CLASS: Tabled = Tabled {
    rules: &[("driverName", Rule::Required("")), ("driverName", Rule::Each(driver))],
    check: |root, errors| {
        let parameters = root.field("parameters");
        if parameters.is_empty() {
            errors.required(parameters, "must contain at least one key/value pair");
        }
    },
    immutable: &["driverName", "parameters"],
    columns: &[
        (NAME, Cell::Name),
        (("DriverName", "string", 0, "The driver that knows the class."), Cell::At("driverName")),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores VolumeAttributesClasses, but changes no volumes yet",
    ..Tabled::PLAIN
};

/// What a volume's spec has that is no kind of volume.
const NO_SOURCE: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// Modes are told at their list, as upstream does.
fn access_modes(list: At<'_>, errors: &mut Errors) {
    let unknown = list.value().items().iter().filter(|mode| !ACCESS_MODES.contains(&mode.str()));
    unknown.for_each(|mode| errors.not_supported(list, mode, ACCESS_MODES));
}

/// PersistentVolumes.
pub const PERSISTENT_VOLUME: Tabled = Tabled {
    defaults: &[
        ("status", Fallback::Map),
        ("status.phase", Fallback::Text("Pending")),
        ("spec.persistentVolumeReclaimPolicy", Fallback::Text("Retain")),
        ("spec.volumeMode", Fallback::Text("Filesystem")),
        ("spec.hostPath.type", Fallback::TextIfAbsent("")),
    ],
    rules: &[
        ("spec.accessModes", Rule::Required("")),
        ("spec.accessModes", Rule::Each(access_modes)),
        ("spec.hostPath?.path", Rule::Required("")),
        ("spec.persistentVolumeReclaimPolicy", Rule::OneOf(RECLAIM)),
        ("spec.volumeMode", Rule::OneOf(VOLUME_MODES)),
        ("spec.storageClassName", Rule::Text(text::dns_subdomain)),
    ],
    check: |root, errors| {
        let spec = root.field("spec");
        let capacity = spec.field("capacity");
        if capacity.is_empty() {
            errors.required(capacity, "");
        }
        if capacity.get("storage").is_null() {
            errors.not_supported(capacity, &capacity, &["storage"]);
        }
        let sources = spec.fields().filter(|(name, _)| !NO_SOURCE.contains(name)).count();
        if sources == 0 {
            errors.required(spec, "must specify a volume type");
        }
        if sources > 1 {
            errors.forbidden(spec, "may not specify more than 1 volume type");
        }
    },
    check_update: |root, old, errors| {
        let source = |object: &Value| -> Vec<(String, Value)> {
            let fields = object.get("spec").fields();
            let those = fields.filter(|(name, _)| !NO_SOURCE.contains(name));
            those.map(|(name, value)| (name.to_owned(), value.clone())).collect()
        };
        if source(root.value()) != source(old) {
            errors.forbidden(
                "spec.persistentvolumesource",
                "spec.persistentvolumesource is immutable after creation",
            );
        }
    },
    immutable: &["spec.volumeMode"],
    status: true,
    begin: |object, context| dated_phase(object.entry("status"), context),
    stamp_subresource: phase_changed,
    columns: &[
        (NAME, Cell::Name),
        (("Capacity", "string", 0, ""), Cell::At("spec.capacity.storage")),
        (
            ("Access Modes", "string", 0, ""),
            Cell::Made(|o| short_modes(o.at(&["spec", "accessModes"]))),
        ),
        (("Reclaim Policy", "string", 0, ""), Cell::At("spec.persistentVolumeReclaimPolicy")),
        (("Status", "string", 0, ""), Cell::Made(phase)),
        (("Claim", "string", 0, ""), Cell::Made(claim)),
        (("StorageClass", "string", 0, ""), Cell::At("spec.storageClassName")),
        (
            ("VolumeAttributesClass", "string", 0, ""),
            Cell::Or("spec.volumeAttributesClassName", "<unset>"),
        ),
        (("Reason", "string", 0, ""), Cell::At("status.reason")),
        (AGE, Cell::Age),
        (("VolumeMode", "string", 1, ""), Cell::Or("spec.volumeMode", "<unset>")),
    ],
    unserved: "rk stores PersistentVolumes, but binds and mounts none yet",
    ..Tabled::PLAIN
};

/// When a volume's phase last became another one.
const PHASE_TIME: &str = "lastPhaseTransitionTime";

fn dated_phase(status: &mut Value, context: Context) {
    status.set(PHASE_TIME, time::format(context.now));
}

/// Dates a phase that a write of the status makes another one, where the client did not.
fn phase_changed(object: &mut Value, old: &Value, context: Context) {
    let before = old.get("status");
    let Some(status) = object.get_mut("status") else { return };
    let (same, given) = (status.get("phase") == before.get("phase"), status.get(PHASE_TIME));
    let known = before.get(PHASE_TIME);
    if same && given.is_null() && !known.is_null() {
        status.set(PHASE_TIME, known.clone());
    } else if !same && (given.is_null() || given == known) {
        dated_phase(status, context);
    }
}

fn phase(object: &Value) -> Value {
    if object.is_deleting() {
        "Terminating".into()
    } else {
        object.at(&["status", "phase"]).str().into()
    }
}

fn claim(object: &Value) -> Value {
    let claim = object.at(&["spec", "claimRef"]);
    match claim.is_null() {
        true => "".into(),
        false => format!("{}/{}", claim.get("namespace").str(), claim.get("name").str()).into(),
    }
}

/// Access modes as kubectl shows them: `RWO,ROX`.
fn short_modes(list: &Value) -> Value {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| list.items().iter().any(|given| given.str() == mode);
    let shown: Vec<&str> = short.iter().filter(|(mode, _)| has(mode)).map(|(_, s)| *s).collect();
    shown.join(",").into()
}

/// PersistentVolumeClaims.
pub const PERSISTENT_VOLUME_CLAIM: Tabled = Tabled {
    defaults: &[
        ("status", Fallback::Map),
        ("status.phase", Fallback::Text("Pending")),
        ("spec.volumeMode", Fallback::Text("Filesystem")),
    ],
    rules: &[
        ("spec.accessModes", Rule::Required("at least 1 access mode is required")),
        ("spec.accessModes", Rule::Each(access_modes)),
        ("spec.volumeMode", Rule::OneOf(VOLUME_MODES)),
        ("spec.storageClassName", Rule::Text(text::dns_subdomain)),
    ],
    check: |root, errors| {
        let spec = root.field("spec");
        let resources = spec.field("resources");
        if resources.at(&["requests", "storage"]).is_null() {
            // Upstream leaves the requests out of the path.
            errors.required(resources.key("storage"), "");
        }
    },
    check_update: |root, old, errors| {
        // What binds the claim, and what may grow.
        let rest = |object: &Value| {
            let mut spec = object.get("spec").clone();
            for field in
                ["resources", "volumeAttributesClassName", "volumeName", "storageClassName"]
            {
                spec.remove(field);
            }
            spec
        };
        let named = |field: &str| {
            let before = old.at(&["spec", field]).str();
            !before.is_empty() && before != root.value().at(&["spec", field]).str()
        };
        if rest(root.value()) != rest(old) || named("volumeName") || named("storageClassName") {
            errors.forbidden(
                "spec",
                "spec is immutable after creation except resources.requests and \
                 volumeAttributesClassName for bound claims",
            );
        }
    },
    status: true,
    columns: &[
        (NAME, Cell::Name),
        (("Status", "string", 0, ""), Cell::Made(phase)),
        (("Volume", "string", 0, ""), Cell::At("spec.volumeName")),
        (("Capacity", "string", 0, ""), Cell::At("status.capacity.storage")),
        (
            ("Access Modes", "string", 0, ""),
            Cell::Made(|o| short_modes(o.at(&["status", "accessModes"]))),
        ),
        (("StorageClass", "string", 0, ""), Cell::At("spec.storageClassName")),
        (
            ("VolumeAttributesClass", "string", 0, ""),
            Cell::Or("spec.volumeAttributesClassName", "<unset>"),
        ),
        (AGE, Cell::Age),
        (("VolumeMode", "string", 1, ""), Cell::Or("spec.volumeMode", "<unset>")),
    ],
    unserved: "rk stores PersistentVolumeClaims, but binds none yet",
    ..Tabled::PLAIN
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::registry::Rules;

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_volume_says_since_when_it_is_in_its_phase() {
        let context = Context { now: crate::util::clock::now() };
        let now = time::format(context.now);
        let mut new = parse(r#"{"metadata":{"name":"v"},"spec":{}}"#);
        PERSISTENT_VOLUME.prepare_create(&mut new, context);
        assert_eq!(new.at(&["status", PHASE_TIME]).str(), now);
        let status = |phase: &str, time: &str| {
            parse(&format!(r#"{{"status":{{"phase":"{phase}"{time}}}}}"#))
        };
        let early = r#","lastPhaseTransitionTime":"2020-01-01T00:00:00Z""#;
        let own = r#","lastPhaseTransitionTime":"2021-01-01T00:00:00Z""#;
        for (phase, given, wanted) in [
            ("Bound", early, now.as_str()),
            ("Bound", "", now.as_str()),
            ("Bound", own, "2021-01-01T00:00:00Z"),
            ("Pending", "", "2020-01-01T00:00:00Z"),
        ] {
            let mut changed = status(phase, given);
            PERSISTENT_VOLUME.stamp_subresource(&mut changed, &status("Pending", early), context);
            assert_eq!(changed.at(&["status", PHASE_TIME]).str(), wanted, "{phase} {given}");
        }
    }

    #[test]
    fn drivers_are_shown_in_lower_case() {
        let class = parse(r#"{"provisioner":"-X!"}"#);
        let mut errors = Errors::default();
        driver(At::root(&class).field("provisioner"), &mut errors);
        let causes = errors.into_causes();
        assert!(causes[0].message.starts_with(r#"Invalid value: "-x!": "#), "{causes:?}");
    }

    #[test]
    fn a_driver_has_modes_and_no_generation_at_first() {
        let mut driver = parse(r#"{"metadata":{"name":"d"},"spec":{}}"#);
        CSI_DRIVER.default(&mut driver);
        assert_eq!(driver.at(&["spec", "volumeLifecycleModes"]).to_string(), r#"["Persistent"]"#);
        assert!(!CSI_DRIVER.begins_generations(&driver) && CSI_DRIVER.counts_generations(&driver));
    }
}
