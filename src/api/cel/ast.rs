//! The tree of an expression: nodes in one vector, macros already unfolded.

/// A node's place in its [`Tree`].
pub type Id = u32;

/// The hidden variable in which a comprehension gathers its result.
pub const ACCUMULATOR: &str = "@result";

/// A constant that stands in the expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// `1`, `0x1f`
    Int(i64),
    /// `1u`
    Uint(u64),
    /// `1.5`, `1e3`
    Double(f64),
    /// `'text'`
    Str(String),
    /// `b'bytes'`
    Bytes(Vec<u8>),
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A constant.
    Literal(Literal),
    /// A variable, or the name of a type.
    Ident(String),
    /// `of.field`, or `has(of.field)` where `test`.
    Select {
        /// What has the field.
        of: Id,
        /// The field's name.
        field: String,
        /// Whether it is only asked for.
        test: bool,
    },
    /// A function, an operator included; `&&` and `||` have any number of arguments.
    Call {
        /// The function.
        name: String,
        /// What stands before the dot.
        target: Option<Id>,
        /// What stands in the brackets.
        args: Vec<Id>,
    },
    /// `[a, ?b]`: items, and whether each is optional.
    List(Vec<(Id, bool)>),
    /// `{k: v, ?k: v}`: keys, values, and whether each is optional.
    Map(Vec<(Id, Id, bool)>),
    /// `Name{field: value, ?field: value}`: the type's name, and its fields.
    Struct(String, Vec<Made>),
    /// A loop.
    Fold(Box<Fold>),
    /// A name for a value, evaluated once.
    Bind {
        /// The name.
        name: String,
        /// Its value.
        value: Id,
        /// Where it is known.
        body: Id,
    },
}

/// What the macros `all`, `exists`, `map` and their like unfold to.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// What is gone through: a list, or a map's keys.
    pub range: Id,
    /// The variable of each round: an item or a key; with `second`, an index or a key.
    pub first: String,
    /// The second variable of each round: an item or a value.
    pub second: Option<String>,
    /// What [`ACCUMULATOR`] begins with.
    pub init: Id,
    /// Ends the loop when it is false; absent for those that always go through.
    pub condition: Option<Id>,
    /// What the accumulator becomes.
    pub step: Id,
    /// What comes out.
    pub result: Id,
}

/// A parsed expression.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// All nodes.
    pub nodes: Vec<Kind>,
    /// Where each node's sign stands in the source, in characters.
    pub places: Vec<u32>,
    /// How deep each node is.
    depths: Vec<u16>,
    /// The whole.
    pub root: Id,
}

impl Tree {
    /// The node at `id`.
    pub fn kind(&self, id: Id) -> &Kind {
        &self.nodes[id as usize]
    }

    /// Where the node stands in the source.
    pub fn place(&self, id: Id) -> u32 {
        self.places[id as usize]
    }

    /// How deep the tree below a node is.
    pub fn depth(&self, id: Id) -> u16 {
        self.depths[id as usize]
    }

    /// Adds a node.
    pub fn add(&mut self, kind: Kind, place: u32) -> Id {
        let depth = children(&kind).into_iter().map(|id| self.depth(id)).max().unwrap_or(0);
        let id = Id::try_from(self.nodes.len()).unwrap_or(Id::MAX);
        self.nodes.push(kind);
        self.places.push(place);
        self.depths.push(depth.saturating_add(1));
        id
    }

    /// The dotted name that a node spells, as `sets.contains` does.
    pub fn qualified(&self, id: Id) -> Option<String> {
        match self.kind(id) {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select { of, field, test: false } => {
                Some(format!("{}.{field}", self.qualified(*of)?))
            }
            _ => None,
        }
    }
}

/// A field of an object that an expression makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Its name.
    pub name: String,
    /// What it becomes.
    pub value: Id,
    /// Whether the value may be none.
    pub optional: bool,
    /// Where it stands.
    pub place: u32,
}

/// The nodes that a node is made of.
pub fn children(kind: &Kind) -> Vec<Id> {
    match kind {
        Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
        Kind::Select { of, .. } => vec![*of],
        Kind::Call { target, args, .. } => target.iter().chain(args).copied().collect(),
        Kind::List(items) => items.iter().map(|(id, _)| *id).collect(),
        Kind::Map(entries) => entries.iter().flat_map(|(k, v, _)| [*k, *v]).collect(),
        Kind::Struct(_, fields) => fields.iter().map(|field| field.value).collect(),
        Kind::Fold(fold) => {
            let always = [fold.range, fold.init, fold.step, fold.result];
            always.into_iter().chain(fold.condition).collect()
        }
        Kind::Bind { value, body, .. } => vec![*value, *body],
    }
}
