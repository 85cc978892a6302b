//! "Did you mean …?": the nearest of the names that would have been right.

/// Names less alike than this are other names.
const ALIKE: f64 = 0.8;

/// The known name that is most like the one that was typed; none where nothing is near.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = |name: &str| strsim::jaro_winkler(&typed.to_lowercase(), &name.to_lowercase());
    known
        .into_iter()
        .filter(|name| *name != typed)
        .map(|name| (alike(name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The same as the end of a sentence; empty where nothing is near.
pub(crate) fn line<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, known).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_alike_is_suggested() {
        let known = ["curl", "sshd", "postgres"];
        assert_eq!(nearest("crul", known), Some("curl"));
        assert_eq!(nearest("Postgre", known), Some("postgres"));
        assert_eq!(nearest("nginx", known), None);
        assert_eq!(nearest("curl", known), None, "it was typed right");
        assert_eq!(line("crul", known), "; did you mean curl?");
    }
}
