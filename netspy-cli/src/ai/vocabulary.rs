//! What may leave the machine as it is: words that netspy itself writes, and names that say nothing about anybody.

/// Processes that run everywhere. Whoever takes one of these names says nothing by it.
const PROCESSES: [&str; 40] = [
    "apache2",
    "apt",
    "bash",
    "cargo",
    "chronyd",
    "containerd",
    "cron",
    "curl",
    "dig",
    "dnsmasq",
    "docker",
    "dockerd",
    "etcd",
    "git",
    "haproxy",
    "httpd",
    "java",
    "kubelet",
    "mariadbd",
    "mysqld",
    "nc",
    "nginx",
    "node",
    "npm",
    "ntpd",
    "php-fpm",
    "ping",
    "postgres",
    "prometheus",
    "python3",
    "redis-server",
    "rsync",
    "ruby",
    "sh",
    "ssh",
    "sshd",
    "systemd",
    "systemd-resolve",
    "telnet",
    "wget",
];

/// Words of netspy's own answers, of the kernel's, and the few that join them.
const WORDS: &str = "a aborted above active address all also among an and any are as at attempt attempted attempts bound \
    by bytes connect connected connection connections count counts curl degraded destination destinations different \
    drop dropped drops duration during error established event events every failed failing failure failures few find \
    first for found from hand handshake has have high hour hours how in inactive is it its kernel last lines list lost \
    made many minute minutes more most name network newest no none not nothing of on one only or other outbound \
    outcome outcomes over owner packet packets path patterns peer pending percent pid port ports process processes \
    protocol protocols reached reason reasons recent refused remote reset route same second seconds server since slow \
    socket sockets summary tcp than that the then there these this those timed times to top total traced udp under \
    unique unix unknown unreachable up was watched were which while window with within";

pub(super) fn is_common_process(name: &str) -> bool {
    PROCESSES.contains(&name)
}

/// A word that netspy might have written itself: digits, an errno, a kernel reason, or one of its own words.
pub(super) fn is_own_word(word: &str) -> bool {
    let is_number = word.bytes().all(|b| b.is_ascii_digit() || b".:%".contains(&b));
    is_number
        || is_errno(word)
        || is_common_process(word)
        || WORDS.split_whitespace().any(|own| own.eq_ignore_ascii_case(word))
}

pub(super) fn is_errno(word: &str) -> bool {
    word.len() <= 20
        && word.strip_prefix('E').is_some_and(|rest| {
            rest.len() > 1 && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        })
}

/// A word without letters of a sentence: a reason of the kernel, a moment, an id, a place in the kernel's code.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:+-()".contains(&b))
}
