//! `$(NAME)` in commands, arguments, values and sub-paths.

/// Replaces every `$(NAME)` that `lookup` knows. What it does not know stays as it is; `$$` is a
/// literal `$`, so that `$$(NAME)` stays `$(NAME)`.
pub fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (piece, used) = reference(rest, &lookup);
        out.push_str(piece.unwrap_or(&rest[..used]));
        rest = &rest[used..];
    }
    out.push_str(rest);
    out
}

/// What stands at the `$` with which `text` begins: its replacement, none where it stays, and its
/// length.
fn reference<'a>(
    text: &str,
    lookup: &impl Fn(&str) -> Option<&'a str>,
) -> (Option<&'a str>, usize) {
    match text.as_bytes().get(1) {
        Some(b'$') => (Some("$"), 2),
        Some(b'(') => match text.find(')') {
            Some(close) => (lookup(&text[2..close]), close + 1),
            None => (None, 2),
        },
        _ => (None, 1),
    }
}

/// The names that a text refers to.
pub fn references(text: &str) -> Vec<String> {
    let names = std::cell::RefCell::new(Vec::new());
    expand(text, |name| {
        names.borrow_mut().push(name.to_owned());
        None
    });
    names.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_as_kubernetes_does() {
        let lookup = |name: &str| match name {
            "A" => Some("a"),
            "EMPTY" => Some(""),
            "CHAIN" => Some("$(A)"),
            _ => None,
        };
        let cases = [
            ("plain", "plain"),
            ("$(A)", "a"),
            ("x$(A)y$(A)z", "xayaz"),
            ("[$(EMPTY)]", "[]"),
            ("$(CHAIN)", "$(A)"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$$$$(A)", "$$(A)"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$(", "$("),
            ("$()", "$()"),
            ("$(A))", "a)"),
            ("$($(A))", "$($(A))"),
            ("ä$(A)ö", "äaö"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
        assert_eq!(references("$(A)/$$(B)/$(C"), ["A"]);
    }
}
