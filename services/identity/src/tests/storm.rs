//! More logins than passwords can be checked. The one thread for blocking work is held, so that the
//! state of every login is known and no clock decides what is counted.

use std::sync::mpsc;

use api::homeward::identity::v1::{GetViewerRequest, RefreshSessionRequest};
use platform_testkit::{metric, until};
use tokio::task::JoinSet;

use super::{
    throttle::{HOME, at, checks},
    *,
};

/// Runs a test where blocking work has one thread.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// Holds the thread until this value is dropped.
fn hold_thread() -> mpsc::Sender<()> {
    let (held, until_dropped) = mpsc::channel();
    tokio::task::spawn_blocking(move || until_dropped.recv());
    held
}

/// Passwords refused, waiting and worked on, as the first replica tells.
async fn counted(world: &World) -> [u64; 3] {
    let admin = world.replicas[0].admin;
    [
        metric(admin, "passwords_refused_total", &[]).await,
        metric(admin, "passwords_waiting", &[]).await,
        metric(admin, "passwords_working", &[]).await,
    ]
}

async fn until_counted(world: &World, expected: [u64; 3]) {
    until("every login to be where it stays", async || {
        (counted(world).await == expected).then_some(())
    })
    .await;
}

#[test]
fn of_a_storm_of_logins_exactly_those_with_a_place_are_checked_and_all_else_goes_on() {
    run(async {
        let world = World::start_with(&[
            ("PASSWORD_THREADS", "2"),
            ("PASSWORD_QUEUE_MAX", "8"),
            ("PASSWORD_QUEUE_AGE_MAX", "60s"),
            ("DEADLINE_DEFAULT", "60s"),
        ])
        .await;
        let person = world.register(UserKind::Mover).await;
        let login = at(HOME, person.login());
        let session = world.client_of(0).login(login).await.unwrap();
        let session = Session::of(session.into_inner());
        let before = checks(&world, &[]).await;

        let held = hold_thread();
        let mut logins = JoinSet::new();
        for _ in 0..100 {
            let (mut client, login) = (world.client_of(0), at(HOME, person.login()));
            logins.spawn(async move { client.login(login).await });
        }
        until_counted(&world, [90, 8, 2]).await;

        world.verify(&session.access).await.unwrap();
        let mut client = world.client_of(0);
        let request = RefreshSessionRequest {
            refresh_token: session.refresh.clone(),
        };
        client.refresh_session(request).await.unwrap();
        let viewer = session.request(GetViewerRequest {});
        client.get_viewer(viewer).await.unwrap();
        assert_eq!(counted(&world).await, [90, 8, 2]);
        assert_eq!(checks(&world, &[]).await, before);

        drop(held);
        let (opened, shed): (Vec<_>, Vec<_>) =
            logins.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!((opened.len(), shed.len()), (10, 90));
        for answer in shed {
            let details = assert_refused(answer, ErrorReason::LoginOverloaded);
            assert!(details.retry_after.is_some());
        }
        assert_eq!(checks(&world, &[]).await, before + 10);
        until_counted(&world, [90, 0, 0]).await;
        assert_eq!(world.versions(person.id()).await, (12, 1));
    });
}

#[test]
fn a_login_whose_password_was_not_looked_at_counts_as_no_failure() {
    run(async {
        let world = World::start_with(&[
            ("PASSWORD_THREADS", "1"),
            ("PASSWORD_QUEUE_MAX", "1"),
            ("PASSWORD_QUEUE_AGE_MAX", "20ms"),
            ("DEADLINE_DEFAULT", "60s"),
        ])
        .await;
        let person = world.register(UserKind::Mover).await;
        let held = hold_thread();
        let (mut client, request) = (world.client_of(0), person.login());
        let first = tokio::spawn(async move { client.login(request).await });
        until_counted(&world, [0, 0, 1]).await;
        let unknown = LoginRequest {
            email: email(),
            ..person.login()
        };
        let shed = world.client_of(0).login(at(HOME, unknown)).await;
        assert_refused(shed, ErrorReason::LoginOverloaded);
        let counted: Vec<bool> =
            sqlx::query_scalar("SELECT forgotten_at > failed_at FROM login_failures ORDER BY 1")
                .fetch_all(&mut world.connect().await)
                .await
                .unwrap();
        assert_eq!(
            counted,
            [false, false, false, true],
            "the first is under way"
        );
        drop(held);
        first.await.unwrap().unwrap();
    });
}
