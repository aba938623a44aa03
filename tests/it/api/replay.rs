//! One list of requests, sent to a real kube-apiserver v1.37 and to rk, and the answers compared
//! field by field. The real server's were recorded by `tests/data/kubectl/record.sh`.
//!
//! The requests are made from objects of every kind: each as it is, as a table, with a field that
//! nobody knows, and with each of its values missing, of a wrong type, and senseless. All are dry
//! runs, so that the answers are of the API server alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rk::api::tree::Value;

use super::walk::caller::{Call, Caller, JSON};
use super::walk::{SPACE, samples, served};
use crate::harness::Cluster;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// Where answers may differ yet, a request a line; it only shrinks.
const KNOWN: &str = include_str!("replay/known.txt");

/// A request: what it is called, its path, what it takes, its body.
struct Request {
    name: String,
    path: String,
    takes: &'static str,
    body: Value,
}

fn file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/replay.json.gz"].iter().collect()
}

/// All requests, in one order on every server.
fn requests(kinds: &BTreeMap<(String, String), String>) -> Vec<Request> {
    let mut requests = Vec::new();
    for (kind, object) in samples() {
        let Some(all) = kinds.get(&kind) else { continue };
        let path = format!("{all}?dryRun=All");
        let name = |what: &str| format!("{} {} {what}", kind.0, kind.1);
        let mut add = |name: String, path: &str, takes, body: &Value| {
            requests.push(Request { name, path: path.to_owned(), takes, body: body.clone() });
        };
        add(name("plain"), &path, JSON, &object);
        add(name("table"), &path, TABLE, &object);
        let mut unknown = object.clone();
        unknown.set("bogus", 1i64);
        add(name("strict"), &format!("{path}&fieldValidation=Strict"), JSON, &unknown);
        let mut places = Vec::new();
        walk(&object, &mut Vec::new(), &mut places);
        for place in places {
            for (what, change) in changes() {
                let mut changed = object.clone();
                if change(&mut changed, &place) {
                    add(name(&format!("{what} {}", place.join("."))), &path, JSON, &changed);
                }
            }
        }
    }
    requests
}

/// The places of all values but those that say which object it is.
fn walk(value: &Value, at: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let named: Vec<(String, &Value)> = match value {
        Value::Array(items) => {
            items.iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect()
        }
        value => value.fields().map(|(key, inner)| (key.to_owned(), inner)).collect(),
    };
    for (key, inner) in named {
        if at.is_empty() && matches!(&*key, "apiVersion" | "kind") {
            continue;
        }
        at.push(key);
        if at.len() > 1 || at[0] != "metadata" {
            found.push(at.clone());
        }
        walk(inner, at, found);
        at.pop();
    }
}

type Change = fn(&mut Value, &[String]) -> bool;

/// What is done to a value.
fn changes() -> [(&'static str, Change); 3] {
    [
        ("without", |object, place| {
            let Some((last, above)) = place.split_last() else { return false };
            match at(object, above) {
                Value::Object(map) => map.remove(last).is_some(),
                Value::Array(items) => {
                    items.remove(last.parse().expect("an index"));
                    true
                }
                _ => false,
            }
        }),
        ("wrong", |object, place| {
            let value = at(object, place);
            *value = match value {
                Value::Str(_) | Value::Bool(_) => Value::Int(5),
                Value::Int(_) | Value::Float(_) => "text".into(),
                Value::Array(_) => Value::object(),
                _ => "text".into(),
            };
            true
        }),
        ("senseless", |object, place| {
            let value = at(object, place);
            *value = match value {
                Value::Str(_) => "-no_Sense!".into(),
                Value::Int(_) => Value::Int(-3),
                Value::Array(_) => Value::Array(Vec::new()),
                _ => return false,
            };
            true
        }),
    ]
}

fn at<'v>(value: &'v mut Value, place: &[String]) -> &'v mut Value {
    place.iter().fold(value, |value, key| match value {
        Value::Array(items) => &mut items[key.parse::<usize>().expect("an index")],
        value => value.entry(key),
    })
}

/// Sends all requests to a server; the answers by the requests' names.
async fn answers(client: kube::Client) -> Value {
    let caller = Caller::new(client);
    let space = format!(r#"{{"metadata":{{"name":"{SPACE}"}}}}"#);
    caller.send("POST", "/api/v1/namespaces", JSON, space.as_bytes()).await;
    let account = format!("/api/v1/namespaces/{SPACE}/serviceaccounts/default");
    while caller.get(&account).await.code != 200 {
        tokio::task::yield_now().await;
    }
    let served = served::all(&caller).await;
    let kinds = served.iter().filter(|resource| resource.verbs.contains("list"));
    let kinds = kinds.map(|r| ((r.api_version(), r.kind.clone()), r.collection(SPACE))).collect();
    let mut all = Value::object();
    for request in requests(&kinds) {
        let Request { name, path, takes, body } = request;
        let call = Call { method: "POST", path: &path, sends: JSON, takes, body: body.encode() };
        let answer = caller.call(call).await;
        let mut told = answer.json();
        settle(&mut told, "");
        all.set(&name, Value::from([("code", i64::from(answer.code).into()), ("body", told)]));
    }
    all
}

/// Takes out what is another at each time: identities and times.
fn settle(value: &mut Value, key: &str) {
    match value {
        Value::Object(map) => {
            map.remove("managedFields");
            map.remove("resourceVersion");
            if key == "columnDefinitions" {
                // The words are each server's own.
                map.remove("description");
            }
            map.iter_mut().for_each(|(key, inner)| settle(inner, key));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| settle(item, key)),
        Value::Str(text) if matches!(key, "uid" | "creationTimestamp") => text.clear(),
        Value::Str(text) if key == "cells" && is_age(text) => text.clear(),
        Value::Str(text) => *value = settled(text).into(),
        _ => {}
    }
}

/// Whether a cell says how long ago something was.
fn is_age(cell: &str) -> bool {
    let count = cell.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or_default();
    !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit())
}

/// Times, identities, ends of generated names, cluster addresses.
const RANDOM: &str = concat!(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    r"|kube-api-access-[a-z0-9]{5}|10\.43(\.[0-9]+){2}|X509SHA256=[0-9a-f]+",
);

/// A text without what is random in it.
fn settled(text: &str) -> String {
    thread_local! {
        static TIME: regex::Regex =
            regex::Regex::new(RANDOM)
                .expect("a pattern");
    }
    TIME.with(|time| time.replace_all(text, "~").into_owned())
}

/// Writes the list anew: of what was on it what still differs, or all that differs.
fn rewrite(differing: &[&str], known: &BTreeSet<&str>, all: bool) {
    let comments = KNOWN.lines().filter(|line| line.starts_with('#'));
    let kept = differing.iter().copied().filter(|name| all || known.contains(name));
    let text: String = comments.chain(kept).map(|line| format!("{line}\n")).collect();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/api/replay/known.txt");
    std::fs::write(file, text).expect("written");
}

#[test]
#[ignore = "records the answers of the server that KUBECONFIG names"]
fn record() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answers = runtime
        .expect("a runtime")
        .block_on(async { answers(kube::Client::try_default().await.expect("a server")).await });
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&answers.encode()).expect("written");
    std::fs::write(file(), packed.finish().expect("packed")).expect("a file");
}

#[test]
fn answers_are_those_of_a_real_server() {
    let mut text = Vec::new();
    let packed = std::fs::read(file()).expect("what was recorded");
    GzDecoder::new(&*packed).read_to_end(&mut text).expect("packed by this test");
    let mut theirs = Value::parse(&text).expect("JSON");
    // What was recorded before a rule of this was made.
    settle(&mut theirs, "");
    let cluster = Cluster::start(&["--disable-agent"]);
    let ours = cluster.with_client(answers);
    let known: BTreeSet<&str> = KNOWN.lines().filter(|line| !line.starts_with('#')).collect();
    let differing: Vec<&str> = theirs
        .fields()
        .filter(|(name, wanted)| ours.get(name) != *wanted)
        .map(|(n, _)| n)
        .collect();
    if let Some(mode) = std::env::var_os("RK_REWRITE") {
        rewrite(&differing, &known, mode == "all");
    }
    let mut faults = Vec::new();
    for (name, wanted) in theirs.fields() {
        let told = ours.get(name);
        match (told == wanted, known.contains(name)) {
            (false, false) => faults.push(format!("{name}\n  ours   {told}\n  theirs {wanted}")),
            (true, true) => faults.push(format!("{name}: the same, and still on the list")),
            _ => {}
        }
    }
    let (differ, all) = (known.len(), theirs.fields().count());
    println!("{all} requests, {differ} are known to be answered otherwise");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
