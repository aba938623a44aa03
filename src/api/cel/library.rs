//! What the functions do: Kubernetes' CEL libraries, one file each.

mod arithmetic;
pub mod convert;
pub mod format;
mod lists;
pub mod net;
pub mod regex;
pub mod semver;
pub mod strings;
pub mod time;
pub mod url;

use std::rc::Rc;

use super::eval::{Answer, Run, Stop, maybe, no_key, no_overload};
use super::functions;
use super::value::{Val, identity};
use crate::api::quantity::Quantity;

/// Calls a function; the receiver is its first argument.
pub fn call<'a>(run: &mut Run<'a>, name: &str, args: Vec<Val<'a>>) -> Answer<'a> {
    if let Some(answer) = operator(run, name, &args) {
        return answer;
    }
    match args.first() {
        Some(Val::Str(_)) => strings::call(run, name, &args),
        Some(Val::List(list)) => lists::call(run, name, list, &args),
        Some(Val::Timestamp(_) | Val::Duration(_)) => time::call(run, name, &args),
        Some(Val::Optional(_)) => optional(name, &args),
        Some(Val::Quantity(quantity)) => amount(name, *quantity, &args),
        Some(Val::Ip(ip)) => net::ip(run, name, *ip),
        Some(Val::Cidr(cidr)) => net::cidr(run, name, cidr, &args),
        Some(Val::Url(url)) => url::call(run, name, url),
        Some(Val::Semver(version)) => semver::call(name, version, &args),
        Some(Val::Format(format)) => format::call(run, format, &args),
        Some(_) | None => other(run, name, &args),
    }
}

/// What works on values of several types.
fn operator<'a>(run: &mut Run<'a>, name: &str, args: &[Val<'a>]) -> Option<Answer<'a>> {
    Some(match (name, args) {
        ("_==_", [a, b]) => Ok(Val::Bool(run.same(a, b))),
        ("_!=_", [a, b]) => Ok(Val::Bool(!run.same(a, b))),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => arithmetic::compare(name, a, b),
        ("_+_", [Val::List(a), Val::List(b)]) => lists::add(run, a, b),
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [a, b]) => arithmetic::binary(run, name, a, b),
        ("-_" | "!_", [a]) => arithmetic::unary(name, a),
        ("_[_]", [of, key]) => index(of, key),
        ("_?._" | "_[?_]", [of, key]) => Ok(maybe(of, key)),
        ("@in", [key, Val::Map(map)]) => Ok(Val::Bool(map.get(key).is_some())),
        ("@in", [item, Val::List(list)]) => {
            Ok(Val::Bool(list.iter().any(|one| run.same(&one, item))))
        }
        ("size", [Val::Str(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_)]) => {
            Ok(Val::Int(i64::try_from(args[0].size()).unwrap_or(i64::MAX)))
        }
        ("type", [a]) => Ok(Val::Type(a.type_name())),
        ("dyn", [a]) => Ok(a.clone()),
        ("optional.of", [a]) => Ok(Val::some(a.clone())),
        ("optional.ofNonZeroValue", [a]) if a.is_zero() => Ok(Val::Optional(None)),
        ("optional.ofNonZeroValue", [a]) => Ok(Val::some(a.clone())),
        (
            "bool" | "bytes" | "double" | "duration" | "int" | "string" | "timestamp" | "uint",
            [a],
        ) => convert::to(run, name, a),
        _ => return None,
    })
}

fn other<'a>(run: &mut Run<'a>, name: &str, args: &[Val<'a>]) -> Answer<'a> {
    match (name, args) {
        ("optional.none", []) => Ok(Val::Optional(None)),
        ("lists.range", [Val::Int(count)]) => lists::range(run, *count),
        (name, []) => match name.strip_prefix("format.").and_then(format::named) {
            Some(format) => Ok(Val::Format(format)),
            None => Err(no_overload()),
        },
        _ => Err(no_overload()),
    }
}

fn index<'a>(of: &Val<'a>, key: &Val<'a>) -> Answer<'a> {
    match of {
        Val::Map(map) => map.get(key).ok_or_else(|| no_key(key)),
        Val::List(list) => {
            #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
            let at = match key {
                Val::Int(at) => *at,
                Val::Uint(at) => i64::try_from(*at).unwrap_or(i64::MAX),
                Val::Double(at) if at.fract() == 0.0 && at.abs() < 9e18 => *at as i64,
                _ => return Err(no_overload()),
            };
            let found = usize::try_from(at).ok().and_then(|at| list.get(at));
            found.ok_or_else(|| Stop::error(format!("index out of bounds: {at}")))
        }
        Val::Optional(_) => Ok(maybe(of, key)),
        _ => Err(no_overload()),
    }
}

fn optional<'a>(name: &str, args: &[Val<'a>]) -> Answer<'a> {
    match (name, args) {
        ("hasValue", [Val::Optional(inner)]) => Ok(Val::Bool(inner.is_some())),
        ("value", [Val::Optional(Some(inner))]) => Ok((**inner).clone()),
        ("value", [Val::Optional(None)]) => Err(Stop::error("optional.none() dereference")),
        _ => Err(no_overload()),
    }
}

fn amount<'a>(name: &str, a: Quantity, args: &[Val<'a>]) -> Answer<'a> {
    let other = match args.get(1) {
        Some(Val::Quantity(b)) => Some(*b),
        Some(Val::Int(b)) => Some(Quantity::whole(*b)),
        _ => None,
    };
    Ok(match (name, other) {
        ("sign", None) => Val::Int(i64::from(!a.is_zero()) * if a.is_negative() { -1 } else { 1 }),
        ("isGreaterThan", Some(b)) => Val::Bool(a > b),
        ("isLessThan", Some(b)) => Val::Bool(a < b),
        ("compareTo", Some(b)) => Val::Int(a.cmp(&b) as i64),
        ("add", Some(b)) => Val::Quantity(a + b),
        ("sub", Some(b)) => Val::Quantity(a - b),
        ("isInteger", None) => Val::Bool(a.is_whole()),
        ("asInteger", None) if a.is_whole() => Val::Int(a.value()),
        ("asInteger", None) => return Err(Stop::error("cannot convert value to integer")),
        ("asApproximateFloat", None) => Val::Double(a.approximate()),
        _ => return Err(no_overload()),
    })
}

/// The whole name of a type that has one.
pub fn type_name(name: &str) -> &'static str {
    const NAMES: &[&str] = &[
        "null_type",
        "bool",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "google.protobuf.Duration",
        "google.protobuf.Timestamp",
        "list",
        "map",
        "type",
        "optional_type",
        "dyn",
        functions::QUANTITY,
        functions::IP,
        functions::CIDR,
        functions::URL,
        functions::SEMVER,
        functions::FORMAT,
    ];
    NAMES.iter().find(|known| **known == name).unwrap_or(&"dyn")
}

/// A value that is `some` where the text can be read as it.
fn parsed<'a, T>(value: Option<T>, make: impl Fn(T) -> Val<'a>, why: &str) -> Answer<'a> {
    value.map(make).ok_or_else(|| Stop::error(why))
}

/// What tells items of a list apart, for lists that have no order.
fn keyed<'a>(run: &Run<'a>, item: Val<'a>, merge: &super::shape::Merge) -> (Rc<str>, Val<'a>) {
    (identity(&item, merge, run.meter()).into(), item)
}
