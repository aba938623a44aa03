//! A table of pods: each is run, and then looked at step by step.
//!
//! The files in `cases` hold one document for each case: the `name`, which is the pod's too, its
//! spec as `pod`, `also` other objects, and what to `expect`. A container without an image is one
//! of busybox, its `script` a shell's. All cases of a file run at the same time in one namespace of
//! one cluster; `$NODE`, `$ADDRESS` and `$DIR` are the node, its address and a folder on it.
//!
//! The steps, each tried until it holds: `status` and `object` compare what is named and leave the
//! rest, where null is for absent and `...` for any text; `log` and `exec` compare output; `events`
//! must all have happened; `gone` is about an object. `create`, `patch`, `delete` act; what `fails`
//! must, and says why, as what is `refused`.

use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use kube::{Api, Client};
use rk::api::codec::yaml;
use rk::util::clock;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::world::{World, compare, fits};

/// How long a step may take to hold: machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(120);
const BETWEEN: Duration = Duration::from_millis(200);

#[test]
fn containers_are_told_what_they_need() {
    run(&World::far(), "containers");
}

#[test]
fn containers_come_and_go_as_they_should() {
    run(&World::near(), "lifecycle");
}

#[test]
fn volumes_hold_what_they_should() {
    run(&World::far(), "volumes");
}

#[test]
fn containers_may_do_what_they_are_allowed() {
    run(&World::near(), "security");
}

#[test]
fn pods_have_names_and_namespaces() {
    run(&World::far(), "identity");
}

#[test]
fn pods_are_resized_while_they_run() {
    run(&World::far(), "resize");
}

#[test]
fn pods_reach_services_by_name_and_address() {
    run(&World::far(), "services");
}

/// Runs all cases of a file; those that fail are told together.
fn run(world: &World, file: &str) {
    let path = format!("{}/tests/it/node/cases/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
    let dir = world.cluster.path("host");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .replace("$NODE", world.node)
        .replace("$ADDRESS", &world.address)
        .replace("$DIR", dir.to_str().unwrap());
    let cases: Vec<Value> = text.split("\n---\n").map(parse).collect();
    let faults = world.cluster.with_client(async |client| {
        let api = Namespace { client, name: file.to_owned() };
        api.make().await;
        for case in &cases {
            for object in objects(case) {
                let made = api.create(object).await;
                made.unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
            }
        }
        let all = futures_util::future::join_all(cases.iter().map(|case| check(&api, case)));
        all.await.into_iter().filter_map(Result::err).collect::<Vec<String>>()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

fn parse(text: &str) -> Value {
    let (value, duplicate) = yaml::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(duplicate, None, "{text}");
    serde_json::from_str(&value.to_string()).unwrap()
}

/// All objects of a case, the pod last.
fn objects(case: &Value) -> Vec<Value> {
    let mut objects = case["also"].as_array().cloned().unwrap_or_default();
    let mut spec = case["pod"].clone();
    if spec.is_null() {
        return objects;
    }
    for (key, value) in [("restartPolicy", json!("Never")), (GRACE, json!(1))] {
        let field = &mut spec[key];
        *field = if field.is_null() { value } else { field.clone() };
    }
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            fill(container.as_object_mut().unwrap());
        }
    }
    let mut metadata = match &case["metadata"] {
        Value::Null => json!({}),
        metadata => metadata.clone(),
    };
    metadata["name"] = case["name"].clone();
    metadata["labels"]["case"] = case["name"].clone();
    objects.push(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}));
    objects
}

const GRACE: &str = "terminationGracePeriodSeconds";

fn fill(container: &mut serde_json::Map<String, Value>) {
    container.entry("image").or_insert_with(|| "test/busybox:1".into());
    if let Some(script) = container.remove("script") {
        container.insert("command".to_owned(), json!(["sh", "-c", script]));
    }
}

async fn check(api: &Namespace, case: &Value) -> Result<(), String> {
    let name = case["name"].as_str().unwrap();
    for step in case["expect"].as_array().into_iter().flatten() {
        let deadline = clock::instant() + PATIENCE;
        let mut result = api.step(name, step).await;
        let once = step.get("patch").or(step.get("refused")).or(step.get("create")).is_some();
        while result.is_err() && !once && clock::instant() < deadline {
            tokio::time::sleep(BETWEEN).await;
            result = api.step(name, step).await;
        }
        result.map_err(|why| format!("{name}: {step}\n{why}"))?;
    }
    Ok(())
}

/// One namespace through one client.
struct Namespace {
    client: Client,
    name: String,
}

impl Namespace {
    /// Makes the namespace, and waits until pods may be made in it.
    async fn make(&self) {
        let name = &self.name;
        let namespace = json!({"metadata": {"name": name}}).to_string();
        self.ask("POST", "/api/v1/namespaces", &namespace).await.unwrap();
        let deadline = clock::instant() + PATIENCE;
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        while let Err(error) = self.ask("GET", &account, "").await {
            assert!(clock::instant() < deadline, "{error}");
            tokio::time::sleep(BETWEEN).await;
        }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let media = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        let request = request.body(body.as_bytes().to_vec()).unwrap();
        match self.client.request_text(request).await {
            Ok(text) => Ok(text),
            Err(kube::Error::Api(status)) => Err(status.message),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The path of a resource of this namespace.
    fn path(&self, resource: &str) -> String {
        format!("/api/v1/namespaces/{}/{resource}", self.name)
    }

    async fn create(&self, object: Value) -> Result<String, String> {
        let (version, kind) = (&object["apiVersion"], &object["kind"]);
        let (version, kind) = (version.as_str().unwrap(), kind.as_str().unwrap().to_lowercase());
        let root = if version.contains('/') { "apis" } else { "api" };
        let path = format!("/{root}/{version}/namespaces/{}/{kind}s", self.name);
        self.ask("POST", &path, &object.to_string()).await
    }

    async fn read(&self, resource: &str) -> Result<Value, String> {
        let text = self.ask("GET", &self.path(resource), "").await?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    async fn step(&self, case: &str, step: &Value) -> Result<(), String> {
        let of = step["of"].as_str().unwrap_or(case);
        let text = |key: &str| step[key].as_str();
        if let Some(status) = step.get("status") {
            let pod = self.read(&format!("pods/{of}")).await?;
            subset("status", status, &pod["status"])
        } else if let Some(object) = text("object") {
            subset("", &step["has"], &self.read(object).await?)
        } else if let Some(log) = text("log") {
            compare(log, &self.log(of, text("with").unwrap_or_default()).await?)
        } else if let Some(script) = text("exec") {
            compare(text("is").unwrap(), &self.exec(of, script).await?)
        } else if let Some(events) = step["events"].as_array() {
            self.events(of, events).await
        } else if let Some(object) = text("gone") {
            match self.read(object).await {
                Ok(_) => Err(format!("{object} is still there")),
                Err(_) => Ok(()),
            }
        } else if let Some(object) = text("patch") {
            let by = step["by"].to_string();
            let done = self.ask("PATCH", &self.path(object), &by).await.map(drop);
            match (done, text("fails")) {
                (Err(said), Some(why)) if said.contains(why) => Ok(()),
                (Ok(()), Some(_)) => Err("it was taken".to_owned()),
                (done, _) => done,
            }
        } else if let Some(object) = text("delete") {
            self.ask("DELETE", &self.path(object), "").await.map(drop)
        } else if let Some(object) = step.get("create") {
            self.create(object.clone()).await.map(drop)
        } else {
            self.refused(&step["refused"], text("says").unwrap()).await
        }
    }

    async fn refused(&self, object: &Value, why: &str) -> Result<(), String> {
        match self.create(object.clone()).await {
            Ok(made) => Err(format!("it was let in: {made}")),
            Err(said) if said.contains(why) => Ok(()),
            Err(said) => Err(said),
        }
    }

    async fn log(&self, of: &str, with: &str) -> Result<String, String> {
        let (pod, container) = of.split_once('/').unwrap_or((of, ""));
        let container = match container {
            "" => String::new(),
            name => format!("&container={name}"),
        };
        self.ask("GET", &self.path(&format!("pods/{pod}/log?{with}{container}")), "").await
    }

    async fn events(&self, of: &str, wanted: &[Value]) -> Result<(), String> {
        let list = self.read(&format!("events?fieldSelector=involvedObject.name={of}")).await?;
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let line = |event: &Value| {
            let (kind, reason) = (text(event, "type"), text(event, "reason"));
            format!("{kind} {reason} {}", text(event, "message").trim_end())
        };
        let lines: Vec<String> = list["items"].as_array().unwrap().iter().map(line).collect();
        for wanted in wanted.iter().map(|wanted| wanted.as_str().unwrap()) {
            if !lines.iter().any(|line| fits(wanted, &line.replace('\n', " "))) {
                return Err(format!("no {wanted:?} in\n{}", lines.join("\n")));
            }
        }
        Ok(())
    }

    /// What a shell in a container says, over a WebSocket.
    async fn exec(&self, of: &str, script: &str) -> Result<String, String> {
        let (pod, container) = of.split_once('/').unwrap_or((of, "main"));
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.name);
        let params = AttachParams::default().stderr(true).container(container);
        let running = pods.exec(pod, ["sh", "-c", script], &params).await;
        let mut running = running.map_err(|error| error.to_string())?;
        let (mut out, mut err) = (String::new(), String::new());
        let (mut stdout, mut stderr) = (running.stdout().unwrap(), running.stderr().unwrap());
        let (first, second) =
            tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
        first.and(second).map_err(|error| error.to_string())?;
        Ok(out + &err)
    }
}

/// Whether everything that is wanted is there, at any depth.
fn subset(path: &str, wanted: &Value, there: &Value) -> Result<(), String> {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => {
            for (key, value) in wanted {
                let found = there.get(key).unwrap_or(&Value::Null);
                subset(&format!("{path}.{key}"), value, found)?;
            }
            Ok(())
        }
        (Value::Array(wanted), Value::Array(there)) if wanted.len() == there.len() => {
            let mut pairs = wanted.iter().zip(there).enumerate();
            pairs.try_for_each(|(at, (w, t))| subset(&format!("{path}[{at}]"), w, t))
        }
        (Value::String(wanted), Value::String(there)) if fits(wanted, there) => Ok(()),
        _ if wanted == there => Ok(()),
        _ => Err(format!("{path}: got {there}, wanted {wanted}")),
    }
}
