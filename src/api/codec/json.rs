//! JSON text to trees. Grammar, leniency and error texts are those of Go's `encoding/json`, which
//! clients know: invalid UTF-8 and lone surrogates become U+FFFD, nothing may follow the value.

use super::source::{Number, Piece, Source, Token};
use super::{Decoded, Error, scalar, typed};
use crate::api::schema::Schema;

/// Decodes one object.
///
/// # Errors
/// Text that is not JSON, values of the wrong type, and what is beyond the limits.
pub fn decode(text: &[u8], schema: &Schema) -> Result<Decoded, Error> {
    typed::decode(Parser::new(text), schema.root())
}

/// The `apiVersion` and `kind` of an object, without decoding the rest; empty where absent.
///
/// # Errors
/// Text that is not JSON, or where the two are not strings.
pub fn type_meta(text: &[u8]) -> Result<(String, String), Error> {
    // A type that has the two fields and no `metadata`.
    let meta = Schema::of("meta.k8s.io", "v1", "GetOptions").unwrap_or_default();
    let what = "couldn't get version/kind; json parse error";
    let decoded = decode(text, &meta).map_err(|error| match error {
        Error::Type(error) => {
            Error::Type(format!("{what}: {}", error.replace("GetOptions.TypeMeta.", ".")))
        }
        Error::Syntax(error) => Error::Syntax(format!("{what}: {error}")),
        error => error,
    })?;
    let text = |key| decoded.value.get(key).str().to_owned();
    Ok((text("apiVersion"), text("kind")))
}

/// A parser over a whole text.
pub(super) struct Parser<'s> {
    text: &'s [u8],
    at: usize,
}

impl<'s> Parser<'s> {
    pub(super) fn new(text: &'s [u8]) -> Self {
        Self { text, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The next byte that is not white space.
    fn peek_solid(&mut self) -> Option<u8> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.peek()
    }

    /// What stands at the present place does not belong there.
    fn unexpected<T>(&self, context: &str) -> Result<T, Error> {
        Err(Error::Syntax(match self.peek() {
            None => "unexpected end of JSON input".to_owned(),
            Some(byte) => format!("invalid character {} {context}", quote_byte(byte)),
        }))
    }

    fn literal(&mut self, word: &str) -> Result<(), Error> {
        for byte in word.bytes() {
            if self.peek() != Some(byte) {
                let expecting = quote_byte(byte);
                return self.unexpected(&format!("in literal {word} (expecting {expecting})"));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn digits(&mut self, context: &str) -> Result<(), Error> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.unexpected(context);
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<&'s str, Error> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default())
    }

    /// A string, the opening quote being at the present place.
    fn string(&mut self) -> Result<Piece<'s>, Error> {
        self.at += 1;
        let start = self.at;
        self.plain()?;
        if self.peek() == Some(b'"') {
            let plain = &self.text[start..self.at];
            self.at += 1;
            return Ok(scalar::text(plain).into());
        }
        let mut out = self.text[start..self.at].to_vec();
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape(&mut out)?,
                _ => {
                    let start = self.at;
                    self.plain()?;
                    out.extend_from_slice(&self.text[start..self.at]);
                }
            }
        }
        self.at += 1;
        Ok(Piece::Own(scalar::text(&out).into()))
    }

    /// Passes what needs no treatment, up to a quote or an escape.
    fn plain(&mut self) -> Result<(), Error> {
        loop {
            match self.peek() {
                Some(b'"' | b'\\') => return Ok(()),
                None | Some(0..0x20) => return self.unexpected("in string literal"),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.at += 1;
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                self.at += 1;
                let char = self.code_point()?;
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.unexpected("in string escape code"),
        };
        self.at += 1;
        out.push(plain);
        Ok(())
    }

    /// The character of `\uXXXX`, or of two of them that are a surrogate pair.
    fn code_point(&mut self) -> Result<char, Error> {
        let first = self.hex()?;
        if !(0xD800..0xDC00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let behind = self.at;
        if self.text[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.hex()?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        self.at = behind;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return self.unexpected("in \\u hexadecimal character escape");
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

impl<'s> Source<'s> for Parser<'s> {
    fn value(&mut self) -> Result<Token<'s>, Error> {
        Ok(match self.peek_solid() {
            Some(b'{') => {
                self.at += 1;
                Token::Object
            }
            Some(b'[') => {
                self.at += 1;
                Token::Array
            }
            Some(b'"') => Token::Str(self.string()?),
            Some(b'-' | b'0'..=b'9') => Token::Number(Number::Text(self.number()?)),
            Some(b't') => {
                self.literal("true")?;
                Token::Bool(true)
            }
            Some(b'f') => {
                self.literal("false")?;
                Token::Bool(false)
            }
            Some(b'n') => {
                self.literal("null")?;
                Token::Null
            }
            _ => return self.unexpected("looking for beginning of value"),
        })
    }

    fn item(&mut self, first: bool) -> Result<bool, Error> {
        match self.peek_solid() {
            Some(b']') => {
                self.at += 1;
                Ok(false)
            }
            _ if first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => self.unexpected("after array element"),
        }
    }

    fn key(&mut self, first: bool) -> Result<Option<Piece<'s>>, Error> {
        match self.peek_solid() {
            Some(b'}') => {
                self.at += 1;
                return Ok(None);
            }
            _ if first => {}
            Some(b',') => self.at += 1,
            _ => return self.unexpected("after object key:value pair"),
        }
        if self.peek_solid() != Some(b'"') {
            return self.unexpected("looking for beginning of object key string");
        }
        let key = self.string()?;
        if self.peek_solid() != Some(b':') {
            return self.unexpected("after object key");
        }
        self.at += 1;
        Ok(Some(key))
    }

    fn end(&mut self) -> Result<(), Error> {
        match self.peek_solid() {
            None => Ok(()),
            Some(_) => self.unexpected("after top-level value"),
        }
    }
}

/// A byte as Go's JSON errors show it.
fn quote_byte(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        byte => {
            let quoted = scalar::quote(&char::from(byte).to_string());
            format!("'{}'", quoted.trim_matches('"'))
        }
    }
}
