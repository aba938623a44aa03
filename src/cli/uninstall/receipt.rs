//! What `install.sh` has put in place: a list per service, which it writes first and which goes
//! last, so that an installation that was stopped half-way is known for one.

use std::path::{Path, PathBuf};

use crate::cli::Failure;

/// Where the lists are, one file per service, named like it.
pub const FOLDER: &str = "/etc/rk/installed";

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The list itself.
    pub path: PathBuf,
    /// What the service is called.
    pub name: String,
    /// The words behind `rk`.
    pub arguments: Vec<String>,
    /// The executable.
    pub executable: Option<PathBuf>,
    /// The unit.
    pub unit: Option<PathBuf>,
    /// The file of the service's environment.
    pub environment: Option<PathBuf>,
    /// Files of a service that runs without an init system: its log, its process id.
    pub others: Vec<PathBuf>,
}

impl Receipt {
    /// All of them in `folder`, by name.
    pub fn all(folder: &Path) -> Result<Vec<Self>, Failure> {
        let unreadable = |error: std::io::Error| {
            Failure::Because(format!("cannot read {}: {error}", folder.display()))
        };
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(unreadable)?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(unreadable)?.path();
            let text = std::fs::read_to_string(&path).map_err(unreadable)?;
            all.push(Self::parse(path, &text));
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn parse(path: PathBuf, text: &str) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut receipt = Self { path, name, ..Self::default() };
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "argument" => receipt.arguments.push(value.to_owned()),
                "executable" => receipt.executable = Some(value.into()),
                "unit" => receipt.unit = Some(value.into()),
                "environment" => receipt.environment = Some(value.into()),
                _ => receipt.others.push(value.into()),
            }
        }
        receipt
    }

    /// The value of a variable of the service.
    pub fn variable(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.environment.as_ref()?).ok()?;
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_was_installed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Receipt::all(&dir.path().join("none")).unwrap().is_empty());
        let environment = dir.path().join("env");
        std::fs::write(&environment, "RK_TOKEN=a=b\n").unwrap();
        let lists = dir.path().join("installed");
        std::fs::create_dir(&lists).unwrap();
        let text = format!(
            "argument=server\nargument=--debug\nexecutable=/b/rk\nunit=/u/rk.service\n\
             environment={}\nlog=/l\npid=/p\n",
            environment.display()
        );
        std::fs::write(lists.join("rk"), text).unwrap();
        let all = Receipt::all(&lists).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].name.as_str(), &all[0].arguments[..]),
            ("rk", &["server", "--debug"].map(str::to_owned)[..])
        );
        assert_eq!(all[0].others, ["/l", "/p"].map(PathBuf::from));
        assert_eq!(all[0].variable("RK_TOKEN").unwrap(), "a=b");
        assert_eq!(all[0].variable("RK"), None);
    }
}
