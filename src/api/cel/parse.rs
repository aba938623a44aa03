//! Tokens to a tree.
//!
//! By precedence climbing. What can grow without end is bounded before anything walks the tree:
//! its depth, and the text that it is made from.

use super::ast::{Id, Kind, Literal, Made, Tree};
use super::fault::Fault;
use super::lex::{Lexeme, Token, tokens};
use super::macros;

/// How deep an expression may be: as cel-go.
pub const DEPTH_MAX: u16 = 250;
/// How long an expression may be, in characters: as cel-go.
pub const TEXT_MAX: usize = 100_000;

/// Words that no identifier may be, besides those of the literals and `in`.
pub(super) const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// What may begin an operand, in the words of cel-go's grammar.
const OPERAND: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, \
                       NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Binary operators: sign, function, how tightly they bind.
const OPERATORS: &[(&str, &str, u8)] = &[
    ("||", "_||_", 1),
    ("&&", "_&&_", 2),
    ("<", "_<_", 3),
    ("<=", "_<=_", 3),
    (">", "_>_", 3),
    (">=", "_>=_", 3),
    ("==", "_==_", 3),
    ("!=", "_!=_", 3),
    ("in", "@in", 3),
    ("+", "_+_", 4),
    ("-", "_-_", 4),
    ("*", "_*_", 5),
    ("/", "_/_", 5),
    ("%", "_%_", 5),
];

/// The tree of a text.
///
/// # Errors
/// The first fault of its syntax.
pub fn parse(text: &str) -> Result<Tree, Fault> {
    let size = text.chars().count();
    if size > TEXT_MAX {
        let why =
            format!("expression code point size exceeds limit: size: {size}, limit {TEXT_MAX}");
        return Err(Fault::at(0, why));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, tree: Tree::default(), open: 0 };
    let root = parser.expression()?;
    if *parser.token() != Token::End {
        return Err(parser.unexpected("<EOF>"));
    }
    parser.tree.root = root;
    Ok(parser.tree)
}

/// A parser, and what it has made so far.
pub(super) struct Parser {
    tokens: Vec<Lexeme>,
    at: usize,
    /// What was made so far.
    pub(super) tree: Tree,
    /// Brackets that are open around this place.
    open: u16,
}

impl Parser {
    fn token(&self) -> &Token {
        &self.lexeme().token
    }

    fn lexeme(&self) -> &Lexeme {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.token(), Token::Sign(found) if *found == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let there = self.is(sign);
        self.at += usize::from(there);
        there
    }

    fn place(&self) -> u32 {
        self.lexeme().place
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let found = self.lexeme();
        let way = if wanted == "<EOF>" { "extraneous" } else { "mismatched" };
        let text = &found.text;
        let why = format!("Syntax error: {way} input '{text}' expecting {wanted}");
        Fault::at(found.place, why)
    }

    fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        match self.take(sign) {
            true => Ok(()),
            false if *self.token() == Token::End && matches!(sign, ")" | "]" | "}") => {
                let why = format!("Syntax error: missing '{sign}' at '<EOF>'");
                Err(Fault::at(self.place(), why))
            }
            false => Err(self.unexpected(&format!("'{sign}'"))),
        }
    }

    /// Adds a node, unless it would be too deep.
    pub(super) fn add(&mut self, kind: Kind, place: u32) -> Result<Id, Fault> {
        let id = self.tree.add(kind, place);
        match self.tree.depth(id) > DEPTH_MAX {
            true => Err(too_deep(place)),
            false => Ok(id),
        }
    }

    /// Adds a call of a function.
    pub(super) fn call(&mut self, name: &str, args: Vec<Id>, place: u32) -> Result<Id, Fault> {
        self.add(Kind::Call { name: name.into(), target: None, args }, place)
    }

    /// Goes into a bracket.
    fn within<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.open += 1;
        if self.open > DEPTH_MAX {
            return Err(too_deep(self.place()));
        }
        let made = inner(self);
        self.open -= 1;
        made
    }

    fn expression(&mut self) -> Result<Id, Fault> {
        let condition = self.binary(1)?;
        let place = self.place();
        if !self.take("?") {
            return Ok(condition);
        }
        let (yes, no) = self.within(|parser| {
            let yes = parser.binary(1)?;
            parser.expect(":")?;
            Ok((yes, parser.expression()?))
        })?;
        self.call("_?_:_", vec![condition, yes, no], place)
    }

    fn binary(&mut self, least: u8) -> Result<Id, Fault> {
        let mut left = self.unary()?;
        loop {
            let Token::Sign(sign) = *self.token() else { return Ok(left) };
            let found =
                OPERATORS.iter().find(|(known, _, tight)| *known == sign && *tight >= least);
            let Some((_, name, tight)) = found else { return Ok(left) };
            let place = self.place();
            self.at += 1;
            let right = self.binary(tight + 1)?;
            left = self.join(name, left, right, place)?;
        }
    }

    /// A binary call; `a && b && c` becomes one call of three, so that long rules are not deep.
    fn join(&mut self, name: &str, left: Id, right: Id, place: u32) -> Result<Id, Fault> {
        if matches!(name, "_&&_" | "_||_")
            && let Kind::Call { name: before, target: None, args } = self.tree.kind(left)
            && before == name
        {
            let mut args = args.clone();
            args.push(right);
            let place = self.tree.place(left);
            return self.call(name, args, place);
        }
        self.call(name, vec![left, right], place)
    }

    fn unary(&mut self) -> Result<Id, Fault> {
        let place = self.place();
        for (sign, name) in [("!", "!_"), ("-", "-_")] {
            let mut count = 0;
            while self.take(sign) {
                count += 1;
            }
            if count > 0 {
                return self.signed(sign, name, count, place);
            }
        }
        let primary = self.primary()?;
        self.members(primary)
    }

    /// An even number of signs cancels out; a sign before a number is the number's.
    fn signed(&mut self, sign: &str, name: &str, count: u32, place: u32) -> Result<Id, Fault> {
        let literal = match self.token() {
            Token::Literal(literal) if sign == "-" && count == 1 => match literal {
                Literal::Int(number) => Some(Literal::Int(number.wrapping_neg())),
                Literal::Double(number) => Some(Literal::Double(-number)),
                _ => None,
            },
            _ => None,
        };
        let operand = match literal {
            Some(literal) => {
                self.at += 1;
                let made = self.add(Kind::Literal(literal), place)?;
                return self.members(made);
            }
            None => {
                let primary = self.primary()?;
                self.members(primary)?
            }
        };
        match count % 2 {
            0 => Ok(operand),
            _ => self.call(name, vec![operand], place),
        }
    }

    fn primary(&mut self) -> Result<Id, Fault> {
        let Lexeme { token, place, .. } = self.lexeme().clone();
        match token {
            Token::Literal(Literal::Int(i64::MIN)) => Err(Fault::at(place, "invalid int literal")),
            Token::Literal(literal) => {
                self.at += 1;
                self.add(Kind::Literal(literal), place)
            }
            Token::Ident(name) => {
                self.at += 1;
                self.named(name, place)
            }
            Token::Sign("(") => {
                self.at += 1;
                let inner = self.within(Self::expression)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                self.at += 1;
                let items = self.within(|parser| parser.items("]"))?;
                self.add(Kind::List(items), place)
            }
            Token::Sign("{") => {
                self.at += 1;
                let entries = self.within(Self::entries)?;
                self.add(Kind::Map(entries), place)
            }
            Token::Sign(".") => {
                self.at += 1;
                let Token::Ident(name) = self.token().clone() else {
                    return Err(self.unexpected("IDENTIFIER"));
                };
                self.at += 1;
                self.named(name, place)
            }
            _ => Err(self.unexpected(OPERAND)),
        }
    }

    /// A variable, or a call of a function that has no receiver.
    fn named(&mut self, name: String, place: u32) -> Result<Id, Fault> {
        if RESERVED.contains(&name.as_str()) {
            return Err(Fault::at(place, format!("reserved identifier: {name}")));
        }
        let open = self.place();
        if !self.take("(") {
            return self.add(Kind::Ident(name), place);
        }
        let args = self.within(Self::arguments)?;
        if let Some(unfolded) = macros::global(self, &name, &args, open)? {
            return Ok(unfolded);
        }
        self.call(&name, args, open)
    }

    fn members(&mut self, mut of: Id) -> Result<Id, Fault> {
        loop {
            let place = self.place();
            of = if self.take(".") {
                self.member(of, place)?
            } else if self.take("[") {
                let name = if self.take("?") { "_[?_]" } else { "_[_]" };
                let index = self.within(Self::expression)?;
                self.expect("]")?;
                self.call(name, vec![of, index], place)?
            } else if self.is("{") && self.tree.qualified(of).is_some() {
                self.at += 1;
                let name = self.tree.qualified(of).unwrap_or_default();
                let fields = self.within(Self::fields)?;
                self.add(Kind::Struct(name, fields), place)?
            } else {
                return Ok(of);
            };
        }
    }

    fn member(&mut self, of: Id, place: u32) -> Result<Id, Fault> {
        let maybe = self.take("?");
        let field = match self.token().clone() {
            Token::Ident(name) | Token::Quoted(name) => name,
            _ => return Err(self.unexpected("IDENTIFIER")),
        };
        self.at += 1;
        let open = self.place();
        if maybe {
            let field = self.add(Kind::Literal(Literal::Str(field)), place)?;
            return self.call("_?._", vec![of, field], place);
        }
        if !self.take("(") {
            return self.add(Kind::Select { of, field, test: false }, place);
        }
        let args = self.within(Self::arguments)?;
        if let Some(unfolded) = macros::member(self, of, &field, &args, open)? {
            return Ok(unfolded);
        }
        self.add(Kind::Call { name: field, target: Some(of), args }, open)
    }

    fn arguments(&mut self) -> Result<Vec<Id>, Fault> {
        let mut args = Vec::new();
        if self.take(")") {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if !self.take(",") {
                self.expect(")")?;
                return Ok(args);
            }
        }
    }

    fn items(&mut self, end: &str) -> Result<Vec<(Id, bool)>, Fault> {
        let mut items = Vec::new();
        while !self.take(end) {
            if *self.token() == Token::End {
                self.expect(end)?;
            }
            let optional = self.take("?");
            items.push((self.expression()?, optional));
            if !self.take(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn entries(&mut self) -> Result<Vec<(Id, Id, bool)>, Fault> {
        let mut entries = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?, optional));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(entries)
    }

    fn fields(&mut self) -> Result<Vec<Made>, Fault> {
        let mut fields = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let (Token::Ident(name) | Token::Quoted(name)) = self.token().clone() else {
                return Err(self.unexpected("IDENTIFIER"));
            };
            self.at += 1;
            let place = self.place();
            self.expect(":")?;
            fields.push(Made { name, value: self.expression()?, optional, place });
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(fields)
    }
}

fn too_deep(place: u32) -> Fault {
    Fault::at(place, format!("expression recursion limit exceeded: {DEPTH_MAX}"))
}
