//! GraphiQL for a person with a browser: a page and its files, all from this process.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;

use crate::assets::{self, Assets};

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
pub struct Graphiql {
    endpoint: &'static str,
    assets: Assets,
}

impl Graphiql {
    /// A page that asks the endpoint at this path. `script` runs last, for example to fill the
    /// element `#bar` with a form to log in; the function `ask(query, variables)` is there for it.
    pub fn new(endpoint: &'static str, script: &'static str) -> Graphiql {
        let files = STYLES.into_iter().chain(SCRIPTS).chain([(OWN, script)]);
        let assets = Assets::new("/graphiql", files.map(|(name, text)| (name, text.into())));
        Graphiql { endpoint, assets }
    }

    /// Serves the page at `/graphiql`, and its files below.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/graphiql", get(root))
            .with_state(self.clone())
            .merge(self.assets.router())
    }

    /// The page, for [`Endpoint::page`](crate::Endpoint::page) as well.
    pub fn page(&self) -> Response {
        let mut random = [0; 18];
        if aws_lc_rs::rand::fill(&mut random).is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let nonce = URL_SAFE_NO_PAD.encode(random);
        let policy = format!(
            "script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; \
             font-src data:; connect-src 'self'"
        );
        assets::page(self.html(&nonce), &policy)
    }

    fn html(&self, nonce: &str) -> String {
        let (endpoint, base) = (self.endpoint, self.assets.base());
        let styles =
            STYLES.map(|(name, _)| format!("<link rel=\"stylesheet\" href=\"{base}/{name}\">\n"));
        let scripts = SCRIPTS.iter().map(|(name, _)| *name).chain([OWN]);
        let scripts = scripts.map(|name| {
            format!("<script src=\"{base}/{name}\" data-endpoint=\"{endpoint}\" data-nonce=\"{nonce}\"></script>\n")
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

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use http::header::CONTENT_SECURITY_POLICY;
    use http::{HeaderMap, Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn get(path: &str) -> (StatusCode, HeaderMap, Bytes) {
        let router = Graphiql::new("/graphql", "'own'").router();
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (head, body) = router.oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, body)
    }

    #[tokio::test]
    async fn the_page_names_only_files_that_are_here() {
        let (_, headers, page) = get("/graphiql").await;
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
            assert_eq!(get(path).await.0, StatusCode::OK, "{path}");
        }
    }
}
