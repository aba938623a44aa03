//! Lists of commands, what they print, and the lines in which two such outputs differ.

use std::fmt::Write;

/// One command of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The section that it is in.
    pub section: String,
    /// The line of shell.
    pub command: String,
    /// Whether it is only waited for.
    pub until: bool,
    /// What it prints.
    pub output: Vec<String>,
}

/// Reads a list, with or without outputs.
pub fn parse(text: &str) -> Vec<Step> {
    let (mut steps, mut section) = (Vec::<Step>::new(), String::new());
    for line in text.lines().skip_while(|line| !line.starts_with("## ")) {
        let step = |command: &str, until| Step {
            section: section.clone(),
            command: command.to_owned(),
            until,
            output: Vec::new(),
        };
        if let Some(name) = line.strip_prefix("## ") {
            section = name.to_owned();
        } else if let Some(command) = line.strip_prefix("$ ") {
            steps.push(step(command, false));
        } else if let Some(command) = line.strip_prefix("% ") {
            steps.push(step(command, true));
        } else if let Some(last) = steps.last_mut() {
            last.output.push(line.to_owned());
        }
    }
    // The empty line before the next section is no output.
    for step in steps.iter_mut().filter(|step| step.output.last().is_some_and(String::is_empty)) {
        step.output.pop();
    }
    steps
}

/// Writes what [`parse`] reads.
pub fn print(steps: &[Step]) -> String {
    let (mut text, mut section) = (String::new(), "");
    for step in steps.iter().filter(|step| !step.until) {
        if step.section != section {
            section = &step.section;
            let gap = if text.is_empty() { "" } else { "\n" };
            writeln!(text, "{gap}## {section}").unwrap();
        }
        writeln!(text, "$ {}", step.command).unwrap();
        for line in &step.output {
            writeln!(text, "{line}").unwrap();
        }
    }
    text
}

/// A line that only one of two outputs has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Only the first has it.
    Missing(String),
    /// Only the second has it.
    Extra(String),
}

/// The lines in which `second` differs from `first`: a longest common subsequence stays.
pub fn changes(first: &[String], second: &[String]) -> Vec<Change> {
    let (m, n) = (first.len(), second.len());
    let mut common = vec![vec![0_usize; n + 1]; m + 1];
    for i in (0..m).rev() {
        for j in (0..n).rev() {
            common[i][j] = if first[i] == second[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while i < m || j < n {
        if i < m && j < n && first[i] == second[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == n || i < m && common[i + 1][j] >= common[i][j + 1] {
            found.push(Change::Missing(first[i].clone()));
            i += 1;
        } else {
            found.push(Change::Extra(second[j].clone()));
            j += 1;
        }
    }
    found
}

#[test]
fn outputs_are_compared_by_line() {
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let found = changes(&lines("a b c d"), &lines("a x c d e"));
    let [b, x, e] = ["b", "x", "e"].map(str::to_owned);
    assert_eq!(found, [Change::Missing(b), Change::Extra(x), Change::Extra(e)]);
    let text = "## one\n$ a\nout\n\n## two\n$ b\n";
    assert_eq!(print(&parse(text)), text);
}
