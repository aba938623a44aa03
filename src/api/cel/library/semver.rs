//! Semantic versions, of semver.org 2.0.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

use crate::api::cel::eval::{Answer, Stop, no_overload};
use crate::api::cel::value::Val;

/// A version.
#[derive(Debug, Clone)]
pub struct Version {
    numbers: [u64; 3],
    before: Vec<String>,
    build: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.before.is_empty() {
            write!(f, "-{}", self.before.join("."))?;
        }
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}

impl Version {
    /// The order of versions; what they were built from does not count.
    pub fn order(&self, other: &Self) -> Ordering {
        let releases = match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self
                .before
                .iter()
                .zip(&other.before)
                .map(|(one, other)| identifiers(one, other))
                .find(|order| order.is_ne())
                .unwrap_or(self.before.len().cmp(&other.before.len())),
        };
        self.numbers.cmp(&other.numbers).then(releases)
    }
}

/// Numbers stand before words.
fn identifiers(one: &str, other: &str) -> Ordering {
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => one.cmp(other),
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Reads a version; `1.2` and `v1.02.3` too where `lenient`.
///
/// # Errors
/// Why it is none.
pub fn parse(text: &str, lenient: bool) -> Result<Version, Stop> {
    let filled = if lenient { fill(text)? } else { text.to_owned() };
    strict(&filled)
}

fn fill(text: &str) -> Result<String, Stop> {
    let mut parts: Vec<String> =
        text.strip_prefix('v').unwrap_or(text).splitn(3, '.').map(str::to_owned).collect();
    for part in parts.iter_mut().filter(|part| part.len() > 1) {
        let trimmed = part.trim_start_matches('0');
        *part = match trimmed.starts_with(|c: char| c.is_ascii_digit()) {
            true => trimmed.to_owned(),
            false => format!("0{trimmed}"),
        };
    }
    if parts.len() < 3 && parts.last().is_some_and(|part| part.contains(['+', '-'])) {
        let why = "short version cannot contain PreRelease/Build meta data";
        return Err(Stop::error(why));
    }
    parts.resize(3.max(parts.len()), "0".to_owned());
    Ok(parts.join("."))
}

fn strict(text: &str) -> Result<Version, Stop> {
    if text.is_empty() {
        return Err(Stop::error("Version string empty"));
    }
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let [major, minor, rest] = parts.as_slice() else {
        return Err(Stop::error("No Major.Minor.Patch elements found"));
    };
    let (rest, build) = rest.split_once('+').map_or((*rest, None), |(a, b)| (a, Some(b)));
    let (patch, before) = rest.split_once('-').map_or((rest, None), |(a, b)| (a, Some(b)));
    let numbers = [digits(major, "Major")?, digits(minor, "Minor")?, digits(patch, "Patch")?];
    let before: Vec<String> =
        before.map(|text| text.split('.').map(str::to_owned).collect()).unwrap_or_default();
    for part in &before {
        identifier(part, "Prerelease")?;
        if part.len() > 1 && part.starts_with('0') && number(part).is_some() {
            let why =
                format!("Numeric PreRelease version must not contain leading zeroes {part:?}");
            return Err(Stop::error(why));
        }
    }
    for part in build.into_iter().flat_map(|text| text.split('.')) {
        identifier(part, "Build meta data")?;
    }
    Ok(Version { numbers, before, build: build.unwrap_or_default().to_owned() })
}

fn digits(text: &str, part: &str) -> Result<u64, Stop> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Stop::error(format!("Invalid character(s) found in {part} number {text:?}")));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(Stop::error(format!("{part} number must not contain leading zeroes {text:?}")));
    }
    text.parse().map_err(|_| {
        Stop::error(format!("strconv.ParseUint: parsing {text:?}: value out of range"))
    })
}

fn identifier(text: &str, what: &str) -> Result<(), Stop> {
    if text.is_empty() {
        return Err(Stop::error(format!("{what} is empty")));
    }
    match text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        true => Ok(()),
        false => Err(Stop::error(format!("Invalid character(s) found in {what} {text:?}"))),
    }
}

/// A function of a version.
pub fn call<'a>(name: &str, version: &Rc<Version>, args: &[Val<'a>]) -> Answer<'a> {
    let part = |at: usize| Val::Int(i64::try_from(version.numbers[at]).unwrap_or(i64::MAX));
    Ok(match (name, args.get(1)) {
        ("major", None) => part(0),
        ("minor", None) => part(1),
        ("patch", None) => part(2),
        ("compareTo", Some(Val::Semver(other))) => Val::Int(version.order(other) as i64),
        ("isLessThan", Some(Val::Semver(other))) => Val::Bool(version.order(other).is_lt()),
        ("isGreaterThan", Some(Val::Semver(other))) => Val::Bool(version.order(other).is_gt()),
        _ => return Err(no_overload()),
    })
}
