//! Questions and answers as packets: what a request must be, and how an answer is made to fit.

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

/// What is offered to, and accepted from, those who speak EDNS: fits every link unfragmented.
pub const UDP_BYTES: u16 = 1232;
/// What others can take.
const PLAIN_UDP_BYTES: u16 = 512;
const HEADER_LEN: usize = 12;
/// The shortest record: root name, type, class, time, length.
const RECORD_LEN_MIN: usize = 11;
/// An OPT record without options.
const OPT_LEN: u16 = 11;
/// Records that a question may carry beside itself: OPT, and a signature that is ignored.
const REQUEST_EXTRAS_MAX: u16 = 4;

/// A question that can be answered.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked.
    pub query: Query,
    /// The client's header.
    metadata: Metadata,
    /// The client speaks EDNS.
    edns: bool,
    /// It wants signatures.
    pub dnssec: bool,
    /// Bytes that an answer may have.
    limit: u16,
}

/// What came of a packet.
#[derive(Debug)]
pub enum Parsed {
    /// A question.
    Request(Box<Request>),
    /// An answer that says what is wrong with it.
    Reject(Vec<u8>),
    /// Nothing to answer.
    Ignore,
}

/// Reads a packet of a client.
pub fn parse(packet: &[u8], tcp: bool) -> Parsed {
    let Some(header) = packet.get(..HEADER_LEN) else { return Parsed::Ignore };
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let response = header[2] & 0x80 != 0;
    if response {
        // Answering answers would let two servers talk for ever.
        return Parsed::Ignore;
    }
    let (id, op_code) = (word(0), OpCode::from_u8((header[2] >> 3) & 0xf));
    let reject = |code| Parsed::Reject(encode(&Message::error_msg(id, op_code, code)));
    if op_code != OpCode::Query {
        return reject(ResponseCode::NotImp);
    }
    // Counts are checked before anything is made from them.
    if word(4) != 1 || word(6) != 0 || word(8) != 0 || word(10) > REQUEST_EXTRAS_MAX {
        return reject(ResponseCode::FormErr);
    }
    match Message::from_vec(packet) {
        Ok(message) => request(message, tcp),
        Err(_) => reject(ResponseCode::FormErr),
    }
}

fn request(mut message: Message, tcp: bool) -> Parsed {
    let Some(query) = message.queries.pop() else { return Parsed::Ignore };
    let edns = message.edns.as_ref();
    let limit = match (tcp, edns) {
        (true, _) => u16::MAX,
        (false, Some(edns)) => edns.max_payload().clamp(PLAIN_UDP_BYTES, UDP_BYTES),
        (false, None) => PLAIN_UDP_BYTES,
    };
    let request = Request {
        edns: edns.is_some(),
        dnssec: edns.is_some_and(|edns| edns.flags().dnssec_ok),
        metadata: message.metadata,
        limit,
        query,
    };
    let code = match (edns.map_or(0, Edns::version), request.query.query_class()) {
        (0, DNSClass::IN) => None,
        (0, _) => Some(ResponseCode::Refused),
        _ => Some(ResponseCode::BADVERS),
    };
    let transfer = matches!(request.query.query_type(), RecordType::AXFR | RecordType::IXFR);
    match code.or(transfer.then_some(ResponseCode::Refused)) {
        Some(code) => Parsed::Reject(request.answer(Answer::code(code))),
        None => Parsed::Request(Box::new(request)),
    }
}

/// What a question is answered with.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// How it went.
    pub code: ResponseCode,
    /// From our own zone.
    pub authoritative: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// Who says so.
    pub authorities: Vec<Record>,
    /// What the client may ask for next.
    pub additionals: Vec<Record>,
}

impl Answer {
    /// No records.
    pub fn code(code: ResponseCode) -> Answer {
        Answer { code, ..Answer::default() }
    }
}

impl Request {
    /// The packet that answers. Where it is too long, as many answers as fit, and the sign that
    /// there are more: old resolvers ask only by UDP.
    pub fn answer(&self, answer: Answer) -> Vec<u8> {
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.metadata = Metadata::response_from_request(&self.metadata);
        message.metadata.response_code = answer.code;
        message.metadata.authoritative = answer.authoritative;
        message.metadata.recursion_available = true;
        message.queries = vec![self.query.clone()];
        message.answers = answer.answers;
        message.authorities = answer.authorities;
        message.additionals = answer.additionals;
        if self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_BYTES).set_dnssec_ok(self.dnssec);
            message.edns = Some(edns);
        }
        let packet = encode(&message);
        if packet.len() <= usize::from(self.limit) { packet } else { self.truncate(message) }
    }

    fn truncate(&self, mut message: Message) -> Vec<u8> {
        // What the client did not ask for goes first, and is no reason to ask again.
        message.additionals.clear();
        message.authorities.clear();
        let packet = encode(&message);
        if packet.len() <= usize::from(self.limit) {
            return packet;
        }
        let edns = message.edns.take();
        let mut packet = Vec::new();
        let mut encoder = BinEncoder::new(&mut packet);
        encoder.set_max_size(self.limit - if edns.is_some() { OPT_LEN } else { 0 });
        let fit = match message.emit(&mut encoder) {
            Ok(()) => packet.get(6..8).map_or(0, |n| u16::from_be_bytes([n[0], n[1]])),
            Err(_) => 0,
        };
        message.answers.truncate(usize::from(fit));
        message.metadata.truncation = true;
        message.edns = edns;
        encode(&message)
    }
}

/// The packet that asks an upstream resolver, with an id nobody can guess.
pub fn question(query: &Query, dnssec: bool, checking_disabled: bool) -> (u16, Vec<u8>) {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = checking_disabled;
    message.queries = vec![query.clone()];
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES).set_dnssec_ok(dnssec);
    message.edns = Some(edns);
    (message.metadata.id, encode(&message))
}

/// The answer of an upstream resolver to that question; none where the packet is another's.
pub fn reply(packet: &[u8], id: u16, query: &Query) -> Option<Message> {
    let header = packet.get(..HEADER_LEN)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let records = usize::from(word(6)) + usize::from(word(8)) + usize::from(word(10));
    if word(0) != id || word(4) != 1 || records * RECORD_LEN_MIN > packet.len() {
        return None;
    }
    let message = Message::from_vec(packet).ok()?;
    let asked = message.queries.first()?;
    let same = asked.name().eq_ignore_root(query.name())
        && asked.query_type() == query.query_type()
        && asked.query_class() == query.query_class();
    (message.metadata.message_type == MessageType::Response && same).then_some(message)
}

impl Request {
    /// The client checks signatures itself.
    pub fn checking_disabled(&self) -> bool {
        self.metadata.checking_disabled
    }
}

/// Nothing that is encoded here can fail to be: names and sections come from packets or are made
/// within bounds. Should it, the client asks again.
fn encode(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::{Name, RData, rdata::A};
    use std::net::Ipv4Addr;

    fn query() -> Query {
        Query::query(Name::from_ascii("Db.ns.svc.cluster.local.").unwrap(), RecordType::A)
    }

    fn records(count: u8) -> Vec<Record> {
        let record = |n| {
            let data = RData::A(A(Ipv4Addr::new(10, 42, 0, n)));
            Record::from_rdata(query().name().clone(), 5, data)
        };
        (0..count).map(record).collect()
    }

    fn ask(change: impl FnOnce(&mut Message)) -> Parsed {
        let mut message = Message::query();
        message.metadata.id = 7;
        message.metadata.recursion_desired = true;
        message.queries = vec![query()];
        change(&mut message);
        parse(&message.to_vec().unwrap(), false)
    }

    fn answer(parsed: Parsed, records: Vec<Record>) -> (usize, Message) {
        let Parsed::Request(request) = parsed else { panic!("{parsed:?}") };
        let packet = request.answer(Answer { answers: records, ..Answer::default() });
        (packet.len(), Message::from_vec(&packet).unwrap())
    }

    fn code(parsed: Parsed) -> ResponseCode {
        let Parsed::Reject(packet) = parsed else { panic!("{parsed:?}") };
        Message::from_vec(&packet).unwrap().metadata.response_code
    }

    #[test]
    fn answers_repeat_the_question_as_it_was() {
        let (_, message) = answer(ask(|_| ()), records(2));
        assert_eq!((message.metadata.id, message.answers.len()), (7, 2));
        assert!(message.metadata.recursion_desired && message.metadata.recursion_available);
        assert_eq!(message.queries[0].name().to_ascii(), "Db.ns.svc.cluster.local.");
        assert_eq!(message.edns, None);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said() {
        let (len, message) = answer(ask(|_| ()), records(100));
        assert!(len <= 512, "{len}");
        assert!(message.metadata.truncation);
        assert!((25..=30).contains(&message.answers.len()), "{}", message.answers.len());
        let with_edns = |m: &mut Message| {
            let mut edns = Edns::new();
            edns.set_max_payload(4096);
            m.edns = Some(edns);
        };
        let (len, message) = answer(ask(with_edns), records(100));
        assert!((1200..=1232).contains(&len), "{len}");
        assert_eq!(message.edns.unwrap().max_payload(), UDP_BYTES);
        let (_, message) = answer(ask(with_edns), records(60));
        assert!(!message.metadata.truncation);
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        assert_eq!(code(ask(|m| m.metadata.op_code = OpCode::Update)), ResponseCode::NotImp);
        assert_eq!(code(ask(|m| m.queries.clear())), ResponseCode::FormErr);
        assert_eq!(code(ask(|m| m.queries.push(query()))), ResponseCode::FormErr);
        assert_eq!(code(ask(|m| m.answers = records(1))), ResponseCode::FormErr);
        let chaos = |m: &mut Message| m.queries[0].query_class = DNSClass::CH;
        assert_eq!(code(ask(chaos)), ResponseCode::Refused);
        let transfer = |m: &mut Message| m.queries[0].query_type = RecordType::AXFR;
        assert_eq!(code(ask(transfer)), ResponseCode::Refused);
        let future = |m: &mut Message| {
            let mut edns = Edns::new();
            edns.set_version(1);
            m.edns = Some(edns);
        };
        // The same number as BADSIG's, which it is decoded as.
        assert_eq!(u16::from(code(ask(future))), u16::from(ResponseCode::BADVERS));
        assert!(matches!(ask(|m| m.metadata.message_type = MessageType::Response), Parsed::Ignore));
        assert!(matches!(parse(&[0; 11], false), Parsed::Ignore));
    }

    #[test]
    fn no_packet_panics() {
        let mut message = Message::query();
        message.queries = vec![query()];
        message.edns = Some(Edns::new());
        let seed = message.to_vec().unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        for round in 0..50_000 {
            let mut packet = seed.clone();
            for _ in 0..random() % 6 {
                let at = random() % packet.len();
                packet[at] = random() as u8;
            }
            packet.truncate(random() % (seed.len() + 40));
            packet.extend((0..random() % 8).map(|n| n as u8));
            if let Parsed::Request(request) = parse(&packet, round % 2 == 0) {
                let answer = Answer { answers: records(3), ..Answer::default() };
                assert!(request.answer(answer).len() <= usize::from(request.limit));
            }
            let id = packet.get(..2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
            let _ = reply(&packet, id, &query());
        }
    }

    #[test]
    fn replies_must_be_to_the_question() {
        let (id, packet) = question(&query(), true, false);
        let mut message = Message::from_vec(&packet).unwrap();
        assert!(message.edns.as_ref().unwrap().flags().dnssec_ok);
        assert_eq!(reply(&packet, id, &query()), None, "a question is no reply");
        message.metadata.message_type = MessageType::Response;
        let packet = message.to_vec().unwrap();
        assert!(reply(&packet, id, &query()).is_some());
        assert_eq!(reply(&packet, id.wrapping_add(1), &query()), None);
        let mut other = query();
        other.set_query_type(RecordType::AAAA);
        assert_eq!(reply(&packet, id, &other), None);
        let mut lying = packet;
        lying[7] = 200;
        assert_eq!(reply(&lying, id, &query()), None);
    }
}
