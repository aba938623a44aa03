//! Which fields a path of the API does not write, whatever a request says of them: nobody comes to
//! own them there.

use super::set::Set;

/// Paths of field names.
type Paths = &'static [&'static [&'static str]];

/// What is left out of a writer's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// These fields and all below them.
    These(Paths),
    /// All but what matches; `*` is any step.
    AllBut(Paths),
}

const STATUS: Paths = &[&["status"]];
const SPEC: Paths = &[&["spec"]];
const METADATA_AND_SPEC: Paths = &[&["metadata"], &["spec"]];

impl Reset {
    /// Nothing is left out.
    pub const NOTHING: Self = Self::These(&[]);

    /// What writes to a subresource (empty for the object itself) leave out. `storage` is the
    /// resource's plural and group; `custom` says that it comes from a definition.
    pub fn of(storage: &str, subresource: &str, has_status: bool, custom: bool) -> Self {
        match (storage, subresource) {
            ("certificatesigningrequests.certificates.k8s.io", "") => {
                Self::These(&[&["spec"], &["status"]])
            }
            ("certificatesigningrequests.certificates.k8s.io", "status") => {
                Self::These(&[&["spec"], &["status", "conditions"]])
            }
            ("certificatesigningrequests.certificates.k8s.io", "approval") => {
                Self::These(&[&["spec"], &["status", "certificate"]])
            }
            (_, "") if has_status => Self::These(STATUS),
            ("namespaces", "finalize") => Self::These(STATUS),
            ("pods", "status") => Self::These(&[
                &["spec"],
                &["metadata", "deletionTimestamp"],
                &["metadata", "ownerReferences"],
            ]),
            ("pods", "ephemeralcontainers") => Self::AllBut(&[&["spec", "ephemeralContainers"]]),
            ("pods", "resize") => Self::AllBut(&[
                &["spec", "containers", "*", "resources"],
                &["spec", "containers", "*", "resizePolicy"],
                &["spec", "initContainers", "*", "resources"],
                &["spec", "initContainers", "*", "resizePolicy"],
            ]),
            ("deployments.apps", "status") => Self::These(&[&["spec"], &["metadata", "labels"]]),
            (storage, "status") if custom || keeps_metadata(storage) => {
                Self::These(METADATA_AND_SPEC)
            }
            (_, "status") => Self::These(SPEC),
            _ => Self::NOTHING,
        }
    }

    /// What is left of a set.
    pub(super) fn filter(self, set: Set) -> Set {
        match self {
            Self::These([]) => set,
            _ if set.is_empty() => set,
            Self::These(paths) => {
                let gone = paths.iter().map(|path| Set::of_fields(path));
                set.without(&gone.fold(Set::default(), |all, one| all.union(&one)))
            }
            Self::AllBut(paths) => set.only(paths),
        }
    }
}

/// Whether writes to the status of these leave the whole metadata alone.
fn keeps_metadata(storage: &str) -> bool {
    matches!(
        storage,
        "devicetaintrules.resource.k8s.io"
            | "flowschemas.flowcontrol.apiserver.k8s.io"
            | "podcertificaterequests.certificates.k8s.io"
            | "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io"
            | "resourceclaims.resource.k8s.io"
            | "servicecidrs.networking.k8s.io"
            | "storageversionmigrations.storagemigration.k8s.io"
            | "validatingadmissionpolicies.admissionregistration.k8s.io"
            | "volumeattachments.storage.k8s.io"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_leaves_out_what_it_does_not_write() {
        let left =
            |reset: Reset, path: &[&str]| reset.filter(Set::of_fields(path)).has_fields(path);
        let pods = Reset::of("pods", "", true, false);
        assert!(left(pods, &["spec", "nodeName"]) && !left(pods, &["status", "phase"]));
        let status = Reset::of("pods", "status", true, false);
        assert!(left(status, &["metadata", "labels", "a"]) && left(status, &["status", "phase"]));
        assert!(!left(status, &["metadata", "ownerReferences"]));
        let ephemeral = Reset::of("pods", "ephemeralcontainers", true, false);
        assert!(left(ephemeral, &["spec", "ephemeralContainers", "x"]));
        assert!(!left(ephemeral, &["spec", "containers"]));
        let custom = Reset::of("foos.example.com", "status", true, true);
        assert!(!left(custom, &["metadata", "labels"]) && left(custom, &["status", "x"]));
        assert_eq!(Reset::of("configmaps", "", false, false), Reset::NOTHING);
    }
}
