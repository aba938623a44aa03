//! The types of all built-in objects as one compact table, and those of custom resources.
//!
//! A [`Schema`] is where a kind's types begin: a [`Node`] of a table. From it everything generic is
//! driven: strict decoding and protobuf (`codec`), strategic merge patch and apply (`patch`),
//! pruning, defaults and OpenAPI (here). Built-in kinds point into the table that is compiled in
//! (`embedded/schema`); a custom resource's structural schema is made into a table of the same
//! form, so that there is one code path.

mod build;
mod default;
pub mod openapi;
mod table;

use std::sync::Arc;

use super::tree::Value;

pub use table::{Field, Kind, ListType, MapType, Node, Strategy, Table, Type, builtin};

/// The types of one kind. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// What a custom resource brings; `None` for built-in kinds.
    custom: Option<Arc<Custom>>,
    /// The index of the kind's node. 0 in either table: any JSON.
    root: u32,
}

/// A custom resource's own schema.
#[derive(Debug)]
struct Custom {
    table: Table,
    /// The `JSONSchemaProps` as text, for OpenAPI and validation.
    open_api: String,
}

impl Schema {
    /// The schema of a built-in kind, `None` if there is no such kind.
    ///
    /// Kinds that every group version shares (`DeleteOptions`, `Status`, ...) stand under
    /// `meta.k8s.io/v1`.
    pub fn of(group: &str, version: &str, kind: &str) -> Option<Self> {
        let root = builtin().kind(group, version, kind)?.index();
        Some(Self { custom: None, root })
    }

    /// The schema of a custom resource from its structural schema, an OpenAPI v3 `JSONSchemaProps`.
    /// `preserve` keeps unknown fields everywhere. `None` if a name or default is
    /// longer than 64 kB.
    pub fn custom(open_api: &Value, preserve: bool) -> Option<Self> {
        let (table, root) = build::custom(open_api, preserve)?;
        let custom = Custom { table, open_api: open_api.to_string() };
        Some(Self { custom: Some(Arc::new(custom)), root })
    }

    /// The kind's node.
    pub fn root(&self) -> Node<'_> {
        let table: &Table = match &self.custom {
            Some(custom) => &custom.table,
            None => builtin(),
        };
        table.node(self.root)
    }

    /// A custom resource's structural schema as JSON text.
    pub fn open_api(&self) -> Option<&str> {
        self.custom.as_deref().map(|custom| custom.open_api.as_str())
    }

    /// The kind's struct, if the schema has one.
    pub fn fields(&self) -> Option<Type<'_>> {
        self.root().fields_type()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_built_in_kinds() {
        assert!(builtin().release().starts_with("v1.37."));
        let schema = Schema::of("apps", "v1", "Deployment").unwrap();
        let deployment = schema.fields().unwrap();
        assert_eq!(deployment.name(), "io.k8s.api.apps.v1.Deployment");
        assert_eq!(deployment.short_name(), "Deployment");
        let replicas = deployment
            .field("spec")
            .and_then(|spec| spec.node().fields_type())
            .and_then(|spec| spec.field("replicas"))
            .unwrap();
        assert_eq!(replicas.node().kind(), Kind::Int32);
        assert!(replicas.is_pointer() && replicas.omits_empty() && !replicas.is_required());
        assert_eq!(replicas.number(), 1);
        assert!(Schema::of("apps", "v1beta1", "Deployment").is_none());
    }

    #[test]
    fn knows_how_lists_merge() {
        let container = builtin().type_named("io.k8s.api.core.v1.Container").unwrap();
        let ports = container.field("ports").unwrap().node();
        assert_eq!(ports.list_type(), ListType::Map);
        assert_eq!(ports.keys().collect::<Vec<_>>(), ["containerPort", "protocol"]);
        assert_eq!(ports.merge_key(), "containerPort");
        assert!(ports.strategy().merge() && !ports.strategy().retain_keys());
        let protocol = ports.elem().and_then(Node::fields_type).unwrap().field("protocol").unwrap();
        assert_eq!(protocol.node().default_text(), "\"TCP\"");
    }

    #[test]
    fn inlined_structs_are_flat_in_json_and_nested_in_protobuf() {
        let volume = builtin().type_named("io.k8s.api.core.v1.Volume").unwrap();
        assert!(volume.field("emptyDir").is_some());
        assert!(volume.by_number(2).unwrap().is_inline());
    }

    #[test]
    fn every_kind_and_type_can_be_walked() {
        let kinds = builtin().kinds().inspect(|(_, _, _, node)| {
            assert_eq!(node.kind(), Kind::Struct);
        });
        assert!(kinds.count() > 150);
        for ty in builtin().types() {
            assert!(!ty.name().is_empty());
            for field in ty.fields() {
                assert_eq!(ty.field(field.name()).map(Field::number), Some(field.number()));
                assert!(!field.node().go_name().is_empty(), "{}.{}", ty.name(), field.name());
            }
        }
    }

    #[test]
    fn without_a_schema_anything_goes() {
        assert_eq!(Schema::default().root().kind(), Kind::Any);
    }
}
