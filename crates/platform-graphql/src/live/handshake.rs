//! From a request to a socket: who asks, and whether there is room.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use async_graphql::Executor;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::response::Response;
use http::header::{AUTHORIZATION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use platform::auth::Caller;
use platform_contract::PlatformReason;
use serde_json::{Map, Value};
use tonic::Status;

use super::Live;
use super::close::Ending;
use super::metrics::Transport;
use super::socket;
use crate::context;
use crate::http::Endpoint;
use crate::rate::Origin;
use crate::refusal::{Refusal, RequestReason};
use crate::session::{Jar, Opened};

const SUBPROTOCOL: &str = "graphql-transport-ws";
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Tungstenite takes 128 KiB if nothing is said, before anything is read.
const READ_BUFFER_BYTES: usize = 2 << 10;

/// Who is on the other side.
pub(super) struct Guest {
    /// By what the handshake carried.
    pub(super) caller: Result<Caller, Status>,
    /// It carried a cookie or a token, so the first message must not.
    has_credential: bool,
    pub(super) origin: Option<Origin>,
}

/// Whether a socket is asked for.
pub(crate) fn is_handshake(head: &Parts) -> bool {
    let upgrade = head.headers.get(UPGRADE);
    head.method == Method::GET
        && upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What counts as one address; the socket's own where there are no limits by address.
pub(super) fn network(origin: Option<&Origin>, head: &Parts) -> Option<IpAddr> {
    let peer = || head.extensions.get::<ConnectInfo<SocketAddr>>();
    match origin {
        Some(origin) => origin.network(),
        None => peer().map(|peer| peer.0.ip()),
    }
}

impl<E: Executor> Endpoint<E> {
    /// Answers the handshake and serves the socket in a task of its own.
    pub(crate) async fn handshake(
        self: &Arc<Self>,
        live: &Arc<Live>,
        head: &mut Parts,
        kept: &OnceLock<Jar>,
    ) -> Result<Response, Refusal> {
        let limiter = self.limiter.as_deref();
        let origin = limiter.map(|limiter| limiter.knock(head)).transpose()?;
        let mut seat = live.seat(Transport::Socket, network(origin.as_ref(), head))?;
        let upgrade = WebSocketUpgrade::from_request_parts(head, &()).await;
        let mut upgrade = upgrade.map_err(|rejection| {
            let (reason, text) = (
                RequestReason::GraphqlRequestMalformed,
                rejection.body_text(),
            );
            Refusal::new(reason, rejection.status(), text.to_lowercase())
        })?;
        let Opened { caller, jar } = self.open(head).await?;
        let jar = kept.get_or_init(|| jar);
        let known = caller.as_ref().unwrap_or(&Caller::Nobody);
        if let (Some(limiter), Some(origin)) = (limiter, &origin) {
            limiter.admit(origin, known, 0).await?;
        }
        seat.of(known)?;
        let guest = Guest {
            has_credential: jar.came() || head.headers.contains_key(AUTHORIZATION),
            caller,
            origin,
        };
        let is_spoken = upgrade
            .requested_protocols()
            .any(|name| name == SUBPROTOCOL);
        let first = upgrade.requested_protocols().next();
        // A browser that is promised another protocol than it asked for hears no close code, so
        // even what is not spoken is agreed to.
        let agreed = if is_spoken {
            Some(HeaderValue::from_static(SUBPROTOCOL))
        } else {
            first.cloned()
        };
        if let Some(agreed) = agreed {
            upgrade.set_selected_protocol(agreed);
        }
        let endpoint = self.clone();
        let bytes_max = live.args.live_message_bytes_max;
        Ok(upgrade
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(bytes_max)
            .max_frame_size(bytes_max)
            .on_upgrade(move |connection| {
                Box::pin(socket::run(connection, endpoint, guest, seat, is_spoken))
            }))
    }

    /// Who calls, after the first message: by what the handshake carried, or by what that message
    /// does.
    pub(super) async fn introduced(
        &self,
        guest: &mut Guest,
        payload: Option<Map<String, Value>>,
    ) -> Result<Caller, Ending> {
        let headers = credentials(payload)?;
        if let Some(limiter) = &self.limiter
            && let Some(origin) = &mut guest.origin
        {
            let is_shown = headers.contains_key(API_KEY);
            if is_shown && origin.application.is_some() {
                return Err(Ending::refusal(&ambiguous()));
            }
            if origin.application.is_none() {
                let found = limiter.application(&headers);
                origin.application = found.map_err(|refusal| Ending::refusal(&refusal))?;
            }
        }
        let caller = match headers.contains_key(AUTHORIZATION) {
            false => guest.caller.clone(),
            true if guest.has_credential => return Err(Ending::refusal(&ambiguous())),
            true => context::bearer_caller(&headers, &self.verifier).await,
        };
        caller.map_err(|status| Ending::refused(&status))
    }
}

fn ambiguous() -> Refusal {
    let message = "the handshake and the first message both say who calls";
    Refusal::bad(RequestReason::CredentialsAmbiguous, message)
}

/// What the first message carries because a browser cannot put it into the handshake.
fn credentials(payload: Option<Map<String, Value>>) -> Result<HeaderMap, Ending> {
    let mut headers = HeaderMap::new();
    for (name, value) in payload.unwrap_or_default() {
        let name = match name.to_ascii_lowercase().as_str() {
            "authorization" => AUTHORIZATION,
            "x-api-key" => API_KEY,
            _ => continue,
        };
        let value = match value {
            Value::Null => continue,
            Value::String(text) => HeaderValue::from_str(&text).ok(),
            _ => None,
        };
        let Some(value) = value else {
            let reason = PlatformReason::TokenInvalid;
            let refusal = platform::error::Refusal::new(reason, "a credential is no text");
            return Err(Ending::refused(&refusal.into()));
        };
        headers.append(name, value);
    }
    Ok(headers)
}
