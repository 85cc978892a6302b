//! Names the architecture whose checked-in eBPF object is embedded.

fn main() {
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    println!("cargo::rustc-env=NETSPY_EBPF_ARCH={arch}");
    println!("cargo::rerun-if-changed=build.rs");
}
