//! The site at `/local`, whose model runs in the browser: files that are answered as they are.

use axum::Router;
use axum::body::Bytes;
use axum::response::Redirect;
use axum::routing::get;

use crate::page::{HTML, SCRIPT, STYLE, SVG, headers};
use crate::site::{POLICY, SiteFile};

/// The path below which a site is.
const SITE: &str = "/local";

/// Says whether a path is one of a site. It is answered without a key, since what a site holds is
/// meant for everyone who opens it.
pub(crate) fn is_of_site(path: &str) -> bool {
    path.strip_prefix(SITE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Adds the routes of a site, whose model runs in the browser, to a router; none for no files.
pub(crate) fn with_site<S>(router: Router<S>, files: &[SiteFile]) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    if files.is_empty() {
        return router;
    }
    // Addresses in the page are relative, so its own must end with a slash.
    let router = router.route(SITE, get(|| async { Redirect::permanent("local/") }));
    files.iter().fold(router, |router, file| {
        let name = if file.path == "index.html" { "" } else { file.path.as_str() };
        let headers = headers(type_of(&file.path), POLICY);
        let bytes = Bytes::from(file.bytes.clone());
        let answer = move || async move { (headers, bytes) };
        router.route(&format!("{SITE}/{name}"), get(answer))
    })
}

/// Returns the type of a file by its ending.
fn type_of(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|parts| parts.1) {
        Some("html") => HTML,
        Some("css") => STYLE,
        Some("js") => SCRIPT,
        Some("svg") => SVG,
        Some("json") => "application/json",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_site_is_answered_below_its_path_with_types_and_its_policy() {
        let files = [
            SiteFile::new("index.html", "page"),
            SiteFile::new("wasm/mm_web_bg.wasm", [0, 97]),
            SiteFile::new("models/0/model.safetensors", [1]),
        ];
        let answer = async |path: &str, files: &[SiteFile]| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            with_site(Router::new(), files).oneshot(request).await.unwrap()
        };
        for (path, wanted) in [
            ("/local/", HTML),
            ("/local/wasm/mm_web_bg.wasm", "application/wasm"),
            ("/local/models/0/model.safetensors", "application/octet-stream"),
        ] {
            let response = answer(path, &files).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(response.headers()[CONTENT_TYPE], wanted);
            let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.contains("script-src 'self' 'wasm-unsafe-eval';"), "{policy}");
            assert!(is_of_site(path) && !is_of_site(&path[1..]));
        }
        let moved = answer("/local", &files).await;
        assert_eq!(moved.headers()["location"], "local/");
        assert_eq!(answer("/local/other", &files).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(answer("/local/", &[]).await.status(), StatusCode::NOT_FOUND);
        assert!(is_of_site("/local") && !is_of_site("/locality"));
    }
}
