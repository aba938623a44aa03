//! Helm 3, built from its Go module: a chart with hooks, a test and a CustomResourceDefinition is
//! installed, upgraded, rolled back, tested and taken away.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::go;
use crate::guestbook;
use crate::harness::{Cluster, Ran};

/// The module that names Helm's version.
const SOURCE: &str = "tests/data/clients/helm";
/// The chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/clients/chart");
/// The built program, or why there is none.
static PROGRAM: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let version = go::version(SOURCE, "helm.sh/helm/v3");
    let helm = go::Program { package: "helm.sh/helm/v3/cmd/helm", ..go::Program::of(SOURCE) };
    helm.built(&format!("helm-{version}"))
});

/// Runs Helm; words are split at spaces.
fn helm(cluster: &Cluster, words: &str) -> Ran {
    let program = PROGRAM.as_ref().unwrap();
    let mut helm: Command = cluster.command(program);
    cluster.machine.finish(helm.args(words.split_whitespace()), "")
}

/// The text that the release's page has now.
fn page(cluster: &Cluster) -> String {
    cluster.kubectl("get configmap shop-page -o jsonpath={.data.text}").ok()
}

#[test]
fn a_chart_is_installed_upgraded_rolled_back_and_tested() {
    if go::or_skip(PROGRAM.as_ref()).is_none() {
        return;
    }
    let cluster = guestbook::cluster(&[]);
    let installed = helm(&cluster, &format!("install shop {CHART} --wait --timeout=90s")).ok();
    assert!(installed.contains("STATUS: deployed"), "{installed}");
    assert_eq!(page(&cluster), "hello");
    // The definition came first, the object of its kind with the rest; the hook before all that.
    cluster.kubectl("get shelf shop").ok();
    cluster.kubectl("get configmap shop-before -o jsonpath={.data.release}").ok();
    let ready = "get deployment shop -o jsonpath={.status.readyReplicas}";
    assert_eq!(cluster.kubectl(ready).ok(), "1");
    let tested = helm(&cluster, "test shop --timeout=60s --logs").ok();
    assert!(tested.contains("Succeeded") && tested.contains("the page says hello"), "{tested}");

    let upgrade =
        format!("upgrade shop {CHART} --set text=bye --set replicas=2 --wait --timeout=90s");
    helm(&cluster, &upgrade).ok();
    assert_eq!((page(&cluster), cluster.kubectl(ready).ok()), ("bye".into(), "2".into()));
    let refused = helm(&cluster, &format!("upgrade shop {CHART} --set replicas=many")).fails();
    assert!(refused.contains("spec.replicas"), "{refused}");
    let history = helm(&cluster, "history shop").ok();
    assert_eq!(history.lines().count(), 4, "{history}");
    helm(&cluster, "rollback shop 1 --wait --timeout=90s").ok();
    assert_eq!((page(&cluster), cluster.kubectl(ready).ok()), ("hello".into(), "1".into()));
    let again = helm(&cluster, &format!("install shop {CHART}")).fails();
    assert!(again.contains("cannot re-use a name that is still in use"), "{again}");
    let diff = helm(&cluster, "get manifest shop").ok();
    assert!(diff.contains("kind: Deployment"), "{diff}");

    helm(&cluster, "uninstall shop --wait --timeout=90s").ok();
    let left = cluster.kubectl("get deployment,configmap,shelf -l app=shop -o name").ok();
    assert_eq!(left, "");
    assert_eq!(helm(&cluster, "list --short").ok(), "");
}
