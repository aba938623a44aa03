//! The texts of the built-in types. They are unpacked for the building of a document and dropped
//! with it.

use std::io::Read;

/// All descriptions, unpacked.
pub(super) struct Descriptions {
    bytes: Vec<u8>,
}

impl Descriptions {
    /// Unpacks the texts (0.6 MB).
    pub(super) fn unpack() -> Self {
        let packed: &[u8] = include_bytes!("../../../../embedded/schema/descriptions.bin");
        let mut bytes = Vec::new();
        // What is compiled in can be unpacked; if not, documents lack their texts.
        let _ = flate2::read::DeflateDecoder::new(packed).read_to_end(&mut bytes);
        Self { bytes }
    }

    fn word(&self, index: usize) -> usize {
        let bytes = self.bytes.get(4 * index..4 * index + 4).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes) as usize
    }

    /// The text with an index as types and fields give it.
    pub(super) fn get(&self, index: u32) -> &str {
        let (count, index) = (self.word(0), index as usize);
        if index >= count {
            return "";
        }
        let texts = 4 * (count + 2);
        let range = texts + self.word(1 + index)..texts + self.word(2 + index);
        std::str::from_utf8(self.bytes.get(range).unwrap_or_default()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::schema::builtin;

    #[test]
    fn types_and_fields_have_their_texts() {
        let texts = Descriptions::unpack();
        let pod = builtin().type_named("io.k8s.api.core.v1.Pod").unwrap();
        assert!(texts.get(pod.description()).starts_with("Pod is a collection of containers"));
        let spec = pod.field("spec").unwrap();
        assert!(texts.get(spec.description()).starts_with("Specification of the desired"));
        assert_eq!((texts.get(0), texts.get(u32::MAX)), ("", ""));
    }
}
