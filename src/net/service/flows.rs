//! Memories of endpoints that are gone: UDP flows, which have no end of their own, and clients with
//! affinity.

use super::claims::{Change, Claims};
use super::element::{Front, Key, SetId, Target, Value};
use super::family::Address;
use super::skeleton::AFFINITY;
use crate::net::Protocol;
use crate::sys::conntrack;
use crate::sys::netlink::{self, Socket};
use crate::sys::nft::{self, Batch};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

/// The sets that lead from a front to endpoints.
fn leads(id: SetId) -> bool {
    matches!(id, SetId::Endpoints | SetId::OuterEndpoints | SetId::HostPorts)
}

/// Ends the UDP flows of fronts whose endpoints changed, unless they go to an endpoint of now:
/// those to endpoints that are gone, and those from before there was any.
pub fn end_udp<A: Address>(changes: &[Change<A>], claims: &Claims<A>) -> netlink::Result<()> {
    let udp = changes
        .iter()
        .filter(|((id, key), ..)| leads(*id) && Front::of(key).protocol == Protocol::Udp.number());
    let fronts: HashMap<SocketAddr, HashSet<SocketAddr>> = udp
        .map(|((_, key), ..)| Front::of(key))
        .map(|front| {
            let endpoints = endpoints_of(front, claims).into_iter().map(SocketAddr::from);
            (SocketAddr::new(front.address.into(), front.port), endpoints.collect())
        })
        .collect();
    if fronts.is_empty() {
        return Ok(());
    }
    let mut socket = conntrack::socket()?;
    let mut stale = Vec::new();
    conntrack::flows(&mut socket, A::FAMILY, Protocol::Udp.number(), |flow| {
        let Some(endpoints) = fronts.get(&flow.destination) else { return };
        // A front that leads nowhere may be an address of the node that something else listens on.
        let ours = flow.translated || !endpoints.is_empty();
        if ours && !endpoints.contains(&flow.answered_from) {
            stale.push(flow);
        }
    })?;
    stale.iter().try_for_each(|flow| conntrack::delete(&mut socket, flow))
}

/// All endpoints that a front leads to now, for whomever.
fn endpoints_of<A: Address>(front: Front<A>, claims: &Claims<A>) -> HashSet<Target<A>> {
    let mut found = listed(SetId::Endpoints, front, claims);
    found.extend(listed(SetId::OuterEndpoints, front, claims));
    found.extend(claims.get(&(SetId::HostPorts, Key::front(front))).and_then(to));
    found
}

fn listed<A: Address>(id: SetId, front: Front<A>, claims: &Claims<A>) -> HashSet<Target<A>> {
    let all = (0..).map(|index| claims.get(&(id, Key::indexed(front, index))));
    all.map_while(|value| value).filter_map(to).collect()
}

fn to<A>(value: Value<A>) -> Option<Target<A>> {
    match value {
        Value::To(to) => Some(to),
        _ => None,
    }
}

/// Makes clients with affinity choose anew where their endpoint is gone.
pub fn forget_clients<A: Address>(
    socket: &mut Socket,
    table: &str,
    changes: &[Change<A>],
    claims: &Claims<A>,
) -> netlink::Result<()> {
    let keeps = |front: &Front<A>| claims.get(&(SetId::Keeps, Key::front(*front))).is_some();
    let mut kept: HashMap<Front<A>, HashSet<Target<A>>> = HashMap::new();
    // Endpoints that are new count as well: somebody may remember an earlier owner of the address.
    for ((id, key), ..) in changes {
        let front = Front::of(key);
        match id {
            // Some of those who were led to any endpoint may now use local ones only.
            SetId::OuterFronts if keeps(&front) => {
                kept.insert(front, listed(SetId::OuterEndpoints, front, claims));
            }
            id if leads(*id) && keeps(&front) => {
                kept.entry(front).or_insert_with(|| endpoints_of(front, claims));
            }
            _ => (),
        }
    }
    if kept.is_empty() {
        return Ok(());
    }
    let mut stale: Vec<Vec<u8>> = Vec::new();
    nft::elements(socket, (A::FAMILY, table), AFFINITY, |key, value| {
        // The client's address comes first.
        let front = key.get(A::LEN..).and_then(Front::read);
        let Some(endpoints) = front.and_then(|front| kept.get(&front)) else { return };
        if let nft::Value::Data(bytes) = value
            && !Target::read(&bytes).is_some_and(|endpoint| endpoints.contains(&endpoint))
        {
            stale.push(key.to_vec());
        }
    })?;
    // One by one: an element whose time runs out meanwhile would fail the others.
    for key in stale {
        let mut batch = Batch::new(A::FAMILY, table);
        batch.delete_elements(AFFINITY, [&key[..]]);
        match batch.commit(socket) {
            Err(e) if e.errno != nix::errno::Errno::ENOENT => return Err(e),
            _ => (),
        }
    }
    Ok(())
}
