//! One rule of a role: what it allows, whether it covers another, how errors show it.

use std::collections::BTreeMap;

use crate::api::tree::Value;
use crate::auth::Attributes;

/// A `PolicyRule`.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Rule {
    /// Allowed verbs; `*` for all.
    pub verbs: Vec<String>,
    /// API groups; `*` for all.
    pub groups: Vec<String>,
    /// Resources as `pods`, `pods/log`, `*/scale`; `*` for all.
    pub resources: Vec<String>,
    /// Object names; none for all.
    pub names: Vec<String>,
    /// Paths that are no resource; a `*` at the end stands for any rest.
    pub urls: Vec<String>,
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == wanted)
}

fn has_or_all(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

fn all_in(list: &[String], wanted: &[String]) -> bool {
    has(list, "*") || wanted.iter().all(|item| has(list, item))
}

fn url_covers(pattern: &str, url: &str) -> bool {
    let prefix = pattern.strip_suffix('*');
    pattern == url || prefix.is_some_and(|prefix| url.starts_with(prefix))
}

/// Whether the resources of a rule include `pods` or `pods/log`.
fn resource_covers(list: &[String], resource: &str, subresource: &str) -> bool {
    list.iter().any(|item| match item.split_once('/') {
        _ if item == "*" => true,
        None => subresource.is_empty() && item == resource,
        Some((of, sub)) => sub == subresource && (of == "*" || of == resource),
    })
}

impl Rule {
    /// Reads a rule off a role's tree.
    pub fn from_value(value: &Value) -> Self {
        let list =
            |key: &str| value.get(key).items().iter().map(|item| item.str().to_owned()).collect();
        Self {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            urls: list("nonResourceURLs"),
        }
    }

    /// All rules of a role's tree.
    pub fn all(role: &Value) -> Vec<Self> {
        role.get("rules").items().iter().map(Self::from_value).collect()
    }

    /// As it stands in a role.
    pub fn to_value(&self) -> Value {
        let list = |items: &[String]| -> Value {
            items.iter().map(|item| item.as_str().into()).collect::<Vec<Value>>().into()
        };
        let mut value = Value::from([("verbs", list(&self.verbs))]);
        for (key, items) in [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ] {
            if !items.is_empty() {
                value.set(key, list(items));
            }
        }
        value
    }

    /// Whether the rule allows a request.
    pub fn allows(&self, request: &Attributes<'_>) -> bool {
        if !has_or_all(&self.verbs, request.verb) {
            return false;
        }
        if !request.is_resource() {
            return self.urls.iter().any(|url| url_covers(url, request.path));
        }
        has_or_all(&self.groups, request.group)
            && resource_covers(&self.resources, request.resource, request.subresource)
            && (self.names.is_empty() || has(&self.names, request.name))
    }

    /// Whether everything that `other` allows is allowed by this rule.
    fn covers(&self, other: &Self) -> bool {
        let resources = other.resources.iter().all(|wanted| {
            let (resource, sub) = wanted.split_once('/').unwrap_or((wanted, ""));
            has(&self.resources, wanted) || resource_covers(&self.resources, resource, sub)
        });
        let names = match (self.names.is_empty(), other.names.is_empty()) {
            (true, _) => true,
            (false, true) => false,
            (false, false) => other.names.iter().all(|name| has(&self.names, name)),
        };
        let urls = other.urls.iter().all(|url| self.urls.iter().any(|own| url_covers(own, url)));
        all_in(&self.verbs, &other.verbs)
            && all_in(&self.groups, &other.groups)
            && resources
            && names
            && urls
    }

    /// The rule as rules of one verb on one thing each.
    fn parts(&self) -> Vec<Self> {
        let names: Vec<Vec<String>> = match self.names.as_slice() {
            [] => vec![Vec::new()],
            names => names.iter().map(|name| vec![name.clone()]).collect(),
        };
        let mut parts = Vec::new();
        for verb in &self.verbs {
            let part = Self { verbs: vec![verb.clone()], ..Self::default() };
            for group in &self.groups {
                for resource in &self.resources {
                    parts.extend(names.iter().map(|names| Self {
                        groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        names: names.clone(),
                        ..part.clone()
                    }));
                }
            }
            parts.extend(
                self.urls.iter().map(|url| Self { urls: vec![url.clone()], ..part.clone() }),
            );
        }
        parts
    }

    /// As upstream's escalation error shows it: `{APIGroups:[""], Resources:["pods"],
    /// Verbs:["get"]}`.
    fn shown(&self) -> String {
        let parts = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(_, items)| !items.is_empty())
            .map(|(name, items)| format!("{name}:{}", quoted(items)))
            .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

/// A list of texts as Go's `%q` shows it.
pub fn quoted(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", items.join(" "))
}

/// What of `wanted` no single rule of `held` covers, as texts, sorted; empty when all is covered.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<String> {
    let uncovered = wanted
        .iter()
        .flat_map(Rule::parts)
        .filter(|part| !held.iter().any(|rule| rule.covers(part)));
    // Verbs on the same thing are shown as one rule.
    let mut merged: BTreeMap<Rule, Vec<String>> = BTreeMap::new();
    for part in uncovered {
        let Rule { verbs, .. } = &part;
        let verbs = verbs.clone();
        merged.entry(Rule { verbs: Vec::new(), ..part }).or_default().extend(verbs);
    }
    let mut texts: Vec<String> =
        merged.into_iter().map(|(rule, verbs)| Rule { verbs, ..rule }.shown()).collect();
    texts.sort();
    texts.dedup();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::UserInfo;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> Rule {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let some = |text: &str| if text.is_empty() { Vec::new() } else { list(text) };
        Rule {
            verbs: list(verbs),
            groups: list(groups),
            resources: list(resources),
            names: some(names),
            urls: Vec::new(),
        }
    }

    #[test]
    fn rules_match_as_upstream() {
        let user = UserInfo::anonymous();
        let ask = |rule: &Rule, verb, group, resource, sub, name| {
            let request = Attributes {
                subresource: sub,
                name,
                ..Attributes::resource(&user, verb, group, resource)
            };
            rule.allows(&request)
        };
        let pods = rule("get,list", "", "pods", "");
        assert!(ask(&pods, "get", "", "pods", "", "a"));
        assert!(!ask(&pods, "get", "", "pods", "log", "a"));
        assert!(!ask(&pods, "get", "apps", "pods", "", "a"));
        assert!(!ask(&pods, "watch", "", "pods", "", ""));
        let all = rule("*", "*", "*", "");
        assert!(ask(&all, "get", "apps", "deployments", "scale", "a"));
        let scale = rule("get", "*", "*/scale", "");
        assert!(ask(&scale, "get", "apps", "deployments", "scale", "a"));
        assert!(!ask(&scale, "get", "apps", "deployments", "", "a"));
        let named = rule("get,list", "", "pods", "a");
        assert!(
            ask(&named, "get", "", "pods", "", "a") && !ask(&named, "get", "", "pods", "", "b")
        );
        assert!(!ask(&named, "list", "", "pods", "", ""));
    }

    #[test]
    fn paths_match_by_prefix_only_with_a_star() {
        let user = UserInfo::anonymous();
        let rule = Rule {
            verbs: vec!["get".into()],
            urls: vec!["/api".into(), "/healthz/*".into()],
            ..Rule::default()
        };
        let ask = |path| rule.allows(&Attributes::path(&user, "get", path));
        assert!(ask("/api") && ask("/healthz/ping"));
        assert!(!ask("/api/v1") && !ask("/healthz"));
    }

    #[test]
    fn what_is_not_held_is_named() {
        let held = [rule("get", "", "pods,pods/log", ""), rule("*", "apps", "*", "")];
        assert!(missing(&held, &[rule("get", "", "pods", "x")]).is_empty());
        assert!(missing(&held, &[rule("patch", "apps", "deployments/scale", "")]).is_empty());
        assert_eq!(
            missing(&held, &[rule("get,list,watch", "", "pods,secrets", "")]),
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list" "watch"]}"#,
            ]
        );
        let one = rule("get", "", "pods", "a");
        assert!(!missing(&[one], &[rule("get", "", "pods", "")]).is_empty());
    }

    #[test]
    fn survives_the_tree() {
        let rule = rule("get", "", "pods", "a");
        assert_eq!(Rule::from_value(&rule.to_value()), rule);
    }
}
