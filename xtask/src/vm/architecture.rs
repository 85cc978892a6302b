//! What differs between the processors that guests can have. Everything else in this folder is the same for all.

use std::path::{Path, PathBuf};

use crate::packages::Package;
use crate::workspace;

/// Processor of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Architecture {
    /// Debian's amd64
    #[value(name = "x86_64")]
    X86_64,
    /// Debian's arm64: cross-built, with Debian's compilers
    #[value(name = "aarch64")]
    Aarch64,
}

impl Architecture {
    /// Every one, in the order in which the document shows them.
    pub(crate) const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The kernel's and Rust's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Debian's name.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// What the programs under test are compiled for.
    pub(super) fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }

    /// Debian packages that bring its emulator and its compilers.
    pub(crate) fn packages(self) -> &'static [Package] {
        match self {
            Self::X86_64 => &[Package { debian: "qemu-system-x86", provides: "qemu-system-x86_64" }],
            Self::Aarch64 => &[
                Package { debian: "qemu-system-arm", provides: "qemu-system-aarch64" },
                Package { debian: "gcc-aarch64-linux-gnu", provides: "aarch64-linux-gnu-gcc" },
                Package { debian: "libc6-dev-arm64-cross", provides: "/usr/aarch64-linux-gnu/lib/libc.a" },
            ],
        }
    }

    /// Its emulator, and the arguments that choose machine and processor.
    pub(super) fn emulator(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::X86_64 => ("qemu-system-x86_64", &["-cpu", "max"]),
            // Pointer authentication costs an emulator most of its time unless it may use a hash of its own, and
            // 5.10 does not start on a processor with 52-bit addresses for small pages.
            Self::Aarch64 => {
                ("qemu-system-aarch64", &["-machine", "virt", "-cpu", "max,pauth-impdef=on,lpa2=off"])
            }
        }
    }

    /// The kernel's name for the serial line that QEMU writes to its stdout.
    pub(crate) fn console(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }

    /// Where everything that is fetched, built or written for its guests is kept.
    pub(crate) fn directory(self, root: &Path) -> PathBuf {
        workspace::target(root).join("vm").join(self.name())
    }

    /// A column of the document, or whatever else is one kernel's on this processor. The first architecture's
    /// name goes without saying.
    pub(super) fn label(self, kernel: &str) -> String {
        match self {
            Self::X86_64 => kernel.to_owned(),
            Self::Aarch64 => format!("{} {kernel}", self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn each_is_typed_as_the_kernel_names_it() {
        for architecture in Architecture::ALL {
            assert_eq!(Architecture::from_str(architecture.name(), false), Ok(architecture));
            assert!(architecture.target().starts_with(architecture.name()));
        }
        assert_eq!(Architecture::value_variants(), Architecture::ALL);
    }

    #[test]
    fn guests_of_two_processors_share_no_file_and_no_column() {
        let [one, other] = Architecture::ALL;
        assert_ne!(one.directory(Path::new("/w")), other.directory(Path::new("/w")));
        assert_ne!(one.label("6.1 kprobe"), other.label("6.1 kprobe"));
    }
}
