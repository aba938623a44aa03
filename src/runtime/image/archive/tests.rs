//! Archives of both kinds, packed in all ways, and broken ones.

use super::*;
use crate::runtime::image::Class;
use crate::runtime::image::platform::Platform;
use crate::runtime::image::testing::{Tar, TestImage, gzip, oci_layout, zstd};

struct Bench {
    tmp: tempfile::TempDir,
    store: Arc<Store>,
}

impl Bench {
    fn new() -> Bench {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(&tmp.path().join("images")).unwrap();
        Bench { tmp, store }
    }

    fn import(&self, name: &str, archive: &[u8]) -> Result<Vec<Arc<Image>>> {
        let path = self.tmp.path().join(name);
        std::fs::write(&path, archive).unwrap();
        import(&self.store, &path, false)
    }

    fn assert_empty(&self) {
        for dir in ["layers", "ingest", "blobs/sha256"] {
            let path = self.tmp.path().join("images").join(dir);
            assert_eq!(std::fs::read_dir(path).unwrap().count(), 0, "{dir}");
        }
    }
}

fn image() -> TestImage {
    TestImage::new(&[Tar::new().file("hello", "world").build()], gzip)
}

fn foreign() -> TestImage {
    let platform =
        Platform { architecture: "s390x".into(), os: "linux".into(), ..Platform::default() };
    TestImage::on(&platform, &[Tar::new().file("hello", "mainframe").build()], gzip)
}

#[test]
fn dockers_archives_come_in_however_they_are_packed() {
    for (name, pack) in [
        ("a.tar", None),
        ("a.tar.gz", Some(gzip as fn(&[u8]) -> Vec<u8>)),
        ("a.tar.zst", Some(zstd)),
    ] {
        let bench = Bench::new();
        let archive = image().docker_archive(&["app:1", "app:2"]);
        let archive = pack.map_or(archive.clone(), |pack| pack(&archive));
        let images = bench.import(name, &archive).unwrap();
        assert_eq!(images[0].tags, ["docker.io/library/app:1", "docker.io/library/app:2"]);
        assert_eq!(images[0].id, image().id());
        let again = bench.import(name, &archive).unwrap();
        assert_eq!(images, again);
    }
}

#[test]
fn oci_layouts_are_named_by_their_annotations() {
    for (annotations, tag) in [
        (
            serde_json::json!({CONTAINERD_NAME: "docker.io/library/x:1"}),
            Some("docker.io/library/x:1"),
        ),
        (serde_json::json!({OCI_NAME: "quay.io/a/b:2"}), Some("quay.io/a/b:2")),
        (serde_json::json!({OCI_NAME: "name:3"}), Some("docker.io/library/name:3")),
        (serde_json::json!({OCI_NAME: "v4"}), Some("docker.io/library/guestbook:v4")),
        (serde_json::json!({OCI_NAME: "v5", CONTAINERD_NAME: "y.z/k:5"}), Some("y.z/k:5")),
        (serde_json::Value::Null, None),
    ] {
        let bench = Bench::new();
        let images = bench.import("guestbook.tar.gz", &image().oci_archive(annotations)).unwrap();
        let image = &images[0];
        assert_eq!(image.tags.first().map(String::as_str), tag);
        let digest = tag.map(|tag| Reference::parse(tag).unwrap().at(&image.target).to_string());
        assert_eq!(image.repo_digests.first(), digest.as_ref());
    }
}

#[test]
fn an_index_gives_the_build_for_this_machine() {
    let (own, other) = (image(), foreign());
    let entry = |image: &TestImage, platform: &str| {
        serde_json::json!({
            "digest": image.digest(), "size": image.manifest.len(),
            "platform": {"os": "linux", "architecture": platform},
        })
    };
    let host = Platform::host().architecture;
    let inner = serde_json::json!({
        "schemaVersion": 2, "manifests": [entry(&other, "s390x"), entry(&own, &host)],
    });
    let inner = inner.to_string();
    let top = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "digest": Digest::of(inner.as_bytes()), "size": inner.len(),
        "annotations": {CONTAINERD_NAME: "multi:1"},
    }]});
    // Blobs of other machines may be missing.
    let mut blobs = own.blobs();
    blobs.push(inner.as_bytes());
    let bench = Bench::new();
    let images = bench.import("a.tar", &oci_layout(&top.to_string(), &blobs)).unwrap();
    assert_eq!((images.len(), &images[0].id), (1, &own.id()));
    assert_eq!(images[0].target, Digest::of(inner.as_bytes()));
    assert_eq!(images[0].manifest, own.digest());
    // The same two, side by side under one name.
    let mut flat = serde_json::json!({"manifests": [entry(&other, "s390x"), entry(&own, &host)]});
    for n in 0..2 {
        flat["manifests"][n]["annotations"] = serde_json::json!({CONTAINERD_NAME: "flat:1"});
    }
    let images = bench.import("a.tar", &oci_layout(&flat.to_string(), &own.blobs())).unwrap();
    assert_eq!(images[0].id, own.id());
    assert_eq!(images[0].tags, ["docker.io/library/flat:1", "docker.io/library/multi:1"]);
}

#[test]
fn an_image_for_another_machine_is_refused_in_words() {
    let bench = Bench::new();
    for archive in
        [foreign().docker_archive(&["x:1"]), foreign().oci_archive(serde_json::Value::Null)]
    {
        let error = bench.import("a.tar", &archive).unwrap_err();
        assert_eq!(error.class(), Class::NoMatchingPlatform);
        assert!(error.to_string().contains("only for linux/s390x"), "{error}");
        bench.assert_empty();
    }
}

#[test]
fn dockers_old_links_between_equal_layers_are_followed() {
    let plain = Tar::new().file("hello", "world").build();
    let image = TestImage::new(&[plain.clone(), plain.clone()], gzip);
    let config = String::from_utf8(image.config.clone()).unwrap();
    let tar = Tar::new()
        .file("one/layer.tar", std::str::from_utf8(&plain).unwrap())
        .symlink("two/layer.tar", "../one/layer.tar")
        .file("c.json", &config)
        .file(
            "manifest.json",
            r#"[{"Config":"c.json","RepoTags":null,"Layers":["one/layer.tar","two/layer.tar"]}]"#,
        );
    let bench = Bench::new();
    let images = bench.import("a.tar", &tar.build()).unwrap();
    assert_eq!((images[0].layers.len(), images[0].tags.len()), (2, 0));
}

#[test]
fn broken_archives_are_refused_and_leave_nothing() {
    let good = image().docker_archive(&["x:1"]);
    let lie = |from: &str, to: &str| {
        let text = String::from_utf8_lossy(&good).into_owned();
        assert!(text.contains(from));
        text.replacen(from, to, 1).into_bytes()
    };
    let mut oci = image().oci_archive(serde_json::Value::Null);
    let config = image().config;
    let at = oci.windows(config.len()).position(|part| part == config).unwrap();
    oci[at + 20] ^= 1;
    for (archive, class, part) in [
        (b"not a tar at all".repeat(100), Class::Malformed, "is malformed"),
        (Tar::new().file("readme", "hi").build(), Class::Malformed, "neither docker's"),
        (good[..good.len() / 2].to_vec(), Class::Malformed, "is malformed"),
        (gzip(&good)[..400].to_vec(), Class::Malformed, "is malformed"),
        (b"BZh91AY&SY".repeat(10), Class::Malformed, "bzip2 compression is not supported"),
        (lie("world", "WORLD"), Class::DigestMismatch, "digest mismatch"),
        (lie("layer.tar\"", "other.tar\""), Class::Malformed, "other.tar is missing"),
        (lie("x:1", "X:1"), Class::InvalidName, "must be lowercase"),
        (oci, Class::DigestMismatch, "digest mismatch"),
    ] {
        let bench = Bench::new();
        let error = bench.import("a.tar", &archive).unwrap_err();
        assert!(error.to_string().contains(part), "{error} lacks {part}");
        assert_eq!(error.class(), class, "{error}");
        bench.assert_empty();
    }
    let bench = Bench::new();
    let error = import(&bench.store, Path::new("/nonexistent.tar"), false).unwrap_err().to_string();
    assert!(error.starts_with("cannot open /nonexistent.tar: No such file"), "{error}");
}
