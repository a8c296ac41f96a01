//! What is said of users, and what is not.

use api::homeward::identity::v1::{
    ChangePasswordRequest, CreateOrganisationRequest, LogoutRequest, MemberRole,
    SwitchOrganisationRequest, UserAuthed, UserRegistered, UserRevoked, UserRoleGranted,
    UserRoleRevoked, UserSessionEnded,
};
use platform_contract::Event;
use platform_testkit::{Said, kafka};

use super::{
    members::{add, remove, update},
    sessions::{age_rotation, refresh, tokens},
    *,
};
use crate::{GrantArgs, grant};

/// The events of one user as they lie in the topic: names, and versions from 1 on.
#[track_caller]
fn names<'a>(said: &'a [Said], user_id: &str) -> (Vec<&'a Said>, Vec<&'a str>) {
    let of_user: Vec<&Said> = said.iter().filter(|said| said.key == user_id).collect();
    let versions: Vec<i64> = of_user.iter().map(|said| said.version).collect();
    assert_eq!(versions, Vec::from_iter(1..=versions.len() as i64));
    let names = of_user.iter().map(|said| said.name.as_str()).collect();
    (of_user, names)
}

fn actor(said: &Said) -> (&str, &str) {
    let header = |name| said.headers.get(name).map_or("", String::as_str);
    (header("ce_actorkind"), header("ce_actorid"))
}

fn create_organisation() -> CreateOrganisationRequest {
    CreateOrganisationRequest {
        request_id: request_id(),
        name: "Second Vans".to_owned(),
    }
}

fn change_password(current: &str) -> ChangePasswordRequest {
    ChangePasswordRequest {
        request_id: request_id(),
        current_password: current.to_owned(),
        new_password: PASSWORD.to_owned(),
    }
}

#[tokio::test]
async fn an_account_says_what_happens_to_it_and_nothing_else() {
    let kafka = kafka();
    let world = World::start_on(&kafka).await;
    let request = registration(UserKind::Business);
    let registered = world.client().register(request.clone()).await.unwrap();
    let person = Person {
        email: request.email.clone(),
        registered: registered.into_inner(),
    };
    world.client().register(request.clone()).await.unwrap();
    let twice = RegisterRequest {
        request_id: request_id(),
        ..request
    };
    assert_refused(
        world.client().register(twice).await,
        ErrorReason::EmailTaken,
    );
    let wrong = LoginRequest {
        password: "wrong".to_owned(),
        ..person.login()
    };
    assert_refused(
        world.client().login(wrong).await,
        ErrorReason::CredentialsInvalid,
    );

    let first = world.login(&person).await;
    let founding = create_organisation();
    for _ in 0..2 {
        let request = first.request(founding.clone());
        world.client().create_organisation(request).await.unwrap();
    }
    let switch = SwitchOrganisationRequest {
        organisation_id: person.organisation().to_owned(),
    };
    let mut client = world.client();
    client
        .switch_organisation(first.request(switch))
        .await
        .unwrap();
    let refused = client
        .change_password(first.request(change_password("wrong")))
        .await;
    assert_refused(refused, ErrorReason::CredentialsInvalid);
    let change = change_password(PASSWORD);
    client.change_password(first.request(change)).await.unwrap();

    let second = world.login(&person).await;
    client
        .logout(second.request(LogoutRequest {}))
        .await
        .unwrap();
    // By now the token may be known to be void; either way nothing happens.
    let _ = client.logout(second.request(LogoutRequest {})).await;

    let third = world.login(&person).await;
    let successor = tokens(refresh(&world, &third.refresh).await.unwrap());
    refresh(&world, &third.refresh).await.unwrap();
    age_rotation(&world, &third, TimeDelta::seconds(31)).await;
    for _ in 0..2 {
        refresh(&world, &third.refresh).await.unwrap_err();
    }
    refresh(&world, &successor.refresh).await.unwrap_err();

    let said = kafka.said::<UserRegistered>(&world.db).await;
    let (events, names) = names(&said, person.id());
    assert_eq!(
        names,
        [
            "user.registered",
            "user.authed",
            "user.role_granted",
            "user.revoked",
            "user.authed",
            "user.session_ended",
            "user.authed",
            "user.session_ended",
        ]
    );
    let begun = events[0].event::<UserRegistered>();
    assert_eq!(begun.kind(), UserKind::Business);
    assert_eq!(begun.organisation_id, person.organisation());
    let sid = |session: &Session| session.claims().sid.to_string();
    assert_eq!(events[1].event::<UserAuthed>().session_id, sid(&first));
    let granted = events[2].event::<UserRoleGranted>();
    assert_eq!(granted.role, "owner");
    assert_ne!(granted.organisation_id, person.organisation());
    assert_eq!(events[3].event::<UserRevoked>().access_version, 2);
    assert_eq!(
        events[5].event::<UserSessionEnded>().session_id,
        sid(&second)
    );
    assert_eq!(
        events[7].event::<UserSessionEnded>().session_id,
        sid(&third)
    );

    let own = ("user-business", person.id());
    assert_eq!(actor(events[0]), ("nobody", ""));
    for event in &events[1..7] {
        assert_eq!(actor(event), own, "{}", event.name);
    }
    assert_eq!(actor(events[7]), ("nobody", ""), "whoever had the copy");
    assert_eq!(world.versions(person.id()).await, (8, 2));
    for event in &said {
        let all = format!(
            "{:?} {}",
            event.headers,
            String::from_utf8_lossy(&event.payload)
        );
        for personal in [person.email.as_str(), "Ada", "Lovelace", "Vans", PASSWORD] {
            assert!(!all.contains(personal), "{personal} in {all}");
        }
    }
}

#[tokio::test]
async fn a_member_says_what_is_won_and_what_is_lost() {
    let kafka = kafka();
    let world = World::start_on(&kafka).await;
    let (founder, owner) = world.somebody(UserKind::Business).await;
    let member = world.register(UserKind::Mover).await;
    let stranger = world.somebody(UserKind::Business).await;

    let role = MemberRole::Member;
    add(&world, &stranger.1, &founder, &member, role)
        .await
        .unwrap_err();
    add(&world, &owner, &founder, &member, role).await.unwrap();
    add(&world, &owner, &founder, &member, role)
        .await
        .unwrap_err();
    for role in [
        MemberRole::Member,
        MemberRole::Owner,
        MemberRole::Manager,
        MemberRole::Manager,
    ] {
        update(&world, &owner, &founder, &member, role)
            .await
            .unwrap();
    }
    remove(&world, &stranger.1, &founder, &member)
        .await
        .unwrap_err();
    remove(&world, &owner, &founder, &founder)
        .await
        .unwrap_err();
    remove(&world, &owner, &founder, &member).await.unwrap();
    remove(&world, &owner, &founder, &member).await.unwrap_err();

    let said = kafka.said::<UserRegistered>(&world.db).await;
    let (events, kinds) = names(&said, member.id());
    assert_eq!(
        kinds,
        [
            "user.registered",
            "user.role_granted",
            "user.role_granted",
            "user.role_revoked",
            "user.role_revoked",
        ]
    );
    let granted: Vec<_> = events[1..3]
        .iter()
        .map(|event| event.event::<UserRoleGranted>())
        .map(|event| (event.role, event.organisation_id))
        .collect();
    let organisation = founder.organisation().to_owned();
    assert_eq!(
        granted,
        [
            ("member".to_owned(), organisation.clone()),
            ("owner".to_owned(), organisation.clone())
        ]
    );
    let lowered = events[3].event::<UserRoleRevoked>();
    assert_eq!(
        (lowered.role.as_str(), lowered.remaining_role.as_str()),
        ("owner", "manager")
    );
    let removed = events[4].event::<UserRoleRevoked>();
    assert_eq!(
        (removed.role.as_str(), removed.remaining_role.as_str()),
        ("manager", "")
    );
    assert_eq!((lowered.access_version, removed.access_version), (2, 3));
    assert_eq!(removed.organisation_id, organisation);
    for event in &events[1..] {
        assert_eq!(actor(event), ("user-business", founder.id()));
    }
    let (_, kinds) = names(&said, founder.id());
    assert_eq!(kinds, ["user.registered", "user.authed"]);
}

#[tokio::test]
async fn what_the_command_grants_is_said_by_a_replica_of_the_service() {
    let kafka = kafka();
    let world = World::start_on(&kafka).await;
    let person = world.register(UserKind::Mover).await;
    for _ in 0..2 {
        let config = platform::config::parse("identity", &world.vars).unwrap();
        let args = GrantArgs {
            email: person.email.clone(),
            role: "operator".to_owned(),
        };
        grant(config, args).await.unwrap();
    }
    let said = kafka.said::<UserRegistered>(&world.db).await;
    let (events, names) = names(&said, person.id());
    assert_eq!(names, ["user.registered", "user.role_granted"]);
    let granted = events[1].event::<UserRoleGranted>();
    assert_eq!(
        (granted.role.as_str(), granted.organisation_id.as_str()),
        ("operator", "")
    );
    assert_eq!(actor(events[1]), ("system", "identity"));
}

#[tokio::test]
async fn an_event_and_what_it_says_commit_together_or_not_at_all() {
    let world = World::start().await;
    let mut conn = world.connect().await;
    sqlx::raw_sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE 'planted'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON platform.outbox FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let request = registration(UserKind::Business);
    world.client().register(request.clone()).await.unwrap_err();
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(users, 0, "no account without its event");

    sqlx::raw_sql(
        "DROP TRIGGER fail ON platform.outbox;
        CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    world.client().register(request.clone()).await.unwrap_err();
    assert_eq!(waiting(&world).await, [], "no event without its account");

    sqlx::raw_sql("DROP TRIGGER fail ON users")
        .execute(&mut conn)
        .await
        .unwrap();
    let registered = world.client().register(request).await.unwrap();
    let user_id = registered.into_inner().user_id;
    assert_eq!(waiting(&world).await, [(user_id, 1)]);
}

/// Keys and versions in the outbox.
async fn waiting(world: &World) -> Vec<(String, i64)> {
    sqlx::query_as("SELECT key, version FROM platform.outbox ORDER BY lane, sequence")
        .fetch_all(&mut world.connect().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn requests_go_on_without_a_broker_and_what_they_said_is_sent_later() {
    let world = World::start().await;
    let (person, session) = world.somebody(UserKind::Mover).await;
    let mut client = world.client();
    client
        .logout(session.request(LogoutRequest {}))
        .await
        .unwrap();
    assert_eq!(waiting(&world).await.len(), 3);

    let kafka = kafka();
    let mut vars = world.vars.clone();
    vars.extend(kafka.vars());
    let _late = replica(&vars).await;
    let said = kafka.said::<UserRegistered>(&world.db).await;
    let (_, names) = names(&said, person.id());
    assert_eq!(
        names,
        [
            UserRegistered::NAME,
            UserAuthed::NAME,
            UserSessionEnded::NAME
        ]
    );
}
