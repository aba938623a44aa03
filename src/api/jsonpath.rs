//! kubectl's JSONPath dialect, as printer columns use it: `.spec.replicas`, `['a.b/c']`, `a\.b`,
//! `[0]`, `[-1]`, `[1:3]`, `[*]`, `..name`, `[?(@.type=="Ready")]`.
//!
//! RFC 9535 is another language: it wants a `$`, and knows no escaped dots. Reading never fails:
//! what is not there yields nothing.

use std::cmp::Ordering;

use super::tree::Value;
use crate::limits::TREE_DEPTH_MAX;

/// A path that has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// Any of these fields.
    Fields(Vec<String>),
    Index(i64),
    /// From, to, step; as Python has it.
    Slice(Option<i64>, Option<i64>, usize),
    Wildcard,
    /// The value and everything below it.
    Descend,
    Filter(Filter),
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Operand,
    /// What the two sides are held together by; `None` asks whether the left one is there.
    right: Option<(Operator, Operand)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Literal(Value),
    At(Path),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Longer ones first: one may begin with another.
const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Path {
    /// Reads a path such as `.status.phase`, without braces.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text, filters: 0 };
        let mut steps = Vec::new();
        while !parser.rest.is_empty() {
            parser.step(&mut steps)?;
        }
        Ok(Self(steps))
    }

    /// Everything that the path leads to, in order.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            found.iter().for_each(|value| step.take(value, &mut next));
            found = next;
        }
        found
    }
}

impl Step {
    fn take<'v>(&self, value: &'v Value, found: &mut Vec<&'v Value>) {
        let field = |name: &str| value.as_object().and_then(|map| map.get(name));
        match self {
            Self::Field(name) => found.extend(field(name)),
            Self::Fields(names) => found.extend(names.iter().filter_map(|name| field(name))),
            Self::Index(index) => found.extend(
                position(*index, value.items().len()).and_then(|index| value.items().get(index)),
            ),
            Self::Slice(from, to, step) => {
                let length = value.items().len();
                let bound = |at: i64| clamp(at, length);
                let (from, to) = (from.map_or(0, bound), to.map_or(length, bound));
                let items = value.items().iter().take(to).skip(from);
                found.extend(items.step_by(*step));
            }
            Self::Wildcard => children(value, &mut |child| found.push(child)),
            Self::Descend => descend(value, TREE_DEPTH_MAX, found),
            Self::Filter(filter) => {
                found.extend(value.items().iter().filter(|item| filter.holds(item)));
            }
        }
    }
}

fn children<'v>(value: &'v Value, each: &mut dyn FnMut(&'v Value)) {
    value.items().iter().for_each(&mut *each);
    value.fields().for_each(|(_, child)| each(child));
}

fn descend<'v>(value: &'v Value, depth: usize, found: &mut Vec<&'v Value>) {
    found.push(value);
    if depth > 0 {
        children(value, &mut |child| descend(child, depth - 1, found));
    }
}

/// An index from the front, or, where negative, from the back.
fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

fn clamp(at: i64, length: usize) -> usize {
    position(at, length).unwrap_or(0).min(length)
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let left = self.left.value(item);
        let Some((operator, right)) = &self.right else { return left.is_some() };
        let (Some(left), Some(right)) = (left, right.value(item)) else { return false };
        let order = compare(left, right);
        match operator {
            Operator::Equal => order == Some(Ordering::Equal),
            Operator::NotEqual => order != Some(Ordering::Equal),
            Operator::Less => order == Some(Ordering::Less),
            Operator::LessOrEqual => order.is_some_and(Ordering::is_le),
            Operator::Greater => order == Some(Ordering::Greater),
            Operator::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

impl Operand {
    fn value<'v>(&'v self, item: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Literal(value) => Some(value),
            Self::At(path) => path.find(item).into_iter().next(),
        }
    }
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    #[allow(clippy::cast_precision_loss, reason = "as the reference does")]
    let number = |value: &Value| match value {
        Value::Int(i) => Some(*i as f64),
        Value::Float(f) => Some(*f),
        _ => None,
    };
    match (left, right) {
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => number(left)?.partial_cmp(&number(right)?),
    }
}

/// Filters within filters: more are a mistake, or meant to exhaust the stack.
const FILTERS_MAX: usize = 8;

struct Parser<'t> {
    rest: &'t str,
    filters: usize,
}

impl<'t> Parser<'t> {
    fn eat(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn step(&mut self, steps: &mut Vec<Step>) -> Result<(), String> {
        if self.eat("..") {
            steps.push(Step::Descend);
            return if self.rest.starts_with('[') { Ok(()) } else { self.field(steps) };
        }
        if self.eat("[") {
            let step = self.bracket()?;
            steps.push(step);
            return Ok(());
        }
        if self.eat(".") {
            return match self.rest.chars().next() {
                None | Some('[') => Ok(()),
                _ => self.field(steps),
            };
        }
        // The first field may come without its dot.
        if steps.is_empty() { self.field(steps) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> String {
        format!("unexpected {:?}", self.rest.chars().next().unwrap_or(' '))
    }

    /// A field's name, in which `\` takes the next character as it is.
    fn field(&mut self, steps: &mut Vec<Step>) -> Result<(), String> {
        if self.eat("*") {
            steps.push(Step::Wildcard);
            return Ok(());
        }
        let mut name = String::new();
        let mut characters = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => name.extend(characters.next().map(|(_, c)| c)),
                '.' | '[' | ']' | '(' | ')' | ' ' | '=' | '!' | '<' | '>' | '{' | '}' | ',' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        if name.is_empty() {
            return Err(if self.rest.is_empty() {
                "incomplete path".into()
            } else {
                self.unexpected()
            });
        }
        self.rest = &self.rest[end..];
        steps.push(Step::Field(name));
        Ok(())
    }

    /// What stands between brackets; the opening one is behind.
    fn bracket(&mut self) -> Result<Step, String> {
        self.spaces();
        let step = if self.eat("?(") {
            self.filters += 1;
            if self.filters > FILTERS_MAX {
                return Err("too many filters".to_owned());
            }
            let filter = self.filter()?;
            self.close(")")?;
            Step::Filter(filter)
        } else if self.rest.starts_with(['\'', '"']) {
            self.names()?
        } else {
            self.numbers()?
        };
        self.spaces();
        self.close("]")?;
        Ok(step)
    }

    fn close(&mut self, bracket: &str) -> Result<(), String> {
        self.spaces();
        if self.eat(bracket) {
            Ok(())
        } else {
            Err(format!("unterminated array: {bracket:?} is missing"))
        }
    }

    fn names(&mut self) -> Result<Step, String> {
        let mut names = vec![self.quoted()?];
        self.spaces();
        while self.eat(",") {
            self.spaces();
            names.push(self.quoted()?);
            self.spaces();
        }
        let only = names.len() == 1;
        Ok(if only { Step::Field(names.remove(0)) } else { Step::Fields(names) })
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let quote = quote.ok_or_else(|| self.unexpected())?;
        let body = &self.rest[1..];
        let end = body.find(quote).ok_or("unterminated quoted string")?;
        self.rest = &body[end + 1..];
        Ok(body[..end].to_owned())
    }

    /// `*`, an index, or a slice.
    fn numbers(&mut self) -> Result<Step, String> {
        let end = self.rest.find(']').ok_or("unterminated array: \"]\" is missing")?;
        let text = self.rest[..end].trim();
        self.rest = &self.rest[end..];
        if text == "*" {
            return Ok(Step::Wildcard);
        }
        let number = |text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| format!("invalid array index {text}")),
        };
        let parts = text.split(':').map(number).collect::<Result<Vec<Option<i64>>, String>>()?;
        match parts.as_slice() {
            [Some(index)] => Ok(Step::Index(*index)),
            [from, to] => Ok(Step::Slice(*from, *to, 1)),
            [from, to, step] => match usize::try_from(step.unwrap_or(1)) {
                Ok(step) if step > 0 => Ok(Step::Slice(*from, *to, step)),
                _ => Err("step must be > 0".to_owned()),
            },
            _ => Err(format!("invalid array index {text}")),
        }
    }

    fn filter(&mut self) -> Result<Filter, String> {
        let left = self.operand()?;
        self.spaces();
        for (text, operator) in OPERATORS {
            if self.eat(text) {
                let right = self.operand()?;
                return Ok(Filter { left, right: Some((operator, right)) });
            }
        }
        Ok(Filter { left, right: None })
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.spaces();
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted().map(|text| Operand::Literal(text.into()));
        }
        if self.eat("@") {
            let mut steps = Vec::new();
            while self.rest.starts_with(['.', '[']) {
                self.step(&mut steps)?;
            }
            return Ok(Operand::At(Path(steps)));
        }
        let end = self.rest.find([')', ' ', '=', '!', '<', '>']).unwrap_or(self.rest.len());
        let text = &self.rest[..end];
        self.rest = &self.rest[end..];
        let literal = Value::parse(text.as_bytes()).ok().filter(|v| v.as_object().is_none());
        literal.map(Operand::Literal).ok_or_else(|| format!("unrecognized operand {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = r#"{"metadata":{"labels":{"a.b/c":"x"}},"spec":{"n":[1,2,3],"m":{"k":4}},
        "status":{"conditions":[{"type":"Ready","status":"True","age":5},{"type":"Other","age":7}]}}"#;

    fn found(path: &str) -> String {
        let object = Value::parse(OBJECT.as_bytes()).unwrap();
        let path = Path::parse(path).unwrap();
        path.find(&object).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn paths_lead_where_kubectl_s_do() {
        for (path, wanted) in [
            (".spec.n[0]", "1"),
            (".spec.n[-1]", "3"),
            (".spec.n[9]", ""),
            (".spec.n[1:]", "2 3"),
            (".spec.n[0:2]", "1 2"),
            (".spec.n[::2]", "1 3"),
            (".spec.n[*]", "1 2 3"),
            (".spec.m.*", "4"),
            (".spec['m','n']", r#"{"k":4} [1,2,3]"#),
            (r".metadata.labels.a\.b/c", r#""x""#),
            (".metadata.labels['a.b/c']", r#""x""#),
            ("..k", "4"),
            (r#".status.conditions[?(@.type=="Ready")].status"#, r#""True""#),
            (r".status.conditions[?(@.type=='Ready')].status", r#""True""#),
            (".status.conditions[?(@.age>5)].type", r#""Other""#),
            (".status.conditions[?(@.status)].type", r#""Ready""#),
            (r#".status.conditions[?( @.type != "Ready" )].age"#, "7"),
            (".status.none.deeper", ""),
            ("spec.m.k", "4"),
        ] {
            assert_eq!(found(path), wanted, "{path}");
        }
        assert!(found(".").starts_with(r#"{"metadata""#));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in [".a[", ".a[b]", ".a[?(@.b]", ".a..", ".a[1:2:0]", ".a['x]", ".a]", ".[?(b)]"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }
}
