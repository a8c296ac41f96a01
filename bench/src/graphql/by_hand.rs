//! The peer: one handler that answers one list, as somebody would write it who cares for nothing but speed.
//!
//! It stands behind the platform's HTTP server, its token check, its admission and its channels, as the BFF
//! does, and knows neither documents nor a schema: it takes `first` to be 100 and the selection as given.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use api::homeward::catalog::v1::catalog_service_client::CatalogServiceClient;
use api::homeward::catalog::v1::{CATALOG_SERVICE, ListOffersRequest, ListOffersResponse};
use api::homeward::identity::v1::identity_service_client::IdentityServiceClient;
use api::homeward::identity::v1::{BatchGetOrganisationsRequest, IDENTITY_SERVICE, Organisation};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use platform::Runtime;
use platform::admission::{Admission, AdmissionLimits, Class};
use platform::auth::Verifier;
use platform::client::{Channel, GrpcTarget, Metrics};
use platform::config::{AuthArgs, HttpArgs};
use platform_graphql::Context;
use serde::Deserialize;
use tonic::Status;
use uuid::Uuid;

use super::bare;

#[derive(clap::Args)]
pub(crate) struct Config {
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    auth: AuthArgs,
    /// Addresses of `identity`.
    #[arg(env = "GRPC_IDENTITY")]
    grpc_identity: GrpcTarget,
    /// Addresses of `catalog`.
    #[arg(env = "GRPC_CATALOG")]
    grpc_catalog: GrpcTarget,
}

/// Serves until the process is killed.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let _running = platform::run_in_process("bff", start, config).await?;
    std::future::pending().await
}

async fn start(rt: &mut Runtime, config: Config) -> anyhow::Result<()> {
    let metrics = Metrics::new(rt.registry());
    let server = Server {
        verifier: Verifier::new(&config.auth),
        admission: Admission::new(AdmissionLimits::default()),
        catalog: Channel::connect(&metrics, "catalog", &config.grpc_catalog),
        identity: Channel::connect(&metrics, "identity", &config.grpc_identity),
    };
    let routes = Router::new()
        .route("/graphql", post(offers))
        .route("/probe", post(bare::probe))
        .with_state(Arc::new(server));
    rt.http(&config.http, routes);
    Ok(())
}

struct Server {
    verifier: Verifier,
    admission: Admission,
    catalog: Channel,
    identity: Channel,
}

#[derive(Deserialize)]
struct Asked {
    variables: Variables,
}

#[derive(Deserialize)]
struct Variables {
    after: String,
}

async fn offers(State(server): State<Arc<Server>>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Ok(_turn) = server.admission.admit(Class::List, None).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    match page(&server, &headers, asked.variables.after).await {
        Ok(json) => respond(json),
        Err(status) => (StatusCode::BAD_GATEWAY, status.to_string()).into_response(),
    }
}

async fn page(server: &Server, headers: &HeaderMap, after: String) -> Result<Vec<u8>, Status> {
    let context = Context::read(headers, &server.verifier).await;
    let forward = context.forward(&CATALOG_SERVICE);
    let mut catalog = CatalogServiceClient::with_interceptor(server.catalog.clone(), forward);
    let request = ListOffersRequest {
        page_size: 100,
        page_token: after,
        ..ListOffersRequest::default()
    };
    let page = catalog.list_offers(request).await?.into_inner();

    let ids: HashSet<&str> = page
        .offers
        .iter()
        .map(|offer| &*offer.organisation_id)
        .collect();
    let request = BatchGetOrganisationsRequest {
        ids: ids.into_iter().map(str::to_owned).collect(),
    };
    let forward = context.forward(&IDENTITY_SERVICE);
    let mut identity = IdentityServiceClient::with_interceptor(server.identity.clone(), forward);
    let found = identity
        .batch_get_organisations(request)
        .await?
        .into_inner();
    write(&page, &found.organisations)
}

fn write(page: &ListOffersResponse, organisations: &[Organisation]) -> Result<Vec<u8>, Status> {
    let mut out = Vec::with_capacity(256 * page.offers.len() + 64);
    // Each is written where it is first met, and copied from there afterwards.
    let mut written: HashMap<&str, Range<usize>> = HashMap::with_capacity(organisations.len());
    let organisations: HashMap<&str, &Organisation> =
        organisations.iter().map(|one| (&*one.id, one)).collect();
    out.extend_from_slice(b"{\"data\":{\"offers\":{\"nodes\":[");
    for (at, offer) in page.offers.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"id\":");
        id(3, &offer.id, &mut out)?;
        out.extend_from_slice(b",\"title\":");
        json(&*offer.title, &mut out)?;
        let price = offer
            .price
            .as_ref()
            .ok_or_else(|| Status::internal("no price"))?;
        out.extend_from_slice(b",\"price\":{\"amountMinor\":");
        json(&price.amount_minor, &mut out)?;
        out.extend_from_slice(b",\"currency\":");
        json(&*price.currency_code, &mut out)?;
        out.extend_from_slice(b"},\"organisation\":");
        match (
            written.get(&*offer.organisation_id),
            organisations.get(&*offer.organisation_id),
        ) {
            (Some(range), _) => out.extend_from_within(range.clone()),
            (None, Some(organisation)) => {
                let begin = out.len();
                out.extend_from_slice(b"{\"id\":");
                id(2, &organisation.id, &mut out)?;
                out.extend_from_slice(b",\"name\":");
                json(&*organisation.name, &mut out)?;
                out.push(b'}');
                written.insert(&offer.organisation_id, begin..out.len());
            }
            (None, None) => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}}}");
    Ok(out)
}

/// A global id: the byte of the type and those of the UUID.
fn id(kind: u8, text: &str, out: &mut Vec<u8>) -> Result<(), Status> {
    let uuid = Uuid::try_parse(text).map_err(|_| Status::internal("no UUID"))?;
    let mut bytes = [kind; 17];
    bytes[1..].copy_from_slice(uuid.as_bytes());
    let mut text = [b'"'; 25];
    URL_SAFE_NO_PAD
        .encode_slice(bytes, &mut text[1..24])
        .map_err(|_| Status::internal("17 bytes are 23 letters"))?;
    out.extend_from_slice(&text);
    Ok(())
}

fn json(value: &(impl serde::Serialize + ?Sized), out: &mut Vec<u8>) -> Result<(), Status> {
    serde_json::to_writer(out, value).map_err(|error| Status::internal(error.to_string()))
}

/// With the headers that the BFF sends.
fn respond(json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    let headers = response.headers_mut();
    for (name, value) in [
        (
            CONTENT_TYPE,
            "application/graphql-response+json; charset=utf-8",
        ),
        (CACHE_CONTROL, "private, no-store"),
        (
            VARY,
            "accept, accept-encoding, authorization, cookie, origin",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
