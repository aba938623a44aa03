//! The history against small models of itself.

use super::*;
use crate::api::tree::Value;

fn resource() -> GroupResource {
    GroupResource::new("", "configmaps")
}

fn object(namespace: &str, name: &str, revision: u64) -> Arc<Object> {
    let tree = Value::from([("metadata", Value::from([("name", name.into())]))]);
    Arc::new(Object::new(Key::new(&resource(), namespace, name), tree, revision, Vec::new()))
}

fn names(snapshot: &Snapshot, namespace: &str) -> Vec<String> {
    snapshot.in_namespace(namespace).map(|o| o.header.key.name.to_string()).collect()
}

#[test]
fn a_snapshot_does_not_see_later_writes() {
    let history = History::new(10, 1 << 20);
    history.publish(vec![Change::Put(object("a", "x", 11))], 11);
    let before = history.snapshot(&resource());
    history
        .publish(vec![Change::Put(object("a", "y", 12)), Change::Delete(object("a", "x", 13))], 13);
    assert_eq!((before.revision, names(&before, "a")), (11, vec!["x".into()]));
    let after = history.snapshot(&resource());
    assert_eq!((after.revision, names(&after, "a")), (13, vec!["y".into()]));
}

#[test]
fn the_past_is_read_as_far_as_the_ring_reaches() {
    let history = History::new(10, 1 << 20);
    history.publish(vec![Change::Put(object("a", "x", 11))], 11);
    history.publish(vec![Change::Put(object("a", "y", 12)), Change::Put(object("a", "x", 13))], 13);
    history.publish(vec![Change::Delete(object("a", "x", 14))], 14);
    let state = |revision| {
        let snapshot = history.at(&resource(), revision).unwrap();
        let list: Vec<(String, u64)> =
            snapshot.iter().map(|o| (o.header.key.name.to_string(), o.header.revision)).collect();
        list
    };
    assert_eq!(state(10), []);
    assert_eq!(state(12), [("x".into(), 11), ("y".into(), 12)]);
    assert_eq!(state(13), [("x".into(), 13), ("y".into(), 12)]);
    assert_eq!(state(14), [("y".into(), 12)]);
    assert!(history.at(&resource(), 9).is_err());
}

#[test]
fn a_cursor_reads_every_event_once_and_knows_what_was_before() {
    let history = History::new(10, 1 << 20);
    let mut cursor = history.cursor(&resource(), 10).unwrap();
    history.publish(vec![Change::Put(object("a", "x", 11))], 11);
    history.publish(vec![Change::Put(object("a", "x", 12))], 12);
    let first = cursor.poll(1).unwrap();
    assert_eq!((first[0].revision, first[0].previous.is_none()), (11, true));
    let second = cursor.poll(9).unwrap();
    assert_eq!(second[0].previous.as_ref().unwrap().header.revision, 11);
    assert!(cursor.poll(9).unwrap().is_empty());
    assert_eq!(cursor.revision(), 12);
}

#[test]
fn a_cursor_that_falls_off_the_ring_is_told_so() {
    let history = History::new(10, 4_000);
    let mut cursor = history.cursor(&resource(), 10).unwrap();
    for revision in 11..200 {
        history.publish(vec![Change::Put(object("a", "x", revision))], revision);
    }
    assert!(cursor.poll(9).is_err());
    assert!(history.cursor(&resource(), 9).is_err(), "before the floor");
    assert!(history.cursor(&resource(), 199).is_ok());
}

#[test]
fn an_idle_cursor_survives_the_traffic_of_other_resources() {
    let history = History::new(10, 4_000);
    let other = GroupResource::new("", "secrets");
    let mut cursor = history.cursor(&other, 10).unwrap();
    for revision in 11..200 {
        history.publish(vec![Change::Put(object("a", "x", revision))], revision);
    }
    assert!(cursor.poll(9).unwrap().is_empty());
    assert_eq!(cursor.revision(), 199);
}

#[test]
fn many_objects_stay_sorted_through_splits_and_removals() {
    let mut map = CowMap::default();
    let name = |i: usize| format!("{:05}", i * 7919 % 1000);
    (0..1000).for_each(|i| assert!(map.insert(object("n", &name(i), 1)).is_none()));
    assert!(map.insert(object("n", &name(3), 2)).is_some());
    let held = map.clone();
    (0..1000).step_by(2).for_each(|i| assert!(map.remove("n", &format!("{i:05}")).is_some()));
    assert!(map.remove("n", "00000").is_none());
    let left: Vec<_> = map.iter().map(|o| o.header.key.name.to_string()).collect();
    assert_eq!(left, (0..1000).skip(1).step_by(2).map(|i| format!("{i:05}")).collect::<Vec<_>>());
    assert_eq!((map.len(), held.len(), held.iter().count()), (500, 1000, 1000));
    let page: Vec<_> =
        map.range_from("n", "00500").take(2).map(|o| o.header.key.name.to_string()).collect();
    assert_eq!(page, ["00501", "00503"]);
    assert!(map.range_from("o", "").next().is_none());
    assert!(CowMap::default().range_from("", "").next().is_none());
}

#[tokio::test]
async fn a_waiting_cursor_is_woken() {
    let history = History::new(10, 1 << 20);
    let mut cursor = history.cursor(&resource(), 10).unwrap();
    let reader = tokio::spawn(async move { cursor.next(9).await.map(|events| events.len()) });
    history.publish(vec![Change::Put(object("a", "x", 11))], 11);
    assert_eq!(reader.await.unwrap(), Ok(1));
}

#[test]
fn states_that_were_given_up_are_gone_and_their_events_are_not() {
    let history = History::new(10, 1 << 20);
    for revision in 11..14 {
        let name = format!("x{revision}");
        history.publish(vec![Change::Put(object("a", &name, revision))], revision);
    }
    history.give_up(12);
    let gone = history.at(&resource(), 11).err().unwrap();
    assert_eq!((gone.asked, gone.oldest), (11, 12));
    assert_eq!(names(&history.at(&resource(), 12).unwrap(), "a"), ["x11", "x12"]);
    let other = GroupResource::new("", "others");
    assert!(history.at(&other, 11).is_err() && history.at(&other, 12).is_ok());
    assert!(history.cursor(&resource(), 10).is_ok());
}
