//! Which families of addresses a Service is of, on a cluster that has only IPv4.

use crate::api::registry::Errors;
use crate::api::tree::Value;

const FOUR: &str = "IPv4";
const SIX: &str = "IPv6";
const POLICY: &str = "spec.ipFamilyPolicy";
const SINGLE: &str = "SingleStack";
const DUAL: &str = "RequireDualStack";

/// Fills in the policy and the families that a Service does not name.
pub(super) fn choose(service: &mut Value, old: Option<&Value>, errors: &mut Errors) {
    let before = errors.len();
    let spec = service.entry("spec");
    if spec.get("type").str() == "ExternalName" {
        return;
    }
    let policy = policy(spec, old);
    spec.set("ipFamilyPolicy", policy.as_str());
    let mut families: Vec<Value> = spec.get("ipFamilies").items().to_vec();
    if policy == SINGLE {
        single(spec, &families, errors);
    }
    infer(spec, &mut families, errors);
    if errors.len() > before {
        return;
    }
    if is_free(spec) {
        either(&policy, &mut families);
    } else {
        possible(&policy, &families, errors);
    }
    if families.is_empty() {
        families.push(FOUR.into());
    }
    spec.set("ipFamilies", families);
}

/// Nobody allocates for a headless Service without a selector: it may be of any family.
fn is_free(spec: &Value) -> bool {
    let unselected = spec.get("selector").as_object().is_none_or(|labels| labels.is_empty());
    spec.get("clusterIP").str() == "None" && unselected
}

fn policy(spec: &Value, old: Option<&Value>) -> String {
    let given = spec.get("ipFamilyPolicy").str();
    let had = old.map_or("", |old| old.at(&["spec", "ipFamilyPolicy"]).str());
    let unsaid = if is_free(spec) { DUAL } else { SINGLE };
    [given, had, unsaid].into_iter().find(|policy| !policy.is_empty()).unwrap_or(SINGLE).to_owned()
}

fn single(spec: &Value, families: &[Value], errors: &mut Errors) {
    let counts =
        [(spec.get("clusterIPs").items().len(), "cluster IPs"), (families.len(), "IP families")];
    for (count, what) in counts {
        if count == 2 {
            let why = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            errors.invalid(POLICY, &SINGLE.into(), &why);
        }
    }
}

/// A family that is not named is that of the address at its place.
fn infer(spec: &Value, families: &mut Vec<Value>, errors: &mut Errors) {
    let addresses = spec.get("clusterIPs");
    for (at, address) in addresses.items().iter().enumerate().skip(families.len()) {
        if address.str() == "None" {
            return;
        }
        if address.str().contains(':') {
            let why = format!("{SIX} is not configured on this cluster");
            errors.invalid(format!("spec.clusterIPs[{at}]"), addresses, &why);
        } else {
            families.push(FOUR.into());
        }
    }
}

fn either(policy: &str, families: &mut Vec<Value>) {
    if families.is_empty() {
        families.push(FOUR.into());
    }
    if families.len() < 2 && policy != SINGLE {
        let other = if families[0].str() == FOUR { SIX } else { FOUR };
        families.push(other.into());
    }
}

fn possible(policy: &str, families: &[Value], errors: &mut Errors) {
    if policy == DUAL {
        errors.invalid(
            POLICY,
            &DUAL.into(),
            "this cluster is not configured for dual-stack services",
        );
    }
    for (at, family) in families.iter().enumerate().filter(|(_, family)| family.str() != FOUR) {
        let field = format!("spec.ipFamilies[{at}]");
        errors.invalid(field, family, "not configured on this cluster");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(spec: &str) -> Result<String, usize> {
        let mut service = Value::parse(format!(r#"{{"spec":{spec}}}"#).as_bytes()).unwrap();
        let mut errors = Errors::default();
        choose(&mut service, None, &mut errors);
        match errors.len() {
            0 => {
                let spec = service.get("spec");
                Ok(format!("{} {}", spec.get("ipFamilyPolicy").str(), spec.get("ipFamilies")))
            }
            count => Err(count),
        }
    }

    #[test]
    fn a_cluster_of_one_family_gives_that() {
        let four = Ok(r#"SingleStack ["IPv4"]"#.to_owned());
        assert_eq!(chosen("{}"), four);
        assert_eq!(chosen(r#"{"clusterIP":"None","selector":{"a":"b"}}"#), four);
        let prefers = chosen(r#"{"ipFamilyPolicy":"PreferDualStack"}"#);
        assert_eq!(prefers, Ok(r#"PreferDualStack ["IPv4"]"#.to_owned()));
        let free = chosen(r#"{"clusterIP":"None"}"#);
        assert_eq!(free, Ok(r#"RequireDualStack ["IPv4","IPv6"]"#.to_owned()));
        assert_eq!(chosen(r#"{"type":"ExternalName"}"#), Ok(" null".to_owned()));
    }

    #[test]
    fn what_the_cluster_has_not_is_refused() {
        assert_eq!(chosen(r#"{"ipFamilyPolicy":"RequireDualStack"}"#), Err(1));
        assert_eq!(chosen(r#"{"ipFamilies":["IPv6"]}"#), Err(1));
        assert_eq!(chosen(r#"{"ipFamilies":["IPv4","IPv6"]}"#), Err(1));
        assert_eq!(chosen(r#"{"clusterIPs":["fd00::1"]}"#), Err(1));
    }
}
