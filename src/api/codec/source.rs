//! Where a decoder takes values from: a text that is being parsed, or a tree that is taken apart.

use std::borrow::Cow;
use std::ops::Deref;

use super::Error;
use crate::api::tree::{Map, Text, Value};

/// A text: lent by what is being parsed, or taken out of a tree.
#[derive(Debug)]
pub(super) enum Piece<'s> {
    Lent(&'s str),
    Own(Text),
}

impl Piece<'_> {
    pub(super) fn into_text(self) -> Text {
        match self {
            Piece::Lent(text) => Text::new(text),
            Piece::Own(text) => text,
        }
    }
}

impl<'s> From<Cow<'s, str>> for Piece<'s> {
    fn from(text: Cow<'s, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Piece::Lent(text),
            Cow::Owned(text) => Piece::Own(text.into()),
        }
    }
}

impl Deref for Piece<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Piece::Lent(text) => text,
            Piece::Own(text) => text,
        }
    }
}

/// The begin of a value; of lists and objects the content is asked for afterwards.
#[derive(Debug)]
pub(super) enum Token<'s> {
    Null,
    Bool(bool),
    Number(Number<'s>),
    Str(Piece<'s>),
    Array,
    Object,
}

/// A number as it was written, or as a tree holds it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number<'s> {
    Text(&'s str),
    Int(i64),
    Float(f64),
}

impl Number<'_> {
    /// The number as a tree holds it: an integer if it is written as one and fits.
    pub(super) fn value(self) -> Value {
        match self {
            Number::Int(int) => Value::Int(int),
            Number::Float(float) => Value::Float(float),
            Number::Text(text) => match text.parse() {
                Ok(int) => Value::Int(int),
                Err(_) => Value::Float(text.parse().unwrap_or(f64::INFINITY)),
            },
        }
    }

    /// The number as it is written.
    pub(super) fn text(self) -> String {
        match self {
            Number::Text(text) => text.to_owned(),
            number => number.value().to_string(),
        }
    }
}

/// Values in sequence. The caller asks in the grammar's order: after [`Token::Array`] for items
/// until there is none, after [`Token::Object`] for keys, and after each item or key for its value.
pub(super) trait Source<'s> {
    /// The next value's begin.
    fn value(&mut self) -> Result<Token<'s>, Error>;
    /// Whether another item follows in the list.
    fn item(&mut self, first: bool) -> Result<bool, Error>;
    /// The next key of the object.
    fn key(&mut self, first: bool) -> Result<Option<Piece<'s>>, Error>;
    /// After the last value: nothing may follow.
    fn end(&mut self) -> Result<(), Error>;
}

/// What is left of a container.
enum Rest {
    Array(std::vec::IntoIter<Value>),
    Object(<Map as IntoIterator>::IntoIter),
}

/// A tree as a source.
pub(super) struct Tree {
    next: Value,
    open: Vec<Rest>,
}

impl Tree {
    pub(super) fn new(value: Value) -> Self {
        Self { next: value, open: Vec::new() }
    }
}

impl Source<'static> for Tree {
    fn value(&mut self) -> Result<Token<'static>, Error> {
        Ok(match self.next.take() {
            Value::Null => Token::Null,
            Value::Bool(bool) => Token::Bool(bool),
            Value::Int(int) => Token::Number(Number::Int(int)),
            Value::Float(float) => Token::Number(Number::Float(float)),
            Value::Str(text) => Token::Str(Piece::Own(text)),
            Value::Array(items) => {
                self.open.push(Rest::Array(items.into_iter()));
                Token::Array
            }
            Value::Object(fields) => {
                self.open.push(Rest::Object(fields.into_iter()));
                Token::Object
            }
        })
    }

    fn item(&mut self, _first: bool) -> Result<bool, Error> {
        if let Some(Rest::Array(items)) = self.open.last_mut()
            && let Some(item) = items.next()
        {
            self.next = item;
            return Ok(true);
        }
        self.open.pop();
        Ok(false)
    }

    fn key(&mut self, _first: bool) -> Result<Option<Piece<'static>>, Error> {
        if let Some(Rest::Object(fields)) = self.open.last_mut()
            && let Some((key, value)) = fields.next()
        {
            self.next = value;
            return Ok(Some(Piece::Own(key)));
        }
        self.open.pop();
        Ok(None)
    }

    fn end(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
