//! What a profile decides for each system call: rk's default one, and docker's JSON format.

use super::Error;
use super::table::{Row, rows};
use crate::sys::capability;
use serde::Deserialize;

/// An instruction set whose programs a container may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
}

impl Arch {
    /// Those that this machine's kernel runs, its own first.
    pub const fn here() -> [Self; 2] {
        if cfg!(target_arch = "aarch64") {
            [Self::Aarch64, Self::Arm]
        } else {
            [Self::X86_64, Self::X86]
        }
    }

    /// The kernel's AUDIT_ARCH number.
    pub(super) const fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    const fn names(self) -> [&'static str; 2] {
        match self {
            Self::X86_64 => ["SCMP_ARCH_X86_64", "amd64"],
            Self::X86 => ["SCMP_ARCH_X86", "x86"],
            Self::Aarch64 => ["SCMP_ARCH_AARCH64", "arm64"],
            Self::Arm => ["SCMP_ARCH_ARM", "arm"],
        }
    }
}

/// What becomes of a call: the kernel's SECCOMP_RET number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision(pub(super) u32);

impl Decision {
    /// The call is made.
    pub const ALLOW: Self = Self(0x7fff_0000);
    /// The process is killed.
    pub const KILL: Self = Self(0x8000_0000);

    /// The call fails with this error.
    pub const fn errno(number: u16) -> Self {
        Self(0x0005_0000 | number as u32)
    }

    fn named(action: &str, data: Option<u16>) -> Result<Self, Error> {
        let eperm = 1;
        Ok(match action {
            "SCMP_ACT_ALLOW" => Self::ALLOW,
            "SCMP_ACT_ERRNO" => Self::errno(data.unwrap_or(eperm)),
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self(0),
            "SCMP_ACT_KILL_PROCESS" => Self::KILL,
            "SCMP_ACT_TRAP" => Self(0x0003_0000),
            "SCMP_ACT_TRACE" => Self(0x7ff0_0000 | u32::from(data.unwrap_or(eperm))),
            "SCMP_ACT_LOG" => Self(0x7ffc_0000),
            other => return Err(Error::Unsupported(format!("action {other:?} is not supported"))),
        })
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// The argument under this mask equals the value.
    Masked(u64),
}

/// A test of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u32,
    pub(super) test: Test,
    pub(super) value: u64,
}

/// Decides one call when all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) decision: Decision,
}

/// A whole profile, for every instruction set that it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// For calls without a rule, and for those whose rules' conditions fail.
    pub(super) otherwise: Decision,
    pub(super) arches: Vec<Arch>,
    /// Rules by name of the call, in order; the first that holds decides.
    pub(super) calls: Vec<(&'static str, Vec<Rule>)>,
}

/// Flags of clone that make namespaces.
const CLONE_NEW: u64 = 0x7e02_0000;

impl Profile {
    /// The default profile for a container that holds these capabilities.
    pub fn default_for(held: capability::Set) -> Self {
        let allowed = |row: &Row| gate_open(row.gate, held);
        let always = || vec![Rule { conditions: Vec::new(), decision: Decision::ALLOW }];
        let mut calls: Vec<_> = rows().filter(allowed).map(|row| (row.name, always())).collect();
        calls.extend(by_arguments(held));
        Self { otherwise: Decision::errno(1), arches: Arch::here().to_vec(), calls }
    }

    pub(super) fn from_docker(docker: &Docker, held: capability::Set) -> Result<Self, Error> {
        let otherwise = Decision::named(&docker.default_action, docker.default_errno_ret)?;
        if docker.listener_path.is_some() {
            return Err(Error::Unsupported("a listener is not supported".into()));
        }
        if let Some(flag) = docker.flags.iter().find(|flag| *flag != "SECCOMP_FILTER_FLAG_TSYNC") {
            return Err(Error::Unsupported(format!("flag {flag:?} is not supported")));
        }
        let mut calls: Vec<(&'static str, Vec<Rule>)> = Vec::new();
        for group in &docker.syscalls {
            if !group.applies(held) {
                continue;
            }
            let rule = group.rule()?;
            for row in rows().filter(|row| group.names().any(|name| name == row.name)) {
                match calls.iter_mut().find(|(name, _)| *name == row.name) {
                    Some((_, rules)) => rules.push(rule.clone()),
                    None => calls.push((row.name, vec![rule.clone()])),
                }
            }
        }
        Ok(Self { otherwise, arches: docker.arches(), calls })
    }
}

fn gate_open(gate: &str, held: capability::Set) -> bool {
    match gate {
        "+" => true,
        "-" | "args" => false,
        names => names.split(',').filter_map(capability::Set::named).any(|one| held.contains(one)),
    }
}

/// The calls whose gate is their arguments.
fn by_arguments(held: capability::Set) -> Vec<(&'static str, Vec<Rule>)> {
    let allow_if = |test, value| Rule {
        conditions: vec![Condition { argument: 0, test, value }],
        decision: Decision::ALLOW,
    };
    let always = |decision| vec![Rule { conditions: Vec::new(), decision }];
    // Address families: not AF_ALG (38), whose kernel code is rarely needed and often broken, and
    // not AF_VSOCK (40), which leads to the machine's host.
    let socket = [(Test::Less, 38), (Test::Equal, 39), (Test::Greater, 40)];
    // Linux with and without ADDR_NO_RANDOMIZE's relatives, and the query.
    let personality = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
    let admin = capability::Set::named("SYS_ADMIN").is_some_and(|admin| held.contains(admin));
    let (clone, clone3) = if admin {
        (always(Decision::ALLOW), always(Decision::ALLOW))
    } else {
        // The flags of clone3 are in memory, where a filter cannot look: programs are told that it
        // does not exist and fall back to clone.
        let enosys = 38;
        (vec![allow_if(Test::Masked(CLONE_NEW), 0)], always(Decision::errno(enosys)))
    };
    vec![
        ("socket", socket.map(|(test, value)| allow_if(test, value)).to_vec()),
        ("personality", personality.map(|value| allow_if(Test::Equal, value)).to_vec()),
        ("clone", clone),
        ("clone3", clone3),
    ]
}

/// Docker's JSON, which is also what Kubernetes' Localhost profiles are written in.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Docker {
    default_action: String,
    default_errno_ret: Option<u16>,
    architectures: Vec<String>,
    arch_map: Vec<ArchMap>,
    flags: Vec<String>,
    listener_path: Option<String>,
    syscalls: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Group {
    name: Option<String>,
    names: Vec<String>,
    action: String,
    errno_ret: Option<u16>,
    args: Option<Vec<Argument>>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: Option<String>,
}

impl Docker {
    /// The named ones that this machine runs; its own when none is named.
    fn arches(&self) -> Vec<Arch> {
        let [own, _] = Arch::here();
        let mapped = self.arch_map.iter().filter(|map| map.architecture == own.names()[0]);
        let named: Vec<&str> = mapped
            .flat_map(|map| map.sub_architectures.iter().flatten().chain([&map.architecture]))
            .chain(&self.architectures)
            .map(String::as_str)
            .collect();
        let known = Arch::here().into_iter();
        if named.is_empty() {
            return vec![own];
        }
        known.filter(|arch| named.contains(&arch.names()[0])).collect()
    }
}

impl Group {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().chain(&self.name).map(String::as_str)
    }

    fn applies(&self, held: capability::Set) -> bool {
        let included = self.includes.as_ref().is_none_or(|filter| filter.holds_all(held));
        let excluded = self.excludes.as_ref().is_some_and(|filter| filter.holds_any(held));
        included && !excluded
    }

    fn rule(&self) -> Result<Rule, Error> {
        let conditions = self.args.iter().flatten().map(Argument::condition);
        Ok(Rule {
            conditions: conditions.collect::<Result<_, _>>()?,
            decision: Decision::named(&self.action, self.errno_ret)?,
        })
    }
}

impl Filter {
    fn caps_held(&self, held: capability::Set) -> impl Iterator<Item = bool> {
        self.caps
            .iter()
            .map(move |name| capability::Set::named(name).is_some_and(|one| held.contains(one)))
    }

    fn here(&self) -> bool {
        let [own, _] = Arch::here();
        self.arches.iter().any(|arch| own.names().contains(&arch.as_str()))
    }

    fn kernel(&self) -> Option<bool> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        self.min_kernel.as_deref().map(|wanted| version(&release) >= version(wanted))
    }

    fn holds_all(&self, held: capability::Set) -> bool {
        self.caps_held(held).all(|one| one)
            && (self.arches.is_empty() || self.here())
            && self.kernel().unwrap_or(true)
    }

    fn holds_any(&self, held: capability::Set) -> bool {
        self.caps_held(held).any(|one| one)
            || (!self.arches.is_empty() && self.here())
            || self.kernel().unwrap_or(false)
    }
}

/// The first two numbers of `6.1.0-rc1`.
fn version(text: &str) -> [u32; 2] {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)]
}

impl Argument {
    fn condition(&self) -> Result<Condition, Error> {
        if self.index > 5 {
            return Err(Error::Unsupported(format!("there is no argument {}", self.index)));
        }
        let plain = |test| Condition { argument: self.index, test, value: self.value };
        Ok(match self.op.as_str() {
            "SCMP_CMP_EQ" => plain(Test::Equal),
            "SCMP_CMP_NE" => plain(Test::NotEqual),
            "SCMP_CMP_LT" => plain(Test::Less),
            "SCMP_CMP_LE" => plain(Test::LessOrEqual),
            "SCMP_CMP_GT" => plain(Test::Greater),
            "SCMP_CMP_GE" => plain(Test::GreaterOrEqual),
            // Here the value is the mask and the second value is what is compared.
            "SCMP_CMP_MASKED_EQ" => Condition {
                argument: self.index,
                test: Test::Masked(self.value),
                value: self.value_two,
            },
            other => return Err(Error::Unsupported(format!("comparison {other:?} is unknown"))),
        })
    }
}
