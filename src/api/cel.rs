//! The Common Expression Language, as Kubernetes speaks it.
//!
//! A text is parsed, its macros are unfolded (`parse`, `macros`), its parts are given types in an
//! environment of declared variables (`check`, against the shapes that a schema stands for,
//! `shape`), and what it can cost at most is estimated (`estimate`). What comes out is a
//! [`Program`], which runs (`eval`) over trees that it borrows and never copies.
//!
//! Guarded are: the length and depth of a text before anything walks it, the size of patterns, the
//! cost of an evaluation, and the bytes that it makes. Nothing here panics on any text or value:
//! what is wrong is an error.
//!
//! The `cel` crate is not used: its evaluator has no place to count costs in and copies objects
//! into values of its own, which leaves its parser, at the price of ANTLR's runtime.

pub mod ast;
pub mod check;
mod cost;
mod estimate;
mod eval;
mod fault;
pub mod functions;
mod lex;
mod library;
mod macros;
mod parse;
pub mod shape;
pub mod types;
pub mod value;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use ast::{Kind, Literal, Tree};
use check::Checked;
use shape::Shape;
use types::Type;
use value::Val;

pub use eval::{Answer, Stop};

/// What an expression may cost each time that it runs: about a tenth of a second.
pub const CALL_COST_MAX: u64 = 1_000_000;

/// The variables that an expression may read.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: Vec<(String, Type)>,
    shapes: Vec<(String, Arc<Shape>)>,
    patches: bool,
}

impl Environment {
    /// Lets expressions make what patches are made of: `Object{}` and `JSONPatch{}`.
    #[must_use]
    pub const fn with_patches(mut self) -> Self {
        self.patches = true;
        self
    }

    /// Declares a variable of a type of which no schema speaks.
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables.push((name.to_owned(), ty));
        self
    }

    /// Declares a variable that is part of an object.
    #[must_use]
    pub fn with_shape(mut self, name: &str, shape: &Arc<Shape>) -> Self {
        self.shapes.push((name.to_owned(), shape.clone()));
        self.with(name, Type::of(shape))
    }

    /// Declares a variable that is part of an object, or nothing.
    #[must_use]
    pub fn with_optional(mut self, name: &str, shape: &Arc<Shape>) -> Self {
        self.shapes.push((name.to_owned(), shape.clone()));
        self.with(name, Type::optional(Type::of(shape)))
    }

    /// Makes an expression ready to run.
    ///
    /// # Errors
    /// All that is wrong with it, as cel-go prints it.
    pub fn compile(&self, text: &str) -> Result<Program, String> {
        let tree = parse::parse(text).map_err(|why| fault::show(text, &[why]))?;
        let checked = check::check(tree, &self.variables, self.patches)
            .map_err(|all| fault::show(text, &all))?;
        let shapes: Vec<(&str, Arc<Shape>)> =
            self.shapes.iter().map(|(name, shape)| (name.as_str(), shape.clone())).collect();
        let cost_max = estimate::cost(&checked, &shapes);
        let patterns = patterns(&checked.tree);
        let constants = constants(&checked);
        Ok(Program { checked, cost_max, patterns, constants })
    }
}

/// The patterns that stand in a text as constants are made once.
fn patterns(tree: &Tree) -> HashMap<String, Regex> {
    let mut found = HashMap::new();
    for kind in &tree.nodes {
        let Kind::Call { name, args, .. } = kind else { continue };
        if !matches!(name.as_str(), "matches" | "find" | "findAll") {
            continue;
        }
        for arg in args {
            if let Kind::Literal(Literal::Str(text)) = tree.kind(*arg)
                && let Ok(regex) = library::regex::compile(text)
            {
                found.insert(text.clone(), regex);
            }
        }
    }
    found
}

/// Which nodes are constants: what upstream evaluates once, before anything runs, is not charged.
fn constants(checked: &Checked) -> Vec<bool> {
    const READERS: &[&str] = &[
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "bool",
        "duration",
        "timestamp",
        "dyn",
        "type",
    ];
    let mut known: Vec<bool> = Vec::with_capacity(checked.tree.nodes.len());
    for (at, kind) in checked.tree.nodes.iter().enumerate() {
        let all = || ast::children(kind).iter().all(|id| known[*id as usize]);
        known.push(match kind {
            Kind::Literal(_) => true,
            Kind::List(_) | Kind::Map(_) => all(),
            Kind::Call { name, target: None, .. } => READERS.contains(&name.as_str()) && all(),
            Kind::Ident(name) => {
                matches!(checked.types[at], Type::Type(_)) && functions::type_named(name).is_some()
            }
            _ => false,
        });
    }
    known
}

/// An expression that is ready to run.
#[derive(Debug)]
pub struct Program {
    checked: Checked,
    cost_max: u64,
    patterns: HashMap<String, Regex>,
    constants: Vec<bool>,
}

impl Program {
    /// The type of what comes out.
    pub fn result(&self) -> &Type {
        &self.checked.types[self.checked.tree.root as usize]
    }

    /// The most that it can cost.
    pub const fn cost_max(&self) -> u64 {
        self.cost_max
    }

    /// Whether it reads a variable of the environment.
    pub fn reads(&self, variable: &str) -> bool {
        self.checked.variables.iter().any(|name| name == variable)
    }

    /// Runs it. What it has cost is told in any case.
    pub fn run<'a>(
        &'a self,
        variables: Vec<(&'a str, Val<'a>)>,
        cost_max: u64,
    ) -> (Answer<'a>, u64) {
        eval::Run::evaluate(self, variables, cost_max)
    }

    fn tree(&self) -> &Tree {
        &self.checked.tree
    }

    fn overloads(&self, id: ast::Id) -> &[&'static str] {
        &self.checked.overloads[id as usize]
    }

    fn is_constant(&self, id: ast::Id) -> bool {
        self.constants[id as usize]
    }

    /// Whether a node is a path from a variable, step by step.
    fn is_chain(&self, id: ast::Id) -> bool {
        match self.tree().kind(id) {
            Kind::Ident(_) => true,
            Kind::Select { test, .. } => !test,
            Kind::Call { name, .. } => matches!(name.as_str(), "_[_]" | "_?._" | "_[?_]"),
            _ => false,
        }
    }

    fn pattern(&self, text: &str) -> Option<&Regex> {
        self.patterns.get(text)
    }
}
