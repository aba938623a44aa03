//! Requests for resources: from path, parameters and body to the engine's verbs, and back.

use std::sync::Arc;

use http::header::{self, HeaderMap};
use http::{Request, Response};

use super::accept::{Media, Offer, negotiate};
use super::body::Body;
use super::input::{Change, Given};
use super::render::{Include, Renderer};
use super::request::{RequestInfo, ResourcePath};
use super::websocket::Socket;
use super::{Front, Upload, input, output};
use crate::api::selector::FieldSelector;
use crate::api::status::Status;
use crate::apiserver::engine::{
    Ask, DeleteOptions, ListOptions, Query, State, WatchOptions, WriteOptions, Written,
};
use crate::auth::{Attributes, UserInfo};

/// Subresources that are streams to a node or a pod, not objects.
const CONNECTED: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

impl Front {
    /// Answers a request for a resource.
    pub(super) async fn resource(
        self: &Arc<Self>,
        user: Arc<UserInfo>,
        info: &RequestInfo,
        path: &ResourcePath,
        mut request: Request<Upload>,
    ) -> Result<Response<Body>, Status> {
        let allowed = authorize(self, &user, info, path);
        self.metrics.decided(allowed.is_ok());
        allowed?;
        let ask = self.ask(user, path)?;
        let socket = match (ask.subresource, info.verb) {
            ("log", _) => Socket::of_bytes(&mut request),
            ("", "watch") => Socket::of_lines(&mut request),
            _ => None,
        };
        let mut response = if CONNECTED.contains(&ask.subresource) {
            self.connect(&ask, info, path, request).await?
        } else {
            check_served(&ask, info.verb)?;
            self.served(&ask, info, request).await?
        };
        if let Some(socket) = socket {
            response = socket.carry(response);
        }
        if let Some(warning) = ask.resource.rules.deprecation() {
            self.metrics.deprecated(&ask.resource.called, ask.subresource);
            output::warn(response.headers_mut(), &[warning.to_owned()]);
        }
        Ok(response)
    }

    /// Answers a request for objects.
    async fn served(
        &self,
        ask: &Ask,
        info: &RequestInfo,
        request: Request<Upload>,
    ) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let headers = &parts.headers;
        match info.verb {
            "get" => self.get(ask, &info.query, headers),
            "list" => self.list(ask, &info.query, headers),
            "watch" => self.watch(ask, &info.query, headers),
            "deletecollection" => {
                let renderer = renderer(ask, &info.query, headers)?;
                let options = delete_options(&info.query, headers, body).await?;
                let select = ListOptions::from_query(&info.query)?;
                let list = self.engine.delete_collection(ask, &select, &options).await?;
                Ok(output::answer(200, renderer.accepted().media.name(), renderer.list(list)?))
            }
            verb => {
                let renderer = renderer(ask, &info.query, headers)?;
                let written = self.write(ask, verb, &info.query, headers, body).await?;
                written_answer(&renderer, written)
            }
        }
    }

    /// The resource that a path names.
    fn ask(&self, user: Arc<UserInfo>, path: &ResourcePath) -> Result<Ask, Status> {
        let registry = self.engine.registry();
        let resource = registry
            .get(&path.group, &path.version, &path.plural)
            .ok_or_else(Status::no_such_path)?;
        let cluster = path.namespace.is_empty();
        let misplaced =
            if resource.namespaced() { cluster && !path.name.is_empty() } else { !cluster };
        if misplaced {
            return Err(Status::no_such_path());
        }
        let subresource = match &*path.subresource {
            "" => "",
            name => resource.subresource(name).ok_or_else(Status::no_such_path)?.name,
        };
        Ok(Ask {
            user,
            resource: Arc::clone(resource),
            subresource,
            namespace: path.namespace.clone(),
            name: path.name.clone(),
        })
    }

    fn get(&self, ask: &Ask, query: &Query, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        let renderer = renderer(ask, query, headers)?;
        let state = ListOptions::from_query(&only_revision(query))?.state;
        let rope = renderer.answer(self.engine.read(ask, state_of_get(state))?)?;
        Ok(output::answer(200, renderer.accepted().media.name(), rope))
    }

    fn list(
        &self,
        ask: &Ask,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Status> {
        let renderer = renderer(ask, query, headers)?;
        let list = self.engine.list(ask, &ListOptions::from_query(query)?)?;
        Ok(output::answer(200, renderer.accepted().media.name(), renderer.list(list)?))
    }

    fn watch(
        &self,
        ask: &Ask,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Status> {
        let offer = Offer { protobuf: !ask.resource.custom, shapes: true, yaml: false };
        let accepted = negotiate(accept(headers), offer)?;
        let renderer =
            Renderer::new(&ask.resource, accepted, Include::parse(query.get("includeObject"))?);
        let watch = self.engine.watch(ask, &WatchOptions::from_query(query)?)?;
        let counters = self.metrics.watch(&ask.resource);
        Ok(output::watch(watch, renderer, counters, self.stop.clone()))
    }

    async fn write(
        &self,
        ask: &Ask,
        verb: &str,
        query: &Query,
        headers: &HeaderMap,
        body: Upload,
    ) -> Result<Written, Status> {
        if verb == "delete" {
            let options = delete_options(query, headers, body).await?;
            return self.engine.delete(ask, &options).await;
        }
        let body = input::read(body).await?;
        if verb == "patch" {
            let options = WriteOptions::of_patch(query, input::applies(headers))?;
            let options = options.from_agent(agent(headers));
            let validation = input::validation(query);
            return match input::patch(ask, headers, &body)? {
                Change::Patch(patch) => self.engine.patch(ask, &patch, validation, &options).await,
                Change::Apply(config) => {
                    self.engine.apply(ask, &config, validation, &options).await
                }
            };
        }
        let kind = if verb == "create" { "CreateOptions" } else { "UpdateOptions" };
        let options = WriteOptions::from_query(query, kind)?.from_agent(agent(headers));
        let Given { object, mut warnings, empties } = input::object(ask, headers, query, &body)?;
        let written = match verb {
            "create" => self.engine.post(ask, object, &options).await,
            _ => self.engine.replace(ask, object, &options).await,
        };
        let mut written = written.map_err(|status| status.showing(&empties))?;
        warnings.append(&mut written.warnings);
        written.warnings = warnings;
        Ok(written)
    }
}

/// Whether the user may do this.
fn authorize(
    front: &Front,
    user: &UserInfo,
    info: &RequestInfo,
    path: &ResourcePath,
) -> Result<(), Status> {
    let fields = match info.verb {
        "list" | "watch" | "deletecollection" => {
            FieldSelector::parse(info.query.get("fieldSelector")).ok()
        }
        _ => None,
    };
    let one = fields.as_ref().and_then(|fields| fields.required("metadata.name"));
    let own = path.group.is_empty() && path.plural == "namespaces";
    let wanted = Attributes {
        version: &path.version,
        subresource: &path.subresource,
        namespace: if own { &path.name } else { &path.namespace },
        name: if path.name.is_empty() { one.unwrap_or_default() } else { &path.name },
        fields: fields.as_ref(),
        ..Attributes::resource(user, info.verb, &path.group, &path.plural)
    };
    front.engine.authorize(&wanted)?;
    // What runs commands must be allowed as such, whatever method opens the stream.
    if info.verb == "get" && ["exec", "attach", "portforward"].contains(&&*path.subresource) {
        front.engine.authorize(&Attributes { verb: "create", ..wanted })?;
    }
    Ok(())
}

/// Whether the resource serves the verb.
fn check_served(ask: &Ask, verb: &str) -> Result<(), Status> {
    let resource = &ask.resource;
    let served = match resource.subresource(ask.subresource) {
        Some(subresource) => subresource.verbs.contains(&verb),
        None => resource.serves(verb),
    };
    // Collections over all namespaces are only read.
    let everywhere = resource.namespaced()
        && ask.namespace.is_empty()
        && ask.subresource.is_empty()
        && !matches!(verb, "list" | "watch");
    let named =
        !ask.name.is_empty() || matches!(verb, "create" | "list" | "watch" | "deletecollection");
    if resource.custom && verb == "create" && ask.subresource.is_empty() && !served {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(Status::forbidden(&resource.group, &resource.plural, "", why));
    }
    if served && !everywhere && named { Ok(()) } else { Err(Status::method_not_allowed()) }
}

/// What the client calls itself.
fn agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn accept(headers: &HeaderMap) -> &str {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What makes documents in the form that the client takes.
fn renderer(ask: &Ask, query: &Query, headers: &HeaderMap) -> Result<Renderer, Status> {
    // What is only posted, such as a review, has no metadata to be shown in another shape.
    let shapes = ask.resource.serves("get") || !ask.subresource.is_empty();
    let offer = Offer { protobuf: !ask.resource.custom, shapes, yaml: true };
    let accepted = negotiate(accept(headers), offer)?;
    let include = Include::parse(query.get("includeObject"))?;
    Ok(Renderer::new(&ask.resource, accepted, include))
}

async fn delete_options(
    query: &Query,
    headers: &HeaderMap,
    body: Upload,
) -> Result<DeleteOptions, Status> {
    let body = input::read(body).await?;
    DeleteOptions::new(query, input::delete_options(headers, &body)?)
}

fn written_answer(renderer: &Renderer, written: Written) -> Result<Response<Body>, Status> {
    let media: Media = renderer.accepted().media;
    let code = if written.created { 201 } else { 200 };
    let mut response = output::answer(code, media.name(), renderer.answer(written.answer)?);
    output::warn(response.headers_mut(), &written.warnings);
    Ok(response)
}

/// The one parameter of a list that a get has too.
fn only_revision(query: &Query) -> Query {
    Query::parse(&format!("resourceVersion={}", query.get("resourceVersion")))
}

/// A get is never of an exact revision.
fn state_of_get(state: State) -> State {
    match state {
        State::Exact(revision) => State::NotOlderThan(revision),
        state => state,
    }
}
