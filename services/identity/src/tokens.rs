//! Makes access and refresh tokens.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use platform::{
    auth::{Claims, OrgRole, TOKEN_LIFETIME_MAX},
    config::AuthArgs,
    sealed::Sealer,
};
use uuid::Uuid;

use crate::{
    domain::{Acting, Error, Role, Session, SessionId, User},
    keys::Keys,
};

/// What refresh tokens are authenticated for; also separates them from all else made with the key.
const REFRESH: &str = "refresh-token";
/// Session id and counter, in front of their authentication code.
const REFRESH_BODY_BYTES: usize = 16 + 8;
const REFRESH_BYTES: usize = REFRESH_BODY_BYTES + 32;
/// The product's own applications, until applications are registered.
pub(crate) const CLIENT_ID: &str = "homeward";

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct TokenArgs {
    /// How long an access token is valid: at most 10 minutes, as nobody remembers a logout for longer.
    #[arg(env = "ACCESS_TOKEN_TTL", default_value = "10m", value_parser = access_token_ttl)]
    pub(crate) access_token_ttl: Duration,

    /// How long a session lasts without being refreshed.
    #[arg(env = "REFRESH_TOKEN_TTL", default_value = "720h", value_parser = platform::config::duration)]
    pub(crate) refresh_token_ttl: Duration,
}

fn access_token_ttl(text: &str) -> Result<Duration, String> {
    let ttl = platform::config::duration(text)?;
    if ttl > TOKEN_LIFETIME_MAX {
        return Err("longer than 10 minutes".to_owned());
    }
    Ok(ttl)
}

pub(crate) struct Tokens {
    keys: Arc<Keys>,
    sealer: Sealer,
    issuer: String,
    audience: String,
    access_ttl: TimeDelta,
    refresh_ttl: TimeDelta,
}

pub(crate) struct Access {
    pub(crate) token: String,
    pub(crate) expires_at: DateTime<Utc>,
}

impl Tokens {
    pub(crate) fn new(
        keys: Arc<Keys>,
        sealer: Sealer,
        auth: &AuthArgs,
        args: &TokenArgs,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            keys,
            sealer,
            issuer: auth.issuer_url.clone(),
            audience: auth.token_audience.clone(),
            access_ttl: TimeDelta::from_std(args.access_token_ttl)?,
            refresh_ttl: TimeDelta::from_std(args.refresh_token_ttl)?,
        })
    }

    /// For a person. `user` must have been read before `acting`: a role taken in between
    /// then meets an access version that is void already.
    pub(crate) fn access(
        &self,
        user: &User,
        session: SessionId,
        acting: Option<Acting>,
        now: DateTime<Utc>,
    ) -> Result<Access, Error> {
        self.sign(
            Claims {
                sub: user.id.0.to_string(),
                client_id: CLIENT_ID.to_owned(),
                sid: session.0,
                kind: user.kind.principal().to_owned(),
                roles: user.roles(),
                ver: user.access_version,
                org: acting.map(|acting| acting.organisation_id.0),
                org_role: acting.map(|acting| match acting.role {
                    Role::Member => OrgRole::Member,
                    Role::Manager => OrgRole::Manager,
                    Role::Owner => OrgRole::Owner,
                }),
                ..self.claims()
            },
            now,
        )
    }

    /// For a service, on nobody's behalf.
    pub(crate) fn system(&self, service: &str, now: DateTime<Utc>) -> Result<Access, Error> {
        self.sign(
            Claims {
                sub: service.to_owned(),
                client_id: service.to_owned(),
                kind: "system".to_owned(),
                ..self.claims()
            },
            now,
        )
    }

    fn claims(&self) -> Claims {
        Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: String::new(),
            client_id: String::new(),
            iat: 0,
            nbf: 0,
            exp: 0,
            jti: Uuid::now_v7(),
            sid: Uuid::nil(),
            kind: String::new(),
            roles: Vec::new(),
            ver: 0,
            org: None,
            org_role: None,
        }
    }

    fn sign(&self, mut claims: Claims, now: DateTime<Utc>) -> Result<Access, Error> {
        let expires_at = now + self.access_ttl;
        claims.iat = now.timestamp();
        claims.nbf = claims.iat;
        claims.exp = expires_at.timestamp();
        Ok(Access {
            token: self.keys.sign(&claims)?,
            expires_at: DateTime::from_timestamp(claims.exp, 0).unwrap_or(expires_at),
        })
    }

    /// When a session that is opened or refreshed now expires.
    pub(crate) fn session_expires_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now + self.refresh_ttl
    }

    /// The session's current refresh token: every replica derives the same one.
    pub(crate) fn refresh(&self, session: &Session) -> String {
        let mut token = [0; REFRESH_BYTES];
        let (body, code) = token.split_at_mut(REFRESH_BODY_BYTES);
        body[..16].copy_from_slice(session.id.0.as_bytes());
        body[16..].copy_from_slice(&session.counter.to_be_bytes());
        code.copy_from_slice(&self.sealer.mac(REFRESH, body));
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Session and counter of a refresh token made here, whatever became of the session.
    pub(crate) fn read_refresh(&self, token: &str) -> Option<(SessionId, i64)> {
        let mut bytes = [0; REFRESH_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).ok()?;
        let (body, code) = bytes[..length].split_at_checked(REFRESH_BODY_BYTES)?;
        if !self.sealer.mac_matches(REFRESH, body, code) {
            return None;
        }
        let id = Uuid::from_slice(&body[..16]).ok()?;
        let counter = i64::from_be_bytes(body[16..].try_into().ok()?);
        Some((SessionId(id), counter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UserId;

    fn tokens(key: u8, previous: Option<u8>) -> Tokens {
        Tokens {
            keys: Arc::new(Keys::new()),
            sealer: Sealer::from_keys([key; 32], previous.map(|key| [key; 32])),
            issuer: String::new(),
            audience: String::new(),
            access_ttl: TimeDelta::minutes(10),
            refresh_ttl: TimeDelta::days(30),
        }
    }

    fn session(counter: i64) -> Session {
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        Session {
            id: SessionId(Uuid::from_u128(7)),
            user_id: UserId(Uuid::nil()),
            counter,
            rotated_at: at,
            expires_at: at,
            ended_at: None,
        }
    }

    #[test]
    fn a_refresh_token_names_its_session_and_counter() {
        let token = tokens(1, None).refresh(&session(41));
        assert_eq!(
            token,
            tokens(1, None).refresh(&session(41)),
            "on any replica"
        );
        let read = tokens(1, None).read_refresh(&token);
        assert_eq!(read, Some((SessionId(Uuid::from_u128(7)), 41)));
    }

    #[test]
    fn a_refresh_token_outlives_a_change_of_the_key() {
        let token = tokens(1, None).refresh(&session(41));
        assert!(tokens(2, Some(1)).read_refresh(&token).is_some());
        assert!(tokens(2, None).read_refresh(&token).is_none());
    }

    #[test]
    fn any_flipped_bit_voids_a_refresh_token() {
        let token = tokens(1, None).refresh(&session(41));
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let flipped = URL_SAFE_NO_PAD.encode(flipped);
            assert_eq!(tokens(1, None).read_refresh(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn what_is_no_refresh_token_is_none() {
        let long = "A".repeat(1 << 20);
        for text in [
            "",
            "A",
            "not a token",
            &long,
            &"A".repeat(75),
            &"A".repeat(74),
        ] {
            assert_eq!(tokens(1, None).read_refresh(text), None);
        }
    }
}
