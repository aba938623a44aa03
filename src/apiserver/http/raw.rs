//! A look into encoded objects without decoding them. The text is ours: well-formed, no spaces.

use std::ops::Range;

/// Where the value of a top-level field stands in an encoded object.
pub fn member(json: &[u8], name: &str) -> Option<Range<usize>> {
    let mut at = 1;
    while json.get(at) == Some(&b'"') {
        let key_end = string_end(json, at)?;
        let found = json.get(at + 1..key_end - 1) == Some(name.as_bytes());
        let start = key_end + 1;
        let end = value_end(json, start)?;
        if found {
            return Some(start..end);
        }
        at = end + 1;
    }
    None
}

/// Where the string that begins at `at` ends, its closing quote included.
fn string_end(json: &[u8], at: usize) -> Option<usize> {
    let mut i = at + 1;
    loop {
        match json.get(i)? {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
}

/// Where the value that begins at `at` ends.
fn value_end(json: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut i = at;
    loop {
        match json.get(i)? {
            b'"' => {
                i = string_end(json, i)?;
                if depth == 0 {
                    return Some(i);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(i),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            b',' if depth == 0 => return Some(i),
            _ => {}
        }
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_fields_past_whatever_stands_before_them() {
        let text = r#"{"kind":"A","data":{"metadata":"x\"}","y":[1,{"z":2}]},"metadata":{"name":"n"},"n":1}"#;
        let json = text.as_bytes();
        let find = |name: &str| member(json, name).map(|range| &text[range]);
        assert_eq!(find("metadata"), Some(r#"{"name":"n"}"#));
        assert_eq!(find("kind"), Some("\"A\""));
        assert_eq!(find("n"), Some("1"));
        assert_eq!(find("y"), None);
        assert_eq!(member(b"{}", "a"), None);
    }
}
