//! What the audit log knows, and that nobody can make it forget.

use api::homeward::identity::v1::{
    AuditAction, AuditEntry, ChangePasswordRequest, CreateOrganisationRequest,
    ListAuditEntriesRequest, LogoutRequest, MemberRole,
};
use platform_contract::PlatformReason;
use sqlx::{Connection as _, Row as _};

use super::{
    invitations::{accept, invite, revoke},
    members::{add, remove, update},
    roles::{grant_request, operator, revoke_request},
    sessions::{age_rotation, refresh},
    *,
};
use crate::{
    audit::{self, Action, By, Entry},
    old_audit_entries_cleaner::clean,
    store,
};

async fn list(
    world: &World,
    by: &Session,
    request: ListAuditEntriesRequest,
) -> Result<(Vec<AuditEntry>, String), Status> {
    let answer = world.client().list_audit_entries(by.request(request)).await;
    let answer = answer?.into_inner();
    Ok((answer.audit_entries, answer.next_page_token))
}

/// Everything, the oldest first.
async fn all(world: &World, by: &Session, filter: ListAuditEntriesRequest) -> Vec<AuditEntry> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAuditEntriesRequest {
            page_size: 4,
            page_token,
            ..filter.clone()
        };
        let (page, next) = list(world, by, request).await.unwrap();
        assert!(page.len() <= 4);
        found.extend(page);
        if next.is_empty() {
            found.reverse();
            return found;
        }
        page_token = next;
    }
}

fn actions(entries: &[AuditEntry]) -> Vec<AuditAction> {
    entries.iter().map(AuditEntry::action).collect()
}

#[tokio::test]
async fn an_entry_says_who_did_what_to_whom_and_nothing_personal() {
    let world = World::start().await;
    let (boss, operator) = operator(&world).await;
    let (founder, owner) = world.somebody(UserKind::Business).await;
    let (guest, session) = world.somebody(UserKind::Mover).await;
    let organisation = founder.organisation();

    let wrong = LoginRequest {
        password: "wrong".to_owned(),
        ..guest.login()
    };
    world.client().login(wrong.clone()).await.unwrap_err();
    let unknown = LoginRequest {
        email: email(),
        ..wrong
    };
    world.client().login(unknown.clone()).await.unwrap_err();

    add(&world, &owner, &founder, &guest, MemberRole::Member)
        .await
        .unwrap();
    for role in [MemberRole::Owner, MemberRole::Owner, MemberRole::Manager] {
        update(&world, &owner, &founder, &guest, role)
            .await
            .unwrap();
    }
    remove(&world, &owner, &founder, &guest).await.unwrap();
    remove(&world, &owner, &founder, &guest).await.unwrap_err();

    let role = MemberRole::Member;
    let first = invite(&world, &owner, &founder, &guest.email, role)
        .await
        .unwrap();
    let first_id = first.invitation.clone().unwrap().id;
    revoke(&world, &owner, &founder, &first.invitation.unwrap())
        .await
        .unwrap();
    let second = invite(&world, &owner, &founder, &guest.email, role)
        .await
        .unwrap();
    let second_id = second.invitation.unwrap().id;
    accept(&world, &session, &second.token).await.unwrap();

    let mut client = world.client();
    for _ in 0..2 {
        let request = operator.request(grant_request(guest.id(), "operator"));
        client.grant_role(request).await.unwrap();
    }
    let request = operator.request(revoke_request(guest.id(), "operator"));
    client.revoke_role(request).await.unwrap();

    let second_login = world.login(&guest).await;
    let change = ChangePasswordRequest {
        request_id: request_id(),
        current_password: PASSWORD.to_owned(),
        new_password: PASSWORD.to_owned(),
    };
    client
        .change_password(second_login.request(change))
        .await
        .unwrap();
    let third = world.login(&guest).await;
    client
        .logout(third.request(LogoutRequest {}))
        .await
        .unwrap();
    let fourth = world.login(&guest).await;
    refresh(&world, &fourth.refresh).await.unwrap();
    age_rotation(&world, &fourth, TimeDelta::seconds(31)).await;
    refresh(&world, &fourth.refresh).await.unwrap_err();
    let create = CreateOrganisationRequest {
        request_id: request_id(),
        name: "Second Vans".to_owned(),
    };
    client
        .create_organisation(owner.request(create))
        .await
        .unwrap();

    let everything = all(&world, &operator, ListAuditEntriesRequest::default()).await;
    let sid = |session: &Session| session.claims().sid.to_string();
    let founder_kind = ("user-business", founder.id());
    let guest_kind = ("user-mover", guest.id());
    let boss_kind = ("user-mover", boss.id());
    let expected = {
        use AuditAction as A;
        let (own, nobody) = (organisation, ("nobody", ""));
        let service = ("system", "identity");
        vec![
            // Action, who, whom, organisation, role, what besides.
            (A::KeySigning, service, "", "", "", "*".to_owned()),
            (
                A::RoleGranted,
                service,
                boss.id(),
                "",
                "operator",
                String::new(),
            ),
            (A::Login, boss_kind, boss.id(), "", "", sid(&operator)),
            (
                A::MemberAdded,
                nobody,
                founder.id(),
                own,
                "owner",
                String::new(),
            ),
            (A::Login, founder_kind, founder.id(), own, "", sid(&owner)),
            (A::Login, guest_kind, guest.id(), "", "", sid(&session)),
            (A::LoginFailed, nobody, guest.id(), "", "", String::new()),
            (A::LoginFailed, nobody, "", "", "", String::new()),
            (
                A::MemberAdded,
                founder_kind,
                guest.id(),
                own,
                "member",
                String::new(),
            ),
            (
                A::MemberUpdated,
                founder_kind,
                guest.id(),
                own,
                "owner",
                String::new(),
            ),
            (
                A::MemberUpdated,
                founder_kind,
                guest.id(),
                own,
                "manager",
                String::new(),
            ),
            (
                A::MemberRemoved,
                founder_kind,
                guest.id(),
                own,
                "manager",
                String::new(),
            ),
            (
                A::InvitationCreated,
                founder_kind,
                "",
                own,
                "member",
                first_id.clone(),
            ),
            (
                A::InvitationRevoked,
                founder_kind,
                "",
                own,
                "member",
                first_id,
            ),
            (
                A::InvitationCreated,
                founder_kind,
                "",
                own,
                "member",
                second_id.clone(),
            ),
            (
                A::InvitationAccepted,
                guest_kind,
                guest.id(),
                own,
                "member",
                second_id,
            ),
            (
                A::RoleGranted,
                boss_kind,
                guest.id(),
                "",
                "operator",
                String::new(),
            ),
            (
                A::RoleRevoked,
                boss_kind,
                guest.id(),
                "",
                "operator",
                String::new(),
            ),
            (
                A::Login,
                guest_kind,
                guest.id(),
                own,
                "",
                sid(&second_login),
            ),
            (
                A::PasswordChanged,
                guest_kind,
                guest.id(),
                "",
                "",
                String::new(),
            ),
            (A::Login, guest_kind, guest.id(), own, "", sid(&third)),
            (A::Logout, guest_kind, guest.id(), "", "", sid(&third)),
            (A::Login, guest_kind, guest.id(), own, "", sid(&fourth)),
            (
                A::RefreshTokenReused,
                nobody,
                guest.id(),
                "",
                "",
                sid(&fourth),
            ),
            (
                A::MemberAdded,
                founder_kind,
                founder.id(),
                "*",
                "owner",
                String::new(),
            ),
        ]
    };
    assert_eq!(
        actions(&everything),
        expected.iter().map(|entry| entry.0).collect::<Vec<_>>()
    );
    let matches = |found: &str, expected: &str| expected == "*" || found == expected;
    for (found, (_, who, whom, within, role, object)) in everything.iter().zip(&expected) {
        assert_eq!((found.actor_kind.as_str(), found.actor_id.as_str()), *who);
        assert_eq!(found.user_id, *whom, "{found:?}");
        assert!(matches(&found.organisation_id, within), "{found:?}");
        assert_eq!(found.role, *role, "{found:?}");
        assert!(matches(&found.object_id, object), "{found:?}");
        let traced = found.trace_id.len() == 32;
        assert_eq!(traced, who.0 != "system", "{found:?}");
        let client = match found.action() {
            AuditAction::KeySigning => "schedule",
            AuditAction::RoleGranted if who.0 == "system" => "command",
            // Registered, or a refresh token, which says nothing of the application.
            AuditAction::MemberAdded | AuditAction::RefreshTokenReused if who.0 == "nobody" => "",
            _ => "homeward",
        };
        assert_eq!(found.client_id, client, "{found:?}");
    }

    let rows = "SELECT t::text AS row FROM audit_entries AS t";
    let rows = sqlx::query(rows)
        .fetch_all(&mut world.connect().await)
        .await
        .unwrap();
    for row in rows {
        let row: String = row.get("row");
        for personal in ["@", "Ada", "Lovelace", "Vans", PASSWORD, &unknown.email] {
            assert!(!row.contains(personal), "{personal} in {row}");
        }
    }
}

#[tokio::test]
async fn operators_find_entries_by_who_whom_what_and_when() {
    let world = World::start().await;
    let (boss, operator) = operator(&world).await;
    let (founder, owner) = world.somebody(UserKind::Business).await;
    let guest = world.register(UserKind::Mover).await;
    add(&world, &owner, &founder, &guest, MemberRole::Member)
        .await
        .unwrap();
    remove(&world, &owner, &founder, &guest).await.unwrap();

    let none = ListAuditEntriesRequest::default;
    let by = ListAuditEntriesRequest {
        actor_id: founder.id().to_owned(),
        ..none()
    };
    let by = all(&world, &operator, by).await;
    use AuditAction as A;
    assert_eq!(actions(&by), [A::Login, A::MemberAdded, A::MemberRemoved]);
    let of = ListAuditEntriesRequest {
        user_id: guest.id().to_owned(),
        ..none()
    };
    let of = all(&world, &operator, of).await;
    assert_eq!(actions(&of), [A::MemberAdded, A::MemberRemoved]);
    let logins = ListAuditEntriesRequest {
        action: A::Login.into(),
        ..none()
    };
    let logins = all(&world, &operator, logins).await;
    let who: Vec<_> = logins.iter().map(|entry| entry.user_id.as_str()).collect();
    assert_eq!(who, [boss.id(), founder.id()]);
    let between = ListAuditEntriesRequest {
        start_time: of[0].create_time,
        end_time: of[1].create_time,
        ..none()
    };
    assert_eq!(all(&world, &operator, between).await, of[..1]);

    let first = ListAuditEntriesRequest {
        page_size: 1,
        ..none()
    };
    let (latest, token) = list(&world, &operator, first.clone()).await.unwrap();
    assert_eq!(actions(&latest), [A::MemberRemoved]);
    let other_query = ListAuditEntriesRequest {
        action: A::Login.into(),
        page_token: token,
        ..first
    };
    let refused = list(&world, &operator, other_query).await;
    assert_refused(refused, PlatformReason::PageTokenInvalid);
    let nonsense = ListAuditEntriesRequest {
        actor_id: "x".repeat(65),
        user_id: "x".to_owned(),
        action: 99,
        start_time: Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        }),
        end_time: Some(prost_types::Timestamp {
            seconds: 0,
            nanos: -1,
        }),
        ..none()
    };
    let refused = list(&world, &operator, nonsense).await;
    assert_invalid(
        refused,
        &["actor_id", "user_id", "action", "start_time", "end_time"],
    );
    let refused = list(&world, &owner, none()).await;
    assert_refused(refused, PlatformReason::RoleRequired);
}

#[tokio::test]
async fn who_serves_can_add_to_the_log_and_neither_change_nor_delete() {
    let db = platform_testkit::db_with_roles(MIGRATORS).await;
    let mut serving = PgConnection::connect(&db.url).await.unwrap();
    let entry = Entry::new(Action::Login, By::command());
    let now = platform::time::now();
    store::audit::insert(&mut serving, &entry, now)
        .await
        .unwrap();
    for statement in [
        "UPDATE audit_entries SET actor_id = ''",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
        "DROP TABLE audit_entries",
        "ALTER TABLE audit_entries DROP CONSTRAINT audit_entries_action_check",
        "CREATE OR REPLACE FUNCTION delete_audit_entries(before timestamptz, batch bigint)
            RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
    ] {
        let refused = sqlx::query(statement).execute(&mut serving).await;
        let refused = refused.unwrap_err().into_database_error().unwrap();
        assert_eq!(refused.code().as_deref(), Some("42501"), "{statement}");
    }
    // Nor by asking for it to be forgotten.
    let gone = store::audit::delete_old(&mut serving, now + TimeDelta::days(1), 10);
    assert_eq!(gone.await.unwrap(), 0);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_entries")
        .fetch_one(&mut serving)
        .await
        .unwrap();
    assert_eq!(left, 1);
}

#[tokio::test]
async fn old_entries_are_forgotten_and_younger_ones_kept() {
    let db = platform_testkit::db_with_roles(MIGRATORS).await;
    let mut owner = db.connect().await;
    let now = platform::time::now();
    let entry = Entry::new(Action::Login, By::command());
    for days in [0, 89, 100, 399, 401] {
        let entry = Entry {
            id: Uuid::now_v7(),
            by: entry.by.clone(),
            trace_id: None,
            role: None,
            object_id: Some(days.to_string()),
            ..entry
        };
        let at = now - TimeDelta::days(days);
        store::audit::insert(&mut owner, &entry, at).await.unwrap();
    }
    let old = "INSERT INTO audit_entries (id, created_at, action, actor_id, actor_kind, client_id)
        SELECT gen_random_uuid(), now() - interval '500 days', 'login', '', 'nobody', ''
        FROM generate_series(1, 1200)";
    sqlx::query(old).execute(&mut owner).await.unwrap();

    let pool = sqlx::PgPool::connect(&db.url).await.unwrap();
    let kept = async |days: i64, expected: i64| {
        let gone = clean(&pool, now - TimeDelta::days(days)).await.unwrap();
        assert_eq!(gone, expected, "older than {days} days");
        let left = "SELECT object_id FROM audit_entries ORDER BY created_at DESC";
        let left: Vec<String> = sqlx::query_scalar(left).fetch_all(&pool).await.unwrap();
        left.join(" ")
    };
    assert_eq!(kept(400, 1201).await, "0 89 100 399");
    assert_eq!(kept(400, 0).await, "0 89 100 399");
    assert_eq!(kept(0, 2).await, "0 89", "the least that is kept");
    pool.close().await;
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_happen() {
    let world = World::start().await;
    let (founder, owner) = world.somebody(UserKind::Business).await;
    let guest = world.register(UserKind::Mover).await;
    let mut conn = world.connect().await;
    let sent = "SELECT count(*) FROM platform.outbox";
    let before: i64 = sqlx::query_scalar(sent).fetch_one(&mut conn).await.unwrap();
    sqlx::raw_sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE 'planted'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    add(&world, &owner, &founder, &guest, MemberRole::Member)
        .await
        .unwrap_err();
    let mut client = world.client();
    client.login(guest.login()).await.unwrap_err();
    client
        .logout(owner.request(LogoutRequest {}))
        .await
        .unwrap_err();
    assert_eq!(world.versions(guest.id()).await, (1, 1));
    let after: i64 = sqlx::query_scalar(sent).fetch_one(&mut conn).await.unwrap();
    assert_eq!(before, after, "no event either");

    sqlx::raw_sql("DROP TRIGGER fail ON audit_entries")
        .execute(&mut conn)
        .await
        .unwrap();
    refresh(&world, &owner.refresh).await.unwrap();
    add(&world, &owner, &founder, &guest, MemberRole::Member)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_database_knows_every_action() {
    let db = platform_testkit::db(MIGRATORS).await;
    let mut conn = db.connect().await;
    let known = (1..).map_while(|number| Action::try_from(number).ok());
    for action in known {
        let entry = Entry::new(action, By::command());
        store::audit::insert(&mut conn, &entry, platform::time::now())
            .await
            .unwrap();
    }
    let stored: Vec<String> = sqlx::query_scalar("SELECT action FROM audit_entries ORDER BY id")
        .fetch_all(&mut conn)
        .await
        .unwrap();
    assert!(stored.len() >= 18);
    for word in stored {
        assert_ne!(audit::action(&word), Action::Unspecified, "{word}");
    }
}
