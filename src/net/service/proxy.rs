//! Keeps the kernel's table as desired.

use super::claims::{Before, Change, Claims};
use super::desired::{Config, Desired, Endpoint, HostPort, Service};
use super::element::{Chain, Key, Place, SetId, Value};
use super::{flows, render, skeleton};
use crate::net::{Doing, Result, blocking};
use crate::sys::netlink::{Family, Listener, Socket};
use crate::sys::nft::{self, Batch};
use nix::errno::Errno;
use parking_lot::Mutex;
use std::cmp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The table and what is wanted in it. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Proxy {
    table: Arc<Mutex<Table>>,
    /// The next `apply` shall compare everything.
    recheck: Arc<AtomicBool>,
    name: String,
    /// By which changes of this one are told from others'.
    port: u32,
}

impl Proxy {
    /// Reads what the kernel has. Nothing is changed before the first [`Proxy::apply`]: a table of
    /// an earlier process stays in force until then.
    pub async fn open(config: Config) -> Result<Proxy> {
        let name = config.table.clone();
        let table = blocking(|| Table::open(config)).await?;
        let port = table.socket.port().doing("read a socket's port")?;
        Ok(Proxy { table: Arc::new(Mutex::new(table)), recheck: Arc::default(), name, port })
    }

    /// Makes the table as desired in one transaction, and ends the UDP flows that would go on to
    /// endpoints which are gone. On an error the kernel has what it had before, or all of it.
    pub async fn apply(&self, desired: Arc<Desired>) -> Result<usize> {
        let (table, recheck) = (self.table.clone(), self.recheck.clone());
        blocking(move || {
            let mut table = table.lock();
            table.in_step &= !recheck.swap(false, Ordering::AcqRel);
            table.apply(&desired)
        })
        .await
    }

    /// Makes the next `apply` compare everything with the kernel: somebody else may have changed
    /// the table.
    pub fn recheck(&self) {
        self.recheck.store(true, Ordering::Release);
    }

    /// Watches for others who delete the table, as `nft flush ruleset` does.
    pub fn watch(&self) -> Result<Loss> {
        let listener = Listener::join(Family::Netfilter, nft::GROUP, nft::TRANSACTION);
        Ok(Loss {
            listener: listener.doing("watch nftables")?,
            socket: nft::socket().doing("open a netfilter socket")?,
            own_port: self.port,
            name: self.name.clone(),
        })
    }

    /// Deletes the table. Where nothing else on the node translates addresses, flows through
    /// services end with it.
    pub async fn remove(&self) -> Result<()> {
        let table = self.table.clone();
        blocking(move || table.lock().remove()).await
    }
}

/// Tells when somebody else deletes the table.
#[derive(Debug)]
pub struct Loss {
    listener: Listener,
    socket: Socket,
    own_port: u32,
    name: String,
}

impl Loss {
    /// Returns when the table is gone after a transaction of somebody else. Then call
    /// [`Proxy::recheck`] and [`Proxy::apply`].
    pub async fn wait(&mut self) -> Result<()> {
        loop {
            let mut foreign = false;
            match self.listener.read(|port, _| foreign |= port != self.own_port).await {
                Err(e) if e.errno == Errno::ENOBUFS => foreign = true,
                outcome => outcome.doing("watch nftables")?,
            }
            if foreign && !table_exists(&mut self.socket, &self.name)? {
                return Ok(());
            }
        }
    }
}

/// Deletes a table of this name, if there is one.
pub(in crate::net) fn remove_table(name: &str) -> Result<()> {
    delete_table(&mut nft::socket().doing("open a netfilter socket")?, name)
}

/// Whether there is a table of this name.
pub(in crate::net) fn has_table(name: &str) -> Result<bool> {
    table_exists(&mut nft::socket().doing("open a netfilter socket")?, name)
}

fn delete_table(socket: &mut Socket, name: &str) -> Result<()> {
    if !table_exists(socket, name)? {
        return Ok(());
    }
    let mut batch = Batch::new(name);
    batch.delete_table();
    batch.commit(socket).doing("delete the service table")
}

fn table_exists(socket: &mut Socket, name: &str) -> Result<bool> {
    Ok(nft::tables(socket).doing("list tables")?.iter().any(|table| table == name))
}

#[derive(Debug)]
struct Table {
    config: Config,
    socket: Socket,
    claims: Claims,
    node_ips: Vec<Ipv4Addr>,
    services: BTreeMap<String, Installed>,
    host_ports: BTreeMap<String, Arc<Vec<HostPort>>>,
    /// Chains that the kernel has beside the skeleton's.
    chains: BTreeSet<Chain>,
    /// The kernel has what `claims` has.
    in_step: bool,
}

/// A service as it was claimed: endpoints in the order of their indexes.
#[derive(Debug)]
struct Installed {
    source: Arc<Service>,
    settled: Service,
}

/// What the kernel has.
#[derive(Debug, Default)]
struct Kernel {
    table: bool,
    /// With the skeleton of this version and configuration; otherwise nothing else was read.
    current: bool,
    elements: HashMap<Place, Value>,
    chains: BTreeSet<Chain>,
}

impl Table {
    fn open(config: Config) -> Result<Table> {
        let mut socket = nft::socket().doing("open a netfilter socket")?;
        // Only to find out now, rather than at the first apply, whether the kernel can be asked.
        let kernel = Kernel::read(&mut socket, &config)?;
        tracing::debug!(
            table = %config.table, found = kernel.table, adopted = kernel.current,
            elements = kernel.elements.len(), "service table read"
        );
        Ok(Table {
            config,
            socket,
            claims: Claims::default(),
            node_ips: Vec::new(),
            services: BTreeMap::new(),
            host_ports: BTreeMap::new(),
            chains: BTreeSet::new(),
            in_step: false,
        })
    }

    fn apply(&mut self, desired: &Desired) -> Result<usize> {
        let changes = self.claim(desired);
        if self.in_step {
            match self.commit(&changes, None) {
                Ok(()) => return self.settle_flows(&changes),
                Err(error) => {
                    tracing::warn!(%error, "service table is not as it was left; comparing all of it");
                    self.in_step = false;
                }
            }
        }
        let kernel = Kernel::read(&mut self.socket, &self.config)?;
        let changes = self.claims.difference(&kernel.elements);
        self.chains.clone_from(&kernel.chains);
        self.commit(&changes, Some(&kernel))?;
        self.in_step = true;
        self.settle_flows(&changes)
    }

    /// Takes note of what is desired now, and says what that changes.
    fn claim(&mut self, desired: &Desired) -> Vec<Change> {
        let mut before = Before::new();
        let node_ips: Vec<_> =
            render::v4(&desired.node_ips).filter(|ip| !ip.is_loopback()).collect();
        let moved = node_ips != self.node_ips;
        let old_ips = std::mem::replace(&mut self.node_ips, node_ips);
        let nodes = Nodes { config: &self.config, old: &old_ips, new: &self.node_ips };
        let same = |old: &Installed, new: &Arc<Service>| {
            !moved && (Arc::ptr_eq(&old.source, new) || old.source == *new)
        };
        for name in differing(&self.services, &desired.services, same) {
            let (old, new) = (self.services.get(&name), desired.services.get(&name));
            let new = new.map(|new| Installed::new(new, old));
            nodes.change_service(&mut self.claims, &mut before, &name, old, new.as_ref());
            set(&mut self.services, name, new);
        }
        let same = |old: &Arc<_>, new: &Arc<_>| !moved && old == new;
        for pod in differing(&self.host_ports, &desired.host_ports, same) {
            let (old, new) = (self.host_ports.get(&pod), desired.host_ports.get(&pod));
            nodes.change_host_ports(&mut self.claims, &mut before, &pod, old, new);
            set(&mut self.host_ports, pod, new.cloned());
        }
        self.claims.changes(before)
    }

    /// Sends one transaction; `kernel` is what was just read, where the skeleton may be missing.
    fn commit(&mut self, changes: &[Change], kernel: Option<&Kernel>) -> Result<()> {
        let mut batch = Batch::new(&self.config.table);
        if let Some(kernel) = kernel.filter(|kernel| !kernel.current) {
            if kernel.table {
                batch.delete_table();
            }
            skeleton::install(&mut batch, &self.config);
        }
        let made: Vec<_> =
            self.claims.chains().filter(|chain| !self.chains.contains(chain)).collect();
        for chain in &made {
            skeleton::chain(&mut batch, *chain);
        }
        for id in SetId::ALL {
            write_set(&mut batch, id, changes);
        }
        // A chain is deleted one transaction after the last element that led to it.
        let led_to: BTreeSet<_> = changes.iter().filter_map(|(_, old, _)| chain_of(*old)).collect();
        let spare = |chain: &&Chain| !self.claims.uses(chain) && !led_to.contains(chain);
        let spare: Vec<_> = self.chains.iter().filter(spare).copied().collect();
        for chain in &spare {
            batch.delete_chain(&chain.name());
        }
        batch.commit(&mut self.socket).doing("change the service table")?;
        self.chains.extend(made);
        self.chains.retain(|chain| !spare.contains(chain));
        Ok(())
    }

    fn settle_flows(&mut self, changes: &[Change]) -> Result<usize> {
        let outcome =
            flows::forget_clients(&mut self.socket, &self.config.table, changes, &self.claims);
        outcome.doing("forget clients of endpoints that are gone")?;
        let outcome = flows::end_udp(changes, &self.claims);
        outcome.doing("end UDP flows to endpoints that are gone")?;
        Ok(changes.len())
    }

    fn remove(&mut self) -> Result<()> {
        self.in_step = false;
        delete_table(&mut self.socket, &self.config.table)
    }
}

/// Names that only one of the maps has, or for which they do not have the same.
fn differing<A, B>(
    old: &BTreeMap<String, A>,
    new: &BTreeMap<String, B>,
    same: impl Fn(&A, &B) -> bool,
) -> Vec<String> {
    let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
    let mut found = Vec::new();
    loop {
        let order = match (olds.peek(), news.peek()) {
            (None, None) => return found,
            (Some(_), None) => cmp::Ordering::Less,
            (None, Some(_)) => cmp::Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = if order.is_le() { olds.next() } else { None };
        let new = if order.is_ge() { news.next() } else { None };
        match (old, new) {
            (Some((_, old)), Some((_, new))) if same(old, new) => (),
            (Some((name, _)), _) | (None, Some((name, _))) => found.push(name.clone()),
            (None, None) => (),
        }
    }
}

fn set<V>(map: &mut BTreeMap<String, V>, name: String, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(name, value)),
        None => drop(map.remove(&name)),
    }
}

fn chain_of(value: Option<Value>) -> Option<Chain> {
    match value {
        Some(Value::Chain(chain)) => Some(chain),
        _ => None,
    }
}

/// An element changes by being deleted and added in one transaction.
fn write_set(batch: &mut Batch, id: SetId, changes: &[Change]) {
    let len = id.key_len();
    let own = || changes.iter().filter(|((set, _), ..)| *set == id);
    let old = own().filter(|(_, old, _)| old.is_some()).map(|((_, key), ..)| &key.0[..len]);
    batch.delete_elements(id.name(), old);
    let new = own().filter_map(|((_, key), _, new)| Some((&key.0[..len], (*new)?.encode())));
    batch.add_elements(id.name(), new);
}

/// The node before and after its addresses changed.
struct Nodes<'a> {
    config: &'a Config,
    old: &'a [Ipv4Addr],
    new: &'a [Ipv4Addr],
}

impl Nodes<'_> {
    fn change_service(
        &self,
        claims: &mut Claims,
        before: &mut Before,
        name: &str,
        old: Option<&Installed>,
        new: Option<&Installed>,
    ) {
        let elements = |installed: Option<&Installed>, ips| {
            let node = render::Node { config: self.config, ips };
            installed.map(|i| render::service(&i.settled, node)).unwrap_or_default()
        };
        let (old, new) = (elements(old, self.old), elements(new, self.new));
        claims.change(&format!("service {name}").into(), &old, &new, before);
    }

    fn change_host_ports(
        &self,
        claims: &mut Claims,
        before: &mut Before,
        pod: &str,
        old: Option<&Arc<Vec<HostPort>>>,
        new: Option<&Arc<Vec<HostPort>>>,
    ) {
        let elements = |ports: Option<&Arc<Vec<HostPort>>>, ips| {
            let node = render::Node { config: self.config, ips };
            ports.map(|p| render::host_ports(p, node)).unwrap_or_default()
        };
        let (old, new) = (elements(old, self.old), elements(new, self.new));
        claims.change(&format!("host ports {pod}").into(), &old, &new, before);
    }
}

impl Installed {
    fn new(source: &Arc<Service>, before: Option<&Installed>) -> Installed {
        let mut settled = Service::clone(source);
        for port in &mut settled.ports {
            let same = |p: &&super::Port| (p.protocol, p.port) == (port.protocol, port.port);
            let before = before.and_then(|b| b.settled.ports.iter().find(same));
            let places: &[Endpoint] = before.map_or(&[], |port| &port.endpoints);
            port.endpoints = render::settle(places, &port.endpoints);
        }
        Installed { source: source.clone(), settled }
    }
}

impl Kernel {
    fn read(socket: &mut Socket, config: &Config) -> Result<Kernel> {
        let table = table_exists(socket, &config.table)?;
        let mut kernel = Kernel { table, ..Kernel::default() };
        if !table {
            return Ok(kernel);
        }
        let mark = skeleton::mark(config);
        for chain in nft::chains(socket, nft::FAMILY_IP).doing("list chains")? {
            if chain.table == config.table {
                kernel.current |= chain.name == mark;
                kernel.chains.extend(Chain::parse(&chain.name));
            }
        }
        if !kernel.current {
            kernel.chains.clear();
            return Ok(kernel);
        }
        for id in SetId::ALL {
            let each = |key: &[u8], value| {
                if let Some(key) = Key::from_bytes(key) {
                    kernel.elements.insert((id, key), Value::decode(&value));
                }
            };
            nft::elements(socket, &config.table, id.name(), each).doing("list elements")?;
        }
        Ok(kernel)
    }
}
