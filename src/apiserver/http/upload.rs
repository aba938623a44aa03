//! The body of a request, from which nothing is left on the connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;

use crate::limits;

/// What a client sends after the head of its request.
///
/// What nobody has read when it is dropped is taken off the connection, within reason. Otherwise
/// the protocol breaks the stream off when a request is refused before its body was read, and there
/// are clients that take this for a failure and look at no answer.
pub struct Upload(Option<Incoming>);

impl Upload {
    /// The body of a request that has just come.
    pub const fn new(body: Incoming) -> Self {
        Self(Some(body))
    }

    /// Takes what is left, within reason: some clients read no answer before they have sent all.
    pub async fn discard(mut self) {
        if let Some(body) = self.0.take() {
            discard(body).await;
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().0 {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        // Without a runtime there is no connection either.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(tokio::time::timeout(limits::REQUEST_DISCARD_TIMEOUT, discard(body)));
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut left = limits::REQUEST_DISCARD_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        if length > left {
            return;
        }
        left -= length;
    }
}
