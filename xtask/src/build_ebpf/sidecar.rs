//! The sidecar of a checked-in object: what it was made from and with, and how those hashes are taken.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::toolchain::Toolchain;

/// Everything that the object is made from, relative to the workspace's root.
const SOURCES: &[&str] = &[
    "netspy-ebpf/src",
    "netspy-ebpf/Cargo.toml",
    "netspy-ebpf/Cargo.lock",
    "netspy-common/src",
    "netspy-common/Cargo.toml",
];

/// Facts about one checked-in object.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sidecar {
    /// Over the names and contents of the sources.
    pub(super) source_sha256: String,
    /// Of the object file.
    pub(super) object_sha256: String,
    /// Version of the compiler and of its LLVM.
    pub(super) rustc: String,
    /// Version of the linker.
    pub(super) bpf_linker: String,
    /// `debian` or `rustup-nightly`.
    pub(super) toolchain: String,
}

impl Sidecar {
    pub(super) fn new(source_sha256: String, object: &[u8], toolchain: &Toolchain) -> Self {
        Self {
            source_sha256,
            object_sha256: hash(object),
            rustc: toolchain.rustc_version.clone(),
            bpf_linker: toolchain.linker_version.clone(),
            toolchain: toolchain.name().to_owned(),
        }
    }

    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a sidecar", file.display()))
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Whether both objects come from the same compilers, so that their bytes may be compared.
    pub(super) fn same_compilers(&self, other: &Self) -> bool {
        (&self.rustc, &self.bpf_linker, &self.toolchain)
            == (&other.rustc, &other.bpf_linker, &other.toolchain)
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Hash of everything in [`SOURCES`].
pub(super) fn source_hash(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    let mut named = Vec::new();
    for file in files {
        let name = file.strip_prefix(root)?.to_str().context("a source file's name is not UTF-8")?.to_owned();
        let contents = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        named.push((name, contents));
    }
    Ok(hash_of_files(named))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}

/// Order does not matter; names and lengths are hashed too, so that moving text between files shows.
fn hash_of_files(mut files: Vec<(String, Vec<u8>)>) -> String {
    files.sort();
    let mut hasher = Sha256::new();
    for (name, contents) in files {
        hasher.update(format!("{name}\0{}\0", contents.len()));
        hasher.update(contents);
    }
    hexadecimal(&hasher.finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn the_hash_of_nothing_is_the_known_one() {
        assert_eq!(hash(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn order_of_listing_does_not_matter() {
        assert_eq!(
            hash_of_files(files(&[("a", "1"), ("b", "2")])),
            hash_of_files(files(&[("b", "2"), ("a", "1")]))
        );
    }

    #[test]
    fn names_contents_and_borders_matter() {
        let hash = hash_of_files(files(&[("a", "1"), ("b", "2")]));
        assert_ne!(hash, hash_of_files(files(&[("a", "1"), ("c", "2")])));
        assert_ne!(hash, hash_of_files(files(&[("a", "1"), ("b", "3")])));
        assert_ne!(hash, hash_of_files(files(&[("a", "12"), ("b", "")])));
    }

    #[test]
    fn a_change_in_either_crate_changes_the_source_hash() {
        let root = tempfile::tempdir().unwrap();
        for source in SOURCES {
            let path = root.path().join(source);
            let file = if source.ends_with("src") { path.join("nested/lib.rs") } else { path };
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "one").unwrap();
        }
        let before = source_hash(root.path()).unwrap();
        assert_eq!(before, source_hash(root.path()).unwrap());
        fs::write(root.path().join("netspy-common/src/nested/lib.rs"), "two").unwrap();
        assert_ne!(before, source_hash(root.path()).unwrap());
    }
}
