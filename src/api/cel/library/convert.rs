//! Values of one type as values of another.

use crate::api::cel::eval::{Answer, Run, Stop, no_overload};
use crate::api::cel::library::{strings, time};
use crate::api::cel::value::Val;

/// `int(x)`, `string(x)` and their like.
pub fn to<'a>(run: &mut Run<'a>, name: &str, a: &Val<'a>) -> Answer<'a> {
    match (name, a) {
        ("bool", Val::Bool(_))
        | ("bytes", Val::Bytes(_))
        | ("double", Val::Double(_))
        | ("duration", Val::Duration(_))
        | ("int", Val::Int(_))
        | ("string", Val::Str(_))
        | ("timestamp", Val::Timestamp(_))
        | ("uint", Val::Uint(_)) => Ok(a.clone()),
        ("bool", Val::Str(text)) => boolean(text),
        ("bytes", Val::Str(text)) => {
            run.weigh(text.len() as u64)?;
            Ok(Val::Bytes(text.as_bytes().into()))
        }
        ("double", a) => double(a),
        ("int", a) => int(a),
        ("uint", a) => uint(a),
        ("string", a) => string(run, a),
        ("duration", Val::Int(i)) => Ok(Val::Duration(*i)),
        ("duration", Val::Str(text)) => time::duration(text)
            .map(Val::Duration)
            .ok_or_else(|| unreadable("google.protobuf.Duration")),
        ("timestamp", Val::Int(i)) => time::of_seconds(*i).map(Val::Timestamp),
        ("timestamp", Val::Str(text)) => time::timestamp(text)
            .map(Val::Timestamp)
            .ok_or_else(|| unreadable("google.protobuf.Timestamp")),
        _ => Err(no_overload()),
    }
}

fn boolean<'a>(text: &str) -> Answer<'a> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
        _ => Err(unreadable("bool")),
    }
}

#[allow(clippy::cast_precision_loss, reason = "as asked for")]
fn double<'a>(a: &Val<'a>) -> Answer<'a> {
    match a {
        Val::Int(i) => Ok(Val::Double(*i as f64)),
        Val::Uint(u) => Ok(Val::Double(*u as f64)),
        Val::Str(text) => text.parse().map(Val::Double).map_err(|_| unreadable("double")),
        _ => Err(no_overload()),
    }
}

fn int<'a>(a: &Val<'a>) -> Answer<'a> {
    match a {
        Val::Uint(u) => {
            i64::try_from(*u).map(Val::Int).map_err(|_| Stop::error("integer overflow"))
        }
        #[allow(clippy::cast_possible_truncation, reason = "checked to be in range")]
        Val::Double(f) if f.is_finite() && f.abs() < 9_223_372_036_854_775_808.0 => {
            Ok(Val::Int(*f as i64))
        }
        Val::Double(_) => Err(Stop::error("integer overflow")),
        Val::Duration(nanos) => Ok(Val::Int(*nanos)),
        Val::Timestamp(at) => Ok(Val::Int(at.as_second() - i64::from(at.subsec_nanosecond() < 0))),
        Val::Str(text) => text.parse().map(Val::Int).map_err(|_| unreadable("int")),
        _ => Err(no_overload()),
    }
}

/// A text that is no value of a type.
fn unreadable(ty: &str) -> Stop {
    Stop::error(format!("type conversion error from 'string' to '{ty}'"))
}

fn uint<'a>(a: &Val<'a>) -> Answer<'a> {
    let overflow = || Stop::error("unsigned integer overflow");
    match a {
        Val::Int(i) => u64::try_from(*i).map(Val::Uint).map_err(|_| overflow()),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        Val::Double(f) if *f >= 0.0 && *f < 18_446_744_073_709_551_616.0 => {
            Ok(Val::Uint(*f as u64))
        }
        Val::Double(_) => Err(overflow()),
        Val::Str(text) => text.parse().map(Val::Uint).map_err(|_| unreadable("uint")),
        _ => Err(no_overload()),
    }
}

fn string<'a>(run: &mut Run<'a>, a: &Val<'a>) -> Answer<'a> {
    let text = match a {
        Val::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return Err(Stop::error("invalid UTF-8 in bytes, cannot convert to string")),
        },
        Val::Bool(_)
        | Val::Int(_)
        | Val::Uint(_)
        | Val::Double(_)
        | Val::Duration(_)
        | Val::Timestamp(_)
        | Val::Ip(_)
        | Val::Cidr(_) => strings::shown(a),
        _ => return Err(no_overload()),
    };
    run.text(text)
}
