//! Watches as clients keep them: list and watch, and streaming lists.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::harness::Cluster;

type Maps = Api<ConfigMap>;
/// What a watcher knows: names and their numbers.
type Known = BTreeMap<String, String>;

fn map(name: &str, n: usize) -> ConfigMap {
    let object = json!({"metadata": {"name": name}, "data": {"n": n.to_string()}});
    serde_json::from_value(object).unwrap()
}

#[test]
fn every_watcher_ends_up_with_what_is_there() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.with_client(async |client| {
        let maps: Maps = Api::namespaced(client.clone(), "default");
        for i in 0..150 {
            maps.create(&PostParams::default(), &map(&format!("m-{i}"), i)).await.unwrap();
        }
        let plain = follow(client.clone(), watcher::Config::default().page_size(40));
        let streaming = follow(client.clone(), watcher::Config::default().streaming_lists());
        let (plain, streaming, ()) = tokio::join!(plain, streaming, churn(&maps));
        let truth: Known = maps
            .list(&Default::default())
            .await
            .unwrap()
            .items
            .into_iter()
            .filter(|object| object.name_any() != "kube-root-ca.crt")
            .map(known)
            .collect();
        assert_eq!(plain, truth);
        assert_eq!(streaming, truth);
    });
}

fn known(object: ConfigMap) -> (String, String) {
    (object.name_any(), object.data.unwrap_or_default().remove("n").unwrap_or_default())
}

/// Changes, makes and removes objects; `last` is made last.
async fn churn(maps: &Maps) {
    for i in 0..100 {
        let patch = Patch::Merge(json!({"data": {"n": (1000 + i).to_string()}}));
        maps.patch(&format!("m-{i}"), &PatchParams::default(), &patch).await.unwrap();
        if i % 3 == 0 {
            maps.delete(&format!("m-{}", i / 3), &DeleteParams::default()).await.unwrap();
        }
    }
    maps.create(&PostParams::default(), &map("last", 0)).await.unwrap();
}

/// What a watcher knows once it has seen `last`.
async fn follow(client: Client, config: watcher::Config) -> Known {
    let maps: Maps = Api::namespaced(client, "default");
    let mut events = watcher(maps, config).boxed();
    let mut known_now = Known::new();
    let wait = async {
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                Event::Init => known_now.clear(),
                Event::InitApply(object) | Event::Apply(object) => {
                    known_now.extend([known(object)]);
                }
                Event::Delete(object) => {
                    known_now.remove(&object.name_any());
                }
                Event::InitDone => {}
            }
            known_now.remove("kube-root-ca.crt");
            if known_now.contains_key("last") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("all events in time");
    known_now
}
