//! Patterns of RE2, as Go has them, as those of the `regex` crate: classes know only ASCII, and
//! `\Q..\E` quotes.

use regex::{Regex, RegexBuilder};

/// How large a pattern may become; compiling one takes time that no budget counts.
const SIZE_MAX: usize = 1 << 20;

/// The pattern that a text is.
///
/// # Errors
/// When it is none.
pub fn compile(text: &str) -> Result<Regex, String> {
    let made = RegexBuilder::new(&translate(text)).size_limit(SIZE_MAX).build();
    made.map_err(|why| match why {
        regex::Error::CompiledTooBig(_) => "error parsing regexp: expression too large".to_owned(),
        _ => format!("error parsing regexp: invalid pattern: `{text}`"),
    })
}

fn translate(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        if first != '\\' {
            out.push(first);
            continue;
        }
        let Some(second) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        rest = &rest[second.len_utf8()..];
        match second {
            'd' => out.push_str("[0-9]"),
            'D' => out.push_str("[^0-9]"),
            'w' => out.push_str("[0-9A-Za-z_]"),
            'W' => out.push_str("[^0-9A-Za-z_]"),
            's' => out.push_str(r"[\t\n\f\r ]"),
            'S' => out.push_str(r"[^\t\n\f\r ]"),
            'b' => out.push_str(r"(?-u:\b)"),
            'Q' => {
                let end = rest.find(r"\E").unwrap_or(rest.len());
                out.push_str(&regex::escape(&rest[..end]));
                rest = rest[end..].strip_prefix(r"\E").unwrap_or(&rest[end..]);
            }
            other => out.extend(['\\', other]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_know_only_ascii_and_quotes_quote() {
        let cases = [
            (r"^\d+$", "12", true),
            (r"^\d+$", "१", false),
            (r"^[\d.]+$", "1.2", true),
            (r"^[^\s]+$", "a b", false),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^\w+$", "é", false),
        ];
        for (pattern, text, wanted) in cases {
            assert_eq!(compile(pattern).unwrap().is_match(text), wanted, "{pattern} {text}");
        }
        assert!(compile("(").is_err() && compile("(a{1000}){1000}").is_err());
    }
}
