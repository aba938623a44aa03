//! Texts: the string extension, patterns, and what is read from texts.

use std::rc::Rc;

use crate::api::cel::eval::{Answer, Run, Stop, no_overload};
use crate::api::cel::library::{format, net, parsed, semver, time, url};
use crate::api::cel::value::{List, Val};
use crate::api::quantity::Quantity;

/// How many digits a number may be shown with.
const PRECISION_MAX: usize = 1000;

/// A function whose first argument is a text.
pub fn call<'a>(run: &mut Run<'a>, name: &str, args: &[Val<'a>]) -> Answer<'a> {
    let [Val::Str(text), rest @ ..] = args else { return Err(no_overload()) };
    match (name, rest) {
        ("contains", [Val::Str(part)]) => Ok(Val::Bool(text.contains(&**part))),
        ("startsWith", [Val::Str(part)]) => Ok(Val::Bool(text.starts_with(&**part))),
        ("endsWith", [Val::Str(part)]) => Ok(Val::Bool(text.ends_with(&**part))),
        ("matches", [Val::Str(pattern)]) => Ok(Val::Bool(run.pattern(pattern)?.is_match(text))),
        ("find", [Val::Str(pattern)]) => find(run, text, pattern),
        ("findAll", [Val::Str(pattern)]) => find_all(run, text, pattern, -1),
        ("findAll", [Val::Str(pattern), Val::Int(most)]) => find_all(run, text, pattern, *most),
        ("lowerAscii", []) => run.text(text.to_ascii_lowercase()),
        ("upperAscii", []) => run.text(text.to_ascii_uppercase()),
        ("trim", []) => run.text(text.trim()),
        ("strings.quote", []) => run.text(quote(text)),
        ("charAt" | "substring" | "indexOf" | "lastIndexOf", rest) => part(run, name, text, rest),
        ("replace" | "split", rest) => pieces(run, name, text, rest),
        ("format", [Val::List(list)]) => formatted(run, text, list),
        (name, rest) => read(name, text, rest),
    }
}

/// What a text is read as.
fn read<'a>(name: &str, text: &str, rest: &[Val<'a>]) -> Answer<'a> {
    let lenient = matches!(rest, [Val::Bool(true)]);
    match (name, rest) {
        ("quantity", []) => {
            let why = "quantities must match the regular expression \
                       '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
            parsed(text.parse::<Quantity>().ok(), Val::Quantity, why)
        }
        ("isQuantity", []) => Ok(Val::Bool(text.parse::<Quantity>().is_ok())),
        ("ip", []) => net::parse_ip(text).map(Val::Ip),
        ("isIP", []) => Ok(Val::Bool(net::parse_ip(text).is_ok())),
        ("ip.isCanonical", []) => net::parse_ip(text).map(|ip| Val::Bool(ip.to_string() == text)),
        ("cidr", []) => net::parse_cidr(text).map(Val::Cidr),
        ("isCIDR", []) => Ok(Val::Bool(net::parse_cidr(text).is_ok())),
        ("url", []) => url::parse(text).map(|url| Val::Url(Rc::new(url))),
        ("isURL", []) => Ok(Val::Bool(url::parse(text).is_ok())),
        ("semver", [] | [Val::Bool(_)]) => {
            semver::parse(text, lenient).map(|version| Val::Semver(Rc::new(version)))
        }
        ("isSemver", [] | [Val::Bool(_)]) => Ok(Val::Bool(semver::parse(text, lenient).is_ok())),
        ("format.named", []) => {
            Ok(Val::Optional(format::named(text).map(|format| Rc::new(Val::Format(format)))))
        }
        _ => Err(no_overload()),
    }
}

fn find<'a>(run: &mut Run<'a>, text: &str, pattern: &str) -> Answer<'a> {
    let pattern = run.pattern(pattern)?;
    run.text(pattern.find(text).map_or("", |found| found.as_str()))
}

fn find_all<'a>(run: &mut Run<'a>, text: &str, pattern: &str, most: i64) -> Answer<'a> {
    let pattern = run.pattern(pattern)?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    for one in pattern.find_iter(text).take(most) {
        found.push(run.text(one.as_str())?);
    }
    run.list(found)
}

fn part<'a>(run: &mut Run<'a>, name: &str, text: &str, rest: &[Val<'a>]) -> Answer<'a> {
    match (name, rest) {
        ("charAt", [Val::Int(at)]) => {
            let place = usize::try_from(*at).ok();
            match place.and_then(|place| text.chars().nth(place)) {
                Some(c) => run.text(c.to_string()),
                None if place == Some(text.chars().count()) => run.text(""),
                None => Err(Stop::error(format!("index out of range: {at}"))),
            }
        }
        ("substring", [Val::Int(from)]) => substring(run, text, *from, None),
        ("substring", [Val::Int(from), Val::Int(to)]) => substring(run, text, *from, Some(*to)),
        ("indexOf", [Val::Str(part)]) => Ok(index(text, text.find(&**part))),
        ("indexOf", [Val::Str(part), Val::Int(from)]) => {
            let Some(begin) = begin(text, *from)? else { return Ok(Val::Int(-1)) };
            Ok(index(text, text[begin..].find(&**part).map(|at| at + begin)))
        }
        ("lastIndexOf", [Val::Str(part)]) => Ok(index(text, text.rfind(&**part))),
        ("lastIndexOf", [Val::Str(part), Val::Int(from)]) => {
            let Some(begin) = begin(text, *from)? else { return Ok(Val::Int(-1)) };
            let end = (begin..=text.len().min(begin + part.len()))
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(begin);
            Ok(index(text, text[..end].rfind(&**part)))
        }
        _ => Err(no_overload()),
    }
}

/// Where the character of a number begins.
fn offset(text: &str, at: i64) -> Result<usize, Stop> {
    let wrong = || Stop::error(format!("index out of range: {at}"));
    let place = usize::try_from(at).map_err(|_| wrong())?;
    let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.into_iter().nth(place).ok_or_else(wrong)
}

/// Where a search begins; none beyond the end.
fn begin(text: &str, at: i64) -> Result<Option<usize>, Stop> {
    match offset(text, at) {
        Err(_) if at >= 0 => Ok(None),
        found => found.map(Some),
    }
}

/// A place in bytes as one in characters.
fn index<'a>(text: &str, found: Option<usize>) -> Val<'a> {
    let count = |at: usize| i64::try_from(text[..at].chars().count()).unwrap_or(i64::MAX);
    Val::Int(found.map_or(-1, count))
}

fn substring<'a>(run: &mut Run<'a>, text: &str, from: i64, to: Option<i64>) -> Answer<'a> {
    let begin = offset(text, from)?;
    let end = to.map_or(Ok(text.len()), |to| offset(text, to))?;
    if let Some(to) = to.filter(|to| *to < from) {
        let why = format!("invalid substring range. start: {from}, end: {to}");
        return Err(Stop::error(why));
    }
    run.text(&text[begin..end])
}

fn pieces<'a>(run: &mut Run<'a>, name: &str, text: &str, rest: &[Val<'a>]) -> Answer<'a> {
    match (name, rest) {
        ("replace", [Val::Str(old), Val::Str(new)]) => replace(run, text, old, new, -1),
        ("replace", [Val::Str(old), Val::Str(new), Val::Int(most)]) => {
            replace(run, text, old, new, *most)
        }
        ("split", [Val::Str(between)]) => split(run, text, between, -1),
        ("split", [Val::Str(between), Val::Int(most)]) => split(run, text, between, *most),
        _ => Err(no_overload()),
    }
}

fn replace<'a>(run: &mut Run<'a>, text: &str, old: &str, new: &str, most: i64) -> Answer<'a> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let count = text.matches(old).take(most).count();
    // What comes out is weighed before it is made: it may be far longer than what went in.
    run.weigh((text.len() as u64).saturating_add((count as u64).saturating_mul(new.len() as u64)))?;
    Ok(Val::text(text.replacen(old, new, most)))
}

fn split<'a>(run: &mut Run<'a>, text: &str, between: &str, most: i64) -> Answer<'a> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let parts: Vec<&str> = match (between, most) {
        (_, 0) => Vec::new(),
        ("", most) => characters(text, most),
        (between, most) => text.splitn(most, between).collect(),
    };
    let mut made = Vec::with_capacity(parts.len());
    for part in parts {
        made.push(run.text(part)?);
    }
    run.list(made)
}

/// Each character by itself, and the rest as the last one.
fn characters(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if parts.len() + 1 == most { rest.len() } else { c.len_utf8() };
        parts.push(&rest[..length]);
        rest = &rest[length..];
    }
    parts
}

/// The texts of a list in one.
pub fn join<'a>(run: &mut Run<'a>, list: &List<'a>, between: &str) -> Answer<'a> {
    let mut out = String::new();
    for (at, item) in list.iter().enumerate() {
        let Val::Str(item) = item else { return Err(no_overload()) };
        let between = if at == 0 { "" } else { between };
        run.weigh((between.len() + item.len()) as u64)?;
        out.push_str(between);
        out.push_str(&item);
    }
    Ok(Val::text(out))
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A value as `string()` gives it.
pub fn shown(value: &Val<'_>) -> String {
    match value {
        Val::Str(text) => text.to_string(),
        Val::Bool(b) => b.to_string(),
        Val::Int(i) => i.to_string(),
        Val::Uint(u) => u.to_string(),
        Val::Double(f) => float(*f),
        Val::Duration(nanos) => time::show_duration(*nanos),
        Val::Timestamp(at) => at.to_string(),
        Val::Ip(ip) => ip.to_string(),
        Val::Cidr(cidr) => cidr.to_string(),
        Val::Type(name) => (*name).to_owned(),
        Val::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Val::Null => "null".to_owned(),
        other => other.type_name().to_owned(),
    }
}

/// A float in the shortest form that says it, as Go's `%g` does.
fn float(f: f64) -> String {
    if f.is_nan() {
        return "NaN".to_owned();
    }
    if f.is_infinite() {
        return if f > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    if f != 0.0 && !(1e-4..1e6).contains(&f.abs()) {
        let text = format!("{f:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |e| ("-", e));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{f}")
}

/// `"%s of %d".format([a, b])`
fn formatted<'a>(run: &mut Run<'a>, template: &str, args: &List<'a>) -> Answer<'a> {
    let mut out = String::new();
    let mut rest = template;
    let mut next = 0;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('%') {
            out.push('%');
            rest = behind;
            continue;
        }
        let (precision, behind) = precision(rest)?;
        let clause = behind.chars().next().ok_or_else(|| {
            Stop::error("could not parse formatting clause: unexpected end of string")
        })?;
        rest = &behind[clause.len_utf8()..];
        let arg =
            args.get(next).ok_or_else(|| Stop::error(format!("index {next} out of range")))?;
        next += 1;
        let shown = one(run, clause, precision, &arg)?;
        run.weigh(shown.len() as u64)?;
        out.push_str(&shown);
    }
    out.push_str(rest);
    run.text(out)
}

fn precision(text: &str) -> Result<(usize, &str), Stop> {
    let Some(rest) = text.strip_prefix('.') else { return Ok((6, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let precision = rest[..end].parse().ok().filter(|precision| *precision <= PRECISION_MAX);
    let why = || Stop::error("could not parse formatting clause: error while parsing precision");
    Ok((precision.ok_or_else(why)?, &rest[end..]))
}

fn one(run: &Run<'_>, clause: char, precision: usize, arg: &Val<'_>) -> Result<String, Stop> {
    let wrong = |what: &str| {
        Stop::error(format!("error during formatting: {what}, was given {}", arg.type_name()))
    };
    match (clause, arg) {
        ('s', arg) => literal(run, arg, false).ok_or_else(|| {
            wrong("string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps")
        }),
        ('d', Val::Int(_) | Val::Uint(_)) => Ok(shown(arg)),
        ('d', _) => Err(wrong("decimal clause can only be used on integers")),
        ('f', arg) => match number(arg) {
            Some(f) if f.is_finite() => Ok(format!("{f:.precision$}")),
            Some(f) => Ok(special(f)),
            None => Err(wrong("fixed-point clause can only be used on doubles")),
        },
        ('e', arg) => match number(arg) {
            Some(f) if f.is_finite() => Ok(scientific(f, precision)),
            Some(f) => Ok(special(f)),
            None => Err(wrong("scientific clause can only be used on doubles")),
        },
        ('b', Val::Int(i)) => Ok(radix(*i, |n| format!("{n:b}"))),
        ('b', Val::Uint(u)) => Ok(format!("{u:b}")),
        ('b', Val::Bool(b)) => Ok(u8::from(*b).to_string()),
        ('b', _) => Err(wrong("only integers and bools can be formatted as binary")),
        ('o', Val::Int(i)) => Ok(radix(*i, |n| format!("{n:o}"))),
        ('o', Val::Uint(u)) => Ok(format!("{u:o}")),
        ('o', _) => Err(wrong("octal clause can only be used on integers")),
        ('x' | 'X', arg) => {
            let lower = match arg {
                Val::Int(i) => radix(*i, |n| format!("{n:x}")),
                Val::Uint(u) => format!("{u:x}"),
                Val::Str(text) => text.bytes().map(|b| format!("{b:02x}")).collect(),
                Val::Bytes(bytes) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
                _ => {
                    let what = "only integers, byte buffers, and strings can be formatted as hex";
                    return Err(wrong(what));
                }
            };
            Ok(if clause == 'X' { lower.to_uppercase() } else { lower })
        }
        (other, _) => Err(Stop::error(format!(
            "could not parse formatting clause: unrecognized formatting clause \"{other}\""
        ))),
    }
}

fn radix(number: i64, show: impl Fn(u64) -> String) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", show(number.unsigned_abs()))
}

fn number(arg: &Val<'_>) -> Option<f64> {
    match arg {
        Val::Double(f) => Some(*f),
        Val::Str(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn special(f: f64) -> String {
    if f.is_nan() {
        "NaN".to_owned()
    } else if f > 0.0 {
        "∞".to_owned()
    } else {
        "-∞".to_owned()
    }
}

/// `1.052033×10⁰³`, as Go's printer for languages has it.
fn scientific(f: f64, precision: usize) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let text = format!("{f:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(("", exponent), |e| ("⁻", e));
    let raised = |c: char| c.to_digit(10).map_or(c, |digit| DIGITS[digit as usize]);
    let exponent: String = format!("{exponent:0>2}").chars().map(raised).collect();
    format!("{digits}×10{sign}{exponent}")
}

/// A value as it would stand in an expression; none for those that cannot.
fn literal(run: &Run<'_>, value: &Val<'_>, inner: bool) -> Option<String> {
    let size = if let Val::Str(text) = value { text.len() as u64 } else { 1 };
    if !run.meter().step(size) {
        return None;
    }
    Some(match value {
        Val::Str(text) if inner => format!("{:?}", &**text),
        Val::Bytes(_) if inner => format!("b{:?}", shown(value)),
        Val::Timestamp(_) if inner => format!("timestamp({:?})", shown(value)),
        Val::Duration(_) if inner => format!("duration({:?})", shown(value)),
        Val::Double(f) if inner && f.is_finite() => format!("{f:.6}"),
        Val::Double(f) if inner => format!("{:?}", float(*f)),
        Val::List(list) => {
            let items: Option<Vec<String>> =
                list.iter().map(|item| literal(run, &item, true)).collect();
            format!("[{}]", items?.join(", "))
        }
        Val::Map(map) => {
            let entries = map.entries();
            let mut pairs = entries
                .iter()
                .map(|(key, value)| Some((literal(run, key, true)?, literal(run, value, true)?)))
                .collect::<Option<Vec<_>>>()?;
            pairs.sort();
            let pairs: Vec<String> =
                pairs.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Val::Optional(_)
        | Val::Quantity(_)
        | Val::Ip(_)
        | Val::Cidr(_)
        | Val::Url(_)
        | Val::Semver(_)
        | Val::Format(_)
        | Val::Failed(_) => return None,
        other => shown(other),
    })
}
