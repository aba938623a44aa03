//! Coverage-guided fuzzing of the functions in `targets.rs`, one of which `RK_FUZZ` names.
#![no_main]

mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use targets::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("RK_FUZZ").unwrap_or_default();
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let names: Vec<&str> = TARGETS.iter().map(|(known, _)| *known).collect();
    let Some((_, target)) = found else {
        eprintln!("RK_FUZZ is {name:?} and must be one of {}", names.join(", "));
        std::process::exit(2);
    };
    *target
});

fuzz_target!(|input: &[u8]| TARGET(input));
