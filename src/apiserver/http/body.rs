//! Answers as ropes of shared bytes: what is stored goes to the socket without a copy of ours.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http_body_util::combinators::BoxBody;
use hyper::body::{Frame, SizeHint};

use super::metrics::Held;
use crate::limits;

/// Bytes in pieces, sent as one.
#[derive(Debug, Clone, Default)]
pub struct Rope {
    parts: VecDeque<Bytes>,
    len: usize,
}

impl Rope {
    /// An empty rope.
    pub const fn new() -> Self {
        Self { parts: VecDeque::new(), len: 0 }
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, part: impl Into<Bytes>) {
        let part = part.into();
        if !part.is_empty() {
            self.len += part.len();
            self.parts.push_back(part);
        }
    }

    /// How many bytes there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order.
    pub fn parts(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter()
    }
}

impl<B: Into<Bytes>> From<B> for Rope {
    fn from(bytes: B) -> Self {
        let mut rope = Self::new();
        rope.push(bytes);
        rope
    }
}

/// Puts a rope together: small pieces are copied into one, large ones shared.
#[derive(Default)]
pub struct Writer {
    rope: Rope,
    tail: Vec<u8>,
}

impl Writer {
    /// Adds text of no long life.
    pub fn text(&mut self, text: impl AsRef<[u8]>) {
        self.tail.extend_from_slice(text.as_ref());
    }

    /// Adds bytes that others hold too.
    pub fn share(&mut self, bytes: Bytes) {
        if bytes.len() < limits::SHARED_BYTES_MIN {
            return self.text(bytes);
        }
        self.rope.push(std::mem::take(&mut self.tail));
        self.rope.push(bytes);
    }

    /// All that was added.
    pub fn finish(mut self) -> Rope {
        self.rope.push(self.tail);
        self.rope
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let filled = out.iter_mut().zip(&self.parts);
        filled.map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "advance beyond the end of a rope");
        self.len -= count;
        while count > 0 {
            let Some(front) = self.parts.front_mut() else { return };
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.parts.pop_front();
        }
    }
}

/// Ropes as they are made. An error ends the answer early, so that a client sees that it is broken.
pub type Ropes = Pin<Box<dyn Stream<Item = io::Result<Rope>> + Send>>;

/// The body of an answer.
pub enum Body {
    /// A body that counts as under way until it is dropped.
    Counted(Box<Self>, Held),
    /// All at once.
    Whole(Rope),
    /// As it is made.
    Ropes(Ropes),
    /// Passed on from another server.
    Passed(BoxBody<Bytes, io::Error>),
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self::Whole(Rope::new())
    }

    /// The same body, counted as under way until it is dropped.
    pub fn holding(self, held: Held) -> Self {
        Self::Counted(Box::new(self), held)
    }

    /// A body that is made while it is sent.
    pub fn stream(ropes: impl Stream<Item = io::Result<Rope>> + Send + 'static) -> Self {
        Self::Ropes(Box::pin(ropes))
    }
}

impl<R: Into<Rope>> From<R> for Body {
    fn from(rope: R) -> Self {
        Self::Whole(rope.into())
    }
}

impl hyper::body::Body for Body {
    type Data = Rope;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Rope>>>> {
        match self.get_mut() {
            Self::Counted(body, _) => Pin::new(&mut **body).poll_frame(cx),
            Self::Whole(rope) if rope.is_empty() => Poll::Ready(None),
            Self::Whole(rope) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(rope))))),
            Self::Ropes(ropes) => {
                ropes.as_mut().poll_next(cx).map(|next| next.map(|rope| rope.map(Frame::data)))
            }
            Self::Passed(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|next| next.map(|frame| frame.map(|frame| frame.map_data(Rope::from)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Counted(body, _) => body.is_end_stream(),
            Self::Whole(rope) => rope.is_empty(),
            Self::Ropes(_) => false,
            Self::Passed(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Counted(body, _) => body.size_hint(),
            Self::Whole(rope) => SizeHint::with_exact(rope.len() as u64),
            Self::Ropes(_) => SizeHint::default(),
            Self::Passed(incoming) => incoming.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pieces_are_shared_and_small_ones_joined() {
        let large = Bytes::from(vec![b'x'; limits::SHARED_BYTES_MIN]);
        let mut writer = Writer::default();
        writer.text("a");
        writer.share(Bytes::from_static(b"b"));
        writer.share(large.clone());
        writer.text("c");
        let rope = writer.finish();
        let parts: Vec<&Bytes> = rope.parts().collect();
        assert_eq!((&parts[0][..], parts[1].as_ptr()), (&b"ab"[..], large.as_ptr()));
        assert_eq!((parts.len(), rope.len()), (3, large.len() + 3));
    }

    #[test]
    fn a_rope_reads_as_one_text() {
        let mut rope = Rope::from("ab");
        rope.push("");
        rope.push("cde");
        assert_eq!((rope.len(), rope.chunk()), (5, &b"ab"[..]));
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(rope.chunks_vectored(&mut slices), 2);
        rope.advance(3);
        assert_eq!((rope.remaining(), rope.chunk()), (2, &b"de"[..]));
        rope.advance(2);
        assert!(rope.is_empty() && !rope.has_remaining());
    }
}
