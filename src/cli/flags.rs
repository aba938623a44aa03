//! The one table of flags. Parser, help, keys of the configuration file, completion and the
//! README's table are all made from it.

/// How many values a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// None: it is there or not. In a file: `true` or `false`.
    Nothing,
    /// One, called by this name in help.
    One(&'static str),
    /// Several: the flag may be repeated; in a file: a list.
    Many(&'static str),
}

/// Who takes a flag.
pub const SERVER: u8 = 1;
/// `rk agent`.
pub const AGENT: u8 = 2;
/// Every other command that looks at this machine's data.
pub const LOCAL: u8 = 4;
/// Commands that talk to the API as its administrator.
pub const ADMIN: u8 = 8;
/// `rk images`.
pub const IMAGES: u8 = 16;

/// One flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// `--name`, and the key of the configuration file.
    pub name: &'static str,
    /// `-n`.
    pub short: Option<char>,
    /// How many values it takes.
    pub takes: Takes,
    /// What holds where it is not given, in words or as the value; empty for nothing.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Under which heading help shows it.
    pub heading: &'static str,
    /// Which commands take it: bits of the constants above.
    pub on: u8,
}

impl Flag {
    /// The environment variable that sets it: `RK_DATA_DIR`. Two go by the names that users of k3s
    /// know.
    pub fn variable(&self) -> String {
        match self.name {
            "server" => "RK_URL".to_owned(),
            "config" => "RK_CONFIG_FILE".to_owned(),
            name => format!("RK_{}", name.replace('-', "_").to_uppercase()),
        }
    }

    /// Whether the file may set it: not where to find the file.
    pub fn is_key(&self) -> bool {
        self.name != "config"
    }
}

/// The flag called `name`.
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// The flags of one command.
pub fn of(command: u8) -> impl Iterator<Item = &'static Flag> {
    FLAGS.iter().filter(move |flag| flag.on & command != 0)
}

const PLACES: &str = "Places";
const API: &str = "API server";
const NETWORK: &str = "Network";
const NODE: &str = "Node";
const CLUSTER: &str = "Cluster";
const LOG: &str = "Log";

const fn flag(
    heading: &'static str,
    on: u8,
    name: &'static str,
    takes: Takes,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, short: None, takes, default, help, heading, on }
}

const fn short(short: char, flag: Flag) -> Flag {
    Flag { short: Some(short), ..flag }
}

use Takes::{Many, Nothing, One};

/// Every flag there is.
pub const FLAGS: &[Flag] = &[
    short(
        'c',
        flag(
            PLACES,
            SERVER | AGENT | LOCAL | ADMIN,
            "config",
            One("FILE"),
            "/etc/rk/config.yaml",
            "File with flags as keys; files in FILE.d are read after it, in order of name",
        ),
    ),
    short(
        'd',
        flag(
            PLACES,
            SERVER | AGENT | LOCAL,
            "data-dir",
            One("DIR"),
            "/var/lib/rk",
            "Folder of everything that must outlive a restart",
        ),
    ),
    flag(
        PLACES,
        SERVER | AGENT | LOCAL,
        "run-dir",
        One("DIR"),
        "/run/rk",
        "Folder of sockets and mounts, which need not outlive a reboot",
    ),
    flag(
        API,
        SERVER,
        "bind-address",
        One("ADDRESS"),
        "0.0.0.0",
        "Address that the API server listens on",
    ),
    flag(API, SERVER, "https-listen-port", One("PORT"), "6443", "Port of the API server"),
    flag(
        API,
        SERVER,
        "advertise-address",
        One("ADDRESS"),
        "the node's address",
        "Address under which pods and nodes reach the API server",
    ),
    flag(
        API,
        SERVER,
        "tls-san",
        Many("HOST"),
        "",
        "Further name or address in the API server's certificate",
    ),
    short(
        'o',
        flag(
            API,
            SERVER | ADMIN,
            "write-kubeconfig",
            One("FILE"),
            "/etc/rk/rk.yaml",
            "Where to put the administrator's kubeconfig",
        ),
    ),
    flag(
        API,
        SERVER,
        "write-kubeconfig-mode",
        One("MODE"),
        "600",
        "Permissions of that file, in octal",
    ),
    flag(
        API,
        SERVER,
        "kube-apiserver-arg",
        Many("KEY=VALUE"),
        "",
        "Argument as kube-apiserver takes it: oidc-issuer-url and the others of OpenID Connect",
    ),
    flag(CLUSTER, AGENT, "server", One("URL"), "", "Server to join, such as https://10.0.0.1:6443"),
    short(
        't',
        flag(
            CLUSTER,
            SERVER | AGENT,
            "token",
            One("TOKEN"),
            "made at the first start",
            "Secret by which nodes join",
        ),
    ),
    flag(CLUSTER, SERVER | AGENT, "token-file", One("FILE"), "", "File that holds the token"),
    flag(CLUSTER, SERVER, "disable-agent", Nothing, "", "Run no pods on this machine"),
    flag(
        NETWORK,
        SERVER,
        "cluster-cidr",
        One("CIDR[,CIDR]"),
        "10.42.0.0/16",
        "Addresses of pods: of IPv4, and with a second one of IPv6",
    ),
    flag(
        NETWORK,
        SERVER,
        "service-cidr",
        One("CIDR[,CIDR]"),
        "10.43.0.0/16",
        "Addresses of services, of the same families",
    ),
    flag(
        NETWORK,
        SERVER,
        "cluster-dns",
        One("ADDRESS[,ADDRESS]"),
        "the tenth service address",
        "Service addresses of the cluster's DNS",
    ),
    flag(
        NETWORK,
        SERVER,
        "cluster-domain",
        One("DOMAIN"),
        "cluster.local",
        "Domain of services' and pods' names",
    ),
    flag(
        NETWORK,
        SERVER,
        "service-node-port-range",
        One("RANGE"),
        "30000-32767",
        "Ports for services of type NodePort",
    ),
    flag(NODE, SERVER | AGENT, "node-name", One("NAME"), "the host name", "Name of this node"),
    short(
        'i',
        flag(
            NODE,
            SERVER | AGENT,
            "node-ip",
            One("ADDRESS[,ADDRESS]"),
            "those of the default routes",
            "Addresses of this node that other nodes reach it by",
        ),
    ),
    flag(
        NODE,
        SERVER | AGENT,
        "node-label",
        Many("KEY=VALUE"),
        "",
        "Label that the node gets when it first registers",
    ),
    flag(
        NODE,
        SERVER | AGENT,
        "node-taint",
        Many("KEY=VALUE:EFFECT"),
        "",
        "Taint that the node gets when it first registers",
    ),
    flag(
        NODE,
        SERVER | AGENT | IMAGES,
        "private-registry",
        One("FILE"),
        "/etc/rk/registries.yaml",
        "Mirrors, credentials and certificates of image registries",
    ),
    flag(LOG, SERVER | AGENT, "debug", Nothing, "", "Log more"),
];

/// The flags of the server as the README shows them.
pub fn markdown(command: u8) -> String {
    let mut text = String::from("| flag | default | what it does |\n|---|---|---|\n");
    for flag in of(command) {
        let value = match flag.takes {
            Nothing => String::new(),
            One(value) => format!(" {value}"),
            Many(value) => format!(" {value} …"),
        };
        let short = flag.short.map(|short| format!("`-{short}`, ")).unwrap_or_default();
        let (name, default, help) = (flag.name, flag.default, flag.help);
        text.push_str(&format!("| {short}`--{name}{value}` | {default} | {help} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_letters_are_used_once() {
        let names: BTreeSet<_> = FLAGS.iter().map(|flag| flag.name).collect();
        assert_eq!(names.len(), FLAGS.len());
        let shorts: Vec<_> = FLAGS.iter().filter_map(|flag| flag.short).collect();
        assert_eq!(shorts.iter().collect::<BTreeSet<_>>().len(), shorts.len());
    }

    #[test]
    fn variables_follow_the_names() {
        assert_eq!(find("data-dir").unwrap().variable(), "RK_DATA_DIR");
        assert_eq!(find("server").unwrap().variable(), "RK_URL");
    }

    #[test]
    fn every_flag_has_its_row() {
        let table = markdown(SERVER);
        assert!(table.contains("| `-d`, `--data-dir DIR` | /var/lib/rk | Folder"));
        assert_eq!(table.lines().count(), 2 + of(SERVER).count());
    }
}
