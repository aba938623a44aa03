//! OpenAPI documents.
mod definitions;
mod descriptions;
pub use definitions::Dialect;

#[cfg(test)]
mod dump {
    use super::definitions::*;
    use super::descriptions::Descriptions;
    use crate::api::schema::builtin;
    use crate::api::tree::Value;
    #[test]
    fn dump() {
        let texts = Descriptions::unpack();
        for (dialect, name) in [(Dialect::V3, "/tmp/our3.json"), (Dialect::V2, "/tmp/our2.json")] {
            let mut all = Value::object();
            for ty in builtin().types() {
                let mut d = definition(ty, dialect, &texts);
                let k = kinds_of(ty.name());
                if !k.is_empty() {
                    d.set("x-kubernetes-group-version-kind", k);
                }
                all.set(ty.name(), d);
            }
            std::fs::write(name, all.encode()).unwrap();
        }
    }
}
