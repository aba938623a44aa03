//! The store as its callers and a crash see it.

use super::*;
use crate::history::Change;

fn resource() -> GroupResource {
    GroupResource::new("", "configmaps")
}

fn key(name: &str) -> Key {
    Key::new(&resource(), "default", name)
}

fn draft(name: &str, value: i64) -> Draft {
    let tree =
        Value::from([("metadata", Value::from([("name", name.into())])), ("value", value.into())]);
    Draft::new(key(name), tree, Vec::new())
}

fn put(name: &str, value: i64, expect: Expect) -> Commit {
    let writes = vec![Write::Put { draft: draft(name, value), expect, ttl: None }];
    Commit { writes, lazy: false }
}

fn open(directory: &Path) -> Store {
    Store::open(directory, &|_, _| Vec::new()).unwrap()
}

fn value(store: &Store, name: &str) -> Option<i64> {
    store.history().get(&key(name))?.tree().unwrap().get("value").as_int()
}

/// Lets go of the database as a killed process would: without a clean stop.
async fn crash(store: Store, directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    store.close().await;
    copy
}

#[tokio::test]
async fn a_commit_is_all_or_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let made = store.commit(put("a", 1, Expect::Absent)).await.unwrap();
    let mut both = put("b", 2, Expect::Absent);
    both.writes.extend(put("a", 2, Expect::Absent).writes);
    let Err(CommitError::Conflict { current, .. }) = store.commit(both).await else {
        panic!("a key that is there was made again");
    };
    assert_eq!(current.unwrap().body, made[0].body);
    assert_eq!((value(&store, "a"), value(&store, "b")), (Some(1), None));
}

/// Adds one to the value of `a`, up to a bound.
fn count_up(bound: i64) -> Write {
    let transition = Transition::new(move |object: &Object| {
        let now = object.tree().unwrap().get("value").as_int().unwrap();
        match now < bound {
            true => Next::Becomes(draft("a", now + 1)),
            false => Next::Refuses(format!("{now} is enough")),
        }
    });
    Write::Change { key: key("a"), transition }
}

#[tokio::test]
async fn changes_follow_from_what_the_commits_before_them_left() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let counted = |name: String| {
        let mut commit = put(&name, 1, Expect::Absent);
        commit.writes.push(count_up(20));
        store.commit(commit)
    };
    let Err(CommitError::Conflict { current: None, .. }) = counted("early".into()).await else {
        panic!("what is not there was changed");
    };
    store.commit(put("a", 0, Expect::Absent)).await.unwrap();
    let all = (0..32).map(|at| counted(format!("b-{at}")));
    let done = futures_util::future::join_all(all).await;
    let refused: Vec<String> =
        done.iter().filter_map(|done| done.as_ref().err().map(ToString::to_string)).collect();
    assert_eq!(refused.len(), 12);
    assert!(refused[0].ends_with("20 is enough"), "{}", refused[0]);
    assert_eq!(value(&store, "a"), Some(20));
    let others = (0..32).filter(|at| value(&store, &format!("b-{at}")).is_some());
    assert_eq!(others.count(), 20, "what is refused is not stored");
    let stale = Transition::new(|_: &Object| Next::Stale);
    let writes = vec![Write::Change { key: key("a"), transition: stale }];
    let stale = store.commit(Commit { writes, lazy: false }).await;
    assert!(matches!(stale, Err(CommitError::Conflict { current: Some(_), .. })));
}

#[tokio::test]
async fn of_many_racing_writers_each_revision_has_one_winner() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.commit(put("a", 0, Expect::Absent)).await.unwrap();
    let mut writers = Vec::new();
    for _ in 0..16 {
        let store = store.clone();
        writers.push(tokio::spawn(async move {
            for _ in 0..20 {
                loop {
                    let old = store.history().get(&key("a")).unwrap();
                    let next = old.tree().unwrap().get("value").as_int().unwrap() + 1;
                    let expect = Expect::Revision(old.header.revision);
                    if store.commit(put("a", next, expect)).await.is_ok() {
                        break;
                    }
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(value(&store, "a"), Some(320));
}

#[tokio::test]
async fn everything_acknowledged_survives_a_crash_and_no_revision_returns() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let made = store.commit(put("a", 1, Expect::Absent)).await.unwrap();
    store.commit(put("b", 2, Expect::Absent)).await.unwrap();
    let revision = store.history().get(&key("b")).unwrap().header.revision;
    store
        .commit(Commit { writes: vec![Write::Delete { key: key("b"), revision }], lazy: false })
        .await
        .unwrap();
    let last = store.history().revision();
    let copy = crash(store, directory.path()).await;
    let again = open(copy.path());
    assert_eq!((value(&again, "a"), value(&again, "b")), (Some(1), None));
    assert_eq!(again.history().get(&key("a")).unwrap().body, made[0].body);
    assert!(again.history().revision() > last);
    assert!(again.history().cursor(&resource(), last).is_err(), "older revisions are gone");
}

#[tokio::test]
async fn a_clean_stop_keeps_lazy_writes_and_the_revision() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut lazy = put("a", 7, Expect::Absent);
    lazy.lazy = true;
    store.commit(lazy).await.unwrap();
    let last = store.history().revision();
    store.close().await;
    assert!(matches!(store.commit(put("b", 1, Expect::Absent)).await, Err(CommitError::Stopped)));
    let again = open(directory.path());
    assert_eq!((value(&again, "a"), again.history().revision()), (Some(7), last));
}

#[tokio::test]
async fn a_lazy_write_reaches_the_disk_with_the_next_real_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut lazy = put("a", 7, Expect::Absent);
    lazy.lazy = true;
    store.commit(lazy).await.unwrap();
    store.commit(put("b", 1, Expect::Absent)).await.unwrap();
    let copy = crash(store, directory.path()).await;
    assert_eq!(value(&open(copy.path()), "a"), Some(7));
}

#[tokio::test]
async fn watchers_see_every_commit_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut cursor = store.history().cursor(&resource(), store.history().revision()).unwrap();
    let writes = (0..50).map(|i| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(put(&i.to_string(), i, Expect::Absent)).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    let events = cursor.poll(100).unwrap();
    assert_eq!(events.len(), 50);
    assert!(events.windows(2).all(|pair| pair[0].revision < pair[1].revision));
}

#[tokio::test]
async fn a_second_server_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let second = Store::open(directory.path(), &|_, _| Vec::new());
    assert!(matches!(second, Err(OpenError::InUse(_))));
    store.close().await;
}

#[tokio::test]
async fn a_damaged_database_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("state.db"), vec![0x5a; 32_768]).unwrap();
    let error = Store::open(directory.path(), &|_, _| Vec::new()).err().unwrap();
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
}

#[tokio::test]
async fn a_backup_opens_as_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.commit(put("a", 3, Expect::Absent)).await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    store.backup(&copy.path().join("state.db")).await.unwrap();
    assert_eq!(value(&open(copy.path()), "a"), Some(3));
}

/// A change carries its object whatever it did.
#[tokio::test]
async fn a_deletion_hands_back_the_last_state_with_its_own_revision() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let made = store.commit(put("a", 3, Expect::Absent)).await.unwrap();
    let delete = Write::Delete { key: key("a"), revision: made[0].header.revision };
    let gone = store.commit(Commit { writes: vec![delete], lazy: false }).await.unwrap();
    assert!(gone[0].header.revision > made[0].header.revision);
    assert_eq!(gone[0].tree().unwrap().get("value").as_int(), Some(3));
    let change = Change::Delete(Arc::clone(&gone[0]));
    assert_eq!(change.object().header.key, key("a"));
}
