//! Sessions of browsers: identity's tokens in a cookie.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use api::homeward::identity::v1 as proto;
use api::homeward::identity::v1::identity_service_client::IdentityServiceClient;
use platform::client::Channel;
use platform::config::Environment;
use platform::sealed::Sealer;
use platform_graphql::http::Origins;
use platform_graphql::session::{Renew, Renewal, Sessions, Tokens};
use prost_types::Timestamp;
use tonic::Status;
use url::Url;

/// Where tokens are exchanged.
struct Identity(Channel);

impl Renew for Identity {
    fn renew<'a>(&'a self, refresh_token: &'a str) -> Renewal<'a> {
        Box::pin(async move {
            let request = proto::RefreshSessionRequest {
                refresh_token: refresh_token.to_owned(),
            };
            let mut identity = IdentityServiceClient::new(self.0.clone());
            let answer = identity.refresh_session(request).await?.into_inner();
            tokens(answer.tokens)
        })
    }
}

/// Sessions in cookies, for pages of `public_url` and of the listed origins; none without it.
/// In production the cookie is never sent in the clear.
pub(crate) fn sessions(
    public_url: Option<&Url>,
    environment: Environment,
    listed: Origins,
    sealer: Sealer,
    identity: Channel,
) -> anyhow::Result<Option<Arc<Sessions>>> {
    let Some(url) = public_url else {
        return Ok(None);
    };
    let scheme = url.scheme();
    ensure!(
        scheme == "https" || (scheme == "http" && environment != Environment::Production),
        "PUBLIC_URL begins with {scheme}://; expected https://, or http:// outside production"
    );
    url.host().context("PUBLIC_URL names no host")?;
    let sessions = Sessions::new(url, listed, sealer, Identity(identity));
    Ok(Some(Arc::new(sessions)))
}

/// What identity answers, as it is kept.
pub(crate) fn tokens(row: Option<proto::SessionTokens>) -> Result<Tokens, Status> {
    let missing = || platform::error::internal("identity answered no tokens");
    let row = row.ok_or_else(missing)?;
    let until = |time: Option<Timestamp>| Ok::<_, Status>(time.ok_or_else(missing)?.seconds);
    Ok(Tokens {
        access_until: until(row.access_token_expire_time)?,
        refresh_until: until(row.refresh_token_expire_time)?,
        access: row.access_token,
        refresh: row.refresh_token,
    })
}

#[cfg(test)]
mod tests {
    use platform::client::Metrics;
    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test]
    async fn production_accepts_only_https() {
        let target = "http://127.0.0.1:1".parse().unwrap();
        let channel =
            Channel::connect(&Metrics::new(&mut Registry::default()), "identity", &target);
        let made = |url: Option<&str>, environment| {
            let url = url.map(|url| Url::parse(url).unwrap());
            let sealer = Sealer::from_keys([1; 32], None);
            let origins = Origins::default();
            sessions(url.as_ref(), environment, origins, sealer, channel.clone())
                .map(|sessions| sessions.is_some())
        };
        use Environment::{Development, Production, Test};
        assert!(made(Some("https://example.org"), Production).unwrap());
        assert!(made(Some("http://127.0.0.1:4600"), Development).unwrap());
        assert!(made(Some("http://example.org"), Production).is_err());
        assert!(made(Some("ftp://example.org"), Test).is_err());
        assert!(!made(None, Production).unwrap());
    }
}
