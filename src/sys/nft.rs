//! nf_tables over netlink: an encoder for one transaction, and readers for what the kernel has.
//!
//! Contract: a [`Batch`] is applied whole or not at all. Knows the kernel's numbers
//! (`linux/netfilter/nf_tables.h`), not what the rules are for.

use super::netlink::{self, Family, Messages, Socket};
use std::time::Duration;

mod read;

pub use read::{Base, Chain, Rule, chains, elements, rules, tables};

/// Attribute numbers, message types and flags that both directions need.
mod uapi {
    pub const SUBSYS: u16 = 10 << 8;
    pub const BATCH_BEGIN: u16 = 0x10;
    pub const BATCH_END: u16 = 0x11;
    pub const NEWTABLE: u16 = SUBSYS;
    pub const GETTABLE: u16 = SUBSYS | 1;
    pub const DELTABLE: u16 = SUBSYS | 2;
    pub const NEWCHAIN: u16 = SUBSYS | 3;
    pub const GETCHAIN: u16 = SUBSYS | 4;
    pub const DELCHAIN: u16 = SUBSYS | 5;
    pub const NEWRULE: u16 = SUBSYS | 6;
    pub const GETRULE: u16 = SUBSYS | 7;
    pub const DELRULE: u16 = SUBSYS | 8;
    pub const NEWSET: u16 = SUBSYS | 9;
    pub const NEWSETELEM: u16 = SUBSYS | 12;
    pub const GETSETELEM: u16 = SUBSYS | 13;
    pub const DELSETELEM: u16 = SUBSYS | 14;
    pub const NEWGEN: u16 = SUBSYS | 15;

    pub const TABLE_NAME: u16 = 1;
    pub const CHAIN_TABLE: u16 = 1;
    pub const CHAIN_NAME: u16 = 3;
    pub const CHAIN_HOOK: u16 = 4;
    pub const CHAIN_POLICY: u16 = 5;
    pub const CHAIN_TYPE: u16 = 7;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const RULE_TABLE: u16 = 1;
    pub const RULE_CHAIN: u16 = 2;
    pub const RULE_EXPRESSIONS: u16 = 4;
    pub const LIST_ELEM: u16 = 1;
    pub const EXPR_NAME: u16 = 1;
    pub const EXPR_DATA: u16 = 2;
    pub const SET_TABLE: u16 = 1;
    pub const SET_NAME: u16 = 2;
    pub const SET_ELEMENTS: u16 = 3;
    pub const ELEM_KEY: u16 = 1;
    pub const ELEM_DATA: u16 = 2;
    pub const DATA_VALUE: u16 = 1;
    pub const DATA_VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const VERDICT_CHAIN: u16 = 2;

    pub const NF_DROP: i32 = 0;
    pub const NF_ACCEPT: i32 = 1;
    pub const NFT_JUMP: i32 = -3;
    pub const NFT_GOTO: i32 = -4;
}

/// The multicast group that tells of changes.
pub const GROUP: u32 = 7;
/// The message that ends the news of a transaction, in a packet of its own.
pub const TRANSACTION: u16 = uapi::NEWGEN;
/// IPv4 only.
pub const FAMILY_IP: u8 = 2;
/// IPv6 only.
pub const FAMILY_IP6: u8 = 10;
/// All families, in a dump.
pub const FAMILY_ANY: u8 = 0;

/// Attributes of one message are cut here: a nested list may hold 65,535 bytes.
const ELEMENTS_BYTES_MAX: usize = 60_000;

/// How often the kernel sweeps out learned elements that have outlived their time, in milliseconds.
/// They are not found any more before that; its default of a second would wake an idle machine.
const SWEEP_MS: u32 = 60_000;

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No other chain sees it.
    Drop,
    /// This base chain is done with it.
    Accept,
    /// Go on in that chain and come back.
    Jump(String),
    /// Go on in that chain for good.
    Goto(String),
}

/// What an element of a set carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// Nothing: a plain set.
    None,
    /// Bytes, each part padded to four.
    Data(Vec<u8>),
    /// A verdict: a verdict map.
    Verdict(Verdict),
}

/// A register of four bytes, counted from 0.
pub type Reg = u32;

/// Where a payload offset counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The IP header.
    Network = 1,
    /// The TCP, UDP or SCTP header.
    Transport = 2,
}

/// What `meta` can load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// Index of the interface it came in by.
    InputIndex = 4,
    /// Name of the interface it came in by, sixteen bytes.
    InputName = 6,
    /// Transport protocol, one byte.
    Protocol = 16,
}

/// What `ct` can load; numbers are in the machine's order where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conntrack {
    /// See the `CT_` constants.
    State = 0,
    /// `IPS_` bits.
    Status = 2,
    /// The port that the first packet was sent to, in network order.
    FirstPort = 12,
    /// The address that the first packet was sent to.
    FirstAddress = 20,
    /// The same of IPv6.
    FirstAddressSix = 22,
}

/// The packet belongs to no flow and starts none.
pub const CT_INVALID: u32 = 1;
/// The packet belongs to a flow that was answered.
pub const CT_ESTABLISHED: u32 = 2;
/// The packet belongs to a flow that another one announced.
pub const CT_RELATED: u32 = 4;
/// The flow's destination was translated.
pub const IPS_DST_NAT: u32 = 1 << 5;

/// How a rejection answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// ICMP port unreachable.
    PortUnreachable,
    /// ICMPv6 port unreachable.
    PortUnreachableSix,
    /// TCP RST.
    Reset,
}

/// One step of a rule. A step that does not match ends the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub enum Expr {
    /// Load from the packet.
    Payload { layer: Layer, offset: u32, len: u32, to: Reg },
    /// Load from the packet's context.
    Meta { what: Meta, to: Reg },
    /// Load from the packet's flow.
    Ct { what: Conntrack, to: Reg },
    /// And a register with a mask, in place.
    Mask { reg: Reg, mask: Vec<u8> },
    /// Match where equal, or where not.
    Compare { reg: Reg, equal: bool, to: Vec<u8> },
    /// Match where the key is in the set; its data go to a register or, where None, decide.
    Lookup { set: String, key: Reg, data: Option<Option<Reg>> },
    /// The index of the interface by which the way back to the source leads, of those it came in
    /// by: zero where it leads elsewhere.
    WayBack { to: Reg },
    /// A random number below a bound, in the machine's order.
    Random { below: u32, to: Reg },
    /// Translate the destination of a family.
    DestinationNat { family: u8, addr: Reg, port: Reg },
    /// Translate the source to an address of the outgoing interface, with a random port.
    Masquerade,
    /// Add to a map, or renew what is there.
    Learn { set: String, key: Reg, data: Reg, timeout: Duration },
    /// Refuse the packet.
    Reject(Answer),
    /// Decide.
    Decide(Verdict),
}

/// A base chain's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// `nat` or `filter`.
    pub kind: &'static str,
    /// Prerouting 0, input 1, forward 2, output 3, postrouting 4.
    pub number: u32,
    /// Lower ones come first.
    pub priority: i32,
}

/// The declaration of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Types of the parts of the key.
    pub key: Vec<Kind>,
    /// What elements carry.
    pub data: Data,
    /// Elements are learned from packets and forgotten; the bound on their number.
    pub learned_max: Option<u32>,
}

/// What the elements of a set carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Nothing.
    None,
    /// Parts of these types.
    Parts(Vec<Kind>),
    /// A verdict.
    Verdict,
}

/// Type of a part of a key, as `nft list` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An IPv4 address.
    Address = 7,
    /// An IPv6 address.
    AddressSix = 8,
    /// A transport protocol.
    Protocol = 12,
    /// A port.
    Port = 13,
    /// A number of four bytes in the machine's order, which `nft list` takes for a packet mark. Its
    /// own type for numbers has no length, and makes it abort.
    Number = 19,
}

impl Kind {
    /// Parts joined into one type number, six bits each.
    fn join(parts: &[Kind]) -> u32 {
        parts.iter().fold(0, |joined, part| (joined << 6) | *part as u32)
    }

    /// Bytes of parts, each padded to four.
    fn len(parts: &[Kind]) -> u32 {
        parts.iter().map(|part| if *part == Kind::AddressSix { 16 } else { 4 }).sum()
    }
}

/// A transaction under construction, on one table.
#[derive(Debug)]
pub struct Batch {
    messages: Messages,
    family: u8,
    table: String,
    sets: u32,
}

impl Batch {
    /// An empty transaction on a table of a family.
    pub fn new(family: u8, table: &str) -> Batch {
        let mut messages = Messages::default();
        messages.open(uapi::BATCH_BEGIN, 0, &[0, 0, 0, 10]);
        Batch { messages, family, table: table.to_owned(), sets: 0 }
    }

    /// Makes the table where it does not exist.
    pub fn add_table(&mut self) {
        let m = open(&mut self.messages, self.family, uapi::NEWTABLE, netlink::CREATE);
        m.text(uapi::TABLE_NAME, &self.table);
    }

    /// Deletes the table and all that is in it.
    pub fn delete_table(&mut self) {
        open(&mut self.messages, self.family, uapi::DELTABLE, 0)
            .text(uapi::TABLE_NAME, &self.table);
    }

    /// Makes a chain; with a hook, a base chain with policy accept.
    pub fn add_chain(&mut self, name: &str, hook: Option<&Hook>) {
        let m = open(&mut self.messages, self.family, uapi::NEWCHAIN, netlink::CREATE);
        m.text(uapi::CHAIN_TABLE, &self.table).text(uapi::CHAIN_NAME, name);
        if let Some(hook) = hook {
            m.nest(uapi::CHAIN_HOOK, |m| {
                m.be32(uapi::HOOK_NUMBER, hook.number);
                m.be32(uapi::HOOK_PRIORITY, hook.priority as u32);
            });
            m.text(uapi::CHAIN_TYPE, hook.kind);
        }
    }

    /// Deletes a chain and its rules. Nothing may lead to it.
    pub fn delete_chain(&mut self, name: &str) {
        let m = open(&mut self.messages, self.family, uapi::DELRULE, 0);
        m.text(uapi::RULE_TABLE, &self.table).text(uapi::RULE_CHAIN, name);
        let m = open(&mut self.messages, self.family, uapi::DELCHAIN, 0);
        m.text(uapi::CHAIN_TABLE, &self.table).text(uapi::CHAIN_NAME, name);
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, chain: &str, steps: &[Expr]) {
        let m =
            open(&mut self.messages, self.family, uapi::NEWRULE, netlink::CREATE | netlink::APPEND);
        m.text(uapi::RULE_TABLE, &self.table).text(uapi::RULE_CHAIN, chain);
        m.nest(uapi::RULE_EXPRESSIONS, |m| {
            for step in steps {
                m.nest(uapi::LIST_ELEM, |m| expression(m, step));
            }
        });
    }

    /// Declares a set or map.
    pub fn add_set(&mut self, set: &Set) {
        const MAP: u32 = 8;
        const TIMEOUT: u32 = 0x10;
        const EVAL: u32 = 0x20;
        let (mut flags, data) = match &set.data {
            Data::None => (0, None),
            Data::Parts(parts) => (MAP, Some((Kind::join(parts), Kind::len(parts)))),
            Data::Verdict => (MAP, Some((0xffff_ff00, 0))),
        };
        if set.learned_max.is_some() {
            flags |= TIMEOUT | EVAL;
        }
        self.sets += 1;
        let m = open(&mut self.messages, self.family, uapi::NEWSET, netlink::CREATE);
        m.text(uapi::SET_TABLE, &self.table).text(uapi::SET_NAME, &set.name);
        m.be32(3, flags).be32(4, Kind::join(&set.key)).be32(5, Kind::len(&set.key));
        if let Some((kind, len)) = data {
            m.be32(6, kind).be32(7, len);
        }
        m.be32(10, self.sets);
        if let Some(max) = set.learned_max {
            m.nest(9, |m| {
                m.be32(1, max);
            });
            m.be32(12, SWEEP_MS);
        }
    }

    /// Adds elements to a set. One that exists with the same value is left alone; with another, the
    /// transaction fails unless it is deleted before.
    pub fn add_elements<'a>(
        &mut self,
        set: &str,
        elements: impl IntoIterator<Item = (&'a [u8], Value)>,
    ) {
        self.elements(uapi::NEWSETELEM, netlink::CREATE, set, elements);
    }

    /// Deletes elements of a set, which must exist.
    pub fn delete_elements<'a>(&mut self, set: &str, keys: impl IntoIterator<Item = &'a [u8]>) {
        let elements = keys.into_iter().map(|key| (key, Value::None));
        self.elements(uapi::DELSETELEM, 0, set, elements);
    }

    fn elements<'a>(
        &mut self,
        kind: u16,
        flags: u16,
        set: &str,
        elements: impl IntoIterator<Item = (&'a [u8], Value)>,
    ) {
        let mut list = None;
        for (key, value) in elements {
            let at = *list.get_or_insert_with(|| {
                let m = open(&mut self.messages, self.family, kind, flags);
                m.text(uapi::SET_TABLE, &self.table).text(uapi::SET_NAME, set);
                m.begin_nest(uapi::SET_ELEMENTS)
            });
            self.messages.nest(uapi::LIST_ELEM, |m| element(m, key, &value));
            if self.messages.bytes().len() - at > ELEMENTS_BYTES_MAX {
                self.messages.end(at);
                list = None;
            }
        }
        if let Some(at) = list {
            self.messages.end(at);
        }
    }

    /// Bytes so far, which tell two transactions apart.
    pub fn bytes(&self) -> &[u8] {
        self.messages.bytes()
    }

    /// Sends the transaction.
    pub fn commit(mut self, socket: &mut Socket) -> netlink::Result<()> {
        if self.messages.count() == 1 {
            return Ok(());
        }
        // The answer to the last message comes after the commit.
        self.messages.flag(netlink::ACK);
        self.messages.open(uapi::BATCH_END, 0, &[0, 0, 0, 10]);
        socket.transact(self.messages)
    }
}

/// A socket for nf_tables.
pub fn socket() -> netlink::Result<Socket> {
    Socket::open(Family::Netfilter)
}

fn open(messages: &mut Messages, family: u8, kind: u16, flags: u16) -> &mut Messages {
    messages.open(kind, flags, &[family, 0, 0, 0])
}

fn element(m: &mut Messages, key: &[u8], value: &Value) {
    m.nest(uapi::ELEM_KEY, |m| {
        m.attr(uapi::DATA_VALUE, key);
    });
    match value {
        Value::None => (),
        Value::Data(bytes) => {
            m.nest(uapi::ELEM_DATA, |m| {
                m.attr(uapi::DATA_VALUE, bytes);
            });
        }
        Value::Verdict(v) => {
            m.nest(uapi::ELEM_DATA, |m| verdict(m, v));
        }
    }
}

fn verdict(m: &mut Messages, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Drop => (uapi::NF_DROP, None),
        Verdict::Accept => (uapi::NF_ACCEPT, None),
        Verdict::Jump(chain) => (uapi::NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (uapi::NFT_GOTO, Some(chain)),
    };
    m.nest(uapi::DATA_VERDICT, |m| {
        m.be32(uapi::VERDICT_CODE, code as u32);
        if let Some(chain) = chain {
            m.text(uapi::VERDICT_CHAIN, chain);
        }
    });
}

/// The kernel's number of a register: 0 is the verdict, four-byte ones count from 8.
fn register(reg: Reg) -> u32 {
    8 + reg
}

fn bytes(m: &mut Messages, kind: u16, value: &[u8]) {
    m.nest(kind, |m| {
        m.attr(uapi::DATA_VALUE, value);
    });
}

fn expression(m: &mut Messages, expr: &Expr) {
    let name = match expr {
        Expr::Payload { .. } => "payload",
        Expr::Meta { .. } => "meta",
        Expr::Ct { .. } => "ct",
        Expr::Mask { .. } => "bitwise",
        Expr::Compare { .. } => "cmp",
        Expr::Lookup { .. } => "lookup",
        Expr::WayBack { .. } => "fib",
        Expr::Random { .. } => "numgen",
        Expr::Decide(_) => "immediate",
        Expr::DestinationNat { .. } => "nat",
        Expr::Masquerade => "masq",
        Expr::Learn { .. } => "dynset",
        Expr::Reject(_) => "reject",
    };
    m.text(uapi::EXPR_NAME, name);
    m.nest(uapi::EXPR_DATA, |m| match expr {
        Expr::Payload { .. } | Expr::Meta { .. } | Expr::Ct { .. } => load(m, expr),
        Expr::WayBack { .. } | Expr::Random { .. } => load(m, expr),
        Expr::Mask { .. } | Expr::Compare { .. } | Expr::Lookup { .. } => test(m, expr),
        _ => act(m, expr),
    });
}

/// Steps that fill a register.
fn load(m: &mut Messages, expr: &Expr) {
    match *expr {
        Expr::Payload { layer, offset, len, to } => {
            m.be32(1, register(to)).be32(2, layer as u32).be32(3, offset).be32(4, len);
        }
        Expr::Meta { what, to } => {
            m.be32(1, register(to)).be32(2, what as u32);
        }
        Expr::Ct { what, to } => {
            const ORIGINAL: u8 = 0;
            m.be32(1, register(to)).be32(2, what as u32);
            if !matches!(what, Conntrack::State | Conntrack::Status) {
                m.attr(3, &[ORIGINAL]);
            }
        }
        Expr::WayBack { to } => {
            const INTERFACE: u32 = 1;
            const SOURCE_AND_INPUT: u32 = 1 | 8;
            m.be32(1, register(to)).be32(2, INTERFACE).be32(3, SOURCE_AND_INPUT);
        }
        Expr::Random { below, to } => {
            const RANDOM: u32 = 1;
            m.be32(1, register(to)).be32(2, below).be32(3, RANDOM);
        }
        _ => (),
    }
}

/// Steps that match or change a register.
fn test(m: &mut Messages, expr: &Expr) {
    match expr {
        Expr::Mask { reg, mask } => {
            m.be32(1, register(*reg)).be32(2, register(*reg)).be32(3, mask.len() as u32);
            bytes(m, 4, mask);
            bytes(m, 5, &vec![0; mask.len()]);
        }
        Expr::Compare { reg, equal, to } => {
            m.be32(1, register(*reg)).be32(2, u32::from(!equal));
            bytes(m, 3, to);
        }
        Expr::Lookup { set, key, data } => {
            m.text(1, set).be32(2, register(*key));
            if let Some(to) = data {
                m.be32(3, to.map_or(0, register));
            }
        }
        _ => (),
    }
}

/// Steps that do something to the packet.
fn act(m: &mut Messages, expr: &Expr) {
    match expr {
        Expr::Decide(v) => {
            m.be32(1, 0).nest(2, |m| verdict(m, v));
        }
        Expr::DestinationNat { family, addr, port } => {
            const DESTINATION: u32 = 1;
            m.be32(1, DESTINATION).be32(2, u32::from(*family));
            m.be32(3, register(*addr)).be32(5, register(*port));
        }
        Expr::Masquerade => {
            const RANDOM_FULLY: u32 = 1 << 4;
            m.be32(1, RANDOM_FULLY);
        }
        Expr::Learn { set, key, data, timeout } => {
            const UPDATE: u32 = 1;
            m.text(1, set).be32(3, UPDATE).be32(4, register(*key)).be32(5, register(*data));
            m.attr(6, &(timeout.as_millis() as u64).to_be_bytes());
        }
        Expr::Reject(Answer::Reset) => {
            const TCP_RESET: u32 = 1;
            m.be32(1, TCP_RESET);
        }
        Expr::Reject(Answer::PortUnreachable) => {
            const ICMP: u32 = 0;
            const PORT_UNREACHABLE: u8 = 3;
            m.be32(1, ICMP).attr(2, &[PORT_UNREACHABLE]);
        }
        Expr::Reject(Answer::PortUnreachableSix) => {
            const ICMP: u32 = 0;
            const PORT_UNREACHABLE: u8 = 4;
            m.be32(1, ICMP).attr(2, &[PORT_UNREACHABLE]);
        }
        _ => (),
    }
}
