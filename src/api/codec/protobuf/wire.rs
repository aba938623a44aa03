//! The wire format: varints, tags and lengths.

use super::super::{Error, scalar};

/// A value of an unknown type as it stands on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// A fixed 32-bit value or a group: nothing that Kubernetes uses.
    Other,
}

fn malformed(what: &str) -> Error {
    Error::Syntax(what.to_owned())
}

impl<'a> Raw<'a> {
    const fn wire_type(self) -> u32 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Other => 5,
        }
    }

    fn wrong(self, number: u32) -> Error {
        let wire = self.wire_type();
        Error::Syntax(format!("proto: wrong wireType = {wire} for field {number}"))
    }

    pub(super) fn bytes(self, number: u32) -> Result<&'a [u8], Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(other.wrong(number)),
        }
    }

    /// A string; what is not UTF-8 is replaced, as when Go writes it in JSON.
    pub(super) fn text(self, number: u32) -> Result<String, Error> {
        Ok(scalar::text(self.bytes(number)?).into_owned())
    }

    #[allow(clippy::cast_possible_wrap, reason = "negative numbers stand as two's complement")]
    pub(super) fn int(self, number: u32) -> Result<i64, Error> {
        match self {
            Self::Varint(value) => Ok(value as i64),
            other => Err(other.wrong(number)),
        }
    }

    pub(super) fn double(self, number: u32) -> Result<f64, Error> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            other => Err(other.wrong(number)),
        }
    }
}

/// Reads the fields of one message.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value; `None` at the end of the message.
    pub(super) fn field(&mut self) -> Result<Option<(u32, Raw<'a>)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| malformed("proto: integer overflow"))?;
        if number == 0 {
            let wire = tag & 7;
            return Err(Error::Syntax(format!("proto: illegal tag 0 (wire type {wire})")));
        }
        Ok(Some((number, self.value(tag & 7)?)))
    }

    fn value(&mut self, wire_type: u64) -> Result<Raw<'a>, Error> {
        Ok(match wire_type {
            0 => Raw::Varint(self.varint()?),
            1 => {
                let bytes = self.take(8)?.try_into().unwrap_or_default();
                Raw::Fixed64(u64::from_le_bytes(bytes))
            }
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).map_err(|_| malformed("unexpected EOF"))?;
                Raw::Bytes(self.take(len)?)
            }
            3 => {
                self.skip_group()?;
                Raw::Other
            }
            5 => {
                self.take(4)?;
                Raw::Other
            }
            4 => return Err(malformed("proto: unexpected end of group")),
            other => return Err(Error::Syntax(format!("proto: illegal wireType {other}"))),
        })
    }

    /// Passes the fields of a group, and those of groups in it.
    fn skip_group(&mut self) -> Result<(), Error> {
        let mut open = 1_usize;
        while open > 0 {
            match self.varint()? & 7 {
                3 => open += 1,
                4 => open -= 1,
                wire_type => {
                    self.value(wire_type)?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or_else(|| malformed("unexpected EOF"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed("proto: integer overflow"))
    }
}

/// Writes a message from its end to its beginning: when a nested message's length is due, the
/// message is already there. Fields must be written in descending order.
pub(in crate::api) struct Writer {
    /// The message is at the end of this.
    buffer: Vec<u8>,
    start: usize,
}

impl Writer {
    pub(in crate::api) fn with_capacity(capacity: usize) -> Self {
        Self { buffer: vec![0; capacity], start: capacity }
    }

    /// How many bytes have been written.
    pub(in crate::api) const fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The message.
    pub(in crate::api) fn finish(mut self) -> Vec<u8> {
        self.buffer.drain(..self.start);
        self.buffer
    }

    /// Puts bytes before all that has been written.
    pub(in crate::api) fn raw(&mut self, bytes: &[u8]) {
        if self.start < bytes.len() {
            let grown = (self.buffer.len() * 2).max(self.len() + bytes.len()).max(64);
            let mut buffer = vec![0; grown];
            let start = grown - self.len();
            buffer[start..].copy_from_slice(&self.buffer[self.start..]);
            (self.buffer, self.start) = (buffer, start);
        }
        self.start -= bytes.len();
        self.buffer[self.start..self.start + bytes.len()].copy_from_slice(bytes);
    }

    fn raw_varint(&mut self, mut value: u64) {
        let mut bytes = [0; 10];
        let mut len = 0;
        loop {
            bytes[len] = (value & 0x7f) as u8 | 0x80;
            value >>= 7;
            len += 1;
            if value == 0 {
                break;
            }
        }
        bytes[len - 1] &= 0x7f;
        self.raw(&bytes[..len]);
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        self.raw_varint(u64::from(number << 3 | wire_type));
    }

    /// A varint field.
    #[allow(clippy::cast_sign_loss, reason = "negative numbers stand as two's complement")]
    pub(in crate::api) fn int(&mut self, number: u32, value: i64) {
        self.raw_varint(value as u64);
        self.tag(number, 0);
    }

    /// A double field.
    pub(in crate::api) fn double(&mut self, number: u32, value: f64) {
        self.raw(&value.to_le_bytes());
        self.tag(number, 1);
    }

    /// A string or bytes field.
    pub(in crate::api) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.raw(bytes);
        self.raw_varint(bytes.len() as u64);
        self.tag(number, 2);
    }

    /// A message field, whose fields `write` writes.
    pub(in crate::api) fn nested<E>(
        &mut self,
        number: u32,
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let behind = self.len();
        write(self)?;
        self.close(number, behind);
        Ok(())
    }

    /// Makes a field of all that was written since there were `behind` bytes.
    pub(in crate::api) fn close(&mut self, number: u32, behind: usize) {
        self.raw_varint((self.len() - behind) as u64);
        self.tag(number, 2);
    }
}
