//! JSON patch: a list of operations on places of a document.

use super::Error;
use crate::api::codec::{self, json};
use crate::api::schema::Schema;
use crate::api::tree::Value;
use crate::limits;

/// One operation.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    op: String,
    path: Option<String>,
    from: Option<String>,
    value: Value,
}

/// Reads a patch document; what else the operations contain are findings.
pub(super) fn read(text: &[u8]) -> Result<(Vec<Operation>, Vec<String>), Error> {
    let refuse = |error: String| Error::BadRequest(format!("error decoding patch: {error}"));
    let decoded = json::decode(text, &Schema::default()).map_err(|e| refuse(e.to_string()))?;
    let cannot =
        |what: &str, into: &str| refuse(format!("json: cannot unmarshal {what} into Go {into}"));
    let list = "value of type []handlers.jsonPatchOp";
    let Value::Array(items) = decoded.value else {
        return Err(cannot(decoded.value.kind_name(), list));
    };
    if items.len() > limits::PATCH_OPERATIONS_MAX {
        let (max, got) = (limits::PATCH_OPERATIONS_MAX, items.len());
        return Err(Error::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {max}, got {got}"
        )));
    }
    let mut findings: Vec<String> =
        decoded.findings.iter().map(|finding| format!("json patch {finding}")).collect();
    let mut operations = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        if !matches!(item, Value::Object(_)) {
            return Err(cannot(item.kind_name(), "value of type handlers.jsonPatchOp"));
        }
        for (key, value) in item.fields() {
            match key {
                "value" => {}
                "op" | "path" | "from" if matches!(value, Value::Str(_) | Value::Null) => {}
                "op" | "path" | "from" => {
                    let field = format!("struct field jsonPatchOp.{key} of type string");
                    return Err(cannot(value.kind_name(), &field));
                }
                key if findings.len() < limits::FINDINGS_MAX => {
                    let path = codec::quote(&format!("[{at}].{key}"));
                    findings.push(format!("json patch unknown field {path}"));
                }
                _ => {}
            }
        }
        operations.push(Operation::of(item));
    }
    Ok((operations, findings))
}

impl Operation {
    fn of(mut item: Value) -> Self {
        let text = |item: &Value, key: &str| item.get(key).as_str().map(str::to_owned);
        Self {
            op: text(&item, "op").unwrap_or_else(|| "unknown".to_owned()),
            path: text(&item, "path"),
            from: text(&item, "from"),
            value: item.remove("value"),
        }
    }

    fn path(&self) -> Result<&str, Error> {
        let missing = || format!("{} operation failed to decode path: missing value", self.op);
        self.path.as_deref().ok_or_else(|| Error::Unprocessable(missing()))
    }

    fn from(&self) -> Result<&str, Error> {
        let missing = || format!("{} operation failed to decode from: missing value", self.op);
        self.from.as_deref().ok_or_else(|| Error::Unprocessable(missing()))
    }
}

/// Applies all operations, or none.
pub(super) fn apply(mut document: Value, operations: &[Operation]) -> Result<Value, Error> {
    let mut copied = 0;
    for operation in operations {
        apply_one(&mut document, operation, &mut copied)?;
    }
    Ok(document)
}

fn apply_one(document: &mut Value, operation: &Operation, copied: &mut usize) -> Result<(), Error> {
    let about = operation.op.as_str();
    match about {
        "add" => add(document, operation, operation.value.clone()),
        "remove" => take(document, operation.path()?, about).map(drop),
        "replace" => replace(document, operation),
        "move" => {
            let value = take(document, operation.from()?, about)?;
            add(document, operation, value)
        }
        "test" => test(document, operation),
        "copy" => {
            let (holder, key) = find(document, operation.from()?, about)?;
            let value = get(holder, &key)?.clone();
            *copied += value.encode().len();
            if *copied > limits::PATCH_COPY_BYTES_MAX {
                let max = limits::PATCH_COPY_BYTES_MAX;
                return Err(Error::Unprocessable(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is \
                     {copied}, exceeding the limit {max}"
                )));
            }
            add(document, operation, value)
        }
        other => Err(Error::Unprocessable(format!("Unexpected kind: {other}"))),
    }
}

/// The list or object that holds the place `path`, and the place's key in it.
fn find<'a>(
    document: &'a mut Value,
    path: &str,
    op: &str,
) -> Result<(&'a mut Value, String), Error> {
    let missing = || {
        let path = codec::quote(path);
        Error::Unprocessable(format!(
            "{op} operation does not apply: doc is missing path: {path}: missing value"
        ))
    };
    let mut parts: Vec<String> = path.split('/').skip(1).map(unescape).collect();
    let key = parts.pop().ok_or_else(missing)?;
    let mut holder = document;
    for part in parts {
        holder = match holder {
            Value::Object(fields) => fields.get_mut(&part),
            Value::Array(items) => index(&part, items.len()).ok().and_then(|at| items.get_mut(at)),
            _ => None,
        }
        .ok_or_else(missing)?;
    }
    match holder {
        Value::Object(_) | Value::Array(_) => Ok((holder, key)),
        _ => Err(missing()),
    }
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// A place in a list of `len` items; negative ones count from the end.
fn index(key: &str, len: usize) -> Result<usize, Error> {
    let refuse = |why: String| Error::Unprocessable(why);
    let at: i64 =
        key.parse().map_err(|_| refuse(format!("value was not a proper array index: '{key}'")))?;
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let place = if at < 0 { at + len } else { at };
    usize::try_from(place).ok().filter(|_| place < len).ok_or_else(|| {
        refuse(format!("Unable to access invalid index: {at}: invalid index referenced"))
    })
}

/// What stands at a place; an absent field reads as null.
fn get<'a>(holder: &'a Value, key: &str) -> Result<&'a Value, Error> {
    match holder {
        Value::Array(items) => Ok(&items[index(key, items.len())?]),
        holder => Ok(holder.get(key)),
    }
}

/// Puts a value in the operation's place. Copies of copies must not nest without bound.
fn add(document: &mut Value, operation: &Operation, value: Value) -> Result<(), Error> {
    let path = operation.path()?;
    if path.matches('/').count() + depth(&value) > limits::TREE_DEPTH_MAX {
        return Err(Error::Unprocessable("exceeded max depth".to_owned()));
    }
    let (holder, key) = find(document, path, &operation.op)?;
    match holder {
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => items.insert(index(&key, items.len() + 1)?, value),
        holder => holder.set(&key, value),
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    let deepest = value.items().iter().chain(value.fields().map(|(_, value)| value)).map(depth);
    deepest.max().map_or(0, |depth| depth + 1)
}

/// Removes what stands at a place.
fn take(document: &mut Value, path: &str, op: &str) -> Result<Value, Error> {
    let (holder, key) = find(document, path, op)?;
    match holder {
        Value::Array(items) => Ok(items.remove(index(&key, items.len())?)),
        holder => holder.as_object_mut().and_then(|fields| fields.remove(&key)).ok_or_else(|| {
            Error::Unprocessable(format!(
                "error in {op} for path: '{path}': Unable to remove nonexistent key: {key}: \
                 missing value"
            ))
        }),
    }
}

/// An absent field may be replaced, as upstream; an absent item may not.
fn replace(document: &mut Value, operation: &Operation) -> Result<(), Error> {
    let path = operation.path()?;
    if path.is_empty() {
        // The value has been read within the bound on nesting.
        if !matches!(operation.value, Value::Object(_) | Value::Array(_)) {
            let why = "replace operation value must be object or array";
            return Err(Error::Unprocessable(why.to_owned()));
        }
        *document = operation.value.clone();
        return Ok(());
    }
    let (holder, key) = find(document, path, "replace")?;
    match holder {
        Value::Array(items) => {
            let at = index(&key, items.len())?;
            items.remove(at);
        }
        holder => drop(holder.remove(&key)),
    }
    add(document, operation, operation.value.clone())
}

/// Holds for an absent field against null.
fn test(document: &mut Value, operation: &Operation) -> Result<(), Error> {
    let path = operation.path()?;
    let holds = if path.is_empty() {
        *document == operation.value
    } else {
        let (holder, key) = find(document, path, "test")?;
        *get(holder, &key)? == operation.value
    };
    if holds {
        Ok(())
    } else {
        Err(Error::Unprocessable(format!("testing value {path} failed: test failed")))
    }
}
