//! What looks like a call and is not: `has`, `all`, `map` and their like, unfolded to loops.

use super::ast::{ACCUMULATOR, Fold, Id, Kind, Literal};
use super::fault::Fault;
use super::parse::Parser;

/// The hidden variable that has what `optMap` looks into.
pub const TARGET: &str = "@target";

type Unfolded = Result<Option<Id>, Fault>;

/// The macros that have no receiver.
pub(super) fn global(parser: &mut Parser, name: &str, args: &[Id], place: u32) -> Unfolded {
    match (name, args) {
        ("has", [arg]) => {
            let Kind::Select { of, field, .. } = parser.tree.kind(*arg).clone() else {
                return Err(wrong(parser, *arg, "invalid argument to has() macro"));
            };
            parser.add(Kind::Select { of, field, test: true }, place).map(Some)
        }
        _ => Ok(None),
    }
}

/// The macros that stand behind a value.
pub(super) fn member(
    parser: &mut Parser,
    target: Id,
    name: &str,
    args: &[Id],
    place: u32,
) -> Unfolded {
    let mut at = Macro { parser, target, place };
    let made = match (name, args) {
        ("all" | "exists" | "exists_one", [var, test]) => {
            let vars = at.one_variable(*var, true)?;
            at.quantifier(name, vars, *test)
        }
        ("all" | "exists" | "exists_one" | "existsOne", [first, second, test]) => {
            let vars = at.two_variables(*first, *second)?;
            at.quantifier(name, vars, *test)
        }
        ("map", [var, value]) => at.list(*var, None, *value),
        ("map", [var, test, value]) => at.list(*var, Some(*test), *value),
        ("filter", [var, test]) => at.list(*var, Some(*test), *var),
        ("transformList", [first, second, rest @ ..]) if matches!(rest.len(), 1 | 2) => {
            let vars = at.two_variables(*first, *second)?;
            let (test, value) = split(rest);
            at.gather(vars, test, value)
        }
        ("transformMap" | "transformMapEntry", [first, second, rest @ ..])
            if matches!(rest.len(), 1 | 2) =>
        {
            let vars = at.two_variables(*first, *second)?;
            let (test, value) = split(rest);
            at.insert(vars, name == "transformMapEntry", test, value)
        }
        ("optMap", [var, value]) => at.optional(*var, *value, true),
        ("optFlatMap", [var, value]) => at.optional(*var, *value, false),
        ("sortBy", [var, key]) => at.sort(*var, *key),
        _ => return Ok(None),
    };
    made.map(Some)
}

fn split(rest: &[Id]) -> (Option<Id>, Id) {
    match rest {
        [test, value] => (Some(*test), *value),
        _ => (None, rest[0]),
    }
}

fn wrong(parser: &Parser, at: Id, why: &str) -> Fault {
    Fault::at(parser.tree.place(at), why)
}

/// The variables of a loop.
type Variables = (String, Option<String>);

struct Macro<'p> {
    parser: &'p mut Parser,
    target: Id,
    place: u32,
}

impl Macro<'_> {
    fn variable(&self, var: Id) -> Result<String, Fault> {
        match self.parser.tree.kind(var) {
            Kind::Ident(name) if name == "__result__" => {
                let why = "iteration variable overwrites accumulator variable";
                Err(wrong(self.parser, var, why))
            }
            Kind::Ident(name) => Ok(name.clone()),
            _ => Err(wrong(self.parser, var, "argument is not an identifier")),
        }
    }

    fn one_variable(&self, var: Id, simple: bool) -> Result<Variables, Fault> {
        let not = |why| match simple {
            true => wrong(self.parser, var, "argument must be a simple name"),
            false => why,
        };
        Ok((self.variable(var).map_err(not)?, None))
    }

    fn two_variables(&self, first: Id, second: Id) -> Result<Variables, Fault> {
        let not = |_| wrong(self.parser, first, "argument must be a simple name");
        let name = self.variable(first).map_err(not)?;
        let not = |_| wrong(self.parser, second, "argument must be a simple name");
        let other = self.variable(second).map_err(not)?;
        if name == other {
            let why = format!("duplicate variable name: {name}");
            return Err(wrong(self.parser, second, &why));
        }
        Ok((name, Some(other)))
    }

    fn literal(&mut self, literal: Literal) -> Result<Id, Fault> {
        self.parser.add(Kind::Literal(literal), self.place)
    }

    fn accumulator(&mut self) -> Result<Id, Fault> {
        self.parser.add(Kind::Ident(ACCUMULATOR.into()), self.place)
    }

    fn call(&mut self, name: &str, args: Vec<Id>) -> Result<Id, Fault> {
        self.parser.call(name, args, self.place)
    }

    fn fold(
        &mut self,
        (first, second): Variables,
        init: Id,
        condition: Option<Id>,
        step: Id,
        result: Id,
    ) -> Result<Id, Fault> {
        let range = self.target;
        let fold = Fold { range, first, second, init, condition, step, result };
        self.parser.add(Kind::Fold(Box::new(fold)), self.place)
    }

    fn quantifier(&mut self, name: &str, vars: Variables, test: Id) -> Result<Id, Fault> {
        let so_far = self.accumulator()?;
        let result = self.accumulator()?;
        let (init, condition, step, result) = match name {
            "all" => {
                let init = self.literal(Literal::Bool(true))?;
                let seen = self.accumulator()?;
                let goes_on = self.call("@not_strictly_false", vec![seen])?;
                (init, Some(goes_on), self.call("_&&_", vec![so_far, test])?, result)
            }
            "exists" => {
                let init = self.literal(Literal::Bool(false))?;
                let seen = self.accumulator()?;
                let not = self.call("!_", vec![seen])?;
                let goes_on = self.call("@not_strictly_false", vec![not])?;
                (init, Some(goes_on), self.call("_||_", vec![so_far, test])?, result)
            }
            _ => {
                let init = self.literal(Literal::Int(0))?;
                let one = self.literal(Literal::Int(1))?;
                let more = self.call("_+_", vec![so_far, one])?;
                let same = self.accumulator()?;
                let step = self.call("_?_:_", vec![test, more, same])?;
                let one = self.literal(Literal::Int(1))?;
                (init, None, step, self.call("_==_", vec![result, one])?)
            }
        };
        self.fold(vars, init, condition, step, result)
    }

    fn list(&mut self, var: Id, test: Option<Id>, value: Id) -> Result<Id, Fault> {
        let vars = self.one_variable(var, false)?;
        self.gather(vars, test, value)
    }

    fn gather(&mut self, vars: Variables, test: Option<Id>, value: Id) -> Result<Id, Fault> {
        let init = self.parser.add(Kind::List(Vec::new()), self.place)?;
        let so_far = self.accumulator()?;
        let item = self.parser.add(Kind::List(vec![(value, false)]), self.place)?;
        let step = self.call("_+_", vec![so_far, item])?;
        let step = self.only_if(test, step)?;
        let result = self.accumulator()?;
        self.fold(vars, init, None, step, result)
    }

    fn only_if(&mut self, test: Option<Id>, step: Id) -> Result<Id, Fault> {
        let Some(test) = test else { return Ok(step) };
        let same = self.accumulator()?;
        self.call("_?_:_", vec![test, step, same])
    }

    fn insert(
        &mut self,
        vars: Variables,
        whole: bool,
        test: Option<Id>,
        value: Id,
    ) -> Result<Id, Fault> {
        let init = self.parser.add(Kind::Map(Vec::new()), self.place)?;
        let so_far = self.accumulator()?;
        let args = match whole {
            true => vec![so_far, value],
            false => {
                let key = self.parser.add(Kind::Ident(vars.0.clone()), self.place)?;
                vec![so_far, key, value]
            }
        };
        let step = self.call("cel.@mapInsert", args)?;
        let step = self.only_if(test, step)?;
        let result = self.accumulator()?;
        self.fold(vars, init, None, step, result)
    }

    /// `target.hasValue() ? optional.of(value of the variable) : optional.none()`, with the target
    /// evaluated once.
    fn optional(&mut self, var: Id, value: Id, wrap: bool) -> Result<Id, Fault> {
        let name = self.variable(var)?;
        let place = self.place;
        let target = |parser: &mut Parser| parser.add(Kind::Ident(TARGET.into()), place);
        let (asked, taken) = (target(self.parser)?, target(self.parser)?);
        let method =
            |name: &str, of| Kind::Call { name: name.into(), target: Some(of), args: Vec::new() };
        let has = self.parser.add(method("hasValue", asked), place)?;
        let taken = self.parser.add(method("value", taken), place)?;
        let inner = self.parser.add(Kind::Bind { name, value: taken, body: value }, place)?;
        let some = match wrap {
            true => self.call("optional.of", vec![inner])?,
            false => inner,
        };
        let none = self.call("optional.none", Vec::new())?;
        let body = self.call("_?_:_", vec![has, some, none])?;
        let bind = Kind::Bind { name: TARGET.into(), value: self.target, body };
        self.parser.add(bind, place)
    }

    /// Sorts by what each item's key expression gives.
    fn sort(&mut self, var: Id, key: Id) -> Result<Id, Fault> {
        const ITEMS: &str = "@items";
        let (range, place) = (self.target, self.place);
        let (source, sorted) = (
            self.parser.add(Kind::Ident(ITEMS.into()), place)?,
            self.parser.add(Kind::Ident(ITEMS.into()), place)?,
        );
        self.target = source;
        let keys = self.list(var, None, key)?;
        let kind = Kind::Call {
            name: "@sortByAssociatedKeys".into(),
            target: Some(sorted),
            args: vec![keys],
        };
        let body = self.parser.add(kind, place)?;
        self.parser.add(Kind::Bind { name: ITEMS.into(), value: range, body }, place)
    }
}
