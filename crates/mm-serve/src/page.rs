//! The page at `/`: plain files that are part of the program, with a policy that lets a browser
//! load nothing from anywhere else.

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::routing::get;

/// What the page may do: run its own scripts and styles, show images that it made, and ask the
/// server that it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const STYLE: &str = "text/css; charset=utf-8";
pub(crate) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(crate) const SVG: &str = "image/svg+xml";

/// A file of the page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageFile {
    pub path: &'static str,
    pub content_type: &'static str,
    pub text: &'static str,
}

/// Every file of the page; the first is the page itself.
pub(crate) const FILES: &[PageFile] = &[
    PageFile { path: "/", content_type: HTML, text: include_str!("../page/index.html") },
    PageFile { path: "/style.css", content_type: STYLE, text: include_str!("../page/style.css") },
    PageFile { path: "/views.css", content_type: STYLE, text: include_str!("../page/views.css") },
    PageFile { path: "/icon.svg", content_type: SVG, text: include_str!("../page/icon.svg") },
    PageFile::script("/api.js", include_str!("../page/api.js")),
    PageFile::script("/app.js", include_str!("../page/app.js")),
    PageFile::script("/cards.js", include_str!("../page/cards.js")),
    PageFile::script("/chat.js", include_str!("../page/chat.js")),
    PageFile::script("/draw.js", include_str!("../page/draw.js")),
    PageFile::script("/edit.js", include_str!("../page/edit.js")),
    PageFile::script("/fields.js", include_str!("../page/fields.js")),
    PageFile::script("/gallery.js", include_str!("../page/gallery.js")),
    PageFile::script("/history.js", include_str!("../page/history.js")),
    PageFile::script("/mask.js", include_str!("../page/mask.js")),
    PageFile::script("/png.js", include_str!("../page/png.js")),
    PageFile::script("/read.js", include_str!("../page/read.js")),
    PageFile::script("/view.js", include_str!("../page/view.js")),
];

impl PageFile {
    /// Makes a script of its path and its text.
    pub const fn script(path: &'static str, text: &'static str) -> Self {
        Self { path, content_type: SCRIPT, text }
    }

    /// Returns the headers of the answer. Browsers ask each time whether the file has changed.
    fn headers(self) -> [(HeaderName, &'static str); 5] {
        headers(self.content_type, POLICY)
    }
}

/// Returns the headers of a file of this type under this policy.
pub(crate) fn headers(
    content_type: &'static str,
    policy: &'static str,
) -> [(HeaderName, &'static str); 5] {
    [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-cache"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ]
}

/// Adds the routes of the page to a router.
pub(crate) fn with_page<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    FILES.iter().fold(router, |router, file| {
        router.route(file.path, get(move || async move { (file.headers(), file.text) }))
    })
}

/// Returns the paths of the page, which are answered without a key.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    /// Returns what stands between `before` and the next quote, wherever it occurs.
    fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[tokio::test]
    async fn every_file_is_answered_with_its_type_and_the_policy() {
        for file in FILES {
            let request = Request::get(file.path).body(Body::empty()).unwrap();
            let response = with_page(Router::new()).oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{}", file.path);
            let headers = response.headers();
            assert_eq!(headers[CONTENT_TYPE], file.content_type, "{}", file.path);
            assert_eq!(headers[CACHE_CONTROL], "no-cache");
            let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
            assert!(!policy.contains("unsafe"), "{policy}");
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            assert_eq!(body, file.text.as_bytes());
        }
    }

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let served: BTreeSet<&str> = paths().collect();
        assert_eq!(served.len(), FILES.len(), "two files have one path");
        let mut named = BTreeSet::new();
        let html = FILES[0].text;
        for attribute in ["href=\"", "src=\""] {
            let names = quoted(html, attribute).into_iter().filter(|name| !name.starts_with('#'));
            named.extend(names.map(|name| format!("/{name}")));
        }
        for file in FILES.iter().filter(|file| file.content_type == SCRIPT) {
            named.extend(quoted(file.text, "from \"./").iter().map(|name| format!("/{name}")));
        }
        assert!(named.len() > 10, "{named:?}");
        for name in &named {
            assert!(served.contains(name.as_str()), "`{name}` is not served");
        }
        let unused: Vec<&&str> =
            served.iter().filter(|path| **path != "/" && !named.contains(**path)).collect();
        assert!(unused.is_empty(), "nothing loads {unused:?}");
    }

    #[test]
    fn the_page_has_no_script_or_style_of_its_own_and_no_foreign_address() {
        let html = FILES[0].text;
        for forbidden in ["style=\"", "<style", "onclick=", "onload=", "javascript:"] {
            assert!(!html.contains(forbidden), "the policy forbids `{forbidden}`");
        }
        assert_eq!(
            html.matches("<script").count(),
            html.matches("<script type=\"module\" src").count()
        );
        for file in FILES {
            let text = file.text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{}", file.path);
        }
    }
}
