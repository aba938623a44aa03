//! The rules against Kubernetes' own answers.
//!
//! `tests/it/api/rules/*.jsonl` hold one case per line: a request and what kube-apiserver's
//! strategies and printers answered. They are recorded by the Go program in `rules/recorder` from
//! the published Go modules. Where rk means to answer otherwise the case is not among them.

use std::path::Path;

use super::metadata;
use crate::api::codec;
use crate::api::meta::{Meta, split_api_version};
use crate::api::registry::{Context, Errors, Registry, Resource, builtin};
use crate::api::time;
use crate::api::tree::Value;

/// The time at which rows are made; ages in the cases are relative to it.
const NOW: &str = "2026-11-20T12:00:00Z";

/// The UID of every object that is made.
const UID: &str = "00000000-0000-0000-0000-000000000001";

fn context() -> Context {
    Context { now: time::parse(NOW).unwrap() }
}

/// Columns and row of an object as kubectl gets them.
fn table(resource: &Resource, object: &Value) -> Value {
    let columns = resource.rules.columns();
    let columns: Vec<Value> =
        columns.iter().map(|c| format!("{}/{}", c.name, c.priority).into()).collect();
    let row = resource.rules.row(object, context());
    [("columns", columns.into()), ("row", row.into())].into()
}

/// What the engine does around the rules, as far as the rules can tell.
fn answer(registry: &Registry, request: &Value) -> Result<Value, String> {
    let decode = |object: &Value| -> Result<(Value, std::sync::Arc<Resource>), String> {
        let (group, version) = split_api_version(object.get("apiVersion").str());
        let kind = object.get("kind").str();
        let resource = registry.by_kind(group, version, kind).ok_or("no such kind")?.clone();
        let decoded =
            codec::conform(object.clone(), &resource.schema).map_err(|e| e.to_string())?;
        let mut object =
            decoded.accept(codec::FieldValidation::Ignore).map_err(|e| e.to_string())?.0;
        resource.rules.default(&mut object);
        Ok((object, resource))
    };
    let (mut object, resource) = decode(request.get("obj"))?;
    let rules = &resource.rules;
    let mut errors = Errors::default();
    let sub = request.get("sub").str();
    let mut old = Value::Null;
    match request.get("op").str() {
        "table" => return Ok(table(&resource, &object)),
        "create" => {
            rules.prepare_create(&mut object, context());
            object.entry("metadata").set("uid", UID);
            rules.identify(&mut object);
            metadata::validate_create(&resource, &object, &mut errors);
            rules.validate(&object, &mut errors);
            if rules.begins_generations(&object) {
                object.entry("metadata").set("generation", 1);
            }
        }
        "update" => {
            old = decode(request.get("old"))?.0;
            metadata::prepare_update(&mut object, &old);
            if sub.is_empty() {
                rules.prepare_update(&mut object, &old, context());
            } else {
                rules.prepare_subresource(sub, &mut object, &old);
                rules.stamp_subresource(&mut object, &old, context());
            }
            metadata::validate_update(&resource, &object, &old, &mut errors);
            if sub.is_empty() {
                rules.validate_update(&object, &old, &mut errors);
            } else {
                rules.validate_subresource(sub, &object, &old, &mut errors);
            }
            if rules.counts_generations(&object) && rules.raises_generation(&object, &old) {
                let next = old.generation() + 1;
                object.entry("metadata").set("generation", next);
            }
        }
        other => return Err(format!("no such operation {other}")),
    }
    let causes: Vec<Value> = errors
        .into_causes()
        .into_iter()
        .map(|c| format!("{}|{}|{}", c.reason, c.field, c.message).into())
        .collect();
    let mut answer = Value::object();
    if causes.is_empty() {
        let warnings: Vec<Value> =
            rules.warnings(&object, &old).into_iter().map(Value::from).collect();
        answer.set("warnings", warnings);
        answer.set("obj", object);
    }
    answer.set("causes", causes);
    Ok(answer)
}

/// What of an answer is compared: no stamps, and of equal causes one.
fn comparable(mut answer: Value) -> Value {
    if let Some(metadata) = answer.get_mut("obj").and_then(|o| o.get_mut("metadata")) {
        for stamp in ["uid", "creationTimestamp"] {
            metadata.remove(stamp);
        }
    }
    // A list that upstream's types cannot leave out, and that says nothing.
    let status = answer.get_mut("obj").and_then(|object| object.get_mut("status"));
    if let Some(status) = status.filter(|status| status.get("currentMetrics").is_null()) {
        status.remove("currentMetrics");
    }
    if let Some(warnings) = answer.get_mut("warnings").and_then(Value::as_array_mut) {
        // What rk says of kinds that nothing in it acts on yet is its own.
        warnings.retain(|warning| !warning.str().starts_with("rk stores "));
    }
    if let Some(causes) = answer.get_mut("causes").and_then(Value::as_array_mut) {
        causes.sort_by(|a, b| a.str().cmp(b.str()));
        causes.dedup();
    }
    answer
}

#[test]
fn rules_answer_as_kubernetes_does() {
    let registry = builtin();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/api/rules");
    let mut cases = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "jsonl") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let case = Value::parse(line.as_bytes()).unwrap();
            let given = comparable(answer(&registry, &case).unwrap());
            let place = format!("{}:{}: {}", path.display(), number + 1, case.get("name").str());
            assert_eq!(given, comparable(case.get("want").clone()), "{place}");
            cases += 1;
        }
    }
    assert!(cases > 0);
}

/// Answers the requests in the file that `RK_RULES_ASK` names, for comparing by hand.
#[test]
fn answers_on_demand() {
    let Some(path) = std::env::var_os("RK_RULES_ASK") else { return };
    let registry = builtin();
    let out: Vec<String> = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| Value::parse(line.as_bytes()).unwrap())
        .map(|request| match answer(&registry, &request) {
            Ok(answer) => comparable(answer).to_string(),
            Err(why) => Value::from([("err", why.into())]).to_string(),
        })
        .collect();
    std::fs::write(Path::new(&path).with_extension("out"), out.join("\n") + "\n").unwrap();
}
