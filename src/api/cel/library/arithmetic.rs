//! Numbers, times and their order.

use std::cmp::Ordering;

use crate::api::cel::eval::{Answer, Run, Stop, no_overload};
use crate::api::cel::library::time;
use crate::api::cel::value::Val;

/// `<`, `<=`, `>`, `>=`
pub fn compare<'a>(name: &str, a: &Val<'a>, b: &Val<'a>) -> Answer<'a> {
    let order = match (a.compare(b), a, b) {
        (Some(order), ..) => order,
        // A float that is no number is neither more nor less.
        (None, Val::Double(_), Val::Double(_) | Val::Int(_) | Val::Uint(_))
        | (None, Val::Int(_) | Val::Uint(_), Val::Double(_)) => return Ok(Val::Bool(false)),
        _ => return Err(no_overload()),
    };
    Ok(Val::Bool(match name {
        "_<_" => order == Ordering::Less,
        "_<=_" => order != Ordering::Greater,
        "_>_" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

/// `-a`, `!a`
pub fn unary<'a>(name: &str, a: &Val<'a>) -> Answer<'a> {
    match (name, a) {
        ("!_", Val::Bool(b)) => Ok(Val::Bool(!b)),
        ("-_", Val::Int(i)) => i.checked_neg().map(Val::Int).ok_or_else(overflow),
        ("-_", Val::Double(f)) => Ok(Val::Double(-f)),
        _ => Err(no_overload()),
    }
}

/// `+`, `-`, `*`, `/`, `%`
pub fn binary<'a>(run: &mut Run<'a>, name: &str, a: &Val<'a>, b: &Val<'a>) -> Answer<'a> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => signed(name, *a, *b),
        (Val::Uint(a), Val::Uint(b)) => unsigned(name, *a, *b),
        (Val::Double(a), Val::Double(b)) => float(name, *a, *b),
        (Val::Str(a), Val::Str(b)) if name == "_+_" => {
            run.weigh((a.len() + b.len()) as u64)?;
            Ok(Val::text([&**a, &**b].concat()))
        }
        (Val::Bytes(a), Val::Bytes(b)) if name == "_+_" => {
            run.weigh((a.len() + b.len()) as u64)?;
            Ok(Val::Bytes([&**a, &**b].concat().into()))
        }
        (a, b) => time::arithmetic(name, a, b),
    }
}

fn signed<'a>(name: &str, a: i64, b: i64) -> Answer<'a> {
    let result = match name {
        "_+_" => a.checked_add(b),
        "_-_" => a.checked_sub(b),
        "_*_" => a.checked_mul(b),
        "_/_" if b == 0 => return Err(Stop::error("division by zero")),
        "_/_" => a.checked_div(b),
        _ if b == 0 => return Err(Stop::error("modulus by zero")),
        _ => a.checked_rem(b),
    };
    result.map(Val::Int).ok_or_else(overflow)
}

fn unsigned<'a>(name: &str, a: u64, b: u64) -> Answer<'a> {
    let result = match name {
        "_+_" => a.checked_add(b),
        "_-_" => a.checked_sub(b),
        "_*_" => a.checked_mul(b),
        "_/_" if b == 0 => return Err(Stop::error("division by zero")),
        "_/_" => a.checked_div(b),
        _ if b == 0 => return Err(Stop::error("modulus by zero")),
        _ => a.checked_rem(b),
    };
    result.map(Val::Uint).ok_or_else(|| Stop::error("unsigned integer overflow"))
}

fn float<'a>(name: &str, a: f64, b: f64) -> Answer<'a> {
    Ok(Val::Double(match name {
        "_+_" => a + b,
        "_-_" => a - b,
        "_*_" => a * b,
        "_/_" => a / b,
        _ => return Err(no_overload()),
    }))
}

/// The result does not fit.
pub fn overflow() -> Stop {
    Stop::error("integer overflow")
}
