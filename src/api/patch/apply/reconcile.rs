//! Sets of owned paths after a change of the schema: where a value has come to be taken as a
//! whole, who owned a part of it owns it all.

use super::element;
use super::set::{Node, Set};
use super::shape::Type;

/// The set as the schema has it now.
pub(super) fn reconcile(set: Set, ty: Type<'_>) -> Set {
    Set { nodes: in_place(set.nodes, ty) }
}

fn in_place(mut nodes: Vec<Node>, ty: Type<'_>) -> Vec<Node> {
    let atom = ty.atom();
    let below = |node: &Node| match (&atom.map, atom.scalar, &atom.list) {
        (Some(map), ..) => match element::field_name(&node.element) {
            Some(name) => map.entry(name).0,
            // Upstream takes what is no field for an entry of an undeclared name.
            None => map.entry("").0,
        },
        (None, None, Some(list)) => list.elem,
        _ => Type::Nothing,
    };
    for node in &mut nodes {
        let ty = below(node);
        if node.children.is_empty() || !ty.is_known() {
            continue;
        }
        if takes_whole(ty) {
            node.member = true;
            node.children = Set::default();
        } else {
            let children = std::mem::take(&mut node.children.nodes);
            node.children = Set { nodes: in_place(children, ty) };
        }
    }
    nodes
}

fn takes_whole(ty: Type<'_>) -> bool {
    let atom = ty.atom();
    match (atom.map, atom.scalar, atom.list) {
        (Some(map), ..) => map.atomic && !map.is_untyped(),
        (None, None, Some(list)) => list.is_atomic(),
        _ => false,
    }
}
