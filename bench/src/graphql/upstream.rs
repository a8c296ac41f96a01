//! What stands behind the servers that are measured: catalog and identity, answering from memory.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::homeward::catalog::v1 as catalog;
use api::homeward::identity::v1 as identity;
use api::homeward::r#type::v1::Money;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Router, serve};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Offers altogether; a page begins anywhere among them.
const OFFERS: usize = 1000;
/// As many businesses stand behind a page of 100 offers.
const ORGANISATIONS: usize = 50;
/// A page token that begins so is answered late.
pub(super) const HELD: &str = "held-";
/// How late.
pub(super) const HOLD: Duration = Duration::from_millis(20);

/// As long as those of the demo data.
const DESCRIPTION: &str = "Two experienced movers and a 3.5 t van with tail lift for four hours, fuel \
    and the first 30 km included.\nWe know the pre-war flats on the fourth floor without a lift and \
    bring blankets, straps and a stair dolly.\nFor one- and two-room flats; every further half hour \
    is charged at the same rate.";

/// Both services behind one address.
pub(super) struct Upstream {
    pub(super) addr: SocketAddr,
    rows: Arc<Rows>,
    server: JoinHandle<()>,
}

struct Rows {
    /// Each as it stands in an answer, with tag and length.
    offers: Vec<Vec<u8>>,
    organisations: HashMap<String, Vec<u8>>,
    calls: AtomicU64,
}

impl Upstream {
    pub(super) async fn start() -> anyhow::Result<Upstream> {
        let rows = Arc::new(Rows::make());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let router = Router::new()
            .route(
                "/homeward.catalog.v1.CatalogService/ListOffers",
                post(offers),
            )
            .route(
                "/homeward.identity.v1.IdentityService/BatchGetOrganisations",
                post(organisations),
            )
            .route("/grpc.health.v1.Health/Check", post(health))
            .with_state(rows.clone());
        let server = tokio::spawn(async move {
            let _ = serve(listener, router).await;
        });
        Ok(Upstream { addr, rows, server })
    }

    /// Calls of both services so far.
    pub(super) fn calls(&self) -> u64 {
        self.rows.calls.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Rows {
    fn make() -> Rows {
        let ids: Vec<String> = (0..ORGANISATIONS)
            .map(|_| Uuid::now_v7().to_string())
            .collect();
        let offer = |(number, row): (i32, usize)| {
            let offer = catalog::Offer {
                id: Uuid::now_v7().to_string(),
                organisation_id: ids[row * 7 % ORGANISATIONS].clone(),
                title: format!("Two movers and a van for half a day in Köln-Ehrenfeld, {number}"),
                description: DESCRIPTION.to_owned(),
                kind: catalog::OfferKind::Crew.into(),
                area: "koeln-ehrenfeld".to_owned(),
                price: Some(Money {
                    amount_minor: 28_000 + i64::from(number) * 50,
                    currency_code: "EUR".to_owned(),
                }),
                state: catalog::OfferState::Published.into(),
                create_time: Some(time(number)),
                update_time: Some(time(number)),
                publish_time: Some(time(number)),
                version: i64::from(number),
                votes: Some(catalog::Votes {
                    up: i64::from(number),
                    down: 3,
                    mine: 0,
                    version: i64::from(number) + 3,
                }),
            };
            catalog::ListOffersResponse {
                offers: vec![offer],
                next_page_token: String::new(),
            }
            .encode_to_vec()
        };
        let organisation = |(number, id): (i32, &String)| {
            let organisation = identity::Organisation {
                id: id.clone(),
                name: format!("Umzüge \"Nord\" {number} GmbH"),
                create_time: Some(time(number)),
                version: 1,
            };
            let alone = identity::BatchGetOrganisationsResponse {
                organisations: vec![organisation],
            };
            (id.clone(), alone.encode_to_vec())
        };
        Rows {
            offers: (1..).zip(0..OFFERS).map(offer).collect(),
            organisations: (1..).zip(&ids).map(organisation).collect(),
            calls: AtomicU64::new(0),
        }
    }
}

fn time(number: i32) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: 1_790_000_000 + i64::from(number),
        nanos: 123_456_000,
    }
}

async fn offers(State(rows): State<Arc<Rows>>, body: Bytes) -> Response {
    let Some(asked) = message::<catalog::ListOffersRequest>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    rows.calls.fetch_add(1, Ordering::Relaxed);
    let number = match asked.page_token.strip_prefix(HELD) {
        Some(number) => {
            tokio::time::sleep(HOLD).await;
            number
        }
        None => &asked.page_token,
    };
    let size = usize::try_from(asked.page_size).unwrap_or(20).min(100);
    let first = number.parse::<usize>().unwrap_or_default() % (OFFERS - size);
    let page = &rows.offers[first..first + size];
    let next = catalog::ListOffersResponse {
        offers: Vec::new(),
        next_page_token: "x".repeat(100),
    };
    answer(page.iter().chain([&next.encode_to_vec()]))
}

async fn organisations(State(rows): State<Arc<Rows>>, body: Bytes) -> Response {
    let Some(asked) = message::<identity::BatchGetOrganisationsRequest>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    rows.calls.fetch_add(1, Ordering::Relaxed);
    answer(asked.ids.iter().filter_map(|id| rows.organisations.get(id)))
}

/// Serving.
async fn health() -> Response {
    answer([&vec![0x08, 1]].into_iter())
}

/// What comes in a frame of gRPC that is not compressed.
fn message<M: Message + Default>(body: &[u8]) -> Option<M> {
    M::decode(body.get(5..)?).ok()
}

/// The parts put together as one message.
fn answer<'p>(parts: impl Iterator<Item = &'p Vec<u8>>) -> Response {
    let mut frame = vec![0; 5];
    for part in parts {
        frame.extend_from_slice(part);
    }
    let length = u32::try_from(frame.len() - 5).unwrap_or(u32::MAX);
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(frame)).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
