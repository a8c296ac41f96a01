//! Sessions and the tokens they give out.

use api::homeward::identity::v1::{
    IssueServiceTokenRequest, IssueServiceTokenResponse, LoginRequest, LoginResponse,
    LogoutRequest, LogoutResponse, RefreshSessionRequest, RefreshSessionResponse, SessionTokens,
    SwitchOrganisationRequest, SwitchOrganisationResponse, UserAuthed, UserSessionEnded,
};
use chrono::{DateTime, Utc};
use platform::{auth::Caller, error::FieldErrors};
use sqlx::PgConnection;
use tonic::{Request, Response};
use uuid::Uuid;

use super::{
    Answer, Identity,
    accounts::{OLD_PASSWORD, password},
    commit, say, session_id, timestamp, user_id,
};
use crate::{
    audit::{Action, By, Entry},
    domain::{Acting, Error, OrganisationId, Session, SessionId, Turn, User, UserId},
    store::{self, session::End, user::Known},
    throttle::Attempt,
    tokens::CLIENT_ID,
};

pub(super) async fn login(
    identity: &Identity,
    request: Request<LoginRequest>,
) -> Answer<LoginResponse> {
    let address = identity
        .throttle
        .client_address(request.metadata(), &identity.service_secrets);
    let request = request.into_inner();
    let mut fields = FieldErrors::default();
    let email = fields.email("email", &request.email);
    let password = password(&mut fields, "password", &request.password, OLD_PASSWORD);
    let asked = fields.optional_id("organisation_id", &request.organisation_id);
    let asked = asked.map(OrganisationId);
    fields.check()?;

    let mut attempt = identity.throttle.attempt(&email.key, address);
    let (known, renewed) = prove(identity, &mut attempt, &email.key, password).await?;
    let now = platform::time::now();
    let mut tx = identity.begin().await?;
    let (id, changed_at) = (known.id, known.changed_at);
    let kept = match renewed {
        Some(hash) => store::user::renew_hash(&mut tx, id, changed_at, &hash).await?,
        None => store::user::keep_password(&mut tx, id, changed_at).await?,
    };
    if !kept {
        drop(tx);
        return Err(failed(identity, Some(id)).await.into());
    }
    let acting = store::member::acting(&mut tx, known.id, asked).await?;
    if asked.is_some() && acting.is_none() {
        // The password was right.
        attempt.refund(&mut tx).await?;
        commit(tx).await?;
        return Err(Error::OrganisationNotFound.into());
    }
    let session = Session {
        id: SessionId(Uuid::now_v7()),
        user_id: known.id,
        counter: 1,
        rotated_at: now,
        expires_at: identity.tokens.session_expires_at(now),
        ended_at: None,
    };
    let organisation = acting.map(|acting| acting.organisation_id);
    store::session::insert(&mut tx, &session, organisation).await?;
    store::user::raise_version(&mut tx, known.id).await?;
    let user = store::user::get(&mut tx, known.id).await?;
    let authed = UserAuthed {
        user_id: user.id.0.to_string(),
        version: user.version,
        session_id: session.id.0.to_string(),
    };
    // The call came from nobody, and now it is known from whom.
    let by = By::user(&user, organisation, CLIENT_ID);
    say(&mut tx, authed, by.actor.clone()).await?;
    let entry = Entry::new(Action::Login, by)
        .to(user.id)
        .within(organisation)
        .object(session.id.0);
    store::audit::insert(&mut tx, &entry, now).await?;
    attempt.succeed(&mut tx, user.id, now).await?;
    let tokens = tokens(identity, &user, &session, acting, now)?;
    commit(tx).await?;
    Ok(Response::new(LoginResponse {
        tokens: Some(tokens),
        user: Some(user.into()),
    }))
}

/// Who it is, and maybe a new hash of the password. An unknown address takes the steps of a wrong password.
async fn prove(
    identity: &Identity,
    attempt: &mut Attempt,
    name: &str,
    password: String,
) -> Result<(Known, Option<String>), Error> {
    identity.passwords.look_for_room()?;
    let mut tx = identity.begin().await?;
    attempt.charge(&mut tx, platform::time::now()).await?;
    let known = store::user::find_known(&mut tx, name).await?;
    commit(tx).await?;
    let hash = known.as_ref().map(|known| known.hash.as_str());
    let checked = match identity.passwords.check(password, hash).await {
        Ok(checked) => checked,
        Err(error) => {
            let mut tx = identity.begin().await?;
            attempt.refund(&mut tx).await?;
            commit(tx).await?;
            return Err(error);
        }
    };
    match known {
        Some(known) if checked.matches => Ok((known, checked.renewed)),
        known => Err(failed(identity, known.map(|known| known.id)).await),
    }
}

/// Records a login that failed, of nobody if the name is not known; answers what it failed with.
async fn failed(identity: &Identity, user: Option<UserId>) -> Error {
    let by = By {
        client_id: CLIENT_ID.to_owned(),
        ..By::from(&Caller::Nobody)
    };
    let entry = Entry::new(Action::LoginFailed, by).to(user);
    let recorded = async {
        let mut tx = identity.begin().await?;
        store::audit::insert(&mut tx, &entry, platform::time::now()).await?;
        commit(tx).await
    };
    recorded.await.err().unwrap_or(Error::CredentialsInvalid)
}

pub(super) async fn refresh(
    identity: &Identity,
    request: Request<RefreshSessionRequest>,
) -> Answer<RefreshSessionResponse> {
    let token = request.into_inner().refresh_token;
    let (id, counter) = identity
        .tokens
        .read_refresh(&token)
        .ok_or(Error::RefreshTokenInvalid)?;

    let now = platform::time::now();
    let mut tx = identity.begin().await?;
    let mut session = store::session::lock(&mut tx, id)
        .await?
        .ok_or(Error::RefreshTokenInvalid)?;
    match session.turn(counter, now) {
        Turn::Invalid => return Err(Error::RefreshTokenInvalid.into()),
        Turn::Reused => {
            // The lock is ours, so it has not ended yet.
            end(&mut tx, id, session.user_id, End::Reuse, &Caller::Nobody).await?;
            commit(tx).await?;
            tracing::warn!(session.id = %id.0, "a used refresh token came back, ended session {}", id.0);
            return Err(Error::RefreshTokenReused.into());
        }
        Turn::Repeat => {}
        Turn::Next => {
            session.counter += 1;
            session.rotated_at = now;
            session.expires_at = identity.tokens.session_expires_at(now);
            store::session::rotate(&mut tx, &session).await?;
        }
    }
    let user = store::user::get(&mut tx, session.user_id).await?;
    let acting = store::session::acting(&mut tx, session.id).await?;
    let tokens = tokens(identity, &user, &session, acting, now)?;
    commit(tx).await?;
    Ok(Response::new(RefreshSessionResponse {
        tokens: Some(tokens),
        user: Some(user.into()),
    }))
}

fn tokens(
    identity: &Identity,
    user: &User,
    session: &Session,
    acting: Option<Acting>,
    now: DateTime<Utc>,
) -> Result<SessionTokens, Error> {
    let access = identity.tokens.access(user, session.id, acting, now)?;
    Ok(SessionTokens {
        access_token: access.token,
        access_token_expire_time: Some(timestamp(access.expires_at)),
        refresh_token: identity.tokens.refresh(session),
        refresh_token_expire_time: Some(timestamp(session.expires_at)),
    })
}

pub(super) async fn logout(
    identity: &Identity,
    request: Request<LogoutRequest>,
) -> Answer<LogoutResponse> {
    let caller = Caller::of(&request);
    let user = caller.user()?;
    let mut tx = identity.begin().await?;
    let (session, user) = (session_id(user), user_id(user));
    end(&mut tx, session, user, End::Logout, &caller).await?;
    commit(tx).await?;
    Ok(Response::new(LogoutResponse {}))
}

/// Ends a session, says so and records it, unless it has ended already.
async fn end(
    tx: &mut PgConnection,
    session: SessionId,
    user: UserId,
    why: End,
    by: &Caller,
) -> Result<(), Error> {
    let now = platform::time::now();
    if !store::session::end(tx, session, user, why, now).await? {
        return Ok(());
    }
    let ended = UserSessionEnded {
        user_id: user.0.to_string(),
        version: store::user::raise_version(tx, user).await?,
        session_id: session.0.to_string(),
    };
    say(tx, ended, by).await?;
    let action = match why {
        End::Reuse => Action::RefreshTokenReused,
        End::Logout | End::Password => Action::Logout,
    };
    let entry = Entry::new(action, by).to(user).object(session.0);
    store::audit::insert(tx, &entry, now).await
}

pub(super) async fn switch_organisation(
    identity: &Identity,
    request: Request<SwitchOrganisationRequest>,
) -> Answer<SwitchOrganisationResponse> {
    let caller = Caller::of(&request);
    let caller = caller.user()?;
    let mut fields = FieldErrors::default();
    let asked = fields.optional_id("organisation_id", &request.get_ref().organisation_id);
    fields.check()?;

    let now = platform::time::now();
    let (id, session) = (user_id(caller), session_id(caller));
    let mut tx = identity.begin().await?;
    let acting = match asked {
        None => None,
        Some(asked) => {
            let acting = store::member::acting(&mut tx, id, Some(OrganisationId(asked))).await?;
            Some(acting.ok_or(Error::OrganisationNotFound)?)
        }
    };
    let organisation = acting.map(|acting| acting.organisation_id);
    if !store::session::act_for(&mut tx, session, id, organisation, now).await? {
        return Err(Error::SessionEnded.into());
    }
    let user = store::user::get(&mut tx, id).await?;
    let access = identity.tokens.access(&user, session, acting, now)?;
    commit(tx).await?;
    Ok(Response::new(SwitchOrganisationResponse {
        access_token: access.token,
        access_token_expire_time: Some(timestamp(access.expires_at)),
    }))
}

pub(super) async fn issue_service_token(
    identity: &Identity,
    request: Request<IssueServiceTokenRequest>,
) -> Answer<IssueServiceTokenResponse> {
    let request = request.into_inner();
    let holds = identity
        .service_secrets
        .holds(&request.service, &request.secret);
    if !holds.map_err(Error::Fault)? {
        return Err(Error::ServiceSecretInvalid.into());
    }
    let access = identity
        .tokens
        .system(&request.service, platform::time::now())?;
    Ok(Response::new(IssueServiceTokenResponse {
        access_token: access.token,
        access_token_expire_time: Some(timestamp(access.expires_at)),
    }))
}
