//! From a profile to the kernel's filter machine.
//!
//! Per architecture the calls are ranges of numbers with one outcome each, found by a binary
//! search; the kernel remembers calls that are always allowed, so the depth matters for the others
//! only.

use super::profile::{Arch, Condition, Decision, Profile, Rule, Test};
use super::table::rows;
use crate::sys::seccomp::Instruction;

/// Instructions that the kernel takes (BPF_MAXINSNS).
pub(super) const PROGRAM_MAX: usize = 4096;

const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_GREATER_OR_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;

/// Where `struct seccomp_data` has the number, the architecture and the first argument.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

const fn plain(code: u16, k: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, k }
}

const fn test(code: u16, k: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, k }
}

const fn give(decision: Decision) -> Instruction {
    plain(RETURN, decision.0)
}

/// What becomes of the calls from `first` up to the next range.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    first: u32,
    rules: Vec<Rule>,
}

/// The whole filter. Programs of architectures that the profile does not name are killed: their
/// numbers mean other calls.
pub(super) fn program(profile: &Profile) -> Vec<Instruction> {
    let mut code = vec![plain(LOAD, ARCH_AT)];
    for &arch in &profile.arches {
        let ranges = ranges(profile, arch);
        let body = search(&ranges, profile.otherwise);
        // The jump over the body may be longer than a test can express.
        code.push(test(IF_EQUAL, arch.audit(), 1, 0));
        code.push(plain(JUMP, length(&body) + 1));
        code.push(plain(LOAD, NUMBER_AT));
        code.extend(body);
    }
    code.push(give(Decision::KILL));
    code
}

/// Every number of the architecture, as ranges with one outcome each, by number.
fn ranges(profile: &Profile, arch: Arch) -> Vec<Range> {
    let mut known: Vec<(u32, &str)> =
        rows().filter_map(|row| Some((row.number(arch)?, row.name))).collect();
    known.sort_unstable();
    let fallback = || vec![Rule { conditions: Vec::new(), decision: profile.otherwise }];
    let mut all = vec![Range { first: 0, rules: fallback() }];
    let mut next = 0;
    for (number, name) in known {
        if number > next {
            all.push(Range { first: next, rules: unknown(profile, next, arch) });
        }
        let rules = profile.calls.iter().find(|(call, _)| *call == name);
        let rules = rules.map_or_else(fallback, |(_, rules)| rules.clone());
        all.push(Range { first: number, rules });
        next = number + 1;
    }
    all.push(Range { first: next, rules: unknown(profile, next, arch) });
    all.dedup_by(|later, earlier| {
        // Of two for one number the later is meant; the first of equal neighbours stays.
        if later.first == earlier.first {
            *earlier = later.clone();
            return true;
        }
        later.rules == earlier.rules
    });
    all
}

/// Numbers that the table does not have. Those above every call that it knows are newer than it: a
/// program must hear that they do not exist, so that it falls back instead of giving up.
fn unknown(profile: &Profile, number: u32, arch: Arch) -> Vec<Rule> {
    let ordinary = |number: &u32| *number < 1024;
    let last = rows().filter_map(|row| row.number(arch)).filter(ordinary).max().unwrap_or(0);
    let refuses = profile.otherwise.0 >> 16 == Decision::errno(0).0 >> 16;
    let enosys = Decision::errno(38);
    let decision = if number > last && refuses { enosys } else { profile.otherwise };
    vec![Rule { conditions: Vec::new(), decision }]
}

fn search(ranges: &[Range], otherwise: Decision) -> Vec<Instruction> {
    let [.., _, _] = ranges else {
        return ranges.first().map_or_else(Vec::new, |only| leaf(&only.rules, otherwise));
    };
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let pivot = upper.first().map_or(0, |range| range.first);
    let (lower, upper) = (search(lower, otherwise), search(upper, otherwise));
    let mut code = match u8::try_from(lower.len()) {
        Ok(skip) => vec![test(IF_GREATER_OR_EQUAL, pivot, skip, 0)],
        Err(_) => {
            vec![test(IF_GREATER_OR_EQUAL, pivot, 0, 1), plain(JUMP, length(&lower))]
        }
    };
    code.extend(lower);
    code.extend(upper);
    code
}

/// Tries the rules in order; ends with a decision in every case.
fn leaf(rules: &[Rule], otherwise: Decision) -> Vec<Instruction> {
    let mut code = Vec::new();
    for rule in rules {
        let mut rest = vec![give(rule.decision)];
        for condition in rule.conditions.iter().rev() {
            let mut tested = tests(condition, rest.len());
            tested.append(&mut rest);
            rest = tested;
        }
        code.append(&mut rest);
        if rule.conditions.is_empty() {
            return code;
        }
    }
    code.push(give(otherwise));
    code
}

/// The test of one argument: falls through when it holds, else skips `rest` more instructions.
/// Arguments have 64 bits and the machine 32, so the halves are compared one after the other.
fn tests(condition: &Condition, rest: usize) -> Vec<Instruction> {
    let at = ARGUMENTS_AT + 8 * condition.argument;
    let (low, high) = (plain(LOAD, at), plain(LOAD, at + 4));
    let [value_low, value_high] = halves(condition.value);
    // A rule has a few conditions of at most 8 instructions each: far below 255.
    let rest = u8::try_from(rest).unwrap_or(u8::MAX);
    match condition.test {
        Test::Equal => vec![
            high,
            test(IF_EQUAL, value_high, 0, rest + 2),
            low,
            test(IF_EQUAL, value_low, 0, rest),
        ],
        Test::NotEqual => {
            vec![high, test(IF_EQUAL, value_high, 0, 2), low, test(IF_EQUAL, value_low, rest, 0)]
        }
        Test::Masked(mask) => {
            let [mask_low, mask_high] = halves(mask);
            vec![
                high,
                plain(AND, mask_high),
                test(IF_EQUAL, value_high, 0, rest + 3),
                low,
                plain(AND, mask_low),
                test(IF_EQUAL, value_low, 0, rest),
            ]
        }
        Test::Greater => above(high, low, condition.value, IF_GREATER, rest),
        Test::GreaterOrEqual => above(high, low, condition.value, IF_GREATER_OR_EQUAL, rest),
        Test::Less => below(high, low, condition.value, IF_GREATER_OR_EQUAL, rest),
        Test::LessOrEqual => below(high, low, condition.value, IF_GREATER, rest),
    }
}

fn above(
    high: Instruction,
    low: Instruction,
    value: u64,
    compare: u16,
    rest: u8,
) -> Vec<Instruction> {
    let [value_low, value_high] = halves(value);
    vec![
        high,
        test(IF_GREATER, value_high, 3, 0),
        test(IF_EQUAL, value_high, 0, rest + 2),
        low,
        test(compare, value_low, 0, rest),
    ]
}

fn below(high: Instruction, low: Instruction, value: u64, not: u16, rest: u8) -> Vec<Instruction> {
    let [value_low, value_high] = halves(value);
    vec![
        high,
        test(IF_GREATER, value_high, rest + 3, 0),
        test(IF_EQUAL, value_high, 0, 2),
        low,
        test(not, value_low, rest, 0),
    ]
}

#[allow(clippy::cast_possible_truncation, reason = "the two halves of 64 bits, low one first")]
fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

fn length(code: &[Instruction]) -> u32 {
    u32::try_from(code.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::seccomp::{Seccomp, filter, profile::Docker};
    use crate::sys::capability::Set;

    /// What the kernel would do with the program.
    fn run(code: &[Instruction], arch: Arch, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = vec![number, arch.audit(), 0, 0];
        data.extend(arguments.iter().flat_map(|argument| halves(*argument)));
        let (mut at, mut a) = (0, 0u32);
        loop {
            let i = code[at];
            at += 1;
            let holds = match i.code {
                LOAD => {
                    a = data[usize::try_from(i.k / 4).unwrap()];
                    continue;
                }
                AND => {
                    a &= i.k;
                    continue;
                }
                JUMP => {
                    at += usize::try_from(i.k).unwrap();
                    continue;
                }
                RETURN => return i.k,
                IF_EQUAL => a == i.k,
                IF_GREATER => a > i.k,
                IF_GREATER_OR_EQUAL => a >= i.k,
                other => panic!("code {other:#x}"),
            };
            at += usize::from(if holds { i.jump_true } else { i.jump_false });
        }
    }

    fn number(name: &str, arch: Arch) -> u32 {
        rows().find(|row| row.name == name).unwrap().number(arch).unwrap()
    }

    const NATIVE: Arch = Arch::here()[0];
    const SECOND: Arch = Arch::here()[1];

    fn default_program(held: Set) -> Vec<Instruction> {
        filter(&Seccomp::RuntimeDefault, held).unwrap().unwrap()
    }

    fn decides(code: &[Instruction], arch: Arch, name: &str, first: u64) -> u32 {
        run(code, arch, number(name, arch), [first, 0, 0, 0, 0, 0])
    }

    #[test]
    fn the_default_profile_allows_the_ordinary_and_refuses_the_dangerous() {
        let code = default_program(Set::default());
        assert!(code.len() < PROGRAM_MAX);
        let (allow, refuse) = (Decision::ALLOW.0, Decision::errno(1).0);
        for arch in [NATIVE, SECOND] {
            for name in ["read", "execve", "futex", "openat", "ptrace", "landlock_add_rule"] {
                assert_eq!(decides(&code, arch, name, 0), allow, "{name}");
            }
            for name in ["mount", "unshare", "keyctl", "setns", "bpf", "io_uring_setup", "reboot"] {
                assert_eq!(decides(&code, arch, name, 0), refuse, "{name}");
            }
            assert_eq!(decides(&code, arch, "clone3", 0), Decision::errno(38).0);
            assert_eq!(decides(&code, arch, "clone", 0x0100_0000), allow);
            assert_eq!(decides(&code, arch, "clone", 0x1000_0000), refuse);
            for (family, decision) in
                [(2, allow), (38, refuse), (39, allow), (40, refuse), (41, allow)]
            {
                assert_eq!(decides(&code, arch, "socket", family), decision, "{family}");
            }
            assert_eq!(decides(&code, arch, "personality", 0xffff_ffff), allow);
            assert_eq!(decides(&code, arch, "personality", 1 << 32), refuse);
            assert_eq!(run(&code, arch, 5000, [0; 6]), Decision::errno(38).0);
        }
        assert_eq!(run(&code, Arch::Arm, 3, [0; 6]) == allow, SECOND == Arch::Arm);
    }

    #[test]
    fn capabilities_open_their_calls() {
        let code = default_program(Set::named("SYS_ADMIN").unwrap());
        for name in ["mount", "unshare", "clone3", "bpf"] {
            assert_eq!(decides(&code, NATIVE, name, 0x1000_0000), Decision::ALLOW.0, "{name}");
        }
        assert_eq!(decides(&code, NATIVE, "reboot", 0), Decision::errno(1).0);
        let code = default_program(Set::named("BPF").unwrap());
        assert_eq!(decides(&code, NATIVE, "bpf", 0), Decision::ALLOW.0);
        assert_eq!(decides(&code, NATIVE, "mount", 0), Decision::errno(1).0);
        assert!(filter(&Seccomp::Unconfined, Set::ALL).unwrap().is_none());
    }

    fn docker(text: &str) -> Result<Vec<Instruction>, crate::runtime::seccomp::Error> {
        let parsed: Docker = serde_json::from_str(text).unwrap();
        Profile::from_docker(&parsed, Set::default()).map(|profile| program(&profile))
    }

    #[test]
    fn comparisons_look_at_all_64_bits() {
        let big = 5u64 << 32;
        for (op, holds) in [
            ("EQ", [false, true, false]),
            ("NE", [true, false, true]),
            ("LT", [true, false, false]),
            ("LE", [true, true, false]),
            ("GT", [false, false, true]),
            ("GE", [false, true, true]),
        ] {
            let code = docker(&format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["read"],
                "action":"SCMP_ACT_ERRNO","errnoRet":7,
                "args":[{{"index":0,"value":{big},"op":"SCMP_CMP_{op}"}},
                        {{"index":2,"value":9,"op":"SCMP_CMP_EQ"}}]}}]}}"#
            ))
            .unwrap();
            for (argument, holds) in [big - 1, big, big + 1].into_iter().zip(holds) {
                let call = |third| {
                    run(&code, NATIVE, number("read", NATIVE), [argument, 0, third, 0, 0, 0])
                };
                let expected = if holds { Decision::errno(7).0 } else { Decision::ALLOW.0 };
                assert_eq!(call(9), expected, "{op} {argument:#x}");
                assert_eq!(call(8), Decision::ALLOW.0);
            }
        }
    }

    #[test]
    fn docker_profiles_honour_conditions_and_refuse_what_is_unknown() {
        let code = docker(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[
              {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
              {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]}],
              "syscalls":[
              {"names":["read","nonsense"],"action":"SCMP_ACT_ALLOW"},
              {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
              {"names":["write"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]}},
              {"names":["close"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.1"}},
              {"names":["open","openat"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#,
        )
        .unwrap();
        for arch in [NATIVE, SECOND] {
            assert_eq!(decides(&code, arch, "read", 0), Decision::ALLOW.0);
            assert_eq!(decides(&code, arch, "mount", 0), Decision::errno(1).0);
            assert_eq!(decides(&code, arch, "write", 0), Decision::ALLOW.0);
            assert_eq!(decides(&code, arch, "close", 0), Decision::errno(1).0);
            assert_eq!(decides(&code, arch, "openat", 0), Decision::KILL.0);
        }
        for bad in [
            r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_X"]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],
                "action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
        ] {
            assert!(docker(bad).is_err(), "{bad}");
        }
    }
}
