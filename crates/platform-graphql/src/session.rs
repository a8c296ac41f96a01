//! Web sessions: a cookie that no script can read holds the sealed tokens of the session.
//!
//! The browser never sees a token. Here the cookie is opened, an access token that is about to end
//! is exchanged, and what changed goes back as `Set-Cookie`. Since a browser adds the cookie to
//! whatever any page asks it to send, a request that carries it must prove where it was made.

mod cookie;
mod origin;
#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use platform::auth::{Caller, Verifier};
use platform::sealed::Sealer;
use platform_contract::PlatformReason;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};
use url::Url;

use crate::context;
use crate::http::Origins;
use crate::refusal::{Refusal, RequestReason};
use cookie::Cookie;
pub use origin::Pages;

/// What the cookie is sealed for; a change of [`Kept`] needs another number.
const PURPOSE: &str = "web-session/1";
/// An access token is exchanged this long before its end, or in the last quarter of its life.
const RENEWED_BEFORE_S: i64 = 60;

/// The tokens of a session, as their issuer gave them.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Sent to the services.
    pub access: String,
    /// When the access token ends, in seconds since the epoch.
    pub access_until: i64,
    /// Good for the next tokens.
    pub refresh: String,
    /// When the refresh token ends, and the session with it.
    pub refresh_until: i64,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(***)")
    }
}

/// What is sealed into the cookie.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    access: String,
    access_until: i64,
    renew_at: i64,
    refresh: String,
    refresh_until: i64,
}

impl Kept {
    fn new(tokens: Tokens, now: i64) -> Kept {
        let life = (tokens.access_until - now).max(0);
        Kept {
            renew_at: tokens.access_until - RENEWED_BEFORE_S.min(life / 4),
            access: tokens.access,
            access_until: tokens.access_until,
            refresh: tokens.refresh,
            refresh_until: tokens.refresh_until,
        }
    }
}

/// The answer of [`Renew`].
pub type Renewal<'a> = Pin<Box<dyn Future<Output = Result<Tokens, Status>> + Send + 'a>>;

/// Where the tokens come from.
pub trait Renew: Send + Sync + 'static {
    /// Exchanges a refresh token. Two requests of one browser do so at the same time, and must
    /// get the same successor; a session that has ended is UNAUTHENTICATED.
    fn renew<'a>(&'a self, refresh_token: &'a str) -> Renewal<'a>;
}

/// Opens and keeps the sessions of browsers.
pub struct Sessions {
    cookie: Cookie,
    pages: Pages,
    sealer: Sealer,
    renew: Box<dyn Renew>,
}

/// Who makes a request, and what is kept of the session.
pub struct Opened {
    /// Who calls, or why the session or token is refused.
    pub caller: Result<Caller, Status>,
    /// For resolvers, and for the answer.
    pub jar: Jar,
}

impl Sessions {
    /// Sessions for pages of `public_url` and of the listed origins. The cookie is for TLS alone
    /// where `public_url` is.
    pub fn new(public_url: &Url, listed: Origins, sealer: Sealer, renew: impl Renew) -> Sessions {
        Sessions {
            cookie: Cookie::new(public_url.scheme() == "https"),
            pages: Pages::new(public_url, listed),
            sealer,
            renew: Box::new(renew),
        }
    }

    /// Finds out who calls, by the cookie or by a bearer token.
    ///
    /// Refused is what carries both, and what carries the cookie and was not made by a page that
    /// may. A session that has ended is no refusal of the request: it is told, like a bad bearer
    /// token, by each field that asks who calls, and the cookie is taken back.
    pub async fn open(
        self: &Arc<Self>,
        method: &Method,
        headers: &HeaderMap,
        verifier: &Verifier,
    ) -> Result<Opened, Refusal> {
        let trusted = self.pages.admit(method, headers);
        let Some(sent) = self.cookie.read(headers) else {
            return Ok(Opened {
                caller: context::bearer_caller(headers, verifier).await,
                jar: Jar::new(Some(self), trusted, None, None),
            });
        };
        if headers.contains_key(AUTHORIZATION) {
            return Err(Refusal::bad(
                RequestReason::CredentialsAmbiguous,
                "send a session cookie or a bearer token, not both",
            ));
        }
        if !trusted {
            return Err(Refusal::new(
                RequestReason::OriginRefused,
                StatusCode::FORBIDDEN,
                "the page that made the request may not use the session",
            ));
        }
        let Some(kept) = self.unseal(&sent) else {
            let refusal = platform::error::Refusal::new(
                PlatformReason::TokenInvalid,
                "the session cookie is not valid",
            );
            return Ok(Opened {
                caller: Err(refusal.into()),
                jar: Jar::new(
                    Some(self),
                    trusted,
                    Some(Sent { refresh: None }),
                    Some(Change::Clear),
                ),
            });
        };
        let (caller, change) = self.caller(&kept, verifier).await;
        let refresh = match &change {
            Some(Change::Set(kept)) => Some(kept.refresh.clone()),
            Some(Change::Clear) => None,
            None => Some(kept.refresh),
        };
        Ok(Opened {
            caller,
            jar: Jar::new(Some(self), trusted, Some(Sent { refresh }), change),
        })
    }

    /// Whose session it is, after its tokens were exchanged where that is due.
    async fn caller(
        &self,
        kept: &Kept,
        verifier: &Verifier,
    ) -> (Result<Caller, Status>, Option<Change>) {
        let now = now();
        if now < kept.renew_at {
            match verifier.verify(&kept.access).await {
                // The rights have changed since: newer tokens tell how.
                Err(status) if status.code() == Code::Unauthenticated => {}
                outcome => return (outcome, None),
            }
        }
        match self.renew.renew(&kept.refresh).await {
            Ok(tokens) => {
                let caller = verifier.verify(&tokens.access).await;
                (caller, Some(Change::Set(Kept::new(tokens, now))))
            }
            Err(status) if status.code() == Code::Unauthenticated => {
                (Err(status), Some(Change::Clear))
            }
            // The issuer is away: the token that is there is good to its end.
            Err(_) if now < kept.access_until => (verifier.verify(&kept.access).await, None),
            Err(status) => (Err(status), None),
        }
    }

    fn unseal(&self, value: &str) -> Option<Kept> {
        let plain = self.sealer.open(PURPOSE, value).ok()?;
        let kept: Kept = serde_json::from_slice(&plain).ok()?;
        (kept.refresh_until > now()).then_some(kept)
    }

    fn seal(&self, kept: &Kept) -> String {
        let plain = serde_json::to_vec(kept).expect("text and numbers are JSON");
        self.sealer.seal(PURPOSE, &plain)
    }
}

/// The cookie of one request, for resolvers that open or end a session.
#[derive(Clone)]
pub struct Jar(Arc<JarState>);

struct JarState {
    sessions: Option<Arc<Sessions>>,
    /// The request was made by a page that may use a session.
    trusted: bool,
    sent: Option<Sent>,
    change: Mutex<Option<Change>>,
}

/// What came in the cookie.
struct Sent {
    /// `None` if the session has ended.
    refresh: Option<String>,
}

/// What the answer does to the cookie.
enum Change {
    Set(Kept),
    Clear,
}

impl Jar {
    fn new(
        sessions: Option<&Arc<Sessions>>,
        trusted: bool,
        sent: Option<Sent>,
        change: Option<Change>,
    ) -> Jar {
        Jar(Arc::new(JarState {
            sessions: sessions.cloned(),
            trusted,
            sent,
            change: Mutex::new(change),
        }))
    }

    /// For an endpoint without web sessions.
    pub fn none() -> Jar {
        Jar::new(None, false, None, None)
    }

    /// The jar that the endpoint put into the request.
    pub fn of<'a>(ctx: &async_graphql::Context<'a>) -> &'a Jar {
        ctx.data_unchecked()
    }

    /// Whether a session can be kept for this request; ask before one is opened.
    pub fn ready(&self) -> Result<(), Status> {
        if self.0.sessions.is_none() {
            return Err(platform::error::Refusal::new(
                PlatformReason::FieldInvalid,
                "no session can be kept in a cookie here",
            )
            .violation("session", "COOKIE is not offered here")
            .into());
        }
        // Another site must not log somebody in, as somebody else.
        if !self.0.trusted {
            return Err(platform::error::Refusal::new(
                RequestReason::OriginRefused,
                "a session in a cookie is for pages of this site",
            )
            .into());
        }
        Ok(())
    }

    /// Whether the request came with a cookie, be its session alive or not.
    pub fn came(&self) -> bool {
        self.0.sent.is_some()
    }

    /// The refresh token of the session in the cookie.
    pub fn refresh_token(&self) -> Option<&str> {
        self.0.sent.as_ref()?.refresh.as_deref()
    }

    /// Keeps a session that was just opened or renewed.
    pub fn keep(&self, tokens: Tokens) -> Result<(), Status> {
        self.ready()?;
        self.change(Change::Set(Kept::new(tokens, now())));
        Ok(())
    }

    /// Takes the cookie back, if there is one.
    pub fn clear(&self) {
        if self.came() {
            self.change(Change::Clear);
        }
    }

    /// Adds to the head of an answer what has changed.
    pub fn write(&self, headers: &mut HeaderMap) {
        let Some(sessions) = &self.0.sessions else {
            return;
        };
        let change = self.0.change.lock().unwrap_or_else(PoisonError::into_inner);
        match &*change {
            None => {}
            Some(Change::Clear) => sessions.cookie.clear(headers),
            Some(Change::Set(kept)) => {
                let value = sessions.seal(kept);
                sessions
                    .cookie
                    .set(headers, &value, kept.refresh_until - now());
            }
        }
    }

    fn change(&self, change: Change) {
        *self.0.change.lock().unwrap_or_else(PoisonError::into_inner) = Some(change);
    }
}

fn now() -> i64 {
    platform::time::now().timestamp()
}
