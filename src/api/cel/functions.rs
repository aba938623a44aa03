//! The functions that expressions can call: names, overloads, and what each takes and gives.
//!
//! A table. Those of Kubernetes v1.36 are known, as a v1.37 server lets new rules use only what
//! the release before it knows too. What they do is in `library`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub struct Overload {
    /// What tells it from the others.
    pub id: &'static str,
    /// Whether its first parameter stands before the dot.
    pub member: bool,
    /// What it takes.
    pub params: Vec<Type>,
    /// What it gives.
    pub result: Type,
    /// How many unknown types its signature names, as `Type::Var(0)` and so on.
    pub unknowns: u32,
}

/// All functions by name.
pub static FUNCTIONS: LazyLock<HashMap<&str, Vec<Overload>>> =
    LazyLock::new(|| TABLE.iter().map(|(name, all)| (*name, overloads(all))).collect());

/// The names of the types that libraries bring.
pub const QUANTITY: &str = "kubernetes.Quantity";
/// A parsed URL.
pub const URL: &str = "kubernetes.URL";
/// An IP address.
pub const IP: &str = "net.IP";
/// An IP prefix.
pub const CIDR: &str = "net.CIDR";
/// A semantic version.
pub const SEMVER: &str = "kubernetes.Semver";
/// A format of names.
pub const FORMAT: &str = "kubernetes.NamedFormat";
/// Who may do what, as admission asks.
pub const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
/// A question about a path.
const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
/// A question about a group.
const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
/// A question about a resource.
pub const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
/// The answer.
const DECISION: &str = "kubernetes.authorization.Decision";
/// The types of libraries that have names in expressions.
const OPAQUE: &[&str] = &[
    QUANTITY,
    URL,
    IP,
    CIDR,
    SEMVER,
    FORMAT,
    AUTHORIZER,
    PATH_CHECK,
    GROUP_CHECK,
    RESOURCE_CHECK,
    DECISION,
];

/// Whether a type is that of an object, of whose fields nothing is known.
pub fn is_object(name: &str) -> bool {
    name.starts_with("kubernetes.authorization.")
}

fn overloads(table: &'static [(&'static str, &'static str)]) -> Vec<Overload> {
    table.iter().map(|(id, signature)| overload(id, signature)).collect()
}

/// Reads `string.(int, A) list(A)`.
fn overload(id: &'static str, signature: &str) -> Overload {
    let mut reader = Reader { rest: signature, unknowns: 0 };
    let mut params = Vec::new();
    let member = !reader.rest.starts_with('(');
    if member {
        params.push(reader.ty());
        reader.skip(".");
    }
    reader.skip("(");
    while !reader.rest.starts_with(')') {
        params.push(reader.ty());
        reader.skip(", ");
    }
    reader.skip(") ");
    let result = reader.ty();
    Overload { id, member, params, result, unknowns: reader.unknowns }
}

struct Reader<'s> {
    rest: &'s str,
    unknowns: u32,
}

impl Reader<'_> {
    fn skip(&mut self, sign: &str) {
        self.rest = self.rest.strip_prefix(sign).unwrap_or(self.rest);
    }

    fn ty(&mut self) -> Type {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let name = &self.rest[..end];
        self.rest = &self.rest[end..];
        if let Some(n) = ["A", "B"].iter().position(|unknown| *unknown == name) {
            let n = u32::try_from(n).unwrap_or_default();
            self.unknowns = self.unknowns.max(n + 1);
            return Type::Var(n);
        }
        named(name).unwrap_or_else(|| self.generic(name))
    }

    fn generic(&mut self, name: &str) -> Type {
        self.skip("(");
        let inner = self.ty();
        let made = match name {
            "list" => Type::list(inner),
            "optional" => Type::optional(inner),
            "type" => Type::Type(Arc::new(inner)),
            _ => {
                self.skip(", ");
                Type::map(inner, self.ty())
            }
        };
        self.skip(")");
        made
    }
}

fn named(name: &str) -> Option<Type> {
    Some(match name {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::Str,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "quantity" => Type::Opaque(QUANTITY),
        "url" => Type::Opaque(URL),
        "ip" => Type::Opaque(IP),
        "cidr" => Type::Opaque(CIDR),
        "semver" => Type::Opaque(SEMVER),
        "format" => Type::Opaque(FORMAT),
        "authorizer" => Type::Opaque(AUTHORIZER),
        "pathCheck" => Type::Opaque(PATH_CHECK),
        "groupCheck" => Type::Opaque(GROUP_CHECK),
        "resourceCheck" => Type::Opaque(RESOURCE_CHECK),
        "decision" => Type::Opaque(DECISION),
        _ => return None,
    })
}

/// The types that have names in expressions.
pub fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "null_type" => Type::Null,
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "optional_type" => Type::optional(Type::Dyn),
        "bool" | "int" | "uint" | "double" | "string" | "bytes" | "dyn" => return named(name),
        _ => Type::Opaque(OPAQUE.iter().find(|known| **known == name)?),
    })
}

type Row = (&'static str, &'static [(&'static str, &'static str)]);

const TABLE: &[Row] = &[
    ("_?_:_", &[("conditional", "(bool, A, A) A")]),
    ("_&&_", &[("logical_and", "(bool, bool) bool")]),
    ("_||_", &[("logical_or", "(bool, bool) bool")]),
    ("!_", &[("logical_not", "(bool) bool")]),
    ("@not_strictly_false", &[("not_strictly_false", "(bool) bool")]),
    ("_==_", &[("equals", "(A, A) bool")]),
    ("_!=_", &[("not_equals", "(A, A) bool")]),
    (
        "_+_",
        &[
            ("add_bytes", "(bytes, bytes) bytes"),
            ("add_double", "(double, double) double"),
            ("add_duration_duration", "(duration, duration) duration"),
            ("add_duration_timestamp", "(duration, timestamp) timestamp"),
            ("add_timestamp_duration", "(timestamp, duration) timestamp"),
            ("add_int64", "(int, int) int"),
            ("add_list", "(list(A), list(A)) list(A)"),
            ("add_string", "(string, string) string"),
            ("add_uint64", "(uint, uint) uint"),
        ],
    ),
    (
        "_-_",
        &[
            ("subtract_double", "(double, double) double"),
            ("subtract_duration_duration", "(duration, duration) duration"),
            ("subtract_int64", "(int, int) int"),
            ("subtract_timestamp_duration", "(timestamp, duration) timestamp"),
            ("subtract_timestamp_timestamp", "(timestamp, timestamp) duration"),
            ("subtract_uint64", "(uint, uint) uint"),
        ],
    ),
    (
        "_*_",
        &[
            ("multiply_double", "(double, double) double"),
            ("multiply_int64", "(int, int) int"),
            ("multiply_uint64", "(uint, uint) uint"),
        ],
    ),
    (
        "_/_",
        &[
            ("divide_double", "(double, double) double"),
            ("divide_int64", "(int, int) int"),
            ("divide_uint64", "(uint, uint) uint"),
        ],
    ),
    ("_%_", &[("modulo_int64", "(int, int) int"), ("modulo_uint64", "(uint, uint) uint")]),
    ("-_", &[("negate_double", "(double) double"), ("negate_int64", "(int) int")]),
    (
        "_<_",
        &[
            ("less_bool", "(bool, bool) bool"),
            ("less_int64", "(int, int) bool"),
            ("less_int64_uint64", "(int, uint) bool"),
            ("less_int64_double", "(int, double) bool"),
            ("less_uint64_int64", "(uint, int) bool"),
            ("less_uint64", "(uint, uint) bool"),
            ("less_uint64_double", "(uint, double) bool"),
            ("less_double_int64", "(double, int) bool"),
            ("less_double_uint64", "(double, uint) bool"),
            ("less_double", "(double, double) bool"),
            ("less_string", "(string, string) bool"),
            ("less_bytes", "(bytes, bytes) bool"),
            ("less_timestamp", "(timestamp, timestamp) bool"),
            ("less_duration", "(duration, duration) bool"),
        ],
    ),
    (
        "_<=_",
        &[
            ("less_equals_bool", "(bool, bool) bool"),
            ("less_equals_int64", "(int, int) bool"),
            ("less_equals_int64_uint64", "(int, uint) bool"),
            ("less_equals_int64_double", "(int, double) bool"),
            ("less_equals_uint64_int64", "(uint, int) bool"),
            ("less_equals_uint64", "(uint, uint) bool"),
            ("less_equals_uint64_double", "(uint, double) bool"),
            ("less_equals_double_int64", "(double, int) bool"),
            ("less_equals_double_uint64", "(double, uint) bool"),
            ("less_equals_double", "(double, double) bool"),
            ("less_equals_string", "(string, string) bool"),
            ("less_equals_bytes", "(bytes, bytes) bool"),
            ("less_equals_timestamp", "(timestamp, timestamp) bool"),
            ("less_equals_duration", "(duration, duration) bool"),
        ],
    ),
    (
        "_>_",
        &[
            ("greater_bool", "(bool, bool) bool"),
            ("greater_int64", "(int, int) bool"),
            ("greater_int64_uint64", "(int, uint) bool"),
            ("greater_int64_double", "(int, double) bool"),
            ("greater_uint64_int64", "(uint, int) bool"),
            ("greater_uint64", "(uint, uint) bool"),
            ("greater_uint64_double", "(uint, double) bool"),
            ("greater_double_int64", "(double, int) bool"),
            ("greater_double_uint64", "(double, uint) bool"),
            ("greater_double", "(double, double) bool"),
            ("greater_string", "(string, string) bool"),
            ("greater_bytes", "(bytes, bytes) bool"),
            ("greater_timestamp", "(timestamp, timestamp) bool"),
            ("greater_duration", "(duration, duration) bool"),
        ],
    ),
    (
        "_>=_",
        &[
            ("greater_equals_bool", "(bool, bool) bool"),
            ("greater_equals_int64", "(int, int) bool"),
            ("greater_equals_int64_uint64", "(int, uint) bool"),
            ("greater_equals_int64_double", "(int, double) bool"),
            ("greater_equals_uint64_int64", "(uint, int) bool"),
            ("greater_equals_uint64", "(uint, uint) bool"),
            ("greater_equals_uint64_double", "(uint, double) bool"),
            ("greater_equals_double_int64", "(double, int) bool"),
            ("greater_equals_double_uint64", "(double, uint) bool"),
            ("greater_equals_double", "(double, double) bool"),
            ("greater_equals_string", "(string, string) bool"),
            ("greater_equals_bytes", "(bytes, bytes) bool"),
            ("greater_equals_timestamp", "(timestamp, timestamp) bool"),
            ("greater_equals_duration", "(duration, duration) bool"),
        ],
    ),
    (
        "_[_]",
        &[
            ("index_list", "(list(A), int) A"),
            ("index_map", "(map(A, B), A) B"),
            ("optional_list_index_int", "(optional(list(A)), int) optional(A)"),
            ("optional_map_index_value", "(optional(map(A, B)), A) optional(B)"),
        ],
    ),
    (
        "_[?_]",
        &[
            ("list_optindex_optional_int", "(list(A), int) optional(A)"),
            ("optional_list_optindex_optional_int", "(optional(list(A)), int) optional(A)"),
            ("map_optindex_optional_value", "(map(A, B), A) optional(B)"),
            ("optional_map_optindex_optional_value", "(optional(map(A, B)), A) optional(B)"),
        ],
    ),
    ("@in", &[("in_list", "(A, list(A)) bool"), ("in_map", "(A, map(A, B)) bool")]),
    (
        "size",
        &[
            ("size_string", "(string) int"),
            ("string_size", "string.() int"),
            ("size_bytes", "(bytes) int"),
            ("bytes_size", "bytes.() int"),
            ("size_list", "(list(A)) int"),
            ("list_size", "list(A).() int"),
            ("size_map", "(map(A, B)) int"),
            ("map_size", "map(A, B).() int"),
        ],
    ),
    ("contains", &[("contains_string", "string.(string) bool")]),
    ("startsWith", &[("starts_with_string", "string.(string) bool")]),
    ("endsWith", &[("ends_with_string", "string.(string) bool")]),
    (
        "matches",
        &[("matches", "(string, string) bool"), ("matches_string", "string.(string) bool")],
    ),
    ("bool", &[("bool_to_bool", "(bool) bool"), ("string_to_bool", "(string) bool")]),
    ("bytes", &[("bytes_to_bytes", "(bytes) bytes"), ("string_to_bytes", "(string) bytes")]),
    (
        "double",
        &[
            ("double_to_double", "(double) double"),
            ("int64_to_double", "(int) double"),
            ("string_to_double", "(string) double"),
            ("uint64_to_double", "(uint) double"),
        ],
    ),
    (
        "duration",
        &[
            ("duration_to_duration", "(duration) duration"),
            ("int64_to_duration", "(int) duration"),
            ("string_to_duration", "(string) duration"),
        ],
    ),
    ("dyn", &[("to_dyn", "(A) dyn")]),
    (
        "int",
        &[
            ("int64_to_int64", "(int) int"),
            ("double_to_int64", "(double) int"),
            ("duration_to_int64", "(duration) int"),
            ("string_to_int64", "(string) int"),
            ("timestamp_to_int64", "(timestamp) int"),
            ("uint64_to_int64", "(uint) int"),
        ],
    ),
    (
        "string",
        &[
            ("string_to_string", "(string) string"),
            ("bool_to_string", "(bool) string"),
            ("bytes_to_string", "(bytes) string"),
            ("double_to_string", "(double) string"),
            ("duration_to_string", "(duration) string"),
            ("int64_to_string", "(int) string"),
            ("timestamp_to_string", "(timestamp) string"),
            ("uint64_to_string", "(uint) string"),
            ("ip_to_string", "(ip) string"),
            ("cidr_to_string", "(cidr) string"),
        ],
    ),
    (
        "timestamp",
        &[
            ("timestamp_to_timestamp", "(timestamp) timestamp"),
            ("int64_to_timestamp", "(int) timestamp"),
            ("string_to_timestamp", "(string) timestamp"),
        ],
    ),
    ("type", &[("type", "(A) type(A)")]),
    (
        "uint",
        &[
            ("uint64_to_uint64", "(uint) uint"),
            ("double_to_uint64", "(double) uint"),
            ("int64_to_uint64", "(int) uint"),
            ("string_to_uint64", "(string) uint"),
        ],
    ),
    (
        "getFullYear",
        &[
            ("timestamp_to_year", "timestamp.() int"),
            ("timestamp_to_year_with_tz", "timestamp.(string) int"),
        ],
    ),
    (
        "getMonth",
        &[
            ("timestamp_to_month", "timestamp.() int"),
            ("timestamp_to_month_with_tz", "timestamp.(string) int"),
        ],
    ),
    (
        "getDayOfYear",
        &[
            ("timestamp_to_day_of_year", "timestamp.() int"),
            ("timestamp_to_day_of_year_with_tz", "timestamp.(string) int"),
        ],
    ),
    (
        "getDayOfMonth",
        &[
            ("timestamp_to_day_of_month", "timestamp.() int"),
            ("timestamp_to_day_of_month_with_tz", "timestamp.(string) int"),
        ],
    ),
    (
        "getDate",
        &[
            ("timestamp_to_day_of_month_1_based", "timestamp.() int"),
            ("timestamp_to_day_of_month_1_based_with_tz", "timestamp.(string) int"),
        ],
    ),
    (
        "getDayOfWeek",
        &[
            ("timestamp_to_day_of_week", "timestamp.() int"),
            ("timestamp_to_day_of_week_with_tz", "timestamp.(string) int"),
        ],
    ),
    (
        "getHours",
        &[
            ("timestamp_to_hours", "timestamp.() int"),
            ("timestamp_to_hours_with_tz", "timestamp.(string) int"),
            ("duration_to_hours", "duration.() int"),
        ],
    ),
    (
        "getMinutes",
        &[
            ("timestamp_to_minutes", "timestamp.() int"),
            ("timestamp_to_minutes_with_tz", "timestamp.(string) int"),
            ("duration_to_minutes", "duration.() int"),
        ],
    ),
    (
        "getSeconds",
        &[
            ("timestamp_to_seconds", "timestamp.() int"),
            ("timestamp_to_seconds_with_tz", "timestamp.(string) int"),
            ("duration_to_seconds", "duration.() int"),
        ],
    ),
    (
        "getMilliseconds",
        &[
            ("timestamp_to_milliseconds", "timestamp.() int"),
            ("timestamp_to_milliseconds_with_tz", "timestamp.(string) int"),
            ("duration_to_milliseconds", "duration.() int"),
        ],
    ),
    ("optional.of", &[("optional_of", "(A) optional(A)")]),
    ("optional.ofNonZeroValue", &[("optional_ofNonZeroValue", "(A) optional(A)")]),
    ("optional.none", &[("optional_none", "() optional(A)")]),
    ("value", &[("optional_value", "optional(A).() A")]),
    ("hasValue", &[("optional_hasValue", "optional(A).() bool")]),
    ("or", &[("optional_or_optional", "optional(A).(optional(A)) optional(A)")]),
    ("orValue", &[("optional_orValue_value", "optional(A).(A) A")]),
    ("first", &[("list_first", "list(A).() optional(A)")]),
    ("last", &[("list_last", "list(A).() optional(A)")]),
    ("optional.unwrap", &[("optional_unwrap", "(list(optional(A))) list(A)")]),
    ("unwrapOpt", &[("optional_unwrapOpt", "list(optional(A)).() list(A)")]),
    (
        "cel.@mapInsert",
        &[
            ("@mapInsert_map_key_value", "(map(A, B), A, B) map(A, B)"),
            ("@mapInsert_map_map", "(map(A, B), map(A, B)) map(A, B)"),
        ],
    ),
    ("charAt", &[("string_char_at_int", "string.(int) string")]),
    (
        "indexOf",
        &[
            ("string_index_of_string", "string.(string) int"),
            ("string_index_of_string_int", "string.(string, int) int"),
            ("list_a_index_of_int", "list(A).(A) int"),
        ],
    ),
    (
        "lastIndexOf",
        &[
            ("string_last_index_of_string", "string.(string) int"),
            ("string_last_index_of_string_int", "string.(string, int) int"),
            ("list_a_last_index_of_int", "list(A).(A) int"),
        ],
    ),
    ("lowerAscii", &[("string_lower_ascii", "string.() string")]),
    ("upperAscii", &[("string_upper_ascii", "string.() string")]),
    (
        "replace",
        &[
            ("string_replace_string_string", "string.(string, string) string"),
            ("string_replace_string_string_int", "string.(string, string, int) string"),
        ],
    ),
    (
        "split",
        &[
            ("string_split_string", "string.(string) list(string)"),
            ("string_split_string_int", "string.(string, int) list(string)"),
        ],
    ),
    (
        "substring",
        &[
            ("string_substring_int", "string.(int) string"),
            ("string_substring_int_int", "string.(int, int) string"),
        ],
    ),
    ("trim", &[("string_trim", "string.() string")]),
    ("format", &[("string_format", "string.(list(dyn)) string")]),
    (
        "join",
        &[
            ("list_join", "list(string).() string"),
            ("list_join_string", "list(string).(string) string"),
        ],
    ),
    ("strings.quote", &[("strings_quote", "(string) string")]),
    (
        "isSorted",
        &[
            ("list_int_is_sorted_bool", "list(int).() bool"),
            ("list_uint_is_sorted_bool", "list(uint).() bool"),
            ("list_double_is_sorted_bool", "list(double).() bool"),
            ("list_bool_is_sorted_bool", "list(bool).() bool"),
            ("list_string_is_sorted_bool", "list(string).() bool"),
            ("list_bytes_is_sorted_bool", "list(bytes).() bool"),
            ("list_duration_is_sorted_bool", "list(duration).() bool"),
            ("list_timestamp_is_sorted_bool", "list(timestamp).() bool"),
        ],
    ),
    (
        "sum",
        &[
            ("list_int_sum_int", "list(int).() int"),
            ("list_uint_sum_uint", "list(uint).() uint"),
            ("list_double_sum_double", "list(double).() double"),
            ("list_duration_sum_duration", "list(duration).() duration"),
        ],
    ),
    (
        "min",
        &[
            ("list_int_min_int", "list(int).() int"),
            ("list_uint_min_uint", "list(uint).() uint"),
            ("list_double_min_double", "list(double).() double"),
            ("list_bool_min_bool", "list(bool).() bool"),
            ("list_string_min_string", "list(string).() string"),
            ("list_bytes_min_bytes", "list(bytes).() bytes"),
            ("list_duration_min_duration", "list(duration).() duration"),
            ("list_timestamp_min_timestamp", "list(timestamp).() timestamp"),
        ],
    ),
    (
        "max",
        &[
            ("list_int_max_int", "list(int).() int"),
            ("list_uint_max_uint", "list(uint).() uint"),
            ("list_double_max_double", "list(double).() double"),
            ("list_bool_max_bool", "list(bool).() bool"),
            ("list_string_max_string", "list(string).() string"),
            ("list_bytes_max_bytes", "list(bytes).() bytes"),
            ("list_duration_max_duration", "list(duration).() duration"),
            ("list_timestamp_max_timestamp", "list(timestamp).() timestamp"),
        ],
    ),
    ("slice", &[("list_slice", "list(A).(int, int) list(A)")]),
    (
        "flatten",
        &[
            ("list_flatten", "list(list(A)).() list(A)"),
            ("list_flatten_int", "list(dyn).(int) list(dyn)"),
        ],
    ),
    (
        "sort",
        &[
            ("list_int_sort", "list(int).() list(int)"),
            ("list_uint_sort", "list(uint).() list(uint)"),
            ("list_double_sort", "list(double).() list(double)"),
            ("list_bool_sort", "list(bool).() list(bool)"),
            ("list_string_sort", "list(string).() list(string)"),
            ("list_bytes_sort", "list(bytes).() list(bytes)"),
            ("list_duration_sort", "list(duration).() list(duration)"),
            ("list_timestamp_sort", "list(timestamp).() list(timestamp)"),
        ],
    ),
    (
        "@sortByAssociatedKeys",
        &[
            ("list_int_sortByAssociatedKeys", "list(A).(list(int)) list(A)"),
            ("list_uint_sortByAssociatedKeys", "list(A).(list(uint)) list(A)"),
            ("list_double_sortByAssociatedKeys", "list(A).(list(double)) list(A)"),
            ("list_bool_sortByAssociatedKeys", "list(A).(list(bool)) list(A)"),
            ("list_string_sortByAssociatedKeys", "list(A).(list(string)) list(A)"),
            ("list_bytes_sortByAssociatedKeys", "list(A).(list(bytes)) list(A)"),
            ("list_duration_sortByAssociatedKeys", "list(A).(list(duration)) list(A)"),
            ("list_timestamp_sortByAssociatedKeys", "list(A).(list(timestamp)) list(A)"),
        ],
    ),
    ("lists.range", &[("lists_range", "(int) list(int)")]),
    ("reverse", &[("list_reverse", "list(A).() list(A)")]),
    ("distinct", &[("list_distinct", "list(A).() list(A)")]),
    ("sets.contains", &[("list_sets_contains_list", "(list(A), list(A)) bool")]),
    ("sets.equivalent", &[("list_sets_equivalent_list", "(list(A), list(A)) bool")]),
    ("sets.intersects", &[("list_sets_intersects_list", "(list(A), list(A)) bool")]),
    ("find", &[("string_find_string", "string.(string) string")]),
    (
        "findAll",
        &[
            ("string_find_all_string", "string.(string) list(string)"),
            ("string_find_all_string_int", "string.(string, int) list(string)"),
        ],
    ),
    ("url", &[("string_to_url", "(string) url")]),
    ("isURL", &[("is_url_string", "(string) bool")]),
    ("getScheme", &[("url_get_scheme", "url.() string")]),
    ("getHost", &[("url_get_host", "url.() string")]),
    ("getHostname", &[("url_get_hostname", "url.() string")]),
    ("getPort", &[("url_get_port", "url.() string")]),
    ("getEscapedPath", &[("url_get_escaped_path", "url.() string")]),
    ("getQuery", &[("url_get_query", "url.() map(string, list(string))")]),
    ("ip", &[("string_to_ip", "(string) ip"), ("cidr_ip", "cidr.() ip")]),
    ("isIP", &[("is_ip", "(string) bool")]),
    ("ip.isCanonical", &[("ip_is_canonical", "(string) bool")]),
    ("family", &[("ip_family", "ip.() int")]),
    ("isUnspecified", &[("ip_is_unspecified", "ip.() bool")]),
    ("isLoopback", &[("ip_is_loopback", "ip.() bool")]),
    ("isLinkLocalMulticast", &[("ip_is_link_local_multicast", "ip.() bool")]),
    ("isLinkLocalUnicast", &[("ip_is_link_local_unicast", "ip.() bool")]),
    ("isGlobalUnicast", &[("ip_is_global_unicast", "ip.() bool")]),
    ("cidr", &[("string_to_cidr", "(string) cidr")]),
    ("isCIDR", &[("is_cidr", "(string) bool")]),
    (
        "containsIP",
        &[
            ("cidr_contains_ip_string", "cidr.(string) bool"),
            ("cidr_contains_ip_ip", "cidr.(ip) bool"),
        ],
    ),
    (
        "containsCIDR",
        &[
            ("cidr_contains_cidr_string", "cidr.(string) bool"),
            ("cidr_contains_cidr", "cidr.(cidr) bool"),
        ],
    ),
    ("prefixLength", &[("cidr_prefix_length", "cidr.() int")]),
    ("masked", &[("cidr_masked", "cidr.() cidr")]),
    ("quantity", &[("string_to_quantity", "(string) quantity")]),
    ("isQuantity", &[("is_quantity_string", "(string) bool")]),
    ("sign", &[("quantity_sign", "(quantity) int")]),
    (
        "isGreaterThan",
        &[
            ("quantity_is_greater_than", "quantity.(quantity) bool"),
            ("semver_is_greater_than", "semver.(semver) bool"),
        ],
    ),
    (
        "isLessThan",
        &[
            ("quantity_is_less_than", "quantity.(quantity) bool"),
            ("semver_is_less_than", "semver.(semver) bool"),
        ],
    ),
    (
        "compareTo",
        &[
            ("quantity_compare_to", "quantity.(quantity) int"),
            ("semver_compare_to", "semver.(semver) int"),
        ],
    ),
    ("asApproximateFloat", &[("quantity_get_float", "quantity.() double")]),
    ("asInteger", &[("quantity_get_int", "quantity.() int")]),
    ("isInteger", &[("quantity_is_integer", "quantity.() bool")]),
    (
        "add",
        &[
            ("quantity_add", "quantity.(quantity) quantity"),
            ("quantity_add_int", "quantity.(int) quantity"),
        ],
    ),
    (
        "sub",
        &[
            ("quantity_sub", "quantity.(quantity) quantity"),
            ("quantity_sub_int", "quantity.(int) quantity"),
        ],
    ),
    (
        "semver",
        &[
            ("string_to_semver", "(string) semver"),
            ("string_bool_to_semver", "(string, bool) semver"),
        ],
    ),
    (
        "isSemver",
        &[("is_semver_string", "(string) bool"), ("is_semver_string_bool", "(string, bool) bool")],
    ),
    ("major", &[("semver_major", "semver.() int")]),
    ("minor", &[("semver_minor", "semver.() int")]),
    ("patch", &[("semver_patch", "semver.() int")]),
    ("validate", &[("format-validate", "format.(string) optional(list(string))")]),
    ("format.named", &[("format-named", "(string) optional(format)")]),
    ("format.dns1123Label", &[("format.dns1123Label", "() format")]),
    ("format.dns1123Subdomain", &[("format.dns1123Subdomain", "() format")]),
    ("format.dns1035Label", &[("format.dns1035Label", "() format")]),
    ("format.qualifiedName", &[("format.qualifiedName", "() format")]),
    ("format.dns1123LabelPrefix", &[("format.dns1123LabelPrefix", "() format")]),
    ("format.dns1123SubdomainPrefix", &[("format.dns1123SubdomainPrefix", "() format")]),
    ("format.dns1035LabelPrefix", &[("format.dns1035LabelPrefix", "() format")]),
    ("format.labelValue", &[("format.labelValue", "() format")]),
    ("format.uri", &[("format.uri", "() format")]),
    ("format.uuid", &[("format.uuid", "() format")]),
    ("format.byte", &[("format.byte", "() format")]),
    ("format.date", &[("format.date", "() format")]),
    ("format.datetime", &[("format.datetime", "() format")]),
    ("path", &[("authorizer_path", "authorizer.(string) pathCheck")]),
    ("group", &[("authorizer_group", "authorizer.(string) groupCheck")]),
    ("serviceAccount", &[("authorizer_serviceaccount", "authorizer.(string, string) authorizer")]),
    ("resource", &[("groupcheck_resource", "groupCheck.(string) resourceCheck")]),
    ("subresource", &[("resourcecheck_subresource", "resourceCheck.(string) resourceCheck")]),
    ("namespace", &[("resourcecheck_namespace", "resourceCheck.(string) resourceCheck")]),
    ("name", &[("resourcecheck_name", "resourceCheck.(string) resourceCheck")]),
    ("fieldSelector", &[("authorizer_fieldselector", "resourceCheck.(string) resourceCheck")]),
    ("labelSelector", &[("authorizer_labelselector", "resourceCheck.(string) resourceCheck")]),
    (
        "check",
        &[
            ("pathcheck_check", "pathCheck.(string) decision"),
            ("resourcecheck_check", "resourceCheck.(string) decision"),
        ],
    ),
    ("errored", &[("decision_errored", "decision.() bool")]),
    ("error", &[("decision_error", "decision.() string")]),
    ("allowed", &[("decision_allowed", "decision.() bool")]),
    ("reason", &[("decision_reason", "decision.() string")]),
    (ESCAPE_KEY, &[("string_jsonpatch_escapeKey_string", "(string) string")]),
];

/// What only expressions that make patches can call.
pub const ESCAPE_KEY: &str = "jsonpatch.escapeKey";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read() {
        let find = |name: &str, id: &str| {
            FUNCTIONS[name].iter().find(|overload| overload.id == id).unwrap()
        };
        let index = find("optional.unwrap", "optional_unwrap");
        assert_eq!(index.params, [Type::list(Type::optional(Type::Var(0)))]);
        let query = find("getQuery", "url_get_query");
        assert!(query.member && query.result == Type::map(Type::Str, Type::list(Type::Str)));
        assert_eq!(find("_[_]", "index_map").unknowns, 2);
    }
}
