//! What was typed and written: flags from files, environment and command line, layered, as text.
//!
//! The command line wins over the environment, which wins over the files; a later file wins over
//! an earlier one. A key that ends in `+` adds to what earlier files said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::flags::{self, Flag, Takes};
use super::nearest::nearest;
use crate::api::tree::Value;

/// Something wrong with the configuration, in words that say where and what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// A flag's values and where they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    values: Vec<String>,
    origin: String,
}

/// Flags as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Raw {
    given: BTreeMap<&'static str, Given>,
}

impl Raw {
    /// The value of a flag that takes one, if it was given.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.given.get(name)?.values.last().map(String::as_str)
    }

    /// The values of a flag that takes several.
    pub fn many(&self, name: &str) -> &[String] {
        self.given.get(name).map_or(&[], |given| &given.values)
    }

    /// Whether a flag without value is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.one(name) == Some("true")
    }

    /// Where a flag is from, as errors name it: `--token`, `RK_TOKEN`, `token in FILE`.
    pub fn origin(&self, name: &str) -> String {
        self.given.get(name).map_or_else(|| format!("--{name}"), |given| given.origin.clone())
    }

    /// Takes over everything that `upper` says.
    pub fn over(&mut self, upper: Self) {
        self.given.extend(upper.given);
    }

    fn set(&mut self, flag: &'static Flag, values: Vec<String>, origin: String) {
        self.given.insert(flag.name, Given { values, origin });
    }

    /// Takes a flag over from the command line.
    pub fn typed(&mut self, flag: &'static Flag, values: Vec<String>) {
        self.set(flag, values, format!("--{}", flag.name));
    }

    /// Takes the flags of `command` over from the environment.
    pub fn environment(
        &mut self,
        command: u8,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        for flag in flags::of(command) {
            let name = flag.variable();
            let Some(text) = variable(&name).filter(|text| !text.is_empty()) else { continue };
            let values = match flag.takes {
                Takes::Many(_) => text.split(',').map(|v| v.trim().to_owned()).collect(),
                Takes::One(_) => vec![text],
                Takes::Nothing => match switch(&text) {
                    Some(on) => vec![on.to_string()],
                    None => {
                        faults.push(Fault(format!("{name}: {text:?} is neither true nor false")));
                        continue;
                    }
                },
            };
            self.set(flag, values, name);
        }
        faults
    }

    /// Takes flags over from one file's text. Flags that only other commands take are passed over:
    /// one file may serve a server and an agent.
    pub fn file(&mut self, command: u8, path: &Path, text: &str) -> Vec<Fault> {
        let at = path.display();
        // A node may be called `on`, `n` or `y`.
        let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
        let parsed = serde_saphyr::from_str_with_options::<Option<Value>>(text, options);
        let tree = match parsed {
            Ok(None | Some(Value::Null)) => return Vec::new(),
            Ok(Some(tree @ Value::Object(_))) => tree,
            Ok(Some(_)) => return vec![Fault(format!("{at}: must be a map from flags to values"))],
            Err(error) => return vec![Fault(format!("{at}: {error}"))],
        };
        let mut faults = Vec::new();
        // A key and its `+` form in one file: first the value, then what is added, as sorted.
        for (key, value) in tree.fields() {
            let (name, add) = key.strip_suffix('+').map_or((key, false), |name| (name, true));
            let Some(flag) = flags::find(name).filter(|flag| flag.is_key()) else {
                faults.push(unknown(key, path));
                continue;
            };
            if flag.on & command == 0 {
                continue;
            }
            match texts(flag, value) {
                Ok(mut values) => {
                    if add {
                        values.splice(0..0, self.many(flag.name).iter().cloned());
                    }
                    self.set(flag, values, format!("{name} in {at}"));
                }
                Err(why) => faults.push(Fault(format!("{name} in {at}: {why}"))),
            }
        }
        faults
    }
}

fn unknown(key: &str, path: &Path) -> Fault {
    let known = flags::FLAGS.iter().filter(|flag| flag.is_key()).map(|flag| flag.name);
    let hint = nearest(key.trim_end_matches('+'), known)
        .map(|name| format!("; did you mean {name:?}?"))
        .unwrap_or_default();
    Fault(format!("unknown key {key:?} in {}{hint}", path.display()))
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A key's value as the flag takes it.
fn texts(flag: &Flag, value: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::Str(text) => Ok(text.to_string()),
        Value::Float(_) if value.as_int().is_none() => {
            Err(format!("{value} is read as a number: write it in quotes"))
        }
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => Ok(value.to_string()),
        other => Err(format!("a {} cannot be a value", other.kind_name())),
    };
    match (flag.takes, value) {
        (Takes::Many(_), Value::Array(items)) => items.iter().map(one).collect(),
        (Takes::Nothing, value) => match value {
            Value::Bool(on) => Ok(vec![on.to_string()]),
            other => Err(format!("{other} is neither true nor false")),
        },
        (Takes::One(_), Value::Array(_)) => Err("takes one value, not a list".to_owned()),
        (_, value) => one(value).map(|text| vec![text]),
    }
}

/// The configuration files in the order in which they are read: the file itself, then its drop-ins
/// by name.
///
/// # Errors
/// When the folder of drop-ins is there but cannot be read.
pub fn files(config: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut folder = config.as_os_str().to_owned();
    folder.push(".d");
    let mut dropped: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e),
    };
    dropped.retain(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    dropped.sort();
    Ok(std::iter::once(config.to_owned()).chain(dropped).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::{AGENT, SERVER};

    fn file(raw: &mut Raw, text: &str) -> Vec<String> {
        let faults = raw.file(SERVER, Path::new("c.yaml"), text);
        faults.into_iter().map(|fault| fault.0).collect()
    }

    #[test]
    fn later_files_win_and_plus_adds() {
        let mut raw = Raw::default();
        assert!(file(&mut raw, "tls-san: [a, b]\nhttps-listen-port: 7443\n").is_empty());
        assert!(file(&mut raw, "tls-san+: c\nhttps-listen-port: 8443\n").is_empty());
        assert_eq!(raw.many("tls-san"), ["a", "b", "c"]);
        assert_eq!(raw.one("https-listen-port"), Some("8443"));
        assert!(file(&mut raw, "tls-san: [d]\n").is_empty());
        assert_eq!(raw.many("tls-san"), ["d"]);
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_known_one() {
        let mut raw = Raw::default();
        assert_eq!(
            file(&mut raw, "cluster-cdir: 10.0.0.0/16\nzzz: 1\n"),
            [
                "unknown key \"cluster-cdir\" in c.yaml; did you mean \"cluster-cidr\"?",
                "unknown key \"zzz\" in c.yaml"
            ]
        );
    }

    #[test]
    fn values_of_the_wrong_form_are_named() {
        let mut raw = Raw::default();
        assert_eq!(
            file(&mut raw, "disable-agent: maybe\nnode-name: [a]\ntls-san:\n  x: y\ntoken: 1e99\n"),
            [
                "disable-agent in c.yaml: \"maybe\" is neither true nor false",
                "node-name in c.yaml: takes one value, not a list",
                "tls-san in c.yaml: a object cannot be a value",
                "token in c.yaml: 1e+99 is read as a number: write it in quotes",
            ]
        );
        assert_eq!(file(&mut raw, "- a\n"), ["c.yaml: must be a map from flags to values"]);
        assert!(file(&mut raw, "# nothing\n").is_empty());
        assert_eq!(file(&mut raw, "a: [").len(), 1);
    }

    #[test]
    fn octal_modes_keep_their_digits() {
        let mut raw = Raw::default();
        assert!(file(&mut raw, "write-kubeconfig-mode: 0644\n").is_empty());
        assert_eq!(raw.one("write-kubeconfig-mode"), Some("644"));
    }

    #[test]
    fn one_file_serves_server_and_agent() {
        let mut raw = Raw::default();
        let text = "cluster-cidr: 10.0.0.0/16\nnode-name: n\n";
        assert!(raw.file(AGENT, Path::new("c.yaml"), text).is_empty());
        assert_eq!((raw.one("cluster-cidr"), raw.one("node-name")), (None, Some("n")));
    }

    #[test]
    fn the_environment_wins_over_files_and_loses_to_the_command_line() {
        let mut raw = Raw::default();
        file(&mut raw, "node-name: file\ndebug: true\n");
        let variable = |name: &str| match name {
            "RK_NODE_NAME" => Some("env".to_owned()),
            "RK_DISABLE_AGENT" => Some("1".to_owned()),
            "RK_TLS_SAN" => Some("a, b".to_owned()),
            _ => None,
        };
        assert!(raw.environment(SERVER, variable).is_empty());
        assert_eq!(raw.one("node-name"), Some("env"));
        assert_eq!(raw.many("tls-san"), ["a", "b"]);
        assert!(raw.is_on("disable-agent") && raw.is_on("debug"));
        raw.typed(flags::find("node-name").unwrap(), vec!["typed".into()]);
        assert_eq!(raw.one("node-name"), Some("typed"));
        assert_eq!(raw.origin("node-name"), "--node-name");
    }

    #[test]
    fn drop_ins_come_after_the_file_in_order_of_name() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.yaml");
        assert_eq!(files(&config).unwrap(), std::slice::from_ref(&config));
        let folder = dir.path().join("config.yaml.d");
        std::fs::create_dir(&folder).unwrap();
        for name in ["b.yaml", "a.yaml", "note.txt"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        assert_eq!(files(&config).unwrap(), [config, folder.join("a.yaml"), folder.join("b.yaml")]);
    }
}
