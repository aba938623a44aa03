//! Protobuf compared with Kubernetes' own encoder, byte for byte, for every kind.

use rk::api::codec::{json, protobuf};
use rk::api::tree::Value;

use super::codec::{schema, seeds};
use super::mutate::Dice;
use super::oracle::{Gvk, Oracle};

/// An object as protobuf says it.
fn decoded(sealed: &[u8], gvk: &Gvk) -> Result<Value, String> {
    let read = || {
        let envelope = protobuf::open(sealed)?;
        let mut object = protobuf::decode(envelope.message, &schema(gvk))?;
        // A blank or broken type is the endpoint's.
        object.set("apiVersion", rk::api::meta::api_version(&gvk.0, &gvk.1));
        object.set("kind", gvk.2.as_str());
        Ok::<Value, rk::api::codec::Error>(object)
    };
    read().map_err(|error| error.to_string())
}

#[test]
fn every_kind_equals_upstream_byte_for_byte() {
    let Some(mut oracle) = Oracle::start() else { return };
    for gvk in oracle.kinds() {
        for seed in 0..seeds() {
            let answer = oracle.ask_kind("generate", &gvk, [("seed", seed.into())]);
            let object = answer.object().unwrap_or_else(|e| panic!("{gvk:?} {seed}: {e}"));
            let read = decoded(&answer.bytes(), &gvk).unwrap();
            assert_eq!(read.to_string(), object.to_string(), "{gvk:?} {seed}");
            let written = protobuf::encode_sealed(object, &schema(&gvk)).unwrap();
            // JSON does not tell absent bytes from none: upstream is asked by way of JSON too.
            let text = object.to_string();
            let theirs = oracle.ask_kind("decode", &gvk, [("text", text.as_str().into())]).bytes();
            assert_eq!(written, theirs, "{gvk:?} {seed} {text}");
        }
    }
}

fn base64(bytes: &[u8]) -> Value {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes).into()
}

#[test]
fn what_upstream_reads_of_broken_messages_we_read_too() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut read = 0;
    for gvk in oracle.kinds() {
        for seed in 0..seeds() * 4 {
            let answer = oracle.ask_kind("generate", &gvk, [("seed", (seed % 5).into())]);
            if answer.object().is_err() {
                continue;
            }
            let mut bytes = answer.bytes();
            let mut dice = Dice::new(seed as u64);
            for _ in 0..=dice.roll(3) {
                let at = 4 + dice.roll(bytes.len() - 4);
                match dice.roll(3) {
                    0 => bytes[at] ^= 1 << dice.roll(8),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, dice.roll(256) as u8),
                }
            }
            let ours = decoded(&bytes, &gvk);
            let theirs = oracle.ask_kind("from-protobuf", &gvk, [("bytes", base64(&bytes))]);
            // Kubernetes takes no care of what JSON in it says, and of times beyond year 9999.
            if let (Ok(ours), Ok(theirs)) = (&ours, theirs.object()) {
                let again = json::decode(&theirs.encode(), &schema(&gvk)).map(|d| d.value);
                assert_eq!(Ok(ours.to_string()), again.map(|v| v.to_string()), "{gvk:?} {seed}");
                read += 1;
            }
        }
    }
    assert!(read > 50, "only {read} broken messages could be read at all");
}
