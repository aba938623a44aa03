//! `ComponentStatus`: how a part of the control plane is. Upstream shows it to be replaced by
//! `/livez`.

use crate::api::kinds::table::NAME;
use crate::api::kinds::tabled::{Cell, Tabled};
use crate::api::tree::Value;

/// Components of the control plane.
pub const COMPONENT_STATUS: Tabled = Tabled {
    columns: &[
        (NAME, Cell::Name),
        (("Status", "string", 0, "Status of the component conditions"), Cell::Made(status)),
        (("Message", "string", 0, "Message of the component conditions"), Cell::Made(message)),
        (("Error", "string", 0, "Error of the component conditions"), Cell::Made(error)),
    ],
    deprecation: Some("v1 ComponentStatus is deprecated in v1.19+"),
    ..Tabled::PLAIN
};

fn healthy(object: &Value) -> &Value {
    let mut conditions = object.get("conditions").items().iter();
    conditions.find(|condition| condition.get("type").str() == "Healthy").unwrap_or(&Value::Null)
}

fn status(object: &Value) -> Value {
    match healthy(object).get("status").str() {
        "True" => "Healthy",
        "False" => "Unhealthy",
        _ => "Unknown",
    }
    .into()
}

fn message(object: &Value) -> Value {
    healthy(object).get("message").str().into()
}

fn error(object: &Value) -> Value {
    healthy(object).get("error").str().into()
}
