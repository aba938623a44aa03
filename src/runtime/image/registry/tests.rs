//! Pulls from a real registry, and from one that lies, hangs and breaks off.

mod debian;
mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use debian::DebianRegistry;
use fake::{Asked, Authority, Fake, Reply};

use super::*;
use crate::runtime::image::digest::Digest;
use crate::runtime::image::testing::{Tar, TestImage, gzip, zstd};
use crate::runtime::image::{
    Class, Error, Image, Platform, PruneRequest, Reference, Result, Store,
};

/// A store, and settings for registries.
struct Bench {
    tmp: tempfile::TempDir,
    store: Arc<Store>,
    registries: Registries,
}

impl Bench {
    fn new() -> Bench {
        Bench::with("")
    }

    fn with(yaml: &str) -> Bench {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(&tmp.path().join("images")).unwrap();
        let path = tmp.path().join("registries.yaml");
        std::fs::write(&path, yaml).unwrap();
        let registries = Registries::load(&path).unwrap();
        Bench { tmp, store, registries }
    }

    /// With deadlines that a test can wait for.
    fn impatient() -> Bench {
        let mut bench = Bench::new();
        let soon = Duration::from_millis(400);
        bench.registries.deadlines = Deadlines { connect: soon, response: soon, stall: soon };
        bench
    }

    async fn pull_as(&self, name: &str, credentials: &Credentials) -> Result<Arc<Image>> {
        let reference = Reference::parse(name)?;
        let (store, registries) = (Arc::clone(&self.store), self.registries.clone());
        let credentials = credentials.clone();
        // On a thread of its own, as the node does it: the future must be Send.
        let pull =
            tokio::spawn(async move { store.pull(&reference, &credentials, &registries).await });
        pull.await.unwrap()
    }

    async fn pull(&self, name: &str) -> Result<Arc<Image>> {
        self.pull_as(name, &Credentials::Anonymous).await
    }

    /// The error of a pull after which nothing half-done may be there.
    async fn refusal(&self, name: &str) -> Error {
        let error = self.pull(name).await.unwrap_err();
        self.assert_clean(&error).await;
        error
    }

    async fn assert_clean(&self, error: &Error) {
        let images = self.tmp.path().join("images");
        assert!(!images.join("index.json").exists(), "{error}");
        // Another layer's unpacking is cut off as well, but in its own thread: it ends soon after.
        let deadline = crate::util::clock::instant() + Duration::from_secs(10);
        while std::fs::read_dir(images.join("ingest")).unwrap().count() > 0 {
            assert!(crate::util::clock::instant() < deadline, "{error}");
            tokio::task::yield_now().await;
        }
        if error.class() == Class::Transport {
            // Whole parts may wait for another attempt, but not for ever.
            self.store.prune(PruneRequest::default()).await.unwrap();
        }
        for dir in ["layers", "partial", "blobs/sha256"] {
            let left = std::fs::read_dir(images.join(dir)).unwrap().count();
            assert_eq!(left, 0, "{dir} after {error}");
        }
    }

    async fn read(&self, image: &Image, file: &str) -> String {
        let id = crate::util::id::suffix(8);
        let lower = self.store.prepare(&id, &image.id).await.unwrap().lower;
        self.store.release(&id).await.unwrap();
        let found = lower.iter().find_map(|dir| std::fs::read_to_string(dir.join(file)).ok());
        found.unwrap()
    }
}

fn noise(bytes: usize, seed: u64) -> String {
    let mut state = seed | 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    (0..bytes).map(|_| step()).collect()
}

fn image() -> TestImage {
    let layers = [
        Tar::new().dir("etc", 0o755).file("etc/name", "lower").build(),
        Tar::new().file("hello", "world").file("noise", &noise(200_000, 7)).build(),
    ];
    TestImage::new(&layers, gzip)
}

fn big() -> TestImage {
    TestImage::new(&[Tar::new().file("noise", &noise(4 << 20, 3)).build()], |plain| plain.to_vec())
}

fn layer_of(image: &TestImage) -> String {
    Digest::of(&image.layers.last().unwrap().0).to_string()
}

#[tokio::test]
async fn a_real_registry_gives_its_images() {
    let Some(registry) = DebianRegistry::start(None) else { return };
    registry.push("team/app", "1", &image()).await;
    let packed = TestImage::new(&[Tar::new().file("hello", "zstd").build()], zstd);
    registry.push("zstd", "1", &packed).await;
    let bench = Bench::new();
    let name = registry.image("team/app:1");
    let pulled = bench.pull(&name).await.unwrap();
    assert_eq!(pulled.tags, std::slice::from_ref(&name));
    let digest = registry.image(&format!("team/app@{}", image().digest()));
    assert_eq!(pulled.repo_digests, std::slice::from_ref(&digest));
    assert_eq!((&pulled.target, &pulled.id), (&image().digest(), &image().id()));
    assert_eq!(bench.read(&pulled, "hello").await, "world");
    assert_eq!(bench.pull(&name).await.unwrap(), pulled);
    assert_eq!(bench.pull(&digest).await.unwrap().id, pulled.id);
    let zstd = bench.pull(&registry.image("zstd:1")).await.unwrap();
    assert_eq!(bench.read(&zstd, "hello").await, "zstd");
    // Packed layers are gone once they are unpacked: two documents per image stay.
    let blobs = std::fs::read_dir(bench.tmp.path().join("images/blobs/sha256")).unwrap();
    assert_eq!(blobs.count(), 4);
    for missing in ["team/app:2", "team/none:1"] {
        let error = bench.pull(&registry.image(missing)).await.unwrap_err();
        assert_eq!(error.class(), Class::NotFound, "{error}");
        assert!(error.to_string().starts_with(&registry.image(missing)), "{error}");
    }
}

#[tokio::test]
async fn a_moved_tag_is_noticed() {
    let Some(registry) = DebianRegistry::start(None) else { return };
    let bench = Bench::new();
    let name = registry.image("app:1");
    registry.push("app", "1", &image()).await;
    let old = bench.pull(&name).await.unwrap();
    registry.push("app", "1", &big()).await;
    let new = bench.pull(&name).await.unwrap();
    assert_ne!(old.id, new.id);
    assert_eq!(bench.store.resolve(&name).await.unwrap().unwrap().id, new.id);
}

#[tokio::test]
async fn a_real_index_gives_the_build_for_this_machine() {
    let Some(registry) = DebianRegistry::start(None) else { return };
    let other =
        Platform { architecture: "s390x".into(), os: "linux".into(), ..Platform::default() };
    let foreign = TestImage::on(&other, &[Tar::new().file("hello", "other").build()], gzip);
    registry.push("multi", "own", &image()).await;
    registry.push("multi", "other", &foreign).await;
    let entry = |image: &TestImage, platform: &Platform| {
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.digest(), "size": image.manifest.len(),
            "platform": {"os": platform.os, "architecture": platform.architecture},
        })
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    let list = |entries: &[serde_json::Value]| {
        serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).to_string()
    };
    let both = list(&[entry(&foreign, &other), entry(&image(), &Platform::host())]);
    registry.push_manifest("multi", "both", kind, both.as_bytes()).await;
    let alone = list(&[entry(&foreign, &other)]);
    registry.push_manifest("multi", "alone", kind, alone.as_bytes()).await;
    let bench = Bench::new();
    for tag in ["alone", "other"] {
        let error = bench.refusal(&registry.image(&format!("multi:{tag}"))).await;
        assert_eq!(error.class(), Class::NoMatchingPlatform, "{error}");
        assert!(error.to_string().contains("linux/s390x"), "{error}");
    }
    let pulled = bench.pull(&registry.image("multi:both")).await.unwrap();
    assert_eq!((&pulled.manifest, &pulled.id), (&image().digest(), &image().id()));
    assert_eq!(pulled.target, Digest::of(both.as_bytes()));
}

#[tokio::test]
async fn a_real_password_opens_and_a_wrong_one_does_not() {
    let Some(registry) = DebianRegistry::start(Some("s3cret")) else { return };
    registry.push("app", "1", &image()).await;
    let name = registry.image("app:1");
    let bench = Bench::new();
    for credentials in [Credentials::Anonymous, registry.login("wrong")] {
        let error = bench.pull_as(&name, &credentials).await.unwrap_err();
        bench.assert_clean(&error).await;
        assert_eq!(error.class(), Class::Unauthorized, "{error}");
        assert!(error.to_string().starts_with(&format!("pull access denied for {name}")));
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    bench.pull_as(&name, &registry.login("s3cret")).await.unwrap();
    let settings = format!(
        "configs: {{'127.0.0.1:{}': {{auth: {{username: me, password: s3cret}}}}}}",
        registry.port
    );
    Bench::with(&settings).pull(&name).await.unwrap();
    // What the pull brings along wins.
    let error = Bench::with(&settings).pull_as(&name, &registry.login("wrong")).await.unwrap_err();
    assert_eq!(error.class(), Class::Unauthorized);
}

#[tokio::test]
async fn a_real_registry_resumes() {
    let Some(registry) = DebianRegistry::start(None) else { return };
    registry.push("big", "1", &big()).await;
    let bench = Bench::new();
    let layer = &big().layers[0].0;
    let partial = bench.store.layout.partial().join(Digest::of(layer).hex());
    std::fs::write(&partial, &layer[..3 << 20]).unwrap();
    let pulled = bench.pull(&registry.image("big:1")).await.unwrap();
    assert_eq!(pulled.id, big().id());
    assert!(!partial.exists());
}

#[tokio::test]
async fn lies_about_digests_are_caught() {
    let test = image();
    let (layer, config) = (layer_of(&test), test.id().to_string());
    let lie = |part: String| {
        move |asked: &Asked| {
            let lie = Reply::Send(200, Vec::new(), b"lies, all lies".to_vec());
            asked.is(&part).then_some(lie)
        }
    };
    // Same length as the truth, so that only the digest can tell.
    let long = vec![b'x'; test.layers[1].0.len()];
    let layer_part = layer.clone();
    let same_length = move |asked: &Asked| {
        asked.is(&layer_part).then(|| Reply::Send(200, Vec::new(), long.clone()))
    };
    let server = Fake::start(&test, same_length).await;
    let error = Bench::new().refusal(&server.image("app:1")).await;
    assert_eq!(error.class(), Class::DigestMismatch, "{error}");
    assert!(error.to_string().contains(&format!("expected {layer}")), "{error}");
    let server = Fake::start(&test, lie(config)).await;
    assert_eq!(Bench::new().refusal(&server.image("app:1")).await.class(), Class::DigestMismatch);
    let name = format!("app@{}", test.digest());
    let server = Fake::start(&test, lie("/manifests/".to_string())).await;
    assert_eq!(Bench::new().refusal(&server.image(&name)).await.class(), Class::DigestMismatch);
    // By tag, the registry's own header tells that the body is damaged.
    let header = Digest::of(b"something else").to_string();
    let manifest = test.manifest.clone();
    let server = Fake::start(&test, move |asked| {
        let reply = Reply::Send(200, Vec::new(), manifest.clone());
        asked.is("/manifests/").then(|| reply.with("Docker-Content-Digest", &header))
    });
    let error = Bench::new().refusal(&server.await.image("app:1")).await;
    assert_eq!(error.class(), Class::DigestMismatch, "{error}");
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_configuration_says_is_caught() {
    let mut test = image();
    let other = TestImage::new(&[Tar::new().build(), Tar::new().file("x", "").build()], gzip);
    // A manifest with the layers of one image and the configuration of another.
    let manifest = String::from_utf8(test.manifest.clone()).unwrap();
    let manifest = manifest.replace(test.id().as_str(), other.id().as_str());
    test.manifest = manifest.into_bytes();
    test.config = other.config.clone();
    let server = Fake::start(&test, |_| None).await;
    let error = Bench::new().refusal(&server.image("app:1")).await;
    assert_eq!(error.class(), Class::DigestMismatch, "{error}");
}

#[tokio::test]
async fn a_registry_that_hangs_is_given_up() {
    let test = image();
    for part in ["/manifests/", test.id().as_str(), layer_of(&test).as_str()] {
        let hung = part.to_string();
        let server = Fake::start(&test, move |a| a.is(&hung).then_some(Reply::Hang)).await;
        let error = Bench::impatient().refusal(&server.image("app:1")).await;
        assert_eq!(error.class(), Class::Transport, "{part}: {error}");
        assert!(error.to_string().contains("no answer within 0.4 s"), "{error}");
    }
    let part = layer_of(&test);
    let body = test.layers[1].0.clone();
    let server = Fake::start(&test, move |a| {
        let whole = Reply::Send(200, Vec::new(), body.clone());
        a.is(&part).then(|| Reply::Stall(100, Box::new(whole)))
    });
    let error = Bench::impatient().refusal(&server.await.image("app:1")).await;
    assert!(error.to_string().contains("transfer stalled for 0.4 s"), "{error}");
    let error = Bench::new().refusal("127.0.0.1:1/app:1").await;
    assert!(error.to_string().contains("Connection refused"), "{error}");
    // A host that swallows packets: nobody takes connections from a full queue.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    nix::sys::socket::listen(&silent, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _first = std::net::TcpStream::connect(address).unwrap();
    let error = Bench::impatient().refusal(&format!("{address}/app:1")).await;
    assert!(error.to_string().contains("no connection within 0.4 s"), "{error}");
}

#[tokio::test]
async fn a_broken_transfer_is_resumed_where_it_stopped() {
    let test = big();
    let (part, body) = (layer_of(&test), test.layers[0].0.clone());
    let times = AtomicUsize::new(0);
    let server = Fake::start(&test, move |asked| {
        if !asked.is(&part) || times.fetch_add(1, Ordering::SeqCst) > 0 {
            return None;
        }
        Some(Reply::Cut(3 << 20, Box::new(Reply::Send(200, Vec::new(), body.clone()))))
    })
    .await;
    let bench = Bench::new();
    bench.pull(&server.image("app:1")).await.unwrap();
    let asked = server.asked();
    let ranges: Vec<Option<&str>> =
        asked.iter().filter(|a| a.is(&layer_of(&test))).map(|a| a.header("range")).collect();
    assert_eq!(ranges.len(), 2);
    assert_eq!(ranges[0], None);
    let from: u64 = ranges[1].unwrap()["bytes=".len()..].trim_end_matches('-').parse().unwrap();
    assert!(from > 1 << 20, "resumed at {from}");
}

#[tokio::test]
async fn what_a_failed_pull_brought_serves_the_next() {
    let test = big();
    let (part, body) = (layer_of(&test), test.layers[0].0.clone());
    let healthy = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = Arc::clone(&healthy);
    let server = Fake::start(&test, move |asked| {
        let broken = asked.is(&part) && !switch.load(Ordering::SeqCst);
        let whole = || Box::new(Reply::Send(200, Vec::new(), body.clone()));
        match asked.header("range") {
            None if broken => Some(Reply::Cut(2 << 20, whole())),
            Some(_) if broken => Some(Reply::Reset),
            _ => None,
        }
    })
    .await;
    let bench = Bench::new();
    let error = bench.pull(&server.image("app:1")).await.unwrap_err();
    assert_eq!(error.class(), Class::Transport, "{error}");
    // The part, and what protects the rest of the image.
    assert_eq!(std::fs::read_dir(bench.store.layout.partial()).unwrap().count(), 2);
    // Other operations leave it alone.
    let other = Fake::start(&image(), |_| None).await;
    let other = bench.pull(&other.image("other:1")).await.unwrap();
    bench.store.remove(other.id.as_str()).await.unwrap();
    assert!(bench.store.list().await.unwrap().is_empty());
    healthy.store(true, Ordering::SeqCst);
    let before = server.asked().len();
    bench.pull(&server.image("app:1")).await.unwrap();
    let asked = server.asked().split_off(before);
    assert!(asked.iter().any(|a| a.is(&layer_of(&test)) && a.header("range").is_some()));
    assert_eq!(std::fs::read_dir(bench.store.layout.partial()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_wrong_beginning_is_thrown_away() {
    let test = big();
    let server = Fake::start(&test, |_| None).await;
    let bench = Bench::new();
    let digest = Digest::of(&test.layers[0].0);
    for leftover in [vec![0; 2 << 20], vec![0; 9 << 20]] {
        std::fs::write(bench.store.layout.partial().join(digest.hex()), leftover).unwrap();
        let image = bench.pull(&server.image("app:1")).await.unwrap();
        bench.store.remove(image.id.as_str()).await.unwrap();
    }
    // A registry that knows no ranges sends everything.
    let body = test.layers[0].0.clone();
    let part = layer_of(&test);
    let server = Fake::start(&test, move |asked| {
        asked.is(&part).then(|| Reply::Send(200, Vec::new(), body.clone()))
    });
    std::fs::write(bench.store.layout.partial().join(digest.hex()), &test.layers[0].0[..99])
        .unwrap();
    bench.pull(&server.await.image("app:1")).await.unwrap();
}

#[tokio::test]
async fn short_faults_are_survived_and_lasting_ones_named() {
    let test = image();
    let times = AtomicUsize::new(0);
    let server = Fake::start(&test, move |_| match times.fetch_add(1, Ordering::SeqCst) {
        0 => Some(Reply::Reset),
        2 => Some(Reply::status(503)),
        _ => None,
    })
    .await;
    Bench::new().pull(&server.image("app:1")).await.unwrap();
    for (reply, part) in [
        (Reply::Reset, "request to http://127.0.0.1"),
        (Reply::Send(500, Vec::new(), b"oops".to_vec()), "500 Internal Server Error"),
        (
            Reply::Send(429, Vec::new(), br#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#.to_vec()),
            "limits its rate: 429 Too Many Requests: toomanyrequests",
        ),
        (Reply::Send(200, Vec::new(), b"<html>login</html>".to_vec()), "malformed"),
        (
            Reply::Send(200, Vec::new(), br#"{"schemaVersion":1,"fsLayers":[]}"#.to_vec()),
            "obsolete",
        ),
        (Reply::Send(200, Vec::new(), vec![b' '; 5 << 20]), "more than 4194304 bytes"),
        (Reply::Send(403, Vec::new(), Vec::new()), "pull access denied"),
        (
            Reply::Send(302, vec![("Location".into(), "/v2/app/manifests/1".into())], Vec::new()),
            "too many redirections",
        ),
        (
            Reply::Send(302, vec![("Location".into(), "gopher://x".into())], Vec::new()),
            "no address",
        ),
    ] {
        let server = Fake::start(&test, move |_| Some(reply.clone())).await;
        let error = Bench::new().refusal(&server.image("app:1")).await;
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
}

#[tokio::test]
async fn a_layer_longer_than_announced_is_cut_off() {
    let test = image();
    let part = layer_of(&test);
    let server = Fake::start(&test, move |asked| {
        asked.is(&part).then(|| Reply::Send(200, Vec::new(), vec![b'x'; 10 << 20]))
    });
    let error = Bench::new().refusal(&server.await.image("app:1")).await;
    assert!(error.to_string().contains("bytes announced"), "{error}");
}

/// A registry whose token service accepts one password, and whose tokens work so many times.
async fn token_registry(test: &TestImage, uses: usize) -> Fake {
    let left = AtomicUsize::new(0);
    Fake::start(test, move |asked| {
        let host = asked.header("host").unwrap().to_string();
        if asked.is("/token") {
            let good = Credentials::Basic { username: "me".into(), password: "s3cret".into() };
            let is_basic = asked.header("authorization") == good.basic().as_deref();
            let is_refresh = asked.body.contains("refresh_token=long-lived")
                && asked.body.contains("scope=repository%3Aapp%3Apull");
            if !is_basic && !is_refresh {
                let body = br#"{"details":"incorrect username or password"}"#.to_vec();
                return Some(Reply::Send(401, Vec::new(), body));
            }
            assert!(is_refresh || asked.is("service=the%20service"), "{}", asked.path);
            left.store(uses, Ordering::SeqCst);
            let field = if is_refresh { "access_token" } else { "token" };
            let body = format!(r#"{{"{field}":"t0ken","expires_in":60}}"#);
            return Some(Reply::Send(200, Vec::new(), body.into_bytes()));
        }
        let used = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if asked.header("authorization") == Some("Bearer t0ken") && used.is_ok() {
            return None;
        }
        let challenge = format!(
            "Bearer realm=\"http://{host}/token?x=y\",service=\"the service\",\
             scope=\"repository:app:pull\""
        );
        Some(Reply::status(401).with("WWW-Authenticate", &challenge))
    })
    .await
}

#[tokio::test]
async fn tokens_are_fetched_and_renewed() {
    let test = image();
    let me = Credentials::Basic { username: "me".into(), password: "s3cret".into() };
    let server = token_registry(&test, 1000).await;
    Bench::new().pull_as(&server.image("app:1"), &me).await.unwrap();
    assert_eq!(server.gets("/token"), 1);
    let refresh = Credentials::IdentityToken("long-lived".into());
    Bench::new().pull_as(&server.image("app:1"), &refresh).await.unwrap();
    let direct = Credentials::RegistryToken("t0ken".into());
    Bench::new().pull_as(&server.image("app:1"), &direct).await.unwrap();
    for wrong in [
        Credentials::Anonymous,
        Credentials::Basic { username: "me".into(), password: "guess".into() },
        Credentials::RegistryToken("stale".into()),
    ] {
        let error = Bench::new().pull_as(&server.image("app:1"), &wrong).await.unwrap_err();
        assert_eq!(error.class(), Class::Unauthorized, "{error}");
    }
    // Tokens that expire in the middle of a pull.
    let server = token_registry(&test, 1).await;
    Bench::new().pull_as(&server.image("app:1"), &me).await.unwrap();
    assert!(server.gets("/token") > 1);
}

#[tokio::test]
async fn credentials_stay_with_the_host_they_are_for() {
    let test = image();
    let storage = Fake::start(&test, |_| None).await;
    let port = storage.port;
    let me = Credentials::Basic { username: "me".into(), password: "s3cret".into() };
    let basic = me.basic();
    let server = Fake::start(&test, move |asked| {
        if asked.header("authorization") != basic.as_deref() {
            return Some(Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""));
        }
        let location = format!("http://127.0.0.1:{port}{}?signed=1", asked.path);
        asked.is("/blobs/").then(|| Reply::status(307).with("Location", &location))
    })
    .await;
    Bench::new().pull_as(&server.image("app:1"), &me).await.unwrap();
    let asked = storage.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|a| a.header("authorization").is_none() && a.is("signed=1")));
}

#[tokio::test]
async fn mirrors_stand_in_and_the_registry_itself_comes_last() {
    let test = image();
    let dead = Fake::start(&test, |_| Some(Reply::Reset)).await;
    let lacking = Fake::start(&test, |_| Some(Reply::status(404))).await;
    let mirror = Fake::start(&test, |asked| (!asked.is("/top/app/")).then(|| Reply::status(404)));
    let (mirror, registry) = (mirror.await, Fake::start(&test, |_| None).await);
    let yaml = format!(
        "mirrors:\n  '127.0.0.1:{}':\n    endpoint: ['http://127.0.0.1:{}', \
         'http://127.0.0.1:{}', 'http://127.0.0.1:{}/v2/proxy']\n    \
         rewrite: {{'^lib/(.*)': 'top/$1'}}",
        registry.port, dead.port, lacking.port, mirror.port
    );
    let bench = Bench::with(&yaml);
    let pulled = bench.pull(&registry.image("lib/app:1")).await.unwrap();
    assert_eq!(pulled.tags, [registry.image("lib/app:1")]);
    assert!(registry.asked().is_empty());
    // Once it was silent, it is not asked for every layer again.
    assert_eq!(dead.asked().len(), crate::limits::REGISTRY_ATTEMPTS_MAX as usize);
    let ns = format!("?ns=127.0.0.1%3A{}", registry.port);
    assert!(mirror.asked()[0].path.starts_with("/v2/proxy/top/app/manifests/1"));
    assert!(mirror.asked().iter().all(|a| a.path.ends_with(&ns)));
    bench.pull(&registry.image("other:1")).await.unwrap();
    assert!(registry.asked().iter().all(|a| a.path.starts_with("/v2/other/")));
    // All say no: the answer counts more than a silence.
    let yaml = yaml.replace(&format!("127.0.0.1:{}/v2", mirror.port), "127.0.0.1:1/v2");
    let mut bench = Bench::with(&yaml);
    bench.registries.default_endpoint = false;
    assert_eq!(bench.refusal(&registry.image("lib/app:1")).await.class(), Class::NotFound);
}

#[tokio::test]
async fn certificates_decide_whom_to_trust() {
    let (test, authority) = (image(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("ca.pem", &authority.ca_pem),
        ("cert.pem", &authority.client_pem),
        ("key.pem", &authority.client_key_pem),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let root = dir.path().display().to_string();
    let plain = Fake::start_tls(&test, Some(authority.server(false)), |_| None).await;
    let mutual = Fake::start_tls(&test, Some(authority.server(true)), |_| None).await;
    let settings =
        |port: u16, tls: &str| format!("configs: {{'127.0.0.1:{port}': {{tls: {{{tls}}}}}}}");
    let ca = format!("ca_file: {root}/ca.pem");
    let pair = format!("{ca}, cert_file: {root}/cert.pem, key_file: {root}/key.pem");
    for (server, tls, wanted) in [
        (&plain, ca.as_str(), ""),
        (&plain, "insecure_skip_verify: true", ""),
        (&plain, "cert_file: /nonexistent, key_file: /nonexistent", "/nonexistent: "),
        (&plain, "cert_file: /x", "belong together"),
        (&mutual, pair.as_str(), ""),
        (&mutual, ca.as_str(), "ertificate"),
    ] {
        let bench = Bench::with(&settings(server.port, tls));
        match bench.pull(&server.image("app:1")).await {
            Ok(_) => assert_eq!(wanted, "", "{tls}"),
            Err(e) => assert!(!wanted.is_empty() && e.to_string().contains(wanted), "{tls}: {e}"),
        }
    }
    // A certificate of nobody we know.
    let yaml = format!("mirrors: {{r.test: {{endpoint: ['https://127.0.0.1:{}']}}}}", plain.port);
    let mut bench = Bench::with(&yaml);
    bench.registries.default_endpoint = false;
    let error = bench.refusal("r.test/app:1").await;
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn tls_is_not_left_on_the_way() {
    let (test, authority) = (image(), Authority::new());
    let clear = Fake::start(&test, |_| None).await;
    let port = clear.port;
    let redirecting = move |asked: &Asked| {
        let location = format!("http://127.0.0.1:{port}{}", asked.path);
        Some(Reply::status(307).with("Location", &location))
    };
    let challenging = move |_: &Asked| {
        let challenge = format!("Bearer realm=\"http://127.0.0.1:{port}/token\"");
        Some(Reply::status(401).with("WWW-Authenticate", &challenge))
    };
    let redirecting = Fake::start_tls(&test, Some(authority.server(false)), redirecting).await;
    let challenging = Fake::start_tls(&test, Some(authority.server(false)), challenging).await;
    for server in [&redirecting, &challenging] {
        let bench = Bench::with("configs: {'*': {tls: {insecure_skip_verify: true}}}");
        let error = bench.refusal(&server.image("app:1")).await;
        assert!(error.to_string().contains("not protected by TLS"), "{error}");
    }
    assert!(clear.asked().is_empty());
}

#[tokio::test]
async fn pulls_of_the_same_layers_share_the_download() {
    let test = image();
    let server = Fake::start(&test, |_| None).await;
    let bench = Bench::new();
    let names: Vec<String> = (0..8).map(|n| server.image(&format!("app:{n}"))).collect();
    let pulls = names.iter().map(|name| bench.pull(name));
    let pulled = futures_util::future::try_join_all(pulls).await.unwrap();
    assert!(pulled.iter().all(|image| image.id == test.id()));
    assert_eq!(bench.store.list().await.unwrap()[0].tags.len(), 8);
    assert_eq!(server.gets(&layer_of(&test)), 1);
}

#[tokio::test]
async fn a_dropped_pull_leaves_nothing_and_the_next_works() {
    let test = image();
    let (part, body) = (layer_of(&test), test.layers[1].0.clone());
    let (reached, mut stalled) = tokio::sync::mpsc::channel(1);
    let healthy = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = Arc::clone(&healthy);
    let server = Fake::start(&test, move |asked| {
        if !asked.is(&part) || switch.load(Ordering::SeqCst) {
            return None;
        }
        let _ = reached.try_send(());
        Some(Reply::Stall(100, Box::new(Reply::Send(200, Vec::new(), body.clone()))))
    })
    .await;
    let bench = Bench::new();
    let reference = Reference::parse(&server.image("app:1")).unwrap();
    {
        let pull = bench.store.pull(&reference, &Credentials::Anonymous, &bench.registries);
        tokio::pin!(pull);
        tokio::select! {
            _ = &mut pull => panic!("it cannot finish"),
            _ = stalled.recv() => {}
        }
    }
    healthy.store(true, Ordering::SeqCst);
    bench.pull(&server.image("app:1")).await.unwrap();
    let again = Store::open(&bench.tmp.path().join("images")).unwrap();
    assert_eq!(std::fs::read_dir(again.layout.ingest()).unwrap().count(), 0);
    assert_eq!(again.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_disk_is_said_before_and_during_a_download() {
    let tmp = tempfile::tempdir().unwrap();
    crate::sys::mount::tmpfs(tmp.path(), "size=6m").unwrap();
    let store = Store::open(tmp.path()).unwrap();
    let server = Fake::start(&big(), |_| None).await;
    let reference = Reference::parse(&server.image("app:1")).unwrap();
    let registries = Registries::default();
    // The packed layer fits, the unpacked one beside it does not.
    let during = store.pull(&reference, &Credentials::Anonymous, &registries).await.unwrap_err();
    std::fs::write(tmp.path().join("ballast"), vec![0; 4 << 20]).unwrap();
    let before = store.pull(&reference, &Credentials::Anonymous, &registries).await.unwrap_err();
    let left = ["layers", "ingest", "partial", "blobs/sha256"]
        .map(|dir| std::fs::read_dir(tmp.path().join(dir)).unwrap().count());
    drop(store);
    crate::sys::mount::detach(tmp.path()).unwrap();
    assert_eq!((during.class(), before.class()), (Class::DiskFull, Class::DiskFull));
    assert_eq!(left, [0; 4]);
}

#[tokio::test]
async fn layers_that_came_whole_are_not_fetched_again() {
    let test = image();
    let lower = Digest::of(&test.layers[0].0).to_string();
    let upper = layer_of(&test);
    let healthy = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = Arc::clone(&healthy);
    let server = Fake::start(&test, move |asked| {
        (asked.is(&upper) && !switch.load(Ordering::SeqCst)).then(|| Reply::status(502))
    })
    .await;
    let bench = Bench::new();
    let name = server.image("app:1");
    assert_eq!(bench.pull(&name).await.unwrap_err().class(), Class::Transport);
    let reopened = Store::open(&bench.tmp.path().join("images")).unwrap();
    drop(reopened);
    healthy.store(true, Ordering::SeqCst);
    bench.pull(&name).await.unwrap();
    assert_eq!(server.gets(&lower), 1);
    assert_eq!(std::fs::read_dir(bench.store.layout.partial()).unwrap().count(), 0);
}
