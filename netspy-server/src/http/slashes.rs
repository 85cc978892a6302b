//! `//health` → `/health`: a client given `http://host:8080/` as its base asks for that. A redirect would turn
//! its POST into a GET.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// The same with each run of slashes in its path as one; `None` where there is none.
pub(super) fn collapsed(uri: &Uri) -> Option<Uri> {
    if !uri.path().contains("//") {
        return None;
    }
    let mut path = String::with_capacity(uri.path().len());
    for character in uri.path().chars() {
        if character != '/' || !path.ends_with('/') {
            path.push(character);
        }
    }
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::collapsed;

    #[test]
    fn runs_of_slashes_become_one() {
        let collapse = |uri: &str| collapsed(&uri.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(collapse("//health").as_deref(), Some("/health"));
        assert_eq!(collapse("///api////events?a=//&b").as_deref(), Some("/api/events?a=//&b"));
        assert_eq!(collapse("/api//").as_deref(), Some("/api/"));
        assert_eq!(collapse("/api/events?a=//"), None);
        assert_eq!(collapse("http://h:1//x").as_deref(), Some("http://h:1/x"));
    }
}
