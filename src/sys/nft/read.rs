//! What the kernel has: tables, chains, rules and elements, decoded from dumps.

use super::{Value, Verdict, uapi};
use crate::sys::netlink::{self, Attrs, Messages, Socket};

/// A chain of any table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Family of its table: ip 2, inet 1, bridge 7, ip6 10.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where it hooks in, for a base chain.
    pub base: Option<Base>,
}

/// Where a base chain hooks in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// As in [`super::Hook`].
    pub hook: u32,
    /// Lower ones come first.
    pub priority: i32,
    /// What becomes of packets that reach the end is a drop.
    pub drops: bool,
}

/// A rule, as far as it matters what it does to every packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names of its expressions in order.
    pub steps: Vec<String>,
    /// The verdict of its last `immediate`.
    pub verdict: Option<Verdict>,
}

/// Names of the tables of a family.
pub fn tables(socket: &mut Socket, family: u8) -> netlink::Result<Vec<String>> {
    let mut found = Vec::new();
    dump(socket, uapi::GETTABLE, family, &[], |_, attrs| {
        found.extend(attrs.text(uapi::TABLE_NAME).map(str::to_owned));
    })?;
    Ok(found)
}

/// All chains of a family.
pub fn chains(socket: &mut Socket, family: u8) -> netlink::Result<Vec<Chain>> {
    let mut found = Vec::new();
    dump(socket, uapi::GETCHAIN, family, &[], |family, attrs| {
        let names = (attrs.text(uapi::CHAIN_TABLE), attrs.text(uapi::CHAIN_NAME));
        if let (Some(table), Some(name)) = names {
            let base = base(attrs);
            found.push(Chain { family, table: table.to_owned(), name: name.to_owned(), base });
        }
    })?;
    Ok(found)
}

fn base(attrs: Attrs<'_>) -> Option<Base> {
    let hook = attrs.nested(uapi::CHAIN_HOOK);
    Some(Base {
        hook: hook.be32(uapi::HOOK_NUMBER)?,
        priority: hook.be32(uapi::HOOK_PRIORITY)? as i32,
        drops: attrs.be32(uapi::CHAIN_POLICY) == Some(uapi::NF_DROP as u32),
    })
}

/// The rules of a chain in order.
pub fn rules(socket: &mut Socket, chain: &Chain) -> netlink::Result<Vec<Rule>> {
    let mut found = Vec::new();
    let names = [(uapi::RULE_TABLE, &*chain.table), (uapi::RULE_CHAIN, &*chain.name)];
    dump(socket, uapi::GETRULE, chain.family, &names, |_, attrs| {
        // Older kernels ignore the names and dump everything.
        if names.iter().all(|&(kind, name)| attrs.text(kind) == Some(name)) {
            found.push(rule(attrs.nested(uapi::RULE_EXPRESSIONS)));
        }
    })?;
    Ok(found)
}

fn rule(expressions: Attrs<'_>) -> Rule {
    let mut rule = Rule { steps: Vec::new(), verdict: None };
    for (_, expr) in expressions {
        let expr = Attrs(expr);
        rule.steps.push(expr.text(uapi::EXPR_NAME).unwrap_or_default().to_owned());
        if rule.steps.last().is_some_and(|name| name == "immediate") {
            let data = expr.nested(uapi::EXPR_DATA).nested(2);
            rule.verdict = verdict(data).or(rule.verdict);
        }
    }
    rule
}

/// The elements of a set, one after the other. One that has outlived its time is left out by the
/// kernel.
pub fn elements(
    socket: &mut Socket,
    (family, table): (u8, &str),
    set: &str,
    mut each: impl FnMut(&[u8], Value),
) -> netlink::Result<()> {
    let names = [(uapi::SET_TABLE, table), (uapi::SET_NAME, set)];
    dump(socket, uapi::GETSETELEM, family, &names, |_, attrs| {
        for (_, element) in attrs.nested(uapi::SET_ELEMENTS) {
            let element = Attrs(element);
            if let Some(key) = element.nested(uapi::ELEM_KEY).get(uapi::DATA_VALUE) {
                each(key, value(element.nested(uapi::ELEM_DATA)));
            }
        }
    })
}

fn value(data: Attrs<'_>) -> Value {
    match (verdict(data), data.get(uapi::DATA_VALUE)) {
        (Some(verdict), _) => Value::Verdict(verdict),
        (None, Some(bytes)) => Value::Data(bytes.to_vec()),
        (None, None) => Value::None,
    }
}

fn verdict(data: Attrs<'_>) -> Option<Verdict> {
    let verdict = data.nested(uapi::DATA_VERDICT);
    let chain = || verdict.text(uapi::VERDICT_CHAIN).unwrap_or_default().to_owned();
    match verdict.be32(uapi::VERDICT_CODE)? as i32 {
        uapi::NF_DROP => Some(Verdict::Drop),
        uapi::NF_ACCEPT => Some(Verdict::Accept),
        uapi::NFT_JUMP => Some(Verdict::Jump(chain())),
        uapi::NFT_GOTO => Some(Verdict::Goto(chain())),
        _ => None,
    }
}

fn dump(
    socket: &mut Socket,
    kind: u16,
    family: u8,
    names: &[(u16, &str)],
    mut each: impl FnMut(u8, Attrs<'_>),
) -> netlink::Result<()> {
    let mut messages = Messages::default();
    messages.open(kind, netlink::DUMP, &[family, 0, 0, 0]);
    for &(kind, name) in names {
        messages.text(kind, name);
    }
    socket.dump(messages, |_, payload| {
        if let (Some(&family), Some(attrs)) = (payload.first(), payload.get(4..)) {
            each(family, Attrs(attrs));
        }
    })
}
