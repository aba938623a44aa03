//! Sets of completion indexes as texts: `1,3-5,7`.

/// Indexes in order, as first and last of each run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(i64, i64)>);

impl Indexes {
    /// Reads a set of indexes below `completions`, strictly.
    ///
    /// # Errors
    /// What is wrong with it, in Kubernetes' words.
    pub fn parse(text: &str, completions: i64) -> Result<Self, String> {
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = interval(part, completions)?;
            if let Some((_, previous)) = runs.last().filter(|(_, previous)| *previous >= first) {
                return Err(format!(
                    "non-increasing order, previous: {previous}, current: {first}"
                ));
            }
            runs.push((first, last));
        }
        Ok(Self(runs))
    }

    /// Reads what was written before `completions` was lowered: what is not below is left out.
    pub fn parse_below(text: &str, completions: i64) -> Self {
        let mut indexes = Self::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) else {
                continue;
            };
            indexes.add_run(first.max(0), last.min(completions - 1));
        }
        indexes
    }

    /// Adds an index.
    pub fn add(&mut self, index: i64) {
        self.add_run(index, index);
    }

    fn add_run(&mut self, first: i64, last: i64) {
        if first > last {
            return;
        }
        // The runs that the new one touches become one with it.
        let from = self.0.partition_point(|run| run.1 < first - 1);
        let to = self.0.partition_point(|run| run.0 <= last + 1);
        let touched = &self.0[from..to];
        let low = touched.first().map_or(first, |run| run.0.min(first));
        let high = touched.last().map_or(last, |run| run.1.max(last));
        self.0.splice(from..to, [(low, high)]);
    }

    /// Whether an index is among them.
    pub fn has(&self, index: i64) -> bool {
        let at = self.0.partition_point(|run| run.1 < index);
        self.0.get(at).is_some_and(|run| run.0 <= index)
    }

    /// How many there are.
    pub fn len(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are also in another set.
    pub fn overlap(&self, other: &Self) -> i64 {
        let (mut own, mut others) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut common = 0;
        while let (Some(a), Some(b)) = (own.peek(), others.peek()) {
            common += (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
            if a.1 < b.1 {
                own.next()
            } else {
                others.next()
            };
        }
        common
    }

    /// The first index that is also in another set.
    pub fn first_common(&self, other: &Self) -> Option<i64> {
        let starts = self.0.iter().chain(&other.0).map(|run| run.0);
        starts.filter(|start| self.has(*start) && other.has(*start)).min()
    }

    /// The indexes below `completions` that are not among them, in order.
    pub fn missing(&self, completions: i64) -> impl Iterator<Item = i64> {
        let starts = std::iter::once(0).chain(self.0.iter().map(|run| run.1 + 1));
        let ends = self.0.iter().map(|run| run.0).chain([completions]);
        starts.zip(ends).flat_map(move |(start, end)| start..end.min(completions))
    }
}

impl std::fmt::Display for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, (first, last)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let number = |text: &str| -> Result<i64, String> {
        let index = text
            .parse::<i64>()
            .map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if index >= completions {
            return Err(format!("too large index: {text:?}"));
        }
        Ok(index)
    };
    let ends: Vec<&str> = text.split('-').collect();
    match ends[..] {
        [one] => number(one).map(|index| (index, index)),
        [first, last] => {
            let (first, last) = (number(first)?, number(last)?);
            if first >= last {
                return Err(format!("non-increasing order, previous: {first}, current: {last}"));
            }
            Ok((first, last))
        }
        _ => Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at \
             most two parts separated by '-'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_grow_and_are_written_shortly() {
        let mut set = Indexes::default();
        for index in [5, 1, 3, 4, 8, 9, 1] {
            set.add(index);
        }
        assert_eq!(set.to_string(), "1,3-5,8,9");
        assert_eq!((set.len(), set.has(4), set.has(2), set.has(10)), (6, true, false, false));
        assert_eq!(set.missing(12).collect::<Vec<_>>(), [0, 2, 6, 7, 10, 11]);
        assert_eq!(set.missing(4).collect::<Vec<_>>(), [0, 2]);
        set.add(2);
        assert_eq!(set.to_string(), "1-5,8,9");
        assert_eq!(Indexes::default().missing(2).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn what_a_lower_bound_cuts_off_is_left_out() {
        assert_eq!(Indexes::parse_below("0,2-5,x,7", 5).to_string(), "0,2-4");
        assert_eq!(Indexes::parse_below("", 5), Indexes::default());
    }

    #[test]
    fn sets_are_compared() {
        let set = |text: &str| Indexes::parse(text, 100).unwrap();
        assert_eq!(set("0-4,8").overlap(&set("3-8")), 3);
        assert_eq!(set("0-4").first_common(&set("3,9")), Some(3));
        assert_eq!(set("0-4").first_common(&set("5")), None);
    }
}
