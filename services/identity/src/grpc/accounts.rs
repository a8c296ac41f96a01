//! Accounts: making them, their passwords, who sees them.

use std::ops::RangeInclusive;

use api::homeward::identity::v1::{
    BatchGetUsersRequest, BatchGetUsersResponse, ChangePasswordRequest, ChangePasswordResponse,
    GetViewerRequest, GetViewerResponse, RegisterRequest, RegisterResponse, UserKind,
    UserRegistered, UserRevoked,
};
use platform::{auth::Caller, error::FieldErrors, text::Email};
use platform_db::Begun;
use tonic::{Request, Response};
use unicode_normalization::UnicodeNormalization as _;
use uuid::Uuid;

use super::{Answer, Identity, ids, kind, say, session_id, user_id};
use crate::{
    audit::{Action, Entry},
    domain::{Error, Kind, Membership, Organisation, OrganisationId, Role, UserId},
    store,
};

/// Characters of a password that is chosen now; a stored one may be shorter.
const NEW_PASSWORD: RangeInclusive<usize> = 10..=128;
pub(super) const OLD_PASSWORD: RangeInclusive<usize> = 1..=128;
/// Most memberships that a viewer is told.
const MEMBERSHIPS_MAX: i64 = 100;

pub(super) async fn register(
    identity: &Identity,
    request: Request<RegisterRequest>,
) -> Answer<RegisterResponse> {
    let caller = Caller::of(&request);
    let request = request.into_inner();
    let account = Account::parse(&request)?;

    // A repeat gets its answer here, without a password being hashed;
    // and no transaction stays open while one is.
    if let Begun::Done(response) = identity.db.begin_once(&caller, &request).await? {
        return Ok(Response::new(response));
    }
    let password_hash = identity.passwords.hash(account.password).await?;
    let mut tx = match identity.db.begin_once(&caller, &request).await? {
        Begun::Done(response) => return Ok(Response::new(response)),
        Begun::New(tx) => tx,
    };
    let now = platform::time::now();
    let user = store::user::New {
        id: UserId(Uuid::now_v7()),
        email: &account.email.typed,
        email_key: &account.email.key,
        display_name: &account.display_name,
        kind: account.kind,
        password_hash: &password_hash,
        created_at: now,
    };
    store::user::insert(&mut tx, &user).await?;
    let mut response = RegisterResponse {
        user_id: user.id.0.to_string(),
        organisation_id: String::new(),
    };
    if let Some(name) = account.organisation_name {
        let organisation = Organisation {
            id: OrganisationId(Uuid::now_v7()),
            name,
            created_at: now,
            version: 1,
        };
        let founder = Membership {
            organisation_id: organisation.id,
            user_id: user.id,
            role: Role::Owner,
            created_at: now,
        };
        store::organisation::insert(&mut tx, &organisation).await?;
        store::member::insert(&mut tx, &founder).await?;
        let entry = Entry::new(Action::MemberAdded, &caller)
            .to(user.id)
            .within(organisation.id)
            .role(founder.role.as_str());
        store::audit::insert(&mut tx, &entry, now).await?;
        response.organisation_id = organisation.id.0.to_string();
    }
    let registered = UserRegistered {
        user_id: response.user_id.clone(),
        // Where every account begins.
        version: 1,
        kind: request.kind,
        organisation_id: response.organisation_id.clone(),
    };
    say(&mut tx, registered, &caller).await?;
    tx.finish(&response).await?;
    Ok(Response::new(response))
}

/// A registration that follows the rules.
struct Account {
    email: Email,
    password: String,
    display_name: String,
    kind: Kind,
    /// Of a business, and only of one.
    organisation_name: Option<String>,
}

impl Account {
    fn parse(request: &RegisterRequest) -> Result<Self, platform::error::Refusal> {
        let mut fields = FieldErrors::default();
        let email = fields.email("email", &request.email);
        let password = password(&mut fields, "password", &request.password, NEW_PASSWORD);
        let display_name = fields.text("display_name", &request.display_name, 1..=80);
        let kind = kind(fields.choice::<UserKind>("kind", request.kind)).unwrap_or(Kind::Mover);
        let organisation_name = match kind {
            Kind::Business => {
                Some(fields.text("organisation_name", &request.organisation_name, 1..=120))
            }
            _ if request.organisation_name.is_empty() => None,
            _ => {
                fields.violation("organisation_name", "is for businesses only");
                None
            }
        };
        fields.check()?;
        Ok(Self {
            email,
            password,
            display_name,
            kind,
            organisation_name,
        })
    }
}

/// A password may hold any characters; it is NFC, so that another keyboard types the same one.
pub(super) fn password(
    fields: &mut FieldErrors,
    field: &str,
    value: &str,
    chars: RangeInclusive<usize>,
) -> String {
    // Cut before normalising: a megabyte is not worth the work.
    let password: String = value.nfc().take(chars.end() + 1).collect();
    if !chars.contains(&password.chars().count()) {
        let (min, max) = chars.into_inner();
        fields.violation(field, format!("does not have {min} to {max} characters"));
    }
    password
}

pub(super) async fn change_password(
    identity: &Identity,
    request: Request<ChangePasswordRequest>,
) -> Answer<ChangePasswordResponse> {
    let caller = Caller::of(&request);
    let user = caller.user()?;
    let request = request.into_inner();
    let mut fields = FieldErrors::default();
    let current = &request.current_password;
    let current = password(&mut fields, "current_password", current, OLD_PASSWORD);
    let new = password(
        &mut fields,
        "new_password",
        &request.new_password,
        NEW_PASSWORD,
    );
    fields.check()?;

    // A repeat gets its answer here: by now its current password is the old one.
    // And no transaction stays open while passwords are checked.
    if let Begun::Done(response) = identity.db.begin_once(&caller, &request).await? {
        return Ok(Response::new(response));
    }
    let stored = store::user::password_hash(&mut *identity.begin().await?, user_id(user)).await?;
    let checked = identity.passwords.check(current, stored.as_deref()).await?;
    let stored = stored
        .filter(|_| checked.matches)
        .ok_or(Error::CredentialsInvalid)?;
    let hash = identity.passwords.hash(new).await?;

    let mut tx = match identity.db.begin_once(&caller, &request).await? {
        Begun::Done(response) => return Ok(Response::new(response)),
        Begun::New(tx) => tx,
    };
    let now = platform::time::now();
    if !store::user::replace_password(&mut tx, user_id(user), &stored, &hash, now).await? {
        return Err(Error::CredentialsInvalid.into());
    }
    let why = store::session::End::Password;
    store::session::end_others(&mut tx, session_id(user), user_id(user), why, now).await?;
    let raised = store::user::raise_access_version(&mut tx, user_id(user)).await?;
    let revoked = UserRevoked {
        user_id: user.id.to_string(),
        version: raised.version,
        access_version: raised.access_version,
    };
    say(&mut tx, revoked, &caller).await?;
    let entry = Entry::new(Action::PasswordChanged, &caller).to(user_id(user));
    store::audit::insert(&mut tx, &entry, now).await?;
    let response = ChangePasswordResponse {
        access_version: raised.access_version,
    };
    tx.finish(&response).await?;
    Ok(Response::new(response))
}

pub(super) async fn viewer(
    identity: &Identity,
    request: Request<GetViewerRequest>,
) -> Answer<GetViewerResponse> {
    let caller = Caller::of(&request);
    let caller = caller.user()?;
    let mut tx = identity.read().await?;
    let user = store::user::get(&mut tx, user_id(caller)).await?;
    let memberships = store::member::list_of_user(&mut tx, user.id, MEMBERSHIPS_MAX).await?;
    let organisation_id = caller.organisation.map(|(id, _)| id.to_string());
    Ok(Response::new(GetViewerResponse {
        user: Some(user.into()),
        memberships: memberships.into_iter().map(Into::into).collect(),
        organisation_id: organisation_id.unwrap_or_default(),
    }))
}

pub(super) async fn batch_get(
    identity: &Identity,
    request: Request<BatchGetUsersRequest>,
) -> Answer<BatchGetUsersResponse> {
    let caller = Caller::of(&request);
    let caller = user_id(caller.user()?);
    let mut fields = FieldErrors::default();
    let ids = ids(&mut fields, &request.into_inner().ids);
    fields.check()?;

    let users = store::user::list_visible(&mut *identity.read().await?, caller, &ids).await?;
    let users = users.into_iter().map(Into::into).collect();
    Ok(Response::new(BatchGetUsersResponse { users }))
}
