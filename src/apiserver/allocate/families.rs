//! Which families of addresses a Service is of: what its author says, as far as he says it, on a
//! cluster with these.

use crate::api::kinds::core::service::{has_sound_addresses, is_headless};
use crate::api::registry::Errors;
use crate::api::tree::Value;
use crate::util::nets::Nets;

pub(super) const FOUR: &str = "IPv4";
pub(super) const SIX: &str = "IPv6";
const POLICY: &str = "spec.ipFamilyPolicy";
const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

/// The families that a cluster with these addresses has; the first is for those who name none.
pub(super) fn of(services: Nets) -> &'static [&'static str] {
    if services.six.is_some() { &[FOUR, SIX] } else { &[FOUR] }
}

/// Fills in the policy and the families that a Service does not name, and drops the second ones
/// that it no longer wants. What makes no sense on any cluster is left to the Service's rules.
pub(super) fn choose(
    cluster: &[&'static str],
    service: &mut Value,
    old: Option<&Value>,
    errors: &mut Errors,
) {
    let before = errors.len();
    let spec = service.entry("spec");
    let old = old.map(|old| old.get("spec"));
    if spec.get("type").str() == "ExternalName" || is_settled(spec, old) {
        return;
    }
    let policy = policy(spec, old);
    spec.set("ipFamilyPolicy", policy.as_str());
    if !has_sound_addresses(service) {
        return;
    }
    let spec = service.entry("spec");
    if let Some(old) = old {
        release(spec, old, &policy, errors);
    }
    let mut families: Vec<Value> = spec.get("ipFamilies").items().to_vec();
    if policy == SINGLE {
        single(spec, &families, errors);
    }
    infer(cluster, spec, &mut families, errors);
    if errors.len() > before {
        return;
    }
    let free = is_free(spec);
    if !free {
        possible(cluster, &policy, &families, errors);
    }
    if families.is_empty() {
        families.push(cluster[0].into());
    }
    if policy != SINGLE && families.len() == 1 && (free || cluster.len() == 2) {
        families.push(if families[0].str() == FOUR { SIX } else { FOUR }.into());
    }
    if errors.len() == before {
        spec.set("ipFamilies", families);
    }
}

/// Whether an update leaves a Service as it is that takes what the cluster had when it was made: it
/// gains and loses nothing by what the cluster has become.
pub(super) fn is_settled(spec: &Value, old: Option<&Value>) -> bool {
    let Some(old) = old else { return false };
    let had = old.get("ipFamilyPolicy");
    old.get("type") == spec.get("type")
        && spec.get("ipFamilyPolicy").str() == PREFER
        && (had.is_null() || had.str() == PREFER)
        && is_same(spec, old, "clusterIPs")
        && is_same(spec, old, "ipFamilies")
}

fn is_same(spec: &Value, old: &Value, list: &str) -> bool {
    spec.get(list).items() == old.get(list).items()
}

/// Nobody allocates for a headless Service without a selector: it may be of any family.
fn is_free(spec: &Value) -> bool {
    let unselected = spec.get("selector").as_object().is_none_or(|labels| labels.is_empty());
    spec.get("clusterIP").str() == "None" && unselected
}

fn policy(spec: &Value, old: Option<&Value>) -> String {
    let given = spec.get("ipFamilyPolicy").str();
    let had = old.map_or("", |old| old.get("ipFamilyPolicy").str());
    let unsaid = if is_free(spec) { REQUIRE } else { SINGLE };
    [given, had, unsaid].into_iter().find(|policy| !policy.is_empty()).unwrap_or(SINGLE).to_owned()
}

/// Who says that one family is enough, and nothing else, gives the second up. Who gives it up must
/// say so.
fn release(spec: &mut Value, old: &Value, policy: &str, errors: &mut Errors) {
    for (list, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (have, had) = (spec.get(list).items(), old.get(list).items().len());
        if policy == SINGLE && have.len() > 1 && is_same(spec, old, list) {
            let first = have[..1].to_vec();
            spec.set(list, first);
        } else if policy != SINGLE && !have.is_empty() && have.len() < had {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            errors.invalid(POLICY, &policy.into(), &why);
        }
    }
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
fn infer(cluster: &[&str], spec: &Value, families: &mut Vec<Value>, errors: &mut Errors) {
    let addresses = spec.get("clusterIPs");
    if is_headless(spec) {
        return;
    }
    for (at, address) in addresses.items().iter().enumerate().skip(families.len()) {
        let family = family_of(address.str());
        if cluster.contains(&family) {
            families.push(family.into());
        } else {
            let why = format!("{family} is not configured on this cluster");
            errors.invalid(format!("spec.clusterIPs[{at}]"), addresses, &why);
        }
    }
}

fn family_of(address: &str) -> &'static str {
    if address.contains(':') { SIX } else { FOUR }
}

fn possible(cluster: &[&str], policy: &str, families: &[Value], errors: &mut Errors) {
    if policy == REQUIRE && cluster.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        errors.invalid(POLICY, &REQUIRE.into(), why);
    }
    for (at, family) in families.iter().enumerate().filter(|(_, f)| !cluster.contains(&f.str())) {
        let field = format!("spec.ipFamilies[{at}]");
        errors.invalid(field, family, "not configured on this cluster");
    }
}

#[cfg(test)]
mod tests;
