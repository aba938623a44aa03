//! Every bound in the program, with its reason.

use std::time::Duration;

// store
/// How long a data directory that is in use is waited for: a process that a killed server was just
/// starting holds it for milliseconds.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(1);

// history

/// Bytes of recent events that are kept for watchers. Ten writes of 3 kB a second for five minutes
/// are 9 MB; an idle server uses none of it.
pub const WATCH_RING_BYTES_MAX: usize = 16 << 20;

// store

/// Commits that wait for the writer; a full queue makes writers wait, not fail.
pub const COMMIT_QUEUE_MAX: usize = 1024;
/// Commits in one transaction: enough to amortise a flush, few enough to bound its latency.
pub const COMMIT_BATCH_MAX: usize = 256;
/// How long a lazy write may be missing on disk.
pub const LAZY_DELAY_MAX: Duration = Duration::from_secs(60);
/// How long at the least a state that is past can be read, by the pages of a list; at the most it
/// is twice that. With etcd, which kube-apiserver compacts every five minutes, it is five to ten.
pub const STATE_AGE_MIN: Duration = Duration::from_secs(4 * 60);
/// Expired objects are removed together, at most this often.
pub const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);
/// Objects that expire may be as many as all others, and this many in any case: some two hours of a
/// node's events, and 4 MB. Beyond that the oldest go early.
pub const EXPIRING_MIN: usize = 2048;
/// Revisions reserved on disk at a time: a crash skips at most this many, a lazy lane of ten
/// writes a second reserves anew every few hours.
pub const REVISION_BLOCK: u64 = 100_000;

// pki

/// How long an authority's certificate is valid: ten years, as everybody's.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * 86_400);
/// How long any other certificate is valid. They are renewed when a third of it is left, so that
/// a machine may lie switched off for four months and still join in.
pub const LEAF_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// How far a certificate's validity reaches back, for machines whose clocks lag.
pub const CERTIFICATE_BACKDATE: Duration = Duration::from_secs(3600);
/// The same of certificates that are asked for through the API, as upstream has it; less than the
/// shortest lifetime that may be asked for.
pub const REQUESTED_BACKDATE: Duration = Duration::from_secs(5 * 60);
/// The longest that such a certificate is valid, and how long where nothing is asked.
pub const REQUESTED_LIFETIME_MAX: Duration = Duration::from_secs(365 * 86_400);
/// The shortest.
pub const REQUESTED_LIFETIME_MIN: Duration = Duration::from_secs(10 * 60);
/// Below this, what it reaches back is not taken off its end.
pub const REQUESTED_LIFETIME_SHORT: Duration = Duration::from_secs(8 * 3600);
// net

/// Clients with affinity that the kernel remembers at a time, some 100 bytes each; further ones are
/// spread like those without.
pub const AFFINITY_CLIENTS_MAX: u32 = 1 << 18;
/// Names that one question may lead through.
pub const DNS_ALIASES_MAX: usize = 8;
/// Answers of upstream resolvers that are kept, mostly under 1 kB each.
pub const DNS_CACHE_ENTRIES_MAX: usize = 4096;
/// How long any of them is kept, whatever it says.
pub const DNS_CACHE_TIME_MAX: Duration = Duration::from_secs(300);
/// Records of an answer that is kept: longer ones are rare, and would make the cache large.
pub const DNS_CACHED_RECORDS_MAX: usize = 64;
/// TCP connections that ask the DNS server; further ones wait.
pub const DNS_CONNECTIONS_MAX: usize = 128;
/// Questions being asked upstream at a time, a socket each; further ones fail at once.
pub const DNS_FORWARDS_MAX: usize = 512;
/// How long a DNS connection may say nothing, or take nothing.
pub const DNS_IDLE_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a question: a name of 255, and room for options.
pub const DNS_REQUEST_BYTES_MAX: usize = 4096;
/// How long one resolver is waited for: twice that, for two of them, is within the five seconds
/// after which clients ask again.
pub const DNS_TRY_TIME_MAX: Duration = Duration::from_millis(1200);
/// Bytes of a pod's identity: with its prefix it must fit into an interface's alias of 255 bytes.
pub const POD_IDENTITY_BYTES_MAX: usize = 200;
/// How old what is known of the host's resolvers may be. It is looked at when a question comes, not
/// by a timer.
pub const RESOLV_CONF_AGE_MAX: Duration = Duration::from_secs(5);
// node

/// How long a container that makes room for one of another image may be away before that is told:
/// as long as kubelet takes to see it.
pub const REPLACEMENT_QUIET_MAX: Duration = Duration::from_secs(1);
/// The first wait of a container that ended and shall run again, as kubelet's.
pub const CRASH_BACKOFF_FIRST: Duration = Duration::from_secs(10);
/// The longest wait of a crashing container, as kubelet's.
pub const CRASH_BACKOFF_MAX: Duration = Duration::from_secs(300);
/// How full the disk may be before unused images are removed, and how full it may be then, in
/// percent; kubelet's.
pub const IMAGE_DISK_HIGH_PERCENT: u64 = 85;
/// See [`IMAGE_DISK_HIGH_PERCENT`].
pub const IMAGE_DISK_LOW_PERCENT: u64 = 80;
/// An image younger than this, in seconds, may be about to be used; kubelet's.
pub const IMAGE_AGE_MIN: u64 = 120;
/// Connections to the node's own server: the API server's, each with a stream or a log.
pub const NODE_CONNECTIONS_MAX: usize = 512;
/// How long a client of the node may take for its handshake or its request's head.
pub const NODE_HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Ends of operations on one pod that wait for its worker; the operations wait then.
pub const POD_NOTES_MAX: usize = 16;
/// Images that are pulled at once: each unpacks its layers in parallel already.
pub const IMAGE_PULLS_MAX: usize = 3;
/// What is read of a probe's answer, as kubelet does.
pub const PROBE_BODY_BYTES_MAX: usize = 10 << 10;
/// One SPDY frame; clients send what they read at once, 32 kB.
pub const SPDY_FRAME_BYTES_MAX: usize = 1 << 20;
/// The headers of one SPDY stream, decompressed; real ones have three short pairs.
pub const SPDY_HEADERS_BYTES_MAX: usize = 16 << 10;
/// Streams of one SPDY connection: a port-forward has two for each connection that it carries.
pub const SPDY_STREAMS_MAX: usize = 512;
/// Received frames that wait for a stream's reader before the connection is held back.
pub const SPDY_STREAM_FRAMES_MAX: usize = 16;
/// What is read at once for a streaming client; as much as a pipe holds would double the memory.
pub const STREAM_CHUNK_BYTES_MAX: usize = 32 << 10;
/// One WebSocket message of a client; clients send what they read at once, 32 kB.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 1 << 20;
// api

/// Nesting of a decoded object. Readers of the stored JSON stop at 128; lists, events and tables
/// wrap an object a few levels deep.
pub const TREE_DEPTH_MAX: usize = 120;
/// Values in one decoded object. A value costs up to 100 bytes in memory, a body has 3 MiB: this
/// keeps a body of many tiny values below 50 MB.
pub const TREE_VALUES_MAX: usize = 500_000;
/// Unknown and duplicate fields that are told to a client, as upstream.
pub const FINDINGS_MAX: usize = 100;
/// Values in a YAML text once its aliases are expanded.
pub const YAML_EVENTS_MAX: usize = 1_000_000;

// auth

/// Events that an index takes in at a time.
pub const INDEX_EVENTS_MAX: usize = 256;
// client

/// Events that wait to be written; more are dropped.
pub const EVENT_QUEUE_MAX: usize = 1000;
/// Objects whose earlier events a recorder remembers.
pub const EVENT_OBJECTS_MAX: usize = 4096;
/// Events of one object that a recorder remembers: a burst, and some.
pub const EVENT_TEXTS_MAX: usize = 32;
/// Events that one object may have at once, as upstream's recorder allows.
pub const EVENT_BURST: f64 = 25.0;
/// How fast an object earns more: one every five minutes.
pub const EVENT_PER_SECOND: f64 = 1.0 / 300.0;
/// Different texts of one reason before they are joined.
pub const EVENT_SIMILAR_MAX: u32 = 10;
/// The time within which they are counted.
pub const EVENT_SIMILAR_INTERVAL: Duration = Duration::from_secs(600);

// controllers

/// The first delay after a failed reconcile.
pub const RECONCILE_BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// The longest delay after failed reconciles.
pub const RECONCILE_BACKOFF_MAX: Duration = Duration::from_secs(300);
/// Calls of one reconcile that run at a time: they share a transaction, and a burst of one
/// controller must not fill the commit queue.
pub const RECONCILE_CALLS_MAX: usize = 32;
/// Objects that one controller works on at a time.
pub const RECONCILE_WORKERS: usize = 4;
/// Events that are taken off a cursor at a time.
pub const EVENTS_PER_READ: usize = 256;
/// Pods that one reconcile of a replica controller makes or deletes, as upstream's.
pub const REPLICA_BURST: usize = 500;
/// How long an evicted pod may take to be seen as deleted before its budget counts it again, as
/// upstream's.
pub const EVICTION_CONFIRMED: Duration = Duration::from_secs(120);
/// How long a failed pod of a daemon set stays before another takes its place: a node that refuses
/// it will do so again at once.
pub const DAEMON_BACKOFF: Duration = Duration::from_secs(10);
/// Pods of a job whose end is written down but not yet counted, as upstream's: their UIDs make up
/// some 20 kB of its status.
pub const JOB_UNCOUNTED_MAX: usize = 500;
/// The first delay before a failed pod of a job is replaced, as upstream's.
pub const JOB_BACKOFF_FIRST: Duration = Duration::from_secs(10);
/// The longest such delay, as upstream's.
pub const JOB_BACKOFF_MAX: Duration = Duration::from_secs(600);
/// Endpoints in one EndpointSlice, upstream's default.
pub const ENDPOINTS_PER_SLICE: usize = 100;
/// Addresses in one Endpoints object, upstream's limit.
pub const ENDPOINTS_MAX: usize = 1000;

// runtime: images

/// Largest manifest or index read from a registry or archive; containerd's limit.
pub const IMAGE_MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Largest image configuration; real ones stay below 100 kB.
pub const IMAGE_CONFIG_BYTES_MAX: u64 = 8 << 20;
/// Layers of one image: their short names must fit in the one page of options that mount(2) takes.
pub const IMAGE_LAYERS_MAX: usize = 240;
/// Archive members that are remembered while an archive is read; an image has some hundred.
pub const IMAGE_ARCHIVE_MEMBERS_MAX: usize = 100_000;
/// Headers of one tar entry, extended attributes included: they are read into memory as a whole.
pub const LAYER_HEADER_BYTES_MAX: u64 = 1 << 20;
/// Entries of one layer; directories among them are remembered until its end.
pub const LAYER_ENTRIES_MAX: u64 = 4_000_000;
/// Uncompressed bytes of one layer: a few kilobytes of gzip or a sparse entry can claim exabytes.
pub const LAYER_BYTES_MAX: u64 = 256 << 30;
/// How long a broken-off download is kept for another attempt; back-off tops out at minutes.
pub const IMAGE_PARTIAL_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Broken-off downloads smaller than this are not worth keeping.
pub const IMAGE_PARTIAL_BYTES_MIN: u64 = 1 << 20;
/// Blobs of one image that are downloaded at a time; containerd's default.
pub const IMAGE_DOWNLOADS_MAX: usize = 3;
/// Parts of a download that wait for the disk; a part is what one read gave, 16 kB as a rule.
pub const IMAGE_DOWNLOAD_QUEUE_MAX: usize = 16;
/// Name lookup, connection and TLS handshake with a registry.
pub const REGISTRY_CONNECT_MAX: Duration = Duration::from_secs(10);
/// A registry's answer to a request, or a whole small document.
pub const REGISTRY_RESPONSE_MAX: Duration = Duration::from_secs(30);
/// A transfer without noticeable progress.
pub const REGISTRY_STALL_MAX: Duration = Duration::from_secs(30);
/// What counts as progress: a modem of 1995 brings ten times as much before it counts as stalled.
pub const REGISTRY_PROGRESS_BYTES_MIN: u64 = 16 << 10;
/// Attempts without progress before the node's own back-off takes over.
pub const REGISTRY_ATTEMPTS_MAX: u32 = 3;
/// What is read of an image's `/etc/passwd` and `/etc/group`; a hundred thousand users fit.
pub const PASSWD_BYTES_MAX: u64 = 8 << 20;

// Runtime.

/// Longest piece of a container's line in one log record: what containerd writes, so that log
/// collectors are prepared for it, and small enough to hold per stream.
pub const LOG_RECORD_BYTES_MAX: usize = 16 * 1024;
/// Output held in a shim for an attached reader before the container has to wait: a screenful many
/// times over, and small beside what a container itself takes.
pub const ATTACH_HELD_BYTES_MAX: usize = 64 * 1024;
/// How long an attached reader may take nothing while output waits for it, before it is cut off so
/// that the container can go on.
pub const ATTACH_STALL_MAX: Duration = Duration::from_secs(10);
/// Longest message between rk and a shim: a container's labels, or a path or two.
pub const SHIM_FRAME_BYTES_MAX: usize = 64 * 1024;
/// Messages that wait in a shim for a connection that does not read; it is closed then, and its
/// owner asks again where everything stands.
pub const SHIM_QUEUE_MAX: usize = 256;
/// Connections of a shim: rk's, the one of an rk that is about to die, and a few of `rk exec`.
pub const SHIM_CONNECTIONS_MAX: usize = 16;
/// Processes that run in a pod's containers by exec at a time: probes and people.
pub const SHIM_EXECS_MAX: usize = 256;
/// How long a shim may take to make its namespaces: milliseconds, but for a machine that swaps.
pub const SHIM_START_MAX: Duration = Duration::from_secs(30);
/// How long a shim that was found may take to answer before it counts as dead; one that has just
/// been started makes its namespaces first.
pub const SHIM_HELLO_MAX: Duration = Duration::from_secs(10);
/// How long a shim may take to answer: creating a container waits for mounts, perhaps of a network.
pub const SHIM_REPLY_MAX: Duration = Duration::from_secs(120);
/// How long a shim may take to kill its pod and end, before it is killed itself; longer than the
/// kernel is given to let go of killed processes.
pub const SHIM_END_MAX: Duration = Duration::from_secs(15);
/// How long a killed container may take to end before that is reported as an error.
pub const CONTAINER_KILL_MAX: Duration = Duration::from_secs(15);
/// How much of a log is read for a client at a time.
pub const LOG_CHUNK_BYTES: usize = 64 * 1024;
/// How long an outside issuer may take to tell its keys.
pub const OIDC_FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of what an issuer tells of itself or of its keys: a key is some 500 bytes.
pub const OIDC_DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// How soon an issuer is asked for its keys again, however many tokens name a key that is unknown.
pub const OIDC_REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(10);
/// Service-account tokens whose signature need not be checked again: one per pod of a large node,
/// at about 1 kB each.
pub const TOKEN_CACHE_MAX: usize = 1024;
/// How long a node may be silent before it counts as lost, upstream's default.
pub const NODE_GRACE: Duration = Duration::from_secs(50);
/// Pods that have ended and are kept, upstream's default.
pub const ENDED_PODS_MAX: usize = 12_500;
/// Existing pods that are looked at when their namespace becomes stricter, upstream's bound.
pub const NAMESPACE_PODS_CHECKED_MAX: usize = 3000;
/// The first delay before a controller that panicked starts again.
pub const PANIC_BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest such delay.
pub const PANIC_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Operations of a JSON patch, as upstream.
pub const PATCH_OPERATIONS_MAX: usize = 10_000;
/// Bytes that the copy operations of a JSON patch may add: as much as a request's body.
pub const PATCH_COPY_BYTES_MAX: usize = 3 << 20;

// scheduler

/// Bindings that are under way at a time: they share a transaction.
pub const BINDINGS_MAX: usize = 64;
/// The first delay before a pod that fits nowhere is tried again, upstream's.
pub const POD_BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest such delay, upstream's.
pub const POD_BACKOFF_MAX: Duration = Duration::from_secs(10);

// apiserver

/// How long an Event is kept: upstream's hour.
pub const EVENT_LIFETIME: Duration = Duration::from_secs(3600);
/// Names that a create with `generateName` tries: of 14 million suffixes eight taken ones in a row
/// mean that something else is wrong.
pub const NAME_ATTEMPTS_MAX: usize = 8;
/// Times that a patch or an unconditional update is tried against a changing object. Each failure
/// means that somebody else's write went through, so more than all writers at once are not needed.
pub const UPDATE_ATTEMPTS_MAX: usize = 256;
/// Deletions that one deletecollection has under way: enough to fill a batch of the store.
pub const DELETIONS_AT_ONCE: usize = 64;
/// Objects or events that a watch takes from the history at a time: some 100 kB of text.
pub const WATCH_PORTION: usize = 64;
/// How long a watch lasts at least and at most, where its client does not say (upstream's).
pub const WATCH_LIFETIME_MIN: Duration = Duration::from_secs(1800);
/// See [`WATCH_LIFETIME_MIN`].
pub const WATCH_LIFETIME_MAX: Duration = Duration::from_secs(3600);
/// How often an idle watch is told how far it has come.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// Cluster addresses at the low end of the range that are given only to those who name them: a
/// sixteenth of the range, at least and at most these (upstream's bands).
pub const STATIC_BAND_MIN: u32 = 16;
/// See [`STATIC_BAND_MIN`].
pub const STATIC_BAND_MAX: u32 = 256;

// connections to nodes

/// How long a node may take to accept a connection of the server.
pub const NODE_DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a tag in a proxied page that is looked at for links; a longer one passes as it is.
pub const HTML_TAG_BYTES_MAX: usize = 64 << 10;
/// Bytes of a request's body (upstream's): twice the largest object, as patches may be.
pub const REQUEST_BYTES_MAX: usize = 3 << 20;
/// Bytes of a body that is too large which are read and thrown away, so that its sender gets to
/// read why: the files that people apply by mistake.
pub const REQUEST_DISCARD_MAX: usize = 32 << 20;
/// How long the end of a stream may take after its last byte.
pub const STREAM_LINGER: Duration = Duration::from_secs(5);
/// How long the rest of a body is taken in after its request was answered.
pub const REQUEST_DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// Objects of a list that are encoded between two writes to the socket.
pub const LIST_PORTION: usize = 64;
/// Pieces of an answer below this size are copied together: a piece of its own costs about as much
/// as copying so many bytes.
pub const SHARED_BYTES_MIN: usize = 2048;
/// Answers below this size are sent as they are (upstream's): compressing costs more than it saves.
pub const GZIP_BYTES_MIN: usize = 128 << 10;
/// Bytes that are compressed between two writes: about a millisecond's work.
pub const GZIP_PORTION: usize = 64 << 10;
/// Bytes of warnings in one answer (upstream's), so that headers stay within clients' limits.
pub const WARNINGS_BYTES_MAX: usize = 4096;
/// Requests that only read, under way at once (upstream's); more get 429.
pub const READS_AT_ONCE: usize = 400;
/// Requests that write, under way at once (upstream's); more get 429.
pub const WRITES_AT_ONCE: usize = 200;
/// How long a request may take that is no stream (upstream's).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take for its TLS handshake and for the head of a request.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at once: a connection costs some 40 kB.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Streams at once on one HTTP/2 connection: client-go's informers of one process share one.
pub const STREAMS_MAX: u32 = 1000;
/// Bytes of a request's head.
pub const HEAD_BYTES_MAX: u32 = 64 << 10;
/// How often an idle HTTP/2 connection is asked whether its other end is still there.
pub const PING_INTERVAL: Duration = Duration::from_secs(60);
/// How long a stopping server waits for requests that are under way.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the listener waits when the system has no descriptor for a new connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// server

/// The first delay before a node that could not join tries again.
pub const JOIN_BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest such delay.
pub const JOIN_BACKOFF_MAX: Duration = Duration::from_secs(15);
/// How often the age of a certificate in a file is looked at. A day is nothing to its lifetime.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(86_400);
/// The longest delay before a custom resource definition is looked at again.
pub const CUSTOM_BACKOFF_MAX: Duration = Duration::from_secs(30);

// far client

/// Bytes of an answer to one call: some objects of the largest size, and discovery.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Bytes of one event of a watch: the largest object, encoded without thrift.
pub const WATCH_EVENT_BYTES_MAX: usize = 8 << 20;
/// Bytes of recent events that a far view keeps for its readers, who are in the same process.
pub const FEED_RING_BYTES_MAX: usize = 2 << 20;
/// The first delay before a broken watch is made again: a server that restarts is back in less
/// than a second, and every node's services hang on it.
pub const RECONNECT_FIRST: Duration = Duration::from_millis(250);
/// The longest such delay.
pub const RECONNECT_MAX: Duration = Duration::from_secs(30);
