//! Frames to bytes and back.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::SpdyError;
use super::headers::{Headers, Packer, Unpacker};
use crate::limits::SPDY_FRAME_BYTES_MAX;

/// Bytes before every frame's payload.
const HEAD: usize = 8;
const CONTROL: u32 = 0x8000_0000;
const VERSION: u32 = 3;
const FLAG_FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// One frame; those that need no answer are [`Frame::Other`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// The client opens a stream.
    SynStream { id: u32, fin: bool, headers: Headers },
    /// The stream is accepted.
    SynReply { id: u32, headers: Headers },
    /// The stream is broken off.
    Reset { id: u32, status: u32 },
    /// To be sent back.
    Ping(u32),
    /// No more streams will be opened.
    GoAway { last: u32 },
    /// Bytes of a stream; `fin` closes the sender's half.
    Data { id: u32, fin: bool, bytes: Bytes },
    /// Headers after the first, settings, window updates.
    Other,
}

/// Takes the next frame off what was received; none while it is incomplete.
pub(super) fn decode(
    buffer: &mut BytesMut,
    unpacker: &mut Unpacker,
) -> Result<Option<Frame>, SpdyError> {
    let Some(head) = buffer.first_chunk::<HEAD>() else { return Ok(None) };
    let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let flags = head[4];
    let length = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
    if length > SPDY_FRAME_BYTES_MAX {
        return Err(SpdyError::Protocol("a frame is too large"));
    }
    if buffer.len() < HEAD + length {
        buffer.reserve(HEAD + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEAD);
    let payload = buffer.split_to(length).freeze();
    let fin = flags & FLAG_FIN != 0;
    if first & CONTROL == 0 {
        return Ok(Some(Frame::Data { id: first, fin, bytes: payload }));
    }
    if (first & !CONTROL) >> 16 != VERSION {
        return Err(SpdyError::Protocol("only version 3 is spoken"));
    }
    let kind = u16::try_from(first & 0xffff).unwrap_or(0);
    control(kind, fin, payload, unpacker).map(Some)
}

fn control(
    kind: u16,
    fin: bool,
    mut payload: Bytes,
    unpacker: &mut Unpacker,
) -> Result<Frame, SpdyError> {
    let mut number = || payload.try_get_u32().map_err(|_| SpdyError::Protocol("cut short"));
    Ok(match kind {
        SYN_STREAM => {
            let id = number()? & !CONTROL;
            // Associated stream, priority and slot mean nothing here.
            number()?;
            payload.try_get_u16().map_err(|_| SpdyError::Protocol("cut short"))?;
            Frame::SynStream { id, fin, headers: unpacker.unpack(&payload)? }
        }
        SYN_REPLY => {
            let id = number()? & !CONTROL;
            Frame::SynReply { id, headers: unpacker.unpack(&payload)? }
        }
        HEADERS => {
            number()?;
            // The compression's state depends on every block.
            unpacker.unpack(&payload)?;
            Frame::Other
        }
        RST_STREAM => Frame::Reset { id: number()? & !CONTROL, status: number()? },
        PING => Frame::Ping(number()?),
        GOAWAY => Frame::GoAway { last: number()? & !CONTROL },
        _ => Frame::Other,
    })
}

/// Appends a frame. The bytes of data frames are not copied: they follow what this returns.
pub(super) fn encode(
    frame: &Frame,
    packer: &mut Packer,
    out: &mut BytesMut,
) -> Result<Bytes, SpdyError> {
    match frame {
        Frame::SynStream { id, fin, headers } => {
            let block = packer.pack(headers)?;
            head(out, SYN_STREAM, *fin, block.len() + 10);
            out.put_u32(*id);
            out.put_u32(0);
            out.put_u16(0);
            out.put_slice(&block);
        }
        Frame::SynReply { id, headers } => {
            let block = packer.pack(headers)?;
            head(out, SYN_REPLY, false, block.len() + 4);
            out.put_u32(*id);
            out.put_slice(&block);
        }
        Frame::Reset { id, status } => numbers(out, RST_STREAM, &[*id, *status]),
        Frame::Ping(id) => numbers(out, PING, &[*id]),
        Frame::GoAway { last } => numbers(out, GOAWAY, &[*last, 0]),
        Frame::Data { id, fin, bytes } => {
            out.put_u32(*id);
            length(out, *fin, bytes.len());
            return Ok(bytes.clone());
        }
        Frame::Other => {}
    }
    Ok(Bytes::new())
}

fn numbers(out: &mut BytesMut, kind: u16, numbers: &[u32]) {
    head(out, kind, false, numbers.len() * 4);
    numbers.iter().for_each(|number| out.put_u32(*number));
}

fn head(out: &mut BytesMut, kind: u16, fin: bool, payload: usize) {
    out.put_u32(CONTROL | VERSION << 16 | u32::from(kind));
    length(out, fin, payload);
}

fn length(out: &mut BytesMut, fin: bool, payload: usize) {
    out.put_u8(if fin { FLAG_FIN } else { 0 });
    out.put_uint(payload as u64, 3);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(frame: &Frame) -> Frame {
        let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new());
        let mut out = BytesMut::new();
        let tail = encode(frame, &mut packer, &mut out).unwrap();
        out.extend_from_slice(&tail);
        // Byte by byte: a frame may arrive in any pieces.
        let mut buffer = BytesMut::new();
        for (i, byte) in out.iter().enumerate() {
            buffer.put_u8(*byte);
            match decode(&mut buffer, &mut unpacker).unwrap() {
                Some(frame) => {
                    assert_eq!((i + 1, buffer.len()), (out.len(), 0));
                    return frame;
                }
                None => assert!(i + 1 < out.len()),
            }
        }
        panic!("no frame");
    }

    #[test]
    fn frames_come_back() {
        let headers = Headers::new(&[("streamtype", "stdin")]);
        let frames = [
            Frame::SynStream { id: 1, fin: true, headers: headers.clone() },
            Frame::SynReply { id: 1, headers },
            Frame::Reset { id: 3, status: 5 },
            Frame::Ping(7),
            Frame::GoAway { last: 9 },
            Frame::Data { id: 5, fin: false, bytes: Bytes::from_static(b"hello") },
            Frame::Data { id: 5, fin: true, bytes: Bytes::new() },
        ];
        for frame in frames {
            assert_eq!(there_and_back(&frame), frame);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |bytes: &[u8]| {
            let mut buffer = BytesMut::from(bytes);
            decode(&mut buffer, &mut Unpacker::new()).is_err()
        };
        assert!(refused(&[0x80, 2, 0, 1, 0, 0, 0, 0]), "version 2");
        assert!(refused(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff]), "16 MB");
        assert!(refused(&[0x80, 3, 0, 1, 0, 0, 0, 2, 0, 0]), "cut short");
        assert!(refused(&[0x80, 3, 0, 2, 0, 0, 0, 5, 0, 0, 0, 1, 9]), "bad headers");
        assert!(!refused(&[0x80, 3, 0, 4, 0, 0, 0, 0]), "settings are ignored");
    }
}
