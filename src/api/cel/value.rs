//! The values that expressions work on. Those that come from an object borrow it: nothing is
//! copied until something new is made.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::functions;
use super::library::{format::Format, net::Cidr, semver::Version, time, url::Url};
use super::shape::{DYN, Kind, Merge, Shape};
use crate::api::quantity::Quantity;
use crate::api::tree;

/// How much may still be looked at. Values that are made of shared parts can be small in memory and
/// without end to whoever goes through them.
#[derive(Debug)]
pub struct Meter(Cell<u64>);

impl Meter {
    /// A meter with a number of steps.
    pub const fn new(steps: u64) -> Self {
        Self(Cell::new(steps))
    }

    /// Takes steps; false if there are none left.
    pub fn step(&self, steps: u64) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(steps));
        left >= steps
    }

    /// Whether nothing more may be looked at.
    pub const fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}

/// What comparing two values without a meter may look at.
const STEPS_MAX: u64 = 1_000_000;

/// A value.
#[derive(Debug, Clone)]
pub enum Val<'a> {
    /// `null`
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A float.
    Double(f64),
    /// A text.
    Str(Text<'a>),
    /// Bytes.
    Bytes(Rc<[u8]>),
    /// Billionths of a second.
    Duration(i64),
    /// A point in time.
    Timestamp(jiff::Timestamp),
    /// A list.
    List(List<'a>),
    /// A map, or an object with known fields.
    Map(Dict<'a>),
    /// A type, by its name.
    Type(&'static str),
    /// A value or none.
    Optional(Option<Rc<Val<'a>>>),
    /// An exact amount.
    Quantity(Quantity),
    /// An IP address.
    Ip(IpAddr),
    /// An IP prefix.
    Cidr(Cidr),
    /// A parsed URL.
    Url(Rc<Url>),
    /// A semantic version.
    Semver(Rc<Version>),
    /// A format of names.
    Format(&'static Format),
    /// Nothing, for a reason: what a loop's result is while an error may still be overruled.
    Failed(Rc<str>),
}

/// A text, of an object or made.
#[derive(Debug, Clone)]
pub enum Text<'a> {
    /// Part of something that is there.
    Of(&'a str),
    /// Made.
    Made(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Of(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// A list, of an object or made.
#[derive(Debug, Clone)]
pub enum List<'a> {
    /// Part of an object, and what its schema says of it.
    Of(&'a [tree::Value], &'a Shape),
    /// Made, and how it is compared.
    Made(Rc<Vec<Val<'a>>>, Option<&'a Merge>),
}

/// A map, of an object or made.
#[derive(Debug, Clone)]
pub enum Dict<'a> {
    /// Part of an object, and what its schema says of it.
    Of(&'a tree::Map, &'a Shape),
    /// Made.
    Made(Rc<BTreeMap<Key, Val<'a>>>),
}

/// The key of a map. Numbers are equal whatever their type.
#[derive(Debug, Clone)]
pub enum Key {
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A text.
    Str(Rc<str>),
}

impl Key {
    /// The value as a key, if it can be one; a whole float can find a number.
    pub fn of(value: &Val<'_>) -> Option<Self> {
        Some(match value {
            Val::Bool(b) => Self::Bool(*b),
            Val::Int(i) => Self::Int(*i),
            Val::Uint(u) => Self::Uint(*u),
            #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
            Val::Double(f) if f.fract() == 0.0 && f.abs() < 9e18 => Self::Int(*f as i64),
            Val::Str(text) => Self::Str(text.deref().into()),
            _ => return None,
        })
    }

    /// The key as a value.
    pub fn value<'a>(&self) -> Val<'a> {
        match self {
            Self::Bool(b) => Val::Bool(*b),
            Self::Int(i) => Val::Int(*i),
            Self::Uint(u) => Val::Uint(*u),
            Self::Str(text) => Val::Str(Text::Made(text.clone())),
        }
    }

    fn rank(&self) -> (u8, i128, &str) {
        match self {
            Self::Bool(b) => (0, i128::from(*b), ""),
            Self::Int(i) => (1, i128::from(*i), ""),
            Self::Uint(u) => (1, i128::from(*u), ""),
            Self::Str(text) => (2, 0, text),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl<'a> Val<'a> {
    /// A made text.
    pub fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Str(Text::Made(text.into()))
    }

    /// A made list.
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(List::Made(Rc::new(items), None))
    }

    /// A value, as an optional one.
    pub fn some(value: Self) -> Self {
        Self::Optional(Some(Rc::new(value)))
    }

    /// A value that no schema speaks of.
    pub fn untyped(value: &'a tree::Value) -> Self {
        Self::of(value, &DYN)
    }

    /// Part of an object, as its schema has it. What does not fit its schema, which validation
    /// has told already, is taken as it is.
    #[allow(clippy::cast_precision_loss, reason = "a number of the schema is a float")]
    pub fn of(value: &'a tree::Value, shape: &'a Shape) -> Self {
        match (value, &shape.kind) {
            (tree::Value::Null, _) => Self::Null,
            (tree::Value::Bool(b), _) => Self::Bool(*b),
            (tree::Value::Int(i), Kind::Double) => Self::Double(*i as f64),
            (tree::Value::Int(i), _) => Self::Int(*i),
            (tree::Value::Float(f), Kind::Int) => {
                value.as_int().map_or(Self::Double(*f), Self::Int)
            }
            (tree::Value::Float(f), _) => Self::Double(*f),
            (tree::Value::Str(text), kind) => typed_text(text, kind),
            (tree::Value::Array(items), Kind::List(..)) => Self::List(List::Of(items, shape)),
            (tree::Value::Array(items), _) => Self::List(List::Of(items, &DYN)),
            (tree::Value::Object(map), Kind::Map(_) | Kind::Object(_)) => {
                Self::Map(Dict::Of(map, shape))
            }
            (tree::Value::Object(map), _) => Self::Map(Dict::Of(map, &DYN)),
        }
    }

    /// The name of the value's type.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Str(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Quantity(_) => functions::QUANTITY,
            Self::Ip(_) => functions::IP,
            Self::Cidr(_) => functions::CIDR,
            Self::Url(_) => functions::URL,
            Self::Semver(_) => functions::SEMVER,
            Self::Format(_) => functions::FORMAT,
            Self::Failed(_) => "error",
        }
    }

    /// How large the value is to the cost of working on it.
    pub fn size(&self) -> u64 {
        match self {
            Self::Str(text) => text.chars().count() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Map(map) => map.len() as u64,
            Self::Optional(Some(inner)) => inner.size(),
            Self::Ip(IpAddr::V4(_)) => 4,
            Self::Ip(IpAddr::V6(_)) => 16,
            Self::Cidr(cidr) => {
                if cidr.is_v4() {
                    4
                } else {
                    16
                }
            }
            _ => 1,
        }
    }

    /// Whether the value is the empty one of its type.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(b) => !b,
            Self::Int(i) | Self::Duration(i) => *i == 0,
            Self::Uint(u) => *u == 0,
            Self::Double(f) => *f == 0.0,
            Self::Str(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
            Self::Optional(inner) => inner.is_none(),
            _ => false,
        }
    }

    /// The order of two values of types that have one.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Str(a), Self::Str(b)) => a.deref().cmp(b.deref()),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Duration(a), Self::Duration(b)) => a.cmp(b),
            (Self::Timestamp(a), Self::Timestamp(b)) => a.cmp(b),
            (a, b) => return numbers(a, b),
        })
    }
}

fn typed_text<'a>(text: &'a str, kind: &Kind) -> Val<'a> {
    let typed = match kind {
        Kind::Bytes => STANDARD.decode(text).ok().map(|bytes| Val::Bytes(bytes.into())),
        Kind::Duration => time::duration(text).map(Val::Duration),
        Kind::Timestamp => time::timestamp(text).or_else(|| time::date(text)).map(Val::Timestamp),
        _ => None,
    };
    typed.unwrap_or(Val::Str(Text::Of(text)))
}

/// The order of two numbers, whatever their types.
#[allow(clippy::cast_precision_loss, reason = "numbers beyond 2^53 are compared as whole ones")]
fn numbers(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    let whole = |value: &Val<'_>| match value {
        Val::Int(i) => Some(i128::from(*i)),
        Val::Uint(u) => Some(i128::from(*u)),
        _ => None,
    };
    match (a, b) {
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Double(a), b) => beside(*a, whole(b)?),
        (a, Val::Double(b)) => beside(*b, whole(a)?).map(Ordering::reverse),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

/// The order of a float and a whole number.
#[allow(clippy::cast_possible_truncation, reason = "checked to be in range")]
fn beside(float: f64, whole: i128) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    if float.abs() >= 1e30 {
        return Some(if float > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    let floor = float.floor();
    let rest = if float > floor { Ordering::Greater } else { Ordering::Equal };
    Some((floor as i128).cmp(&whole).then(rest))
}

impl<'a> List<'a> {
    /// How many items there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Of(items, _) => items.len(),
            Self::Made(items, _) => items.len(),
        }
    }

    /// An item.
    pub fn get(&self, at: usize) -> Option<Val<'a>> {
        match self {
            Self::Of(items, shape) => {
                let inner = shape.inner().map_or(&DYN, |inner| &**inner);
                items.get(at).map(|item| Val::of(item, inner))
            }
            Self::Made(items, _) => items.get(at).cloned(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All items.
    pub fn iter(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// How the list is compared and added to.
    pub fn merge(&self) -> &'a Merge {
        match self {
            Self::Of(_, Shape { kind: Kind::List(_, merge), .. }) => merge,
            Self::Made(_, Some(merge)) => merge,
            _ => &Merge::Atomic,
        }
    }
}

impl<'a> Dict<'a> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Of(map, _) => map.len(),
            Self::Made(map) => map.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is found by a key; a field of an object by the name that expressions know it by.
    pub fn get(&self, key: &Val<'_>) -> Option<Val<'a>> {
        match (self, key) {
            (Self::Made(map), key) => map.get(&Key::of(key)?).cloned(),
            (Self::Of(map, shape), Val::Str(name)) => match &shape.kind {
                Kind::Object(object) => {
                    let field = object.field(name)?;
                    let value = map.get(&field.json).filter(|value| !value.is_null());
                    value.map(|value| Val::of(value, &field.shape))
                }
                Kind::Map(inner) => map.get(name).map(|value| Val::of(value, inner)),
                _ => map.get(name).map(Val::untyped),
            },
            _ => None,
        }
    }

    /// All entries.
    pub fn entries(&self) -> Vec<(Val<'a>, Val<'a>)> {
        match self {
            Self::Made(map) => {
                map.iter().map(|(key, value)| (key.value(), value.clone())).collect()
            }
            Self::Of(_, Shape { kind: Kind::Object(object), .. }) => {
                let known = object.fields.keys();
                let entry = |name: &'a String| {
                    let key = Val::Str(Text::Of(name));
                    self.get(&key).map(|value| (key, value))
                };
                known.filter_map(entry).collect()
            }
            Self::Of(map, shape) => {
                let inner = shape.inner().map_or(&DYN, |inner| &**inner);
                let entry = |(key, value)| (Val::Str(Text::Of(key)), Val::of(value, inner));
                map.iter().map(entry).collect()
            }
        }
    }
}

impl PartialEq for Val<'_> {
    fn eq(&self, other: &Self) -> bool {
        same(self, other, &Meter::new(STEPS_MAX))
    }
}

/// Whether two values are equal; of no meaning once the meter is spent.
pub fn same(one: &Val<'_>, other: &Val<'_>, meter: &Meter) -> bool {
    if !meter.step(1) {
        return false;
    }
    match (one, other) {
        (Val::Null, Val::Null) => true,
        (Val::Type(a), Val::Type(b)) => a == b,
        (Val::List(a), Val::List(b)) => lists_equal(a, b, meter),
        (Val::Map(a), Val::Map(b)) => {
            let equal = |(key, value): &(Val<'_>, Val<'_>)| {
                b.get(key).is_some_and(|other| same(value, &other, meter))
            };
            a.len() == b.len() && a.entries().iter().all(equal)
        }
        (Val::Optional(None), Val::Optional(None)) => true,
        (Val::Optional(Some(a)), Val::Optional(Some(b))) => same(a, b, meter),
        (Val::Quantity(a), Val::Quantity(b)) => a == b,
        (Val::Ip(a), Val::Ip(b)) => a == b,
        (Val::Cidr(a), Val::Cidr(b)) => a == b,
        (Val::Url(a), Val::Url(b)) => a.text == b.text,
        (Val::Semver(a), Val::Semver(b)) => a.order(b).is_eq(),
        (Val::Format(a), Val::Format(b)) => a.name == b.name,
        (a, b) => a.compare(b) == Some(Ordering::Equal),
    }
}

fn lists_equal(a: &List<'_>, b: &List<'_>, meter: &Meter) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.merge(), b.merge()) {
        (Merge::Atomic, Merge::Atomic) => {
            a.iter().zip(b.iter()).all(|(one, other)| same(&one, &other, meter))
        }
        (merge, Merge::Atomic) | (_, merge) => {
            let (a, b) = (sorted(a, merge, meter), sorted(b, merge, meter));
            a.iter()
                .zip(&b)
                .all(|((key, one), (other_key, other))| key == other_key && same(one, other, meter))
        }
    }
}

/// The items of a list that has no order, in the order of what tells them apart.
fn sorted<'a>(list: &List<'a>, merge: &Merge, meter: &Meter) -> Vec<(String, Val<'a>)> {
    let mut items: Vec<(String, Val<'a>)> =
        list.iter().map(|item| (identity(&item, merge, meter), item)).collect();
    items.sort_by(|(one, _), (other, _)| one.cmp(other));
    items
}

/// What tells an item of a list from the others.
pub fn identity(item: &Val<'_>, merge: &Merge, meter: &Meter) -> String {
    match (merge, item) {
        (Merge::Keys(keys), Val::Map(map)) => {
            let key = |key: &String| {
                let name = super::shape::escape(key).unwrap_or_default();
                let value = map.get(&Val::Str(Text::Of(&name)));
                value.map(|value| shown(&value, meter)).unwrap_or_default()
            };
            keys.iter().map(key).collect::<Vec<_>>().join("\n")
        }
        (_, item) => shown(item, meter),
    }
}

/// A value in a form that shows its type too.
pub fn show(value: &Val<'_>) -> String {
    shown(value, &Meter::new(STEPS_MAX))
}

fn shown(value: &Val<'_>, meter: &Meter) -> String {
    if !meter.step(1) {
        return String::new();
    }
    let show = |value: &Val<'_>| shown(value, meter);
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
    match value {
        Val::Null => "null".into(),
        Val::Bool(b) => b.to_string(),
        Val::Int(i) => i.to_string(),
        Val::Uint(u) => format!("{u}u"),
        Val::Double(f) if f.is_infinite() => if *f > 0.0 { "+Inf" } else { "-Inf" }.into(),
        Val::Double(f) => format!("{f:?}"),
        Val::Str(text) if meter.step(text.len() as u64 / 16) => {
            tree::Value::from(&**text).to_string()
        }
        Val::Str(_) => String::new(),
        Val::Bytes(bytes) => format!("b{:?}", STANDARD.encode(bytes)),
        Val::Duration(nanos) => format!("duration({nanos})"),
        Val::Timestamp(at) => format!("timestamp({at})"),
        Val::List(items) => format!("[{}]", list(&mut items.iter().map(|item| show(&item)))),
        Val::Map(map) => {
            let entries = map.entries();
            let mut entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", show(key), show(value)))
                .collect();
            entries.sort();
            format!("{{{}}}", entries.join(", "))
        }
        Val::Type(name) => format!("type({name})"),
        Val::Optional(None) => "none".into(),
        Val::Optional(Some(inner)) => format!("some({})", show(inner)),
        Val::Quantity(quantity) => format!("quantity({quantity})"),
        Val::Ip(ip) => format!("ip({ip})"),
        Val::Cidr(cidr) => format!("cidr({cidr})"),
        Val::Url(url) => format!("url({})", url.text),
        Val::Semver(version) => format!("semver({version})"),
        Val::Format(format) => format!("format({})", format.name),
        Val::Failed(why) => format!("error({why})"),
    }
}
