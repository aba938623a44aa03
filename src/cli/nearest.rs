//! The known word that a mistyped one was probably meant to be.

/// The candidate with the fewest edits from `word`, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|candidate| (edits(word, candidate), candidate));
    let (distance, candidate) = near.min()?;
    (distance <= (word.len() / 3).max(1)).then_some(candidate)
}

/// Letters to insert, delete, replace or swap with their neighbour to make one word the other.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_far_off() {
        let known = ["cluster-cidr", "cluster-dns", "token"];
        assert_eq!(nearest("cluster-cdir", known), Some("cluster-cidr"));
        assert_eq!(nearest("tokens", known), Some("token"));
        assert_eq!(nearest("kubelet-arg", known), None);
    }
}
