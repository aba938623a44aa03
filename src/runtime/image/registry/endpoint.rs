//! Where an image can be had: the mirrors of its registry, then the registry itself.

use super::super::reference::Reference;
use super::credentials::Credentials;
use super::settings::{Registries, TlsSettings};
use super::url::{Origin, Url, encode, is_loopback, split_authority};

/// Where docker.io really is.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// One place to ask for a repository.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// With the base path, `/v2` as a rule.
    base: Url,
    /// The repository's name there.
    pub repository: String,
    /// The registry that a mirror stands in for.
    namespace: Option<String>,
    pub credentials: Credentials,
    pub tls: TlsSettings,
}

impl Endpoint {
    /// The address of something in the repository: `manifests/latest`.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.path_and_query = format!("{}/{}/{path}", url.path_and_query, self.repository);
        if let Some(namespace) = &self.namespace {
            url.path_and_query.push_str(&format!("?ns={}", encode(namespace)));
        }
        url
    }

    /// As it is named in messages.
    pub(super) fn shown(&self) -> String {
        self.base.to_string()
    }
}

/// All places for an image, in the order in which they are asked.
///
/// What a pull brings along is for the registry itself and for mirrors over TLS that have no
/// credentials of their own: never in clear to another host.
pub(super) fn endpoints(
    reference: &Reference,
    registries: &Registries,
    brought: &Credentials,
) -> Vec<Endpoint> {
    let own = own_endpoint(reference, registries, brought);
    let Some(mirror) = registries.mirror(reference.registry()) else {
        return own.into_iter().collect();
    };
    let repository = mirror.rewrite(reference.repository());
    let mut found: Vec<Endpoint> = mirror
        .endpoints
        .iter()
        .map(|base| {
            let config = registries.config(&[&named(&base.origin), &base.origin.host]);
            let config = config.cloned().unwrap_or_default();
            let is_own = own.as_ref().is_some_and(|own| is_same(&own.base.origin, &base.origin));
            let credentials = match config.credentials {
                Credentials::Anonymous if is_own || base.origin.secure => brought.clone(),
                own if is_own => prefer(brought, own),
                own => own,
            };
            Endpoint {
                base: base.clone(),
                repository: repository.clone(),
                namespace: (!is_own).then(|| reference.registry().to_string()),
                credentials,
                tls: config.tls,
            }
        })
        .collect();
    let is_listed =
        |own: &Endpoint| found.iter().any(|e| e.base == own.base && e.repository == own.repository);
    if let Some(own) = own
        && !is_listed(&own)
        && (registries.default_endpoint || found.is_empty())
    {
        found.push(own);
    }
    found
}

/// The registry itself; none only for a name that is no address.
fn own_endpoint(
    reference: &Reference,
    registries: &Registries,
    brought: &Credentials,
) -> Option<Endpoint> {
    let registry = reference.registry();
    let authority = if registry == "docker.io" { DOCKER_HUB } else { registry };
    let (host, port) = split_authority(authority)?;
    let config = registries.config(&[authority, registry, &host]);
    let config = config.cloned().unwrap_or_default();
    // Without certificates a registry on this machine is one for trying out.
    let secure = !is_loopback(&host) || config.tls != TlsSettings::default() || port == Some(443);
    let port = port.unwrap_or(if secure { 443 } else { 80 });
    Some(Endpoint {
        base: Url { origin: Origin { secure, host, port }, path_and_query: "/v2".to_string() },
        repository: reference.repository().to_string(),
        namespace: None,
        credentials: prefer(brought, config.credentials),
        tls: config.tls,
    })
}

/// Whether two origins are one server. The settings may say that it speaks plain HTTP.
fn is_same(one: &Origin, other: &Origin) -> bool {
    let usual = |origin: &Origin| origin.port == if origin.secure { 443 } else { 80 };
    one.host == other.host && (one.port == other.port || usual(one) && usual(other))
}

/// What the pull brings along wins over the settings of the machine.
fn prefer(brought: &Credentials, settings: Credentials) -> Credentials {
    if *brought == Credentials::Anonymous { settings } else { brought.clone() }
}

/// The name of a host in the settings: with its port where the address had one that is not usual.
fn named(origin: &Origin) -> String {
    origin.authority()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(yaml: &str) -> Registries {
        let tmp = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(tmp.path(), yaml).unwrap();
        Registries::load(tmp.path()).unwrap()
    }

    #[test]
    fn a_registry_that_speaks_plain_http_is_still_itself() {
        let brought = Credentials::Basic { username: "me".into(), password: "x".into() };
        let yaml = "mirrors: {'r.example.com:5000': {endpoint: ['http://r.example.com:5000', \
                    'http://other.example.com']}}";
        let reference = Reference::parse("r.example.com:5000/a").unwrap();
        let found = endpoints(&reference, &registries(yaml), &brought);
        assert_eq!(found[0].credentials, brought);
        assert_eq!(found[0].url("x").path_and_query, "/v2/a/x");
        assert_eq!(found[1].credentials, Credentials::Anonymous, "never in clear to another host");
    }

    fn urls(image: &str, yaml: &str) -> Vec<String> {
        let reference = Reference::parse(image).unwrap();
        let found = endpoints(&reference, &registries(yaml), &Credentials::Anonymous);
        found
            .iter()
            .map(|e| e.url("x"))
            .map(|url| {
                let scheme = if url.origin.secure { "https" } else { "http" };
                format!("{scheme}://{}{}", url.origin.authority(), url.path_and_query)
            })
            .collect()
    }

    #[test]
    fn without_settings_the_registry_itself_is_asked() {
        for (image, url) in [
            ("nginx", "https://registry-1.docker.io/v2/library/nginx/x"),
            ("quay.io/a/b", "https://quay.io/v2/a/b/x"),
            ("r.example.com:5000/b", "https://r.example.com:5000/v2/b/x"),
            ("127.0.0.1:5000/b", "http://127.0.0.1:5000/v2/b/x"),
            ("localhost/b", "http://localhost/v2/b/x"),
            ("[::1]:5000/b", "http://[::1]:5000/v2/b/x"),
        ] {
            assert_eq!(urls(image, ""), [url]);
        }
        let tls = "configs: {'127.0.0.1:5000': {tls: {insecure_skip_verify: true}}}";
        assert_eq!(urls("127.0.0.1:5000/b", tls), ["https://127.0.0.1:5000/v2/b/x"]);
    }

    #[test]
    fn mirrors_come_first_under_their_own_names() {
        let yaml = "
mirrors:
  docker.io:
    endpoint: [https://m.example.com/v2/hub, 'http://10.0.0.1:5000']
    rewrite: {'^library/': 'top/'}
  self.example.com: {endpoint: ['http://self.example.com']}";
        assert_eq!(
            urls("nginx", yaml),
            [
                "https://m.example.com/v2/hub/top/nginx/x?ns=docker.io",
                "http://10.0.0.1:5000/v2/top/nginx/x?ns=docker.io",
                "https://registry-1.docker.io/v2/library/nginx/x",
            ]
        );
        assert_eq!(
            urls("self.example.com/a", yaml),
            ["http://self.example.com/v2/a/x", "https://self.example.com/v2/a/x"]
        );
    }

    #[test]
    fn the_registry_can_be_left_out() {
        let mut settings = registries("mirrors: {'*': {endpoint: ['http://m:5000']}}");
        settings.default_endpoint = false;
        let reference = Reference::parse("quay.io/a").unwrap();
        assert_eq!(endpoints(&reference, &settings, &Credentials::Anonymous).len(), 1);
    }

    #[test]
    fn credentials_do_not_travel_in_clear_to_strangers() {
        let brought = Credentials::RegistryToken("mine".into());
        let settings = registries(
            "
mirrors:
  r.example.com:
    endpoint: ['https://tls.example.com', 'http://plain.example.com', 'https://own.example.com']
configs:
  own.example.com: {auth: {username: u, password: p}}
  r.example.com: {auth: {username: node, password: p}}",
        );
        let reference = Reference::parse("r.example.com/a").unwrap();
        let used = |brought: &Credentials| -> Vec<Credentials> {
            endpoints(&reference, &settings, brought).into_iter().map(|e| e.credentials).collect()
        };
        let user = |name: &str| Credentials::Basic { username: name.into(), password: "p".into() };
        let none = Credentials::Anonymous;
        assert_eq!(used(&brought), [brought.clone(), none.clone(), user("u"), brought.clone()]);
        assert_eq!(used(&none), [none.clone(), none.clone(), user("u"), user("node")]);
    }
}
