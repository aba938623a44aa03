//! What names, keys and values may look like, in Kubernetes' words.
//!
//! A format takes a text and returns what is wrong with it, nothing if it is well formed. The
//! messages are upstream's: clients show them, and tests match them.

/// What a text may look like: the faults found, in Kubernetes' words.
pub type Format = fn(&str) -> Vec<String>;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;

/// `… (e.g. 'a',  or 'b', regex used for validation is '…')`.
pub fn regex_error(what: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{what} (regex used for validation is '{regex}')");
    }
    let quoted: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{what} (e.g. {}regex used for validation is '{regex}')", quoted.join(" or "))
}

fn too_long(text: &str, max: usize, unit: &str) -> Option<String> {
    (text.len() > max).then(|| format!("must be no more than {max} {unit}"))
}

const fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// Whether all bytes are `inner`, and the first and last `outer`; false for the empty text.
fn framed(text: &str, outer: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| outer(*b))
        && bytes.last().is_some_and(|b| outer(*b))
        && bytes.iter().all(|b| inner(*b))
}

fn is_label(text: &str) -> bool {
    framed(text, lower_alnum, |b| lower_alnum(b) || b == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// A lowercase RFC 1123 label: names of namespaces, containers, volumes.
pub fn dns_label(text: &str) -> Vec<String> {
    let mut faults: Vec<String> = too_long(text, LABEL_MAX, "characters").into_iter().collect();
    if is_label(text) {
        return faults;
    }
    faults.push(if is_subdomain(text) {
        "must not contain dots".into()
    } else {
        let what = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
                    or '-', and must start and end with an alphanumeric character";
        regex_error(what, LABEL, &["my-name", "123-abc"])
    });
    faults
}

/// A lowercase RFC 1123 subdomain: names of most objects.
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut faults: Vec<String> = too_long(text, SUBDOMAIN_MAX, "characters").into_iter().collect();
    if !is_subdomain(text) {
        let what = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                    characters, '-' or '.', and must start and end with an alphanumeric character";
        faults.push(regex_error(what, SUBDOMAIN, &["example.com"]));
    }
    faults
}

/// An RFC 1123 subdomain that may have underscores: DNS search domains.
pub fn dns_subdomain_underscore(text: &str) -> Vec<String> {
    const REGEX: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
    let label = |part: &str| {
        let bare = part.strip_prefix('_').unwrap_or(part);
        framed(bare, lower_alnum, |b| lower_alnum(b) || b == b'-' || b == b'_')
    };
    let mut faults: Vec<String> = too_long(text, SUBDOMAIN_MAX, "characters").into_iter().collect();
    if !text.split('.').all(label) {
        let what = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                    characters, '_', '-' or '.', and must start and end with an alphanumeric \
                    character";
        faults.push(regex_error(what, REGEX, &["example.com"]));
    }
    faults
}

/// A DNS-1035 label: names of custom resources.
pub fn dns_1035_label(text: &str) -> Vec<String> {
    let mut faults: Vec<String> = too_long(text, LABEL_MAX, "characters").into_iter().collect();
    if !(is_label(text) && text.as_bytes()[0].is_ascii_lowercase()) {
        let what = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
                    start with an alphabetic character, and end with an alphanumeric character";
        faults.push(regex_error(what, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    faults
}

fn key_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')
}

fn is_key_name(text: &str) -> bool {
    framed(text, |b| b.is_ascii_alphanumeric(), key_byte)
}

/// A label key: a name with an optional DNS prefix, such as `example.com/role`.
pub fn label_key(text: &str) -> Vec<String> {
    const WHAT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start \
                        and end with an alphanumeric character";
    let regex = |what: &str| regex_error(what, KEY, &["MyName", "my.name", "123-abc"]);
    let mut faults = Vec::new();
    let name = match text.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        ["", name] => {
            faults.push("prefix part must be non-empty".to_owned());
            name
        }
        [prefix, name] => {
            let found = dns_subdomain_bytes(prefix);
            faults.extend(found.into_iter().map(|fault| format!("prefix part {fault}")));
            name
        }
        _ => {
            let what = regex(&format!("a valid label key {WHAT}"));
            let form = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("{what} {form}")];
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".into());
    }
    faults.extend(too_long(name, LABEL_MAX, "bytes").map(|fault| format!("name part {fault}")));
    if !is_key_name(name) {
        faults.push(format!("name part {}", regex(WHAT)));
    }
    faults
}

/// As `dns_subdomain`, in the words of the newer validators.
fn dns_subdomain_bytes(text: &str) -> Vec<String> {
    dns_subdomain(text)
        .into_iter()
        .map(|fault| fault.replace("253 characters", "253 bytes"))
        .collect()
}

/// A label value: empty or a short name.
pub fn label_value(text: &str) -> Vec<String> {
    let mut faults: Vec<String> = too_long(text, LABEL_MAX, "bytes").into_iter().collect();
    if !text.is_empty() && !is_key_name(text) {
        let what = "a valid label must be an empty string or consist of alphanumeric characters, \
                    '-', '_' or '.', and must start and end with an alphanumeric character";
        let regex = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
        faults.push(regex_error(what, regex, &["MyValue", "my_value", "12345"]));
    }
    faults
}

/// A name that can stand in a URL: RBAC's objects, custom metrics.
pub fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    let holds = |part: &&str| text.contains(*part);
    ["/", "%"].iter().filter(|p| holds(p)).map(|p| format!("may not contain '{p}'")).collect()
}

/// A key of a ConfigMap or Secret, which becomes a file name.
pub fn config_key(text: &str) -> Vec<String> {
    let mut faults: Vec<String> = too_long(text, SUBDOMAIN_MAX, "characters").into_iter().collect();
    if text.is_empty() || !text.bytes().all(key_byte) {
        let what = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        faults.push(regex_error(what, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    faults.extend(no_parent_directory(text));
    faults
}

fn no_parent_directory(text: &str) -> Option<String> {
    match text {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        _ => text.starts_with("..").then(|| "must not start with '..'".into()),
    }
}

/// A name of an environment variable: any printable ASCII but `=`.
pub fn env_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".into()];
    }
    let printable = |b: u8| (b' '..=b'~').contains(&b) && b != b'=';
    if text.bytes().all(printable) {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other \
          than '='"
            .into(),
    ]
}

/// A name of a port, RFC 6335 in lower case.
pub fn port_name(text: &str) -> Vec<String> {
    let mut faults: Vec<String> = too_long(text, 15, "characters").into_iter().collect();
    let bytes = text.as_bytes();
    let cases = [
        (
            bytes.is_empty() || !bytes.iter().all(|b| lower_alnum(*b) || *b == b'-'),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (!bytes.iter().any(u8::is_ascii_lowercase), "must contain at least one letter (a-z)"),
        (text.contains("--"), "must not contain consecutive hyphens"),
        (text.starts_with('-') || text.ends_with('-'), "must not begin or end with a hyphen"),
    ];
    faults.extend(cases.iter().filter(|(wrong, _)| *wrong).map(|(_, fault)| (*fault).to_owned()));
    faults
}

/// A name of an HTTP header.
pub fn http_header(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    let what = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_error(what, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// A percentage, `25%`.
pub fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or("");
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    let what = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_error(what, "[0-9]+%", &["1%", "93%"])]
}

/// An IP address in its canonical form's notation, without leading zeros.
pub fn ip(text: &str) -> Vec<String> {
    use std::net::IpAddr;
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            vec!["must not be an IPv4-mapped IPv6 address".into()]
        }
        Ok(_) => Vec::new(),
        Err(_) if without_leading_zeros(text).parse::<IpAddr>().is_ok() => {
            vec!["must not have leading 0s".into()]
        }
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()],
    }
}

/// A text as it reads when the zeros are dropped with which IPv4 octets may not begin.
fn without_leading_zeros(text: &str) -> String {
    let trim = |octet: &str| match octet.trim_start_matches('0') {
        "" if !octet.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    text.split('.').map(trim).collect::<Vec<_>>().join(".")
}

/// `must be between LOW and HIGH, inclusive`.
pub fn between(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains() {
        for good in ["a", "a1", "1-a", "a--b"] {
            assert!(dns_label(good).is_empty(), "{good}");
        }
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            dns_label("A"),
            ["a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \
              '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
              '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"]
        );
        assert_eq!(dns_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        for bad in ["", ".", "a..b", "a.", "-a", "a_b", "a b"] {
            assert_eq!(dns_subdomain(bad).len(), 1, "{bad}");
        }
        assert!(dns_subdomain("1.a-b.c").is_empty());
        assert_eq!(dns_1035_label("1a").len(), 1);
        assert!(dns_1035_label("a1").is_empty());
        assert_eq!(dns_1035_label("").len(), 1);
        assert!(dns_subdomain_underscore("_tcp.a_b.c").is_empty());
    }

    #[test]
    fn label_keys_and_values() {
        for good in ["a", "A.b_c-d", "example.com/role", "x".repeat(63).as_str()] {
            assert!(label_key(good).is_empty(), "{good}");
        }
        assert_eq!(label_key("/a"), ["prefix part must be non-empty"]);
        assert_eq!(label_key("a/").len(), 2);
        assert!(label_key("a/b/c")[0].starts_with("a valid label key must consist"));
        assert!(label_key("UP/x")[0].starts_with("prefix part a lowercase RFC 1123 subdomain"));
        assert!(label_value("").is_empty());
        assert_eq!(label_value("-a").len(), 1);
        assert_eq!(label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
    }

    #[test]
    fn other_formats() {
        assert_eq!(path_segment("a/b"), ["may not contain '/'"]);
        assert_eq!(path_segment(".."), ["may not be '..'"]);
        assert!(path_segment("system:node").is_empty());
        assert_eq!(config_key("..a"), ["must not start with '..'"]);
        assert!(config_key("a_b.C-1").is_empty());
        assert_eq!(config_key("a/b").len(), 1);
        assert!(env_name("MY.VAR-1").is_empty());
        assert_eq!(env_name("a=b").len(), 1);
        assert!(port_name("http-1").is_empty());
        assert_eq!(port_name("8080"), ["must contain at least one letter (a-z)"]);
        assert_eq!(port_name("-a--b").len(), 2);
        assert!(percent("25%").is_empty());
        assert_eq!(percent("25").len(), 1);
        assert!(http_header("X-A").is_empty());
        assert_eq!(ip("010.0.0.1"), ["must not have leading 0s"]);
        assert_eq!(ip("::ffff:1.2.3.4"), ["must not be an IPv4-mapped IPv6 address"]);
        assert_eq!(ip("x").len(), 1);
        assert!(ip("fd00::1").is_empty());
    }
}
