//! URLs, as Go's `net/url` reads those of requests.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

use crate::api::cel::eval::{Answer, Run, Stop, no_overload};
use crate::api::cel::value::{Dict, Key, Val};

/// A parsed URL.
#[derive(Debug)]
pub struct Url {
    /// As it was given.
    pub text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

/// Reads an absolute URL, or a path.
///
/// # Errors
/// Why it is none.
pub fn parse(text: &str) -> Result<Url, Stop> {
    let wrong = |why: &str| {
        Stop::error(format!("URL parse error during conversion from string: parse {text:?}: {why}"))
    };
    if text.chars().any(|c| c < ' ' || c == '\u{7f}') {
        return Err(wrong("net/url: invalid control character in URL"));
    }
    if text.is_empty() {
        return Err(wrong("empty url"));
    }
    let (scheme, rest) = scheme(text).ok_or_else(|| match text.starts_with(':') {
        true => wrong("missing protocol scheme"),
        false => wrong("first path segment in URL cannot contain colon"),
    })?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        if scheme.is_empty() {
            return Err(wrong("invalid URI for request"));
        }
        // `mailto:a@b`: nothing of it can be asked for but its scheme.
        return Ok(Url {
            text: text.into(),
            scheme,
            host: String::new(),
            path: String::new(),
            query: query.into(),
        });
    }
    let authority = rest.strip_prefix("//").filter(|_| !scheme.is_empty());
    let (host, path) = match authority {
        Some(behind) => behind.split_at(behind.find('/').unwrap_or(behind.len())),
        None => ("", rest),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    check_host(host).map_err(|why| wrong(&why))?;
    unescaped(path, false).ok_or_else(|| wrong("invalid URL escape"))?;
    Ok(Url { text: text.into(), scheme, host: host.into(), path: path.into(), query: query.into() })
}

/// The scheme, in small letters, and what follows; none where a colon stands wrongly.
fn scheme(text: &str) -> Option<(String, &str)> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at > 0 => return Some((text[..at].to_lowercase(), &text[at + 1..])),
            ':' => return None,
            _ => break,
        }
    }
    Some((String::new(), text))
}

fn check_host(host: &str) -> Result<(), String> {
    let port = match host.strip_prefix('[') {
        Some(inner) => {
            let (_, port) = inner.split_once(']').ok_or("missing ']' in host")?;
            port
        }
        None => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(digits) {
        return Err(format!("invalid port {port:?} after host"));
    }
    match host
        .chars()
        .find(|c| matches!(c, ' ' | '<' | '>' | '"' | '\\' | '^' | '`' | '{' | '|' | '}'))
    {
        Some(c) => Err(format!("invalid character {:?} in host name", c.to_string())),
        None => Ok(()),
    }
}

fn unescaped(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' if plus => out.push(b' '),
            other => out.push(other),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// A path with what may not stand in one escaped, unless it was given so.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!'()*[]".contains(&b);
    for byte in path.bytes() {
        if keep(byte) {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A function of a URL.
pub fn call<'a>(run: &mut Run<'a>, name: &str, url: &Rc<Url>) -> Answer<'a> {
    match name {
        "getScheme" => run.text(url.scheme.as_str()),
        "getHost" => run.text(url.host.as_str()),
        "getHostname" => run.text(split(&url.host).0),
        "getPort" => run.text(split(&url.host).1),
        "getEscapedPath" => run.text(escaped(&url.path)),
        "getQuery" => query(run, &url.query),
        _ => Err(no_overload()),
    }
}

fn split(host: &str) -> (&str, &str) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, port),
        _ => (host, ""),
    };
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(inner) => (inner, port),
        None => (name, port),
    }
}

fn query<'a>(run: &mut Run<'a>, query: &str) -> Answer<'a> {
    run.weigh(query.len() as u64 * 8)?;
    let mut found: BTreeMap<Key, Vec<Val<'a>>> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (unescaped(key, true), unescaped(value, true)) {
            found.entry(Key::Str(key.into())).or_default().push(Val::text(value));
        }
    }
    let found = found.into_iter().map(|(key, values)| (key, Val::list(values))).collect();
    Ok(Val::Map(Dict::Made(Rc::new(found))))
}
