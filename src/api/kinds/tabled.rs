//! Kinds whose rules are tables: what most kinds need that no controller of rk acts on.
//!
//! A kind is one constant: defaults, checks, what an update may not change, columns. What a table
//! cannot say is a function in it.

use super::check::{self, At, Rule};
use super::fallback::{self, Fallback};
use super::table::{AGE, Heading, NAME, ago, columns};
use super::text::{self, Format};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;
use crate::history::Fields;

/// What a column shows.
#[derive(Clone, Copy)]
pub enum Cell {
    /// The object's name.
    Name,
    /// Its age.
    Age,
    /// How long ago the time at a path was.
    Ago(&'static str),
    /// The value at a path, texts empty and numbers 0 where there is none.
    At(&'static str),
    /// The value at a path, or this text where there is none.
    Or(&'static str, &'static str),
    /// The flag at a path, or this one.
    Flag(&'static str, bool),
    /// How many items a list has.
    Count(&'static str),
    /// What a function makes of the object.
    Made(fn(&Value) -> Value),
}

/// The rules of a kind as tables. Written as `Tabled { columns: …, ..Tabled::PLAIN }`.
pub struct Tabled {
    /// What a name must look like.
    pub name: Format,
    /// What stands where the client gave nothing.
    pub defaults: &'static [(&'static str, Fallback)],
    /// What else stands there when the client left it out.
    pub complete: fn(&mut Value),
    /// What the time of a write is put into; the old object is null on create.
    pub stamp: fn(&mut Value, &Value, Context),
    /// What the status of a new object begins with, where there is a status.
    pub begin: fn(&mut Value, Context),
    /// What the time of a write of a subresource is put into.
    pub stamp_subresource: fn(&mut Value, &Value, Context),
    /// What must hold.
    pub rules: &'static [(&'static str, Rule)],
    /// What must hold besides.
    pub check: fn(At<'_>, &mut Errors),
    /// Paths that an update may not change: `field is immutable`.
    pub immutable: &'static [&'static str],
    /// What must hold of a new object besides.
    pub check_create: fn(At<'_>, &mut Errors),
    /// What an update must satisfy besides.
    pub check_update: fn(At<'_>, &Value, &mut Errors),
    /// Whether there is a status that only its own writers change.
    pub status: bool,
    /// Whether objects count generations.
    pub generations: bool,
    /// Whether they do so from their creation on, and not from their first change.
    pub first_generation: bool,
    /// Paths by which objects can be selected.
    pub selectable: &'static [&'static str],
    /// The columns and what they show.
    pub columns: &'static [(Heading, Cell)],
    /// The formats of columns, where another is not for `Name` and none for the others.
    pub formats: &'static [(&'static str, &'static str)],
    /// Cells behind those of the columns: upstream has rows that are longer than their heading.
    pub unheaded: &'static [Cell],
    /// What is said of a kind that nothing in rk acts on yet.
    pub unserved: &'static str,
    /// What is said of every use of a kind that is on its way out.
    pub deprecation: Option<&'static str>,
}

impl Tabled {
    /// A kind without rules of its own.
    pub const PLAIN: Self = Self {
        name: text::dns_subdomain,
        defaults: &[],
        complete: |_| {},
        stamp: |_, _, _| {},
        begin: |_, _| {},
        stamp_subresource: |_, _, _| {},
        rules: &[],
        check: |_, _| {},
        immutable: &[],
        check_create: |_, _| {},
        check_update: |_, _, _| {},
        status: false,
        generations: false,
        first_generation: true,
        selectable: &[],
        columns: &[(NAME, Cell::Name), (AGE, Cell::Age)],
        formats: &[],
        unheaded: &[],
        unserved: "",
        deprecation: None,
    };
}

impl Tabled {
    /// What must hold of objects, be they new or not.
    fn always(&self, root: At<'_>, errors: &mut Errors) {
        check::apply(self.rules, root, errors);
        (self.check)(root, errors);
    }
}

/// The value at a path of field names.
pub fn at<'v>(object: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(object, |value, field| value.get(field))
}

impl Cell {
    fn show(self, object: &Value, context: Context) -> Value {
        match self {
            Self::Name => object.name().into(),
            Self::Age => age(object, context),
            Self::Ago(path) => ago(at(object, path), context).into(),
            Self::At(path) => match at(object, path) {
                Value::Null => "".into(),
                value => value.clone(),
            },
            Self::Or(path, other) => match at(object, path) {
                Value::Null => other.into(),
                Value::Str(text) if text.is_empty() => other.into(),
                value => value.clone(),
            },
            Self::Flag(path, other) => at(object, path).as_bool().unwrap_or(other).into(),
            Self::Count(path) => i64::try_from(at(object, path).items().len()).unwrap_or(0).into(),
            Self::Made(make) => make(object),
        }
    }
}

impl Rules for Tabled {
    fn name_format(&self) -> Format {
        self.name
    }

    fn default(&self, object: &mut Value) {
        fallback::apply(object, self.defaults);
        (self.complete)(object);
    }

    fn prepare_create(&self, object: &mut Value, context: Context) {
        (self.stamp)(object, &Value::Null, context);
        if self.status {
            object.set("status", Value::object());
            (self.begin)(object, context);
            self.default(object);
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, context: Context) {
        (self.stamp)(object, old, context);
        match old.get("status") {
            _ if !self.status => {}
            Value::Null => object.set("status", Value::object()),
            status => object.set("status", status.clone()),
        }
    }

    fn stamp_subresource(&self, object: &mut Value, old: &Value, context: Context) {
        (self.stamp_subresource)(object, old, context);
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        self.always(root, errors);
        (self.check_create)(root, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let root = At::root(object);
        self.always(root, errors);
        for path in self.immutable {
            root.descend(path, &mut |now| check::immutable(now, at(old, path), errors));
        }
        (self.check_update)(root, old, errors);
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        self.generations
    }

    fn begins_generations(&self, _object: &Value) -> bool {
        self.generations && self.first_generation
    }

    fn warnings(&self, _object: &Value, _old: &Value) -> Vec<String> {
        Some(self.unserved.to_owned()).filter(|text| !text.is_empty()).into_iter().collect()
    }

    fn deprecation(&self) -> Option<&'static str> {
        self.deprecation
    }

    fn fields(&self, object: &Value) -> Fields {
        self.selectable.iter().map(|path| (*path, at(object, path).str().into())).collect()
    }

    fn selectable(&self) -> &[&'static str] {
        self.selectable
    }

    fn columns(&self) -> Vec<Column> {
        let headings: Vec<Heading> = self.columns.iter().map(|(heading, _)| *heading).collect();
        let mut columns = columns(&headings);
        for column in &mut columns {
            if let Some((_, format)) = self.formats.iter().find(|(name, _)| column.name == *name) {
                column.format = (*format).into();
            }
        }
        columns
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let cells = self.columns.iter().map(|(_, cell)| cell).chain(self.unheaded);
        cells.map(|cell| cell.show(object, context)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Tabled = Tabled {
        defaults: &[("spec.mode", Fallback::Text("A"))],
        rules: &[("spec.mode", Rule::OneOf(&["A", "B"]))],
        immutable: &["spec.mode"],
        status: true,
        columns: &[(NAME, Cell::Name), (("Mode", "string", 0, ""), Cell::Or("spec.mode", "none"))],
        unserved: "nothing acts on this",
        ..Tabled::PLAIN
    };

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn tables_make_a_kind() {
        let context = Context { now: crate::util::clock::now() };
        let mut object = parse(r#"{"metadata":{"name":"a"},"spec":{},"status":{"x":1}}"#);
        KIND.default(&mut object);
        KIND.prepare_create(&mut object, context);
        let wanted = r#"{"metadata":{"name":"a"},"spec":{"mode":"A"},"status":{}}"#;
        assert_eq!(object.to_string(), wanted, "an empty status, as upstream has it");
        assert_eq!(KIND.row(&object, context), vec![Value::from("a"), "A".into()]);
        let mut errors = Errors::default();
        let changed = parse(r#"{"metadata":{"name":"a"},"spec":{"mode":"C"}}"#);
        KIND.validate_update(&changed, &object, &mut errors);
        let found: Vec<String> = errors.into_causes().into_iter().map(|c| c.message).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(KIND.warnings(&object, &Value::Null), ["nothing acts on this"]);
    }

    #[test]
    fn what_is_another_than_usual_is_said() {
        const ODD: Tabled = Tabled {
            status: true,
            begin: |object, _| object.entry("status").set("phase", "New"),
            generations: true,
            first_generation: false,
            columns: &[(NAME, Cell::Name), (("Since", "string", 0, ""), Cell::Ago("status.since"))],
            formats: &[("Name", ""), ("Since", "name")],
            unheaded: &[Cell::Age],
            ..Tabled::PLAIN
        };
        let context = Context { now: crate::util::clock::now() };
        let mut object = parse(r#"{"metadata":{"name":"a"},"status":{"phase":"Old"}}"#);
        ODD.prepare_create(&mut object, context);
        assert_eq!(object.at(&["status", "phase"]).str(), "New");
        assert!(ODD.counts_generations(&object) && !ODD.begins_generations(&object));
        let formats: Vec<String> = ODD.columns().into_iter().map(|c| c.format).collect();
        assert_eq!(formats, ["", "name"]);
        assert_eq!(ODD.row(&object, context), ["a", "<unknown>", "<unknown>"].map(Value::from));
    }
}
