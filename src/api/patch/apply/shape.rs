//! What apply sees of a type: whether a value is taken as a whole or part by part.
//!
//! This is structured-merge-diff's view of a schema. A type may allow a map, a scalar and a list at
//! once (any JSON); which of them counts is then decided by the value.

use crate::api::schema::{Kind, ListType, MapType, Node, Type as Struct};
use crate::api::tree::Value;

/// The type of a place in an object.
#[derive(Clone, Copy)]
pub(super) enum Type<'a> {
    /// A node of a schema; the flag says that unknown fields stay from above it on.
    Node(Node<'a>, bool),
    /// Anything: maps are merged, lists replaced.
    Deduced,
    /// Anything, replaced as a whole.
    Atomic,
    /// Nothing may stand here.
    Nothing,
}

/// What may stand at a place.
pub(super) struct Atom<'a> {
    pub(super) map: Option<Mapping<'a>>,
    pub(super) scalar: Option<Scalar>,
    pub(super) list: Option<List<'a>>,
}

/// Which scalars may stand at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Numeric,
    Text,
    Boolean,
    Any,
}

/// A map or struct.
pub(super) struct Mapping<'a> {
    pub(super) atomic: bool,
    fields: Option<Struct<'a>>,
    elem: Type<'a>,
    preserving: bool,
}

/// A list.
pub(super) struct List<'a> {
    pub(super) relation: Relation<'a>,
    pub(super) elem: Type<'a>,
}

/// How the items of a list are told apart.
#[derive(Clone, Copy)]
pub(super) enum Relation<'a> {
    /// They are not: the list is replaced as a whole.
    Atomic,
    /// By their value.
    Set,
    /// By key fields, which this list node names.
    Keyed(Node<'a>),
}

impl<'a> Type<'a> {
    /// The type of a whole object.
    pub(super) fn root(node: Node<'a>) -> Self {
        Type::Node(node, false)
    }

    /// What may stand here.
    pub(super) fn atom(self) -> Atom<'a> {
        match self {
            Type::Node(node, preserving) => of_node(node, preserving),
            Type::Deduced => untyped(false, Type::Deduced),
            Type::Atomic => untyped(true, Type::Atomic),
            Type::Nothing => Atom { map: None, scalar: None, list: None },
        }
    }

    /// What may stand here, given what does: of several forms only the value's.
    pub(super) fn atom_for(self, value: Option<&Value>) -> Atom<'a> {
        let mut atom = self.atom();
        match value {
            Some(Value::Object(_)) if atom.map.is_some() => {
                atom.scalar = None;
                atom.list = None;
            }
            Some(Value::Array(_)) if atom.list.is_some() => {
                atom.map = None;
                atom.scalar = None;
            }
            None | Some(Value::Null | Value::Object(_) | Value::Array(_)) => {}
            Some(_) if atom.scalar.is_some() => {
                atom.map = None;
                atom.list = None;
            }
            Some(_) => {}
        }
        atom
    }

    /// Whether there is a type at all.
    pub(super) const fn is_known(self) -> bool {
        !matches!(self, Type::Nothing)
    }
}

impl Atom<'_> {
    /// Whether two atoms allow the same forms.
    pub(super) const fn same_form(&self, other: &Self) -> bool {
        self.map.is_some() == other.map.is_some()
            && self.scalar.is_some() == other.scalar.is_some()
            && self.list.is_some() == other.list.is_some()
    }
}

fn untyped<'a>(atomic: bool, elem: Type<'a>) -> Atom<'a> {
    Atom {
        map: Some(Mapping { atomic, fields: None, elem, preserving: false }),
        scalar: Some(Scalar::Any),
        list: Some(List { relation: Relation::Atomic, elem: Type::Atomic }),
    }
}

fn of_node<'a>(node: Node<'a>, preserving: bool) -> Atom<'a> {
    let scalar = match node.kind() {
        Kind::Bool => Scalar::Boolean,
        Kind::Int32 | Kind::Int64 | Kind::Float => Scalar::Numeric,
        Kind::String | Kind::Bytes | Kind::Duration => Scalar::Text,
        Kind::Quantity | Kind::IntOrString | Kind::Time | Kind::MicroTime => Scalar::Any,
        Kind::Struct => return of_map(of_struct(node, preserving)),
        Kind::Map => {
            let elem = node.elem().map_or(Type::Deduced, |elem| Type::Node(elem, preserving));
            let atomic = node.map_type() == MapType::Atomic;
            return of_map(Mapping { atomic, fields: None, elem, preserving });
        }
        Kind::List => return of_list(node, preserving),
        Kind::RawExtension => return untyped(true, Type::Atomic),
        Kind::FieldsV1 => {
            let elem = Type::Deduced;
            return of_map(Mapping { atomic: false, fields: None, elem, preserving: false });
        }
        Kind::Any
        | Kind::Json
        | Kind::SchemaOrArray
        | Kind::SchemaOrBool
        | Kind::SchemaOrStrings => {
            return untyped(node.own_map_type() == MapType::Atomic, Type::Deduced);
        }
    };
    Atom { map: None, scalar: Some(scalar), list: None }
}

const fn of_map(map: Mapping<'_>) -> Atom<'_> {
    Atom { map: Some(map), scalar: None, list: None }
}

fn of_struct<'a>(node: Node<'a>, preserving: bool) -> Mapping<'a> {
    let fields = node.fields_type().filter(|ty| ty.fields().len() > 0);
    let preserving = preserving || node.preserves_unknown();
    // An object of which the schema says nothing may hold anything.
    let elem = if preserving || fields.is_none() { Type::Deduced } else { Type::Nothing };
    Mapping { atomic: node.map_type() == MapType::Atomic, fields, elem, preserving }
}

fn of_list<'a>(node: Node<'a>, preserving: bool) -> Atom<'a> {
    let relation = match node.list_type() {
        ListType::Atomic => Relation::Atomic,
        ListType::Set => Relation::Set,
        ListType::Map => Relation::Keyed(node),
        // Where only strategic merge patch was thought of, its rules are taken.
        ListType::Unset if !node.strategy().merge() => Relation::Atomic,
        ListType::Unset if node.merge_key().is_empty() => Relation::Set,
        ListType::Unset => Relation::Keyed(node),
    };
    let elem = node.elem().map_or(Type::Atomic, |elem| Type::Node(elem, preserving));
    Atom { map: None, scalar: None, list: Some(List { relation, elem }) }
}

impl<'a> Mapping<'a> {
    /// The type of an entry, and whether it is a declared field.
    pub(super) fn entry(&self, name: &str) -> (Type<'a>, bool) {
        match self.fields.and_then(|ty| ty.field(name)) {
            Some(field) => (Type::Node(field.node(), self.preserving), true),
            None => (self.elem, false),
        }
    }

    /// Whether the map is one of which nothing is known.
    pub(super) fn is_untyped(&self) -> bool {
        self.fields.is_none() && matches!(self.elem, Type::Deduced)
    }
}

impl<'a> List<'a> {
    /// Whether the list is replaced as a whole.
    pub(super) const fn is_atomic(&self) -> bool {
        matches!(self.relation, Relation::Atomic)
    }

    /// The key fields of its items.
    pub(super) fn keys(&self) -> Vec<&'a str> {
        match self.relation {
            Relation::Keyed(node) if node.list_type() == ListType::Map => node.keys().collect(),
            Relation::Keyed(node) => vec![node.merge_key()],
            _ => Vec::new(),
        }
    }

    /// What an absent key field counts as: the declared default, or the zero value of what is
    /// always written.
    pub(super) fn key_default(&self, name: &str) -> Option<Value> {
        let fields = self.elem.atom().map?.fields?;
        let field = fields.field(name)?;
        let node = field.node();
        if !node.default_text().is_empty() {
            return Value::parse(node.default_text().as_bytes()).ok();
        }
        if node.is_structural() || field.is_pointer() || field.omits_empty() {
            return None;
        }
        match node.kind() {
            Kind::Bool => Some(false.into()),
            Kind::Int32 | Kind::Int64 | Kind::Float => Some(0.into()),
            Kind::String => Some("".into()),
            _ => None,
        }
    }
}

/// Whether two values are the same; numbers are by what they are worth.
#[allow(clippy::cast_precision_loss, reason = "as upstream compares integers with floats")]
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(int), Value::Float(float)) | (Value::Float(float), Value::Int(int)) => {
            *int as f64 == *float
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |((k, a), (l, b)): ((&str, &Value), (&str, &Value))| k == l && equal(a, b);
            a.len() == b.len() && a.iter().zip(b.iter()).all(same)
        }
        (a, b) => a == b,
    }
}
