//! Thousands of random and mutated objects and patches against a real server: whatever comes, it
//! answers, in time, with an object or with a proper `Status`, and stays as large as it is.

use std::time::Duration;

use rk::api::tree::Value;
use rk::util::clock;

use super::mutate::{Dice, mutate, tear};
use super::walk::caller::{Answer, Call, Caller, JSON};
use super::walk::served;
use super::walk::{SPACE, samples};
use crate::harness::Cluster;

/// How many requests of each form are sent.
const BODIES: usize = 1400;
const PATCHES: usize = 1100;
const QUERIES: usize = 300;
/// How long one may take, with a debug build on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How much larger the server may be afterwards.
const GROWTH_MAX_BYTES: u64 = 48 << 20;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Sends what it is told to, and keeps what was not answered as it should be.
struct Hammer<'c> {
    caller: &'c Caller,
    dice: Dice,
    faults: Vec<String>,
    refused: usize,
}

#[test]
fn whatever_comes_is_answered() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.kubectl(&format!("create namespace {SPACE}")).ok();
    cluster.kubectl(&format!("wait -n {SPACE} --for=create sa/default --timeout=60s")).ok();
    cluster.with_client(async |client| {
        let caller = Caller::new(client);
        let mut hammer =
            Hammer { caller: &caller, dice: Dice::new(11), faults: vec![], refused: 0 };
        let kinds = hammer.kinds().await;
        hammer.bodies(&kinds).await;
        let before = hammer.resident().await;
        hammer.patches(&kinds).await;
        hammer.queries(&kinds).await;
        hammer.bodies(&kinds).await;
        let grown = hammer.resident().await.saturating_sub(before);
        assert!(grown < GROWTH_MAX_BYTES, "grown by {grown} bytes");
        let Hammer { faults, refused, .. } = hammer;
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        assert!(refused > (BODIES + PATCHES) / 4, "only {refused} were refused");
    });
}

/// The path of a collection, and an object of it.
struct Kind {
    all: String,
    object: Value,
}

impl Hammer<'_> {
    /// What can be made, with an object that is there to be patched.
    async fn kinds(&self) -> Vec<Kind> {
        let mut samples = samples();
        let mut kinds = Vec::new();
        for resource in served::all(self.caller).await {
            let key = (resource.api_version(), resource.kind.clone());
            let Some(object) = samples.remove(&key) else { continue };
            let all = resource.collection(SPACE);
            let made = self.caller.send("POST", &all, JSON, &object.encode()).await;
            assert_eq!(made.code, 201, "{all}: {}", made.text());
            kinds.push(Kind { all, object });
        }
        kinds
    }

    async fn resident(&self) -> u64 {
        let metrics = self.caller.get("/metrics").await.text();
        let line = metrics.lines().find(|line| line.starts_with("process_resident_memory_bytes "));
        let value = line.and_then(|line| line.rsplit(' ').next()).expect("its size");
        value.parse::<f64>().expect("a number") as u64
    }

    /// Objects, changed or broken, in every form.
    async fn bodies(&mut self, kinds: &[Kind]) {
        for _ in 0..BODIES / 2 {
            let kind = &kinds[self.dice.roll(kinds.len())];
            let mut object = kind.object.clone();
            mutate(&mut object, &mut self.dice);
            let (sends, mut body) = match self.dice.roll(4) {
                0 => (PROTOBUF, self.packed(kind).await),
                1 => ("application/yaml", object.encode()),
                _ => (JSON, object.encode()),
            };
            if sends == PROTOBUF || self.dice.roll(3) == 0 {
                tear(&mut body, &mut self.dice);
            }
            let strict = *self.dice.pick(&["", "&fieldValidation=Strict", "&fieldValidation=Warn"]);
            let path = format!("{}?dryRun=All{strict}", kind.all);
            self.send("POST", &path, sends, body).await;
        }
    }

    /// The stored object in protobuf, where there is that form.
    async fn packed(&self, kind: &Kind) -> Vec<u8> {
        let path = format!("{}/{}", kind.all, kind.name());
        self.caller.get_as(&path, PROTOBUF).await.body
    }

    /// Patches of all types on objects that are there, and on their parts.
    async fn patches(&mut self, kinds: &[Kind]) {
        for _ in 0..PATCHES {
            let kind = &kinds[self.dice.roll(kinds.len())];
            let sends = *self.dice.pick(PATCH_TYPES);
            let part = *self.dice.pick(&["", "", "", "/status", "/scale"]);
            let mut patch = match sends {
                "application/json-patch+json" => self.operations(&kind.object),
                _ => kind.object.clone(),
            };
            mutate(&mut patch, &mut self.dice);
            let mut body = patch.encode();
            if self.dice.roll(5) == 0 {
                tear(&mut body, &mut self.dice);
            }
            let force = *self.dice.pick(&["", "&force=true"]);
            let force = if sends == PATCH_TYPES[3] { force } else { "" };
            let query = format!("dryRun=All&fieldManager=hammer{force}");
            let path = format!("{}/{}{part}?{query}", kind.all, kind.name());
            self.send("PATCH", &path, sends, body).await;
        }
    }

    fn operations(&mut self, object: &Value) -> Value {
        let mut operations = Vec::new();
        for _ in 0..=self.dice.roll(4) {
            let verbs = ["add", "remove", "replace", "test", "copy", "move"];
            let path = pointer(object, &mut self.dice);
            operations.push(Value::from([
                ("op", (*self.dice.pick(&verbs)).into()),
                ("path", path.into()),
                ("from", pointer(object, &mut self.dice).into()),
                ("value", object.clone()),
            ]));
        }
        operations.into()
    }

    /// Selectors and parameters.
    async fn queries(&mut self, kinds: &[Kind]) {
        const PARTS: &[&str] = &[
            "labelSelector=",
            "fieldSelector=",
            "limit=",
            "continue=",
            "resourceVersion=",
            "resourceVersionMatch=",
            "watch=",
            "a",
            "in%20(",
            ")",
            ",",
            "!",
            "%3D",
            "notin",
            "%00",
            "-1",
            "18446744073709551616",
            "true",
            "Exact",
            "NotOlderThan",
            "metadata.name",
            "&",
            "%F0%9F%A6%80",
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEi",
            "\u{7f}x",
        ];
        for _ in 0..QUERIES {
            let kind = &kinds[self.dice.roll(kinds.len())];
            let count = 1 + self.dice.roll(7);
            let query: String = (0..count).map(|_| *self.dice.pick(PARTS)).collect();
            let path = format!("{}?timeoutSeconds=1&{}", kind.all, query.replace('\u{7f}', "%7f"));
            self.send("GET", &path, JSON, Vec::new()).await;
        }
    }

    /// Sends, and looks at how it is answered.
    async fn send(&mut self, method: &str, path: &str, sends: &str, body: Vec<u8>) {
        let begun = clock::instant();
        let call = Call { method, path, sends, takes: JSON, body: body.clone() };
        let answer = self.caller.call(call).await;
        let late = begun.elapsed() > ANSWER_MAX;
        self.refused += usize::from(!answer.is_ok());
        if late || !is_proper(&answer) {
            let body = String::from_utf8_lossy(&body).chars().take(300).collect::<String>();
            let text = answer.text().chars().take(300).collect::<String>();
            let took = begun.elapsed();
            self.faults.push(format!("{method} {path} {sends} {took:?}\n  {body}\n  {text}"));
        }
    }
}

impl Kind {
    fn name(&self) -> &str {
        self.object.at(&["metadata", "name"]).str()
    }
}

/// A JSON pointer to some place in an object, or beside it.
fn pointer(object: &Value, dice: &mut Dice) -> String {
    let mut path = String::new();
    let mut at = object;
    for _ in 0..dice.roll(6) {
        let fields: Vec<(&str, &Value)> = at.fields().collect();
        if fields.is_empty() {
            path += *dice.pick(&["/0", "/-", "/x", "/~1", "/~2", "/"]);
            break;
        }
        let (key, inner) = fields[dice.roll(fields.len())];
        path += &format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        at = inner;
    }
    path
}

/// What upstream, too, answers with 500 and without a reason, though the client is at fault.
const UPSTREAM_S_OWN: &[&str] = &[
    "resourceVersion should not be set on objects to be created",
    "failed to create typed patch object (",
    "failed to convert new object to proper version: ",
];

/// Whether it is an answer that a client can read: what it asked for, or a `Status` that says why
/// not, which is never the server's own fault.
fn is_proper(answer: &Answer) -> bool {
    if answer.is_ok() {
        return true;
    }
    let status = answer.json();
    let message = status.get("message").str();
    if answer.code == 500 && UPSTREAM_S_OWN.iter().any(|known| message.starts_with(known)) {
        return true;
    }
    (400..500).contains(&answer.code)
        && status.get("kind").str() == "Status"
        && status.get("code").as_int() == Some(answer.code.into())
        && !status.get("reason").str().is_empty()
        && !message.is_empty()
}
