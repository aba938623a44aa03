//! Expressions and what comes of them, as recorded from Kubernetes' own libraries; and that
//! nothing panics on anything.

use std::sync::Arc;

use super::shape::Shape;
use super::types::Type;
use super::value::{Val, show};
use super::{CALL_COST_MAX, Environment};
use crate::api::tree::Value;

const OBJECTS: &str = include_str!("../../../tests/it/api/rules/cel/objects.json");
const CASES: &str = include_str!("../../../tests/it/api/rules/cel/cases.jsonl");

struct Setting {
    objects: Value,
    shape: Arc<Shape>,
}

fn setting() -> Setting {
    let objects = Value::parse(OBJECTS.as_bytes()).unwrap();
    let shape = Shape::of(objects.get("schema"), "selfType", true).unwrap();
    Setting { objects, shape: Arc::new(shape) }
}

#[test]
fn patches_are_made_where_there_are_any() {
    let bare = Environment::default();
    let patching = Environment::default().with_patches();
    for (text, ty) in [
        ("Object{spec: Object.spec{a: [1, 2]}}", "Object"),
        ("Object{a: 1}.a", "dyn"),
        (
            "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: 1}]",
            "list(JSONPatch)",
        ),
    ] {
        assert_eq!(patching.compile(text).unwrap().result().to_string(), ty, "{text}");
        assert!(bare.compile(text).unwrap_err().contains("undeclared reference"), "{text}");
    }
    for (text, why) in [
        (
            "JSONPatch{op: 1}",
            "1:13: expected type of field 'op' is 'string' but provided type is 'int'",
        ),
        ("JSONPatch{a: 1}", "1:12: undefined field 'a'"),
        ("Patch{}", "undeclared reference to 'Patch'"),
        ("JSONPatch{?op: 'x'}", "expected type 'optional_type(string)' but found 'string'"),
    ] {
        let found = patching.compile(text).unwrap_err();
        assert!(found.contains(why), "{text}: {found}");
    }
}

#[test]
fn parts_of_variables_are_declared_by_themselves() {
    let empty = Arc::new(Shape::object("all", Vec::new()));
    let environment = Environment::default()
        .with("vars", Type::Object(empty))
        .with("vars.n", Type::Int)
        .with("authorizer", Type::Opaque(super::functions::AUTHORIZER));
    for (text, ty) in [
        ("vars.n", "int"),
        ("has(vars.n)", "bool"),
        ("vars.?n", "optional_type(int)"),
        ("[{'n': 'x'}].map(vars, vars.n)", "list(string)"),
        ("authorizer.group('a').resource('b').check('get').allowed()", "bool"),
    ] {
        assert_eq!(environment.compile(text).unwrap().result().to_string(), ty, "{text}");
    }
    let unknown = environment.compile("vars.x").unwrap_err();
    assert!(unknown.contains("undefined field 'x'"), "{unknown}");
    let within = environment.compile("authorizer.x").unwrap_err();
    assert!(within.contains("unexpected failed resolution"), "{within}");
}

/// What comes of an expression: its fault, or its type, value or error, and its costs.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    compile: String,
    ty: String,
    value: String,
    error: String,
    cost: i64,
    estimate: u64,
}

fn outcome(setting: &Setting, text: &str, typed: bool) -> Outcome {
    let environment = match typed {
        true => Environment::default()
            .with_shape("self", &setting.shape)
            .with_shape("oldSelf", &setting.shape),
        false => Environment::default().with("self", Type::Dyn).with("oldSelf", Type::Dyn),
    };
    let program = match environment.compile(text) {
        Ok(program) => program,
        Err(compile) => return Outcome { compile, ..Outcome::default() },
    };
    let part = |name: &str| match typed {
        true => Val::of(setting.objects.get(name), &setting.shape),
        false => Val::untyped(setting.objects.get("free")),
    };
    let variables = vec![("self", part("self")), ("oldSelf", part("old"))];
    let (answer, cost) = program.run(variables, CALL_COST_MAX);
    let (value, error) = match answer {
        Ok(value) => (show(&value), String::new()),
        Err(why) => (String::new(), why.to_string()),
    };
    let cost = i64::try_from(cost).unwrap();
    let (ty, estimate) = (program.result().to_string(), program.cost_max());
    Outcome { compile: String::new(), ty, value, error, cost, estimate }
}

/// Whether numbers are the same, as far as a float can tell for those that are stored as one.
#[allow(clippy::cast_precision_loss)]
fn same(found: u64, want: &Value) -> bool {
    match want {
        Value::Float(want) => (found as f64 - want).abs() <= want * 1e-9,
        want => want.as_int().and_then(|n| u64::try_from(n).ok()) == Some(found),
    }
}

/// Of faults of syntax the place and kind must agree: after one, upstream's parser tries to go on.
fn syntax(text: &str) -> &str {
    match text.find("Syntax error") {
        Some(at) => &text[..at],
        None => text,
    }
}

#[test]
fn expressions_mean_what_kubernetes_says() {
    let setting = setting();
    let mut wrong = Vec::new();
    for line in CASES.lines() {
        let case = Value::parse(line.as_bytes()).unwrap();
        let text = case.get("expr").str();
        let found = outcome(&setting, text, case.get("typed").is_true());
        let want = case.get("want");
        for (name, found, want) in [
            ("compile", &found.compile, want.get("compile").str()),
            ("type", &found.ty, want.get("type").str()),
            ("value", &found.value, want.get("value").str()),
            (
                "error",
                &found.error,
                want.get("error").str().trim_start_matches("program instantiation failed: "),
            ),
        ] {
            let agrees = match name {
                "compile" => syntax(found) == syntax(want),
                _ => found == want,
            };
            if !agrees {
                wrong.push(format!("{text}\n  {name} {found}\n  want {want}"));
            }
        }
        let estimate = want.get("estimate");
        if found.compile.is_empty() && !same(found.estimate, estimate) {
            wrong.push(format!("{text}\n  estimate {} want {estimate}", found.estimate));
        }
        if found.compile.is_empty() && Some(found.cost) != want.get("cost").as_int() {
            wrong.push(format!("{text}\n  cost {} want {}", found.cost, want.get("cost")));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_has_no_end_is_cut_off() {
    let setting = setting();
    let run = |text: &str| {
        let found = outcome(&setting, text, false);
        assert_eq!(found.compile, "", "{text}");
        (found.error, found.cost)
    };
    let all = "lists.range(1000).all(a, lists.range(1000).all(b, a == b || true))";
    let (error, cost) = run(all);
    assert!(error.contains("actual cost limit exceeded") && cost > 1_000_000, "{error}");
    // What costs little and makes much.
    let long = format!("'{}'", "a".repeat(5000));
    let grown = format!("{long}.replace('a', {long}).replace('a', {long}).size()");
    assert!(run(&grown).0.contains("cost limit exceeded"));
    let copied = "lists.range(2000).map(x, lists.range(2000)).map(l, l + l + l + l).size()";
    assert!(run(copied).0.contains("cost limit exceeded"));
    // What costs little and takes long.
    let patterns = "lists.range(20000).all(i, 'x'.matches(string(i)) || true)";
    assert!(run(patterns).0.contains("cost limit exceeded"));
    let long = "a".repeat(90_000);
    let counted = format!("lists.range(9000).all(i, '{long}'.charAt(89999) == 'a')");
    assert!(run(&counted).0.contains("cost limit exceeded"));
}

#[test]
fn what_grows_by_being_shared_ends_too() {
    let setting = setting();
    let types = format!("[1]{}", ".map(x, {x: x})".repeat(60));
    assert!(outcome(&setting, &types, false).compile.contains("too large"));
    let doubled = format!("[dyn(1)]{}", ".map(x, dyn([x, x]))".repeat(60));
    for end in [" == ", ".indexOf("] {
        let text = format!("{doubled}{end}{doubled}{}", if end.ends_with('(') { ")" } else { "" });
        let found = outcome(&setting, &text, false);
        assert!(found.error.contains("cost limit exceeded"), "{end}: {found:?}");
    }
    let shown = format!("'%s'.format({doubled})");
    assert!(!outcome(&setting, &shown, false).error.is_empty());
}

#[test]
fn what_is_too_deep_or_long_is_refused_before_it_is_walked() {
    let environment = Environment::default();
    let refused = |text: &str| environment.compile(text).map(drop).unwrap_err();
    for open in ["(", "[", "-(", "!(", "{1:", "[1].map(x, ", "1 + (", "true ? (", "a[", "f("] {
        let why = refused(&open.repeat(20_000 / open.len()));
        assert!(why.contains("recursion limit") || why.contains("Syntax error"), "{open}: {why}");
    }
    let sums = vec!["1"; 20_000].join(" + ");
    assert!(refused(&sums).contains("expression recursion limit exceeded: 250"));
    assert!(refused(&format!("a{}", ".b".repeat(20_000))).contains("recursion limit"));
    assert!(refused(&" ".repeat(100_001)).contains("code point size exceeds limit"));
    let and = vec!["true"; 5_000].join(" && ");
    assert!(environment.compile(&and).is_ok());
    let many = format!("[1]{}", ".map(x, x)".repeat(60));
    assert!(environment.compile(&many).is_ok());
}

mod anything {
    use proptest::prelude::*;

    use super::*;

    /// What expressions are made of.
    const WORDS: &[&str] = &[
        "self",
        "oldSelf",
        ".spec",
        ".tags",
        ".nums",
        ".labels",
        ".items",
        ".?opt",
        "[0]",
        "[?1]",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        " + ",
        " - ",
        " * ",
        " / ",
        " % ",
        " && ",
        " || ",
        " == ",
        " != ",
        " < ",
        " >= ",
        " in ",
        "!",
        "-",
        "1",
        "2u",
        "1.5",
        "-9223372036854775808",
        "'a'",
        "'é'",
        "b'x'",
        "null",
        "true",
        ".size()",
        ".map(x, x)",
        ".all(x, ",
        ".exists(i, v, ",
        ".filter(x, ",
        "x",
        ".split('')",
        ".join()",
        ".substring(1)",
        ".charAt(9)",
        ".replace('', 'é')",
        ".matches('(a+)+$')",
        ".find('.')",
        ".format([1])",
        "'%s %d %.3f'",
        "duration('1h')",
        "timestamp('2021-03-04T05:06:07Z')",
        ".getHours()",
        "quantity('1k')",
        ".add(1)",
        "ip('::1')",
        "cidr('::/0')",
        ".masked()",
        "url('http://a:1/')",
        ".getQuery()",
        "semver('1.2.3')",
        ".sort()",
        ".sum()",
        ".min()",
        ".slice(0, 1)",
        ".flatten()",
        ".distinct()",
        "lists.range(3)",
        ".orValue(1)",
        "optional.of(1)",
        ".optMap(y, y)",
        ".value()",
        "sets.contains(",
        "has(self.spec)",
        "type(",
        "dyn(",
        "int(",
        "string(",
        ".transformMap(k, v, ",
        ".lastIndexOf('', 3)",
        ".reverse()",
        ".first()",
        ".sortBy(x, ",
        "strings.quote(",
        "format.uuid()",
        ".validate(",
        "`a-b`",
        "if",
        "@",
        "\\",
        "\"",
        "\u{0}",
    ];

    fn any_text() -> impl Strategy<Value = String> {
        let words = proptest::collection::vec(proptest::sample::select(WORDS), 0..14);
        words.prop_map(|words| words.concat())
    }

    /// A good expression with a bit taken out, doubled or put elsewhere.
    fn mutated() -> impl Strategy<Value = String> {
        let lines: Vec<&str> = CASES.lines().collect();
        (proptest::sample::select(lines), any::<[prop::sample::Index; 3]>(), any_text()).prop_map(
            |(line, places, words)| {
                let case = Value::parse(line.as_bytes()).unwrap();
                let mut chars: Vec<char> = case.get("expr").str().chars().collect();
                let [a, b, c] = places.map(|place| place.index(chars.len() + 1));
                let cut: Vec<char> = chars.drain(a.min(b)..a.max(b)).collect();
                let at = c.min(chars.len());
                let put = if cut.len().is_multiple_of(2) {
                    words.chars().collect()
                } else {
                    [&*cut, &*cut].concat()
                };
                chars.splice(at..at, put);
                chars.into_iter().collect()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        #[test]
        fn words_are_values_or_errors(text in any_text(), typed in any::<bool>()) {
            let found = outcome(&setting(), &text, typed);
            prop_assert!(found.cost <= 1_100_000);
        }

        #[test]
        fn changed_expressions_are_values_or_errors(text in mutated(), typed in any::<bool>()) {
            outcome(&setting(), &text, typed);
        }

        #[test]
        fn any_text_is_an_expression_or_none(text in "\\PC{0,40}") {
            outcome(&setting(), &text, false);
        }
    }
}
