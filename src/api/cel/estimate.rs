//! What an expression can cost at most, before it runs: cel-go's estimate, by which Kubernetes
//! decides which rules may be written at all.
//!
//! Sizes come from the schema. Each node's own size, the size of its entries, and the part of the
//! object that it stands for are worked out on the way up.

use std::collections::HashMap;
use std::sync::Arc;

use super::ast::{Fold, Id, Kind, Literal};
use super::check::Checked;
use super::cost::{CHARACTER, LIST, MAP, PATTERN};
use super::shape::{self, Shape};
use super::types::Type;

/// From the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub min: u64,
    /// The most.
    pub max: u64,
}

const UNKNOWN: Range = Range { min: 0, max: u64::MAX };

const fn fixed(n: u64) -> Range {
    Range { min: n, max: n }
}

impl Range {
    const fn add(self, other: Self) -> Self {
        let max = self.max.saturating_add(other.max);
        Self { min: self.min.saturating_add(other.min), max }
    }

    const fn times(self, other: Self) -> Self {
        let max = self.max.saturating_mul(other.max);
        Self { min: self.min.saturating_mul(other.min), max }
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "rounded as upstream does; the cast saturates"
    )]
    fn by(self, factor: f64) -> Self {
        let one = |n: u64| (n as f64 * factor).ceil() as u64;
        Self { min: one(self.min), max: one(self.max) }
    }

    fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// The sizes of a container's keys and values.
#[derive(Debug, Clone, Copy)]
struct Entries {
    is_list: bool,
    key: Range,
    value: Range,
}

/// What is known of a local variable.
#[derive(Debug, Clone, Default)]
struct Local {
    part: Option<Arc<Shape>>,
    size: Option<Range>,
    entries: Option<Entries>,
    /// What reading it costs, where upstream evaluates its value again instead.
    cost: Option<Range>,
}

/// The most that a checked expression can cost, with the shapes of its variables.
pub fn cost(checked: &Checked, shapes: &[(&str, Arc<Shape>)]) -> u64 {
    let mut estimate = Estimate {
        checked,
        shapes,
        locals: Vec::new(),
        parts: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
    };
    estimate.node(checked.tree.root).max
}

struct Estimate<'c> {
    checked: &'c Checked,
    shapes: &'c [(&'c str, Arc<Shape>)],
    locals: Vec<(String, Local)>,
    /// The part of an object that a node stands for.
    parts: HashMap<Id, Arc<Shape>>,
    sizes: HashMap<Id, Range>,
    entries: HashMap<Id, Entries>,
}

impl Estimate<'_> {
    fn ty(&self, id: Id) -> &Type {
        &self.checked.types[id as usize]
    }

    fn local(&self, id: Id) -> Option<&Local> {
        let Kind::Ident(name) = self.checked.tree.kind(id) else { return None };
        self.locals.iter().rev().find(|(known, _)| known == name).map(|(_, local)| local)
    }

    fn part(&self, id: Id) -> Option<Arc<Shape>> {
        match self.local(id) {
            Some(local) => local.part.clone(),
            None => self.parts.get(&id).cloned(),
        }
    }

    fn known(&self, id: Id) -> Option<Range> {
        if let Some(size) = self.sizes.get(&id) {
            return Some(*size);
        }
        let own = match self.checked.tree.kind(id) {
            Kind::Literal(Literal::Str(text)) => Some(text.chars().count() as u64),
            Kind::Literal(Literal::Bytes(bytes)) => Some(bytes.len() as u64),
            Kind::Literal(_) => Some(1),
            Kind::List(items) => Some(items.len() as u64),
            Kind::Map(entries) => Some(entries.len() as u64),
            _ => None,
        };
        let of_part = || self.part(id).map(|part| Range { min: 0, max: part.max });
        own.map(fixed)
            .or_else(of_part)
            .or_else(|| is_scalar(self.ty(id)).then(|| fixed(1)))
            .or_else(|| self.local(id).and_then(|local| local.size))
    }

    fn size(&self, id: Id) -> Range {
        self.known(id).unwrap_or(UNKNOWN)
    }

    fn entries(&self, id: Id) -> Option<Entries> {
        let local = || self.local(id).and_then(|local| local.entries);
        self.entries.get(&id).copied().or_else(local)
    }

    fn node(&mut self, id: Id) -> Range {
        match self.checked.tree.kind(id) {
            Kind::Literal(_) => fixed(0),
            Kind::Ident(name) => {
                let shape = self.shapes.iter().find(|(known, _)| known == name);
                if let (None, Some((_, shape))) = (self.local(id), shape) {
                    self.parts.insert(id, shape.clone());
                }
                self.local(id).and_then(|local| local.cost).unwrap_or(fixed(1))
            }
            Kind::Select { of, field, test } => self.select(id, *of, field, *test),
            Kind::Call { name, target, args } => self.call(id, name, *target, args),
            Kind::List(items) => self.list(id, items),
            Kind::Map(entries) => self.map(id, entries),
            Kind::Struct(_, fields) => {
                let inner = fields.iter().map(|field| self.node(field.value));
                inner.fold(fixed(40), Range::add)
            }
            Kind::Fold(fold) => self.fold(id, fold),
            Kind::Bind { name, value, body } => {
                let of_value = self.node(*value);
                let again = (name == super::macros::TARGET).then_some(of_value);
                let cost = if again.is_some() { fixed(0) } else { fixed(LIST).add(of_value) };
                let local = Local {
                    part: self.part(*value),
                    size: self.known(*value),
                    entries: self.entries(*value),
                    cost: again,
                };
                self.locals.push((name.clone(), local));
                let cost = cost.add(self.node(*body));
                let (size, entries) = (self.known(*body), self.entries(*body));
                self.locals.pop();
                self.keep(id, size, entries);
                cost
            }
        }
    }

    fn keep(&mut self, id: Id, size: Option<Range>, entries: Option<Entries>) {
        if let Some(size) = size {
            self.sizes.insert(id, size);
        }
        if let Some(entries) = entries {
            self.entries.insert(id, entries);
        }
    }

    fn select(&mut self, id: Id, of: Id, field: &str, test: bool) -> Range {
        let cost = self.node(of);
        if test {
            return cost;
        }
        if let Some(part) = self.part(of) {
            let inner = match &part.kind {
                shape::Kind::Object(object) => object.field(field).map(|field| &field.shape),
                _ => None,
            };
            if let Some(inner) = inner {
                self.parts.insert(id, inner.clone());
            }
        }
        let costs = matches!(self.ty(of), Type::Map(_) | Type::Object(_) | Type::Opaque(_));
        cost.add(fixed(u64::from(costs)))
    }

    fn list(&mut self, id: Id, items: &[(Id, bool)]) -> Range {
        let mut cost = fixed(LIST);
        let mut value = Range { min: if items.is_empty() { 0 } else { u64::MAX }, max: 0 };
        for (item, _) in items {
            cost = cost.add(self.node(*item));
            value = value.union(self.size(*item));
        }
        self.entries.insert(id, Entries { is_list: true, key: fixed(1), value });
        cost
    }

    fn map(&mut self, id: Id, entries: &[(Id, Id, bool)]) -> Range {
        let mut cost = fixed(MAP);
        let none = Range { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
        let (mut keys, mut values) = (none, none);
        for (key, value, _) in entries {
            cost = cost.add(self.node(*key));
            cost = cost.add(self.node(*value));
            keys = keys.union(self.size(*key));
            values = values.union(self.size(*value));
        }
        self.entries.insert(id, Entries { is_list: false, key: keys, value: values });
        cost
    }

    fn fold(&mut self, id: Id, fold: &Fold) -> Range {
        let before = self.node(fold.range).add(self.node(fold.init));
        let local = Local {
            size: self.known(fold.init),
            entries: self.entries(fold.init),
            ..Local::default()
        };
        self.locals.push((super::ast::ACCUMULATOR.into(), local));
        let depth = self.locals.len();
        self.rounds(fold);
        let condition = fold.condition.map_or(fixed(0), |condition| self.node(condition));
        let step = self.node(fold.step);
        let gathered = self.entries(fold.step);
        self.locals.truncate(depth);
        let result = self.node(fold.result);
        self.locals.pop();
        let rounds = self.size(fold.range);
        match self.checked.tree.kind(fold.init) {
            Kind::Literal(_) => {
                let size = self.known(fold.init);
                self.keep(id, size, None);
            }
            _ => self.keep(id, Some(rounds), gathered),
        }
        before.add(result).add(rounds.times(step.add(condition)))
    }

    fn rounds(&mut self, fold: &Fold) {
        let entries = self.entries(fold.range);
        let is_list = entries.map_or(matches!(self.ty(fold.range), Type::List(_)), |e| e.is_list);
        let inner = self.part(fold.range).and_then(|part| part.inner().cloned());
        let value = Local { part: inner, size: entries.map(|e| e.value), ..Local::default() };
        // A key's own length is not bounded by anything that a schema says.
        let key = Local { size: entries.map(|entries| entries.key), ..Local::default() };
        match &fold.second {
            Some(second) => {
                let keys = self.part(fold.range).filter(|_| !is_list).map(|_| key_shape());
                self.locals.push((fold.first.clone(), Local { part: keys, ..key }));
                self.locals.push((second.clone(), value));
            }
            None if is_list => self.locals.push((fold.first.clone(), value)),
            None => {
                let keys = self.part(fold.range).map(|_| key_shape());
                self.locals.push((fold.first.clone(), Local { part: keys, ..key }));
            }
        }
    }

    fn call(&mut self, id: Id, name: &str, target: Option<Id>, args: &[Id]) -> Range {
        if name == "dyn" {
            let cost = self.node(args[0]).add(fixed(1));
            let (size, entries) = (self.known(args[0]), self.entries(args[0]));
            self.keep(id, size, entries);
            return cost;
        }
        let costs: Vec<Range> = args.iter().map(|arg| self.node(*arg)).collect();
        let sum = target.map_or(fixed(0), |target| self.node(target));
        let overloads = &self.checked.overloads[id as usize];
        let mut cost = Range { min: u64::MAX, max: 0 };
        let mut size: Option<Range> = None;
        for overload in overloads {
            let call = Call { id, name, overload, target, args };
            let (one, result) = self.overload(&call, &costs);
            cost = cost.union(one);
            size = match (size, result) {
                (Some(size), Some(result)) => Some(size.union(result)),
                (size, result) => size.or(result),
            };
            if matches!(*overload, "index_list" | "index_map") {
                size = self.entries(args[0]).map(|entries| entries.value);
                if let Some(inner) = self.part(args[0]).and_then(|part| part.inner().cloned()) {
                    self.parts.insert(id, inner);
                }
            }
            size = size.or_else(|| self.known(id));
        }
        self.keep(id, size, None);
        sum.add(cost)
    }

    /// The cost of a call by one overload, its arguments included, and the size of its result.
    fn overload(&mut self, call: &Call<'_>, costs: &[Range]) -> (Range, Option<Range>) {
        let all = costs.iter().copied().fold(fixed(0), Range::add);
        if let Some((cost, size)) = self.of_library(call) {
            return (cost.add(all), size);
        }
        if let Some((cost, size)) = self.of_standard(call) {
            return (cost.add(all), size);
        }
        match (call.overload, call.args) {
            ("logical_and" | "logical_or", _) => {
                (Range { min: costs.iter().map(|c| c.min).min().unwrap_or(0), max: all.max }, None)
            }
            ("conditional", [_, yes, no]) => {
                let entries = match (self.entries(*yes), self.entries(*no)) {
                    (Some(yes), Some(no)) => Some(Entries {
                        is_list: yes.is_list,
                        key: yes.key.union(no.key),
                        value: yes.value.union(no.value),
                    }),
                    _ => None,
                };
                self.keep(call.id, None, entries);
                let size = self.size(*yes).union(self.size(*no));
                (costs[0].add(costs[1].union(costs[2])), Some(size))
            }
            ("add_string" | "add_bytes" | "add_list", [a, b]) => {
                let size = self.size(*a).add(self.size(*b));
                if let (Some(a), Some(b)) = (self.entries(*a), self.entries(*b)) {
                    let key = a.key.union(b.key);
                    let value = a.value.union(b.value);
                    self.keep(call.id, None, Some(Entries { is_list: a.is_list, key, value }));
                }
                let own = match call.overload {
                    "add_list" => fixed(1),
                    _ => size.by(CHARACTER),
                };
                (own.add(all), Some(size))
            }
            _ => (fixed(1).add(all), None),
        }
    }

    /// The functions of the standard whose cost depends on sizes.
    fn of_standard(&self, call: &Call<'_>) -> Option<(Range, Option<Range>)> {
        let arg = |at: usize| call.args.get(at).map(|id| self.size(*id));
        let target = || call.target.map(|id| self.size(id));
        let text = |size: Range| size.by(CHARACTER);
        Some(match call.overload {
            "string_format" => (text(target()?), None),
            "string_to_bytes" => {
                let size = arg(0)?;
                let result = Range { min: size.min, max: size.max.saturating_mul(4) };
                (text(size), Some(result))
            }
            "bytes_to_string" => {
                let size = arg(0)?;
                (text(size), Some(Range { min: size.min / 4, max: size.max }))
            }
            "strings_quote" => {
                let size = arg(0)?;
                let max = size.max.saturating_mul(2).saturating_add(2);
                (text(size), Some(Range { min: size.min.saturating_add(2), max }))
            }
            "starts_with_string" | "ends_with_string" => (text(arg(0)?), None),
            "in_list" => (arg(1)?, None),
            "matches" => (matching(arg(0)?, arg(1)?), None),
            "matches_string" => (matching(target()?, arg(0)?), None),
            "contains_string" => (text(target()?).times(text(arg(0)?)), None),
            "equals"
            | "not_equals"
            | "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes" => {
                let most = arg(0)?.max.min(arg(1)?.max);
                (text(Range { min: u64::from(most > 0), max: most }), None)
            }
            _ => return None,
        })
    }

    /// The functions of Kubernetes' libraries and of cel-go's extensions.
    fn of_library(&self, call: &Call<'_>) -> Option<(Range, Option<Range>)> {
        let arg = |at: usize| call.args.get(at).map(|id| self.size(*id));
        let target = || call.target.map(|id| self.size(id));
        let text = |size: Range| size.by(CHARACTER);
        Some(match call.name {
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                (self.going_through(call.target?), None)
            }
            "url" => (text(arg(0)?), arg(0)),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => (text(target()?), target()),
            "replace" if call.args.len() >= 2 => {
                let size = target()?;
                (size.by(2.0 * CHARACTER), Some(replaced(size, arg(0)?, arg(1)?)))
            }
            "split" => {
                let size = target()?;
                let max = call.args.get(1).and_then(|id| self.literal(*id)).unwrap_or(size.max);
                (size.by(2.0 * CHARACTER), Some(Range { min: 0, max }))
            }
            "join" => {
                let size = self.joined(call.target?, arg(0));
                (text(size), Some(size))
            }
            "find" | "findAll" => {
                let max = target()?.max;
                (matching(target()?, arg(0)?), Some(Range { min: 0, max }))
            }
            "ip" if call.overload == "cidr_ip" => (fixed(1), None),
            "ip" | "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver"
            | "isSemver" => (text(arg(0)?), None),
            "ip.isCanonical" => (arg(0)?.by(2.0 * CHARACTER), None),
            "containsIP" | "containsCIDR" => {
                let bytes = Range { min: 4, max: 16 };
                let mut cost = text(bytes.add(bytes));
                if call.name == "containsCIDR" {
                    cost = cost.add(text(bytes)).add(fixed(1));
                }
                let given = call.overload.ends_with("_string");
                (if given { cost.add(text(arg(0)?)) } else { cost }, None)
            }
            "validate" => (text(arg(0)?).by(128.0 * PATTERN), None),
            "_==_" => self.equality(call)?,
            _ => return self.of_lists(call),
        })
    }

    fn of_lists(&self, call: &Call<'_>) -> Option<(Range, Option<Range>)> {
        let size = call.target.or(call.args.first().copied()).map(|id| self.size(id))?;
        let made =
            |size: Range, times: f64| Some((size.by(times).add(fixed(1 + LIST)), Some(size)));
        match call.name {
            "sets.contains" | "sets.intersects" | "sets.equivalent" => {
                let other = self.size(*call.args.get(1)?);
                let times = if call.name == "sets.equivalent" { 2.0 } else { 1.0 };
                Some((size.times(other).by(times).add(fixed(1)), None))
            }
            "distinct" => made(size.times(size), 2.0),
            "sort" | "@sortByAssociatedKeys" => {
                let keys = call.args.first().copied().or(call.target)?;
                let size = self.size(keys);
                let texts = matches!(self.ty(keys), Type::List(item)
                    if matches!(**item, Type::Str | Type::Bytes));
                made(size.times(size), if texts { 2.0 + CHARACTER } else { 2.0 })
            }
            "reverse" => made(size, 1.0),
            "flatten" => {
                let depth = call.args.first().map_or(Some(1), |id| self.literal(*id));
                #[allow(clippy::cast_precision_loss, reason = "a factor")]
                let times = depth.unwrap_or(u64::MAX) as f64;
                made(size, times)
            }
            "slice" => {
                let from = self.literal(*call.args.first()?).unwrap_or(0);
                let to = call.args.get(1).and_then(|id| self.literal(*id)).unwrap_or(size.max);
                made(fixed(to.wrapping_sub(from)), 1.0)
            }
            "lists.range" => {
                made(fixed(self.literal(*call.args.first()?).unwrap_or(u64::MAX)), 1.0)
            }
            _ => None,
        }
    }

    /// Two values of a library are compared at once.
    fn equality(&self, call: &Call<'_>) -> Option<(Range, Option<Range>)> {
        let [a, b] = call.args else { return None };
        match (self.ty(*a), self.ty(*b)) {
            (Type::Opaque(one), Type::Opaque(other)) if one == other => match *one {
                super::functions::FORMAT => Some((Range { min: 1, max: 64 }.by(CHARACTER), None)),
                super::functions::URL => {
                    let max = self.known(*b).map_or(1, |size| size.max);
                    Some((Range { min: 1, max }.by(CHARACTER), None))
                }
                _ => Some((fixed(1), None)),
            },
            _ => None,
        }
    }

    /// Once over a list, or over a text.
    fn going_through(&self, target: Id) -> Range {
        let size = self.size(target);
        match self.ty(target) {
            Type::List(item) if matches!(**item, Type::Str | Type::Bytes) => {
                let inner = self.items(target);
                size.times(fixed(1).add(inner.by(CHARACTER)))
            }
            Type::List(_) => size,
            _ => size.by(CHARACTER),
        }
    }

    /// How large the items of a list are, as far as its schema says.
    fn items(&self, list: Id) -> Range {
        let inner = self.part(list).and_then(|part| part.inner().cloned());
        inner.map_or(UNKNOWN, |inner| Range { min: 0, max: inner.max })
    }

    fn joined(&self, list: Id, between: Option<Range>) -> Range {
        let count = self.size(list);
        let size = count.times(self.items(list));
        let gaps = Range { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
        between.map_or(size, |between| size.add(between.times(gaps)))
    }

    fn literal(&self, id: Id) -> Option<u64> {
        match self.checked.tree.kind(id) {
            Kind::Literal(Literal::Int(n)) => Some(u64::try_from(*n).unwrap_or(0)),
            _ => None,
        }
    }
}

/// A call, by one of its overloads.
struct Call<'c> {
    id: Id,
    name: &'c str,
    overload: &'static str,
    target: Option<Id>,
    args: &'c [Id],
}

/// The keys of maps are texts of which a schema says nothing; upstream reckons them as empty.
fn key_shape() -> Arc<Shape> {
    Arc::new(Shape { kind: shape::Kind::Str, max: 0, size_min: 2 })
}

fn matching(text: Range, pattern: Range) -> Range {
    text.add(fixed(1)).by(CHARACTER).times(pattern.by(PATTERN))
}

fn replaced(size: Range, old: Range, new: Range) -> Range {
    let parts = |size: u64, of: u64| size.div_ceil(of.max(1));
    let (count_max, rest_max) = match old.min {
        0 => (size.max.saturating_add(1), size.max),
        old if new.max <= old => (0, size.max),
        old => (parts(size.max, old), 0),
    };
    let (count_min, rest_min) = match old.max {
        0 => (size.min.saturating_add(1), size.min),
        old if old <= new.min => (0, size.min),
        old => (parts(size.min, old), 0),
    };
    let count = Range { min: count_min, max: count_max };
    count.times(new).add(Range { min: rest_min, max: rest_max })
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => {
            true
        }
        Type::Optional(inner) => is_scalar(inner),
        _ => false,
    }
}
