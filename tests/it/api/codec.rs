//! Decoding compared with Kubernetes' decoders, for every kind and for broken objects.

use rk::api::codec::{Error, json};
use rk::api::schema::Schema;
use rk::api::tree::Value;

use super::mutate::{Dice, mutate};
use super::oracle::{Gvk, Oracle};

/// Objects of each kind that are tried; `RK_SEEDS` asks for more.
pub fn seeds() -> i64 {
    std::env::var("RK_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// The schema of a kind.
pub fn schema((group, version, kind): &Gvk) -> Schema {
    Schema::of(group, version, kind).unwrap_or_else(|| panic!("no schema for {kind}.{group}"))
}

#[test]
fn every_kind_is_read_as_upstream_writes_it() {
    let Some(mut oracle) = Oracle::start() else { return };
    for gvk in oracle.kinds() {
        for seed in 0..seeds() {
            let answer = oracle.ask_kind("generate", &gvk, [("seed", seed.into())]);
            let object = answer.object().unwrap_or_else(|e| panic!("{gvk:?} {seed}: {e}"));
            let decoded = json::decode(&object.encode(), &schema(&gvk)).unwrap();
            assert_eq!(decoded.findings, Vec::<String>::new(), "{gvk:?} {seed}");
            assert_eq!(decoded.value.to_string(), object.to_string(), "{gvk:?} {seed}");
        }
    }
}

/// A decoder's whole answer as text, to compare.
fn ours(text: &[u8], schema: &Schema) -> String {
    match json::decode(text, schema) {
        Ok(decoded) => format!("{}\n{:?}", decoded.value, decoded.findings),
        Err(Error::Limit(limit)) => limit.to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn broken_objects_are_refused_as_upstream_does() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut different = Vec::new();
    for gvk in oracle.kinds() {
        for seed in 0..seeds() * 4 {
            let answer = oracle.ask_kind("generate", &gvk, [("seed", (seed % seeds()).into())]);
            let Ok(object) = answer.object() else { continue };
            let mut object: Value = object.clone();
            mutate(&mut object, &mut Dice::new(seed as u64));
            for key in ["apiVersion", "kind"] {
                object.set(key, answer.object().map(|o| o.get(key).clone()).unwrap_or_default());
            }
            let text = object.encode();
            let asked = [("text", String::from_utf8_lossy(&text).as_ref().into())];
            let answer = oracle.ask_kind("decode", &gvk, asked);
            let theirs = match answer.object() {
                Ok(object) => format!("{object}\n{:?}", answer.strict()),
                Err(error) => error.to_owned(),
            };
            let ours = ours(&text, &schema(&gvk));
            if ours != theirs {
                different.push(format!("{gvk:?} {seed}\nours   {ours}\ntheirs {theirs}"));
            }
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n\n"));
}
