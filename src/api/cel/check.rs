//! Whether an expression makes sense before it runs: what each part of it is, in an environment
//! of declared variables.

use std::sync::{Arc, LazyLock};

use super::ast::{ACCUMULATOR, Fold, Id, Kind, Literal, Made, Tree};
use super::fault::Fault;
use super::functions::{ESCAPE_KEY, FUNCTIONS, Overload, is_object, type_named};
use super::shape::{self, Shape};
use super::types::{Mapping, Type, less_specific};

/// How many faults are told: one that is everywhere is not told everywhere.
const FAULTS_MAX: usize = 100;

/// A tree whose parts have types.
#[derive(Debug, Default)]
pub struct Checked {
    /// The tree; names of functions are whole.
    pub tree: Tree,
    /// The type of each node.
    pub types: Vec<Type>,
    /// The overloads that each call may come to.
    pub overloads: Vec<Vec<&'static str>>,
    /// The variables of the environment that are read.
    pub variables: Vec<String>,
}

/// Checks a tree.
///
/// # Errors
/// Everything that is wrong.
pub fn check(
    tree: Tree,
    environment: &[(String, Type)],
    patches: bool,
) -> Result<Checked, Vec<Fault>> {
    let count = tree.nodes.len();
    let mut checker = Checker {
        checked: Checked {
            types: vec![Type::Error; count],
            overloads: vec![Vec::new(); count],
            tree,
            variables: Vec::new(),
        },
        environment,
        patches,
        scope: Vec::new(),
        mapping: Mapping::default(),
        faults: Vec::new(),
    };
    checker.node(checker.checked.tree.root);
    if checker.mapping.is_too_large() {
        checker.fault(checker.checked.tree.root, "types of the expression are too large");
    }
    if checker.faults.is_empty() {
        checker.alike(checker.checked.tree.root, false);
    }
    if !checker.faults.is_empty() {
        checker.faults.truncate(FAULTS_MAX);
        return Err(checker.faults);
    }
    let mut checked = checker.checked;
    for ty in &mut checked.types {
        *ty = checker.mapping.resolve(ty, true);
    }
    Ok(checked)
}

struct Checker<'e> {
    checked: Checked,
    environment: &'e [(String, Type)],
    /// Whether patches can be made.
    patches: bool,
    scope: Vec<(String, Type)>,
    mapping: Mapping,
    faults: Vec<Fault>,
}

impl Checker<'_> {
    fn fault(&mut self, at: Id, why: impl Into<String>) -> Type {
        self.faults.push(Fault::at(self.checked.tree.place(at), why));
        Type::Error
    }

    fn undeclared(&mut self, at: Id, name: &str) -> Type {
        self.fault(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn ty(&self, id: Id) -> Type {
        self.checked.types[id as usize].clone()
    }

    fn resolved(&self, id: Id) -> Type {
        self.mapping.resolve(&self.checked.types[id as usize], false)
    }

    fn node(&mut self, id: Id) -> Type {
        let ty = match self.checked.tree.kind(id).clone() {
            Kind::Literal(literal) => of_literal(&literal),
            Kind::Ident(name) => match self.named(&name) {
                Some(ty) => ty,
                None => self.undeclared(id, &name),
            },
            Kind::Select { of, field, test } => self.select(id, of, &field, test),
            Kind::Call { name, target, args } => self.call(id, &name, target, &args),
            Kind::List(items) => self.list(&items),
            Kind::Map(entries) => self.map(&entries),
            Kind::Struct(name, fields) => self.made(id, &name, &fields),
            Kind::Fold(fold) => self.fold(&fold),
            Kind::Bind { name, value, body } => {
                let ty = self.node(value);
                self.scope.push((name, ty));
                let ty = self.node(body);
                self.scope.pop();
                self.mapping.resolve(&ty, false)
            }
        };
        // What is too large is told once, at the end, and nothing more is made of it.
        drop(self.mapping.resolve(&ty, false));
        let ty = if self.mapping.is_too_large() { Type::Error } else { ty };
        self.checked.types[id as usize] = ty.clone();
        ty
    }

    fn named(&mut self, name: &str) -> Option<Type> {
        if let Some((_, ty)) = self.scope.iter().rev().find(|(known, _)| known == name) {
            return Some(ty.clone());
        }
        if let Some((name, ty)) = self.environment.iter().find(|(known, _)| known == name) {
            if !self.checked.variables.contains(name) {
                self.checked.variables.push(name.clone());
            }
            return Some(ty.clone());
        }
        let patch = || patch_named(name).filter(|_| self.patches);
        type_named(name).or_else(patch).map(|ty| Type::Type(Arc::new(ty)))
    }

    fn select(&mut self, id: Id, of: Id, field: &str, test: bool) -> Type {
        let qualified = self.checked.tree.qualified(id).filter(|_| !test);
        let local = qualified.as_deref().and_then(|name| name.split('.').next());
        let local = local.is_some_and(|name| {
            self.scope.iter().any(|(n, _)| n == name)
                || self.environment.iter().any(|(n, _)| n == name)
        });
        let patches = self.patches;
        let known = |name: &str| type_named(name).or_else(|| patch_named(name).filter(|_| patches));
        if let Some(ty) = qualified.as_deref().filter(|_| !local).and_then(known) {
            let name = qualified.unwrap_or_default();
            self.checked.tree.nodes[id as usize] = Kind::Ident(name);
            return Type::Type(Arc::new(ty));
        }
        let ty = self.field(id, of, field, false);
        if test { Type::Bool } else { self.mapping.resolve(&ty, false) }
    }

    /// An object that an expression makes, which is one that a patch is made of.
    fn made(&mut self, id: Id, name: &str, fields: &[Made]) -> Type {
        let Some(ty) = patch_named(name).filter(|_| self.patches) else {
            fields.iter().for_each(|field| drop(self.node(field.value)));
            return self.undeclared(id, name);
        };
        for field in fields {
            let given = self.node(field.value);
            let given = if field.optional { self.unwrapped(field.value, given) } else { given };
            let name = &field.name;
            let wanted = match &ty {
                Type::Object(shape) => shape.field(name).map(Type::of),
                _ => Some(Type::Dyn),
            };
            let fits = wanted.as_ref().is_some_and(|wanted| {
                self.mapping.assign(std::slice::from_ref(wanted), std::slice::from_ref(&given))
            });
            let why = match wanted {
                _ if fits => continue,
                None => format!("undefined field '{name}'"),
                Some(wanted) => format!(
                    "expected type of field '{name}' is '{wanted}' but provided type is '{given}'"
                ),
            };
            self.faults.push(Fault::at(field.place, why));
        }
        ty
    }

    /// A part of a variable that is declared by itself, as `variables.a` is.
    fn declared(&mut self, of: Id, field: &str) -> Option<Type> {
        let Kind::Ident(name) = self.checked.tree.kind(of) else { return None };
        if self.scope.iter().any(|(known, _)| known == name) {
            return None;
        }
        let whole = format!("{name}.{field}");
        self.environment.iter().any(|(known, _)| *known == whole).then(|| self.named(&whole))?
    }

    fn field(&mut self, id: Id, of: Id, field: &str, optional: bool) -> Type {
        self.node(of);
        if let Some(ty) = self.declared(of, field) {
            return if optional { Type::optional(ty) } else { ty };
        }
        let operand = self.resolved(of);
        let (target, optional) = match operand {
            Type::Optional(inner) => ((*inner).clone(), true),
            other => (other, optional),
        };
        let ty = match &target {
            Type::Map(both) => both.1.clone(),
            Type::Part(_) => Type::Dyn,
            Type::Object(shape) => match &shape.kind {
                shape::Kind::Object(object) => match object.field(field) {
                    Some(field) => Type::of(&field.shape),
                    None => self.fault(id, format!("undefined field '{field}'")),
                },
                _ => Type::Dyn,
            },
            Type::Var(_) => {
                self.mapping.assign(&[Type::Dyn], std::slice::from_ref(&target));
                Type::Dyn
            }
            other if other.is_open() => Type::Dyn,
            Type::Opaque(name) if is_object(name) => {
                self.fault(id, format!("unexpected failed resolution of '{name}'"))
            }
            other => {
                let why = format!("type '{other}' does not support field selection");
                self.fault(id, why);
                Type::Dyn
            }
        };
        if optional { Type::optional(ty) } else { ty }
    }

    fn call(&mut self, id: Id, name: &str, target: Option<Id>, args: &[Id]) -> Type {
        if name == "_?._" {
            return self.optional_field(id, args);
        }
        for arg in args {
            self.node(*arg);
        }
        let Some(receiver) = target else {
            return self.function(id, name, None, args);
        };
        // `a.b(c)` is either b of a, or the function `a.b`.
        let whole = self.checked.tree.qualified(receiver).map(|before| format!("{before}.{name}"));
        if let Some(whole) = whole.filter(|whole| self.overloads(whole).is_some()) {
            let args = args.to_vec();
            self.checked.tree.nodes[id as usize] =
                Kind::Call { name: whole.clone(), target: None, args: args.clone() };
            return self.function(id, &whole, None, &args);
        }
        self.node(receiver);
        self.function(id, name, Some(receiver), args)
    }

    fn optional_field(&mut self, id: Id, args: &[Id]) -> Type {
        let [of, field] = args else { return Type::Error };
        let Kind::Literal(Literal::Str(name)) = self.checked.tree.kind(*field).clone() else {
            return Type::Error;
        };
        self.checked.types[*field as usize] = Type::Str;
        let ty = self.field(id, *of, &name, true);
        self.checked.overloads[id as usize] = vec!["select_optional_field"];
        self.mapping.resolve(&ty, false)
    }

    fn function(&mut self, id: Id, name: &str, target: Option<Id>, args: &[Id]) -> Type {
        let Some(overloads) = self.overloads(name) else { return self.undeclared(id, name) };
        if matches!(name, "_&&_" | "_||_") {
            return self.logical(id, overloads[0].id, args);
        }
        let given: Vec<Type> = target.iter().chain(args).map(|arg| self.ty(*arg)).collect();
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|o| o.member == target.is_some()) {
            let Some(ty) = self.overload(overload, &given) else { continue };
            self.checked.overloads[id as usize].push(overload.id);
            result = Some(match result {
                None => ty,
                Some(known) if matches!(known, Type::Dyn) || known == ty => known,
                Some(_) => Type::Dyn,
            });
        }
        match result {
            Some(ty) => {
                self.literal_argument(name, args);
                ty
            }
            None => {
                let shown: Vec<String> =
                    given.iter().map(|ty| self.mapping.resolve(ty, true).to_string()).collect();
                let signature = match target {
                    Some(_) => format!("{}.({})", shown[0], shown[1..].join(", ")),
                    None => format!("({})", shown.join(", ")),
                };
                let why =
                    format!("found no matching overload for '{name}' applied to '{signature}'");
                self.fault(id, why)
            }
        }
    }

    /// What a function may be called with, here.
    fn overloads(&self, name: &str) -> Option<&'static [Overload]> {
        let here = self.patches || name != ESCAPE_KEY;
        FUNCTIONS.get(name).filter(|_| here).map(Vec::as_slice)
    }

    fn overload(&mut self, overload: &Overload, given: &[Type]) -> Option<Type> {
        if overload.params.len() != given.len() {
            return None;
        }
        let fresh: Vec<Type> = (0..overload.unknowns).map(|_| self.mapping.fresh()).collect();
        let wanted: Vec<Type> = overload.params.iter().map(|ty| instance(ty, &fresh)).collect();
        let fits = self.mapping.assign(given, &wanted);
        fits.then(|| self.mapping.resolve(&instance(&overload.result, &fresh), false))
    }

    fn logical(&mut self, id: Id, overload: &'static str, args: &[Id]) -> Type {
        let mut result = Type::Bool;
        for arg in args {
            let ty = self.ty(*arg);
            if !self.mapping.assign(std::slice::from_ref(&ty), &[Type::Bool]) {
                let shown = self.mapping.resolve(&ty, false);
                result = self.fault(*arg, format!("expected type 'bool' but found '{shown}'"));
            }
        }
        self.checked.overloads[id as usize] = vec![overload];
        result
    }

    /// Constants that can be read before the expression runs are read.
    fn literal_argument(&mut self, name: &str, args: &[Id]) {
        let Some(last) = args.last() else { return };
        let Kind::Literal(Literal::Str(text)) = self.checked.tree.kind(*last) else { return };
        let good = match name {
            "matches" => super::library::regex::compile(text).is_ok(),
            "duration" => super::library::time::duration(text).is_some(),
            "timestamp" => super::library::time::timestamp(text).is_some(),
            _ => true,
        };
        if !good {
            self.fault(*last, format!("invalid {name} argument"));
        }
    }

    fn list(&mut self, items: &[(Id, bool)]) -> Type {
        let mut joined = None;
        for (item, optional) in items {
            let ty = self.node(*item);
            let ty = if *optional { self.unwrapped(*item, ty) } else { ty };
            joined = Some(self.join(joined, ty));
        }
        Type::list(joined.unwrap_or_else(|| self.mapping.fresh()))
    }

    fn map(&mut self, entries: &[(Id, Id, bool)]) -> Type {
        let (mut keys, mut values) = (None, None);
        for (key, value, optional) in entries {
            let ty = self.node(*key);
            keys = Some(self.join(keys, ty));
            let ty = self.node(*value);
            let ty = if *optional { self.unwrapped(*value, ty) } else { ty };
            values = Some(self.join(values, ty));
        }
        let key = keys.unwrap_or_else(|| self.mapping.fresh());
        Type::map(key, values.unwrap_or_else(|| self.mapping.fresh()))
    }

    /// What an optional item holds.
    fn unwrapped(&mut self, at: Id, ty: Type) -> Type {
        match ty {
            Type::Optional(inner) => (*inner).clone(),
            ty if ty.is_open() => ty,
            ty => {
                let wanted = Type::optional(ty.clone());
                self.fault(at, format!("expected type '{wanted}' but found '{ty}'"));
                ty
            }
        }
    }

    fn join(&mut self, before: Option<Type>, ty: Type) -> Type {
        let Some(before) = before else { return ty };
        if self.mapping.assign(std::slice::from_ref(&before), std::slice::from_ref(&ty)) {
            return if less_specific(&before, &ty) { before } else { ty };
        }
        Type::Dyn
    }

    /// Reports constants of lists and maps that are not all of one type: a slip, but for what
    /// `format` takes.
    fn alike(&mut self, id: Id, exempt: bool) {
        let kind = self.checked.tree.kind(id).clone();
        let exempt = exempt || matches!(&kind, Kind::Call { name, .. } if name == "format");
        if !exempt {
            match &kind {
                Kind::List(items) => self.same(items.iter().copied()),
                Kind::Map(entries) => {
                    self.same(entries.iter().map(|(key, _, _)| (*key, false)));
                    self.same(entries.iter().map(|(_, value, optional)| (*value, *optional)));
                }
                _ => {}
            }
        }
        for inner in super::ast::children(&kind) {
            self.alike(inner, exempt);
        }
    }

    fn same(&mut self, items: impl Iterator<Item = (Id, bool)>) {
        let mut wanted: Option<Type> = None;
        for (item, optional) in items {
            let found = match self.mapping.resolve(&self.ty(item), true) {
                Type::Optional(inner) if optional => (*inner).clone(),
                other => other,
            };
            match &wanted {
                Some(wanted) if *wanted != found => {
                    let why = format!("expected type '{wanted}' but found '{found}'");
                    self.fault(item, why);
                    return;
                }
                Some(_) => {}
                None => wanted = Some(found),
            }
        }
    }

    fn fold(&mut self, fold: &Fold) -> Type {
        self.node(fold.range);
        let gathered = self.node(fold.init);
        let range = self.resolved(fold.range);
        self.scope.push((ACCUMULATOR.into(), gathered.clone()));
        let (first, second) = self.rounds(fold, &range);
        self.scope.push((fold.first.clone(), first));
        if let Some(name) = &fold.second {
            self.scope.push((name.clone(), second));
        }
        if let Some(condition) = fold.condition {
            self.node(condition);
            self.assert(condition, &Type::Bool);
        }
        self.node(fold.step);
        self.assert(fold.step, &gathered);
        self.scope.truncate(self.scope.len() - 1 - usize::from(fold.second.is_some()));
        let ty = self.node(fold.result);
        self.scope.pop();
        self.mapping.resolve(&ty, false)
    }

    /// What the variables of each round are.
    fn rounds(&mut self, fold: &Fold, range: &Type) -> (Type, Type) {
        match range {
            Type::List(item) if fold.second.is_some() => (Type::Int, (**item).clone()),
            Type::List(item) => ((**item).clone(), Type::Error),
            Type::Map(both) => both.as_ref().clone(),
            Type::Var(_) | Type::Dyn | Type::Error => {
                self.mapping.assign(&[Type::Dyn], std::slice::from_ref(range));
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let why = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be \
                     list, map, or dynamic)"
                );
                self.fault(fold.range, why);
                (Type::Error, Type::Error)
            }
        }
    }

    fn assert(&mut self, id: Id, wanted: &Type) {
        let found = self.ty(id);
        if !self.mapping.assign(std::slice::from_ref(wanted), std::slice::from_ref(&found)) {
            let why = format!("expected type '{wanted}' but found '{found}'");
            self.fault(id, why);
        }
    }
}

/// The types that patches are made of.
pub fn patch_named(name: &str) -> Option<Type> {
    match name {
        "JSONPatch" => Some(Type::of(&JSON_PATCH)),
        "Object" => Some(Type::Part(name.into())),
        _ if name.starts_with("Object.") => Some(Type::Part(name.into())),
        _ => None,
    }
}

/// A step of a JSON patch.
static JSON_PATCH: LazyLock<Arc<Shape>> = LazyLock::new(|| {
    let text = || Arc::new(Shape::text());
    let fields = vec![("op", text()), ("path", text()), ("from", text()), ("value", Shape::any())];
    Arc::new(Shape::object("JSONPatch", fields))
});

/// The type of a constant.
pub fn of_literal(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::Str(_) => Type::Str,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// A signature's type with its unknown types put in.
fn instance(ty: &Type, fresh: &[Type]) -> Type {
    match ty {
        Type::Var(n) => fresh.get(*n as usize).cloned().unwrap_or(Type::Dyn),
        Type::List(inner) => Type::list(instance(inner, fresh)),
        Type::Optional(inner) => Type::optional(instance(inner, fresh)),
        Type::Type(inner) => Type::Type(Arc::new(instance(inner, fresh))),
        Type::Map(both) => Type::map(instance(&both.0, fresh), instance(&both.1, fresh)),
        other => other.clone(),
    }
}
