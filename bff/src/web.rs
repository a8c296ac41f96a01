//! The web client: its pages, its files, and the documents that they name. All of it lies in
//! `web/`, as it is sent.

use std::borrow::Cow;

use axum::Router;
use axum::routing::get;
use platform_graphql::Manifest;
use platform_graphql::assets::{self, Assets};
use platform_graphql::persisted::document_id;

/// Files of `web/`, by their names there.
macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../web/", $name)))),*]
    };
}

const INDEX: &str = include_str!("../../web/index.html");

/// Where each view is; all are the same page.
const VIEWS: [&str; 6] = [
    "/",
    "/login",
    "/register",
    "/offers/{id}",
    "/own",
    "/own/{id}",
];

const POLICY: &str = "script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const FILES: &[(&str, &str)] = files![
    "css/base.css"
    "css/parts.css"
    "icon.svg"
    "js/api.js"
    "js/app.js"
    "js/dom.js"
    "js/format.js"
    "js/live.js"
    "js/notices.js"
    "js/parts/card.js"
    "js/parts/day.js"
    "js/parts/dialog.js"
    "js/parts/filters.js"
    "js/parts/form.js"
    "js/parts/login.js"
    "js/parts/offer-form.js"
    "js/parts/votes.js"
    "js/router.js"
    "js/session.js"
    "js/state.js"
    "js/theme.js"
    "js/views/browse.js"
    "js/views/edit.js"
    "js/views/login.js"
    "js/views/missing.js"
    "js/views/offer.js"
    "js/views/own.js"
    "js/views/register.js"
    "js/votes.js"
];

/// The module that is made here: the ids of the documents.
const IDS: &str = "js/documents.js";

const DOCUMENTS: &[(&str, &str)] = files![
    "documents/Areas.graphql"
    "documents/CastVote.graphql"
    "documents/CreateOffer.graphql"
    "documents/Login.graphql"
    "documents/Logout.graphql"
    "documents/Offer.graphql"
    "documents/OfferEvents.graphql"
    "documents/OfferOfTheDay.graphql"
    "documents/OfferVotes.graphql"
    "documents/Offers.graphql"
    "documents/PublishOffer.graphql"
    "documents/Register.graphql"
    "documents/RetireOffer.graphql"
    "documents/RetractVote.graphql"
    "documents/Session.graphql"
    "documents/UpdateOffer.graphql"
    "documents/Viewer.graphql"
];

/// Those that spread others come first.
const FRAGMENTS: &[(&str, &str)] = files![
    "documents/fragments/OfferParts.graphql"
    "documents/fragments/Person.graphql"
    "documents/fragments/VoteParts.graphql"
];

/// Serves the pages and their files; `open` adds a link to what is there outside production.
pub(crate) fn router(open: bool) -> Router {
    let ids = (IDS, Cow::Owned(ids()));
    let files = FILES.iter().map(|&(name, text)| (name, text.into()));
    let assets = Assets::new("/web", files.chain([ids]));
    let html = html(assets.base(), open);
    let view = get(async move || assets::page(html, POLICY));
    let routes = VIEWS.iter().fold(Router::new(), |routes, path| {
        routes.route(path, view.clone())
    });
    routes.merge(assets.router())
}

/// The documents that the page names, for [`Endpoint::own_documents`].
///
/// [`Endpoint::own_documents`]: platform_graphql::Endpoint::own_documents
pub(crate) fn manifest() -> Manifest {
    Manifest::of(documents().map(|(_, text)| text))
}

/// Name and text of each document, with the fragments that it spreads.
fn documents() -> impl Iterator<Item = (&'static str, String)> {
    DOCUMENTS.iter().map(|(path, text)| {
        let mut whole = (*text).to_owned();
        for (fragment, text) in FRAGMENTS {
            if whole.contains(&format!("...{} ", stem(fragment))) {
                whole.push_str(text);
            }
        }
        (stem(path), whole)
    })
}

/// `documents/Viewer.graphql` is `Viewer`.
fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split('.').next().unwrap_or(name)
}

fn ids() -> String {
    let ids = documents().map(|(name, text)| format!("  {name}: '{}',\n", document_id(&text)));
    format!("export const ids = {{\n{}}};\n", ids.collect::<String>())
}

fn html(base: &str, open: bool) -> String {
    // All modules at once, not one level of imports after the other.
    let modules = FILES.iter().map(|(name, _)| *name).chain([IDS]);
    let modules = modules.filter(|name| name.ends_with(".js") && *name != "js/theme.js");
    let preload = modules
        .map(|name| format!("<link rel=\"modulepreload\" href=\"{base}/{name}\">\n"))
        .collect::<String>();
    let footer = match open {
        true => "<p><a href=\"/graphiql\" data-outside>The API, to try out</a></p>",
        false => "",
    };
    INDEX
        .replace("{base}", base)
        .replace("{preload}", &preload)
        .replace("{footer}", footer)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use axum::body::Body;
    use http::header::CONTENT_SECURITY_POLICY;
    use http::{Request, Response, StatusCode};
    use http_body_util::BodyExt;
    use platform_graphql::{Documents, Limits};
    use tower::ServiceExt;

    use super::*;
    use crate::schema;

    fn web() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../web")
    }

    fn below(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found);
            } else {
                let name = path.strip_prefix(web()).unwrap().to_str().unwrap();
                found.insert(name.to_owned());
            }
        }
    }

    async fn get(path: &str) -> Response<Body> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router(true).oneshot(request).await.unwrap()
    }

    async fn text(response: Response<Body>) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let mut there = BTreeSet::new();
        below(&web(), &mut there);
        for other in ["README.md", "index.html"] {
            assert!(there.remove(other));
        }
        let lists = [FILES, DOCUMENTS, FRAGMENTS].into_iter().flatten();
        let listed = lists.map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(there, listed);
    }

    #[test]
    fn every_document_is_valid_and_called_as_its_file() {
        let checker = schema::checker();
        let limits = Limits::default();
        let documents = Documents::new(checker, limits);
        for (name, text) in self::documents() {
            let document = documents.get(&text);
            let document = document.unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
            let names = document.parsed.operations.iter().map(|(name, _)| name);
            assert!(names.eq([Some(&async_graphql::Name::new(name))]), "{name}");
        }
    }

    #[tokio::test]
    async fn every_view_is_the_page_which_names_only_files_that_are_here() {
        let page = text(get("/").await).await;
        for view in VIEWS {
            let response = get(&view.replace("{id}", "AbC_-1")).await;
            let policy = response.headers()[CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap();
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
            assert_eq!(text(response).await, page);
        }
        let paths: Vec<_> = page
            .split('"')
            .filter(|text| text.starts_with("/web/"))
            .collect();
        assert!(paths.len() >= FILES.len());
        for path in paths {
            assert_eq!(get(path).await.status(), StatusCode::OK, "{path}");
        }
        assert_eq!(get("/nothing").await.status(), StatusCode::NOT_FOUND);
        assert!(!page.contains("://") && !page.contains('{'), "{page}");
    }

    #[test]
    fn the_page_is_small() {
        let bytes: usize = FILES.iter().map(|(_, text)| text.len()).sum();
        assert!(
            bytes < 100_000,
            "{bytes} bytes before they are made smaller"
        );
    }
}
