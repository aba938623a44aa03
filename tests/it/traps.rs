//! The traps that real clients set for API servers, each with the tests that walk into it.
//!
//! The list is that of a study of other servers: what bit them, and what upstream's API asks for.
//! Traps of what is not served yet stand below, with the reason.

use std::path::Path;

/// Number, what it is about, and tests by name.
const TRAPS: &[(u8, &str, &[&str])] = &[
    (1, "frames of a watch", &["protobuf_watch", "watches_say_what_happens_to_what_they_select"]),
    (2, "protobuf unasked, types left blank", &["protobuf_bodies", "every_kind_in_protobuf"]),
    (3, "types in every event", &["endings", "bare_metadata"]),
    (4, "kinds of lists and of their items", &["objects", "wrong_objects"]),
    (5, "continue tokens in per cent", &["options", "pages"]),
    (6, "tables and bare metadata, watches too", &["tables", "bare_metadata"]),
    (7, "revisions are the store's", &["create_and_update", "many_writers"]),
    (8, "the closing bookmark of a watch-list", &["endings", "ends"]),
    (9, "bookmarks", &["ends", "endings"]),
    (10, "410 for what is too old", &["pages_that_expire", "too_old"]),
    (11, "entering and leaving a selector", &["selections"]),
    (12, "the last state with the revision of its end", &["selections"]),
    (13, "revision 0, none, and the rules of matching", &["options", "endings"]),
    (14, "watches end cleanly", &["ends", "endings"]),
    (15, "optimistic updates and the words of a conflict", &["create_and_update", "refusals"]),
    (16, "tests of a JSON patch", &["patches", "broken_patches"]),
    (17, "strategic merges", &["strategic_merge_patch_does_as_upstream"]),
    (18, "apply makes, merges, conflicts, forces", &["kube_applies", "statuses", "conflicts"]),
    (19, "strict, warn and ignore", &["strictness", "version_3"]),
    (20, "dry runs, generated names, deletions", &["dry_runs", "generated_names", "finalizers"]),
    (21, "status and scale change nothing else", &["subresources", "scales"]),
    (22, "namespaces that are missing or going", &["refusals", "deletions"]),
    (23, "established, and usable at once", &["established"]),
    (24, "documents follow what is served", &["documents_describe_what_is_served"]),
    (25, "pruning, defaults, ratchets", &["objects", "the_schema_is_law"]),
    (27, "namespaces go with all that is in them", &["deletions"]),
    (29, "signing keys survive", &["keys_are_made_once_and_read_again"]),
    (30, "one event in two shapes", &["both_shapes_are_one_object"]),
    (31, "a node's status merges by type", &["conditions_keep_their_transition"]),
    (32, "what runs is found again", &["pods_outlive_the_runtime_and_are_found_again"]),
    (
        33,
        "variables, fields, tokens, sub-paths, groups",
        &[
            "expands_as_kubernetes_does",
            "tells_fields",
            "projected_volumes_join_all_sources",
            "what_leaves_the_volume_is_refused",
            "a_group_gets_what_is_there",
        ],
    ),
    (
        34,
        "seccomp, namespaces, logs",
        &[
            "dangerous_system_calls_are_refused_by_default",
            "host_namespaces_are_the_hosts",
            "records_survive_the_round_trip",
            "logs_rotate_while_they_are_followed",
        ],
    ),
    (
        35,
        "streams of both kinds",
        &["version_5_closes_halfway_and_ends_with_code_1000", "bytes_pass_in_any_pieces"],
    ),
];

/// Traps that nothing served today walks into, or where upstream does no better.
const NOT_YET: &[(u8, &str)] = &[
    (26, "as upstream, a replica set replaces a failed pod at once"),
    (28, "there are no daemon sets"),
];

#[test]
fn every_trap_has_a_test() {
    let mut all = String::new();
    for folder in ["tests/it", "src"] {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut all);
    }
    let missing: Vec<String> = TRAPS
        .iter()
        .flat_map(|(number, about, tests)| tests.iter().map(move |test| (number, about, test)))
        .filter(|(_, _, test)| !all.contains(&format!("fn {test}(")))
        .map(|(number, about, test)| format!("{number} ({about}): {test}"))
        .collect();
    assert!(missing.is_empty(), "tests that are gone:\n{}", missing.join("\n"));
    let numbers = TRAPS.iter().map(|trap| trap.0).chain(NOT_YET.iter().map(|trap| trap.0));
    let numbers: Vec<u8> = numbers.collect();
    let forgotten: Vec<u8> = (1..=35).filter(|number| !numbers.contains(number)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

fn read(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
