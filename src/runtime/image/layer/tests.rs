//! Layers as they come and as they must not come.

use std::ffi::OsStr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use tar::EntryType;
use tempfile::TempDir;

use super::*;
use crate::runtime::image::testing::{Tar, gzip, zstd};
use crate::sys::fs::Dir;

/// A store's directory, and beside it what a hostile layer would like to reach.
struct Bench {
    tmp: TempDir,
    layout: Layout,
}

impl Bench {
    fn new() -> Bench {
        let tmp = tempfile::tempdir().unwrap();
        let layout = Layout::create(&tmp.path().join("store")).unwrap();
        std::fs::write(tmp.path().join("secret"), "secret").unwrap();
        Bench { tmp, layout }
    }

    fn unpack_on(&self, below: &[Digest], tar: &[u8]) -> Result<PathBuf> {
        let diff_id = Digest::of(tar);
        let chain = below.first().map_or(diff_id.clone(), |below| below.chain(&diff_id));
        let reader = Box::new(io::Cursor::new(tar.to_vec()));
        let source = Source { reader, digest: None };
        let scratch = self.layout.ingest();
        unpack(&self.layout, &scratch, &chain, below, &diff_id, source)?;
        Ok(self.layout.layer(&chain).join("fs"))
    }

    fn unpack(&self, tar: Tar) -> PathBuf {
        self.unpack_on(&[], &tar.build()).unwrap()
    }

    /// The refusal of a layer, of which nothing may stay.
    fn refusal(&self, tar: Tar) -> String {
        let error = self.unpack_on(&[], &tar.build()).unwrap_err().to_string();
        assert_eq!(std::fs::read_dir(self.layout.layers()).unwrap().count(), 0, "{error}");
        assert_eq!(std::fs::read_dir(self.layout.ingest()).unwrap().count(), 0, "{error}");
        self.assert_unharmed();
        error
    }

    fn assert_unharmed(&self) {
        assert_eq!(std::fs::read_to_string(self.tmp.path().join("secret")).unwrap(), "secret");
        assert_eq!(std::fs::read_dir(self.tmp.path()).unwrap().count(), 2);
    }
}

fn text(root: &Path, name: &str) -> String {
    std::fs::read_to_string(root.join(name)).unwrap()
}

fn opaque(root: &Path, name: &str) -> bool {
    let dir = Dir::open(root).unwrap();
    dir.xattr(OsStr::new(name), OsStr::new("trusted.overlay.opaque")).unwrap().as_deref()
        == Some(b"y")
}

fn is_whiteout(path: &Path) -> bool {
    let meta = std::fs::symlink_metadata(path).unwrap();
    meta.file_type().is_char_device() && meta.rdev() == 0
}

#[test]
fn every_kind_of_file_arrives_with_its_attributes() {
    let bench = Bench::new();
    let root = bench.unpack(
        Tar::new()
            .dir("./", 0o755)
            .dir("./bin/", 0o1777)
            .pax(&[("mtime", b"1500000000.25"), ("SCHILY.xattr.user.note", b"hi\0there")])
            .owned("bin/su", 0o4755, 10, 20)
            .symlink("bin/sh", "su")
            .hard_link("bin/sudo", "./bin/su")
            .device("null", EntryType::Char, (1, 3))
            .device("disk", EntryType::Block, (8, 1))
            .device("pipe", EntryType::Fifo, (0, 0)),
    );
    let su = std::fs::metadata(root.join("bin/su")).unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.nlink()), (0o4755, 10, 20, 2));
    assert_eq!((su.mtime(), su.mtime_nsec()), (1_500_000_000, 250_000_000));
    let bin = Dir::open(&root.join("bin")).unwrap();
    let note = bin.xattr(OsStr::new("su"), OsStr::new("user.note")).unwrap();
    assert_eq!(note.as_deref(), Some(&b"hi\0there"[..]));
    assert_eq!(std::fs::read_link(root.join("bin/sh")).unwrap(), Path::new("su"));
    let bin = std::fs::metadata(root.join("bin")).unwrap();
    assert_eq!((bin.mode() & 0o7777, bin.mtime()), (0o1777, 1_000_000_000));
    let null = std::fs::metadata(root.join("null")).unwrap();
    assert!(null.file_type().is_char_device() && null.rdev() == libc::makedev(1, 3));
    assert!(std::fs::metadata(root.join("disk")).unwrap().file_type().is_block_device());
    let pipe = std::fs::metadata(root.join("pipe")).unwrap();
    assert!(pipe.file_type().is_fifo() && pipe.mode() & 0o7777 == 0o620);
}

#[test]
fn blank_numbers_are_zero() {
    let bench = Bench::new();
    let root = bench.unpack(Tar::new().blank("x"));
    let x = std::fs::metadata(root.join("x")).unwrap();
    assert_eq!((x.mode() & 0o7777, x.uid(), x.gid(), x.mtime(), x.len()), (0, 0, 0, 0, 1));
}

#[test]
fn long_names_and_file_capabilities_survive() {
    let bench = Bench::new();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let root = bench.unpack(
        Tar::new()
            .pax(&[("path", long.as_bytes()), ("SCHILY.xattr.security.capability", &capability)])
            .owned("short", 0o755, 1, 1),
    );
    let parent = Dir::open(root.join(&long).parent().unwrap()).unwrap();
    let name = "f".repeat(200);
    let got = parent.xattr(OsStr::new(&name), OsStr::new("security.capability")).unwrap();
    assert_eq!(got.as_deref(), Some(&capability[..]));
}

#[test]
fn whiteouts_become_those_of_overlayfs() {
    let bench = Bench::new();
    let root = bench.unpack(
        Tar::new()
            .dir("etc", 0o755)
            .file("etc/.wh.gone", "")
            .dir("var", 0o755)
            .file("var/.wh..wh..opq", "")
            .file("var/new", "new")
            // In either order, what the layer itself brings stays.
            .file(".wh.both", "")
            .dir("both", 0o755)
            .file("both/mine", "mine")
            .dir("later", 0o755)
            .file("later/mine", "mine")
            .file(".wh.later", "")
            .file("kept", "kept")
            .file(".wh.kept", "")
            .file(".wh.under", "")
            .file("under/deep/file", "x")
            .file(".wh..wh.plnk", ""),
    );
    assert!(is_whiteout(&root.join("etc/gone")));
    assert!(opaque(&root, "var") && !opaque(&root, "etc"));
    assert!(opaque(&root, "both") && opaque(&root, "later") && opaque(&root, "under"));
    assert_eq!(text(&root, "both/mine") + &text(&root, "later/mine"), "minemine");
    assert_eq!(text(&root, "kept") + &text(&root, "under/deep/file"), "keptx");
    assert!(!root.join(".wh..wh.plnk").exists() && !root.join("plnk").exists());
}

#[test]
fn parents_that_a_layer_leaves_out_look_as_below() {
    let bench = Bench::new();
    let below = Tar::new().dir("./", 0o750).dir("tmp", 0o1777).dir("srv/data", 0o700).build();
    bench.unpack_on(&[], &below).unwrap();
    let root = bench
        .unpack_on(
            &[Digest::of(&below)],
            &Tar::new().file("tmp/a", "a").file("srv/data/b", "b").build(),
        )
        .unwrap();
    let mode = |name: &str| std::fs::metadata(root.join(name)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("."), mode("tmp"), mode("srv"), mode("srv/data")),
        (0o750, 0o1777, 0o755, 0o700)
    );
    assert_eq!(std::fs::metadata(root.join("tmp")).unwrap().mtime(), 1_000_000_000);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let bench = Bench::new();
    let root = bench.unpack(
        Tar::new()
            .file("a", "old")
            .file("a", "new")
            .dir("b", 0o755)
            .file("b/inner", "")
            .file("b", "file")
            .file("c", "file")
            .dir("c", 0o711)
            .file("c/inner", "inner"),
    );
    assert_eq!(text(&root, "a") + &text(&root, "b") + &text(&root, "c/inner"), "newfileinner");
    assert!(opaque(&root, "c"), "the directory below c would show through");
}

#[test]
fn no_name_leads_out() {
    let bench = Bench::new();
    for tar in [
        Tar::new().file("../secret", "changed"),
        Tar::new().file("a/../../secret", "changed"),
        Tar::new().file("/../secret", "changed"),
        Tar::new().dir("..", 0o777),
        Tar::new().hard_link("x", "../../../secret"),
    ] {
        assert!(bench.refusal(tar).contains("leads out of the layer"));
    }
    for tar in [Tar::new().file("..wh.", ""), Tar::new().file("a/b/../../c", "fine")] {
        bench.unpack(tar);
        bench.assert_unharmed();
    }
}

#[test]
fn no_link_leads_out() {
    let bench = Bench::new();
    let outside = bench.tmp.path().to_str().unwrap().to_string();
    let up = "../".repeat(30);
    for (n, target) in
        [outside.as_str(), up.as_str(), "/", "..", "/proc/self/root"].iter().enumerate()
    {
        let root = bench.unpack(
            Tar::new()
                .file("unique", &n.to_string())
                .symlink("door", target)
                .file("door/secret", "changed")
                .file("door/.wh.other", "")
                .symlink("file", &format!("{outside}/secret"))
                .file("file", "replaced"),
        );
        bench.assert_unharmed();
        assert_eq!(text(&root, "file"), "replaced");
        let inside = if *target == outside.as_str() {
            root.join(outside.trim_start_matches('/')).join("secret")
        } else if *target == "/proc/self/root" {
            root.join("proc/self/root/secret")
        } else {
            root.join("secret")
        };
        assert_eq!(std::fs::read_to_string(inside).unwrap(), "changed", "{target}");
    }
}

#[test]
fn a_hard_link_to_a_link_does_not_follow_it() {
    let bench = Bench::new();
    let secret = bench.tmp.path().join("secret");
    let root = bench.unpack(
        Tar::new().symlink("a", secret.to_str().unwrap()).hard_link("b", "a").file("b", "mine"),
    );
    bench.assert_unharmed();
    assert_eq!(text(&root, "b"), "mine");
    let outside = bench.tmp.path().to_str().unwrap();
    let error = bench
        .unpack_on(&[], &Tar::new().symlink("d", outside).hard_link("stolen", "d/secret").build());
    assert!(error.unwrap_err().to_string().contains("no d/secret to link to"));
}

#[test]
fn wrong_entries_are_named() {
    let bench = Bench::new();
    let deep = "d/".repeat(2100);
    for (tar, part) in [
        (Tar::new().file("f", "").file("f/inner", ""), "f is not a directory"),
        (Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", ""), "too many links"),
        (Tar::new().symlink("a", ""), "a link without a target"),
        (Tar::new().hard_link("a", "nowhere"), "no nowhere to link to"),
        (Tar::new().dir("d", 0o755).hard_link("a", "d"), "no d to link to"),
        (Tar::new().file("./", "x").file(".", "root"), "the root is not a directory"),
        (Tar::new().file(".wh.", ""), "a whiteout without a name"),
        (Tar::new().file(".wh...", ""), "a whiteout without a name"),
        (Tar::new().of_type("x", b'Q'), "unknown type 'Q'"),
        (Tar::new().pax(&[("path", b"a\0b")]).file("x", ""), "a NUL in the name"),
        (Tar::new().pax(&[("path", deep.as_bytes())]).file("x", ""), "more than 4095 bytes"),
        (Tar::new().pax(&[("path", &[b'x'; 300])]).file("x", ""), "name too long"),
        (Tar::new().pax(&[("GNU.sparse.major", b"1")]).file("x", ""), "sparse files in PAX"),
        (Tar::new().owned("x", 0o644, 1 << 33, 0), "out of range"),
    ] {
        let error = bench.refusal(tar).to_lowercase();
        assert!(error.contains(&part.to_lowercase()), "{error} lacks {part}");
    }
}

#[test]
fn marks_of_overlayfs_cannot_be_smuggled_in() {
    let bench = Bench::new();
    let root = bench.unpack(
        Tar::new()
            .pax(&[
                ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
                ("SCHILY.xattr.trusted.overlay.metacopy", b""),
                ("SCHILY.xattr.user.fine", b"1"),
            ])
            .file("x", ""),
    );
    let dir = Dir::open(&root).unwrap();
    assert_eq!(dir.xattr_names(OsStr::new("x")).unwrap(), ["user.fine"]);
}

#[test]
fn headers_cannot_fill_the_memory() {
    let bench = Bench::new();
    let huge = vec![b'x'; 2 << 20];
    let error = bench.refusal(Tar::new().pax(&[("comment", &huge)]).file("x", ""));
    assert!(error.contains("headers of an entry are too large"), "{error}");
}

#[test]
fn a_sparse_giant_is_refused_and_a_small_one_has_holes() {
    let bench = Bench::new();
    let sparse = |real: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_path("big").unwrap();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(real);
        gnu.sparse[0].set_offset(real - 512);
        gnu.sparse[0].set_length(512);
        Tar::new().push(header, &[7; 512])
    };
    assert!(bench.refusal(sparse(1 << 60)).contains("a file of"));
    let root = bench.unpack(sparse(64 << 20));
    let meta = std::fs::metadata(root.join("big")).unwrap();
    assert_eq!(meta.len(), 64 << 20);
    assert!(meta.blocks() * 512 < 4 << 20, "{} blocks", meta.blocks());
}

#[test]
fn all_packings_are_read_whatever_they_are_called() {
    let tar = Tar::new().file("hello", "world").build();
    // Two gzip members and two zstd frames are one stream each.
    let halves = tar.split_at(700);
    let twice = |pack: fn(&[u8]) -> Vec<u8>| [pack(halves.0), pack(halves.1)].concat();
    for packed in [tar.clone(), gzip(&tar), zstd(&tar), twice(gzip), twice(zstd)] {
        let bench = Bench::new();
        let digest = Some(Digest::of(&packed));
        let source = Source { reader: Box::new(io::Cursor::new(packed)), digest };
        let (id, scratch) = (Digest::of(&tar), bench.layout.ingest());
        unpack(&bench.layout, &scratch, &id, &[], &id, source).unwrap();
        assert_eq!(text(&bench.layout.layer(&id).join("fs"), "hello"), "world");
        let info = LayerInfo::load(&bench.layout, &id).unwrap();
        assert_eq!((info.bytes, info.inodes), (8192, 2));
    }
    for (magic, name) in
        [(&b"BZh91AY"[..], "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x04\x22\x4d\x18aa", "lz4")]
    {
        let error = decompress(magic).err().unwrap().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn damage_and_lies_are_told_apart_and_leave_nothing() {
    let tar = Tar::new().file("hello", "world").build();
    let packed = gzip(&tar);
    let attempt = |bytes: &[u8], digest: &Digest, diff_id: &Digest| {
        let bench = Bench::new();
        let reader = Box::new(io::Cursor::new(bytes.to_vec()));
        let source = Source { reader, digest: Some(digest.clone()) };
        let scratch = bench.layout.ingest();
        let error = unpack(&bench.layout, &scratch, diff_id, &[], diff_id, source).unwrap_err();
        assert_eq!(std::fs::read_dir(bench.layout.layers()).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
        error
    };
    let (digest, diff_id) = (Digest::of(&packed), Digest::of(&tar));
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let mismatch = |error: Error| match error {
        Error::DigestMismatch { expected, .. } => expected,
        other => panic!("{other}"),
    };
    assert_eq!(mismatch(attempt(&flipped, &digest, &diff_id)), digest);
    assert_eq!(mismatch(attempt(&packed[..packed.len() - 9], &digest, &diff_id)), digest);
    let other = Digest::of(b"other");
    assert_eq!(mismatch(attempt(&packed, &digest, &other)), other);
    // Truthfully named nonsense.
    let cut = &packed[..packed.len() - 9];
    let error = attempt(cut, &Digest::of(cut), &diff_id);
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[test]
fn bytes_after_the_end_are_part_of_the_digest() {
    let bench = Bench::new();
    let mut tar = Tar::new().file("hello", "world").build();
    tar.extend([0; 8192]);
    bench.unpack_on(&[], &tar).unwrap();
    let mut other = tar.clone();
    *other.last_mut().unwrap() = 1;
    let source = Source { reader: Box::new(io::Cursor::new(other)), digest: None };
    let scratch = bench.layout.ingest();
    let id = Digest::of(&tar).chain(&Digest::of(&tar));
    let error = unpack(&bench.layout, &scratch, &id, &[], &Digest::of(&tar), source).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[test]
fn the_umask_does_not_show() {
    let bench = Bench::new();
    let root = bench.unpack(Tar::new().file("made/on/the/way", ""));
    let mode = std::fs::metadata(root.join("made/on")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}
