//! What is wrong with an expression's text, as cel-go prints it.

use std::fmt::Write;

/// How much of a line is shown with its fault.
const SNIPPET_MAX: usize = 16_384;

/// One fault and where it stands, in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: u32,
    /// What.
    pub message: String,
}

impl Fault {
    /// A fault at a place.
    pub fn at(place: u32, message: impl Into<String>) -> Self {
        Self { place, message: message.into() }
    }
}

/// All faults of a text: each with its line, and a mark below the place.
pub fn show(text: &str, faults: &[Fault]) -> String {
    let mut sorted: Vec<&Fault> = faults.iter().collect();
    sorted.sort_by_key(|fault| fault.place);
    let shown: Vec<String> = sorted.into_iter().map(|fault| one(text, fault)).collect();
    shown.join("\n")
}

fn one(text: &str, fault: &Fault) -> String {
    let (mut line, mut begin) = (1, 0);
    for (at, c) in text.chars().enumerate().take(fault.place as usize) {
        if c == '\n' {
            line += 1;
            begin = at + 1;
        }
    }
    let column = fault.place as usize - begin;
    let mut out = format!("ERROR: <input>:{line}:{}: {}", column + 1, fault.message);
    let Some(snippet) = text.split('\n').nth(line - 1).filter(|s| s.len() <= SNIPPET_MAX) else {
        return out;
    };
    let snippet = snippet.replace('\t', " ");
    let mut chars = snippet.chars();
    let before = chars.by_ref().take(column);
    let dots: String = before.map(|c| if c.len_utf8() > 1 { '．' } else { '.' }).collect();
    let wide = chars.next().is_some_and(|c| c.len_utf8() > 1);
    let _ = write!(out, "\n | {snippet}\n | {dots}{}", if wide { '＾' } else { '^' });
    out
}
