//! What each call costs when it runs, as cel-go and Kubernetes' libraries count it.

use super::value::{Meter, Val};

/// What it costs to make a list.
pub const LIST: u64 = 10;
/// What it costs to make a map.
pub const MAP: u64 = 30;
/// What it costs to go over a character.
pub const CHARACTER: f64 = 0.1;
/// What it costs to match a character of a pattern.
pub const PATTERN: f64 = 0.25;

/// What it costs to go `times` over a text of a size.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sizes are positive and small; the cast saturates"
)]
pub fn of_text(size: u64, times: f64) -> u64 {
    (size as f64 * CHARACTER * times).ceil() as u64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sizes are positive and small; the cast saturates"
)]
fn of_pattern(size: u64) -> u64 {
    (size as f64 * PATTERN).ceil() as u64
}

/// What a call costs, before it is made.
pub fn of_call(name: &str, args: &[Val<'_>], overloads: &[&str], meter: &Meter) -> u64 {
    let size = |at: usize| args.get(at).map_or(1, Val::size);
    let matched = || of_text(1 + size(0), 1.0) * of_pattern(size(1));
    let is_text = |at: usize| matches!(args.get(at), Some(Val::Str(_) | Val::Bytes(_)));
    match name {
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            args.first().map_or(1, |list| traversal(list, meter))
        }
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "cidr" | "isIP" | "isCIDR"
        | "quantity" | "isQuantity" | "semver" | "isSemver" => of_text(size(0), 1.0),
        "ip" if is_text(0) => of_text(size(0), 1.0),
        "replace" | "split" | "ip.isCanonical" => of_text(size(0), 2.0),
        "join" => 0,
        "find" | "findAll" | "matches" => matched(),
        "containsIP" => {
            of_text(size(0) * 2, 1.0) + if is_text(1) { of_text(size(1), 1.0) } else { 0 }
        }
        "containsCIDR" => {
            let text = if is_text(1) { of_text(size(1), 1.0) } else { 0 };
            of_text(size(0) * 2, 1.0) + of_text(size(0), 1.0) + 1 + text
        }
        "validate" => match args.first() {
            Some(Val::Format(format)) => {
                of_text(1 + size(1), 1.0) * of_pattern(format.pattern_size)
            }
            _ => 1,
        },
        "startsWith" | "endsWith" => of_text(size(1), 1.0),
        "contains" => of_text(size(0), 1.0) * of_text(size(1), 1.0),
        "bytes" | "string" if overloads.len() == 1 && conversion(overloads[0]) => {
            of_text(size(0), 1.0)
        }
        "strings.quote" | "format" => of_text(size(0), 1.0),
        "@in" if matches!(args.get(1), Some(Val::List(_))) => size(1),
        "_==_" | "_!=_" => match args.first() {
            Some(
                Val::Quantity(_)
                | Val::Ip(_)
                | Val::Cidr(_)
                | Val::Format(_)
                | Val::Url(_)
                | Val::Semver(_),
            ) if name == "_==_" => 1,
            _ => of_text(size(0).min(size(1)), 1.0),
        },
        "_<_" | "_<=_" | "_>_" | "_>=_" if is_text(0) && is_text(1) => {
            of_text(size(0).min(size(1)), 1.0)
        }
        "_+_" if is_text(0) && is_text(1) => of_text(size(0) + size(1), 1.0),
        "sets.contains" | "sets.intersects" => 1 + size(0).saturating_mul(size(1)),
        "sets.equivalent" => 1 + size(0).saturating_mul(size(1)).saturating_mul(2),
        "distinct" | "sort" => comparing(args.first()),
        "@sortByAssociatedKeys" => comparing(args.get(1)),
        "flatten" => {
            let depth = if args.len() == 2 { number(args.get(1)).unwrap_or(1) } else { 1 };
            1 + LIST + size(0).saturating_mul(depth)
        }
        "reverse" => 1 + LIST + size(0),
        "slice" => 1 + LIST + range(args),
        "lists.range" => 1 + LIST + number(args.first()).unwrap_or(1),
        _ => 1,
    }
}

/// What it costs to compare each item of a list with each other.
fn comparing(list: Option<&Val<'_>>) -> u64 {
    let Some(Val::List(list)) = list else { return 1 };
    let size = list.len() as u64;
    let pairs = size.saturating_mul(size);
    let texts = matches!(list.get(0), Some(Val::Str(_) | Val::Bytes(_)));
    let more = if texts { pairs / 10 } else { 0 };
    (1 + LIST).saturating_add(pairs.saturating_mul(2)).saturating_add(more)
}

fn conversion(overload: &str) -> bool {
    matches!(overload, "string_to_bytes" | "bytes_to_string")
}

/// A number that is not negative.
fn number(value: Option<&Val<'_>>) -> Option<u64> {
    match value {
        Some(Val::Int(n)) => u64::try_from(*n).ok(),
        _ => None,
    }
}

/// How many items a slice takes; one where it is none, as for any error.
fn range(args: &[Val<'_>]) -> u64 {
    let (from, to) = (number(args.get(1)), number(args.get(2)));
    let most = args.first().map_or(0, Val::size);
    let count = to.filter(|to| *to <= most).and_then(|to| to.checked_sub(from?));
    count.unwrap_or(1)
}

/// What it costs to go over everything that a value is made of.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sizes are positive and small; the cast saturates"
)]
fn traversal(value: &Val<'_>, meter: &Meter) -> u64 {
    if !meter.step(1) {
        return 0;
    }
    match value {
        Val::Str(text) => (text.len() as f64 * CHARACTER) as u64,
        Val::Bytes(bytes) => (bytes.len() as f64 * CHARACTER) as u64,
        Val::List(list) => list.iter().map(|item| traversal(&item, meter)).sum(),
        Val::Map(map) => {
            let entries = map.entries();
            entries.iter().map(|(key, value)| traversal(key, meter) + traversal(value, meter)).sum()
        }
        _ => 1,
    }
}
