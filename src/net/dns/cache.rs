//! Answers of upstream resolvers, for as long as they may be kept.

use crate::limits::{DNS_CACHE_ENTRIES_MAX, DNS_CACHE_TIME_MAX, DNS_CACHED_RECORDS_MAX};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// What makes two questions the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    name: Name,
    kind: RecordType,
    class: DNSClass,
    dnssec: bool,
    checking_disabled: bool,
}

impl Key {
    /// The key of a question; the case of its name does not matter.
    pub fn new(query: &Query, dnssec: bool, checking_disabled: bool) -> Key {
        let name = query.name().to_lowercase();
        let (kind, class) = (query.query_type(), query.query_class());
        Key { name, kind, class, dnssec, checking_disabled }
    }
}

/// A bounded number of answers; the oldest give way.
#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<Key, Entry>,
    /// Keys in the order in which they came, each once with the number of its entry.
    order: VecDeque<(Key, u64)>,
    count: u64,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    number: u64,
    since: Instant,
    until: Instant,
}

impl Cache {
    /// What is known, with the time that has passed taken off.
    pub fn get(&self, key: &Key, now: Instant) -> Option<Message> {
        let entry = self.entries.get(key).filter(|entry| now < entry.until)?;
        let mut message = entry.message.clone();
        let passed = now.saturating_duration_since(entry.since).as_secs() as u32;
        let sections = [&mut message.answers, &mut message.authorities, &mut message.additionals];
        for record in sections.into_iter().flatten() {
            record.ttl = record.ttl.saturating_sub(passed);
        }
        Some(message)
    }

    /// Keeps an answer, if it may be kept.
    pub fn put(&mut self, key: Key, message: &Message, now: Instant) {
        let Some(time) = lifetime(message) else { return };
        self.count += 1;
        let (message, number) = (message.clone(), self.count);
        self.order.push_back((key.clone(), number));
        self.entries.insert(key, Entry { message, number, since: now, until: now + time });
        while self.entries.len() > DNS_CACHE_ENTRIES_MAX
            || self.order.len() > 2 * DNS_CACHE_ENTRIES_MAX
        {
            let Some((oldest, number)) = self.order.pop_front() else { return };
            if self.entries.get(&oldest).is_some_and(|entry| entry.number == number) {
                self.entries.remove(&oldest);
            }
        }
    }
}

/// How long an answer may be kept; none where it may not. What was not found is kept as its zone
/// says (RFC 2308), within the same bound.
fn lifetime(message: &Message) -> Option<Duration> {
    let records = message.answers.len() + message.authorities.len() + message.additionals.len();
    if message.metadata.truncation || records > DNS_CACHED_RECORDS_MAX {
        return None;
    }
    let seconds = match (message.metadata.response_code, message.answers.is_empty()) {
        (ResponseCode::NoError, false) => message.answers.iter().map(|r| r.ttl).min(),
        (ResponseCode::NoError | ResponseCode::NXDomain, _) => {
            message.authorities.iter().find_map(negative)
        }
        _ => None,
    };
    let time = Duration::from_secs(u64::from(seconds?)).min(DNS_CACHE_TIME_MAX);
    (!time.is_zero()).then_some(time)
}

fn negative(record: &Record) -> Option<u32> {
    match &record.data {
        RData::SOA(soa) => Some(soa.minimum.min(record.ttl)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::clock;
    use hickory_proto::rr::rdata::{A, SOA};
    use std::net::Ipv4Addr;

    fn query(name: &str) -> Query {
        Query::query(Name::from_ascii(name).unwrap(), RecordType::A)
    }

    fn key(name: &str) -> Key {
        Key::new(&query(name), false, false)
    }

    fn answer(ttl: u32) -> Message {
        let mut message = Message::query();
        let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 1)));
        message.answers = vec![Record::from_rdata(Name::from_ascii("a.").unwrap(), ttl, data)];
        message
    }

    #[test]
    fn answers_age_and_end() {
        let (mut cache, now) = (Cache::default(), clock::instant());
        let after = |s| now + Duration::from_secs(s);
        cache.put(key("a."), &answer(10), now);
        assert_eq!(cache.get(&key("A."), after(4)).unwrap().answers[0].ttl, 6);
        assert_eq!(cache.get(&key("a."), after(10)), None);
        assert_eq!(cache.get(&key("b."), now), None);
        assert_eq!(cache.get(&Key::new(&query("a."), true, false), now), None);
        cache.put(key("c."), &answer(0), now);
        assert_eq!(cache.get(&key("c."), now), None);
        cache.put(key("d."), &answer(1_000_000), now);
        assert_eq!(cache.get(&key("d."), now + DNS_CACHE_TIME_MAX), None);
    }

    #[test]
    fn what_is_not_found_is_kept_as_its_zone_says() {
        let (mut cache, now) = (Cache::default(), clock::instant());
        let mut message = Message::query();
        message.metadata.response_code = ResponseCode::NXDomain;
        cache.put(key("a."), &message, now);
        assert_eq!(cache.get(&key("a."), now), None, "without an SOA nobody says how long");
        let root = Name::root();
        let soa = RData::SOA(SOA::new(root.clone(), root.clone(), 1, 1, 1, 1, 7));
        message.authorities = vec![Record::from_rdata(root, 60, soa)];
        cache.put(key("a."), &message, now);
        assert!(cache.get(&key("a."), now + Duration::from_secs(6)).is_some());
        assert!(cache.get(&key("a."), now + Duration::from_secs(7)).is_none());
        message.metadata.response_code = ResponseCode::ServFail;
        cache.put(key("b."), &message, now);
        assert_eq!(cache.get(&key("b."), now), None);
    }

    #[test]
    fn it_does_not_grow() {
        let (mut cache, now) = (Cache::default(), clock::instant());
        for n in 0..DNS_CACHE_ENTRIES_MAX + 10 {
            cache.put(key(&format!("n{n}.")), &answer(60), now);
        }
        assert_eq!(cache.entries.len(), DNS_CACHE_ENTRIES_MAX);
        assert!(cache.get(&key("n9."), now).is_none() && cache.get(&key("n10."), now).is_some());
        for _ in 0..3 * DNS_CACHE_ENTRIES_MAX {
            cache.put(key("same."), &answer(60), now);
        }
        assert!(cache.order.len() <= 2 * DNS_CACHE_ENTRIES_MAX);
        assert!(cache.get(&key("same."), now).is_some());
    }
}
