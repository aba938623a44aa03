//! Containers' logs.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

use super::find::{self, Place};
use super::query::Query;
use super::{Answer, full};
use crate::api::status::Status;
use crate::api::time;
use crate::node::dirs::PodDirs;
use crate::node::shared::Shared;
use crate::runtime::logs::{LogReader, ReadOptions, Stream};
use crate::util::clock;

/// `GET /containerLogs/{namespace}/{pod}/{container}`.
pub(super) fn logs(shared: &Arc<Shared>, place: Place<'_>, query: &Query) -> Answer {
    let (namespace, name, container) = place;
    let options = options(query)?;
    let pod = find::typed(&*find::object(shared, namespace, name)?)?;
    let dirs = PodDirs::of(&shared.config, &pod);
    let newest = newest(&dirs, container);
    let number = attempt(&pod, container, newest, query.is_set(&["previous"]))?;
    let path = dirs.log(container, number);
    let follow = query.is_set(&["follow"]);
    let reader = match follow {
        true => LogReader::follow(&path, options, over(shared, place, number)),
        false => LogReader::open(&path, options),
    };
    let reader = match reader {
        Ok(reader) => reader,
        // Nothing was written yet, or all of it has been rotated away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Response::new(full("")));
        }
        Err(error) => return Err(Status::internal(error.to_string())),
    };
    let chunks = stream::unfold(reader, |mut reader| async move {
        match reader.next().await {
            Ok(Some(chunk)) => Some((Ok(Frame::data(Bytes::from(chunk))), reader)),
            Ok(None) => None,
            Err(error) => Some((Err(error), reader)),
        }
    });
    let mut response = Response::new(StreamBody::new(chunks).boxed_unsync());
    let kind = header::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn options(query: &Query) -> Result<ReadOptions, Status> {
    let number = |name: &str| match query.get(name) {
        "" => Ok(None),
        text => text.parse::<u64>().map(Some).map_err(|_| {
            Status::bad_request(format!("{name} must be a number that is not negative"))
        }),
    };
    let ago = number("sinceSeconds")?.map(|seconds| {
        let age = Duration::from_secs(seconds);
        clock::now().0.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
    });
    let since = match query.get("sinceTime") {
        "" => ago,
        text => Some(
            time::parse(text)
                .ok_or_else(|| Status::bad_request(format!("sinceTime {text:?} is not a time")))?
                .0,
        ),
    };
    let stream = match query.get("stream") {
        "Stdout" => Some(Stream::Stdout),
        "Stderr" => Some(Stream::Stderr),
        _ => None,
    };
    Ok(ReadOptions {
        tail: number("tailLines")?,
        since_ns: since,
        limit_bytes: number("limitBytes")?,
        timestamps: query.is_set(&["timestamps"]),
        stream,
    })
}

/// The newest attempt that has a log.
fn newest(dirs: &PodDirs, container: &str) -> Option<i32> {
    let directory = dirs.log(container, 0);
    let entries = std::fs::read_dir(directory.parent()?).ok()?;
    let number = |name: &Path| name.to_str()?.strip_suffix(".log")?.parse::<i32>().ok();
    entries.flatten().filter_map(|entry| number(Path::new(&entry.file_name()))).max()
}

/// Which attempt's log is meant.
fn attempt(pod: &Pod, container: &str, newest: Option<i32>, previous: bool) -> Result<i32, Status> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = status_of(pod, container);
    let state = status.and_then(|status| status.state.clone()).unwrap_or_default();
    let Some(newest) = newest else {
        let reason = waiting_reason(&state);
        let message =
            format!("container {container:?} in pod {name:?} is waiting to start: {reason}");
        return Err(Status::bad_request(message));
    };
    // One that waits to run again shows its last end both ways.
    let between = state.waiting.is_some();
    match (previous, between) {
        (false, _) | (true, true) => Ok(newest),
        (true, false) if newest > 0 => Ok(newest - 1),
        (true, false) => Err(Status::bad_request(format!(
            "previous terminated container {container:?} in pod {name:?} not found"
        ))),
    }
}

fn waiting_reason(state: &ContainerState) -> String {
    let reason = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
    match reason {
        Some("ImagePullBackOff") => "trying and failing to pull image".to_owned(),
        Some("ErrImagePull") => "image can't be pulled".to_owned(),
        Some(reason) => reason.to_owned(),
        None => "ContainerCreating".to_owned(),
    }
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    lists.into_iter().flatten().flatten().find(|status| status.name == container)
}

/// Resolves when the attempt has ended and will write no more.
fn over(
    shared: &Shared,
    (namespace, name, container): Place<'_>,
    number: i32,
) -> impl Future<Output = ()> + Send + use<> {
    let handle = find::pod(shared, namespace, name).ok();
    let number = number.to_string();
    let running = handle.and_then(|handle| {
        let own = handle.containers().into_iter().find(|status| {
            let label = |key: &str| status.labels.get(key).map(String::as_str);
            label("container") == Some(container) && label("number") == Some(&number)
        })?;
        Some((handle, own.id))
    });
    async move {
        if let Some((handle, id)) = running {
            handle.over(&id).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(state: &str) -> Pod {
        let text = format!(
            r#"{{"metadata":{{"name":"p"}},"status":{{"containerStatuses":[
                {{"name":"c","image":"","imageID":"","ready":false,"restartCount":2,
                  "state":{{{state}}}}}]}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_right_attempt_is_read() {
        let running = pod(r#""running":{}"#);
        let looping = pod(r#""waiting":{"reason":"CrashLoopBackOff"}"#);
        let of = |pod: &Pod, newest, previous| attempt(pod, "c", newest, previous);
        assert_eq!(of(&running, Some(2), false), Ok(2));
        assert_eq!(of(&running, Some(2), true), Ok(1));
        assert_eq!(of(&looping, Some(2), true), Ok(2));
        assert_eq!(
            of(&running, Some(0), true).unwrap_err().message,
            "previous terminated container \"c\" in pod \"p\" not found"
        );
        let waiting = pod(r#""waiting":{"reason":"ImagePullBackOff"}"#);
        assert_eq!(
            of(&waiting, None, false).unwrap_err().message,
            "container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image"
        );
    }

    #[test]
    fn parameters_are_checked() {
        let of = |text: &str| options(&Query::parse(text));
        assert_eq!(of("tailLines=5&timestamps=true").unwrap().tail, Some(5));
        let since = of("sinceTime=2026-11-20T10:00:00Z").unwrap().since_ns;
        assert_eq!(since, Some(1_795_168_800_000_000_000));
        assert!(of("sinceSeconds=10").unwrap().since_ns.is_some());
        for wrong in ["tailLines=-1", "limitBytes=x", "sinceTime=yesterday"] {
            assert_eq!(of(wrong).unwrap_err().code, 400, "{wrong}");
        }
    }
}
