//! Keeps the kernel's table of each family as desired.

use super::claims::{Before, Change, Claims};
use super::desired::{Config, Desired, Endpoint, HostPort, Service};
use super::element::{Chain, Key, Place, SetId, Value};
use super::family::{Address, Local};
use super::{flows, render, skeleton};
use crate::net::{Doing, Result, blocking};
use crate::sys::netlink::{Family, Listener, Socket};
use crate::sys::nft::{self, Batch};
use nix::errno::Errno;
use parking_lot::Mutex;
use std::cmp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The tables and what is wanted in them. Clones are handles of the same ones.
#[derive(Debug, Clone)]
pub struct Proxy {
    tables: Arc<Mutex<Tables>>,
    /// The next `apply` shall compare everything.
    recheck: Arc<AtomicBool>,
    name: String,
    /// By which changes of these are told from others'.
    ports: Vec<u32>,
}

impl Proxy {
    /// Reads what the kernel has. Nothing is changed before the first [`Proxy::apply`]: a table of
    /// an earlier process stays in force until then.
    pub async fn open(config: Config) -> Result<Proxy> {
        let name = config.table.clone();
        let tables = blocking(move || Tables::open(&config)).await?;
        let ports = tables.ports()?;
        Ok(Proxy { tables: Arc::new(Mutex::new(tables)), recheck: Arc::default(), name, ports })
    }

    /// Makes each table as desired in one transaction, and ends the UDP flows that would go on to
    /// endpoints which are gone. On an error the kernel has what it had before, or all of it.
    pub async fn apply(&self, desired: Arc<Desired>) -> Result<usize> {
        let (tables, recheck) = (self.tables.clone(), self.recheck.clone());
        blocking(move || {
            let recheck = recheck.swap(false, Ordering::AcqRel);
            tables.lock().apply(&desired, recheck)
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
            own_ports: self.ports.clone(),
            name: self.name.clone(),
        })
    }

    /// Deletes the tables. Where nothing else on the node translates addresses, flows through
    /// services end with it.
    pub async fn remove(&self) -> Result<()> {
        let tables = self.tables.clone();
        blocking(move || tables.lock().remove()).await
    }
}

/// Tells when somebody else deletes the table.
#[derive(Debug)]
pub struct Loss {
    listener: Listener,
    socket: Socket,
    own_ports: Vec<u32>,
    name: String,
}

impl Loss {
    /// Returns when the table is gone after a transaction of somebody else. Then call
    /// [`Proxy::recheck`] and [`Proxy::apply`].
    pub async fn wait(&mut self) -> Result<()> {
        loop {
            let mut foreign = false;
            let own = &self.own_ports;
            match self.listener.read(|port, _| foreign |= !own.contains(&port)).await {
                Err(e) if e.errno == Errno::ENOBUFS => foreign = true,
                outcome => outcome.doing("watch nftables")?,
            }
            // There is a port for each table.
            for family in FAMILIES.iter().take(self.own_ports.len()) {
                if foreign && !table_exists(&mut self.socket, *family, &self.name)? {
                    return Ok(());
                }
            }
        }
    }
}

/// The families of tables, in their order.
const FAMILIES: [u8; 2] = [nft::FAMILY_IP, nft::FAMILY_IP6];

/// Deletes the tables of this name.
pub(in crate::net) fn remove_table(name: &str) -> Result<()> {
    let mut socket = nft::socket().doing("open a netfilter socket")?;
    FAMILIES.into_iter().try_for_each(|family| delete_table(&mut socket, family, name))
}

/// Whether there is a table of this name.
pub(in crate::net) fn has_table(name: &str) -> Result<bool> {
    let mut socket = nft::socket().doing("open a netfilter socket")?;
    let [four, six] = FAMILIES.map(|family| table_exists(&mut socket, family, name));
    Ok(four? || six?)
}

fn delete_table(socket: &mut Socket, family: u8, name: &str) -> Result<()> {
    if !table_exists(socket, family, name)? {
        return Ok(());
    }
    let mut batch = Batch::new(family, name);
    batch.delete_table();
    batch.commit(socket).doing("delete the service table")
}

fn table_exists(socket: &mut Socket, family: u8, name: &str) -> Result<bool> {
    let tables = nft::tables(socket, family).doing("list tables")?;
    Ok(tables.iter().any(|table| table == name))
}

/// The table of IPv4, and that of IPv6 where the networks have it.
#[derive(Debug)]
struct Tables {
    four: Table<Ipv4Addr>,
    six: Option<Table<Ipv6Addr>>,
    /// There may be a table of IPv6 from when there were networks of it.
    stale: bool,
}

impl Tables {
    fn open(config: &Config) -> Result<Tables> {
        let six = Local::of_six(config).map(Table::open).transpose()?;
        let four = Table::open(Local::of_four(config))?;
        Ok(Tables { four, stale: six.is_none(), six })
    }

    /// The port of each table's socket.
    fn ports(&self) -> Result<Vec<u32>> {
        let six = self.six.as_ref().map(|six| &six.socket);
        let sockets = std::iter::once(&self.four.socket).chain(six);
        sockets.map(|socket| socket.port().doing("read a socket's port")).collect()
    }

    fn apply(&mut self, desired: &Desired, recheck: bool) -> Result<usize> {
        self.four.in_step &= !recheck;
        self.six.iter_mut().for_each(|six| six.in_step &= !recheck);
        if std::mem::take(&mut self.stale) {
            delete_table(&mut self.four.socket, nft::FAMILY_IP6, &self.four.config.table)?;
        }
        let changes = self.four.apply(desired)?;
        Ok(changes + self.six.as_mut().map_or(Ok(0), |six| six.apply(desired))?)
    }

    fn remove(&mut self) -> Result<()> {
        self.four.remove()?;
        self.six.as_mut().map_or(Ok(()), Table::remove)
    }
}

#[derive(Debug)]
struct Table<A: Address> {
    config: Local,
    socket: Socket,
    claims: Claims<A>,
    node_ips: Vec<A>,
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
#[derive(Debug)]
struct Kernel<A: Address> {
    table: bool,
    /// With the skeleton of this version and configuration; otherwise nothing else was read.
    current: bool,
    elements: HashMap<Place<A>, Value<A>>,
    chains: BTreeSet<Chain>,
}

impl<A: Address> Table<A> {
    fn open(config: Local) -> Result<Self> {
        let mut socket = nft::socket().doing("open a netfilter socket")?;
        // Only to find out now, rather than at the first apply, whether the kernel can be asked.
        let kernel = Kernel::<A>::read(&mut socket, &config)?;
        tracing::debug!(
            family = A::FAMILY, table = %config.table, found = kernel.table,
            adopted = kernel.current, elements = kernel.elements.len(), "service table read"
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
    fn claim(&mut self, desired: &Desired) -> Vec<Change<A>> {
        let mut before = Before::new();
        let node_ips: Vec<_> =
            render::of(&desired.node_ips).filter(|ip: &A| !(*ip).into().is_loopback()).collect();
        let moved = node_ips != self.node_ips;
        let old_ips = std::mem::replace(&mut self.node_ips, node_ips);
        let nodes = Nodes { config: &self.config, old: &old_ips, new: &self.node_ips };
        let same = |old: &Installed, new: &Arc<Service>| {
            !moved && (Arc::ptr_eq(&old.source, new) || old.source == *new)
        };
        for name in differing(&self.services, &desired.services, same) {
            let (old, new) = (self.services.get(&name), desired.services.get(&name));
            let new = new.map(|new| Installed::new::<A>(new, old));
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
    fn commit(&mut self, changes: &[Change<A>], kernel: Option<&Kernel<A>>) -> Result<()> {
        let mut batch = Batch::new(A::FAMILY, &self.config.table);
        if let Some(kernel) = kernel.filter(|kernel| !kernel.current) {
            if kernel.table {
                batch.delete_table();
            }
            skeleton::install::<A>(&mut batch, &self.config);
        }
        let made: Vec<_> =
            self.claims.chains().filter(|chain| !self.chains.contains(chain)).collect();
        for chain in &made {
            skeleton::chain::<A>(&mut batch, *chain);
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

    fn settle_flows(&mut self, changes: &[Change<A>]) -> Result<usize> {
        let outcome =
            flows::forget_clients(&mut self.socket, &self.config.table, changes, &self.claims);
        outcome.doing("forget clients of endpoints that are gone")?;
        let outcome = flows::end_udp(changes, &self.claims);
        outcome.doing("end UDP flows to endpoints that are gone")?;
        Ok(changes.len())
    }

    fn remove(&mut self) -> Result<()> {
        self.in_step = false;
        delete_table(&mut self.socket, A::FAMILY, &self.config.table)
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

fn chain_of<A>(value: Option<Value<A>>) -> Option<Chain> {
    match value {
        Some(Value::Chain(chain)) => Some(chain),
        _ => None,
    }
}

/// An element changes by being deleted and added in one transaction.
fn write_set<A: Address>(batch: &mut Batch, id: SetId, changes: &[Change<A>]) {
    let own = || changes.iter().filter(|((set, _), ..)| *set == id);
    let old = own().filter(|(_, old, _)| old.is_some()).map(|((_, key), ..)| key.bytes(id));
    batch.delete_elements(id.name(), old);
    let new = own().filter_map(|((_, key), _, new)| Some((key.bytes(id), (*new)?.encode())));
    batch.add_elements(id.name(), new);
}

/// The node before and after its addresses changed.
struct Nodes<'a, A> {
    config: &'a Local,
    old: &'a [A],
    new: &'a [A],
}

impl<A: Address> Nodes<'_, A> {
    fn change_service(
        &self,
        claims: &mut Claims<A>,
        before: &mut Before<A>,
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
        claims: &mut Claims<A>,
        before: &mut Before<A>,
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
    fn new<A: Address>(source: &Arc<Service>, before: Option<&Installed>) -> Installed {
        let mut settled = Service::clone(source);
        for port in &mut settled.ports {
            let same = |p: &&super::Port| (p.protocol, p.port) == (port.protocol, port.port);
            let before = before.and_then(|b| b.settled.ports.iter().find(same));
            let places: &[Endpoint] = before.map_or(&[], |port| &port.endpoints);
            port.endpoints.retain(|endpoint| A::of(endpoint.addr.ip()).is_some());
            port.endpoints = render::settle(places, &port.endpoints);
        }
        Installed { source: source.clone(), settled }
    }
}

impl<A: Address> Kernel<A> {
    fn read(socket: &mut Socket, config: &Local) -> Result<Self> {
        let table = table_exists(socket, A::FAMILY, &config.table)?;
        let (elements, chains) = (HashMap::new(), BTreeSet::new());
        let mut kernel = Kernel { table, current: false, elements, chains };
        if !table {
            return Ok(kernel);
        }
        let mark = skeleton::mark::<A>(config);
        for chain in nft::chains(socket, A::FAMILY).doing("list chains")? {
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
            nft::elements(socket, (A::FAMILY, &config.table), id.name(), each)
                .doing("list elements")?;
        }
        Ok(kernel)
    }
}
