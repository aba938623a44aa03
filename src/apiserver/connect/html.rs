//! Finds the links in a page of HTML that comes in pieces, and passes everything else on as it is.
//!
//! Only a tag that is not complete yet is kept back. It knows nothing of proxies: what becomes of a
//! link is for its user to say.

use crate::limits::HTML_TAG_BYTES_MAX;

/// The attributes that hold URLs, by their element: those of HTML 4 and of HTML 5.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements whose contents have no tags but their end.
const OPAQUE: &[&str] = &[
    "iframe",
    "noembed",
    "noframes",
    "noscript",
    "plaintext",
    "script",
    "style",
    "textarea",
    "title",
    "xmp",
];

const COMMENT: &[u8] = b"<!--";

/// A page, as far as it has come.
#[derive(Default)]
pub struct Page {
    pending: Vec<u8>,
    inside: Inside,
}

/// What the next bytes are in.
#[derive(Default)]
enum Inside {
    #[default]
    Text,
    /// Something that ends with this, however its letters are written.
    Until(Vec<u8>),
}

impl Page {
    /// Takes the next piece; returns what of the page is sure by now, with each link as `link`
    /// makes it anew, where it does.
    pub fn push(&mut self, piece: &[u8], link: &dyn Fn(&str) -> Option<String>) -> Vec<u8> {
        self.pending.extend_from_slice(piece);
        let mut out = Vec::with_capacity(piece.len());
        while self.step(&mut out, link) {}
        out
    }

    /// What is left at the end: a page may break off anywhere.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Passes the first bytes on, if it is known what they are.
    fn step(&mut self, out: &mut Vec<u8>, link: &dyn Fn(&str) -> Option<String>) -> bool {
        if let Inside::Until(end) = &self.inside {
            let (found, sure) = match find(&self.pending, end) {
                Some(at) => (true, at),
                None => (false, self.pending.len().saturating_sub(end.len() - 1)),
            };
            out.extend(self.pending.drain(..sure));
            if found {
                self.inside = Inside::Text;
            }
            return found;
        }
        let text = self.pending.iter().position(|b| *b == b'<').unwrap_or(self.pending.len());
        out.extend(self.pending.drain(..text));
        match self.pending.as_slice() {
            [] | [b'<'] => false,
            begun if begun.len() < COMMENT.len() && COMMENT.starts_with(begun) => false,
            begun if begun.starts_with(COMMENT) => {
                self.inside = Inside::Until(b"-->".to_vec());
                true
            }
            [b'<', letter, ..] if letter.is_ascii_alphabetic() => self.tag(out, link),
            _ => {
                out.extend(self.pending.drain(..1));
                true
            }
        }
    }

    fn tag(&mut self, out: &mut Vec<u8>, link: &dyn Fn(&str) -> Option<String>) -> bool {
        let Some(end) = tag_end(&self.pending) else {
            let whole = self.pending.len() > HTML_TAG_BYTES_MAX;
            if whole {
                out.append(&mut self.pending);
            }
            return false;
        };
        let tag: Vec<u8> = self.pending.drain(..=end).collect();
        let name = lower(&tag[1..word(&tag, 1)]);
        out.extend(rewrite(&tag, &name, link));
        if OPAQUE.contains(&name.as_str()) && !tag.ends_with(b"/>") {
            self.inside = Inside::Until(format!("</{name}").into_bytes());
        }
        true
    }
}

fn lower(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_ascii_lowercase()
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window.eq_ignore_ascii_case(wanted))
}

/// Where the word that begins at `from` ends.
fn word(tag: &[u8], from: usize) -> usize {
    let ends = |b: &u8| b.is_ascii_whitespace() || b"/>=".contains(b);
    tag[from..].iter().position(ends).map_or(tag.len(), |at| from + at)
}

fn skip(tag: &[u8], from: usize, skipped: fn(&u8) -> bool) -> usize {
    tag[from..].iter().position(|b| !skipped(b)).map_or(tag.len(), |at| from + at)
}

/// The attributes of a tag: where each one's name and value are. Stops where the tag ends, or where
/// it is not complete.
fn attributes(tag: &[u8]) -> (Vec<[std::ops::Range<usize>; 2]>, usize) {
    let mut found = Vec::new();
    let mut at = word(tag, 1);
    loop {
        at = skip(tag, at, |b| b.is_ascii_whitespace() || *b == b'/');
        if at >= tag.len() || tag[at] == b'>' {
            return (found, at);
        }
        // A name may begin with what would end it.
        let name = at..word(tag, at + 1);
        at = skip(tag, name.end, u8::is_ascii_whitespace);
        if tag.get(at) != Some(&b'=') {
            continue;
        }
        at = skip(tag, at + 1, u8::is_ascii_whitespace);
        let (begin, end) = match tag.get(at) {
            Some(quote @ (b'"' | b'\'')) => {
                let length = tag[at + 1..].iter().position(|b| b == quote);
                let Some(length) = length else { return (found, tag.len()) };
                (at + 1, at + 1 + length)
            }
            _ => (at, skip(tag, at, |b| !b.is_ascii_whitespace() && *b != b'>')),
        };
        at = end + usize::from(begin > 0 && matches!(tag[begin - 1], b'"' | b'\''));
        found.push([name, begin..end]);
    }
}

/// Where a tag ends, if it is complete.
fn tag_end(text: &[u8]) -> Option<usize> {
    let (_, end) = attributes(text);
    (end < text.len()).then_some(end)
}

/// The tag with its links made anew.
fn rewrite(tag: &[u8], name: &str, link: &dyn Fn(&str) -> Option<String>) -> Vec<u8> {
    let Some((_, links)) = LINKS.iter().find(|(element, _)| *element == name) else {
        return tag.to_vec();
    };
    let (mut out, mut copied) = (Vec::with_capacity(tag.len()), 0);
    for [name, value] in attributes(tag).0 {
        let is_link = links.contains(&lower(&tag[name]).as_str());
        let text = std::str::from_utf8(&tag[value.clone()]).ok().filter(|_| is_link);
        if let Some(new) = text.and_then(link) {
            out.extend_from_slice(&tag[copied..value.start]);
            out.extend_from_slice(new.as_bytes());
            copied = value.end;
        }
    }
    out.extend_from_slice(&tag[copied..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page whose links are made loud, in pieces of each size.
    fn loud(page: &str) -> String {
        let link = |text: &str| text.starts_with('/').then(|| text.to_uppercase());
        let in_pieces = |size: usize| {
            let mut reader = Page::default();
            let pieces = page.as_bytes().chunks(size);
            let mut out: Vec<u8> = pieces.flat_map(|piece| reader.push(piece, &link)).collect();
            out.extend(reader.finish());
            String::from_utf8(out).unwrap()
        };
        let whole = in_pieces(page.len().max(1));
        for size in 1..page.len() {
            assert_eq!(in_pieces(size), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn links_are_found_in_the_attributes_that_hold_them() {
        assert_eq!(loud(r#"<a href="/x">/y</a>"#), r#"<a href="/X">/y</a>"#);
        assert_eq!(loud("<A  class=/c HREF = '/x' >"), "<A  class=/c HREF = '/X' >");
        assert_eq!(loud("<img/src=/a><img src=/b>"), "<img/src=/A><img src=/B>");
        assert_eq!(loud("<input src=/a formaction=\"/b\">"), "<input src=/A formaction=\"/B\">");
        assert_eq!(
            loud("<p title='a > b' cite=/c><q cite=/d>"),
            "<p title='a > b' cite=/c><q cite=/D>"
        );
        assert_eq!(loud("<a href=x><a href><a =/x href=''>"), "<a href=x><a href><a =/x href=''>");
    }

    #[test]
    fn what_is_no_tag_stays_as_it_is() {
        for page in [
            "",
            "<",
            "a < b <3 <a href=/x",
            "<!-- <a href='/x'> --",
            "<!-- <a href='/x'> --> </a href=/x> <!doctype html>",
            "<script>'<a href=\"/x\">'</scrip",
            "<title><a href=/x></TITLE >",
        ] {
            assert_eq!(loud(page), page);
        }
        assert_eq!(loud("<!--><a href=/x>"), "<!--><a href=/X>", "an empty comment");
        assert_eq!(
            loud("<script src=/s>'<a href=/x>'</Script><a href=/y>"),
            "<script src=/S>'<a href=/x>'</Script><a href=/Y>"
        );
    }

    #[test]
    fn a_tag_without_end_is_not_waited_for() {
        let long = format!("<a href=\"/{}", "x".repeat(HTML_TAG_BYTES_MAX));
        let mut page = Page::default();
        assert_eq!(page.push(long.as_bytes(), &|_| None), long.as_bytes());
    }
}
