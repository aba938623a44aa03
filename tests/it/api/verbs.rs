//! The verbs of the API against a real server, by kubectl and by kube-rs.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Error, ResourceExt};
use serde_json::json;

use crate::harness::Cluster;

type Maps = Api<ConfigMap>;

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"n": "0"}})).unwrap()
}

/// The `Status` of a refused request.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String, String) {
    match result {
        Err(Error::Api(status)) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_client_reads_and_writes() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.with_client(async |client| {
        let maps: Maps = Api::namespaced(client.clone(), "default");
        create_and_update(&maps).await;
        pages(&maps).await;
        patches(&client, &maps).await;
        deletions(&client, &maps).await;
        many_writers(&maps).await;
        Box::pin(scales(&client)).await;
    });
    with_kubectl(&cluster);
}

async fn create_and_update(maps: &Maps) {
    let post = PostParams::default();
    let made = maps.create(&post, &map("a")).await.unwrap();
    assert!(made.uid().is_some() && made.resource_version().is_some());
    let (code, reason, _) = refused(maps.create(&post, &map("a")).await);
    assert_eq!((code, &*reason), (409, "AlreadyExists"));
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&dry, &map("dry")).await.unwrap();
    assert!(maps.get_opt("dry").await.unwrap().is_none());

    let mut next = made.clone();
    next.data.get_or_insert_default().insert("n".into(), "1".into());
    let second = maps.replace("a", &post, &next).await.unwrap();
    assert_ne!(second.resource_version(), made.resource_version());
    let (code, reason, message) = refused(maps.replace("a", &post, &next).await);
    assert_eq!((code, &*reason), (409, "Conflict"));
    assert!(message.ends_with("please apply your changes to the latest version and try again"));
    let same = maps.replace("a", &post, &second).await.unwrap();
    assert_eq!(same.resource_version(), second.resource_version(), "nothing changed");
    let (code, reason, _) = refused(maps.get("none").await);
    assert_eq!((code, &*reason), (404, "NotFound"));
}

async fn pages(maps: &Maps) {
    for i in 0..25 {
        maps.create(&PostParams::default(), &map(&format!("page-{i:02}"))).await.unwrap();
    }
    let mut params = ListParams::default().limit(10);
    let (mut seen, mut revisions) = (Vec::new(), Vec::new());
    loop {
        let page = maps.list(&params).await.unwrap();
        revisions.push(page.metadata.resource_version.clone());
        seen.extend(page.items.iter().map(ResourceExt::name_any));
        // What happens meanwhile is not of this list.
        maps.create(&PostParams::default(), &map(&format!("new-{}", seen.len()))).await.unwrap();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert!(seen.len() > 25 && !seen.iter().any(|name| name.starts_with("new-")), "{seen:?}");
    revisions.dedup();
    assert_eq!(revisions.len(), 1, "all pages are of one revision");
    let all = DeleteParams::default();
    maps.delete_collection(&all, &ListParams::default().fields("metadata.name!=a")).await.unwrap();
    let left = maps.list(&ListParams::default()).await.unwrap();
    // The publisher makes its map again, or has not yet made it.
    let left = left.items.iter().map(ResourceExt::name_any);
    let left: Vec<_> = left.filter(|name| name != "kube-root-ca.crt").collect();
    assert_eq!(left, ["a"]);
}

async fn patches(client: &Client, maps: &Maps) {
    let params = PatchParams::default();
    let merge = Patch::Merge(json!({"data": {"n": null, "m": "1"}}));
    let merged = maps.patch("a", &params, &merge).await.unwrap();
    assert_eq!(merged.data.unwrap().into_iter().collect::<Vec<_>>(), [("m".into(), "1".into())]);
    let operations = json!([{"op": "test", "path": "/data/m", "value": "1"},
                            {"op": "replace", "path": "/data/m", "value": "2"}]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(operations).unwrap());
    assert_eq!(maps.patch("a", &params, &patch).await.unwrap().data.unwrap()["m"], "2");
    let (code, ..) = refused(maps.patch("a", &params, &patch).await);
    assert_eq!(code, 422, "the test no longer holds");
    let stale = Patch::Merge(json!({"metadata": {"resourceVersion": "1"}, "data": {}}));
    assert_eq!(refused(maps.patch("a", &params, &stale).await).0, 409);

    let partial: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(client.clone(), "default");
    let labels = Patch::Merge(json!({"metadata": {"labels": {"l": "1"}}}));
    partial.patch_metadata("a", &params, &labels).await.unwrap();
    let only = partial.list_metadata(&ListParams::default().labels("l=1")).await.unwrap();
    assert_eq!(only.items.len(), 1);
}

async fn deletions(client: &Client, maps: &Maps) {
    let params = DeleteParams::default();
    let wrong = params
        .clone()
        .preconditions(kube::api::Preconditions { uid: Some("x".into()), resource_version: None });
    assert_eq!(refused(maps.delete("a", &wrong).await).0, 409);
    maps.delete("a", &params).await.unwrap().right().expect("a Status, for it is gone");
    let spaces: Api<Namespace> = Api::all(client.clone());
    let space = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    let uid = spaces.create(&PostParams::default(), &space).await.unwrap().uid().unwrap();
    let there: Maps = Api::namespaced(client.clone(), "team");
    there.create(&PostParams::default(), &map("x")).await.unwrap();
    let gone = spaces.delete("team", &params).await.unwrap();
    assert_eq!(gone.left().unwrap().status.unwrap().phase.as_deref(), Some("Terminating"));
    let gone = kube::runtime::conditions::is_deleted(&uid);
    let wait = kube::runtime::wait::await_condition(spaces.clone(), "team", gone);
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("in time").unwrap();
    let (code, _, message) = refused(there.create(&PostParams::default(), &map("y")).await);
    assert_eq!((code, &*message), (404, "namespaces \"team\" not found"));
}

/// Every one of many optimistic increments counts, once.
async fn many_writers(maps: &Maps) {
    const WRITERS: usize = 32;
    maps.create(&PostParams::default(), &map("counter")).await.unwrap();
    let writers = (0..WRITERS).map(|_| async {
        loop {
            let mut counter = maps.get("counter").await.unwrap();
            let data = counter.data.as_mut().unwrap();
            let next = data["n"].parse::<usize>().unwrap() + 1;
            data.insert("n".into(), next.to_string());
            match maps.replace("counter", &PostParams::default(), &counter).await {
                Ok(_) => break,
                Err(Error::Api(status)) if status.code == 409 => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    futures_util::future::join_all(writers).await;
    let counter = maps.get("counter").await.unwrap();
    assert_eq!(counter.data.unwrap()["n"], WRITERS.to_string());
}

async fn scales(client: &Client) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let web = json!({"metadata": {"name": "web"}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "none"}]}}}});
    let web = serde_json::from_value(web).unwrap();
    let made = deployments.create(&PostParams::default(), &web).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    // The controller's annotation counts as a change of the object, as upstream.
    let numbered = kube::runtime::wait::await_condition(
        deployments.clone(),
        "web",
        |web: Option<&Deployment>| web.is_some_and(|web| !web.annotations().is_empty()),
    );
    let numbered = numbered.await.unwrap().unwrap().metadata.generation.unwrap();
    let scale = deployments.get_scale("web").await.unwrap();
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=web"));
    let three = Patch::Merge(json!({"spec": {"replicas": 3}}));
    let scaled = deployments.patch_scale("web", &PatchParams::default(), &three).await.unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(3));
    let now = deployments.get("web").await.unwrap();
    assert_eq!((now.spec.replicas, now.metadata.generation), (Some(3), Some(numbered + 1)));
    let status = Patch::Merge(json!({"spec": {"replicas": 9}, "status": {"replicas": 7}}));
    let told = deployments.patch_status("web", &PatchParams::default(), &status).await.unwrap();
    assert_eq!(told.spec.replicas, Some(3), "a status write changes no spec");
    let wrong = Patch::Merge(json!({"spec": {"replicas": -1}}));
    let refusal = refused(deployments.patch_scale("web", &PatchParams::default(), &wrong).await);
    assert_eq!(refusal.0, 422);
}

fn with_kubectl(cluster: &Cluster) {
    cluster.kubectl("create configmap k --from-literal=a=b").ok();
    let table = cluster.kubectl("get configmap k --no-headers").ok();
    assert!(table.starts_with("k ") && table.split_whitespace().nth(1) == Some("1"), "{table}");
    let strict = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndta: {}\n";
    let said = cluster.apply(strict).fails();
    assert!(said.contains("strict decoding error: unknown field \"dta\""), "{said}");
    let said = cluster.kubectl("get pods --field-selector spec.none=1").fails();
    assert!(said.contains("field label not supported: spec.none"), "{said}");
    let said = cluster.kubectl("delete namespace default").fails();
    assert!(said.contains("this namespace may not be deleted"), "{said}");
    let raw = cluster.kubectl("get --raw /api/v1/namespaces/default/configmaps/none").fails();
    assert!(raw.contains("configmaps \"none\" not found"), "{raw}");
    cluster.kubectl("expose deployment web --port=80").ok();
    let address = cluster.kubectl("get service web -o jsonpath={.spec.clusterIP}").ok();
    assert!(address.starts_with("10.43."), "{address}");
    cluster.kubectl("rollout history deployment web").ok();
    cluster.kubectl("delete deployment web --cascade=foreground --timeout=60s").ok();
    assert_eq!(cluster.kubectl("get pods -l app=web -o name").ok(), "");
}
