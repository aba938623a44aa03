//! The walk over a value and its type at once: checks, cleans and completes what is decoded.

use std::collections::HashSet;
use std::fmt::Write;

use super::source::{Piece, Source, Token};
use super::{Decoded, Error, scalar};
use crate::api::schema::{Field, Kind, Node, Type};
use crate::api::tree::{Map, Text, Value};
use crate::limits;

/// Decodes one whole value of the type `node`.
pub(super) fn decode<'s>(source: impl Source<'s>, node: Node<'_>) -> Result<Decoded, Error> {
    let mut walk = Walk {
        source,
        path: String::new(),
        go_path: String::new(),
        go_struct: "",
        findings: Vec::new(),
        empties: Vec::new(),
        wrong_type: None,
        ended: None,
        depth: 0,
        values: 0,
    };
    let value = walk.value(node)?;
    walk.source.end()?;
    match walk.ended.or(walk.wrong_type) {
        Some(error) => Err(error),
        None => Ok(Decoded { value, findings: walk.findings, empties: walk.empties }),
    }
}

struct Walk<'n, S> {
    source: S,
    /// Where the walk is: `spec.containers[0].name`.
    path: String,
    /// Where it is as Go's JSON errors say it, without indices and map keys.
    go_path: String,
    /// The Go struct whose field is being decoded, `ContainerPort`.
    go_struct: &'n str,
    findings: Vec<String>,
    /// Lists and maps that are there but empty.
    empties: Vec<(String, &'static str)>,
    /// The first value of the wrong type; the rest is still read, since a syntax error is told
    /// rather than it.
    wrong_type: Option<Error>,
    /// The first refusal of a type's own decoder, which goes before the others.
    ended: Option<Error>,
    depth: usize,
    values: usize,
}

/// The fields of an object that is being read, in their order. Of duplicates the last wins.
#[derive(Default)]
struct Entries {
    list: Vec<(Text, Value)>,
    /// All keys, once there are too many to look through.
    keys: Option<HashSet<Text>>,
}

impl Entries {
    /// With more entries than this a hash set is faster than a scan.
    const SCAN_MAX: usize = 32;

    fn contains(&mut self, key: &str) -> bool {
        if self.keys.is_none() && self.list.len() > Self::SCAN_MAX {
            self.keys = Some(self.list.iter().map(|(key, _)| key.clone()).collect());
        }
        match &self.keys {
            Some(keys) => keys.contains(key),
            None => self.list.iter().any(|(known, _)| known == key),
        }
    }

    fn push(&mut self, key: Text, value: Value) {
        if let Some(keys) = &mut self.keys {
            keys.insert(key.clone());
        }
        self.list.push((key, value));
    }

    fn into_map(self) -> Map {
        self.list.into_iter().collect()
    }
}

impl<'n, 's, S: Source<'s>> Walk<'n, S> {
    /// Reads a value. Null stands for null, for what is of the wrong type, and for what is empty.
    fn value(&mut self, node: Node<'n>) -> Result<Value, Error> {
        let token = self.token()?;
        match (node.kind(), token) {
            (_, Token::Null) => Ok(Value::Null),
            (Kind::String, Token::Str(text)) => Ok(text.into_text().into()),
            (Kind::Any, token) => self.any(token, true),
            (Kind::Json | Kind::RawExtension | Kind::FieldsV1, token) => self.any(token, false),
            (Kind::Struct, Token::Object) => self.object(node),
            (Kind::List, Token::Array) => self.list(node),
            (Kind::Map, Token::Object) => self.map(node),
            (Kind::SchemaOrArray, Token::Array) => self.schemas(node),
            (Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings, Token::Object) => {
                self.schema()
            }
            (Kind::SchemaOrStrings, Token::Array) => self.any(Token::Array, false),
            (Kind::Bytes, Token::Array) => self.byte_list(),
            (_, token) if node.is_structural() => self.any(token, true),
            (_, token) => self.scalar(node, token),
        }
    }

    /// The next token, counted.
    fn token(&mut self) -> Result<Token<'s>, Error> {
        self.values += 1;
        if self.values > limits::TREE_VALUES_MAX {
            return Err(Error::Limit("the object has too many values"));
        }
        self.source.value()
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == limits::TREE_DEPTH_MAX {
            return Err(Error::Limit("exceeded max depth"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn scalar(&mut self, node: Node<'n>, token: Token<'s>) -> Result<Value, Error> {
        let refused = match scalar::decode(node, &token) {
            Ok(value) => return Ok(value),
            Err(refused) => refused,
        };
        self.skip(token)?;
        let error = match refused.what {
            scalar::Fault::Value(message) => Error::Type(message),
            scalar::Fault::Type { found, go_type } => self.mismatch(&found, go_type),
        };
        let first = if refused.ends { &mut self.ended } else { &mut self.wrong_type };
        first.get_or_insert(error);
        Ok(Value::Null)
    }

    /// Keeps the first value that does not fit its field.
    fn refuse(&mut self, found: &str, go_type: &str) {
        let error = self.mismatch(found, go_type);
        self.wrong_type.get_or_insert(error);
    }

    fn mismatch(&self, found: &str, go_type: &str) -> Error {
        let place = if self.go_struct.is_empty() {
            format!("value of type {go_type}")
        } else {
            format!("struct field {}.{} of type {go_type}", self.go_struct, self.go_path)
        };
        Error::Type(format!("json: cannot unmarshal {found} into Go {place}"))
    }

    fn find(&mut self, what: &str, key: &str) {
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = scalar::quote(&format!("{}{dot}{key}", self.path));
        let finding = format!("{what} field {path}");
        if self.findings.len() < limits::FINDINGS_MAX && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// Runs `read` one step further down the path.
    fn at_key<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let behind = self.path.len();
        if behind > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        let result = self.deeper(read);
        self.path.truncate(behind);
        result
    }

    /// Runs `read` for each item of a list and collects what it yields.
    fn items(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<Value, Error>,
    ) -> Result<Value, Error> {
        let mut items = Vec::new();
        let behind = self.path.len();
        while self.source.item(items.is_empty())? {
            let _ = write!(self.path, "[{}]", items.len());
            items.push(self.deeper(&mut read)?);
            self.path.truncate(behind);
        }
        Ok(Value::Array(items))
    }

    /// A value without type. `strict`: duplicate keys are findings.
    fn any(&mut self, token: Token<'s>, strict: bool) -> Result<Value, Error> {
        Ok(match token {
            Token::Null => Value::Null,
            Token::Bool(bool) => Value::Bool(bool),
            Token::Number(number) => number.value(),
            Token::Str(text) => text.into_text().into(),
            Token::Array => self.items(|walk| {
                let token = walk.token()?;
                walk.any(token, strict)
            })?,
            Token::Object => {
                let mut entries = Entries::default();
                let mut first = true;
                while let Some(key) = self.source.key(std::mem::take(&mut first))? {
                    let value = self.any_entry(&key, strict, &mut entries)?;
                    entries.push(key.into_text(), value);
                }
                Value::Object(entries.into_map())
            }
        })
    }

    fn any_entry(
        &mut self,
        key: &str,
        strict: bool,
        entries: &mut Entries,
    ) -> Result<Value, Error> {
        if strict && entries.contains(key) {
            self.find("duplicate", key);
        }
        self.at_key(key, |walk| {
            let token = walk.token()?;
            walk.any(token, strict)
        })
    }

    /// Passes the rest of a value.
    fn skip(&mut self, token: Token<'s>) -> Result<(), Error> {
        self.any(token, false).map(drop)
    }

    fn list(&mut self, node: Node<'n>) -> Result<Value, Error> {
        let Some(elem) = node.elem() else { return self.any(Token::Array, true) };
        self.items(|walk| {
            let value = walk.value(elem)?;
            Ok(or_zero(elem, value))
        })
    }

    /// A list of numbers, which Go takes for bytes.
    fn byte_list(&mut self) -> Result<Value, Error> {
        let mut bytes = Vec::new();
        self.items(|walk| {
            let token = walk.token()?;
            match scalar::byte(&token) {
                Ok(byte) => bytes.push(byte),
                Err(found) => {
                    walk.skip(token)?;
                    walk.refuse(&found, "uint8");
                }
            }
            Ok(Value::Null)
        })?;
        Ok(scalar::pack(&bytes))
    }

    fn map(&mut self, node: Node<'n>) -> Result<Value, Error> {
        let Some(elem) = node.elem() else { return self.any(Token::Object, true) };
        let mut entries = Entries::default();
        let mut first = true;
        while let Some(key) = self.source.key(std::mem::take(&mut first))? {
            if entries.contains(&key) {
                self.find("duplicate", &key);
            }
            let value = self.at_key(&key, |walk| walk.value(elem))?;
            entries.push(key.into_text(), entry_or_zero(elem, value));
        }
        Ok(Value::Object(entries.into_map()))
    }

    fn object(&mut self, node: Node<'n>) -> Result<Value, Error> {
        let Some(ty) = node.fields_type() else { return self.any(Token::Object, true) };
        let outer = self.go_struct;
        let mut entries = Entries::default();
        let mut first = true;
        while let Some(key) = self.source.key(std::mem::take(&mut first))? {
            match ty.field(&key) {
                Some(field) => self.field(ty, field, key, &mut entries)?,
                None if node.preserves_unknown() => {
                    let value = self.any_entry(&key, true, &mut entries)?;
                    entries.push(key.into_text(), value);
                }
                None => {
                    self.find("unknown", &key);
                    let token = self.token()?;
                    self.deeper(|walk| walk.skip(token))?;
                }
            }
        }
        self.go_struct = outer;
        let mut map = entries.into_map();
        if !node.is_structural() {
            self.values += fill(&mut map, ty);
        }
        Ok(Value::Object(map))
    }

    /// Reads the value of a known field.
    fn field(
        &mut self,
        ty: Type<'n>,
        field: Field<'n>,
        key: Piece<'s>,
        entries: &mut Entries,
    ) -> Result<(), Error> {
        if entries.contains(&key) {
            self.find("duplicate", &key);
        }
        self.go_struct = ty.short_name();
        let behind = self.go_path.len();
        for part in ty.inlined_through(field).into_iter().chain([&*key]) {
            if !self.go_path.is_empty() {
                self.go_path.push('.');
            }
            self.go_path.push_str(part);
        }
        let node = field.node();
        let value = self.at_key(&key, |walk| {
            let value = walk.value(node)?;
            walk.note_empty(node, &value);
            Ok(value)
        })?;
        self.go_path.truncate(behind);
        entries.push(key.into_text(), value);
        Ok(())
    }

    /// Notes a list or map that is dropped because it is empty.
    fn note_empty(&mut self, node: Node<'_>, value: &Value) {
        let form = match value {
            Value::Array(items) if items.is_empty() => "[]",
            Value::Object(map) if map.is_empty() && node.kind() == Kind::Map => "{}",
            _ => return,
        };
        if !node.is_structural() && self.empties.len() < limits::FINDINGS_MAX {
            self.empties.push((self.path.clone(), form));
        }
    }

    /// A `JSONSchemaProps` where a type with its own decoder expects one: no findings in it.
    fn schema(&mut self) -> Result<Value, Error> {
        let known = self.findings.len();
        let value = match scalar::schema_props() {
            Some(node) => self.object(node),
            None => self.any(Token::Object, false),
        };
        self.findings.truncate(known);
        value
    }

    fn schemas(&mut self, _node: Node<'_>) -> Result<Value, Error> {
        self.items(|walk| match walk.token()? {
            Token::Object => walk.schema(),
            token => {
                walk.skip(token)?;
                walk.refuse("value", "v1.JSONSchemaProps");
                Ok(Value::Null)
            }
        })
    }
}

/// The value of an element: null is the zero value, but for pointers.
pub(super) fn or_zero(node: Node<'_>, value: Value) -> Value {
    if value.is_null() && !node.is_pointer() && !node.is_structural() { zero(node) } else { value }
}

/// The value of a map's entry. Of bytes and wrapped lists protobuf, in which upstream stores, does
/// not tell none from empty ones here.
pub(super) fn entry_or_zero(node: Node<'_>, value: Value) -> Value {
    match (value, node.kind()) {
        (Value::Null, Kind::Bytes) => "".into(),
        (Value::Null, Kind::List) if node.is_wrapped() => Value::Array(Vec::new()),
        (value, _) => or_zero(node, value),
    }
}

/// What Go writes for the zero value of a type.
fn zero(node: Node<'_>) -> Value {
    match node.kind() {
        Kind::Bool => Value::Bool(false),
        Kind::Int32 | Kind::Int64 | Kind::IntOrString | Kind::Float => Value::Int(0),
        Kind::String => "".into(),
        Kind::Quantity => "0".into(),
        Kind::Duration => "0s".into(),
        Kind::Struct => {
            let mut map = Map::new();
            if let Some(ty) = node.fields_type() {
                fill(&mut map, ty);
            }
            Value::Object(map)
        }
        _ => Value::Null,
    }
}

/// Brings an object into the shape in which Go writes the struct: drops what `omitempty` and
/// `omitzero` leave out, adds what is always written. Yields how many values were added.
pub(super) fn fill(map: &mut Map, ty: Type<'_>) -> usize {
    let mut added = 0;
    map.retain(|key, value| ty.field(key).is_none_or(|field| is_written(field, value)));
    for field in ty.fields() {
        if !map.contains(field.name())
            && let Some(value) = when_absent(field)
        {
            added += count(&value);
            map.insert(field.name(), value);
        }
    }
    added
}

fn count(value: &Value) -> usize {
    1 + value.fields().map(|(_, value)| count(value)).sum::<usize>()
}

/// Whether a struct type is written in Go even if all its fields are empty.
fn is_go_struct(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Any
            | Kind::Bool
            | Kind::Int32
            | Kind::Int64
            | Kind::Float
            | Kind::String
            | Kind::Bytes
            | Kind::List
            | Kind::Map
    )
}

/// Whether a value that is there stays. What is dropped may be added again as the zero value.
fn is_written(field: Field<'_>, value: &Value) -> bool {
    let kind = field.node().kind();
    match value {
        Value::Null => false,
        _ if field.is_pointer() => true,
        _ if is_go_struct(kind) => !(field.omits_zero() && *value == zero(field.node())),
        _ if matches!(kind, Kind::List | Kind::Map) => !value.is_empty(),
        _ => !(value.is_empty() && (field.omits_empty() || field.omits_zero())),
    }
}

/// What is written for a field that has no value.
fn when_absent(field: Field<'_>) -> Option<Value> {
    let node = field.node();
    let nothing = field.is_pointer() || !is_go_struct(node.kind());
    if field.omits_zero() || (nothing && field.omits_empty()) {
        return None;
    }
    Some(if field.is_pointer() { Value::Null } else { zero(node) })
}
