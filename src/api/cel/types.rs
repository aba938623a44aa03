//! The types that expressions have, and when one may stand for another.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::shape::{self, Shape};

/// A type.
#[derive(Debug, Clone)]
pub enum Type {
    /// Any type, known when the expression runs.
    Dyn,
    /// What came of something wrong that was already reported.
    Error,
    /// `null`
    Null,
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `uint`
    Uint,
    /// `double`
    Double,
    /// `string`
    Str,
    /// `bytes`
    Bytes,
    /// `duration`
    Duration,
    /// `timestamp`
    Timestamp,
    /// `list(A)`
    List(Arc<Type>),
    /// `map(A, B)`
    Map(Arc<(Type, Type)>),
    /// An object with known fields.
    Object(Arc<Shape>),
    /// The type of a type.
    Type(Arc<Type>),
    /// `optional_type(A)`
    Optional(Arc<Type>),
    /// A type of a library, such as a quantity.
    Opaque(&'static str),
    /// Part of an object that a patch is made of: any field may have any value.
    Part(Arc<str>),
    /// A type that is not known yet.
    Var(u32),
}

impl Type {
    /// A list of items of a type.
    pub fn list(item: Self) -> Self {
        Self::List(Arc::new(item))
    }

    /// A map from a type to another.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    /// A value of a type, or none.
    pub fn optional(inner: Self) -> Self {
        Self::Optional(Arc::new(inner))
    }

    /// The type of values of a shape.
    pub fn of(shape: &Arc<Shape>) -> Self {
        match &shape.kind {
            shape::Kind::Dyn => Self::Dyn,
            shape::Kind::Bool => Self::Bool,
            shape::Kind::Int => Self::Int,
            shape::Kind::Double => Self::Double,
            shape::Kind::Str => Self::Str,
            shape::Kind::Bytes => Self::Bytes,
            shape::Kind::Duration => Self::Duration,
            shape::Kind::Timestamp => Self::Timestamp,
            shape::Kind::List(inner, _) => Self::list(Self::of(inner)),
            shape::Kind::Map(inner) => Self::map(Self::Str, Self::of(inner)),
            shape::Kind::Object(_) => Self::Object(shape.clone()),
        }
    }

    /// Whether the checker knows nothing of it.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    const fn is_nullable(&self) -> bool {
        matches!(
            self,
            Self::Null
                | Self::Object(_)
                | Self::Duration
                | Self::Timestamp
                | Self::Opaque(_)
                | Self::Part(_)
                | Self::Optional(_)
        )
    }

    /// The types that this one is made of.
    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::List(inner) | Self::Type(inner) | Self::Optional(inner) => vec![inner],
            Self::Map(both) => vec![&both.0, &both.1],
            _ => Vec::new(),
        }
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        use Type as T;
        match (self, other) {
            (T::List(a), T::List(b)) | (T::Optional(a), T::Optional(b)) => a == b,
            (T::Type(a), T::Type(b)) => a == b,
            (T::Map(a), T::Map(b)) => a == b,
            (T::Object(a), T::Object(b)) => Arc::ptr_eq(a, b) || a.name() == b.name(),
            (T::Opaque(a), T::Opaque(b)) => a == b,
            (T::Part(a), T::Part(b)) => a == b,
            (T::Var(a), T::Var(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::Str => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("duration"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::List(inner) => write!(f, "list({inner})"),
            Self::Map(both) => write!(f, "map({}, {})", both.0, both.1),
            Self::Object(shape) => f.write_str(shape.name()),
            Self::Type(inner) => write!(f, "type({inner})"),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Opaque(name) => f.write_str(name),
            Self::Part(name) => f.write_str(name),
            Self::Var(n) => write!(f, "_var{n}"),
        }
    }
}

/// What is known of types that were not known.
#[derive(Debug, Default)]
pub struct Mapping {
    known: HashMap<u32, Type>,
    /// What was known before each change, so that a change can be taken back.
    changes: Vec<(u32, Option<Type>)>,
    next: u32,
    /// Types that were looked at since the last question.
    steps: Cell<u32>,
    /// Whether a type was too large to be looked through.
    too_large: Cell<bool>,
}

/// How large a type may be: one that names itself twice at each level has no end.
const SIZE_MAX: u32 = 2_000;

impl Mapping {
    /// A type of which nothing is known.
    pub fn fresh(&mut self) -> Type {
        self.next += 1;
        Type::Var(self.next - 1)
    }

    /// The type with everything put in that is known by now; what is still unknown becomes `dyn`
    /// where `close`.
    pub fn resolve(&self, ty: &Type, close: bool) -> Type {
        self.steps.set(0);
        self.resolved(ty, close)
    }

    /// Whether a type was met that is too large.
    pub const fn is_too_large(&self) -> bool {
        self.too_large.get()
    }

    /// Takes note of a type that is looked at; false if there were too many.
    fn step(&self) -> bool {
        self.steps.set(self.steps.get() + 1);
        let fits = self.steps.get() <= SIZE_MAX;
        self.too_large.set(self.too_large.get() || !fits);
        fits
    }

    fn resolved(&self, ty: &Type, close: bool) -> Type {
        if !self.step() {
            return Type::Error;
        }
        match ty {
            Type::Var(n) => match self.known.get(n) {
                Some(known) => self.resolved(known, close),
                None if close => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(inner) => Type::list(self.resolved(inner, close)),
            Type::Optional(inner) => Type::optional(self.resolved(inner, close)),
            Type::Type(inner) => Type::Type(Arc::new(self.resolved(inner, close))),
            Type::Map(both) => {
                Type::map(self.resolved(&both.0, close), self.resolved(&both.1, close))
            }
            _ => ty.clone(),
        }
    }

    /// Whether values of the types on the left may stand where those on the right are wanted; if
    /// so, what that says of unknown types is kept.
    pub fn assign(&mut self, given: &[Type], wanted: &[Type]) -> bool {
        if given.len() != wanted.len() {
            return false;
        }
        self.changes.clear();
        self.steps.set(0);
        let fits = given.iter().zip(wanted).all(|(given, wanted)| self.fits(given, wanted));
        if !fits {
            while let Some((unknown, before)) = self.changes.pop() {
                match before {
                    Some(before) => self.known.insert(unknown, before),
                    None => self.known.remove(&unknown),
                };
            }
        }
        fits
    }

    fn learn(&mut self, unknown: u32, ty: Type) {
        let before = self.known.insert(unknown, ty);
        self.changes.push((unknown, before));
    }

    fn fits(&mut self, given: &Type, wanted: &Type) -> bool {
        if !self.step() {
            return false;
        }
        if let Type::Var(n) = wanted {
            let (valid, known) = self.stands_for(given, *n);
            if valid || known {
                return valid;
            }
        }
        if let Type::Var(n) = given {
            return self.stands_for(wanted, *n).0;
        }
        if given.is_open() || wanted.is_open() {
            return true;
        }
        match (given, wanted) {
            (Type::Null, other) | (other, Type::Null) => other.is_nullable(),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
                self.fits(a, b)
            }
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            _ => given == wanted,
        }
    }

    /// Whether `ty` may be what the unknown type is, and whether that was known before.
    fn stands_for(&mut self, ty: &Type, unknown: u32) -> (bool, bool) {
        if *ty == Type::Var(unknown) {
            return (true, true);
        }
        if let Some(known) = self.known.get(&unknown).cloned() {
            if *ty == known {
                return (true, true);
            }
            if !self.fits(ty, &known) {
                return (false, true);
            }
            let general = if less_specific(ty, &known) { ty.clone() } else { known };
            if !self.occurs(unknown, &general) {
                self.learn(unknown, general);
            }
            return (true, true);
        }
        if self.occurs(unknown, ty) {
            return (false, false);
        }
        self.learn(unknown, ty.clone());
        (true, false)
    }

    fn occurs(&self, unknown: u32, within: &Type) -> bool {
        if !self.step() {
            return true;
        }
        match within {
            Type::Var(n) if *n == unknown => true,
            Type::Var(n) => self.known.get(n).is_some_and(|known| self.occurs(unknown, known)),
            other => other.parts().into_iter().any(|part| self.occurs(unknown, part)),
        }
    }
}

/// Whether the first type says no more than the second.
pub fn less_specific(one: &Type, other: &Type) -> bool {
    match (one, other) {
        (Type::Dyn | Type::Var(_), _) => true,
        (_, Type::Dyn | Type::Var(_)) => false,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
            less_specific(a, b)
        }
        (Type::Map(a), Type::Map(b)) => less_specific(&a.0, &b.0) && less_specific(&a.1, &b.1),
        (Type::Type(_), Type::Type(_)) => true,
        _ => one == other,
    }
}
