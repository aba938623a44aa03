//! Label and field selectors: their text, their objects, and whether something matches.

use super::kinds::text;
use super::status::Status;
use super::tree::Value;

/// What labels must satisfy; all requirements together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    /// A nil selector, which matches nothing (as opposed to an empty one, which matches all).
    nothing: bool,
}

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// Where labels are looked up.
pub trait Labels {
    /// The value of the label `key`.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for Value {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).as_str()
    }
}

impl Labels for std::collections::BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl<L: Labels> Labels for Option<L> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|labels| labels.label(key))
    }
}

impl LabelSelector {
    /// Matches everything.
    pub const fn everything() -> Self {
        Self { requirements: Vec::new(), nothing: false }
    }

    /// Matches nothing.
    pub const fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Whether every set of labels matches.
    pub const fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Equality with each pair, as in a Service's or ReplicationController's selector.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirements = pairs
            .into_iter()
            .map(|(key, value)| Requirement {
                key: key.to_owned(),
                operator: Operator::In,
                values: vec![value.to_owned()],
            })
            .collect();
        Self { requirements, nothing: false }
    }

    /// From a `meta/v1.LabelSelector` object; null matches nothing.
    ///
    /// # Errors
    /// On an unknown operator, with Kubernetes' wording.
    pub fn from_object(selector: &Value) -> Result<Self, String> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let pairs = selector.get("matchLabels").fields().map(|(k, v)| (k, v.str()));
        let mut out = Self::from_pairs(pairs);
        for expression in selector.get("matchExpressions").items() {
            out.requirements.push(Requirement::from_object(expression)?);
        }
        Ok(out)
    }

    /// From the text of a `labelSelector` parameter.
    ///
    /// # Errors
    /// When it does not parse; the text says where.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let mut parser = Parser { rest: text };
        parser.selector().map_err(Status::bad_request)
    }

    /// Whether labels satisfy all requirements.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels.label(&r.key)))
    }

    /// The selector's text, as `scale.status.selector` carries it.
    pub fn to_text(&self) -> String {
        let mut sorted: Vec<&Requirement> = self.requirements.iter().collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        let texts: Vec<String> = sorted.into_iter().map(Requirement::to_text).collect();
        texts.join(",")
    }
}

impl Requirement {
    fn from_object(expression: &Value) -> Result<Self, String> {
        let operator = match expression.get("operator").str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::GreaterThan,
            "Lt" => Operator::LessThan,
            other => return Err(format!("{other:?} is not a valid label selector operator")),
        };
        let values = expression.get("values").items().iter().map(|v| v.str().to_owned()).collect();
        Ok(Self { key: expression.get("key").str().to_owned(), operator, values })
    }

    fn matches(&self, label: Option<&str>) -> bool {
        let among = |value: &str| self.values.iter().any(|v| v == value);
        match self.operator {
            Operator::In => label.is_some_and(among),
            Operator::NotIn => !label.is_some_and(among),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => self.compare(label).is_some_and(|(l, bound)| l > bound),
            Operator::LessThan => self.compare(label).is_some_and(|(l, bound)| l < bound),
        }
    }

    fn compare(&self, label: Option<&str>) -> Option<(i64, i64)> {
        Some((label?.parse().ok()?, self.values.first()?.parse().ok()?))
    }

    fn to_text(&self) -> String {
        let key = &self.key;
        let mut values = self.values.clone();
        values.sort_unstable();
        let list = values.join(",");
        match (self.operator, self.values.as_slice()) {
            (Operator::In, [one]) => format!("{key}={one}"),
            (Operator::In, _) => format!("{key} in ({list})"),
            (Operator::NotIn, [one]) => format!("{key}!={one}"),
            (Operator::NotIn, _) => format!("{key} notin ({list})"),
            (Operator::Exists, _) => key.clone(),
            (Operator::DoesNotExist, _) => format!("!{key}"),
            (Operator::GreaterThan, _) => format!("{key}>{list}"),
            (Operator::LessThan, _) => format!("{key}<{list}"),
        }
    }
}

/// Whether keys and values are such as labels can have.
fn check(requirement: &Requirement) -> Result<(), String> {
    let key = &requirement.key;
    if let Some(fault) = text::label_key(key).first() {
        return Err(format!("key: Invalid value: {key:?}: {fault}"));
    }
    for (at, value) in requirement.values.iter().enumerate() {
        let fault = match requirement.operator {
            Operator::GreaterThan | Operator::LessThan if value.parse::<i64>().is_err() => {
                Some("for 'Gt', 'Lt' operators, the value must be an integer".to_owned())
            }
            _ => text::label_value(value).into_iter().next(),
        };
        if let Some(fault) = fault {
            return Err(format!("values[{at}]: Invalid value: {value:?}: {fault}"));
        }
    }
    Ok(())
}

/// Reads `a=b,c!=d,e in (f,g),h,!i,j>1`.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Result<LabelSelector, String> {
        let mut requirements = Vec::new();
        self.space();
        while !self.rest.is_empty() {
            let unreadable = |why| format!("unable to parse requirement: {why}");
            let requirement = self.requirement().map_err(unreadable)?;
            check(&requirement).map_err(unreadable)?;
            requirements.push(requirement);
            self.space();
            if !self.rest.is_empty() && !self.token(",") {
                let found = self.rest.chars().next().unwrap_or_default();
                return Err(format!("found '{found}', expected: ',' or 'end of string'"));
            }
            self.space();
        }
        Ok(LabelSelector { requirements, nothing: false })
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.token("!") {
            let key = self.key()?;
            return Ok(Requirement { key, operator: Operator::DoesNotExist, values: Vec::new() });
        }
        let key = self.key()?;
        self.space();
        let (operator, values) = self.condition()?;
        Ok(Requirement { key, operator, values })
    }

    fn condition(&mut self) -> Result<(Operator, Vec<String>), String> {
        const COMPARISONS: [(&str, Operator); 5] = [
            ("==", Operator::In),
            ("=", Operator::In),
            ("!=", Operator::NotIn),
            (">", Operator::GreaterThan),
            ("<", Operator::LessThan),
        ];
        if self.rest.is_empty() || self.rest.starts_with(',') {
            return Ok((Operator::Exists, Vec::new()));
        }
        if let Some((_, operator)) = COMPARISONS.into_iter().find(|(text, _)| self.token(text)) {
            self.space();
            return Ok((operator, vec![self.word().to_owned()]));
        }
        match self.word() {
            "in" => Ok((Operator::In, self.list()?)),
            "notin" => Ok((Operator::NotIn, self.list()?)),
            other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn list(&mut self) -> Result<Vec<String>, String> {
        self.space();
        if !self.token("(") {
            return Err(format!("found '{}' expected: '('", self.rest));
        }
        let (inside, rest) = self
            .rest
            .split_once(')')
            .ok_or_else(|| "found '', expected: ',', or ')'".to_owned())?;
        self.rest = rest;
        Ok(inside.split(',').map(|value| value.trim().to_owned()).collect())
    }

    fn key(&mut self) -> Result<String, String> {
        self.space();
        match self.word() {
            "" => Err(format!("found '{}', expected: identifier", self.rest)),
            key => Ok(key.to_owned()),
        }
    }

    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || "=!<>(),".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn token(&mut self, text: &str) -> bool {
        self.rest.strip_prefix(text).map(|rest| self.rest = rest).is_some()
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

/// What fields must equal or differ from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    /// Field path, wanted equality (`=`) or not (`!=`), value.
    pub terms: Vec<(String, bool, String)>,
}

impl FieldSelector {
    /// From the text of a `fieldSelector` parameter. Which fields a resource has is not checked.
    ///
    /// # Errors
    /// When a term has no operator.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let terms = split_terms(text)
            .into_iter()
            .map(|term| {
                field_term(&term).ok_or_else(|| {
                    Status::bad_request(format!(
                        "invalid selector: '{text}'; can't understand '{term}'"
                    ))
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }

    /// Whether every object matches.
    pub const fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether fields, looked up by path, satisfy all terms. An absent field reads as empty.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        let holds = |(path, equal, value): &(String, bool, String)| {
            (lookup(path).unwrap_or_default() == value) == *equal
        };
        self.terms.iter().all(holds)
    }

    /// The value that `path` must equal, where a term demands one.
    pub fn required(&self, path: &str) -> Option<&str> {
        self.terms.iter().find(|(p, equal, _)| p == path && *equal).map(|(_, _, v)| v.as_str())
    }
}

/// Splits at commas that no backslash escapes.
fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        match c {
            ',' if !escaped => terms.push(String::new()),
            _ => terms.last_mut().into_iter().for_each(|term| term.push(c)),
        }
        escaped = c == '\\' && !escaped;
    }
    terms.retain(|term| !term.is_empty());
    terms
}

fn field_term(term: &str) -> Option<(String, bool, String)> {
    let at = term.find(['=', '!'])?;
    let (path, rest) = term.split_at(at);
    let (equal, value) = match rest {
        r if r.starts_with("!=") => (false, &r[2..]),
        r if r.starts_with("==") => (true, &r[2..]),
        r if r.starts_with('=') => (true, &r[1..]),
        _ => return None,
    };
    Some((path.to_owned(), equal, unescape(value)))
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    out
}

/// Whether a toleration covers a taint.
pub fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let (key, effect) = (toleration.get("key").str(), toleration.get("effect").str());
    let fits_effect = effect.is_empty() || effect == taint.get("effect").str();
    let fits_key = key.is_empty() || key == taint.get("key").str();
    let fits_value = match toleration.get("operator").str() {
        "Exists" => true,
        _ => !key.is_empty() && toleration.get("value").str() == taint.get("value").str(),
    };
    fits_effect && fits_key && fits_value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn label_selectors_parse_match_and_print() {
        let app = labels(r#"{"app":"web","tier":"front","n":"5"}"#);
        let cases = [
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app in (web, db), tier notin (back)", true),
            ("app,!missing", true),
            ("n>4,n<6", true),
            ("missing", false),
            ("app=db", false),
            ("missing!=x", true),
            ("", true),
        ];
        for (text, expected) in cases {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(selector.matches(&app), expected, "{text}");
            let shown = selector.to_text();
            assert_eq!(LabelSelector::parse(&shown).unwrap().to_text(), shown, "{text}");
        }
    }

    #[test]
    fn broken_label_selectors_are_refused() {
        for text in ["app in web", "=x", "a b", "app in (a", "a=b c"] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().code, 400, "{text}");
        }
    }

    #[test]
    fn nil_matches_nothing_and_empty_matches_all() {
        let object = labels(r#"{"a":"b"}"#);
        assert!(!LabelSelector::from_object(&Value::Null).unwrap().matches(&object));
        assert!(LabelSelector::from_object(&Value::object()).unwrap().matches(&object));
    }

    #[test]
    fn field_selectors_parse_and_match() {
        let selector =
            FieldSelector::parse(r"spec.nodeName=n1,status.phase!=Failed,a=b\,c").unwrap();
        assert_eq!(selector.required("spec.nodeName"), Some("n1"));
        assert_eq!(selector.required("a"), Some("b,c"));
        let lookup = |path: &str| match path {
            "spec.nodeName" => Some("n1"),
            "a" => Some("b,c"),
            _ => None,
        };
        assert!(selector.matches(lookup));
        assert!(FieldSelector::parse("spec.nodeName").is_err());
    }
}
