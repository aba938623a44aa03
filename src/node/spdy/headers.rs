//! Header blocks: pairs of names and values, compressed by one zlib stream per direction.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::SpdyError;
use super::dictionary::dictionary;
use crate::limits::SPDY_HEADERS_BYTES_MAX;

/// The headers of a stream; names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Headers from pairs.
    pub fn new(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| (name.to_lowercase(), (*value).to_owned())).collect())
    }

    /// The first value of a header, empty where it is absent.
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        // Several values of one name are separated by zeros.
        found.map_or("", |(_, value)| value.split('\0').next().unwrap_or_default())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let number = |out: &mut Vec<u8>, n: usize| {
            out.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
        };
        number(&mut out, self.0.len());
        for (name, value) in &self.0 {
            for text in [name, value] {
                number(&mut out, text.len());
                out.extend_from_slice(text.as_bytes());
            }
        }
        out
    }

    fn decode(block: &[u8]) -> Option<Self> {
        let mut rest = block;
        let count = number(&mut rest)?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            let name = text(&mut rest)?;
            pairs.push((name, text(&mut rest)?));
        }
        Some(Self(pairs))
    }
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let (head, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    usize::try_from(u32::from_be_bytes(*head)).ok()
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = number(rest)?;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(String::from_utf8_lossy(head).into_owned())
}

/// Compresses what is sent.
pub(super) struct Packer(Compress);

impl Packer {
    pub(super) fn new() -> Result<Self, SpdyError> {
        let mut zlib = Compress::new(Compression::default(), true);
        zlib.set_dictionary(&dictionary()).map_err(|_| SpdyError::Protocol("no dictionary"))?;
        Ok(Self(zlib))
    }

    pub(super) fn pack(&mut self, headers: &Headers) -> Result<Vec<u8>, SpdyError> {
        let plain = headers.encode();
        // Deflate grows what it cannot shrink by a few bytes per 16 kB.
        let mut out = Vec::with_capacity(plain.len() + plain.len() / 8 + 128);
        let before = self.0.total_in();
        let packed = self.0.compress_vec(&plain, &mut out, FlushCompress::Sync);
        let whole = self.0.total_in() - before == plain.len() as u64 && out.len() < out.capacity();
        match packed {
            Ok(_) if whole => Ok(out),
            _ => Err(SpdyError::Protocol("headers cannot be compressed")),
        }
    }
}

/// Decompresses what is received.
pub(super) struct Unpacker(Decompress);

impl Unpacker {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn unpack(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        let mut out = Vec::with_capacity(SPDY_HEADERS_BYTES_MAX);
        let mut rest = block;
        loop {
            let before = self.0.total_in();
            let result = self.0.decompress_vec(rest, &mut out, FlushDecompress::Sync);
            let used = usize::try_from(self.0.total_in() - before).unwrap_or(rest.len());
            rest = &rest[used.min(rest.len())..];
            match result {
                Ok(Status::Ok | Status::BufError) if rest.is_empty() => break,
                Ok(_) if out.len() == out.capacity() => {
                    return Err(SpdyError::Protocol("headers are too large"));
                }
                Ok(Status::Ok) if used > 0 => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    let set = self.0.set_dictionary(&dictionary());
                    set.map_err(|_| SpdyError::Protocol("unknown header dictionary"))?;
                }
                _ => return Err(SpdyError::Protocol("headers cannot be decompressed")),
            }
        }
        Headers::decode(&out).ok_or(SpdyError::Protocol("headers are malformed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_one_connection_share_their_stream() {
        let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new());
        let first = Headers::new(&[("StreamType", "error"), ("port", "80"), ("requestID", "0")]);
        let packed = packer.pack(&first).unwrap();
        assert_eq!(unpacker.unpack(&packed).unwrap(), first);
        for i in 0..50 {
            let id = i.to_string();
            let next = Headers::new(&[("streamtype", "data"), ("port", "80"), ("requestid", &id)]);
            let packed = packer.pack(&next).unwrap();
            assert_eq!(unpacker.unpack(&packed).unwrap(), next);
        }
        assert_eq!(first.get("streamtype"), "error");
        assert_eq!(first.get("none"), "");
    }

    #[test]
    fn an_empty_block_is_fine_and_nonsense_is_not() {
        let mut packer = Packer::new().unwrap();
        let packed = packer.pack(&Headers::default()).unwrap();
        assert_eq!(Unpacker::new().unpack(&packed).unwrap(), Headers::default());
        assert!(Unpacker::new().unpack(&[1, 2, 3]).is_err());
        assert!(Unpacker::new().unpack(&[]).is_err());
        assert!(Headers::decode(&[0, 0, 0, 9, 0, 0, 0, 200, 1]).is_none());
        let large = "x".repeat(SPDY_HEADERS_BYTES_MAX * 2);
        let packed = packer.pack(&Headers::new(&[("a", &large)])).unwrap();
        assert!(Unpacker::new().unpack(&packed).is_err());
    }
}
