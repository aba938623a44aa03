//! The verbs on real kinds over a real store, without HTTP.

use async_trait::async_trait;

use super::*;
use crate::api::meta::Meta;
use crate::api::registry;
use crate::apiserver::allocate::Ranges;
use crate::auth::Decision;

/// Everybody may do everything.
struct Anyone;

impl Authorizer for Anyone {
    fn authorize(&self, _attributes: &Attributes<'_>) -> Decision {
        Decision::Allow(String::new())
    }
}

/// Puts an annotation on ConfigMaps and refuses those called `refused`.
struct Plugin;

#[async_trait]
impl Admission for Plugin {
    async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        if request.is("", "configmaps", "") && request.operation == Operation::Create {
            request.object.entry_at(&["metadata", "annotations"]).set("seen", "yes");
            request.warnings.push("seen".into());
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<Vec<String>, Status> {
        match request.name {
            "refused" => Err(request.forbidden("it is refused")),
            _ => Ok(Vec::new()),
        }
    }
}

/// An engine on a store of its own, which goes away with it.
pub(in crate::apiserver) struct World {
    pub engine: Engine,
    _directory: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &|_, _| Vec::new()).unwrap();
        let history = Arc::clone(store.history());
        let ranges =
            Ranges { services: "10.43.0.0/16".parse().unwrap(), node_ports: 30_000..=32_767 };
        let engine = Engine::new(Parts {
            allocator: Allocator::new(Arc::clone(&history), ranges),
            history,
            store,
            registry: registry::builtin(),
            authorizer: Arc::new(Anyone),
            admission: Arc::new(Plugin),
            identity: None,
        });
        Self { engine, _directory: directory }
    }

    pub fn ask(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Ask {
        Ask {
            user: Arc::new(UserInfo::system("tester", &[])),
            resource: Arc::clone(self.engine.registry().get(group, "v1", plural).unwrap()),
            subresource: "",
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    async fn create(&self, ask: &Ask, text: &str) -> Result<Value, Status> {
        let written = self.engine.create(ask, parse(text), &WriteOptions::default()).await?;
        written.answer.into_value(&ask.resource)
    }

    async fn update(&self, ask: &Ask, object: Value) -> Result<Value, Status> {
        let written = self.engine.update(ask, object, &WriteOptions::default()).await?;
        written.answer.into_value(&ask.resource)
    }

    fn get(&self, ask: &Ask) -> Result<Value, Status> {
        as_served(&ask.resource, &self.engine.get(ask, State::Newest)?)
    }

    fn list(&self, ask: &Ask, query: &str) -> Result<List, Status> {
        self.engine.list(ask, &ListOptions::from_query(&Query::parse(query)).unwrap())
    }

    async fn delete(&self, ask: &Ask, options: &str) -> Result<Value, Status> {
        let options = DeleteOptions::new(&Query::default(), parse(options)).unwrap();
        let written = self.engine.delete(ask, &options).await?;
        written.answer.into_value(&ask.resource)
    }
}

fn parse(text: &str) -> Value {
    Value::parse(text.as_bytes()).unwrap()
}

fn named(name: &str) -> String {
    format!(r#"{{"metadata":{{"name":"{name}"}}}}"#)
}

fn names(list: &List) -> Vec<&str> {
    list.items.iter().map(|object| &*object.header.key.name).collect()
}

#[tokio::test]
async fn a_new_object_gets_its_identity_and_what_admission_adds() {
    let world = World::new();
    let maps = world.ask("", "configmaps", "default", "");
    let made = world.create(&maps, r#"{"metadata":{"name":"a"},"data":{"k":"v"}}"#).await.unwrap();
    assert_eq!((made.get("kind").str(), made.get("apiVersion").str()), ("ConfigMap", "v1"));
    assert_eq!((made.namespace(), made.annotation("seen")), ("default", Some("yes")));
    assert!(made.created().is_some() && made.uid().len() == 36);
    assert_eq!(made.generation(), 0, "config maps count no generations");
    assert_eq!(world.get(&maps.named("a")).unwrap(), made);
    let again = world.create(&maps, &named("a")).await.unwrap_err();
    assert_eq!(again.message, r#"configmaps "a" already exists"#);
    let generated = world.create(&maps, r#"{"metadata":{"generateName":"b-"}}"#).await.unwrap();
    assert!(generated.name().starts_with("b-") && generated.name().len() == 7);
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_upstreams_words() {
    let world = World::new();
    let maps = world.ask("", "configmaps", "default", "");
    let refused = |text: &'static str| world.create(&maps, text);
    let status = refused(r#"{"metadata":{"name":"A"}}"#).await.unwrap_err();
    assert!(status.message.starts_with(r#"ConfigMap "A" is invalid: metadata.name: Invalid"#));
    let status = refused(r#"{"apiVersion":"v2","metadata":{"name":"a"}}"#).await.unwrap_err();
    assert_eq!((status.code, status.reason), (400, "BadRequest"));
    let status = refused(r#"{"metadata":{"name":"a","namespace":"x"}}"#).await.unwrap_err();
    assert!(status.message.starts_with("the namespace of the provided object does not match"));
    let status = refused(r#"{"metadata":{"name":"refused"}}"#).await.unwrap_err();
    assert_eq!(status.message, r#"configmaps "refused" is forbidden: it is refused"#);
    assert!(world.list(&maps, "").unwrap().items.is_empty());
}

#[tokio::test]
async fn updates_guard_against_lost_ones_and_skip_those_that_change_nothing() {
    let world = World::new();
    let maps = world.ask("", "configmaps", "default", "");
    let first = world.create(&maps, &named("a")).await.unwrap();
    let one = maps.named("a");
    let mut next = first.clone();
    next.set("data", [("k", "v".into())]);
    let second = world.update(&one, next.clone()).await.unwrap();
    assert_ne!(second.resource_version(), first.resource_version());
    let status = world.update(&one, next).await.unwrap_err();
    assert!(status.message.ends_with("apply your changes to the latest version and try again"));
    let mut blind = second.clone();
    blind.entry("metadata").remove("resourceVersion");
    assert_eq!(world.update(&one, blind).await.unwrap(), second, "no change, no new revision");

    let leases = world.ask("coordination.k8s.io", "leases", "default", "");
    world.create(&leases, &named("l")).await.unwrap();
    let status = world.update(&leases.named("l"), parse(&named("l"))).await.unwrap_err();
    assert_eq!(
        status.message,
        "Lease.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: \
         0x0: must be specified for an update"
    );
    let made = world.update(&leases.named("m"), parse(&named("m"))).await.unwrap();
    assert_eq!(made.name(), "m", "a lease is made by an update");
    assert!(world.update(&one.named("z"), parse(&named("z"))).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn concurrent_unconditional_changes_all_go_through() {
    let world = World::new();
    let maps = world.ask("", "configmaps", "default", "");
    world.create(&maps, &named("a")).await.unwrap();
    let one = maps.named("a");
    let changes = (0..8).map(|i| {
        let (world, one) = (&world, &one);
        async move {
            let transform = move |old: &Value, _: &mut Vec<String>| {
                let mut new = old.clone();
                new.entry("data").set(&format!("k{i}"), "v");
                Ok(new)
            };
            world.engine.change(one, &WriteOptions::default(), &transform).await.unwrap();
        }
    });
    futures_util::future::join_all(changes).await;
    assert_eq!(world.get(&one).unwrap().get("data").fields().count(), 8);
}

#[tokio::test]
async fn dry_runs_check_everything_and_store_nothing() {
    let world = World::new();
    let maps = world.ask("", "configmaps", "default", "");
    let query = Query::parse("dryRun=All");
    let dry = WriteOptions::from_query(&query, "CreateOptions").unwrap();
    let written = world.engine.create(&maps, parse(&named("a")), &dry).await.unwrap();
    let made = written.answer.into_value(&maps.resource).unwrap();
    assert_eq!((made.annotation("seen"), made.resource_version()), (Some("yes"), ""));
    assert!(world.get(&maps.named("a")).unwrap_err().is_not_found());
    world.create(&maps, &named("a")).await.unwrap();
    assert!(world.engine.create(&maps, parse(&named("a")), &dry).await.is_err());
    let options = DeleteOptions::new(&query, Value::Null).unwrap();
    world.engine.delete(&maps.named("a"), &options).await.unwrap();
    assert!(world.get(&maps.named("a")).is_ok());
}

#[tokio::test]
async fn finalizers_hold_up_a_deletion() {
    let world = World::new();
    let maps = world.ask("", "configmaps", "default", "");
    let one = maps.named("a");
    world.create(&maps, r#"{"metadata":{"name":"a","finalizers":["x/y"]}}"#).await.unwrap();
    let marked = world.delete(&one, "{}").await.unwrap();
    assert!(marked.is_deleting());
    assert_eq!(marked.metadata().get("deletionGracePeriodSeconds").as_int(), Some(0));
    assert_eq!(world.delete(&one, "{}").await.unwrap(), marked, "a second time changes nothing");
    let taken = world.create(&maps, &named("a")).await.unwrap_err();
    assert_eq!(taken.message, r#"object is being deleted: configmaps "a" already exists"#);
    let mut last = marked.clone();
    last.entry("metadata").remove("finalizers");
    world.update(&one, last).await.unwrap();
    assert!(world.get(&one).unwrap_err().is_not_found());
}

#[tokio::test]
async fn deletions_obey_preconditions_and_note_propagation() {
    let world = World::new();
    let maps = world.ask("", "configmaps", "default", "");
    let one = maps.named("a");
    world.create(&maps, &named("a")).await.unwrap();
    let status = world.delete(&one, r#"{"preconditions":{"uid":"x"}}"#).await.unwrap_err();
    assert!(status.is_conflict() && status.message.contains("the UID in the precondition (x)"));
    let kept = world.delete(&one, r#"{"propagationPolicy":"Foreground"}"#).await.unwrap();
    assert_eq!(kept.finalizers(), ["foregroundDeletion"]);
    let done = world.delete(&one, r#"{"propagationPolicy":"Background"}"#).await.unwrap();
    assert_eq!((done.get("kind").str(), done.get("status").str()), ("Status", "Success"));
    assert_eq!(done.at(&["details", "kind"]).str(), "configmaps");
}

#[tokio::test]
async fn a_namespace_waits_for_its_finalize() {
    let world = World::new();
    let spaces = world.ask("", "namespaces", "", "");
    world.create(&spaces, &named("team")).await.unwrap();
    let one = spaces.named("team");
    let mut gone = world.delete(&one, "{}").await.unwrap();
    assert_eq!(gone.at(&["status", "phase"]).str(), "Terminating");
    assert!(gone.is_deleting());
    gone.entry("spec").set("finalizers", Vec::new());
    let finalize = Ask { subresource: "finalize", ..one.clone() };
    world.update(&finalize, gone).await.unwrap();
    assert!(world.get(&one).unwrap_err().is_not_found());
}

#[tokio::test]
async fn pages_are_of_one_state_whatever_is_written_meanwhile() {
    let world = World::new();
    let maps = world.ask("", "configmaps", "default", "");
    for name in ["a", "b", "c", "d", "e"] {
        world.create(&maps, &named(name)).await.unwrap();
    }
    let first = world.list(&maps, "limit=2").unwrap();
    assert_eq!((names(&first), first.remaining), (vec!["a", "b"], Some(3)));
    world.delete(&maps.named("c"), "{}").await.unwrap();
    world.create(&maps, &named("bb")).await.unwrap();
    let second = world.list(&maps, &format!("limit=2&continue={}", first.resume)).unwrap();
    assert_eq!((names(&second), second.revision), (vec!["c", "d"], first.revision));
    let third = world.list(&maps, &format!("limit=2&continue={}", second.resume)).unwrap();
    assert_eq!((names(&third), &*third.resume, third.remaining), (vec!["e"], "", None));
    assert_eq!(world.list(&maps, "continue=nonsense").unwrap_err().code, 400);
    let exact = format!("resourceVersion={}&resourceVersionMatch=Exact", first.revision);
    assert_eq!(names(&world.list(&maps, &exact).unwrap()), ["a", "b", "c", "d", "e"]);
    assert_eq!(world.list(&maps, "resourceVersion=999999999").unwrap_err().code, 504);
    forget(&world, &maps);
    let status = world.list(&maps, &format!("continue={}", second.resume)).unwrap_err();
    assert!(status.code == 410 && status.message.contains("continue parameter is too old"));
    let resume = &status.details.unwrap().resume;
    let rest = world.list(&maps, &format!("continue={resume}")).unwrap();
    assert_eq!(names(&rest), Vec::<&str>::new(), "what there is now from that place on");
    let gone = world.list(&maps, &exact).unwrap_err();
    assert_eq!((gone.code, gone.reason), (410, "Expired"));
}

#[tokio::test]
async fn selectors_choose_by_labels_and_known_fields() {
    let world = World::new();
    let maps = world.ask("", "configmaps", "default", "");
    world.create(&maps, r#"{"metadata":{"name":"a","labels":{"x":"1"}}}"#).await.unwrap();
    world.create(&maps, &named("b")).await.unwrap();
    assert_eq!(names(&world.list(&maps, "labelSelector=x%3D1").unwrap()), ["a"]);
    assert_eq!(names(&world.list(&maps, "fieldSelector=metadata.name%3Db").unwrap()), ["b"]);
    let status = world.list(&maps, "fieldSelector=spec.x%3Db").unwrap_err();
    assert!(status.message.starts_with("\"spec.x\" is not a known field selector"));
    let all = world.ask("", "configmaps", "", "");
    let select = ListOptions::from_query(&Query::parse("labelSelector=x")).unwrap();
    let options = DeleteOptions::default();
    world.engine.delete_collection(&all, &select, &options).await.unwrap();
    assert_eq!(names(&world.list(&all, "").unwrap()), ["b"]);
}

/// As if all events had left the ring.
fn forget(world: &World, ask: &Ask) {
    let history = world.engine.history();
    history.reset(&ask.resource.storage, history.revision(), Vec::new());
}

async fn told(watch: &mut Watch) -> Vec<String> {
    let text = |frame: &Frame| match frame {
        Frame::Added(o) => format!("+{}", o.header.key.name),
        Frame::Modified(o) => format!("~{}", o.header.key.name),
        Frame::Deleted(o) => format!("-{}@{}", o.header.key.name, o.header.revision),
        Frame::Bookmark { revision, initial_end } => format!("b{revision} {initial_end}"),
        Frame::Error(status) => format!("!{}", status.code),
    };
    let next = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
    next.expect("an event in time").unwrap().iter().map(text).collect()
}

fn watch(world: &World, ask: &Ask, query: &str) -> Watch {
    let options = WatchOptions::from_query(&Query::parse(query)).unwrap();
    world.engine.watch(ask, &options).unwrap()
}

#[tokio::test]
async fn a_watch_list_tells_what_there_is_then_what_comes() {
    let world = World::new();
    let maps = world.ask("", "configmaps", "default", "");
    world.create(&maps, &named("a")).await.unwrap();
    let at = world.engine.history().revision();
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = watch(&world, &maps, query);
    assert_eq!(told(&mut watch).await, ["+a".to_owned(), format!("b{at} true")]);
    world.create(&maps, &named("b")).await.unwrap();
    assert_eq!(told(&mut watch).await, ["+b"]);
    world.delete(&maps.named("a"), "{}").await.unwrap();
    let gone = world.engine.history().revision();
    assert_eq!(told(&mut watch).await, [format!("-a@{gone}")]);
}

#[tokio::test]
async fn entering_and_leaving_a_selection_are_events() {
    let world = World::new();
    let maps = world.ask("", "configmaps", "default", "");
    let first = world.create(&maps, &named("a")).await.unwrap();
    let query = format!("resourceVersion={}&labelSelector=x", first.resource_version());
    let mut watch = watch(&world, &maps, &query);
    let mut label = async |labels: &str| {
        let mut object = parse(&named("a"));
        object.entry("metadata").set("labels", parse(labels));
        world.update(&maps.named("a"), object).await.unwrap();
        told(&mut watch).await
    };
    assert_eq!(label(r#"{"x":"1"}"#).await, ["+a"]);
    assert_eq!(label(r#"{"x":"2"}"#).await, ["~a"]);
    let left = label("{}").await;
    assert_eq!(left, [format!("-a@{}", world.engine.history().revision())]);
}

#[tokio::test]
async fn watches_end_and_old_ones_are_told_so() {
    let world = World::new();
    let maps = world.ask("", "configmaps", "default", "");
    let first = world.create(&maps, &named("a")).await.unwrap();
    world.create(&maps, &named("b")).await.unwrap();
    forget(&world, &maps);
    let query = format!("resourceVersion={}", first.resource_version());
    let mut old = watch(&world, &maps, &query);
    assert_eq!(told(&mut old).await, ["!410"]);
    assert!(old.next().await.is_none());
    let mut short = watch(&world, &maps, "timeoutSeconds=1&allowWatchBookmarks=true");
    assert!(told(&mut short).await[0].starts_with('b'), "a last bookmark");
    assert!(short.next().await.is_none());
}

#[tokio::test]
async fn a_binding_assigns_its_pod_by_either_path() {
    let world = World::new();
    let pods = world.ask("", "pods", "default", "");
    let pod = |name: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}"}},
               "spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}"#
        )
    };
    let binding = r#"{"metadata":{"name":"a"},"target":{"kind":"Node","name":"n1"}}"#;
    let bindings = world.ask("", "bindings", "default", "");
    let options = WriteOptions::default();
    let post = |ask: Ask, body: &str| {
        let (body, engine, options) = (parse(body), &world.engine, &options);
        async move { engine.post(&ask, body, options).await }
    };
    world.create(&pods, &pod("a")).await.unwrap();
    post(bindings.clone(), binding).await.unwrap();
    assert_eq!(world.get(&pods.named("a")).unwrap().at(&["spec", "nodeName"]).str(), "n1");
    let status = post(bindings.clone(), binding).await.unwrap_err();
    assert!(status.message.ends_with(r#"pod a is already assigned to node "n1""#), "{status:?}");
    world.create(&pods, &pod("b")).await.unwrap();
    let ask = Ask { subresource: "binding", ..pods.named("b") };
    post(ask, r#"{"target":{"name":"n2"}}"#).await.unwrap();
    assert_eq!(world.get(&pods.named("b")).unwrap().at(&["spec", "nodeName"]).str(), "n2");
}
