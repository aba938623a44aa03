//! What is served, by discovery, and what there is to serve, by the `k8s-openapi` crate.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use rk::api::tree::Value;

use super::caller::Caller;

/// Names of verbs.
pub type Verbs = BTreeSet<String>;

/// A resource.
#[derive(Debug)]
pub struct Served {
    /// Its group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its plural name.
    pub plural: String,
    /// The kind of its objects.
    pub kind: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// What it can do.
    pub verbs: Verbs,
    /// Its subresources by their last names.
    pub below: Vec<(String, Below)>,
}

/// A subresource.
#[derive(Debug)]
pub struct Below {
    /// The kind of its objects.
    pub kind: String,
    /// What it can do.
    pub verbs: Verbs,
}

impl Served {
    /// `group/version`, or the version alone.
    pub fn api_version(&self) -> String {
        match &*self.group {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The path of the collection, in a namespace where there are such.
    pub fn collection(&self, namespace: &str) -> String {
        let base = self.base();
        match self.namespaced {
            true => format!("{base}/namespaces/{namespace}/{}", self.plural),
            false => format!("{base}/{}", self.plural),
        }
    }

    /// The path of its version.
    pub fn base(&self) -> String {
        match &*self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }
}

/// Everything in discovery.
pub async fn all(caller: &Caller) -> Vec<Served> {
    const FORM: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let mut found = Vec::new();
    for root in ["/api", "/apis"] {
        let groups = caller.get_as(root, FORM).await.json();
        for group in groups.get("items").items() {
            for version in group.get("versions").items() {
                let name = group.at(&["metadata", "name"]).str();
                let resources = version.get("resources").items().iter();
                found
                    .extend(resources.map(|one| resource(name, version.get("version").str(), one)));
            }
        }
    }
    found
}

fn verbs(of: &Value) -> Verbs {
    of.get("verbs").items().iter().map(|verb| verb.str().to_owned()).collect()
}

fn resource(group: &str, version: &str, found: &Value) -> Served {
    let below = |one: &Value| {
        let kind = one.at(&["responseKind", "kind"]).str().to_owned();
        (one.get("subresource").str().to_owned(), Below { kind, verbs: verbs(one) })
    };
    Served {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: found.get("resource").str().to_owned(),
        kind: found.at(&["responseKind", "kind"]).str().to_owned(),
        namespaced: found.get("scope").str() == "Namespaced",
        verbs: verbs(found),
        below: found.get("subresources").items().iter().map(below).collect(),
    }
}

/// Groups, versions and kinds of the crate, of versions that are generally available.
pub fn types_of_the_crate() -> Vec<(String, String, String)> {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline"])
        // What other platforms need may not be there.
        .args(["--filter-platform", "x86_64-unknown-linux-musl", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("run cargo");
    let metadata = Value::parse(&cargo.stdout).expect("what cargo says");
    let mut packages = metadata.get("packages").items().iter();
    let package = packages.find(|package| package.get("name").str() == "k8s-openapi");
    let manifest = PathBuf::from(package.expect("the crate").get("manifest_path").str());
    let mut found = Vec::new();
    read(&manifest.with_file_name("src").join("v1_37"), &mut found);
    found
}

fn read(folder: &Path, found: &mut Vec<(String, String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read(&path, found);
        } else {
            let text = std::fs::read_to_string(&path).expect("a source file");
            found.extend(text.split("impl crate::Resource for ").skip(1).filter_map(kind));
        }
    }
}

/// The constants that say what a type is.
fn kind(text: &str) -> Option<(String, String, String)> {
    let constant = |name: &str| {
        let (_, rest) = text.split_once(&format!("const {name}: &'static str = \""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let version = constant("VERSION")?;
    let number = version.strip_prefix('v')?;
    number.parse::<u8>().is_ok().then_some((constant("GROUP")?, version, constant("KIND")?))
}
