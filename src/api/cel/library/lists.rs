//! Lists and sets.

use std::cmp::Ordering;
use std::rc::Rc;

use crate::api::cel::eval::{Answer, Run, Stop, no_overload};
use crate::api::cel::library::arithmetic;
use crate::api::cel::library::{keyed, strings};
use crate::api::cel::shape::Merge;
use crate::api::cel::value::{List, Val};

/// How long a range may be.
const RANGE_MAX: i64 = 1_000_000;

/// A function of a list.
pub fn call<'a>(run: &mut Run<'a>, name: &str, list: &List<'a>, args: &[Val<'a>]) -> Answer<'a> {
    let items = || list.iter().collect::<Vec<_>>();
    match (name, &args[1..]) {
        ("isSorted", []) => sorted(list),
        ("sum", []) => sum(run, list),
        ("min", []) => extreme(list, name, Ordering::Less),
        ("max", []) => extreme(list, name, Ordering::Greater),
        ("indexOf", [item]) => Ok(place(list.iter().position(|one| run.same(&one, item)))),
        ("lastIndexOf", [item]) => {
            let mut all = items();
            all.reverse();
            let found = all.iter().position(|one| run.same(one, item));
            Ok(place(found.map(|at| all.len() - 1 - at)))
        }
        ("first", []) => Ok(Val::Optional(list.get(0).map(Rc::new))),
        ("last", []) => {
            let last = list.len().checked_sub(1).and_then(|at| list.get(at));
            Ok(Val::Optional(last.map(Rc::new)))
        }
        ("slice", [Val::Int(from), Val::Int(to)]) => slice(run, list, *from, *to),
        ("flatten", []) => flat(run, list, 1),
        ("flatten", [Val::Int(depth)]) => flat(run, list, *depth),
        ("reverse", []) => {
            run.items(list.len())?;
            let mut all = items();
            all.reverse();
            Ok(Val::list(all))
        }
        ("distinct", []) => distinct(run, list),
        ("sort", []) => sort(run, list, list),
        ("@sortByAssociatedKeys", [Val::List(keys)]) => sort(run, list, keys),
        ("join", []) => strings::join(run, list, ""),
        ("join", [Val::Str(between)]) => strings::join(run, list, between),
        ("unwrapOpt" | "optional.unwrap", []) => unwrap(run, list),
        ("sets.contains", [Val::List(part)]) => Ok(Val::Bool(contains(run, list, part))),
        ("sets.equivalent", [Val::List(other)]) => {
            Ok(Val::Bool(contains(run, list, other) && contains(run, other, list)))
        }
        ("sets.intersects", [Val::List(other)]) => {
            let other: Vec<Val<'_>> = other.iter().collect();
            Ok(Val::Bool(list.iter().any(|item| has(run, &other, &item))))
        }
        _ => Err(no_overload()),
    }
}

fn place<'a>(found: Option<usize>) -> Val<'a> {
    Val::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn has(run: &Run<'_>, items: &[Val<'_>], item: &Val<'_>) -> bool {
    items.iter().any(|one| run.same(one, item))
}

fn contains(run: &Run<'_>, list: &List<'_>, part: &List<'_>) -> bool {
    let all: Vec<Val<'_>> = list.iter().collect();
    part.iter().all(|item| has(run, &all, &item))
}

fn sorted<'a>(list: &List<'a>) -> Answer<'a> {
    for at in 1..list.len() {
        let (Some(one), Some(next)) = (list.get(at - 1), list.get(at)) else { break };
        match one.compare(&next) {
            Some(Ordering::Greater) => return Ok(Val::Bool(false)),
            Some(_) => {}
            None => return Err(no_overload()),
        }
    }
    Ok(Val::Bool(true))
}

/// The sum; of an empty list that of whole numbers, as nothing says otherwise.
fn sum<'a>(run: &mut Run<'a>, list: &List<'a>) -> Answer<'a> {
    let mut items = list.iter();
    let Some(mut total) = items.next() else { return Ok(Val::Int(0)) };
    for item in items {
        total = arithmetic::binary(run, "_+_", &total, &item)?;
    }
    Ok(total)
}

fn extreme<'a>(list: &List<'a>, name: &str, wanted: Ordering) -> Answer<'a> {
    let mut items = list.iter();
    let Some(mut best) = items.next() else {
        return Err(Stop::error(format!("{name} called on empty list")));
    };
    for item in items {
        let order = item.compare(&best).ok_or_else(no_overload)?;
        if order == wanted {
            best = item;
        }
    }
    Ok(best)
}

fn slice<'a>(run: &mut Run<'a>, list: &List<'a>, from: i64, to: i64) -> Answer<'a> {
    let why = |why: String| Stop::error(format!("cannot slice({from}, {to}), {why}"));
    if from < 0 || to < 0 {
        return Err(why("negative indexes not supported".into()));
    }
    if from > to {
        return Err(why("start index must be less than or equal to end index".into()));
    }
    let (begin, end) = (usize::try_from(from), usize::try_from(to));
    match (begin, end) {
        (Ok(begin), Ok(end)) if end <= list.len() => {
            run.items(end - begin)?;
            Ok(Val::list((begin..end).filter_map(|at| list.get(at)).collect()))
        }
        _ => Err(why(format!("list is length {}", list.len()))),
    }
}

fn flat<'a>(run: &mut Run<'a>, list: &List<'a>, depth: i64) -> Answer<'a> {
    if depth < 0 {
        return Err(Stop::error("level must be non-negative"));
    }
    let mut out = Vec::new();
    gather(run, list, depth, &mut out)?;
    Ok(Val::list(out))
}

fn gather<'a>(
    run: &mut Run<'a>,
    list: &List<'a>,
    depth: i64,
    out: &mut Vec<Val<'a>>,
) -> Result<(), Stop> {
    for item in list.iter() {
        run.items(1)?;
        match item {
            Val::List(inner) if depth > 0 => gather(run, &inner, depth - 1, out)?,
            item => out.push(item),
        }
    }
    Ok(())
}

fn distinct<'a>(run: &mut Run<'a>, list: &List<'a>) -> Answer<'a> {
    run.items(list.len())?;
    let mut out: Vec<Val<'a>> = Vec::new();
    for item in list.iter() {
        if !has(run, &out, &item) {
            out.push(item);
        }
    }
    Ok(Val::list(out))
}

fn sort<'a>(run: &mut Run<'a>, list: &List<'a>, keys: &List<'a>) -> Answer<'a> {
    run.items(list.len() * 2)?;
    let keys: Vec<Val<'a>> = keys.iter().collect();
    if let Some(first) = keys.first() {
        if first.compare(first).is_none() {
            return Err(Stop::error("list elements must be comparable"));
        }
        if keys.iter().any(|key| key.type_name() != first.type_name()) {
            return Err(Stop::error("list elements must have the same type"));
        }
    }
    let mut both: Vec<(Val<'a>, Val<'a>)> = keys.into_iter().zip(list.iter()).collect();
    both.sort_by(|(a, _), (b, _)| a.compare(b).unwrap_or(Ordering::Equal));
    Ok(Val::list(both.into_iter().map(|(_, item)| item).collect()))
}

/// `[0, 1, 2]`
pub fn range<'a>(run: &mut Run<'a>, count: i64) -> Answer<'a> {
    if count < 0 {
        let why = format!("lists.range: size must be non-negative, got {count}");
        return Err(Stop::error(why));
    }
    if count > RANGE_MAX {
        let why = format!("lists.range: size {count} exceeds maximum allowed ({RANGE_MAX})");
        return Err(Stop::error(why));
    }
    run.items(usize::try_from(count).unwrap_or(0))?;
    Ok(Val::list((0..count).map(Val::Int).collect()))
}

fn unwrap<'a>(run: &mut Run<'a>, list: &List<'a>) -> Answer<'a> {
    run.items(list.len())?;
    let mut out = Vec::new();
    for item in list.iter() {
        match item {
            Val::Optional(Some(inner)) => out.push((*inner).clone()),
            Val::Optional(None) => {}
            _ => return Err(no_overload()),
        }
    }
    Ok(Val::list(out))
}

/// `a + b`: what is in both stands once in lists that are sets or maps.
pub fn add<'a>(run: &mut Run<'a>, a: &List<'a>, b: &List<'a>) -> Answer<'a> {
    run.items(a.len() + b.len())?;
    let merge = a.merge();
    if *merge == Merge::Atomic {
        return Ok(Val::list(a.iter().chain(b.iter()).collect()));
    }
    let mut items: Vec<(Rc<str>, Val<'a>)> = a.iter().map(|item| keyed(run, item, merge)).collect();
    let places = items.iter().enumerate().map(|(at, (key, _))| (key.clone(), at));
    let mut places: std::collections::HashMap<Rc<str>, usize> = places.collect();
    for item in b.iter() {
        let (key, item) = keyed(run, item, merge);
        match places.get(&key) {
            Some(at) if matches!(merge, Merge::Keys(_)) => items[*at].1 = item,
            Some(_) => {}
            None => {
                places.insert(key.clone(), items.len());
                items.push((key, item));
            }
        }
    }
    let items = items.into_iter().map(|(_, item)| item).collect();
    Ok(Val::List(List::Made(Rc::new(items), Some(merge))))
}
