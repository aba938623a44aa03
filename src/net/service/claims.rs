//! Who wants which element. Several may want the same one; the owner whose name comes first gets
//! its value, and when it gives it up the next does. Pure.

use super::element::{Chain, Place, Value};
use super::family::Address;
use super::render::Elements;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// All that is wanted.
#[derive(Debug)]
pub struct Claims<A: Address> {
    cells: HashMap<Place<A>, Cell<A>>,
    /// How many elements lead to a chain.
    uses: HashMap<Chain, usize>,
}

#[derive(Debug)]
struct Cell<A> {
    owner: Arc<str>,
    value: Value<A>,
    /// Those who wait; hardly ever anybody does.
    others: Vec<(Arc<str>, Value<A>)>,
}

/// The values that places had before a round of changes.
pub type Before<A> = HashMap<Place<A>, Option<Value<A>>>;

/// A place whose value changed, from and to.
pub type Change<A> = (Place<A>, Option<Value<A>>, Option<Value<A>>);

impl<A: Address> Default for Claims<A> {
    fn default() -> Self {
        Self { cells: HashMap::new(), uses: HashMap::new() }
    }
}

impl<A: Address> Claims<A> {
    /// The value in force.
    pub fn get(&self, place: &Place<A>) -> Option<Value<A>> {
        self.cells.get(place).map(|cell| cell.value)
    }

    /// Everything in force.
    pub fn iter(&self) -> impl Iterator<Item = (Place<A>, Value<A>)> + '_ {
        self.cells.iter().map(|(place, cell)| (*place, cell.value))
    }

    /// Chains that are led to.
    pub fn chains(&self) -> impl Iterator<Item = Chain> + '_ {
        self.uses.keys().copied()
    }

    /// Whether a chain is led to.
    pub fn uses(&self, chain: &Chain) -> bool {
        self.uses.contains_key(chain)
    }

    /// Replaces what an owner wants. `before` keeps what the places touched had at first.
    pub fn change(
        &mut self,
        owner: &Arc<str>,
        old: &Elements<A>,
        new: &Elements<A>,
        before: &mut Before<A>,
    ) {
        let given_up = old.iter().filter(|(place, value)| new.get(place) != Some(value));
        let wanted = new.iter().filter(|(place, value)| old.get(place) != Some(value));
        for (place, _) in given_up {
            before.entry(*place).or_insert_with(|| self.get(place));
            self.retract(place, owner);
        }
        for (place, value) in wanted {
            before.entry(*place).or_insert_with(|| self.get(place));
            self.claim(*place, owner, *value);
        }
    }

    /// What a round of changes came to.
    pub fn changes(&self, before: Before<A>) -> Vec<Change<A>> {
        let all = before.into_iter().map(|(place, old)| (place, old, self.get(&place)));
        all.filter(|(_, old, new)| old != new).collect()
    }

    /// What makes the kernel's elements those wanted.
    pub fn difference(&self, kernel: &HashMap<Place<A>, Value<A>>) -> Vec<Change<A>> {
        let gone = kernel.iter().filter(|(place, _)| !self.cells.contains_key(*place));
        let gone = gone.map(|(place, old)| (*place, Some(*old), None));
        let wanted =
            self.iter().map(|(place, new)| (place, kernel.get(&place).copied(), Some(new)));
        gone.chain(wanted.filter(|(_, old, new)| old != new)).collect()
    }

    fn claim(&mut self, place: Place<A>, owner: &Arc<str>, value: Value<A>) {
        match self.cells.entry(place) {
            Entry::Vacant(cell) => {
                count(&mut self.uses, value, true);
                cell.insert(Cell { owner: owner.clone(), value, others: Vec::new() });
            }
            Entry::Occupied(mut cell) => {
                let cell = cell.get_mut();
                let mut later = (owner.clone(), value);
                if *owner < cell.owner {
                    count(&mut self.uses, value, true);
                    count(&mut self.uses, cell.value, false);
                    std::mem::swap(&mut cell.owner, &mut later.0);
                    std::mem::swap(&mut cell.value, &mut later.1);
                }
                let at = cell.others.partition_point(|(other, _)| *other < later.0);
                cell.others.insert(at, later);
            }
        }
    }

    fn retract(&mut self, place: &Place<A>, owner: &Arc<str>) {
        let Entry::Occupied(mut entry) = self.cells.entry(*place) else { return };
        let cell = entry.get_mut();
        if cell.owner != *owner {
            cell.others.retain(|(other, _)| other != owner);
            return;
        }
        count(&mut self.uses, cell.value, false);
        if cell.others.is_empty() {
            entry.remove();
            return;
        }
        (cell.owner, cell.value) = cell.others.remove(0);
        count(&mut self.uses, cell.value, true);
    }
}

fn count<A>(uses: &mut HashMap<Chain, usize>, value: Value<A>, more: bool) {
    let Value::Chain(chain) = value else { return };
    let entry = uses.entry(chain).or_insert(0);
    *entry = if more { *entry + 1 } else { entry.saturating_sub(1) };
    if *entry == 0 {
        uses.remove(&chain);
    }
}

#[cfg(test)]
mod tests {
    use super::super::element::{Key, SetId};
    use super::*;
    use std::net::Ipv4Addr;

    fn elements(list: &[(u8, u32)]) -> Elements<Ipv4Addr> {
        let place = |n: u8| (SetId::Fronts, Key([n; 16]));
        let spread = |ways| Value::Chain(Chain::Spread { ways, outer: false, kept: false });
        list.iter().map(|&(n, ways)| (place(n), spread(ways))).collect()
    }

    /// Changes as (place, ways from, ways to), in order.
    fn round(
        claims: &mut Claims<Ipv4Addr>,
        owner: &str,
        old: &[(u8, u32)],
        new: &[(u8, u32)],
    ) -> Vec<[u32; 3]> {
        let mut before = Before::new();
        claims.change(&owner.into(), &elements(old), &elements(new), &mut before);
        let ways = |value: Option<Value<Ipv4Addr>>| match value {
            Some(Value::Chain(Chain::Spread { ways, .. })) => ways,
            _ => 0,
        };
        let changes = claims.changes(before).into_iter();
        let mut seen: Vec<_> =
            changes.map(|((_, key), old, new)| [key.0[0].into(), ways(old), ways(new)]).collect();
        seen.sort_unstable();
        seen
    }

    #[test]
    fn only_differences_come_out() {
        let mut claims = Claims::default();
        assert_eq!(round(&mut claims, "a", &[], &[(1, 1), (2, 2)]), [[1, 0, 1], [2, 0, 2]]);
        assert_eq!(round(&mut claims, "a", &[(1, 1), (2, 2)], &[(1, 1), (2, 3)]), [[2, 2, 3]]);
        assert_eq!(round(&mut claims, "a", &[(1, 1), (2, 3)], &[(1, 1), (2, 3)]), [[0; 3]; 0]);
        assert_eq!(round(&mut claims, "a", &[(1, 1), (2, 3)], &[(2, 3)]), [[1, 1, 0]]);
        assert_eq!(claims.chains().map(|c| c.name()).collect::<Vec<_>>(), ["to-3"]);
    }

    #[test]
    fn the_first_name_wins_and_the_next_inherits() {
        let mut claims = Claims::default();
        assert_eq!(round(&mut claims, "b", &[], &[(1, 2)]), [[1, 0, 2]]);
        assert_eq!(round(&mut claims, "c", &[], &[(1, 3)]), [[0; 3]; 0]);
        assert_eq!(round(&mut claims, "a", &[], &[(1, 1)]), [[1, 2, 1]]);
        assert_eq!(round(&mut claims, "c", &[(1, 3)], &[(1, 4)]), [[0; 3]; 0]);
        assert_eq!(round(&mut claims, "a", &[(1, 1)], &[]), [[1, 1, 2]]);
        assert_eq!(round(&mut claims, "b", &[(1, 2)], &[]), [[1, 2, 4]]);
        assert_eq!(round(&mut claims, "c", &[(1, 4)], &[]), [[1, 4, 0]]);
        assert_eq!(claims.iter().count() + claims.chains().count(), 0);
    }

    #[test]
    fn the_kernel_is_brought_in_line() {
        let mut claims = Claims::default();
        round(&mut claims, "a", &[], &[(1, 1), (2, 2)]);
        let kernel = elements(&[(2, 3), (3, 3)]).into_iter().collect();
        let mut changes = claims.difference(&kernel);
        changes.sort_by_key(|(place, ..)| *place);
        let seen: Vec<_> =
            changes.iter().map(|(p, a, b)| (p.1.0[0], a.is_some(), b.is_some())).collect();
        assert_eq!(seen, [(1, false, true), (2, true, true), (3, true, false)]);
    }
}
