//! GraphiQL for a person with a browser: a page and its files, all from this process.

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

const STYLES: [(&str, &str); 2] = [
    (
        "graphiql.min.css",
        include_str!("../graphiql/vendor/graphiql.min.css"),
    ),
    ("page.css", include_str!("../graphiql/page.css")),
];
/// In the order in which they run.
const SCRIPTS: [(&str, &str); 4] = [
    (
        "react.production.min.js",
        include_str!("../graphiql/vendor/react.production.min.js"),
    ),
    (
        "react-dom.production.min.js",
        include_str!("../graphiql/vendor/react-dom.production.min.js"),
    ),
    (
        "graphiql.min.js",
        include_str!("../graphiql/vendor/graphiql.min.js"),
    ),
    ("page.js", include_str!("../graphiql/page.js")),
];
/// The name of a schema's own script.
const OWN: &str = "own.js";

/// The page of one endpoint.
#[derive(Clone)]
pub struct Graphiql(Arc<Site>);

struct Site {
    endpoint: &'static str,
    files: BTreeMap<&'static str, File>,
    /// Stands in the path of the files, so that browsers can keep them for good.
    digest: String,
}

struct File {
    media: &'static str,
    text: &'static str,
    /// Made when it is first asked for.
    smaller: OnceLock<Bytes>,
}

impl Graphiql {
    /// A page that asks the endpoint at this path. `script` runs last, for example to fill the
    /// element `#bar` with a form to log in; the function `ask(query, variables)` is there for it.
    pub fn new(endpoint: &'static str, script: &'static str) -> Graphiql {
        let css = STYLES.map(|(name, text)| (name, "text/css; charset=utf-8", text));
        let js = [(OWN, script)];
        let js = SCRIPTS.iter().chain(&js);
        let js = js.map(|(name, text)| (*name, "text/javascript; charset=utf-8", *text));
        let mut digest = Context::new(&SHA256);
        let mut files = BTreeMap::new();
        for (name, media, text) in css.into_iter().chain(js) {
            digest.update(text.as_bytes());
            let smaller = OnceLock::new();
            files.insert(
                name,
                File {
                    media,
                    text,
                    smaller,
                },
            );
        }
        Graphiql(Arc::new(Site {
            endpoint,
            files,
            digest: URL_SAFE_NO_PAD.encode(&digest.finish().as_ref()[..9]),
        }))
    }

    /// Serves the page at `/`, and its files under `/graphiql/`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(root))
            .route("/graphiql/{digest}/{name}", get(file))
            .with_state(self.clone())
    }

    /// The page, for [`Endpoint::page`](crate::Endpoint::page) as well.
    pub fn page(&self) -> Response {
        let mut random = [0; 18];
        if aws_lc_rs::rand::fill(&mut random).is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let nonce = URL_SAFE_NO_PAD.encode(random);
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; \
             img-src 'self' data:; font-src data:; connect-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'"
        );
        let headers = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, policy.as_str()),
            (CACHE_CONTROL, "no-store"),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (VARY, "accept"),
        ];
        (headers, self.html(&nonce)).into_response()
    }

    fn html(&self, nonce: &str) -> String {
        let Site {
            endpoint, digest, ..
        } = &*self.0;
        let styles = STYLES.map(|(name, _)| {
            format!("<link rel=\"stylesheet\" href=\"/graphiql/{digest}/{name}\">\n")
        });
        let scripts = SCRIPTS.iter().map(|(name, _)| *name).chain([OWN]);
        let scripts = scripts.map(|name| {
            format!("<script src=\"/graphiql/{digest}/{name}\" data-endpoint=\"{endpoint}\" data-nonce=\"{nonce}\"></script>\n")
        });
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>GraphiQL</title>\n\
             <link rel=\"icon\" href=\"data:,\">\n{}</head>\n\
             <body>\n<header id=\"bar\"></header>\n<main id=\"graphiql\"></main>\n{}</body>\n</html>\n",
            styles.concat(),
            scripts.collect::<String>(),
        )
    }
}

async fn root(State(page): State<Graphiql>) -> Response {
    page.page()
}

async fn file(
    State(page): State<Graphiql>,
    Path((digest, name)): Path<(String, String)>,
    request: HeaderMap,
) -> Response {
    let file = page.0.files.get(name.as_str());
    let Some(file) = file.filter(|_| digest == page.0.digest) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let smaller = takes_gzip(&request).then(|| file.smaller());
    let body = match smaller.clone() {
        Some(bytes) => Body::from(bytes),
        None => Body::from(file.text),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.media));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if smaller.is_some() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

impl File {
    fn smaller(&self) -> Bytes {
        let make = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            let written = encoder.write_all(self.text.as_bytes());
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

    async fn get(path: &str, encoding: &str) -> (StatusCode, HeaderMap, Bytes) {
        let router = Graphiql::new("/graphql", "'own'").router();
        let request = Request::get(path).header("accept-encoding", encoding);
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await;
        let (head, body) = response.unwrap().into_parts();
        (
            head.status,
            head.headers,
            body.collect().await.unwrap().to_bytes(),
        )
    }

    #[tokio::test]
    async fn the_page_names_only_files_that_are_here() {
        let (_, headers, page) = get("/", "").await;
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
        let page = String::from_utf8(page.to_vec()).unwrap();
        assert!(!page.contains("//"), "nothing of other hosts: {page}");
        let paths: Vec<_> = page
            .split('"')
            .filter(|text| text.starts_with("/graphiql/"))
            .collect();
        assert_eq!(paths.len(), STYLES.len() + SCRIPTS.len() + 1);
        for path in paths {
            let (status, headers, body) = get(path, "identity").await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert!(
                headers[CACHE_CONTROL]
                    .to_str()
                    .unwrap()
                    .contains("immutable")
            );
            let (_, headers, smaller) = get(path, "gzip").await;
            assert_eq!(headers[CONTENT_ENCODING], "gzip");
            assert!(body.len() < 2_000 || smaller.len() < body.len());
        }
    }

    #[tokio::test]
    async fn files_of_another_version_are_not_here() {
        for path in [
            "/graphiql/old/page.js",
            "/graphiql/old/..%2fpage.js",
            "/graphiql/",
        ] {
            assert_eq!(get(path, "").await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }
}
