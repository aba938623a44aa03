//! Memories of endpoints that are gone: UDP flows, which have no end of their own, and clients with
//! affinity.

use super::claims::{Change, Claims};
use super::element::{Front, Key, SetId, Value, endpoint};
use super::skeleton::AFFINITY;
use crate::net::Protocol;
use crate::sys::conntrack;
use crate::sys::netlink::{self, Socket};
use crate::sys::nft::{self, Batch};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddrV4;

/// The sets that lead from a front to endpoints.
fn leads(id: SetId) -> bool {
    matches!(id, SetId::Endpoints | SetId::OuterEndpoints | SetId::HostPorts)
}

/// Ends the UDP flows of fronts whose endpoints changed, unless they go to an endpoint of now:
/// those to endpoints that are gone, and those from before there was any.
pub fn end_udp(changes: &[Change], claims: &Claims) -> netlink::Result<()> {
    let udp = changes
        .iter()
        .filter(|((id, key), ..)| leads(*id) && Front::of(key).protocol == Protocol::Udp.number());
    let fronts: HashMap<SocketAddrV4, HashSet<SocketAddrV4>> = udp
        .map(|((_, key), ..)| Front::of(key))
        .map(|front| (SocketAddrV4::new(front.address, front.port), endpoints_of(front, claims)))
        .collect();
    if fronts.is_empty() {
        return Ok(());
    }
    let mut socket = conntrack::socket()?;
    let mut stale = Vec::new();
    conntrack::flows(&mut socket, Protocol::Udp.number(), |flow| {
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
fn endpoints_of(front: Front, claims: &Claims) -> HashSet<SocketAddrV4> {
    let mut found = listed(SetId::Endpoints, front, claims);
    found.extend(listed(SetId::OuterEndpoints, front, claims));
    found.extend(claims.get(&(SetId::HostPorts, Key::front(front))).and_then(to));
    found
}

fn listed(id: SetId, front: Front, claims: &Claims) -> HashSet<SocketAddrV4> {
    let all = (0..).map(|index| claims.get(&(id, Key::indexed(front, index))));
    all.map_while(|value| value).filter_map(to).collect()
}

fn to(value: Value) -> Option<SocketAddrV4> {
    match value {
        Value::To(to) => Some(to),
        _ => None,
    }
}

/// Makes clients with affinity choose anew where their endpoint is gone.
pub fn forget_clients(
    socket: &mut Socket,
    table: &str,
    changes: &[Change],
    claims: &Claims,
) -> netlink::Result<()> {
    let keeps = |front: &Front| claims.get(&(SetId::Keeps, Key::front(*front))).is_some();
    let mut kept: HashMap<Front, HashSet<SocketAddrV4>> = HashMap::new();
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
    nft::elements(socket, table, AFFINITY, |key, value| {
        // The client's address comes first.
        let front = key.get(4..).and_then(Key::from_bytes).map(|key| Front::of(&key));
        let Some(endpoints) = front.and_then(|front| kept.get(&front)) else { return };
        if let nft::Value::Data(bytes) = value
            && !endpoint(&bytes).is_some_and(|endpoint| endpoints.contains(&endpoint))
        {
            stale.push(key.to_vec());
        }
    })?;
    // One by one: an element whose time runs out meanwhile would fail the others.
    for key in stale {
        let mut batch = Batch::new(table);
        batch.delete_elements(AFFINITY, [&key[..]]);
        match batch.commit(socket) {
            Err(e) if e.errno != nix::errno::Errno::ENOENT => return Err(e),
            _ => (),
        }
    }
    Ok(())
}
