//! The part of a URL after the question mark.

/// Decoded names and values, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Self(pairs.collect())
    }

    /// The first value of a name; empty where it is absent.
    pub(super) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// All values of a name.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let of = self.0.iter().filter(|(known, _)| known == name);
        of.map(|(_, value)| value.clone()).collect()
    }

    /// Whether a flag is set, by one of its names.
    pub(super) fn is_set(&self, names: &[&str]) -> bool {
        names.iter().any(|name| matches!(self.get(name), "1" | "true" | "True" | "TRUE"))
    }
}

fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let escaped = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        rest = tail;
        match (byte, escaped) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let query = Query::parse("command=sh&command=-c&command=a%20b%26c+d&input=1&x&bad=%zz%4");
        assert_eq!(query.all("command"), ["sh", "-c", "a b&c d"]);
        assert!(query.is_set(&["stdin", "input"]) && !query.is_set(&["tty"]));
        assert_eq!((query.get("x"), query.get("bad"), query.get("none")), ("", "%zz%4", ""));
        assert_eq!(Query::parse(""), Query::default());
    }
}
