//! Runs a checked expression.
//!
//! Every step costs; an evaluation ends when it has cost what it may. The counts are cel-go's, so
//! that what upstream cuts off is cut off here. Beside them the bytes that an evaluation makes are
//! counted, as some of its functions make much out of little.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use regex::Regex;

use super::ast::{ACCUMULATOR, Fold, Id, Kind, Literal};
use super::macros::TARGET;
use super::value::{Dict, Key, List, Meter, Text, Val, same};
use super::{Program, cost, library};

/// How many bytes an evaluation may make in all.
const BYTES_MAX: u64 = 64 << 20;
/// How many parts of values an evaluation may look at in all.
const STEPS_MAX: u64 = 4_000_000;
/// What making a pattern counts as: as many steps as can be taken meanwhile.
const PATTERN_STEPS: u64 = 20_000;
/// How many bytes of a text are looked at in the time of a step.
const TEXT_STEP: usize = 32;
/// What an item of a made list weighs.
const ITEM_BYTES: u64 = 32;
/// How many patterns are kept that were made while an expression ran.
const PATTERNS_MAX: usize = 64;

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The expression says something that cannot be, such as a division by zero.
    Error(String),
    /// It has cost what it may.
    Limit,
}

impl Stop {
    /// An error.
    pub fn error(why: impl Into<String>) -> Self {
        Self::Error(why.into())
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Error(why) => f.write_str(why),
            Self::Limit => f.write_str("operation cancelled: actual cost limit exceeded"),
        }
    }
}

/// A value, or why there is none.
pub type Answer<'a> = Result<Val<'a>, Stop>;

/// An evaluation that is under way.
pub struct Run<'a> {
    program: &'a Program,
    scope: Vec<(&'a str, Val<'a>)>,
    /// What it has cost so far.
    pub cost: u64,
    limit: u64,
    bytes: u64,
    meter: Meter,
    /// Patterns that were made while it ran.
    patterns: HashMap<String, Regex>,
}

impl<'a> Run<'a> {
    /// Evaluates a program with values for its variables; what it has cost is told in any case.
    pub fn evaluate(
        program: &'a Program,
        variables: Vec<(&'a str, Val<'a>)>,
        limit: u64,
    ) -> (Answer<'a>, u64) {
        let mut run = Self {
            program,
            scope: variables,
            cost: 0,
            limit,
            bytes: 0,
            meter: Meter::new(STEPS_MAX),
            patterns: HashMap::new(),
        };
        let answer = run.node(program.tree().root);
        (answer, run.cost)
    }

    /// Takes note that something costs.
    pub fn charge(&mut self, cost: u64) -> Result<(), Stop> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(Stop::Limit) } else { Ok(()) }
    }

    /// Takes note that bytes are made.
    pub fn weigh(&mut self, bytes: u64) -> Result<(), Stop> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > BYTES_MAX { Err(Stop::Limit) } else { Ok(()) }
    }

    /// Whether two values are equal. An answer counts only while the meter is not spent, which is
    /// asked for after each call.
    pub fn same(&self, one: &Val<'_>, other: &Val<'_>) -> bool {
        same(one, other, &self.meter)
    }

    /// What may still be looked at.
    pub const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// A made text.
    pub fn text(&mut self, text: impl Into<String>) -> Answer<'a> {
        let text = text.into();
        self.weigh(text.len() as u64)?;
        Ok(Val::text(text))
    }

    /// A made list.
    pub fn list(&mut self, items: Vec<Val<'a>>) -> Answer<'a> {
        self.weigh(items.len() as u64 * ITEM_BYTES)?;
        Ok(Val::list(items))
    }

    /// Takes note of items that are about to be made.
    pub fn items(&mut self, count: usize) -> Result<(), Stop> {
        self.weigh(count as u64 * ITEM_BYTES)
    }

    /// The pattern that a text is.
    pub fn pattern(&mut self, text: &str) -> Result<Cow<'a, Regex>, Stop> {
        if let Some(known) = self.program.pattern(text) {
            return Ok(Cow::Borrowed(known));
        }
        if let Some(known) = self.patterns.get(text) {
            return Ok(Cow::Owned(known.clone()));
        }
        if !self.meter.step(PATTERN_STEPS) {
            return Err(Stop::Limit);
        }
        let made = library::regex::compile(text).map_err(Stop::Error)?;
        if self.patterns.len() < PATTERNS_MAX {
            self.patterns.insert(text.to_owned(), made.clone());
        }
        Ok(Cow::Owned(made))
    }

    fn node(&mut self, id: Id) -> Answer<'a> {
        let program = self.program;
        match program.tree().kind(id) {
            Kind::Literal(literal) => Ok(of_literal(literal)),
            Kind::Ident(name) => {
                self.charge(u64::from(!program.is_constant(id) && name != TARGET))?;
                self.named(name)
            }
            Kind::Select { of, field, test } => self.select(*of, field, *test),
            Kind::Call { name, target, args } => self.call(id, name, *target, args),
            Kind::List(items) => {
                self.charge(if program.is_constant(id) { 0 } else { cost::LIST })?;
                self.make_list(items)
            }
            Kind::Map(entries) => {
                self.charge(if program.is_constant(id) { 0 } else { cost::MAP })?;
                self.make_map(entries)
            }
            Kind::Struct(name, _) => Err(Stop::error(format!("unknown type '{name}'"))),
            Kind::Fold(fold) => self.fold(fold),
            Kind::Bind { name, value, body } => {
                let before = self.cost;
                let value = self.node(*value)?;
                if name == TARGET {
                    self.look_again(&value, self.cost - before)?;
                }
                self.scope.push((name, value));
                let answer = self.node(*body);
                self.scope.pop();
                answer
            }
        }
    }

    fn named(&mut self, name: &'a str) -> Answer<'a> {
        if let Some((_, value)) = self.scope.iter().rev().find(|(known, _)| *known == name) {
            return match value {
                Val::Failed(why) => Err(Stop::error(&**why)),
                value => Ok(value.clone()),
            };
        }
        match super::functions::type_named(name) {
            Some(_) => Ok(Val::Type(library::type_name(name))),
            None => Err(Stop::error(format!("no such attribute(s): {name}"))),
        }
    }

    /// Upstream evaluates what `optMap` looks into a second time, if there is something.
    fn look_again(&mut self, value: &Val<'a>, cost: u64) -> Result<(), Stop> {
        match value {
            Val::Optional(Some(_)) => self.charge(cost),
            _ => Ok(()),
        }
    }

    fn select(&mut self, of: Id, field: &'a str, test: bool) -> Answer<'a> {
        let operand = self.node(of)?;
        self.charge(u64::from(!test) + u64::from(!self.program.is_chain(of)))?;
        let key = Val::Str(Text::Of(field));
        match (operand, test) {
            (Val::Optional(None), true) => Ok(Val::Bool(false)),
            (Val::Optional(None), false) => Ok(Val::Optional(None)),
            (Val::Optional(Some(inner)), false) => Ok(maybe(&inner, &key)),
            (Val::Optional(Some(inner)), true) => Ok(Val::Bool(present(&inner, &key))),
            (Val::Map(map), true) => Ok(Val::Bool(map.get(&key).is_some())),
            (Val::Map(map), false) => map.get(&key).ok_or_else(|| no_key(&key)),
            (_, true) => Ok(Val::Bool(false)),
            (_, false) => Err(no_key(&key)),
        }
    }

    fn call(&mut self, id: Id, name: &'a str, target: Option<Id>, args: &'a [Id]) -> Answer<'a> {
        match (name, args) {
            ("_&&_", args) => return self.logical(args, false),
            ("_||_", args) => return self.logical(args, true),
            ("_?_:_", [test, yes, no]) => {
                return match self.node(*test)? {
                    Val::Bool(true) => self.branch(*yes),
                    Val::Bool(false) => self.branch(*no),
                    _ => Err(no_overload()),
                };
            }
            ("@not_strictly_false", [arg]) => {
                self.charge(1)?;
                return match self.node(*arg) {
                    Ok(Val::Bool(false)) => Ok(Val::Bool(false)),
                    Err(Stop::Limit) => Err(Stop::Limit),
                    _ => Ok(Val::Bool(true)),
                };
            }
            ("or" | "orValue", [other]) => {
                if let Some(target) = target {
                    return self.or(name, target, *other);
                }
            }
            _ => {}
        }
        // All arguments are evaluated, and the call is charged, even if one of them fails.
        let mut values = Vec::with_capacity(args.len() + 1);
        let mut failed = None;
        for arg in target.iter().chain(args) {
            match self.node(*arg) {
                Ok(value) => {
                    if let Val::Str(text) = &value {
                        self.meter.step((text.len() / TEXT_STEP) as u64);
                    }
                    values.push(value);
                }
                Err(Stop::Limit) => return Err(Stop::Limit),
                Err(Stop::Error(why)) => {
                    values.push(Val::Failed(why.as_str().into()));
                    failed = failed.or(Some(Stop::Error(why)));
                }
            }
        }
        if self.meter.is_spent() {
            return Err(Stop::Limit);
        }
        self.charge(self.cost_of(id, name, args, &values))?;
        if let Some(why) = failed {
            return Err(why);
        }
        let answer = library::call(self, name, values)?;
        if self.meter.is_spent() {
            return Err(Stop::Limit);
        }
        if name == "join" {
            self.charge(cost::of_text(answer.size(), 2.0))?;
        }
        Ok(answer)
    }

    fn cost_of(&self, id: Id, name: &str, args: &[Id], values: &[Val<'a>]) -> u64 {
        let constant = |id: Id| self.program.is_constant(id);
        // A path that begins with a value rather than with a variable costs one more.
        let apart = |of: Id| u64::from(!self.program.is_chain(of));
        match (name, args) {
            _ if self.program.is_constant(id) => 0,
            ("_[_]", [of, key]) => {
                1 + apart(*of) - u64::from(self.program.is_chain(*key) && !constant(*key))
            }
            ("_?._" | "_[?_]", [of, _]) => match (values.first(), values.get(1)) {
                (Some(from), Some(key)) => u64::from(present(from, key)) + apart(*of),
                _ => 1,
            },
            ("@in", [_, list]) if self.program.is_constant(*list) => {
                u64::from(matches!(values.get(1), Some(Val::Map(_))))
            }
            _ => cost::of_call(name, values, self.program.overloads(id), &self.meter),
        }
    }

    /// One side of a condition: a plain path costs no more than its steps.
    fn branch(&mut self, id: Id) -> Answer<'a> {
        let before = self.cost;
        let answer = self.node(id);
        if self.program.is_chain(id) && self.cost > before {
            self.cost -= 1;
        }
        answer
    }

    /// `&&` and `||`: an error is none where another argument decides.
    fn logical(&mut self, args: &[Id], decisive: bool) -> Answer<'a> {
        let mut failed = None;
        for arg in args {
            match self.node(*arg) {
                Ok(Val::Bool(value)) if value == decisive => return Ok(Val::Bool(decisive)),
                Ok(Val::Bool(_)) => {}
                Err(Stop::Limit) => return Err(Stop::Limit),
                Ok(_) => failed = failed.or(Some(no_overload())),
                Err(why) => failed = failed.or(Some(why)),
            }
        }
        failed.map_or(Ok(Val::Bool(!decisive)), Err)
    }

    fn or(&mut self, name: &str, target: Id, other: Id) -> Answer<'a> {
        match self.node(target)? {
            Val::Optional(Some(inner)) if name == "orValue" => Ok((*inner).clone()),
            found @ Val::Optional(Some(_)) => Ok(found),
            Val::Optional(None) => self.node(other),
            _ => Err(no_overload()),
        }
    }

    fn make_list(&mut self, items: &[(Id, bool)]) -> Answer<'a> {
        let mut made = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match self.node(*item)? {
                Val::Optional(inner) if *optional => {
                    made.extend(inner.map(|inner| (*inner).clone()));
                }
                _ if *optional => return Err(no_overload()),
                value => made.push(value),
            }
        }
        self.list(made)
    }

    fn make_map(&mut self, entries: &[(Id, Id, bool)]) -> Answer<'a> {
        let mut made = std::collections::BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.node(*key)?;
            let key = Key::of(&key).ok_or_else(|| Stop::error("unsupported key type"))?;
            let value = match self.node(*value)? {
                Val::Optional(None) if *optional => continue,
                Val::Optional(Some(inner)) if *optional => (*inner).clone(),
                value => value,
            };
            if made.contains_key(&key) {
                let shown = library::strings::shown(&key.value());
                return Err(Stop::error(format!("Failed with repeated key: {shown}")));
            }
            made.insert(key, value);
        }
        self.items(made.len() * 2)?;
        Ok(Val::Map(Dict::Made(Rc::new(made))))
    }

    fn fold(&mut self, fold: &'a Fold) -> Answer<'a> {
        let range = self.node(fold.range)?;
        let init = self.node(fold.init)?;
        let depth = self.scope.len();
        self.scope.push((ACCUMULATOR, init));
        let answer = self.rounds(fold, &range);
        let answer = answer.and_then(|()| self.node(fold.result));
        self.scope.truncate(depth);
        answer
    }

    fn rounds(&mut self, fold: &'a Fold, range: &Val<'a>) -> Result<(), Stop> {
        match range {
            Val::List(list) => {
                for (at, item) in list.iter().enumerate() {
                    let at = Val::Int(i64::try_from(at).unwrap_or(i64::MAX));
                    let two = fold.second.is_some();
                    let (first, second) = if two { (at, item) } else { (item, Val::Null) };
                    if !self.round(fold, first, second)? {
                        break;
                    }
                }
                Ok(())
            }
            Val::Map(map) => {
                let entries = map.entries();
                self.items(entries.len())?;
                for (key, value) in entries {
                    if !self.round(fold, key, value)? {
                        break;
                    }
                }
                Ok(())
            }
            _ => Err(no_overload()),
        }
    }

    /// One round; false if the loop ends before it.
    fn round(&mut self, fold: &'a Fold, first: Val<'a>, second: Val<'a>) -> Result<bool, Stop> {
        let depth = self.scope.len();
        if let Some(condition) = fold.condition
            && matches!(self.node(condition)?, Val::Bool(false))
        {
            return Ok(false);
        }
        self.scope.push((&fold.first, first));
        if let Some(name) = &fold.second {
            self.scope.push((name, second));
        }
        let step = self.step(fold.step, depth - 1);
        self.scope.truncate(depth);
        match step {
            Ok(Some(value)) => self.scope[depth - 1].1 = value,
            Ok(None) => {}
            // A later round may decide what this one could not.
            Err(Stop::Error(why)) if fold.condition.is_some() => {
                self.scope[depth - 1].1 = Val::Failed(why.into());
            }
            Err(why) => return Err(why),
        }
        Ok(true)
    }

    /// What the accumulator becomes; none if it was changed in its place, which spares copying a
    /// list for each item that is added to it.
    fn step(&mut self, id: Id, accumulator: usize) -> Result<Option<Val<'a>>, Stop> {
        let tree = self.program.tree();
        let is_accumulator = |id: &Id| matches!(tree.kind(*id), Kind::Ident(n) if n == ACCUMULATOR);
        let Kind::Call { name, target: None, args } = tree.kind(id) else {
            return self.node(id).map(Some);
        };
        match (name.as_str(), args.as_slice()) {
            ("_?_:_", [test, yes, no]) if is_accumulator(no) => match self.node(*test)? {
                Val::Bool(true) => self.step(*yes, accumulator),
                Val::Bool(false) => Ok(None),
                _ => Err(no_overload()),
            },
            ("_+_", [before, added]) if is_accumulator(before) => {
                let Kind::List(items) = tree.kind(*added) else {
                    return self.node(id).map(Some);
                };
                let [(item, false)] = items.as_slice() else {
                    return self.node(id).map(Some);
                };
                self.charge(1 + cost::LIST + 1)?;
                let value = self.node(*item)?;
                self.items(1)?;
                if let Val::List(List::Made(items, _)) = &mut self.scope[accumulator].1 {
                    Rc::make_mut(items).push(value);
                }
                Ok(None)
            }
            ("cel.@mapInsert", [before, key, value]) if is_accumulator(before) => {
                let (key, value) = (self.node(*key)?, self.node(*value)?);
                self.charge(2)?;
                self.insert(accumulator, &key, value)?;
                Ok(None)
            }
            ("cel.@mapInsert", [before, entries]) if is_accumulator(before) => {
                let Val::Map(entries) = self.node(*entries)? else { return Err(no_overload()) };
                self.charge(2)?;
                for (key, value) in entries.entries() {
                    self.insert(accumulator, &key, value)?;
                }
                Ok(None)
            }
            _ => self.node(id).map(Some),
        }
    }

    fn insert(&mut self, accumulator: usize, key: &Val<'a>, value: Val<'a>) -> Result<(), Stop> {
        let made = Key::of(key).ok_or_else(|| Stop::error("unsupported key type"))?;
        self.items(2)?;
        if let Val::Map(Dict::Made(map)) = &mut self.scope[accumulator].1 {
            if map.contains_key(&made) {
                let shown = library::strings::shown(key);
                return Err(Stop::error(format!("insert failed: key {shown} already exists")));
            }
            Rc::make_mut(map).insert(made, value);
        }
        Ok(())
    }
}

/// A constant's value.
fn of_literal(literal: &Literal) -> Val<'_> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(b) => Val::Bool(*b),
        Literal::Int(i) => Val::Int(*i),
        Literal::Uint(u) => Val::Uint(*u),
        Literal::Double(f) => Val::Double(*f),
        Literal::Str(text) => Val::Str(Text::Of(text)),
        Literal::Bytes(bytes) => Val::Bytes(bytes.as_slice().into()),
    }
}

/// What a key finds, as an optional value.
pub fn maybe<'a>(of: &Val<'a>, key: &Val<'_>) -> Val<'a> {
    match of {
        Val::Map(map) => Val::Optional(map.get(key).map(Rc::new)),
        Val::List(list) => {
            let at = match key {
                Val::Int(at) => usize::try_from(*at).ok(),
                _ => None,
            };
            Val::Optional(at.and_then(|at| list.get(at)).map(Rc::new))
        }
        Val::Optional(Some(inner)) => maybe(inner, key),
        _ => Val::Optional(None),
    }
}

fn present(of: &Val<'_>, key: &Val<'_>) -> bool {
    matches!(maybe(of, key), Val::Optional(Some(_)))
}

/// Nothing is there by that key.
pub fn no_key(key: &Val<'_>) -> Stop {
    Stop::error(format!("no such key: {}", library::strings::shown(key)))
}

/// The arguments have types that the function does not take.
pub fn no_overload() -> Stop {
    Stop::error("no such overload")
}
