//! Text to tokens.

use super::ast::Literal;
use super::fault::Fault;

/// A word of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A name.
    Ident(String),
    /// A name between backquotes, which may stand only after a dot.
    Quoted(String),
    /// A constant.
    Literal(Literal),
    /// An operator or bracket.
    Sign(&'static str),
    /// The end of the text.
    End,
}

/// A token, where it stands in characters, and its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Lexeme {
    /// The token.
    pub token: Token,
    /// Where it begins.
    pub place: u32,
    /// As it was written.
    pub text: String,
}

const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":",
    "+", "*", "/", "%", "<", ">",
];

/// The tokens of a text.
///
/// # Errors
/// The first sign or constant that is none.
pub fn tokens(text: &str) -> Result<Vec<Lexeme>, Fault> {
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0 };
    let mut found = Vec::new();
    loop {
        lexer.space();
        let place = lexer.at;
        let token = lexer.token()?;
        let end = token == Token::End;
        let text = if end { "<EOF>".into() } else { chars[place..lexer.at].iter().collect() };
        found.push(Lexeme { token, place: u32::try_from(place).unwrap_or(u32::MAX), text });
        if end {
            return Ok(found);
        }
    }
}

struct Lexer<'c> {
    chars: &'c [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn fault(&self, place: usize, why: &str) -> Fault {
        Fault::at(u32::try_from(place).unwrap_or(u32::MAX), why)
    }

    /// Skips white space and comments.
    fn space(&mut self) {
        while self.at < self.chars.len() {
            match self.peek(0) {
                ' ' | '\t' | '\n' | '\r' | '\u{c}' => self.at += 1,
                '/' if self.peek(1) == '/' => {
                    while self.at < self.chars.len() && self.peek(0) != '\n' {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn token(&mut self) -> Result<Token, Fault> {
        if self.at >= self.chars.len() {
            return Ok(Token::End);
        }
        let first = self.peek(0);
        if let Some(prefix) = self.quote_prefix() {
            return self.text(prefix);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            return Ok(self.word());
        }
        if first.is_ascii_digit() || (first == '.' && self.peek(1).is_ascii_digit()) {
            return self.number();
        }
        if first == '`' {
            return self.backquoted();
        }
        let sign = SIGNS.iter().find(|sign| {
            sign.chars().enumerate().all(|(ahead, wanted)| self.peek(ahead) == wanted)
        });
        let Some(sign) = sign else {
            let why = format!("Syntax error: token recognition error at: '{first}'");
            return Err(self.fault(self.at, &why));
        };
        self.at += sign.len();
        Ok(Token::Sign(sign))
    }

    fn word(&mut self) -> Token {
        let from = self.at;
        while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == '_' {
            self.at += 1;
        }
        let word: String = self.chars[from..self.at].iter().collect();
        match word.as_str() {
            "true" => Token::Literal(Literal::Bool(true)),
            "false" => Token::Literal(Literal::Bool(false)),
            "null" => Token::Literal(Literal::Null),
            "in" => Token::Sign("in"),
            _ => Token::Ident(word),
        }
    }

    fn backquoted(&mut self) -> Result<Token, Fault> {
        let from = self.at;
        self.at += 1;
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' ');
        while part(self.peek(0)) {
            self.at += 1;
        }
        if self.peek(0) != '`' || self.at == from + 1 {
            return Err(self.fault(from, "Syntax error: token recognition error at: '`'"));
        }
        let name = self.chars[from + 1..self.at].iter().collect();
        self.at += 1;
        Ok(Token::Quoted(name))
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let from = self.at;
        if self.peek(0) == '0'
            && matches!(self.peek(1), 'x' | 'X')
            && self.peek(2).is_ascii_hexdigit()
        {
            self.at += 2;
            let digits = self.digits(|c| c.is_ascii_hexdigit());
            return self.whole(from, &digits, 16);
        }
        let mut text = self.digits(|c| c.is_ascii_digit());
        let mut real = false;
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            real = true;
            self.at += 1;
            text = format!("{text}.{}", self.digits(|c| c.is_ascii_digit()));
        }
        if let Some(exponent) = self.exponent() {
            real = true;
            text.push_str(&exponent);
        }
        if !real {
            return self.whole(from, &text, 10);
        }
        let number = text.parse().map_err(|_| self.fault(from, "invalid double literal"))?;
        Ok(Token::Literal(Literal::Double(number)))
    }

    fn digits(&mut self, is_digit: impl Fn(char) -> bool) -> String {
        let from = self.at;
        while is_digit(self.peek(0)) {
            self.at += 1;
        }
        self.chars[from..self.at].iter().collect()
    }

    fn exponent(&mut self) -> Option<String> {
        if !matches!(self.peek(0), 'e' | 'E') {
            return None;
        }
        let signed = matches!(self.peek(1), '+' | '-');
        if !self.peek(if signed { 2 } else { 1 }).is_ascii_digit() {
            return None;
        }
        let sign = if signed { self.peek(1).to_string() } else { String::new() };
        self.at += if signed { 2 } else { 1 };
        Some(format!("e{sign}{}", self.digits(|c| c.is_ascii_digit())))
    }

    /// An integer. The smallest one is too large without its sign, so that it is kept as a
    /// negative number that the parser turns around.
    fn whole(&mut self, from: usize, digits: &str, radix: u32) -> Result<Token, Fault> {
        if matches!(self.peek(0), 'u' | 'U') {
            self.at += 1;
            let number = u64::from_str_radix(digits, radix)
                .map_err(|_| self.fault(from, "invalid uint literal"))?;
            return Ok(Token::Literal(Literal::Uint(number)));
        }
        let number = u64::from_str_radix(digits, radix)
            .map_err(|_| self.fault(from, "invalid int literal"))?;
        match i64::try_from(number) {
            Ok(number) => Ok(Token::Literal(Literal::Int(number))),
            Err(_) if number == 1 << 63 => Ok(Token::Literal(Literal::Int(i64::MIN))),
            Err(_) => Err(self.fault(from, "invalid int literal")),
        }
    }

    /// Whether a text begins here: whether it is raw, and of bytes.
    fn quote_prefix(&self) -> Option<(usize, bool, bool)> {
        let (mut raw, mut bytes) = (false, false);
        for ahead in 0..3 {
            match self.peek(ahead) {
                '\'' | '"' => return Some((ahead, raw, bytes)),
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes => bytes = true,
                _ => return None,
            }
        }
        None
    }

    fn text(&mut self, (prefix, raw, bytes): (usize, bool, bool)) -> Result<Token, Fault> {
        let from = self.at;
        self.at += prefix;
        let quote = self.peek(0);
        let long = self.peek(1) == quote && self.peek(2) == quote;
        self.at += if long { 3 } else { 1 };
        let mut made = Made { bytes, out: Vec::new() };
        loop {
            let next = self.peek(0);
            let closed = next == quote && (!long || (self.peek(1), self.peek(2)) == (quote, quote));
            if closed && self.at < self.chars.len() {
                self.at += if long { 3 } else { 1 };
                return made.token().ok_or_else(|| self.fault(from, "invalid string literal"));
            }
            let broken = !long && matches!(next, '\n' | '\r');
            if self.at >= self.chars.len() || broken {
                return Err(self.unknown(from));
            }
            self.at += 1;
            match next {
                '\\' if !raw => self.escape(from, &mut made)?,
                other => made.char(other),
            }
        }
    }

    /// `from` is where the text begins.
    fn escape(&mut self, from: usize, made: &mut Made) -> Result<(), Fault> {
        let sign = self.peek(0);
        self.at += 1;
        let simple = match sign {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '\'' | '"' | '`' | '?' => sign,
            _ => '\0',
        };
        if simple != '\0' {
            made.char(simple);
            return Ok(());
        }
        let (digits, radix) = match sign {
            'x' | 'X' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='3' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return Err(self.unknown(from)),
        };
        let end = (self.at + digits).min(self.chars.len());
        let text: String = self.chars[self.at..end].iter().collect();
        self.at = end;
        let whole = text.chars().count() == digits && text.chars().all(|c| c.is_digit(radix));
        let code = u32::from_str_radix(&text, radix).ok().filter(|_| whole);
        let wide = matches!(sign, 'u' | 'U');
        code.and_then(|code| made.code(code, wide)).ok_or_else(|| self.unknown(from))
    }

    /// What was read since `from` is no text.
    fn unknown(&self, from: usize) -> Fault {
        let seen: String = self.chars[from..self.at.min(self.chars.len())].iter().collect();
        self.fault(from, &format!("Syntax error: token recognition error at: '{seen}'"))
    }
}

/// A text that is being read.
struct Made {
    bytes: bool,
    out: Vec<u8>,
}

impl Made {
    fn char(&mut self, c: char) {
        self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// A numbered character; in bytes a number below 256 is a byte, and wide ones are not known.
    fn code(&mut self, code: u32, wide: bool) -> Option<()> {
        match (self.bytes, wide) {
            (true, true) => return None,
            (true, false) => self.out.push(u8::try_from(code).ok()?),
            (false, _) => self.char(char::from_u32(code)?),
        }
        Some(())
    }

    fn token(self) -> Option<Token> {
        Some(Token::Literal(match self.bytes {
            true => Literal::Bytes(self.out),
            false => Literal::Str(String::from_utf8(self.out).ok()?),
        }))
    }
}
