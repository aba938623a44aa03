//! Layers, archives and images made on the spot, honest and hostile ones.

use std::io::Write;

use tar::{EntryType, Header};

use super::digest::Digest;
use super::platform::Platform;

/// A tar in the making; names are taken as they are, however wicked.
pub(super) struct Tar(Vec<u8>);

impl Tar {
    pub(super) fn new() -> Tar {
        Tar(Vec::new())
    }

    fn header(name: &str, kind: EntryType, mode: u32) -> Header {
        let mut header = Header::new_ustar();
        assert!(name.len() <= 100, "use long()");
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        header
    }

    pub(super) fn push(mut self, mut header: Header, content: &[u8]) -> Tar {
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn file(self, name: &str, content: &str) -> Tar {
        self.push(Tar::header(name, EntryType::Regular, 0o644), content.as_bytes())
    }

    pub(super) fn dir(self, name: &str, mode: u32) -> Tar {
        self.push(Tar::header(name, EntryType::Directory, mode), b"")
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Tar {
        self.link(name, target, EntryType::Symlink)
    }

    pub(super) fn hard_link(self, name: &str, target: &str) -> Tar {
        self.link(name, target, EntryType::Link)
    }

    fn link(self, name: &str, target: &str, kind: EntryType) -> Tar {
        let mut header = Tar::header(name, kind, 0o777);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.push(header, b"")
    }

    pub(super) fn owned(self, name: &str, mode: u32, uid: u64, gid: u64) -> Tar {
        let mut header = Tar::header(name, EntryType::Regular, mode);
        header.set_uid(uid);
        header.set_gid(gid);
        self.push(header, b"x")
    }

    /// A file whose numbers are all left blank but the size.
    pub(super) fn blank(self, name: &str) -> Tar {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(EntryType::Regular);
        self.push(header, b"x")
    }

    pub(super) fn device(self, name: &str, kind: EntryType, device: (u32, u32)) -> Tar {
        let mut header = Tar::header(name, kind, 0o620);
        header.set_device_major(device.0).unwrap();
        header.set_device_minor(device.1).unwrap();
        self.push(header, b"")
    }

    pub(super) fn of_type(self, name: &str, kind: u8) -> Tar {
        self.push(Tar::header(name, EntryType::new(kind), 0o644), b"")
    }

    /// A PAX header for the next entry.
    pub(super) fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            write!(content, "{length} {key}=").unwrap();
            content.extend(*value);
            content.push(b'\n');
        }
        self.push(Tar::header("pax", EntryType::XHeader, 0o644), &content)
    }

    /// The finished tar.
    pub(super) fn build(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// An image as a registry would hold it.
pub(super) struct TestImage {
    pub config: Vec<u8>,
    /// Packed and plain form of each layer.
    pub layers: Vec<(Vec<u8>, Vec<u8>)>,
    pub manifest: Vec<u8>,
}

impl TestImage {
    /// For this machine, with every layer packed by `pack`.
    pub(super) fn new(layers: &[Vec<u8>], pack: fn(&[u8]) -> Vec<u8>) -> TestImage {
        TestImage::on(&Platform::host(), layers, pack)
    }

    pub(super) fn on(
        platform: &Platform,
        layers: &[Vec<u8>],
        pack: fn(&[u8]) -> Vec<u8>,
    ) -> TestImage {
        let layers: Vec<(Vec<u8>, Vec<u8>)> =
            layers.iter().map(|plain| (pack(plain), plain.clone())).collect();
        let diff_ids: Vec<Digest> = layers.iter().map(|(_, plain)| Digest::of(plain)).collect();
        let config = serde_json::json!({
            "architecture": platform.architecture, "os": platform.os, "variant": platform.variant,
            "config": {"Entrypoint": ["/bin/app"], "User": "www"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let describe = |bytes: &[u8], kind: &str| {
            let (digest, size) = (Digest::of(bytes), bytes.len());
            serde_json::json!({"mediaType": kind, "digest": digest, "size": size})
        };
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": describe(&config, "application/vnd.oci.image.config.v1+json"),
            "layers": layers.iter().map(|(packed, _)| describe(packed, kind)).collect::<Vec<_>>(),
        });
        TestImage { config, layers, manifest: manifest.to_string().into_bytes() }
    }

    pub(super) fn id(&self) -> Digest {
        Digest::of(&self.config)
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// All blobs, the manifest included.
    pub(super) fn blobs(&self) -> Vec<&[u8]> {
        let layers = self.layers.iter().map(|(packed, _)| packed.as_slice());
        layers.chain([self.config.as_slice(), self.manifest.as_slice()]).collect()
    }

    /// As `docker save` wrote it before version 25.
    pub(super) fn docker_archive(&self, tags: &[&str]) -> Vec<u8> {
        let mut tar = Tar::new();
        let mut names = Vec::new();
        for (_, plain) in &self.layers {
            let name = format!("{}/layer.tar", &Digest::of(plain).hex()[..20]);
            tar = tar.push(Tar::header(&name, EntryType::Regular, 0o644), plain);
            names.push(name);
        }
        let config = format!("{}.json", self.id().hex());
        let manifest = serde_json::json!([{"Config": config, "RepoTags": tags, "Layers": names}]);
        tar.push(Tar::header(&config, EntryType::Regular, 0o644), &self.config)
            .file("manifest.json", &manifest.to_string())
            .build()
    }

    /// As an OCI layout whose index has one entry with these annotations.
    pub(super) fn oci_archive(&self, annotations: serde_json::Value) -> Vec<u8> {
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": self.digest(), "size": self.manifest.len(), "annotations": annotations,
        }]});
        oci_layout(&index.to_string(), &self.blobs())
    }
}

/// An OCI layout of some blobs under an index.
pub(super) fn oci_layout(index: &str, blobs: &[&[u8]]) -> Vec<u8> {
    let mut tar = Tar::new().file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    for blob in blobs {
        let name = format!("blobs/sha256/{}", Digest::of(blob).hex());
        tar = tar.push(Tar::header(&name, EntryType::Regular, 0o644), blob);
    }
    tar.file("index.json", index).build()
}
