//! Which web pages may use the server: those of its own address, and those whose origins are named.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{Method, StatusCode, header};

use crate::error::{ApiError, beginning};

/// Fails unless the request was addressed to a name of the loopback.
///
/// A web page can give its own name the address 127.0.0.1 ("DNS rebinding"); its requests come here
/// then, and the browser takes them for requests to its own server. They still say the page's name.
pub(super) fn check_host(request: &Request) -> Result<(), ApiError> {
    let header = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    let uri = request.uri().authority().map(|authority| authority.as_str());
    for host in header.into_iter().chain(uri) {
        if !is_loopback(host) {
            let shown = beginning(host);
            let why = format!("the host `{shown}` is not served here, wanted one of the loopback");
            return Err(refused(StatusCode::MISDIRECTED_REQUEST, why, "unknown_host"));
        }
    }
    Ok(())
}

/// Fails if a page of another origin asks for something to be done.
pub(super) fn check_origin(request: &Request, named: &[String]) -> Result<(), ApiError> {
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method()) {
        return Ok(()); // the browser keeps the answer from the page
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("?");
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let own = authority
        .is_some_and(|authority| host.is_some_and(|host| host.eq_ignore_ascii_case(authority)));
    if own || named.iter().any(|named| named == origin) {
        return Ok(());
    }
    let shown = beginning(origin);
    let why = format!("pages of the origin `{shown}` may not use this server (`--cors-origin`)");
    Err(refused(StatusCode::FORBIDDEN, why, "origin_not_allowed"))
}

/// Returns whether a host, with its port or without, names this machine's loopback.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let named = name == "localhost" || name.ends_with(".localhost");
    named || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn refused(status: StatusCode, why: String, code: &'static str) -> ApiError {
    ApiError::of(status, "invalid_request_error", why).with_code(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_are_its_own() {
        for host in
            ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "a.localhost"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "example.org",
            "127.0.0.1.example.org:80",
            "localhost.example.org",
            "0.0.0.0",
            "",
            "[::2]:1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
