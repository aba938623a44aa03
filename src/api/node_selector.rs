//! Which nodes a pod asks for: `nodeSelector` and required node affinity.

use super::selector::{LabelSelector, Labels};
use super::tree::Value;

/// Whether a pod's spec chooses the node of this name and these labels.
pub fn chooses(spec: &Value, name: &str, labels: &(impl Labels + ?Sized)) -> bool {
    let mut wanted = spec.get("nodeSelector").fields();
    let chosen = wanted.all(|(key, value)| labels.label(key) == Some(value.str()));
    let required =
        spec.at(&["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"]);
    let terms = required.get("nodeSelectorTerms").items();
    chosen && (required.is_null() || terms.iter().any(|term| term_matches(term, name, labels)))
}

/// Whether a node satisfies a `NodeSelectorTerm`; an empty one matches no node.
pub fn term_matches(term: &Value, name: &str, labels: &(impl Labels + ?Sized)) -> bool {
    let (expressions, fields) = (term.get("matchExpressions"), term.get("matchFields"));
    if expressions.items().is_empty() && fields.items().is_empty() {
        return false;
    }
    let own = Value::from([("metadata.name", name.into())]);
    matches(expressions, labels) && matches(fields, &own)
}

fn matches(expressions: &Value, labels: &(impl Labels + ?Sized)) -> bool {
    let selector = Value::from([("matchExpressions", expressions.clone())]);
    LabelSelector::from_object(&selector).is_ok_and(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_chosen_by_labels_and_by_name() {
        let labels = Value::parse(br#"{"zone":"a"}"#).unwrap();
        let spec = |text: &str| Value::parse(text.as_bytes()).unwrap();
        let chooses = |text: &str| chooses(&spec(text), "n1", &labels);
        assert!(chooses("{}") && chooses(r#"{"nodeSelector":{"zone":"a"}}"#));
        assert!(!chooses(r#"{"nodeSelector":{"zone":"b"}}"#));
        let required = |terms: &str| {
            let key = "requiredDuringSchedulingIgnoredDuringExecution";
            let terms = format!(r#"{{"{key}":{{"nodeSelectorTerms":{terms}}}}}"#);
            format!(r#"{{"affinity":{{"nodeAffinity":{terms}}}}}"#)
        };
        let by_name =
            r#"[{"matchFields":[{"key":"metadata.name","operator":"In","values":["n1"]}]}]"#;
        assert!(chooses(&required(by_name)));
        assert!(!chooses(&required(&by_name.replace("n1", "n2"))));
        assert!(!chooses(&required("[{}]")), "an empty term matches nothing");
        let either = r#"[{},{"matchExpressions":[{"key":"zone","operator":"Exists"}]}]"#;
        assert!(chooses(&required(either)));
    }
}
