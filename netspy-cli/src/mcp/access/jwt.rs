//! Tokens of an authorization server: netspy as an OAuth resource server (RFC 9728). It makes no tokens; it checks
//! that a JWT was signed by the issuer it trusts, for this very resource (RFC 8707), and is not expired.

use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::caller::{Caller, SCOPES};

/// Public keys only: with a shared secret whoever can check a token could make one.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// Keys are read again for an unknown key id, but not more often than this.
const REREAD: Duration = Duration::from_mins(1);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds by which clocks may differ.
const LEEWAY: u64 = 5;
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// An authorization server that is trusted, and the name by which this resource is known to it.
pub(in crate::mcp) struct Issuer {
    name: String,
    resource: Url,
    http: Client,
    keys_address: Url,
    keys: Mutex<Keys>,
}

struct Keys {
    set: JwkSet,
    read: Instant,
}

/// RFC 8414, section 2, and `OpenID` Connect Discovery: what is needed of it.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// RFC 9068, section 2.2: what is needed of it.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    client_id: Option<String>,
    #[serde(default)]
    scope: String,
}

impl Issuer {
    /// Reads what the authorization server says of itself, and its keys.
    pub(in crate::mcp) async fn discover(issuer: &Url, resource: Url) -> Result<Self, String> {
        is_safe(issuer)?;
        let http = Client::builder().timeout(TIMEOUT).build().map_err(|error| error.to_string())?;
        let issuer_name = issuer.as_str().trim_end_matches('/');
        let mut told = Err("no metadata".to_owned());
        for address in metadata_addresses(issuer) {
            told = get::<Metadata>(&http, &address).await;
            if told.is_ok() {
                break;
            }
        }
        let metadata = told.map_err(|error| format!("cannot read the metadata of {issuer_name}: {error}"))?;
        // RFC 8414, section 3.3: somebody else's metadata under this address.
        if metadata.issuer.trim_end_matches('/') != issuer_name {
            return Err(format!(
                "{issuer_name} says that it is {}: give that as --oauth-issuer",
                metadata.issuer
            ));
        }
        let keys_address: Url =
            metadata.jwks_uri.parse().map_err(|error| format!("jwks_uri of {issuer_name}: {error}"))?;
        is_safe(&keys_address)?;
        let set = get(&http, &keys_address)
            .await
            .map_err(|error| format!("cannot read the keys of {issuer_name}: {error}"))?;
        let keys = Mutex::new(Keys { set, read: Instant::now() });
        Ok(Self { name: metadata.issuer, resource, http, keys_address, keys })
    }

    /// Whose token this is, or why it is none.
    pub(super) async fn caller(&self, token: &str) -> Result<Caller, &'static str> {
        let header = decode_header(token).map_err(|_| "the token is no JWT")?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err("the token is not signed with a public key");
        }
        let key = self.key(header.kid.as_deref()).await.ok_or("the token's key is not known")?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.name]);
        validation.set_audience(&[self.resource.as_str()]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let claims = decode::<Claims>(token, &key, &validation).map_err(|error| reason(&error))?.claims;
        let name = claims.sub.or(claims.client_id).unwrap_or_else(|| "somebody".to_owned());
        Ok(Caller::new(&name, claims.scope.split_whitespace()))
    }

    /// The key of this id, read again if it is new; the only one where none is named.
    async fn key(&self, id: Option<&str>) -> Option<DecodingKey> {
        let mut keys = self.keys.lock().await;
        let find = |set: &JwkSet| match id {
            Some(id) => set.find(id).and_then(|key| DecodingKey::from_jwk(key).ok()),
            None => set
                .keys
                .first()
                .filter(|_| set.keys.len() == 1)
                .and_then(|key| DecodingKey::from_jwk(key).ok()),
        };
        if let Some(key) = find(&keys.set) {
            return Some(key);
        }
        if keys.read.elapsed() < REREAD {
            return None;
        }
        keys.read = Instant::now();
        keys.set = get(&self.http, &self.keys_address).await.ok()?;
        find(&keys.set)
    }

    /// Where a client reads who makes tokens for this resource (RFC 9728, section 3.1).
    pub(super) fn metadata_address(&self) -> String {
        let mut address = self.resource.clone();
        address.set_path(&self.metadata_path());
        address.to_string()
    }

    /// The path of that address.
    pub(in crate::mcp) fn metadata_path(&self) -> String {
        format!("{WELL_KNOWN}{}", self.resource.path().trim_end_matches('/'))
    }

    /// What is read there.
    pub(in crate::mcp) fn metadata(&self) -> Value {
        json!({
            "resource": self.resource.as_str(),
            "resource_name": "netspy",
            "authorization_servers": [self.name],
            "scopes_supported": SCOPES.map(|(scope, _)| scope),
            "bearer_methods_supported": ["header"],
        })
    }
}

/// Whoever can change what is read on the way can make tokens.
fn is_safe(address: &Url) -> Result<(), String> {
    let host = address.host_str().unwrap_or_default();
    let is_local = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    match address.scheme() {
        "https" => Ok(()),
        "http" if is_local => Ok(()),
        _ => Err(format!("{address} must be https (http only on this machine)")),
    }
}

/// RFC 8414, section 3.1: the well-known part stands before the issuer's path; `OpenID` Connect's behind it.
fn metadata_addresses(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/').to_owned();
    let at = |path: &str| {
        let mut address = issuer.clone();
        address.set_path(path);
        address
    };
    [
        at(&format!("/.well-known/oauth-authorization-server{path}")),
        at(&format!("{path}/.well-known/openid-configuration")),
    ]
}

async fn get<T: DeserializeOwned>(http: &Client, address: &Url) -> Result<T, String> {
    let answer = http.get(address.clone()).send().await.and_then(reqwest::Response::error_for_status);
    answer.map_err(|error| error.to_string())?.json().await.map_err(|error| error.to_string())
}

fn reason(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidAudience => "the token is for another resource",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks exp, iss or aud",
        _ => "the token is not valid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_the_standards_say() {
        let issuer = "https://as.example/tenant".parse().unwrap();
        let [oauth, openid] = metadata_addresses(&issuer).map(|address| address.to_string());
        assert_eq!(oauth, "https://as.example/.well-known/oauth-authorization-server/tenant");
        assert_eq!(openid, "https://as.example/tenant/.well-known/openid-configuration");
    }

    #[test]
    fn only_this_machine_may_do_without_encryption() {
        for (address, safe) in [
            ("https://as.example", true),
            ("http://127.0.0.1:9", true),
            ("http://localhost", true),
            ("http://as.example", false),
            ("ftp://localhost", false),
        ] {
            assert_eq!(is_safe(&address.parse().unwrap()).is_ok(), safe, "{address}");
        }
    }
}
