//! Global roles: operators appoint operators.

use api::homeward::identity::v1::{
    GrantRoleRequest, GrantRoleResponse, RevokeRoleRequest, RevokeRoleResponse, UserRoleGranted,
    UserRoleRevoked,
};
use chrono::{DateTime, Utc};
use platform::{auth::Caller, error::FieldErrors};
use platform_db::Begun;
use sqlx::PgConnection;
use tonic::{Request, Response};

use super::{Answer, Identity, say};
use crate::{
    audit::{Action, By, Entry},
    domain::{Error, GRANTABLE, UserId},
    store,
};

pub(super) async fn grant(
    identity: &Identity,
    request: Request<GrantRoleRequest>,
) -> Answer<GrantRoleResponse> {
    let caller = Caller::of(&request);
    let request = request.into_inner();
    let user = parse(&request.user_id, &request.role)?;

    let mut tx = match identity.db.begin_once(&caller, &request).await? {
        Begun::Done(response) => return Ok(Response::new(response)),
        Begun::New(tx) => tx,
    };
    let (by, now) = (By::from(&caller), platform::time::now());
    give(&mut tx, user, &request.role, by, now).await?;
    let roles = roles(&mut tx, user).await?;
    let response = GrantRoleResponse { roles };
    tx.finish(&response).await?;
    Ok(Response::new(response))
}

/// Gives a role and says so, unless the user holds it.
pub(crate) async fn give(
    tx: &mut PgConnection,
    user: UserId,
    role: &str,
    by: By,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if !store::user_role::grant(tx, user, role, now).await? {
        return Ok(());
    }
    let granted = UserRoleGranted {
        user_id: user.0.to_string(),
        version: store::user::raise_version(tx, user).await?,
        role: role.to_owned(),
        organisation_id: String::new(),
    };
    say(tx, granted, by.actor.clone()).await?;
    let entry = Entry::new(Action::RoleGranted, by).to(user).role(role);
    store::audit::insert(tx, &entry, now).await
}

pub(super) async fn revoke(
    identity: &Identity,
    request: Request<RevokeRoleRequest>,
) -> Answer<RevokeRoleResponse> {
    let caller = Caller::of(&request);
    let request = request.into_inner();
    let user = parse(&request.user_id, &request.role)?;

    let mut tx = match identity.db.begin_once(&caller, &request).await? {
        Begun::Done(response) => return Ok(Response::new(response)),
        Begun::New(tx) => tx,
    };
    let (by, now) = (By::from(&caller), platform::time::now());
    take(&mut tx, user, &request.role, by, now).await?;
    let roles = roles(&mut tx, user).await?;
    let response = RevokeRoleResponse { roles };
    tx.finish(&response).await?;
    Ok(Response::new(response))
}

/// Takes a role, says so and voids the tokens that hold it, unless the user does not.
async fn take(
    tx: &mut PgConnection,
    user: UserId,
    role: &str,
    by: By,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    store::user_role::lock_holders(tx, role).await?;
    if !store::user_role::revoke(tx, user, role).await? {
        return Ok(());
    }
    if !store::user_role::has_holder(tx, role).await? {
        return Err(Error::LastOperator);
    }
    let raised = store::user::raise_access_version(tx, user).await?;
    let revoked = UserRoleRevoked {
        user_id: user.0.to_string(),
        version: raised.version,
        role: role.to_owned(),
        organisation_id: String::new(),
        access_version: raised.access_version,
        remaining_role: String::new(),
    };
    say(tx, revoked, by.actor.clone()).await?;
    let entry = Entry::new(Action::RoleRevoked, by).to(user).role(role);
    store::audit::insert(tx, &entry, now).await
}

/// Whose role it is, if it is one that can be given and taken.
fn parse(user_id: &str, role: &str) -> Result<UserId, platform::error::Refusal> {
    let mut fields = FieldErrors::default();
    let user = UserId(fields.id("user_id", user_id));
    if !GRANTABLE.contains(&role) {
        fields.violation("role", "is not a role that is given or taken");
    }
    fields.check()?;
    Ok(user)
}

async fn roles(tx: &mut PgConnection, user: UserId) -> Result<Vec<String>, Error> {
    match store::user::get(tx, user).await {
        Ok(user) => Ok(user.roles()),
        Err(Error::Db(sqlx::Error::RowNotFound)) => Err(Error::UserNotFound),
        Err(error) => Err(error),
    }
}
