//! Where rk knowingly answers otherwise than the recorded control plane: each with its reason. An
//! entry that no longer applies fails the test, so that the table only shrinks.

use super::script::{Change, Step};

/// A difference that is meant.
pub struct Known {
    /// How the command begins.
    pub command: &'static str,
    /// What the lines contain that only one side has; an empty text is an empty line.
    pub lines: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

const ROLES: &str = "the roles of controllers that are to come, and of rk's own, differ";

/// All that are meant.
pub const KNOWN: &[Known] = &[
    Known {
        command: "kubectl version",
        lines: &["Server Version: v1.37.2"],
        reason: "rk says that it is rk",
    },
    Known {
        command: "kubectl get nodes",
        lines: &["node-1"],
        reason: "the machine, and the version of what runs on it",
    },
    Known {
        command: "kubectl cluster-info",
        lines: &["CoreDNS is running"],
        reason: "the recorded cluster has no DNS",
    },
    Known {
        command: "kubectl get svc -A",
        lines: &["kube-dns"],
        reason: "the recorded cluster has no DNS",
    },
    Known {
        command: "kubectl get configmap -A",
        lines: &["kube-apiserver-legacy-service-account-token-tracking"],
        reason: "rk has never made tokens that do not expire",
    },
    Known {
        command: "kubectl get serviceaccounts -A",
        lines: &["kube-system"],
        reason: "rk's controllers need no accounts of their own",
    },
    Known {
        command: "kubectl get lease -A",
        lines: &["lease.coordination.k8s.io/"],
        reason: "there is one server, and nobody to elect",
    },
    Known { command: "kubectl get roles -A", lines: &["/system:"], reason: ROLES },
    Known {
        command: "kubectl get rolebindings -A",
        lines: &["/system:", "extension-apiserver-authentication-reader"],
        reason: ROLES,
    },
    Known { command: "kubectl get clusterroles", lines: &["/system:"], reason: ROLES },
    Known { command: "kubectl get clusterrolebindings", lines: &["/system:"], reason: ROLES },
    Known { command: "kubectl auth can-i --list", lines: &["/cacerts"], reason: ROLES },
    Known {
        command: "kubectl describe clusterrole view",
        lines: &["[get list watch]"],
        reason: "what an aggregated role grants is worked out when it is asked for",
    },
    Known {
        command: "kubectl get --raw /api",
        lines: &["\"APIVersions\""],
        reason: "fields of plain documents are in the order of their names",
    },
    Known {
        command: "kubectl get pod mynginx -o yaml",
        lines: &["    image: "],
        reason: "the recorded runtime does not complete an image's name, as real ones do",
    },
    Known {
        command: "kubectl get pod mynginx -o yaml",
        lines: &["  resources: {}"],
        reason: "resources of whole pods come with a later issue",
    },
    Known {
        command: "kubectl patch pod mynginx --type=json",
        lines: &["The request is invalid: "],
        reason: "rk says which test of the patch has failed",
    },
    Known {
        command: "kubectl patch ct mine -p",
        lines: &["application/strategic-merge-patch+json is not supported"],
        reason: "server-side apply, which the message offers, comes with a later issue",
    },
    Known {
        command: "kubectl describe endpoint",
        lines: &["Annotations:"],
        reason: "the time of the last change, for upstream's own latency tests, is not kept",
    },
];

/// By which entries a difference is meant.
pub fn meant(step: &Step, change: &Change) -> Vec<(usize, usize)> {
    let (Change::Missing(line) | Change::Extra(line)) = change;
    let fits = |part: &str| if part.is_empty() { line.is_empty() } else { line.contains(part) };
    let mut entries = Vec::new();
    for (at, known) in KNOWN.iter().enumerate() {
        if step.command.starts_with(known.command) {
            let lines = known.lines.iter().enumerate();
            entries.extend(lines.filter(|(_, part)| fits(part)).map(|(n, _)| (at, n)));
        }
    }
    entries
}
