//! OpenAPI version 2 in protobuf: the messages of gnostic's `openapi.v2`, as tables.
//!
//! Each table says which member of a JSON object stands in which field of a message. Members that
//! no table names are extensions if they begin with `x-`, and left out otherwise.

use crate::api::codec::protobuf::wire::Writer as Message;
use crate::api::tree::Value;

/// How a member's value is written.
enum Shape {
    Text,
    Texts,
    Flag,
    Int,
    Double,
    /// Any value, as YAML text in an `Any`.
    Any,
    /// A list of them.
    Anys,
    /// An object.
    One(&'static Table),
    /// A list of objects.
    Many(&'static Table),
    /// A map: a message `name = 1, value = 2` for each entry, the value below further numbers.
    Named(&'static [u32], &'static Table),
    /// A list of parameters, in a message according to where they stand.
    Parameters,
}

/// A member: its key, the field numbers on the way to it (all but the last are messages with
/// nothing else in them), and its shape. A value of another shape is not this member.
type Member = (&'static str, &'static [u32], Shape);

struct Table {
    /// In descending order of the first number, as messages are written from their end.
    members: &'static [Member],
    /// The field of extensions.
    extensions: u32,
}

static SCHEMA: Table = Table {
    members: &[
        ("example", &[30], Shape::Any),
        ("externalDocs", &[29], Shape::One(&EXTERNAL_DOCS)),
        ("readOnly", &[27], Shape::Flag),
        ("discriminator", &[26], Shape::Text),
        ("properties", &[25], Shape::Named(&[], &SCHEMA)),
        ("allOf", &[24], Shape::Many(&SCHEMA)),
        ("items", &[23, 1], Shape::One(&SCHEMA)),
        ("type", &[22, 1], Shape::Text),
        ("additionalProperties", &[21, 1], Shape::One(&SCHEMA)),
        ("additionalProperties", &[21, 2], Shape::Flag),
        ("enum", &[20], Shape::Anys),
        ("required", &[19], Shape::Texts),
        ("minProperties", &[18], Shape::Int),
        ("maxProperties", &[17], Shape::Int),
        ("uniqueItems", &[16], Shape::Flag),
        ("minItems", &[15], Shape::Int),
        ("maxItems", &[14], Shape::Int),
        ("pattern", &[13], Shape::Text),
        ("minLength", &[12], Shape::Int),
        ("maxLength", &[11], Shape::Int),
        ("exclusiveMinimum", &[10], Shape::Flag),
        ("minimum", &[9], Shape::Double),
        ("exclusiveMaximum", &[8], Shape::Flag),
        ("maximum", &[7], Shape::Double),
        ("multipleOf", &[6], Shape::Double),
        ("default", &[5], Shape::Any),
        ("description", &[4], Shape::Text),
        ("title", &[3], Shape::Text),
        ("format", &[2], Shape::Text),
        ("$ref", &[1], Shape::Text),
    ],
    extensions: 31,
};

static EXTERNAL_DOCS: Table = Table {
    members: &[("url", &[2], Shape::Text), ("description", &[1], Shape::Text)],
    extensions: 3,
};

static PATH_ITEM: Table = Table {
    members: &[
        ("parameters", &[9], Shape::Parameters),
        ("patch", &[8], Shape::One(&OPERATION)),
        ("head", &[7], Shape::One(&OPERATION)),
        ("options", &[6], Shape::One(&OPERATION)),
        ("delete", &[5], Shape::One(&OPERATION)),
        ("post", &[4], Shape::One(&OPERATION)),
        ("put", &[3], Shape::One(&OPERATION)),
        ("get", &[2], Shape::One(&OPERATION)),
    ],
    extensions: 10,
};

static OPERATION: Table = Table {
    members: &[
        ("deprecated", &[11], Shape::Flag),
        ("schemes", &[10], Shape::Texts),
        ("responses", &[9], Shape::Named(&[1], &RESPONSE)),
        ("parameters", &[8], Shape::Parameters),
        ("consumes", &[7], Shape::Texts),
        ("produces", &[6], Shape::Texts),
        ("operationId", &[5], Shape::Text),
        ("description", &[3], Shape::Text),
        ("summary", &[2], Shape::Text),
        ("tags", &[1], Shape::Texts),
    ],
    extensions: 13,
};

static RESPONSE: Table = Table {
    members: &[("schema", &[2, 1], Shape::One(&SCHEMA)), ("description", &[1], Shape::Text)],
    extensions: 5,
};

static BODY: Table = Table {
    members: &[
        ("schema", &[5], Shape::One(&SCHEMA)),
        ("required", &[4], Shape::Flag),
        ("in", &[3], Shape::Text),
        ("name", &[2], Shape::Text),
        ("description", &[1], Shape::Text),
    ],
    extensions: 6,
};

static QUERY: Table = Table {
    members: &[
        ("uniqueItems", &[20], Shape::Flag),
        ("format", &[7], Shape::Text),
        ("type", &[6], Shape::Text),
        ("name", &[4], Shape::Text),
        ("description", &[3], Shape::Text),
        ("in", &[2], Shape::Text),
        ("required", &[1], Shape::Flag),
    ],
    extensions: 23,
};

static PATH: Table = Table {
    members: &[
        ("uniqueItems", &[19], Shape::Flag),
        ("format", &[6], Shape::Text),
        ("type", &[5], Shape::Text),
        ("name", &[4], Shape::Text),
        ("description", &[3], Shape::Text),
        ("in", &[2], Shape::Text),
        ("required", &[1], Shape::Flag),
    ],
    extensions: 22,
};

static INFO: Table = Table {
    members: &[
        ("description", &[3], Shape::Text),
        ("version", &[2], Shape::Text),
        ("title", &[1], Shape::Text),
    ],
    extensions: 7,
};

static API_KEY: Table = Table {
    members: &[
        ("description", &[4], Shape::Text),
        ("in", &[3], Shape::Text),
        ("name", &[2], Shape::Text),
        ("type", &[1], Shape::Text),
    ],
    extensions: 5,
};

/// Writing a message cannot fail; the writer's signature allows for it.
type Done = Result<(), std::convert::Infallible>;

fn nested(out: &mut Message, number: u32, write: impl FnOnce(&mut Message)) {
    let done: Done = out.nested(number, |out| {
        write(out);
        Ok(())
    });
    let Ok(()) = done;
}

/// Writes what `write` writes below all but the last of `numbers`.
fn below(out: &mut Message, numbers: &[u32], write: &mut dyn FnMut(&mut Message, u32)) {
    match numbers {
        [] => {}
        [last] => write(out, *last),
        [first, rest @ ..] => nested(out, *first, |out| below(out, rest, write)),
    }
}

impl Table {
    /// Writes the members of an object.
    fn write(&self, out: &mut Message, object: &Value) {
        let fields = object.as_object();
        for (key, value) in fields.into_iter().flat_map(|fields| fields.iter().rev()) {
            if key.starts_with("x-") {
                nested(out, self.extensions, |out| named_any(out, key, value));
            }
        }
        for (key, numbers, shape) in self.members {
            let value = object.get(key);
            if shape.fits(value) {
                below(out, numbers, &mut |out, number| shape.write(out, number, value));
            }
        }
    }
}

impl Shape {
    const fn fits(&self, value: &Value) -> bool {
        match self {
            Self::Text => matches!(value, Value::Str(_)),
            Self::Flag => matches!(value, Value::Bool(true)),
            Self::Int => matches!(value, Value::Int(_)),
            Self::Double => matches!(value, Value::Int(_) | Value::Float(_)),
            Self::Any => !value.is_null(),
            Self::One(_) | Self::Named(..) => matches!(value, Value::Object(_)),
            Self::Texts | Self::Anys | Self::Many(_) | Self::Parameters => {
                matches!(value, Value::Array(_))
            }
        }
    }

    fn write(&self, out: &mut Message, number: u32, value: &Value) {
        match self {
            Self::Text => out.bytes(number, value.str().as_bytes()),
            Self::Texts => {
                let items = value.items().iter().rev();
                items.for_each(|item| out.bytes(number, item.str().as_bytes()));
            }
            Self::Flag => out.int(number, i64::from(value.is_true())),
            Self::Int => out.int(number, value.as_int().unwrap_or(0)),
            #[allow(clippy::cast_precision_loss, reason = "the field is a float")]
            Self::Double => match value {
                Value::Float(float) => out.double(number, *float),
                value => out.double(number, value.as_int().unwrap_or(0) as f64),
            },
            Self::Any => any(out, number, value),
            Self::Anys => value.items().iter().rev().for_each(|item| any(out, number, item)),
            Self::One(table) => nested(out, number, |out| table.write(out, value)),
            Self::Many(table) => {
                let items = value.items().iter().rev();
                items.for_each(|item| nested(out, number, |out| table.write(out, item)));
            }
            Self::Named(inner, table) => nested(out, number, |out| {
                let entries = value.as_object().into_iter().flat_map(|fields| fields.iter().rev());
                entries.for_each(|(name, value)| entry(out, name, inner, table, value));
            }),
            Self::Parameters => {
                value.items().iter().rev().for_each(|item| parameter(out, number, item));
            }
        }
    }
}

/// An entry of a map, in field 1.
fn entry(out: &mut Message, name: &str, inner: &[u32], table: &Table, value: &Value) {
    nested(out, 1, |out| {
        let numbers = [&[2], inner].concat();
        below(out, &numbers, &mut |out, number| {
            nested(out, number, |out| table.write(out, value));
        });
        out.bytes(1, name.as_bytes());
    });
}

fn any(out: &mut Message, number: u32, value: &Value) {
    // JSON is YAML.
    nested(out, number, |out| out.bytes(2, &value.encode()));
}

fn named_any(out: &mut Message, name: &str, value: &Value) {
    any(out, 2, value);
    out.bytes(1, name.as_bytes());
}

fn parameter(out: &mut Message, number: u32, value: &Value) {
    let (numbers, table): (&[u32], &Table) = match value.get("in").str() {
        "body" => (&[1, 1], &BODY),
        "path" => (&[1, 2, 4], &PATH),
        _ => (&[1, 2, 3], &QUERY),
    };
    let numbers = [&[number], numbers].concat();
    below(out, &numbers, &mut |out, number| nested(out, number, |out| table.write(out, value)));
}

/// Puts a document together from pieces that come in its order.
#[derive(Default)]
pub(super) struct Writer {
    head: Vec<u8>,
    paths: Vec<u8>,
    definitions: Vec<u8>,
}

impl Writer {
    /// The version of OpenAPI and `info`.
    pub(super) fn head(&mut self, version: &str, info: &Value) {
        let mut out = Message::with_capacity(256);
        nested(&mut out, 2, |out| INFO.write(out, info));
        out.bytes(1, version.as_bytes());
        self.head = out.finish();
    }

    /// One path and its item.
    pub(super) fn path(&mut self, path: &str, item: &Value) {
        let mut out = Message::with_capacity(4096);
        nested(&mut out, 2, |out| {
            nested(out, 2, |out| PATH_ITEM.write(out, item));
            out.bytes(1, path.as_bytes());
        });
        self.paths.extend(out.finish());
    }

    /// One definition.
    pub(super) fn definition(&mut self, name: &str, schema: &Value) {
        let mut out = Message::with_capacity(4096);
        entry(&mut out, name, &[], &SCHEMA, schema);
        self.definitions.extend(out.finish());
    }

    /// The document.
    pub(super) fn finish(self, security: &Value, definitions: &Value) -> Vec<u8> {
        let mut out = Message::with_capacity(self.paths.len() + self.definitions.len() + 1024);
        nested(&mut out, 13, |out| {
            definitions.fields().for_each(|(name, value)| entry(out, name, &[2], &API_KEY, value));
        });
        for requirement in security.items() {
            nested(&mut out, 12, |out| {
                for (name, _) in requirement.fields() {
                    nested(out, 1, |out| {
                        nested(out, 2, |_| ());
                        out.bytes(1, name.as_bytes());
                    });
                }
            });
        }
        out.bytes(9, &self.definitions);
        out.bytes(8, &self.paths);
        out.raw(&self.head);
        out.finish()
    }
}
