//! A database that is damaged, emptied or not ours: the server says what to do, and changes
//! nothing.

use std::fs;
use std::path::PathBuf;

use crate::harness::Cluster;

const RESTORE: &str =
    "restore it from a backup, or move the file away to start with an empty cluster";

fn database(cluster: &Cluster) -> PathBuf {
    cluster.path("data/server/db/state.db")
}

/// The server refuses the file, and leaves it as it is.
fn refused(cluster: &Cluster, content: &[u8], parts: &[&str]) {
    let path = database(cluster);
    fs::write(&path, content).unwrap();
    let said = cluster.machine.finish(&mut cluster.server(), "").fails();
    for part in [&path.display().to_string(), &parts.join("")] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(fs::read(&path).unwrap(), content, "the file is left alone: {said}");
}

#[test]
fn a_damaged_database_is_told_and_left_alone() {
    let mut cluster = Cluster::start(&["--disable-agent"]);
    cluster.kubectl("create configmap kept --from-literal=a=b").ok();
    assert!(cluster.stop().success());
    let path = database(&cluster);
    let good = fs::read(&path).unwrap();

    refused(&cluster, b"", &["is empty, which it was not before; ", RESTORE]);
    let middle = good.len() / 2;
    refused(&cluster, &good[..middle], &["malformed; ", RESTORE]);
    refused(&cluster, &good[..5000], &["malformed; ", RESTORE]);
    refused(&cluster, b"a text that somebody put there", &["file is not a database; ", RESTORE]);
    let garbage: Vec<u8> = (0..good.len()).map(|at| (at * 7 % 251) as u8).collect();
    refused(&cluster, &garbage, &["file is not a database; ", RESTORE]);
    let mut holed = good.clone();
    holed[8192..middle].fill(0x5a);
    refused(&cluster, &holed, &["malformed; ", RESTORE]);

    // Another program's database.
    fs::remove_file(&path).unwrap();
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign
        .execute_batch("CREATE TABLE songs (name TEXT); INSERT INTO songs VALUES ('x')")
        .unwrap();
    drop(foreign);
    let foreign = fs::read(&path).unwrap();
    refused(&cluster, &foreign, &["is a database of another program; "]);

    // A newer rk's.
    fs::write(&path, &good).unwrap();
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let newer = fs::read(&path).unwrap();
    refused(&cluster, &newer, &["has format 99, and this rk knows formats up to 1"]);

    // A folder, or nothing that may be read.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let said = cluster.machine.finish(&mut cluster.server(), "").fails();
    assert!(said.contains("unable to open database file"), "{said}");
    assert!(!said.contains("move the file away"), "{said}");
    fs::remove_dir(&path).unwrap();

    fs::write(&path, good).unwrap();
    cluster.go();
    assert_eq!(cluster.kubectl("get configmap kept -o jsonpath={.data.a}").ok(), "b");
}
