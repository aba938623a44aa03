//! Firewall rules of others that stop what rk forwards. An accept of ours cannot override a drop of
//! theirs, so that all there is to do is to name them.

use super::{Doing, Result, blocking};
use crate::sys::nft::{self, Chain, Rule, Verdict};
use crate::sys::xtables;
use std::fmt;

/// Hook numbers, as in [`nft::Hook`].
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
/// Families that see IPv4 packets on their way through the node.
const INET: u8 = 1;
/// What chains of each owner are called, or begin with.
const OWNERS: [(&str, &str); 6] = [
    ("DOCKER", "docker"),
    ("ufw", "ufw"),
    ("LIBVIRT", "libvirt"),
    ("KUBE-", "another kube-proxy"),
    ("FLANNEL", "flannel"),
    ("CNI-", "a CNI plugin"),
];

/// A chain that stops packets which it does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whose it seems to be; none where nothing tells.
    pub owner: Option<String>,
    /// Where it is, as tools call it: `ip filter FORWARD`.
    pub chain: String,
    /// It stops packets to and from pods; otherwise only those from pods to this node (DNS, host
    /// network).
    pub forward: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.forward { "traffic of pods" } else { "traffic from pods to this node" };
        write!(f, "firewall chain \"{}\"", self.chain)?;
        if let Some(owner) = &self.owner {
            write!(f, " of {owner}")?;
        }
        write!(f, " stops {what} that it does not expressly accept")
    }
}

/// All such chains in this namespace.
pub async fn scan() -> Result<Vec<Finding>> {
    blocking(scan_now).await
}

fn scan_now() -> Result<Vec<Finding>> {
    let mut socket = nft::socket().doing("open a netfilter socket")?;
    let chains = nft::chains(&mut socket, nft::FAMILY_ANY).doing("list firewall chains")?;
    let mut found = Vec::new();
    for chain in chains.iter().filter(|chain| hook(chain).is_some()) {
        let rules = nft::rules(&mut socket, chain).doing("list firewall rules")?;
        if stops(chain, &rules) {
            found.push(Finding {
                owner: owner(chain, &chains),
                chain: format!("{} {} {}", family(chain.family), chain.table, chain.name),
                forward: hook(chain) == Some(FORWARD),
            });
        }
    }
    for (hook, name) in [(FORWARD, "FORWARD"), (INPUT, "INPUT")] {
        if xtables::drops(hook as usize).doing("read legacy iptables")? {
            let chain = format!("legacy iptables filter {name}");
            found.push(Finding { owner: None, chain, forward: hook == FORWARD });
        }
    }
    Ok(found)
}

/// The hook of a base chain that matters.
fn hook(chain: &Chain) -> Option<u32> {
    let relevant = matches!(chain.family, nft::FAMILY_IP | INET);
    let hook = chain.base.as_ref().filter(|_| relevant)?.hook;
    matches!(hook, INPUT | FORWARD).then_some(hook)
}

/// Whether a packet that no rule accepts is stopped.
fn stops(chain: &Chain, rules: &[Rule]) -> bool {
    let harmless =
        |step: &String| matches!(step.as_str(), "counter" | "log" | "immediate" | "reject");
    let always = |rule: &&Rule| rule.steps.iter().all(harmless);
    let ends = |rule: &Rule| {
        rule.verdict == Some(Verdict::Drop) || rule.steps.iter().any(|step| step == "reject")
    };
    chain.base.as_ref().is_some_and(|base| base.drops) || rules.iter().filter(always).any(ends)
}

fn owner(chain: &Chain, all: &[Chain]) -> Option<String> {
    if chain.table == "firewalld" {
        return Some(chain.table.clone());
    }
    let own = all.iter().filter(|c| (c.family, &c.table) == (chain.family, &chain.table));
    let mut names = own.map(|c| c.name.as_str());
    let known = |name: &str| OWNERS.iter().find(|(prefix, _)| name.starts_with(prefix));
    names.find_map(known).map(|(_, owner)| (*owner).to_owned())
}

fn family(number: u8) -> &'static str {
    if number == INET { "inet" } else { "ip" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::nft::Base;

    fn chain(table: &str, name: &str, hook: Option<(u32, bool)>) -> Chain {
        let base = hook.map(|(hook, drops)| Base { hook, priority: 0, drops });
        Chain { family: nft::FAMILY_IP, table: table.into(), name: name.into(), base }
    }

    fn rule(steps: &[&str], verdict: Option<Verdict>) -> Rule {
        Rule { steps: steps.iter().map(|s| (*s).to_owned()).collect(), verdict }
    }

    #[test]
    fn a_policy_or_an_unconditional_end_stops() {
        let accepts = chain("filter", "FORWARD", Some((FORWARD, false)));
        assert!(stops(&chain("filter", "FORWARD", Some((FORWARD, true))), &[]));
        assert!(!stops(&accepts, &[]));
        let conditional = rule(&["meta", "cmp", "immediate"], Some(Verdict::Drop));
        assert!(!stops(&accepts, &[conditional, rule(&["immediate"], Some(Verdict::Accept))]));
        assert!(stops(&accepts, &[rule(&["counter", "immediate"], Some(Verdict::Drop))]));
        assert!(stops(&accepts, &[rule(&["reject"], None)]));
    }

    #[test]
    fn owners_are_told_by_their_chains() {
        let forward = chain("filter", "FORWARD", Some((FORWARD, true)));
        let all =
            [forward.clone(), chain("filter", "DOCKER-USER", None), chain("nat", "ufw", None)];
        assert_eq!(owner(&forward, &all).as_deref(), Some("docker"));
        assert_eq!(owner(&all[2], &all[..1]), None);
        let firewalld = chain("firewalld", "filter_FORWARD", Some((FORWARD, false)));
        assert_eq!(owner(&firewalld, &[]).as_deref(), Some("firewalld"));
        assert_eq!(hook(&chain("filter", "OUTPUT", Some((3, true)))), None);
        let finding =
            Finding { owner: Some("ufw".into()), chain: "ip filter FORWARD".into(), forward: true };
        assert_eq!(
            finding.to_string(),
            "firewall chain \"ip filter FORWARD\" of ufw stops traffic of pods that it does not \
             expressly accept"
        );
    }
}
