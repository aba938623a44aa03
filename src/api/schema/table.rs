//! Reads the schema table: bytes that hold types, fields and nodes without a pointer.
//!
//! One format serves both the embedded table of the built-in kinds, which is read in place and
//! dirties no page, and the tables that [`super::build`] makes of custom resources. The format is
//! told in `embedded/schema/README.md`; numbers here are those of the generator.
//!
//! Reading out of bounds yields zeroes and empty texts, never a panic: a table is either ours or
//! made by our own builder, so that this is a second line of defence, not a way to report errors.

use std::borrow::Cow;
use std::sync::LazyLock;

pub(super) const MAGIC: &[u8; 8] = b"rkschema";
pub(super) const FORMAT: u32 = 2;
pub(super) const HEADER_BYTES: usize = 8 + 4 * 14;

const KIND_WORDS: u32 = 4;
pub(super) const TYPE_WORDS: u32 = 9;
pub(super) const FIELD_WORDS: u32 = 4;
pub(super) const NODE_WORDS: u32 = 8;

/// The table that is compiled in.
static BUILTIN: LazyLock<Table> = LazyLock::new(|| {
    let bytes: &'static [u8] = include_bytes!("../../../embedded/schema/table.bin");
    Table::new(Cow::Borrowed(bytes)).unwrap_or_default()
});

/// The types of all built-in kinds.
pub fn builtin() -> &'static Table {
    &BUILTIN
}

/// A run of words in the table.
#[derive(Debug, Clone, Copy, Default)]
struct Section {
    offset: u32,
    len: u32,
}

/// A whole schema table.
#[derive(Default)]
pub struct Table {
    bytes: Cow<'static, [u8]>,
    kinds: Section,
    types: Section,
    fields: Section,
    nodes: Section,
    lists: Section,
    texts: Section,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({} bytes)", self.bytes.len())
    }
}

impl Table {
    /// Takes the bytes of a table; `None` if they are none.
    pub(super) fn new(bytes: Cow<'static, [u8]>) -> Option<Self> {
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(MAGIC) {
            return None;
        }
        let mut table = Self { bytes, ..Self::default() };
        if table.raw_word(8) != FORMAT {
            return None;
        }
        let section = |i: u32| Section {
            offset: table.raw_word(16 + 8 * i),
            len: table.raw_word(20 + 8 * i),
        };
        let sections = [0, 1, 2, 3, 4, 5].map(section);
        [table.kinds, table.types, table.fields, table.nodes, table.lists, table.texts] = sections;
        Some(table)
    }

    fn raw_word(&self, at: u32) -> u32 {
        let at = at as usize;
        let word = self.bytes.get(at..at.saturating_add(4)).and_then(|b| b.try_into().ok());
        word.map_or(0, u32::from_le_bytes)
    }

    fn word(&self, section: Section, index: u32) -> u32 {
        if index >= section.len {
            return 0;
        }
        self.raw_word(section.offset.saturating_add(index.saturating_mul(4)))
    }

    fn text(&self, id: u32) -> &str {
        std::str::from_utf8(self.text_bytes(id)).unwrap_or_default()
    }

    fn text_bytes(&self, id: u32) -> &[u8] {
        let start = self.texts.offset.saturating_add(id) as usize;
        let Some(head) = self.bytes.get(start..start.saturating_add(2)) else { return &[] };
        let len = usize::from(u16::from_le_bytes([head[0], head[1]]));
        self.bytes.get(start + 2..start + 2 + len).unwrap_or_default()
    }

    fn list(&self, id: u32) -> impl ExactSizeIterator<Item = u32> + Clone + '_ {
        let count = self.word(self.lists, id);
        (id + 1..(id + 1).saturating_add(count)).map(|i| self.word(self.lists, i))
    }

    /// The release of Kubernetes that the table describes, `v1.37.2`.
    pub fn release(&self) -> &str {
        self.text(self.raw_word(12))
    }

    /// The root node of a kind.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<Node<'_>> {
        let wanted = (group, version, kind);
        let name = |i: u32| {
            let part = |word| self.text(self.word(self.kinds, i * KIND_WORDS + word));
            (part(0), part(1), part(2))
        };
        let at = search(self.kinds.len / KIND_WORDS, |i| name(i).cmp(&wanted))?;
        Some(self.node(self.word(self.kinds, at * KIND_WORDS + 3)))
    }

    /// All kinds as (group, version, kind, root node), sorted.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, &str, &str, Node<'_>)> {
        (0..self.kinds.len / KIND_WORDS).map(|i| {
            let word = |word| self.word(self.kinds, i * KIND_WORDS + word);
            (self.text(word(0)), self.text(word(1)), self.text(word(2)), self.node(word(3)))
        })
    }

    /// The type with an OpenAPI name such as `io.k8s.api.core.v1.Pod`.
    pub fn type_named(&self, name: &str) -> Option<Type<'_>> {
        let type_at = |index| Type { table: self, index };
        search(self.types.len / TYPE_WORDS, |i| type_at(i).name().cmp(name)).map(type_at)
    }

    /// All types in the order of their names.
    pub fn types(&self) -> impl Iterator<Item = Type<'_>> {
        (0..self.types.len / TYPE_WORDS).map(|index| Type { table: self, index })
    }

    /// The node with an index as [`Node::index`] gives it.
    pub fn node(&self, index: u32) -> Node<'_> {
        Node { table: self, index }
    }
}

/// Binary search over `len` sorted entries.
fn search(len: u32, compare: impl Fn(u32) -> std::cmp::Ordering) -> Option<u32> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        match compare(middle) {
            std::cmp::Ordering::Equal => return Some(middle),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

/// What kind of value a node describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any JSON value.
    Any,
    /// A boolean.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A number.
    Float,
    /// A string.
    String,
    /// Bytes, base64 in JSON.
    Bytes,
    /// `resource.Quantity`.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `metav1.Time`.
    Time,
    /// `metav1.MicroTime`.
    MicroTime,
    /// `metav1.Duration`.
    Duration,
    /// `metav1.FieldsV1`, any JSON.
    FieldsV1,
    /// `runtime.RawExtension`, any JSON.
    RawExtension,
    /// `apiextensions.JSON`, any JSON.
    Json,
    /// `apiextensions.JSONSchemaPropsOrArray`.
    SchemaOrArray,
    /// `apiextensions.JSONSchemaPropsOrBool`.
    SchemaOrBool,
    /// `apiextensions.JSONSchemaPropsOrStringArray`.
    SchemaOrStrings,
    /// A struct: fixed fields.
    Struct,
    /// A list of one kind of elements.
    List,
    /// A map from any text to one kind of values.
    Map,
}

const KINDS: [Kind; 21] = [
    Kind::Any,
    Kind::Bool,
    Kind::Int32,
    Kind::Int64,
    Kind::Float,
    Kind::String,
    Kind::Bytes,
    Kind::Quantity,
    Kind::IntOrString,
    Kind::Time,
    Kind::MicroTime,
    Kind::Duration,
    Kind::FieldsV1,
    Kind::RawExtension,
    Kind::Json,
    Kind::SchemaOrArray,
    Kind::SchemaOrBool,
    Kind::SchemaOrStrings,
    Kind::Struct,
    Kind::List,
    Kind::Map,
];

/// How the items of a list relate to each other (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    /// Not said: as atomic.
    Unset,
    /// Replaced as a whole.
    Atomic,
    /// Unique scalars.
    Set,
    /// Objects, unique by their key fields.
    Map,
}

/// Whether a map or struct is owned and replaced as a whole (`x-kubernetes-map-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapType {
    /// Not said: as granular.
    Unset,
    /// Replaced as a whole.
    Atomic,
    /// Key by key.
    Granular,
}

/// How strategic merge patch treats a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strategy(u8);

impl Strategy {
    /// Lists are merged item by item.
    pub const fn merge(self) -> bool {
        self.0 & 1 != 0
    }

    /// Maps are replaced as a whole.
    pub const fn replace(self) -> bool {
        self.0 & 2 != 0
    }

    /// The patch says which keys remain.
    pub const fn retain_keys(self) -> bool {
        self.0 & 4 != 0
    }

    /// No strategy at all.
    pub const fn is_unset(self) -> bool {
        self.0 == 0
    }
}

/// Flags of a node, in the table's numbers.
pub(super) mod node_flag {
    pub(crate) const WRAPPED: u32 = 1;
    pub(crate) const POINTER: u32 = 2;
    pub(crate) const EXTERNAL: u32 = 4;
    pub(crate) const STRUCTURAL: u32 = 8;
    pub(crate) const PRESERVE_UNKNOWN: u32 = 16;
    pub(crate) const EMBEDDED: u32 = 32;
    pub(crate) const NULLABLE: u32 = 64;
}

/// What a value is, and how it is merged: a handle into a table.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    table: &'a Table,
    index: u32,
}

impl<'a> Node<'a> {
    fn word(self, word: u32) -> u32 {
        self.table.word(self.table.nodes, self.index * NODE_WORDS + word)
    }

    fn byte(self, byte: usize) -> u8 {
        self.word(0).to_le_bytes()[byte]
    }

    fn flag(self, flag: u32) -> bool {
        self.word(2) & flag != 0
    }

    /// The node's place in its table.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// What kind of value this is.
    pub fn kind(self) -> Kind {
        KINDS.get(usize::from(self.byte(0))).copied().unwrap_or(Kind::Any)
    }

    /// How the items of a list relate.
    pub fn list_type(self) -> ListType {
        match self.byte(1) {
            1 => ListType::Atomic,
            2 => ListType::Set,
            3 => ListType::Map,
            _ => ListType::Unset,
        }
    }

    /// Whether a map or struct is taken as a whole, as the field says or else the struct's type.
    pub fn map_type(self) -> MapType {
        match self.byte(2) {
            1 => MapType::Atomic,
            2 => MapType::Granular,
            _ => self.fields_type().map_or(MapType::Unset, Type::map_type),
        }
    }

    /// What the field alone says of [`Self::map_type`].
    pub fn own_map_type(self) -> MapType {
        match self.byte(2) {
            1 => MapType::Atomic,
            2 => MapType::Granular,
            _ => MapType::Unset,
        }
    }

    /// The strategy of strategic merge patch.
    pub fn strategy(self) -> Strategy {
        Strategy(self.byte(3))
    }

    /// The struct type, for [`Kind::Struct`].
    pub fn fields_type(self) -> Option<Type<'a>> {
        if self.kind() != Kind::Struct {
            return None;
        }
        let table = if self.flag(node_flag::EXTERNAL) { builtin() } else { self.table };
        Some(Type { table, index: self.word(1) })
    }

    /// The node of elements of a list or values of a map.
    pub fn elem(self) -> Option<Node<'a>> {
        matches!(self.kind(), Kind::List | Kind::Map)
            .then(|| Node { table: self.table, index: self.word(1) })
    }

    /// The key fields of a [`ListType::Map`] list.
    pub fn keys(self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        let table = self.table;
        table.list(self.word(3)).map(|id| table.text(id))
    }

    /// The key field by which strategic merge patch merges the items of a list, or "".
    pub fn merge_key(self) -> &'a str {
        self.table.text(self.word(4))
    }

    /// The values that a string may have; none where any may stand.
    pub fn values(self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        let table = self.table;
        table.list(self.word(5)).map(|id| table.text(id))
    }

    /// The default as JSON text, or "".
    pub fn default_text(self) -> &'a str {
        self.table.text(self.word(6))
    }

    /// The Go type as error messages name it: `int32`, `v1.PodSpec`, `[]v1.Container`.
    pub fn go_name(self) -> &'a str {
        self.table.text(self.word(7))
    }

    /// Whether protobuf wraps the list in a message with one field, `items`.
    pub fn is_wrapped(self) -> bool {
        self.flag(node_flag::WRAPPED)
    }

    /// Whether elements or values of this kind are Go pointers.
    pub fn is_pointer(self) -> bool {
        self.flag(node_flag::POINTER)
    }

    /// Whether the node comes from a custom resource's structural schema, so that values of the
    /// wrong type are for validation to refuse, nulls may stay, and nothing is always written.
    pub fn is_structural(self) -> bool {
        self.flag(node_flag::STRUCTURAL)
    }

    /// Whether unknown fields stay (`x-kubernetes-preserve-unknown-fields`).
    pub fn preserves_unknown(self) -> bool {
        self.flag(node_flag::PRESERVE_UNKNOWN)
    }

    /// Whether the value is an object with its own `apiVersion`, `kind` and `metadata`.
    pub fn is_embedded(self) -> bool {
        self.flag(node_flag::EMBEDDED)
    }

    /// Whether null is a value.
    pub fn is_nullable(self) -> bool {
        self.flag(node_flag::NULLABLE)
    }
}

/// A struct type: a handle into a table.
#[derive(Debug, Clone, Copy)]
pub struct Type<'a> {
    table: &'a Table,
    index: u32,
}

impl<'a> Type<'a> {
    fn word(self, word: u32) -> u32 {
        self.table.word(self.table.types, self.index * TYPE_WORDS + word)
    }

    /// The type's place in its table.
    pub(super) const fn index(self) -> u32 {
        self.index
    }

    /// The name in OpenAPI documents, `io.k8s.api.core.v1.Pod`; "" in a custom resource's schema.
    pub fn name(self) -> &'a str {
        self.table.text(self.word(0))
    }

    /// The Go type, `v1.Pod`.
    pub fn go_name(self) -> &'a str {
        self.table.text(self.word(1))
    }

    /// The Go type without its package, `Pod`.
    pub fn short_name(self) -> &'a str {
        self.go_name().rsplit('.').next().unwrap_or_default()
    }

    /// Whether the struct is taken as a whole.
    pub fn map_type(self) -> MapType {
        match self.word(5) {
            1 => MapType::Atomic,
            2 => MapType::Granular,
            _ => MapType::Unset,
        }
    }

    /// Which description the type has.
    pub fn description(self) -> u32 {
        self.word(6)
    }

    /// More members of the OpenAPI schema as a JSON object, or "".
    pub fn extensions(self) -> &'a str {
        self.table.text(self.word(7))
    }

    /// The names of the required fields in the order in which Kubernetes lists them.
    pub fn required(self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        let table = self.table;
        table.list(self.word(8)).map(|id| table.text(id))
    }

    /// The struct's own fields in the order of their protobuf numbers, inlined structs as one.
    pub fn own_fields(self) -> impl DoubleEndedIterator<Item = Field<'a>> + Clone + use<'a> {
        let (table, first) = (self.table, self.word(2));
        (first..first + self.word(3)).map(move |index| Field { table, index })
    }

    /// The Go names of the inlined structs through which a field of the JSON object is reached.
    pub fn inlined_through(self, field: Field<'a>) -> Vec<&'a str> {
        let first = self.word(2);
        if (first..first + self.word(3)).contains(&field.index) {
            return Vec::new();
        }
        let holders = self.own_fields().filter(|own| own.is_inline());
        let inner = holders.filter_map(|own| own.node().fields_type());
        let through =
            inner.filter(|ty| ty.field(field.name()).is_some_and(|f| f.index == field.index));
        let path = |ty: Type<'a>| [vec![ty.short_name()], ty.inlined_through(field)].concat();
        through.map(path).next().unwrap_or_default()
    }

    /// The own field with a protobuf number.
    pub fn by_number(self, number: u32) -> Option<Field<'a>> {
        self.own_fields().find(|field| field.number() == number)
    }

    /// All fields of the JSON object, those of inlined structs included, sorted by name.
    pub fn fields(self) -> impl ExactSizeIterator<Item = Field<'a>> + Clone + use<'a> {
        let table = self.table;
        table.list(self.word(4)).map(move |index| Field { table, index })
    }

    /// The field of the JSON object called `name`.
    pub fn field(self, name: &str) -> Option<Field<'a>> {
        let list = self.word(4);
        let field = |i: u32| Field {
            table: self.table,
            index: self.table.word(self.table.lists, list + 1 + i),
        };
        let count = self.table.word(self.table.lists, list);
        let name_bytes = |i| self.table.text_bytes(field(i).word(0));
        search(count, |i| name_bytes(i).cmp(name.as_bytes())).map(field)
    }
}

/// Flags of a field, in the table's numbers.
pub(super) mod field_flag {
    pub(crate) const REQUIRED: u32 = 1;
    pub(crate) const POINTER: u32 = 2;
    pub(crate) const OMIT_EMPTY: u32 = 4;
    pub(crate) const OMIT_ZERO: u32 = 8;
    pub(crate) const INLINE: u32 = 16;
}

/// A field of a struct: a handle into a table.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    table: &'a Table,
    index: u32,
}

impl<'a> Field<'a> {
    fn word(self, word: u32) -> u32 {
        self.table.word(self.table.fields, self.index * FIELD_WORDS + word)
    }

    fn flag(self, flag: u32) -> bool {
        (self.word(2) >> 16) & flag != 0
    }

    /// The JSON name, "" for an inlined struct.
    pub fn name(self) -> &'a str {
        self.table.text(self.word(0))
    }

    /// The same in bytes, which nothing has to look through.
    pub(in crate::api) fn name_bytes(self) -> &'a [u8] {
        self.table.text_bytes(self.word(0))
    }

    /// What the value is.
    pub fn node(self) -> Node<'a> {
        Node { table: self.table, index: self.word(1) }
    }

    /// The protobuf field number; 0 if protobuf does not carry the field.
    pub fn number(self) -> u32 {
        self.word(2) & 0xffff
    }

    /// Which description the field has.
    pub fn description(self) -> u32 {
        self.word(3)
    }

    /// Whether OpenAPI lists the field as required.
    pub fn is_required(self) -> bool {
        self.flag(field_flag::REQUIRED)
    }

    /// Whether the Go field is a pointer: absent and zero are told apart.
    pub fn is_pointer(self) -> bool {
        self.flag(field_flag::POINTER)
    }

    /// Whether JSON leaves an empty value out (structs are never empty in this sense).
    pub fn omits_empty(self) -> bool {
        self.flag(field_flag::OMIT_EMPTY)
    }

    /// Whether JSON leaves a zero value out, structs included.
    pub fn omits_zero(self) -> bool {
        self.flag(field_flag::OMIT_ZERO)
    }

    /// Whether the fields of this struct stand in the JSON object of the outer one.
    pub fn is_inline(self) -> bool {
        self.flag(field_flag::INLINE)
    }
}
