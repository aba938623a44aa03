//! Quantities: exact amounts with a suffix, as `100m`, `1.5Gi`, `2e3`.
//!
//! A quantity is a whole number of billionths; what is finer is rounded away from zero, as
//! Kubernetes does. Printing gives the canonical form of the notation that was read.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use super::tree::Value;

/// How a quantity was written, and is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Notation {
    /// `n`, `u`, `m`, none, `k`, `M`, `G`, `T`, `P`, `E`.
    #[default]
    Decimal,
    /// `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`.
    Binary,
    /// `e3`, `E6`.
    Exponent,
}

/// An exact amount.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    notation: Notation,
}

/// Text that is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "quantities must match the regular expression \
     '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)]
pub struct ParseError;

const NANO: i128 = 1_000_000_000;
/// The largest amount that Kubernetes can hold; larger ones are cut to it.
const NANOS_MAX: i128 = i64::MAX as i128 * NANO;
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// What a suffix multiplies by: two to a power, or ten to one.
enum Scale {
    Two(u32),
    Ten(i32),
}

impl Quantity {
    /// A whole amount.
    pub const fn whole(amount: i64) -> Self {
        Self { nanos: amount as i128 * NANO, notation: Notation::Decimal }
    }

    /// An amount in thousandths.
    pub const fn milli(amount: i64) -> Self {
        Self { nanos: amount as i128 * 1_000_000, notation: Notation::Decimal }
    }

    /// An amount of bytes, printed with binary suffixes.
    pub const fn bytes(amount: i64) -> Self {
        Self { nanos: amount as i128 * NANO, notation: Notation::Binary }
    }

    /// The amount that stands in an object: a text or a number.
    ///
    /// # Errors
    /// When it is neither, or text that is not a quantity.
    pub fn of(value: &Value) -> Result<Self, ParseError> {
        match value {
            Value::Str(text) => text.trim().parse(),
            Value::Int(number) => Ok(Self::whole(*number)),
            Value::Float(_) => value.to_string().parse(),
            _ => Err(ParseError),
        }
    }

    /// The amount rounded away from zero to whole thousandths, the finest that resource lists keep.
    pub fn rounded_to_milli(self) -> Self {
        const MILLI: i128 = 1_000_000;
        let milli = self.nanos / MILLI + (self.nanos % MILLI).signum();
        Self { nanos: milli * MILLI, ..self }
    }

    /// The amount rounded up to a whole number, in its notation.
    pub fn rounded_up(self) -> Self {
        Self { nanos: i128::from(self.value()) * NANO, ..self }
    }

    /// Whether the amount is a whole number.
    pub const fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// The amount rounded up to a whole number.
    pub fn value(self) -> i64 {
        self.scaled(NANO)
    }

    /// The amount in thousandths, rounded up.
    pub fn milli_value(self) -> i64 {
        self.scaled(1_000_000)
    }

    /// The amount in units of `unit`, rounded up; zero for a `unit` that is not positive.
    pub fn per(self, unit: Self) -> i64 {
        if unit.nanos > 0 { self.scaled(unit.nanos) } else { 0 }
    }

    /// How many times `other` this is, as near as a float can say.
    #[allow(clippy::cast_precision_loss, reason = "the nearest float is what is wanted")]
    pub fn ratio_to(self, other: Self) -> f64 {
        self.nanos as f64 / other.nanos as f64
    }

    fn scaled(self, unit: i128) -> i64 {
        let up = self.nanos.div_euclid(unit) + i128::from(self.nanos.rem_euclid(unit) != 0);
        i64::try_from(up).unwrap_or(if up > 0 { i64::MAX } else { i64::MIN })
    }

    /// The amount as a float.
    #[allow(clippy::cast_precision_loss, reason = "as near as a float comes")]
    pub fn approximate(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Whether the amount is zero.
    pub const fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether the amount is below zero.
    pub const fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// How the quantity was written.
    pub const fn notation(self) -> Notation {
        self.notation
    }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(ParseError);
        }
        let (scale, notation) = parse_suffix(suffix)?;
        let nanos = magnitude(whole, fraction, &scale).min(NANOS_MAX);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, notation })
    }
}

fn parse_suffix(suffix: &str) -> Result<(Scale, Notation), ParseError> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Scale::Ten(*power), Notation::Decimal));
    }
    if let Some(at) = BINARY.iter().position(|name| *name == suffix) {
        let power = u32::try_from(at + 1).unwrap_or(1) * 10;
        return Ok((Scale::Two(power), Notation::Binary));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseError)?;
    let power: i32 = exponent.parse().map_err(|_| ParseError)?;
    Ok((Scale::Ten(power.clamp(-100, 100)), Notation::Exponent))
}

/// The amount in billionths, rounded up; saturates beyond [`NANOS_MAX`].
fn magnitude(whole: &str, fraction: &str, scale: &Scale) -> i128 {
    let digits: String = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    let point = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let (shift, factor) = match scale {
        Scale::Ten(power) => (9 + power - point, 1),
        Scale::Two(power) => (9 - point, 1i128 << power),
    };
    // More digits than this are beyond the largest amount whatever the suffix, or below a
    // billionth.
    const DIGITS_MAX: usize = 30;
    let used = &digits[..digits.len().min(DIGITS_MAX)];
    let dropped = digits.len() - used.len();
    let inexact = digits[used.len()..].bytes().any(|digit| digit != b'0');
    let number: i128 = used.parse().unwrap_or(0);
    let shift = shift.saturating_add(i32::try_from(dropped).unwrap_or(i32::MAX));
    let Some(product) = number.checked_mul(factor) else { return NANOS_MAX };
    shifted(product, shift, inexact)
}

/// `number` times ten to the `shift`, rounded up.
fn shifted(number: i128, shift: i32, inexact: bool) -> i128 {
    let ten = 10i128.checked_pow(shift.unsigned_abs());
    match (ten, shift >= 0) {
        _ if number == 0 => i128::from(inexact && shift < 0),
        (Some(ten), true) => number.checked_mul(ten).unwrap_or(NANOS_MAX),
        (None, true) => NANOS_MAX,
        (Some(ten), false) => number / ten + i128::from(number % ten != 0 || inexact),
        (None, false) => 1,
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANO;
        match self.notation {
            Notation::Binary if !small && self.is_whole() => self.write_binary(f),
            Notation::Exponent => self.write_decimal(f, true),
            _ => self.write_decimal(f, false),
        }
    }
}

impl Quantity {
    fn write_binary(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = i128::from(self.value());
        let mut suffix = "";
        for name in BINARY {
            if number % 1024 != 0 {
                break;
            }
            number /= 1024;
            suffix = name;
        }
        write!(f, "{number}{suffix}")
    }

    fn write_decimal(self, f: &mut fmt::Formatter<'_>, exponent: bool) -> fmt::Result {
        let mut number = self.nanos;
        let mut at = 0;
        while number % 1000 == 0 && at + 1 < DECIMAL.len() {
            number /= 1000;
            at += 1;
        }
        let (suffix, power) = DECIMAL[at];
        match (exponent, power) {
            (true, 0) | (false, _) => write!(f, "{number}{suffix}"),
            (true, power) => write!(f, "{number}e{power}"),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// The notation is the left side's, or the right side's where the left is zero.
impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let notation = if self.is_zero() { other.notation } else { self.notation };
        Self { nanos: self.nanos.saturating_add(other.nanos), notation }
    }
}

/// The notation is the left side's.
impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_sub(other.nanos), ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn prints_the_canonical_form() {
        let cases = [
            ("0", "0"),
            ("0Ki", "0"),
            ("1", "1"),
            ("-1.5", "-1500m"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("0.5Ki", "512"),
            ("1.5Gi", "1536Mi"),
            ("1023Ki", "1023Ki"),
            ("12e6", "12e6"),
            ("1e3", "1e3"),
            ("1E", "1E"),
            ("1E3", "1e3"),
            ("100e-3", "100e-3"),
            ("123450000", "123450k"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            (".5", "500m"),
            ("1.", "1"),
            ("+5", "5"),
            ("00012", "12"),
            ("0.3Gi", "322122547200m"),
            ("1.0001Ki", "1024102400u"),
            ("1000Ki", "1000Ki"),
            ("8Ei", "9223372036854775807"),
        ];
        for (text, canonical) in cases {
            assert_eq!(quantity(text).to_string(), canonical, "{text}");
            assert_eq!(quantity(canonical), quantity(text), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for text in
            ["", "-", ".", "1.2.3", "abc", "1 Gi", "1Kii", "1e", "1e1.5", "--1", "1ki", "１"]
        {
            assert_eq!(text.parse::<Quantity>(), Err(ParseError), "{text}");
        }
    }

    #[test]
    fn rounds_up_and_saturates() {
        assert_eq!(quantity("1001m").value(), 2);
        assert_eq!(quantity("-1001m").value(), -1);
        assert_eq!(quantity("1500u").milli_value(), 2);
        assert_eq!(quantity("100Ei").value(), i64::MAX);
        assert_eq!(quantity(&"9".repeat(200)).value(), i64::MAX);
        assert_eq!(quantity("1e400").value(), i64::MAX);
        assert_eq!(quantity("1e-400").to_string(), "1e-9");
        assert_eq!(quantity("64Mi").per(quantity("1Mi")), 64);
        assert_eq!(quantity("1250m").per(quantity("1")), 2);
        assert_eq!(quantity("1250m").per(quantity("1m")), 1250);
    }

    #[test]
    fn adds_subtracts_and_compares() {
        let sum = quantity("0") + quantity("1Gi") + quantity("512Mi");
        assert_eq!(sum.to_string(), "1536Mi");
        assert_eq!((quantity("2") - quantity("500m")).to_string(), "1500m");
        assert!(quantity("1Gi") > quantity("1G"));
        assert_eq!(quantity("1"), quantity("1000m"));
    }

    #[test]
    fn reads_what_stands_in_objects() {
        assert_eq!(Quantity::of(&Value::Float(0.25)).unwrap().milli_value(), 250);
        assert_eq!(Quantity::of(&Value::Int(2)).unwrap(), quantity("2"));
        assert!(Quantity::of(&Value::Bool(true)).is_err());
        assert_eq!(quantity("100n").rounded_to_milli().to_string(), "1m");
        assert_eq!(quantity("-1.5").rounded_to_milli(), quantity("-1.5"));
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_a_fixed_point(
            text in "[-+]?[0-9]{0,12}(\\.[0-9]{0,12})?([numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9])?"
        ) {
            if let Ok(amount) = text.parse::<Quantity>() {
                let shown = amount.to_string();
                prop_assert_eq!(quantity(&shown), amount, "{} -> {}", text, shown);
                prop_assert_eq!(quantity(&shown).to_string(), shown);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = text.parse::<Quantity>();
        }

        #[test]
        fn sums_come_back(a in any::<i32>(), b in any::<i32>()) {
            let (a, b) = (Quantity::milli(a.into()), Quantity::milli(b.into()));
            prop_assert_eq!(a + b - b, a);
            prop_assert_eq!(a.cmp(&b), a.milli_value().cmp(&b.milli_value()));
        }
    }
}
