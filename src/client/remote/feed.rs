//! Feeds one view: a watch that begins with the whole state, and goes on as long as anybody reads.

use std::sync::{Arc, Weak};

use bytes::{Buf, Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::http::Http;
use super::{Gvr, View, Wanted, path};
use crate::api::meta::{GroupResource, Key, Meta};
use crate::api::registry::Registry;
use crate::api::selector::FieldSelector;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::history::{Change, History, Object};
use crate::limits;
use crate::util::backoff::Backoff;
use crate::util::id;

/// One view's feed. It holds the history weakly: the views and cursors on it keep it alive, and
/// with the last of them the feed ends.
pub(super) struct Feed {
    resource: Gvr,
    selector: String,
    history: Weak<History>,
    synced: watch::Sender<bool>,
}

/// Why a watch ended.
enum End {
    /// Nobody reads any more.
    Unread,
    /// The server ended it, as it does after a while.
    Over,
    /// The server no longer knows the place: begin anew.
    Expired,
    /// It went wrong.
    Failed(Status),
}

/// How far a feed is.
struct Place {
    /// Everything up to here has been published; 0 before the first state.
    revision: u64,
    /// The state that is coming in, until it is whole.
    initial: Option<Vec<Arc<Object>>>,
}

impl Feed {
    /// A feed that has not begun, and the first view of it.
    pub(super) fn new((resource, selector): &Wanted) -> (Self, View) {
        let history = History::new(0, limits::FEED_RING_BYTES_MAX);
        let (synced, receiver) = watch::channel(false);
        let view = View::new(Arc::clone(&history), resource.group_resource(), receiver);
        let history = Arc::downgrade(&history);
        (Self { resource: resource.clone(), selector: selector.clone(), history, synced }, view)
    }

    /// Another view, unless nobody holds one any more.
    pub(super) fn view(&self) -> Option<View> {
        let history = self.history.upgrade()?;
        Some(View::new(history, self.resource.group_resource(), self.synced.subscribe()))
    }

    /// Feeds until nobody reads.
    pub(super) async fn run(&self, http: &Http, registry: &Registry) {
        let mut place = Place { revision: 0, initial: None };
        let mut backoff = Backoff::new(limits::RECONNECT_FIRST, limits::RECONNECT_MAX);
        loop {
            let before = place.revision;
            let end = self.watch(http, registry, &mut place).await;
            if place.revision > before {
                backoff.reset();
            }
            let delay = match end {
                End::Unread => return,
                End::Over => continue,
                End::Expired => {
                    place = Place { revision: 0, initial: None };
                    backoff.fail()
                }
                End::Failed(error) => {
                    let (resource, selector) = (self.resource.group_resource(), &self.selector);
                    tracing::warn!(%resource, selector, %error, "a watch broke off");
                    backoff.fail()
                }
            };
            // Many feeds lose one server together: they come back one by one.
            let jitter = f64::from(id::random::<1>()[0]) / 512.0;
            let unread = self.unread();
            tokio::select! {
                () = tokio::time::sleep(delay.mul_f64(1.0 + jitter)) => {}
                () = unread => return,
            }
        }
    }

    /// Returns once nobody holds a view or a cursor.
    async fn unread(&self) {
        self.synced.closed().await;
        if self.history.strong_count() > 0 {
            // Only cursors are left, which nothing tells of: looked at with each event.
            std::future::pending::<()>().await;
        }
    }

    /// The path and query of the watch.
    fn target(&self, place: &Place) -> String {
        let fields = FieldSelector::parse(&self.selector).unwrap_or_default();
        let namespace = fields.required("metadata.namespace").unwrap_or_default();
        let path = path(&self.resource, namespace, "", "");
        // The namespace stands in the path already.
        let terms: Vec<&str> = self.selector.split(',').collect();
        let terms: Vec<&str> = terms
            .into_iter()
            .filter(|term| !term.is_empty() && !term.starts_with("metadata.namespace="))
            .collect();
        let mut target = format!("{path}?watch=true&allowWatchBookmarks=true");
        if !terms.is_empty() {
            let selector = terms.join(",").replace('=', "%3D").replace(',', "%2C");
            target.push_str(&format!("&fieldSelector={selector}"));
        }
        match place.revision {
            0 => target.push_str("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"),
            revision => target.push_str(&format!("&resourceVersion={revision}")),
        }
        target
    }

    async fn watch(&self, http: &Http, registry: &Registry, place: &mut Place) -> End {
        place.initial = (place.revision == 0).then(Vec::new);
        let request = Request::get(self.target(place)).header(header::ACCEPT, "application/json");
        let request = match request.body(Full::<Bytes>::default()) {
            Ok(request) => request,
            Err(error) => return End::Failed(Status::bad_request(error.to_string())),
        };
        let unavailable = |error: &dyn std::fmt::Display| {
            let at = http.endpoint();
            End::Failed(Status::unavailable(format!("cannot reach the server at {at}: {error}")))
        };
        let response = tokio::select! {
            response = http.send(request) => response,
            () = self.unread() => return End::Unread,
        };
        let response = match response {
            Ok(response) => response,
            Err(error) => return unavailable(&error),
        };
        let code = response.status().as_u16();
        let mut frames = Frames::new(response.into_body());
        if code != 200 {
            let text = frames.whole().await;
            let status = Status::from_value(code, &Value::parse(&text).unwrap_or_default());
            return ended(status);
        }
        loop {
            let frame = tokio::select! {
                frame = frames.next() => frame,
                () = self.unread() => return End::Unread,
            };
            match frame {
                Ok(Some(frame)) => {
                    if let Err(end) = self.take(registry, place, &frame) {
                        return end;
                    }
                }
                Ok(None) => return End::Over,
                Err(error) => return unavailable(&error),
            }
        }
    }

    /// Takes in one event.
    fn take(&self, registry: &Registry, place: &mut Place, frame: &[u8]) -> Result<(), End> {
        let history = self.history.upgrade().ok_or(End::Unread)?;
        let malformed = |why: String| End::Failed(Status::internal(why));
        let mut event = Value::parse(frame).map_err(|e| malformed(e.to_string()))?;
        let tree = event.remove("object");
        let kind = event.get("type").str();
        if kind == "ERROR" {
            let code = tree.get("code").as_int().and_then(|code| u16::try_from(code).ok());
            return Err(ended(Status::from_value(code.unwrap_or(500), &tree)));
        }
        let revision: u64 = tree
            .resource_version()
            .parse()
            .map_err(|_| malformed(format!("a watch event has no revision: {tree}")))?;
        let resource = self.resource.group_resource();
        if kind == "BOOKMARK" {
            self.bookmark(&history, place, &resource, revision, &tree);
            return Ok(());
        }
        let fields = registry.by_storage(&resource).map(|kind| kind.rules.fields(&tree));
        let key = Key::new(&resource, tree.namespace(), tree.name());
        let object = Arc::new(Object::new(key, tree, revision, fields.unwrap_or_default()));
        match (&mut place.initial, kind) {
            (Some(initial), "ADDED") => initial.push(object),
            (None, "ADDED" | "MODIFIED") => publish(&history, place, Change::Put(object)),
            (None, "DELETED") => publish(&history, place, Change::Delete(object)),
            _ => return Err(malformed(format!("a watch sent {kind:?} out of turn"))),
        }
        Ok(())
    }

    /// A bookmark says how far the watch has come; the first ends the initial state.
    fn bookmark(
        &self,
        history: &Arc<History>,
        place: &mut Place,
        resource: &GroupResource,
        revision: u64,
        tree: &Value,
    ) {
        if place.initial.is_some() {
            if tree.annotation("k8s.io/initial-events-end").is_none() {
                return;
            }
            let objects = place.initial.take().unwrap_or_default();
            history.reset(resource, revision, objects);
            self.synced.send_replace(true);
        } else if revision > place.revision {
            history.publish(Vec::new(), revision);
        }
        place.revision = place.revision.max(revision);
    }
}

fn publish(history: &Arc<History>, place: &mut Place, change: Change) {
    let revision = change.object().header.revision;
    // A server may send an event again after a reconnection.
    if revision > place.revision {
        history.publish(vec![change], revision);
        place.revision = revision;
    }
}

fn ended(status: Status) -> End {
    if status.code == 410 { End::Expired } else { End::Failed(status) }
}

/// The lines of a body as they come.
struct Frames {
    body: Incoming,
    buffer: BytesMut,
}

impl Frames {
    fn new(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next line; none at the end. Safe to drop at any await.
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(searched + at).freeze();
                self.buffer.advance(1);
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            if searched > limits::WATCH_EVENT_BYTES_MAX {
                return Err(format!("an event has more than {searched} bytes"));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Everything that is left, as far as it is of use in an error.
    async fn whole(&mut self) -> Bytes {
        while self.buffer.len() < limits::WATCH_EVENT_BYTES_MAX {
            if !self.more().await.unwrap_or(false) {
                break;
            }
        }
        self.buffer.split().freeze()
    }

    /// Reads on; false at the end.
    async fn more(&mut self) -> Result<bool, String> {
        match self.body.frame().await {
            None => Ok(false),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.buffer.extend_from_slice(data);
                }
                Ok(true)
            }
        }
    }
}
