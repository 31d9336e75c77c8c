//! Who may ask: hosts, origins and the token.
//!
//! A page of somebody else's, open in the user's browser, must not read the
//! API: it can point a name of its own at 127.0.0.1 (so the Host header is
//! checked) and it can open WebSockets across origins (so Origin is).

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::limits::is_write;

/// Beginning of the protocol that carries the token of a WebSocket, in
/// base64url without padding.
const TOKEN_PROTOCOL: &str = "modeltap.token.";

/// What is accepted.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Host names beside IP addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// The token every request must carry, if one is set.
    pub token: Option<String>,
}

/// Lets a request pass whose Host, Origin and token are right, and hardens the
/// answer, whatever it is.
pub async fn check(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let mut response = match admit(&access, &request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    harden(response.headers_mut());
    response
}

fn admit(access: &Access, request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    let host = host(headers, request.uri().host());
    if !host.is_some_and(|host| is_allowed(access, host_name(host))) {
        return Err(ApiError::Forbidden(
            "unknown host: ask by IP address, as localhost, or name the host with --allowed-hosts"
                .to_owned(),
        ));
    }
    let is_foreign = |origin: &HeaderValue| origin.to_str().ok().and_then(authority) != host;
    if headers.get_all(header::ORIGIN).iter().any(is_foreign) {
        return Err(ApiError::Forbidden(
            "requests from other origins are refused".to_owned(),
        ));
    }
    // Old browsers send no Origin with a form; newer ones say this as well.
    let site = headers.get("sec-fetch-site");
    if is_write(request.method())
        && site.is_some_and(|site| site != "same-origin" && site != "none")
    {
        return Err(ApiError::Forbidden(
            "writes from other sites are refused".to_owned(),
        ));
    }
    // Health checks of a supervisor carry no secrets and show none.
    let is_open = matches!(request.uri().path(), "/healthz" | "/readyz");
    match &access.token {
        Some(token) if !is_open && !carries(headers, token) => Err(ApiError::Unauthorized),
        _ => Ok(()),
    }
}

fn harden(headers: &mut HeaderMap) {
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' \
             'unsafe-inline'; img-src 'self' data:; connect-src 'self' ws: wss:; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'",
        ),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
}

fn host<'a>(headers: &'a HeaderMap, target: Option<&'a str>) -> Option<&'a str> {
    headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or(target)
}

fn authority(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(_, authority)| authority)
}

/// The host of `host:port`, without the brackets of IPv6.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(name, _)| name);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_allowed(access: &Access, name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || access
            .allowed_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(name))
}

/// Whether the token is there: as `Authorization: Bearer`, as the password of
/// Basic, or, since a page cannot give a WebSocket a header, as one of the
/// protocols it offers.
fn carries(headers: &HeaderMap, token: &str) -> bool {
    let authorization = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = match authorization {
        Some(value) => match value.split_once(' ') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => {
                Some(rest.as_bytes().to_vec())
            }
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("basic") => password(rest),
            _ => None,
        },
        None => offered(headers),
    };
    given.is_some_and(|given| equal(&given, token.as_bytes()))
}

/// The token among the protocols that a WebSocket offers, in the alphabet that
/// their names may have (RFC 4648 section 5).
fn offered(headers: &HeaderMap) -> Option<Vec<u8>> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|name| name.trim().strip_prefix(TOKEN_PROTOCOL))
        .and_then(base64)
}

/// The password of HTTP Basic credentials (RFC 7617).
fn password(encoded: &str) -> Option<Vec<u8>> {
    let decoded = base64(encoded.trim())?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut n_bits) = (0_u32, 0_u32);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
            bits &= (1 << n_bits) - 1;
        }
    }
    Some(bytes)
}

/// Compares without telling by its time how much was right.
fn equal(given: &[u8], secret: &[u8]) -> bool {
    let length_differs = u8::from(given.len() != secret.len());
    let differs = given
        .iter()
        .zip(secret.iter().cycle())
        .fold(length_differs, |differs, (a, b)| differs | (a ^ b));
    black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_allowed_and_names_must_be_named() {
        let access = Access {
            allowed_hosts: vec!["gpu-1".to_owned()],
            token: None,
        };
        for (host, allowed) in [
            ("127.0.0.1:7979", true),
            ("[::1]:7979", true),
            ("localhost", true),
            ("GPU-1:7979", true),
            ("attacker.example:7979", false),
            ("127.0.0.1.attacker.example", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(&access, host_name(host)), allowed, "{host}");
        }
    }

    #[test]
    fn token_is_taken_as_bearer_or_as_password() {
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            headers
        };
        let token = "0123456789abcdef";
        assert!(carries(&headers("Bearer 0123456789abcdef"), token));
        // user:0123456789abcdef
        assert!(carries(
            &headers("Basic dXNlcjowMTIzNDU2Nzg5YWJjZGVm"),
            token
        ));
        assert!(!carries(&headers("Bearer 0123456789abcdee"), token));
        assert!(!carries(&headers("Bearer 0123456789abcdef0"), token));
        assert!(!carries(&headers("Bearer "), token));
        assert!(!carries(&headers("Basic !!!!"), token));
        assert!(!carries(&HeaderMap::new(), token));

        let protocols = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value.parse().unwrap());
            headers
        };
        let right = "modeltap.v1, modeltap.token.MDEyMzQ1Njc4OWFiY2RlZg";
        assert!(carries(&protocols(right), token));
        assert!(!carries(
            &protocols("modeltap.token.MDEyMzQ1Njc4OWFiY2RlZQ"),
            token
        ));
        assert!(!carries(&protocols("modeltap.v1"), token));
    }
}
