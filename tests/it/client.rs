//! The far client against a real server: calls, views, and what a broken connection does to them.

use std::sync::Arc;
use std::time::Duration;

use rk::api::meta::Meta;
use rk::api::registry;
use rk::api::tree::Value;
use rk::client::remote::{Endpoint, Http, Remote};
use rk::client::{CONFIGMAPS, Client, View};
use rk::history::{Cursor, Event};
use rk::pki::{Identity, Rotating, tls};

use crate::guestbook::eventually;
use crate::harness::{Cluster, PORT, SERVER};

/// How long the far side may take to see a change.
const PATIENCE: Duration = Duration::from_secs(20);

/// The administrator's client, from the other machine.
fn remote(cluster: &Cluster) -> Remote {
    let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
    let config: Value = serde_saphyr::from_str(&text).unwrap();
    let decoded = |value: &Value| {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD.decode(value.str()).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let user = config.get("users").items()[0].get("user").clone();
    let authority = config.get("clusters").items()[0].get("cluster").clone();
    let identity = Identity {
        certificate_pem: decoded(user.get("client-certificate-data")),
        key_pem: decoded(user.get("client-key-data")),
    };
    let roots = tls::roots([decoded(authority.get("certificate-authority-data")).as_str()]);
    let identity = Arc::new(Rotating::new(&identity).unwrap());
    let tls = tls::client(roots.unwrap(), Some(identity), &[]).unwrap();
    let endpoint = Endpoint { host: SERVER.to_string(), port: PORT };
    Remote::new(Arc::new(Http::new(endpoint, tls)), registry::builtin())
}

/// Runs a test's part on the other machine.
fn over_there<T: Send>(cluster: &Cluster, work: impl AsyncFnOnce(Remote) -> T + Send) -> T {
    let far = remote(cluster);
    let machine = &cluster.other;
    machine.run(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async { work(far).await })
    })
}

fn named(name: &str) -> Value {
    Value::from([
        ("apiVersion", "v1".into()),
        ("kind", "ConfigMap".into()),
        ("metadata", Value::from([("name", name.into())])),
    ])
}

async fn next(cursor: &mut Cursor) -> Arc<Event> {
    let events = tokio::time::timeout(PATIENCE, cursor.next(1)).await;
    events.expect("an event comes").expect("the cursor holds").remove(0)
}

/// Waits until a view shows an object, over whatever happens to its feed.
async fn shown(view: &View, name: &str) {
    let seen = async {
        loop {
            let (snapshot, mut cursor) = view.follow();
            if snapshot.get("default", name).is_some() {
                return;
            }
            // Gone or an event: look again either way.
            let _ = cursor.next(1).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{name} is not shown"));
}

#[test]
fn calls_and_views_work_from_elsewhere() {
    let cluster = Cluster::start(&["--disable-agent"]);
    // What the controllers write at the start must not come between.
    eventually("the authority is published", || {
        let there = cluster.kubectl("get configmaps --all-namespaces --output=name").ok();
        let published = there.matches("kube-root-ca.crt").count();
        if published == 4 { Ok(()) } else { Err(there) }
    });
    over_there(&cluster, async |remote| {
        let client: &dyn Client = &remote;
        let view = client.view(&CONFIGMAPS, "");
        view.synced().await;
        let (snapshot, mut cursor) = view.follow();
        assert!(snapshot.get("kube-system", "extension-apiserver-authentication").is_some());

        let made = client.create(&CONFIGMAPS, "default", named("far")).await.unwrap();
        let event = next(&mut cursor).await;
        assert_eq!(&*event.object.header.key.name, "far");
        assert_eq!(event.object.header.revision.to_string(), made.resource_version());
        let refused = client.create(&CONFIGMAPS, "default", named("far")).await.unwrap_err();
        assert!(refused.is_already_exists(), "{refused:?}");
        client.delete(&CONFIGMAPS, "default", "far", Value::Null).await.unwrap();
        assert!(next(&mut cursor).await.deleted);
        let missing = client.get(&CONFIGMAPS, "default", "far").await.unwrap_err();
        assert_eq!(missing.message, "configmaps \"far\" not found");

        let one = "metadata.namespace=default,metadata.name=kube-root-ca.crt";
        let one = client.view(&CONFIGMAPS, one);
        one.synced().await;
        assert_eq!(one.snapshot().len(), 1);
        let served = client.served().await.unwrap();
        assert!(served.iter().any(|served| served.resource == CONFIGMAPS && served.stored));
    });
}

#[test]
fn views_survive_a_server_that_is_killed() {
    let mut cluster = Cluster::start(&["--disable-agent"]);
    let (killed, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    cluster.kubectl("create configmap before").ok();
    let other = std::mem::replace(&mut cluster.other, crate::harness::Machine::pair().1);
    let far = remote(&cluster);
    std::thread::scope(|scope| {
        let (killed, go) = (&killed, &go);
        scope.spawn(move || {
            other.run(|| {
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let view = far.view(&CONFIGMAPS, "");
                    view.synced().await;
                    shown(&view, "before").await;
                    go.wait();
                    killed.wait();
                    shown(&view, "after").await;
                    shown(&view, "before").await;
                });
            });
        });
        go.wait();
        cluster.kill();
        cluster.go();
        cluster.kubectl("create configmap after").ok();
        killed.wait();
    });
}
