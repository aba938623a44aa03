//! The part of the table that elements do not make: sets, hooks, and a few rules that look things
//! up. Written once; another text replaces the whole table in one transaction.

use super::desired::Config;
use super::element::{Chain, SetId};
use crate::limits::AFFINITY_CLIENTS_MAX;
use crate::sys::nft::{
    self, Answer, Batch, Conntrack, Data, Expr, Hook, Kind, Layer, Meta, Reg, Set, Verdict,
};
use crate::util::id;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::time::Duration;

/// The map that remembers clients: client and front -> endpoint.
pub const AFFINITY: &str = "affinity";
/// Chain that answers what leads nowhere.
const REJECT: &str = "reject";
/// What the chain that marks the version is called, before the fingerprint.
const MARK: &str = "skeleton-";

/// IP protocol number of TCP.
const TCP: u8 = 6;

/// Writes the skeleton, and a chain named after its text.
pub fn install(batch: &mut Batch, config: &Config) {
    batch.add_table();
    batch.add_chain(&mark(config), None);
    write(batch, config);
}

/// The name of the chain by which a table with this very skeleton is known.
pub fn mark(config: &Config) -> String {
    let mut text = Batch::new(&config.table);
    write(&mut text, config);
    // The chains that elements lead to come later, but their text counts.
    chain(&mut text, Chain::Keep(1));
    for outer in [false, true] {
        chain(&mut text, Chain::Spread { ways: 2, outer, kept: true });
    }
    format!("{MARK}{:016x}", id::hash(text.bytes()))
}

fn write(batch: &mut Batch, config: &Config) {
    for set in sets() {
        batch.add_set(&set);
    }
    batch.add_chain(REJECT, None);
    batch.add_rule(REJECT, &[protocol(0), compare(true, &[TCP]), Expr::Reject(Answer::Reset)]);
    batch.add_rule(REJECT, &[Expr::Reject(Answer::PortUnreachable)]);
    let chains = [
        ("nat-prerouting", "nat", 0, -100, prerouting(config)),
        ("nat-output", "nat", 3, -100, local()),
        ("nat-input", "nat", 1, 100, vec![remember()]),
        ("nat-postrouting", "nat", 4, 100, postrouting(config)),
        ("filter-input", "filter", 1, 0, input()),
        ("filter-forward", "filter", 2, 0, forward(config)),
        ("filter-output", "filter", 3, 0, nowhere(config)),
    ];
    for (name, kind, number, priority, rules) in chains {
        batch.add_chain(name, Some(&Hook { kind, number, priority }));
        for rule in rules {
            batch.add_rule(name, &rule);
        }
    }
}

fn sets() -> impl Iterator<Item = Set> {
    const FRONT: [Kind; 3] = [Kind::Address, Kind::Protocol, Kind::Port];
    const ENDPOINT: [Kind; 2] = [Kind::Address, Kind::Port];
    let fixed = SetId::ALL.into_iter().map(|id| {
        let (key, data) = match id {
            SetId::Fronts | SetId::OuterFronts | SetId::Keeps => (FRONT.to_vec(), Data::Verdict),
            SetId::Endpoints | SetId::OuterEndpoints => {
                ([&FRONT[..], &[Kind::Number]].concat(), Data::Parts(ENDPOINT.to_vec()))
            }
            SetId::HostPorts => (FRONT.to_vec(), Data::Parts(ENDPOINT.to_vec())),
            SetId::Refused | SetId::Far => (FRONT.to_vec(), Data::None),
            SetId::Selves => (vec![Kind::Address; 2], Data::None),
        };
        Set { name: id.name().to_owned(), key, data, learned_max: None }
    });
    fixed.chain([Set {
        name: AFFINITY.to_owned(),
        key: [&[Kind::Address], &FRONT[..]].concat(),
        data: Data::Parts(ENDPOINT.to_vec()),
        learned_max: Some(AFFINITY_CLIENTS_MAX),
    }])
}

/// New connections from pods and from elsewhere.
fn prerouting(config: &Config) -> Vec<Vec<Expr>> {
    let outer = vec![decide_by(SetId::OuterFronts)];
    let mut rules = local();
    rules.insert(0, [outside(SOURCE, config.pod_cidr), front(0), outer].concat());
    rules
}

/// New connections from the node's own processes, and from pods.
fn local() -> Vec<Vec<Expr>> {
    let services = [front(0), vec![decide_by(SetId::Fronts)]].concat();
    let to_pod = vec![fetch(SetId::HostPorts.name(), 0, 0), translate(0)];
    vec![services, [front(0), to_pod].concat()]
}

/// Remembers the endpoint that the client of a front with affinity was led to. This comes after the
/// translation and not with it: `nft list` aborts on a rule that learns what it has looked up.
fn remember() -> Vec<Expr> {
    [first_front(0), vec![decide_by(SetId::Keeps)]].concat()
}

/// What must come back through this node gets its address.
fn postrouting(config: &Config) -> Vec<Vec<Expr>> {
    let pods = config.pod_cidr;
    // Pods to the world.
    let mut leaving = within(SOURCE, pods);
    for kept in [config.cluster_cidr].iter().chain(&config.unmasqueraded) {
        leaving.extend(outside(DESTINATION, *kept));
    }
    // A pod to itself through a service.
    let itself = vec![address(0, SOURCE), address(1, DESTINATION), member(SetId::Selves)];
    // Clients that are not pods of this node, to pods of another one,
    let foreign = [translated(true), outside(SOURCE, pods)].concat();
    let other_pods = [within(DESTINATION, config.cluster_cidr), outside(DESTINATION, pods)];
    let remote = [foreign.clone(), other_pods.concat()].concat();
    // and to endpoints that are not pods.
    let far = [foreign, front(0), vec![member(SetId::Far)]].concat();
    // Processes of the node that used a loopback address.
    let loopback = [translated(true), within(SOURCE, LOOPBACK)].concat();
    let mut rules = vec![leaving, itself, remote, far, loopback];
    rules.iter_mut().for_each(|rule| rule.push(Expr::Masquerade));
    rules.insert(0, remember());
    rules
}

/// What the node is asked for.
fn input() -> Vec<Vec<Expr>> {
    const LOOPBACK_INDEX: u32 = 1;
    let from_outside = vec![
        Expr::Meta { what: Meta::InputIndex, to: 0 },
        compare(false, &LOOPBACK_INDEX.to_ne_bytes()),
    ];
    // A link with `route_localnet` shall let answers to loopback addresses in, and nothing else.
    let smuggled = [from_outside, within(DESTINATION, LOOPBACK), translated(false)];
    vec![[smuggled.concat(), vec![Expr::Decide(Verdict::Drop)]].concat(), refused()]
}

/// What passes through the node.
fn forward(config: &Config) -> Vec<Vec<Expr>> {
    // A packet that belongs to no flow would leave with a pod's own address and make a client of a
    // service reset its connection.
    let stray = [state(nft::CT_INVALID), within(SOURCE, config.pod_cidr)].concat();
    let mut rules = nowhere(config);
    rules.insert(1, [stray, vec![Expr::Decide(Verdict::Drop)]].concat());
    rules
}

/// Rejects what was sent to a virtual address and was not translated.
fn nowhere(config: &Config) -> Vec<Vec<Expr>> {
    let known = state(nft::CT_ESTABLISHED | nft::CT_RELATED);
    let known = [known, vec![Expr::Decide(Verdict::Accept)]].concat();
    let unused = [within(DESTINATION, config.service_cidr), vec![reject()]].concat();
    vec![known, unused, refused()]
}

fn refused() -> Vec<Expr> {
    [front(0), vec![member(SetId::Refused), reject()]].concat()
}

fn reject() -> Expr {
    Expr::Decide(Verdict::Goto(REJECT.to_owned()))
}

/// Writes a chain that elements lead to.
pub fn chain(batch: &mut Batch, chain: Chain) {
    let name = chain.name();
    batch.add_chain(&name, None);
    let rules = match chain {
        Chain::Keep(seconds) => vec![learn(seconds)],
        Chain::Spread { ways, outer, kept } => spread(ways, outer, kept),
    };
    for rule in rules {
        batch.add_rule(&name, &rule);
    }
}

/// Client and front -> the endpoint that the packet goes to by now. What is known is only renewed.
fn learn(seconds: u32) -> Vec<Expr> {
    let port = Expr::Payload { layer: Layer::Transport, offset: 2, len: 2, to: 5 };
    let timeout = Duration::from_secs(u64::from(seconds));
    let learn = Expr::Learn { set: AFFINITY.to_owned(), key: 0, data: 4, timeout };
    let client = vec![address(0, SOURCE)];
    [client, first_front(1), vec![address(4, DESTINATION), port, learn]].concat()
}

fn spread(ways: u32, outer: bool, kept: bool) -> Vec<Vec<Expr>> {
    let endpoints = if outer { SetId::OuterEndpoints } else { SetId::Endpoints }.name();
    let mut rules = Vec::new();
    if kept {
        let known = vec![fetch(AFFINITY, 0, 0), translate(0)];
        rules.push([vec![address(0, SOURCE)], front(1), known].concat());
    }
    // An index just drawn may have gone by the time it is looked up; the first one is there.
    for below in [ways, 1] {
        let draw = vec![Expr::Random { below, to: 3 }, fetch(endpoints, 0, 0), translate(0)];
        rules.push([front(0), draw].concat());
    }
    rules
}

const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
/// Offsets in the IP header.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;

fn address(to: Reg, offset: u32) -> Expr {
    Expr::Payload { layer: Layer::Network, offset, len: 4, to }
}

fn protocol(to: Reg) -> Expr {
    Expr::Meta { what: Meta::Protocol, to }
}

/// Destination, protocol and port in three registers: the key of fronts.
fn front(to: Reg) -> Vec<Expr> {
    let port = Expr::Payload { layer: Layer::Transport, offset: 2, len: 2, to: to + 2 };
    vec![address(to, DESTINATION), protocol(to + 1), port]
}

/// The same as the first packet of the flow had it.
fn first_front(to: Reg) -> Vec<Expr> {
    let address = Expr::Ct { what: Conntrack::FirstAddress, to };
    let port = Expr::Ct { what: Conntrack::FirstPort, to: to + 2 };
    vec![address, protocol(to + 1), port]
}

fn within(offset: u32, net: Ipv4Net) -> Vec<Expr> {
    network(offset, net, true)
}

fn outside(offset: u32, net: Ipv4Net) -> Vec<Expr> {
    network(offset, net, false)
}

fn network(offset: u32, net: Ipv4Net, equal: bool) -> Vec<Expr> {
    let mask = Expr::Mask { reg: 0, mask: net.netmask().octets().to_vec() };
    vec![address(0, offset), mask, compare(equal, &net.network().octets())]
}

/// The flow is in one of these states.
fn state(any_of: u32) -> Vec<Expr> {
    flow(Conntrack::State, any_of, false)
}

/// The flow's destination was translated, or was not.
fn translated(yes: bool) -> Vec<Expr> {
    flow(Conntrack::Status, nft::IPS_DST_NAT, !yes)
}

fn flow(what: Conntrack, bits: u32, none: bool) -> Vec<Expr> {
    let mask = Expr::Mask { reg: 0, mask: bits.to_ne_bytes().to_vec() };
    vec![Expr::Ct { what, to: 0 }, mask, compare(none, &[0; 4])]
}

fn compare(equal: bool, to: &[u8]) -> Expr {
    Expr::Compare { reg: 0, equal, to: to.to_vec() }
}

fn member(set: SetId) -> Expr {
    Expr::Lookup { set: set.name().to_owned(), key: 0, data: None }
}

fn decide_by(set: SetId) -> Expr {
    Expr::Lookup { set: set.name().to_owned(), key: 0, data: Some(None) }
}

fn fetch(set: &str, key: Reg, to: Reg) -> Expr {
    Expr::Lookup { set: set.to_owned(), key, data: Some(Some(to)) }
}

fn translate(reg: Reg) -> Expr {
    Expr::DestinationNat { addr: reg, port: reg + 1 }
}
