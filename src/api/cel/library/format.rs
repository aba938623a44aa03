//! The named formats of names.

use crate::api::cel::eval::{Answer, Run, no_overload};
use crate::api::cel::value::Val;
use crate::api::kinds::custom::format::holds;
use crate::api::kinds::text;

/// A format.
#[derive(Debug)]
pub struct Format {
    key: &'static str,
    /// What it is called.
    pub name: &'static str,
    faults: fn(&str) -> Vec<String>,
    /// How long upstream's pattern for it is, by which checking is charged.
    pub pattern_size: u64,
}

const fn format(
    key: &'static str,
    name: &'static str,
    faults: fn(&str) -> Vec<String>,
    pattern_size: u64,
) -> Format {
    Format { key, name, faults, pattern_size }
}

static FORMATS: &[Format] = &[
    format("dns1123Label", "DNS1123Label", text::dns_label, 30),
    format("dns1123Subdomain", "DNS1123Subdomain", text::dns_subdomain, 60),
    format("dns1035Label", "DNS1035Label", text::dns_1035_label, 30),
    format("qualifiedName", "QualifiedName", text::label_key, 60),
    format("dns1123LabelPrefix", "DNS1123LabelPrefix", |t| text::dns_label(&whole(t)), 30),
    format(
        "dns1123SubdomainPrefix",
        "DNS1123SubdomainPrefix",
        |t| text::dns_subdomain(&whole(t)),
        60,
    ),
    format("dns1035LabelPrefix", "DNS1035LabelPrefix", |t| text::dns_1035_label(&whole(t)), 30),
    format("labelValue", "LabelValue", text::label_value, 40),
    format("uri", "URI", uri, 1103),
    format("uuid", "uuid", |t| one("uuid", t, "does not match the UUID format"), 70),
    format("byte", "byte", |t| one("byte", t, "invalid base64"), 84),
    format("date", "date", |t| one("date", t, "invalid date"), 71),
    format("datetime", "datetime", |t| one("datetime", t, "invalid datetime"), 71),
];

/// A prefix of a name may end in a dash.
fn whole(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(name) if !name.is_empty() => format!("{name}a"),
        _ => prefix.to_owned(),
    }
}

fn one(format: &str, text: &str, why: &str) -> Vec<String> {
    if holds(format, text) { Vec::new() } else { vec![why.to_owned()] }
}

fn uri(text: &str) -> Vec<String> {
    const PREFIX: &str = "URL parse error during conversion from string: ";
    match super::url::parse(text) {
        Ok(_) => Vec::new(),
        Err(why) => vec![why.to_string().trim_start_matches(PREFIX).to_owned()],
    }
}

/// The format of a name.
pub fn named(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.key == name)
}

/// A function of a format.
pub fn call<'a>(run: &mut Run<'a>, format: &Format, args: &[Val<'a>]) -> Answer<'a> {
    let [_, Val::Str(text)] = args else { return Err(no_overload()) };
    let faults = (format.faults)(text);
    if faults.is_empty() {
        return Ok(Val::Optional(None));
    }
    let faults = faults.into_iter().map(|fault| run.text(fault)).collect::<Result<Vec<_>, _>>()?;
    Ok(Val::some(run.list(faults)?))
}
