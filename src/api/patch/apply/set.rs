//! A set of field paths as a trie.
//!
//! A path in the set does not bring its parents with it: `f:spec` and `f:spec f:replicas` are two
//! members. A branch without members does not exist.

use std::cmp::Ordering;

use super::element::{self, Element};

/// A set of paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Set {
    /// Sorted by element.
    pub(super) nodes: Vec<Node>,
}

/// One step, and what of the set lies below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) element: Element,
    /// Whether the path that ends here is in the set.
    pub(super) member: bool,
    pub(super) children: Set,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

/// A step of two sets side by side.
enum Side<'s> {
    Left(&'s Node),
    Right(&'s Node),
    Both(&'s Node, &'s Node),
}

impl Set {
    /// Whether no path is in the set.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The set with one path of field names.
    pub fn of_fields(path: &[&str]) -> Self {
        let Some((first, rest)) = path.split_first() else { return Self::default() };
        let children = Self::of_fields(rest);
        let node = Node { element: element::field(first), member: rest.is_empty(), children };
        Self { nodes: vec![node] }
    }

    /// Adds a step behind all others; of no effect where it leads to nothing.
    pub(super) fn push(&mut self, element: &str, member: bool, children: Self) {
        if member || !children.is_empty() {
            debug_assert!(self.nodes.last().is_none_or(|last| *last.element < *element));
            self.nodes.push(Node { element: element.into(), member, children });
        }
    }

    /// The step called `element`.
    pub(super) fn node(&self, element: &str) -> Option<&Node> {
        let found = self.nodes.binary_search_by(|node| (*node.element).cmp(element));
        found.ok().map(|at| &self.nodes[at])
    }

    /// Whether a path of steps is in the set.
    pub(super) fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.node(last).is_some_and(|node| node.member),
            [first, rest @ ..] => self.node(first).is_some_and(|node| node.children.has(rest)),
        }
    }

    /// Whether a path of field names is in the set.
    pub(super) fn has_fields(&self, path: &[&str]) -> bool {
        let path: Vec<Element> = path.iter().map(|name| element::field(name)).collect();
        self.has(&path)
    }

    fn zip<'s>(&'s self, other: &'s Self) -> impl Iterator<Item = Side<'s>> {
        let mut left = self.nodes.iter().peekable();
        let mut right = other.nodes.iter().peekable();
        std::iter::from_fn(move || {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(l), Some(r)) => l.element.cmp(&r.element),
            };
            match order {
                Ordering::Less => left.next().map(Side::Left),
                Ordering::Greater => right.next().map(Side::Right),
                Ordering::Equal => Some(Side::Both(left.next()?, right.next()?)),
            }
        })
    }

    fn merge(&self, other: &Self, join: impl Fn(Side<'_>) -> Option<Node>) -> Self {
        let nodes = self.zip(other).filter_map(join).filter(|node| !node.is_empty());
        Self { nodes: nodes.collect() }
    }

    /// What is in either set.
    pub fn union(&self, other: &Self) -> Self {
        self.merge(other, |side| match side {
            Side::Left(node) | Side::Right(node) => Some(node.clone()),
            Side::Both(l, r) => Some(Node {
                element: l.element.clone(),
                member: l.member || r.member,
                children: l.children.union(&r.children),
            }),
        })
    }

    /// What is in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        self.merge(other, |side| match side {
            Side::Left(_) | Side::Right(_) => None,
            Side::Both(l, r) => Some(Node {
                element: l.element.clone(),
                member: l.member && r.member,
                children: l.children.intersection(&r.children),
            }),
        })
    }

    /// What is in this set and not in the other: path by path, so that neither a parent takes its
    /// children away nor a child its parent.
    pub fn difference(&self, other: &Self) -> Self {
        self.merge(other, |side| match side {
            Side::Left(node) => Some(node.clone()),
            Side::Right(_) => None,
            Side::Both(l, r) => Some(Node {
                element: l.element.clone(),
                member: l.member && !r.member,
                children: l.children.difference(&r.children),
            }),
        })
    }

    /// What is in this set and neither in the other nor below what is in the other.
    pub fn without(&self, other: &Self) -> Self {
        self.merge(other, |side| match side {
            Side::Left(node) => Some(node.clone()),
            Side::Right(_) => None,
            Side::Both(_, r) if r.member => None,
            Side::Both(l, r) => Some(Node {
                element: l.element.clone(),
                member: l.member,
                children: l.children.without(&r.children),
            }),
        })
    }

    /// What lies on the way to, or at, or below, one of these paths of field names; `*` stands for
    /// any step.
    pub(super) fn only(&self, paths: &[&[&str]]) -> Self {
        if paths.iter().any(|path| path.is_empty()) {
            return self.clone();
        }
        let matches = |path: &&&[&str], element: &str| {
            path[0] == "*" || element::field_name(element) == Some(path[0])
        };
        let nodes = self.nodes.iter().filter_map(|node| {
            let below = paths.iter().filter(|path| matches(path, &node.element));
            let below: Vec<&[&str]> = below.map(|path| &path[1..]).collect();
            let children = node.children.only(&below);
            let member = node.member && !below.is_empty();
            let node = Node { element: node.element.clone(), member, children };
            (!node.is_empty()).then_some(node)
        });
        Self { nodes: nodes.collect() }
    }

    /// All paths in upstream's order: at each level its own members, then what lies below.
    pub(super) fn paths(&self) -> Vec<Vec<Element>> {
        let mut paths = Vec::new();
        self.walk(&mut Vec::new(), &mut paths);
        paths
    }

    fn walk(&self, prefix: &mut Vec<Element>, paths: &mut Vec<Vec<Element>>) {
        let mut nodes: Vec<&Node> = self.nodes.iter().collect();
        nodes.sort_by(|a, b| element::compare(&a.element, &b.element));
        for node in nodes.iter().filter(|node| node.member) {
            paths.push([prefix.as_slice(), std::slice::from_ref(&node.element)].concat());
        }
        for node in nodes {
            prefix.push(node.element.clone());
            node.children.walk(prefix, paths);
            prefix.pop();
        }
    }
}

/// A path as messages show it: `.spec.containers[name="a"].image`.
pub(super) fn show(path: &[Element]) -> String {
    let mut text = String::new();
    path.iter().for_each(|element| element::show(element, &mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(paths: &[&str]) -> Set {
        let of = |path: &&str| Set::of_fields(&path.split('.').collect::<Vec<_>>());
        paths.iter().map(of).fold(Set::default(), |all, one| all.union(&one))
    }

    fn shown(set: &Set) -> Vec<String> {
        set.paths().iter().map(|path| show(path)).collect()
    }

    #[test]
    fn sets_are_sets_of_paths() {
        let left = set(&["a", "a.b", "a.c.d", "e"]);
        let right = set(&["a.b", "a.c", "e", "f"]);
        assert_eq!(shown(&left.union(&right)), [".a", ".e", ".f", ".a.b", ".a.c", ".a.c.d"]);
        assert_eq!(shown(&left.intersection(&right)), [".e", ".a.b"]);
        assert_eq!(shown(&left.difference(&right)), [".a", ".a.c.d"]);
        assert_eq!(shown(&left.without(&right)), [".a"]);
        assert!(left.has_fields(&["a", "c", "d"]) && !left.has_fields(&["a", "c"]));
        assert!(!left.has_fields(&[]) && left.difference(&left).is_empty());
    }

    #[test]
    fn only_keeps_the_way_to_what_matches() {
        let all = set(&["a", "a.b.c", "a.x.c.d", "a.x.e", "f"]);
        assert_eq!(shown(&all.only(&[&["a", "*", "c"]])), [".a", ".a.b.c", ".a.x.c.d"]);
        assert_eq!(all.only(&[&[]]), all);
        assert!(all.only(&[&["g"]]).is_empty());
    }
}
