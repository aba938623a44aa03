//! PriorityClasses: names for how important pods are.

use super::check::{self, At, Rule};
use super::fallback::{self, Fallback};
use super::table::{AGE, NAME, columns, number};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;

/// The rules of priority classes.
pub struct PriorityClass;

/// What pods may do to pods of lower priority unless their class says otherwise.
pub const PREEMPTION_POLICY: &str = "PreemptLowerPriority";

/// A class that every cluster has.
pub struct SystemClass {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: i64,
    /// What it is for.
    pub description: &'static str,
}

/// The classes that every cluster has; only these may have names with [`SYSTEM_PREFIX`].
pub const SYSTEM_CLASSES: &[SystemClass] = &[
    SystemClass {
        name: "system-node-critical",
        value: 2_000_001_000,
        description: "Used for system critical pods that must not be moved from their current \
                      node.",
    },
    SystemClass {
        name: "system-cluster-critical",
        value: 2_000_000_000,
        description: "Used for system critical pods that must run in the cluster, but can be \
                      moved to another node if necessary.",
    },
];

/// What the names of the system's classes begin with.
const SYSTEM_PREFIX: &str = "system-";
/// The highest value of a class that is not the system's.
const USER_VALUE_MAX: i64 = 1_000_000_000;

impl Rules for PriorityClass {
    fn default(&self, object: &mut Value) {
        const TABLE: &[(&str, Fallback)] = &[
            ("value", Fallback::NumberIfAbsent(0)),
            ("preemptionPolicy", Fallback::TextIfAbsent(PREEMPTION_POLICY)),
        ];
        fallback::apply(object, TABLE);
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let value = root.field("value");
        if object.name().starts_with(SYSTEM_PREFIX) {
            if let Err(why) = is_the_systems(object) {
                let why = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system \
                     use only. error: {why}"
                );
                errors.forbidden("metadata.name", &why);
            }
        } else if value.as_int().is_some_and(|value| value > USER_VALUE_MAX) {
            let why =
                format!("maximum allowed value of a user defined priority is {USER_VALUE_MAX}");
            errors.forbidden(value, &why);
        }
        const POLICIES: Rule = Rule::RequiredOneOf(&["PreemptLowerPriority", "Never"]);
        POLICIES.check(root.field("preemptionPolicy"), errors);
    }

    /// Only what would change the meaning of pods that have the class already is looked at.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let root = At::root(object);
        if object.get("value").as_int() != old.get("value").as_int() {
            errors.forbidden(root.field("value"), "may not be changed in an update.");
        }
        let policy = root.field("preemptionPolicy");
        check::immutable(policy, old.get("preemptionPolicy"), errors);
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        true
    }

    /// There is nothing in a class that could be wanted otherwise.
    fn raises_generation(&self, _object: &Value, _old: &Value) -> bool {
        false
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("Value", "integer", 0, "The priority that pods of this class get."),
            ("Global-Default", "boolean", 0, "Whether pods that name no class get this one."),
            AGE,
            ("PreemptionPolicy", "string", 0, "Whether these pods may displace others."),
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        vec![
            object.name().into(),
            number(object.get("value")),
            object.get("globalDefault").is_true().into(),
            age(object, context),
            object.get("preemptionPolicy").str().into(),
        ]
    }
}

/// Whether a class with a name of the system is the one that the system has by that name.
fn is_the_systems(object: &Value) -> Result<(), String> {
    let name = object.name();
    let known = SYSTEM_CLASSES.iter().find(|class| class.name == name);
    let known = known.ok_or_else(|| format!("{name} is not a known system priority class"))?;
    if object.get("value").as_int() != Some(known.value) {
        return Err(format!("value of {name} PriorityClass must be {}", known.value));
    }
    if object.get("globalDefault").is_true() {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}
