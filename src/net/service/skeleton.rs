//! The part of the table that elements do not make: sets, hooks, and a few rules that look things
//! up. Written once; another text replaces the whole table in one transaction.

use super::element::{Chain, SetId};
use super::family::{Address, Local, octets};
use crate::limits::AFFINITY_CLIENTS_MAX;
use crate::sys::nft::{
    self, Answer, Batch, Conntrack, Data, Expr, Hook, Kind, Layer, Meta, Reg, Set, Verdict,
};
use crate::util::id;
use ipnet::IpNet;
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
pub fn install<A: Address>(batch: &mut Batch, config: &Local) {
    batch.add_table();
    batch.add_chain(&mark::<A>(config), None);
    write::<A>(batch, config);
}

/// The name of the chain by which a table with this very skeleton is known.
pub fn mark<A: Address>(config: &Local) -> String {
    let mut text = Batch::new(A::FAMILY, &config.table);
    write::<A>(&mut text, config);
    // The chains that elements lead to come later, but their text counts.
    chain::<A>(&mut text, Chain::Keep(1));
    for outer in [false, true] {
        chain::<A>(&mut text, Chain::Spread { ways: 2, outer, kept: true });
    }
    format!("{MARK}{:016x}", id::hash(text.bytes()))
}

fn write<A: Address>(batch: &mut Batch, config: &Local) {
    for set in sets::<A>() {
        batch.add_set(&set);
    }
    batch.add_chain(REJECT, None);
    batch.add_rule(REJECT, &[protocol(0), compare(true, &[TCP]), Expr::Reject(Answer::Reset)]);
    batch.add_rule(REJECT, &[Expr::Reject(A::UNREACHABLE)]);
    let chains = [
        ("nat-prerouting", "nat", 0, -100, prerouting::<A>(config)),
        ("nat-output", "nat", 3, -100, local::<A>()),
        ("nat-input", "nat", 1, 100, vec![remember::<A>()]),
        ("nat-postrouting", "nat", 4, 100, postrouting::<A>(config)),
        ("filter-input", "filter", 1, 0, input::<A>()),
        ("filter-forward", "filter", 2, 0, forward::<A>(config)),
        ("filter-output", "filter", 3, 0, nowhere::<A>(config)),
    ];
    let six = (A::FAMILY == nft::FAMILY_IP6).then(|| {
        let arrived = nowhere::<A>(config);
        [
            ("filter-prerouting", "filter", 0, -300, vec![spoofed()]),
            ("filter-arrived", "filter", 0, -50, arrived),
        ]
    });
    for (name, kind, number, priority, rules) in chains.into_iter().chain(six.into_iter().flatten())
    {
        batch.add_chain(name, Some(&Hook { kind, number, priority }));
        for rule in rules {
            batch.add_rule(name, &rule);
        }
    }
}

fn sets<A: Address>() -> impl Iterator<Item = Set> {
    let (front, endpoint) = ([A::KIND, Kind::Protocol, Kind::Port], [A::KIND, Kind::Port]);
    let fixed = SetId::ALL.into_iter().map(move |id| {
        let (key, data) = match id {
            SetId::Fronts | SetId::OuterFronts | SetId::Keeps => (front.to_vec(), Data::Verdict),
            SetId::Endpoints | SetId::OuterEndpoints => {
                ([&front[..], &[Kind::Number]].concat(), Data::Parts(endpoint.to_vec()))
            }
            SetId::HostPorts => (front.to_vec(), Data::Parts(endpoint.to_vec())),
            SetId::Refused | SetId::Far => (front.to_vec(), Data::None),
            SetId::Selves => (vec![A::KIND; 2], Data::None),
        };
        Set { name: id.name().to_owned(), key, data, learned_max: None }
    });
    fixed.chain([Set {
        name: AFFINITY.to_owned(),
        key: [&[A::KIND], &front[..]].concat(),
        data: Data::Parts(endpoint.to_vec()),
        learned_max: Some(AFFINITY_CLIENTS_MAX),
    }])
}

/// New connections from pods and from elsewhere.
fn prerouting<A: Address>(config: &Local) -> Vec<Vec<Expr>> {
    let outer = vec![decide_by(SetId::OuterFronts)];
    let mut rules = local::<A>();
    rules.insert(0, [outside::<A>(A::SOURCE, config.pods), front::<A>(0), outer].concat());
    rules
}

/// What comes in by a pod's link and is not from its address: for IPv4 the kernel has a setting.
fn spoofed() -> Vec<Expr> {
    let link = Expr::Meta { what: Meta::InputName, to: 0 };
    let of_pod = compare(true, NAME_PREFIX.as_bytes());
    let no_way_back = vec![Expr::WayBack { to: 0 }, compare(true, &[0; 4])];
    [vec![link, of_pod], no_way_back, vec![Expr::Decide(Verdict::Drop)]].concat()
}

/// New connections from the node's own processes, and from pods.
fn local<A: Address>() -> Vec<Vec<Expr>> {
    let services = [front::<A>(0), vec![decide_by(SetId::Fronts)]].concat();
    let to_pod = vec![fetch(SetId::HostPorts.name(), 0, 0), translate::<A>(0)];
    vec![services, [front::<A>(0), to_pod].concat()]
}

/// Remembers the endpoint that the client of a front with affinity was led to. This comes after the
/// translation and not with it: `nft list` aborts on a rule that learns what it has looked up.
fn remember<A: Address>() -> Vec<Expr> {
    [first_front::<A>(0), vec![decide_by(SetId::Keeps)]].concat()
}

/// What must come back through this node gets its address.
fn postrouting<A: Address>(config: &Local) -> Vec<Vec<Expr>> {
    let pods = config.pods;
    let (from, to) = (A::SOURCE, A::DESTINATION);
    // Pods to the world.
    let mut leaving = within::<A>(from, pods);
    for kept in [config.cluster].iter().chain(&config.unmasqueraded) {
        leaving.extend(outside::<A>(to, *kept));
    }
    // A pod to itself through a service.
    let both = vec![address::<A>(0, from), address::<A>(A::REGISTERS, to)];
    let itself = [both, vec![member(SetId::Selves)]].concat();
    // Clients that are not pods of this node, to pods of another one,
    let foreign = [translated(true), outside::<A>(from, pods)].concat();
    let other_pods = [within::<A>(to, config.cluster), outside::<A>(to, pods)];
    let remote = [foreign.clone(), other_pods.concat()].concat();
    // and to endpoints that are not pods.
    let far = [foreign, front::<A>(0), vec![member(SetId::Far)]].concat();
    // Processes of the node that used a loopback address.
    let loopback = [translated(true), within::<A>(from, A::LOOPBACK)].concat();
    let mut rules = vec![leaving, itself, remote, far, loopback];
    rules.iter_mut().for_each(|rule| rule.push(Expr::Masquerade));
    rules.insert(0, remember::<A>());
    rules
}

/// What the node is asked for.
fn input<A: Address>() -> Vec<Vec<Expr>> {
    const LOOPBACK_INDEX: u32 = 1;
    let from_outside = vec![
        Expr::Meta { what: Meta::InputIndex, to: 0 },
        compare(false, &LOOPBACK_INDEX.to_ne_bytes()),
    ];
    // A link with `route_localnet` shall let answers to loopback addresses in, and nothing else.
    let to_loopback = within::<A>(A::DESTINATION, A::LOOPBACK);
    let smuggled = [from_outside, to_loopback, translated(false)];
    vec![[smuggled.concat(), vec![Expr::Decide(Verdict::Drop)]].concat(), refused::<A>()]
}

/// What passes through the node.
fn forward<A: Address>(config: &Local) -> Vec<Vec<Expr>> {
    // A packet that belongs to no flow would leave with a pod's own address and make a client of a
    // service reset its connection.
    let stray = [state(nft::CT_INVALID), within::<A>(A::SOURCE, config.pods)].concat();
    let mut rules = nowhere::<A>(config);
    rules.insert(1, [stray, vec![Expr::Decide(Verdict::Drop)]].concat());
    rules
}

/// Rejects what was sent to a virtual address and was not translated. Of IPv6 this must be before
/// the kernel looks for a way: it takes one that ends in the loopback interface for none.
fn nowhere<A: Address>(config: &Local) -> Vec<Vec<Expr>> {
    let known = state(nft::CT_ESTABLISHED | nft::CT_RELATED);
    let known = [known, vec![Expr::Decide(Verdict::Accept)]].concat();
    let unused = [within::<A>(A::DESTINATION, config.services), vec![reject()]].concat();
    vec![known, unused, refused::<A>()]
}

fn refused<A: Address>() -> Vec<Expr> {
    [front::<A>(0), vec![member(SetId::Refused), reject()]].concat()
}

fn reject() -> Expr {
    Expr::Decide(Verdict::Goto(REJECT.to_owned()))
}

/// Writes a chain that elements lead to.
pub fn chain<A: Address>(batch: &mut Batch, chain: Chain) {
    let name = chain.name();
    batch.add_chain(&name, None);
    let rules = match chain {
        Chain::Keep(seconds) => vec![learn::<A>(seconds)],
        Chain::Spread { ways, outer, kept } => spread::<A>(ways, outer, kept),
    };
    for rule in rules {
        batch.add_rule(&name, &rule);
    }
}

/// Client and front -> the endpoint that the packet goes to by now. What is known is only renewed.
fn learn<A: Address>(seconds: u32) -> Vec<Expr> {
    let (front, to) = (A::REGISTERS, 2 * A::REGISTERS + 2);
    let port = Expr::Payload { layer: Layer::Transport, offset: 2, len: 2, to: to + A::REGISTERS };
    let timeout = Duration::from_secs(u64::from(seconds));
    let learn = Expr::Learn { set: AFFINITY.to_owned(), key: 0, data: to, timeout };
    let client = vec![address::<A>(0, A::SOURCE)];
    let learn = vec![address::<A>(to, A::DESTINATION), port, learn];
    [client, first_front::<A>(front), learn].concat()
}

fn spread<A: Address>(ways: u32, outer: bool, kept: bool) -> Vec<Vec<Expr>> {
    let endpoints = if outer { SetId::OuterEndpoints } else { SetId::Endpoints }.name();
    let mut rules = Vec::new();
    if kept {
        let known = vec![fetch(AFFINITY, 0, 0), translate::<A>(0)];
        let client = vec![address::<A>(0, A::SOURCE)];
        rules.push([client, front::<A>(A::REGISTERS), known].concat());
    }
    // An index just drawn may have gone by the time it is looked up; the first one is there.
    for below in [ways, 1] {
        let random = Expr::Random { below, to: A::REGISTERS + 2 };
        let draw = vec![random, fetch(endpoints, 0, 0), translate::<A>(0)];
        rules.push([front::<A>(0), draw].concat());
    }
    rules
}

/// What the names of pods' links begin with; see [`crate::net::link`].
const NAME_PREFIX: &str = crate::net::link::NAME_PREFIX;

fn address<A: Address>(to: Reg, offset: u32) -> Expr {
    Expr::Payload { layer: Layer::Network, offset, len: A::LEN as u32, to }
}

fn protocol(to: Reg) -> Expr {
    Expr::Meta { what: Meta::Protocol, to }
}

/// Destination, protocol and port in registers: the key of fronts.
fn front<A: Address>(to: Reg) -> Vec<Expr> {
    let after = to + A::REGISTERS;
    let port = Expr::Payload { layer: Layer::Transport, offset: 2, len: 2, to: after + 1 };
    vec![address::<A>(to, A::DESTINATION), protocol(after), port]
}

/// The same as the first packet of the flow had it.
fn first_front<A: Address>(to: Reg) -> Vec<Expr> {
    let after = to + A::REGISTERS;
    let address = Expr::Ct { what: A::FIRST, to };
    let port = Expr::Ct { what: Conntrack::FirstPort, to: after + 1 };
    vec![address, protocol(after), port]
}

fn within<A: Address>(offset: u32, net: IpNet) -> Vec<Expr> {
    network::<A>(offset, net, true)
}

fn outside<A: Address>(offset: u32, net: IpNet) -> Vec<Expr> {
    network::<A>(offset, net, false)
}

fn network<A: Address>(offset: u32, net: IpNet, equal: bool) -> Vec<Expr> {
    let mask = Expr::Mask { reg: 0, mask: octets(net.netmask()) };
    vec![address::<A>(0, offset), mask, compare(equal, &octets(net.network()))]
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

fn translate<A: Address>(reg: Reg) -> Expr {
    Expr::DestinationNat { family: A::FAMILY, addr: reg, port: reg + A::REGISTERS }
}
