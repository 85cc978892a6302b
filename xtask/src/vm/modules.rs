//! Kernel modules that the scenarios need, in the order in which they can be inserted.

use std::collections::BTreeMap;

/// Without `nf_tables` a scenario cannot drop packets by rule; the others are there if the kernel has them as
/// modules, and built in or absent otherwise.
pub(super) const WANTED: &[&str] =
    &["nf_tables", "nft_counter", "inet_diag", "tcp_diag", "udp_diag", "unix_diag", "veth", "dummy"];

/// Paths, relative to the directory of `modules.dep`, of the wanted modules and everything they need: a module
/// comes after what it depends on, and once. Names that the file does not know are left out.
pub(super) fn in_order_of_insertion(modules_dep: &str, wanted: &[&str]) -> Vec<String> {
    let dependencies: BTreeMap<&str, Vec<&str>> = modules_dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| (module.trim(), needs.split_whitespace().collect()))
        .collect();
    let mut order = Vec::new();
    for name in wanted {
        if let Some(path) = dependencies.keys().find(|path| module_name(path) == *name) {
            visit(path, &dependencies, &mut Vec::new(), &mut order);
        }
    }
    order
}

fn visit(
    path: &str,
    dependencies: &BTreeMap<&str, Vec<&str>>,
    above: &mut Vec<String>,
    order: &mut Vec<String>,
) {
    // A cycle cannot be inserted in any order; going round it would only hang the job.
    if order.iter().chain(above.iter()).any(|seen| seen == path) {
        return;
    }
    above.push(path.to_owned());
    for need in dependencies.get(path).into_iter().flatten() {
        visit(need, dependencies, above, order);
    }
    above.pop();
    order.push(path.to_owned());
}

/// `kernel/net/netfilter/nf_tables.ko.xz` → `nf_tables`; the kernel treats `-` and `_` alike.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES_DEP: &str = "\
kernel/net/netfilter/nfnetlink.ko.xz:
kernel/lib/libcrc32c.ko.xz:
kernel/net/netfilter/nf_tables.ko.xz: kernel/net/netfilter/nfnetlink.ko.xz kernel/lib/libcrc32c.ko.xz
kernel/net/netfilter/nft_counter.ko.xz: kernel/net/netfilter/nf_tables.ko.xz kernel/net/netfilter/nfnetlink.ko.xz
kernel/net/ipv4/tcp-diag.ko: kernel/net/ipv4/inet_diag.ko
kernel/net/ipv4/inet_diag.ko:
";

    #[test]
    fn what_is_needed_comes_first_and_once() {
        assert_eq!(
            in_order_of_insertion(MODULES_DEP, &["nft_counter", "nf_tables"]),
            [
                "kernel/net/netfilter/nfnetlink.ko.xz",
                "kernel/lib/libcrc32c.ko.xz",
                "kernel/net/netfilter/nf_tables.ko.xz",
                "kernel/net/netfilter/nft_counter.ko.xz",
            ]
        );
    }

    #[test]
    fn dashes_are_underscores_and_the_unknown_is_left_out() {
        let order = in_order_of_insertion(MODULES_DEP, &["tcp_diag", "builtin"]);
        assert_eq!(order, ["kernel/net/ipv4/inet_diag.ko", "kernel/net/ipv4/tcp-diag.ko"]);
    }

    #[test]
    fn a_cycle_ends() {
        assert_eq!(in_order_of_insertion("a.ko: b.ko\nb.ko: a.ko\n", &["a"]), ["b.ko", "a.ko"]);
    }
}
