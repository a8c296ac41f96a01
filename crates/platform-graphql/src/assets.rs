//! Files of a web page that the program carries, under paths that change with their content, so
//! that browsers keep them for good; and pages under a strict policy.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{Context, SHA256};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::http::takes_gzip;

/// A set of files that belong together: one digest of all of them stands in each path, so that
/// modules may name each other relatively.
#[derive(Clone)]
pub struct Assets(Arc<Set>);

struct Set {
    /// `/web/<digest>`.
    base: String,
    files: BTreeMap<&'static str, File>,
}

struct File {
    media: &'static str,
    text: Bytes,
    /// Made when it is first asked for.
    smaller: OnceLock<Bytes>,
}

impl Assets {
    /// Files by their names, such as `js/app.js`; what kind they are is told by the ending: `css`,
    /// `js`, `svg`. They are served below `prefix`, such as `/web`.
    pub fn new(
        prefix: &str,
        files: impl IntoIterator<Item = (&'static str, Cow<'static, str>)>,
    ) -> Assets {
        let mut digest = Context::new(&SHA256);
        let mut set = BTreeMap::new();
        for (name, text) in files {
            for part in [name, &*text] {
                digest.update(&part.len().to_le_bytes());
                digest.update(part.as_bytes());
            }
            set.insert(name, File::new(name, text));
        }
        let digest = URL_SAFE_NO_PAD.encode(&digest.finish().as_ref()[..9]);
        Assets(Arc::new(Set {
            base: format!("{prefix}/{digest}"),
            files: set,
        }))
    }

    /// What stands before the name of each file, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.0.base
    }

    /// Serves the files.
    pub fn router(&self) -> Router {
        // The digest is that of this process: files of another version are not here.
        let path = format!("{}/{{*name}}", self.0.base);
        Router::new()
            .route(&path, get(file))
            .with_state(self.clone())
    }
}

/// A page whose scripts, requests and so on come from where `policy` allows, and which no other
/// page may frame. Asked for again each time, since it names the files of this version.
pub fn page(html: String, policy: &str) -> Response {
    let policy = format!(
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; {policy}"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy.as_str()),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (VARY, "accept"),
    ];
    (headers, html).into_response()
}

async fn file(
    State(assets): State<Assets>,
    Path(name): Path<String>,
    request: HeaderMap,
) -> Response {
    let Some(file) = assets.0.files.get(name.as_str()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let smaller = takes_gzip(&request).then(|| file.smaller());
    let encoded = smaller.is_some();
    let mut response = Response::new(Body::from(smaller.unwrap_or_else(|| file.text.clone())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.media));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if encoded {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

impl File {
    fn new(name: &str, text: Cow<'static, str>) -> File {
        let media = match name.rsplit_once('.') {
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        };
        let text = match text {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        File {
            media,
            text,
            smaller: OnceLock::new(),
        }
    }

    fn smaller(&self) -> Bytes {
        let make = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            let written = encoder.write_all(&self.text);
            let bytes = written.and_then(|()| encoder.finish());
            bytes.expect("memory takes whatever is written").into()
        };
        self.smaller.get_or_init(make).clone()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    fn assets(script: &'static str) -> Assets {
        let files = [("js/app.js", script), ("style.css", "body {}")];
        Assets::new("/web", files.map(|(name, text)| (name, text.into())))
    }

    async fn get(assets: &Assets, path: &str, encoding: &str) -> (StatusCode, HeaderMap, Bytes) {
        let request = Request::get(path).header("accept-encoding", encoding);
        let request = request.body(Body::empty()).unwrap();
        let response = assets.router().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, body)
    }

    #[tokio::test]
    async fn files_are_kept_for_good_and_sent_smaller_to_those_who_can_read_that() {
        let script = "console.log('hello');\n".repeat(100);
        let assets = assets(script.clone().leak());
        let path = format!("{}/js/app.js", assets.base());
        let (status, headers, body) = get(&assets, &path, "identity").await;
        assert_eq!((status, &body[..]), (StatusCode::OK, script.as_bytes()));
        assert_eq!(headers[CONTENT_TYPE], "text/javascript; charset=utf-8");
        let kept = headers[CACHE_CONTROL].to_str().unwrap();
        assert!(kept.contains("immutable"));
        let (_, headers, smaller) = get(&assets, &path, "gzip").await;
        assert_eq!(headers[CONTENT_ENCODING], "gzip");
        assert!(smaller.len() < body.len() / 10);
    }

    #[tokio::test]
    async fn files_of_another_version_are_not_here() {
        let (old, new) = (assets("'old'"), assets("'new'"));
        assert_ne!(old.base(), new.base());
        for path in [
            format!("{}/js/app.js", old.base()),
            format!("{}/app.js", new.base()),
            format!("{}/js/..%2fstyle.css", new.base()),
            format!("{}/", new.base()),
            "/web/".to_owned(),
        ] {
            let status = get(&new, &path, "").await.0;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        }
    }
}
