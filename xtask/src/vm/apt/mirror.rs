//! Where Debian packages come from: read from this machine's own apt sources, so that no address stands in the
//! repository and a machine behind a mirror keeps using its mirror.

/// What a private sources file is made of.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Mirror {
    /// Address of the main archive.
    pub(super) archive: String,
    /// Address of the security archive.
    pub(super) security: String,
    /// Keyring, if the machine's sources name one.
    pub(super) signed_by: Option<String>,
}

/// One repository of the machine, whichever format it was written in.
#[derive(Debug, Default, PartialEq)]
struct Source {
    address: String,
    suite: String,
    signed_by: Option<String>,
}

/// Finds the Debian archive among the machine's source files, given as (file name, text).
pub(super) fn find(files: &[(String, String)]) -> Option<Mirror> {
    let sources: Vec<Source> = files
        .iter()
        .flat_map(|(name, text)| if name.ends_with(".sources") { deb822(text) } else { one_line(text) })
        .collect();
    let is_security =
        |source: &&Source| source.suite.ends_with("-security") || source.suite.ends_with("/updates");
    let security = sources.iter().find(is_security);
    // An archive of Debian itself has `…-updates` or `…-security` suites, or `debian` in its path; a vendor's
    // repository (its own suite names, its own path) is not what we are looking for.
    let main = sources.iter().find(|source| !is_security(source) && is_debian(&source.address))?;
    Some(Mirror {
        archive: main.address.clone(),
        security: security
            .map_or_else(|| format!("{}-security", main.address), |source| source.address.clone()),
        signed_by: main.signed_by.clone(),
    })
}

fn is_debian(address: &str) -> bool {
    address.rsplit('/').next() == Some("debian")
}

/// Stanzas of `Field: value`, separated by empty lines; a continuation starts with a space.
fn deb822(text: &str) -> Vec<Source> {
    let uncommented: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    uncommented.split(|line| line.trim().is_empty()).flat_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Vec<Source> {
    let field = |name: &str| {
        lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
        })
    };
    let enabled = field("Enabled").is_none_or(|value| value.eq_ignore_ascii_case("yes"));
    let binary = field("Types").is_some_and(|types| types.split_whitespace().any(|kind| kind == "deb"));
    if !enabled || !binary {
        return Vec::new();
    }
    let words = |name| field(name).unwrap_or_default().split_whitespace();
    // A key embedded in the stanza leaves the field itself empty; apt's default keyring then has to do.
    let signed_by = field("Signed-By").filter(|key| key.starts_with('/')).map(str::to_owned);
    let of_address = |address: &str| {
        let source = |suite: &str| Source {
            address: address.trim_end_matches('/').to_owned(),
            suite: suite.to_owned(),
            signed_by: signed_by.clone(),
        };
        words("Suites").map(source).collect::<Vec<_>>()
    };
    words("URIs").flat_map(of_address).collect()
}

/// `deb [option=value …] address suite component…`
fn one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(one_line_source).collect()
}

fn one_line_source(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim().strip_prefix("deb ")?.trim();
    let (options, rest) = match line.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => ("", line),
    };
    let mut words = rest.split_whitespace();
    Some(Source {
        address: words.next()?.trim_end_matches('/').to_owned(),
        suite: words.next()?.to_owned(),
        signed_by: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned),
    })
}

/// The private sources file for one of Debian's architectures, with every suite that a test kernel comes from.
pub(super) fn private_sources(mirror: &Mirror, architecture: &str) -> String {
    let stanza = |address: &str, suites: &str| {
        let key = mirror.signed_by.as_ref().map(|file| format!("Signed-By: {file}\n")).unwrap_or_default();
        format!(
            "Types: deb\nURIs: {address}\nSuites: {suites}\nComponents: main\nArchitectures: {architecture}\n{key}"
        )
    };
    let archive = stanza(&mirror.archive, "bullseye bookworm sid");
    let security = stanza(&mirror.security, "bullseye-security bookworm-security");
    format!("{archive}\n{security}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(name: &str, text: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), text.to_owned())]
    }

    const DEB822: &str = "\
Types: deb
# a snapshot
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://mirror.test/debian-security/
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/archive.gpg
";

    fn expected() -> Mirror {
        Mirror {
            archive: "http://mirror.test/debian".to_owned(),
            security: "http://mirror.test/debian-security".to_owned(),
            signed_by: Some("/usr/share/keyrings/archive.gpg".to_owned()),
        }
    }

    #[test]
    fn deb822_is_read() {
        assert_eq!(find(&files("debian.sources", DEB822)), Some(expected()));
    }

    #[test]
    fn one_line_is_read_and_comments_are_not() {
        let text = "# deb http://old.test/debian bookworm main\n\
            deb [arch=amd64 signed-by=/usr/share/keyrings/archive.gpg] http://mirror.test/debian/ bookworm main\n\
            deb-src http://mirror.test/debian bookworm main\n\
            deb [signed-by=/k.gpg] http://mirror.test/debian-security bookworm-security main # note\n";
        assert_eq!(find(&files("sources.list", text)), Some(expected()));
    }

    #[test]
    fn vendors_and_disabled_sources_are_not_debian() {
        let vendor = "Types: deb\nURIs: https://vendor.test/node_20.x\nSuites: nodistro\nComponents: main\n";
        let disabled = "Enabled: no\nTypes: deb\nURIs: http://mirror.test/debian\nSuites: bookworm\n";
        let source_only = "Types: deb-src\nURIs: http://mirror.test/debian\nSuites: bookworm\n";
        for text in [vendor, disabled, source_only] {
            assert_eq!(find(&files("x.sources", text)), None, "{text}");
        }
    }

    #[test]
    fn a_security_archive_is_guessed_where_none_is_configured() {
        let mirror = find(&files("sources.list", "deb http://mirror.test/debian bookworm main\n")).unwrap();
        assert_eq!(mirror.security, "http://mirror.test/debian-security");
        assert_eq!(mirror.signed_by, None);
    }

    #[test]
    fn the_private_file_names_each_suite_and_reads_back() {
        let text = private_sources(&expected(), "arm64");
        assert_eq!(text.matches("Architectures: arm64\n").count(), 2, "{text}");
        assert_eq!(find(&files("private.sources", &text)), Some(expected()));
        for suite in ["bullseye", "bookworm", "sid", "bullseye-security", "bookworm-security"] {
            assert!(deb822(&text).iter().any(|source| source.suite == suite), "{suite}");
        }
    }
}
