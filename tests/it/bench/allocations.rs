//! How often the allocator is asked for a small change of a large object: a number that does not
//! depend on the machine, and so may be judged by a test.

use std::sync::Arc;

use allocation_counter::AllocationInfo;
use rk::admission::Plugins;
use rk::api::codec::FieldValidation;
use rk::api::patch::Patch;
use rk::api::registry;
use rk::api::tree::Value;
use rk::apiserver::allocate::{Allocator, Ranges};
use rk::apiserver::engine::{Ask, Engine, Parts, WriteOptions};
use rk::auth::{Authorization, UserInfo};
use rk::store::Store;

use super::crowd::{self, pod};
use super::figures::{Figure, real};

/// Patches that are counted, after some that warm up what is made once.
const PATCHES: usize = 64;
const WARMING: usize = 8;
/// What one may take; a copy of the pod takes some 200.
const ALLOCATIONS_MAX: u64 = 2000;

/// An engine as the server has it, on a store of its own.
struct World {
    engine: Engine,
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &|_, _| Vec::new()).unwrap();
        let history = Arc::clone(store.history());
        let authorization = Arc::new(Authorization::new(&history));
        let ranges =
            Ranges { services: "10.43.0.0/16".parse().unwrap(), node_ports: 30_000..=32_767 };
        let engine = Engine::new(Parts {
            admission: Arc::new(Plugins::new(Arc::clone(&history), Arc::clone(&authorization))),
            allocator: Allocator::new(Arc::clone(&history), ranges),
            history,
            store,
            registry: registry::builtin(),
            authorizer: authorization,
            identity: None,
        });
        Self { engine, _directory: directory }
    }

    fn ask(&self, plural: &str, namespace: &str, name: &str) -> Ask {
        Ask {
            user: Arc::new(UserInfo::system("admin", &["system:masters"])),
            resource: Arc::clone(self.engine.registry().get("", "v1", plural).unwrap()),
            subresource: "",
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    async fn create(&self, ask: &Ask, text: &str) {
        let object = Value::parse(text.as_bytes()).unwrap();
        self.engine.create(ask, object, &written_by("creator")).await.unwrap();
    }
}

fn written_by(manager: &str) -> WriteOptions {
    WriteOptions { manager: manager.to_owned(), ..WriteOptions::default() }
}

/// Small patches of the large pod, from the patch's text to the answer: what this thread asks for.
fn of_patches() -> AllocationInfo {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(async { World::new() });
    let pods = world.ask("pods", "default", "");
    runtime.block_on(async {
        let named = |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
        world.create(&world.ask("namespaces", "", ""), &named("default")).await;
        world.create(&world.ask("serviceaccounts", "default", ""), &named("default")).await;
        world.create(&pods, &pod("large", crowd::LARGE)).await;
    });
    let (large, options) = (world.ask("pods", "default", "large"), written_by("patcher"));
    let patch = |number| {
        let patch = Patch::merge(crowd::patch(number).as_bytes()).unwrap();
        let written = world.engine.patch(&large, &patch, FieldValidation::Warn, &options);
        runtime.block_on(written).unwrap();
    };
    (0..WARMING).for_each(patch);
    allocation_counter::measure(|| (WARMING..WARMING + PATCHES).for_each(patch))
}

/// Calls and bytes of one.
fn each() -> (u64, u64) {
    let asked = of_patches();
    (asked.count_total / PATCHES as u64, asked.bytes_total / PATCHES as u64)
}

/// The two figures.
pub fn measure() -> Vec<Figure> {
    let (calls, bytes) = each();
    let what = "the same on the request's thread: allocations";
    vec![
        Figure::new(what, real(calls), ""),
        Figure::new(format!("{what}, in bytes"), real(bytes) / 1e3, " kB"),
    ]
}

#[test]
fn a_small_patch_copies_a_large_object_a_few_times_at_most() {
    let (calls, bytes) = each();
    println!("{calls} allocations, {bytes} bytes");
    assert!(calls < ALLOCATIONS_MAX, "{calls} allocations, {bytes} bytes");
}
