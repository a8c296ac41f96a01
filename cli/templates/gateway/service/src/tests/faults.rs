use std::time::Duration;

use platform_testkit::{Stack, until};
use sqlx::{Connection, PgConnection};
use tonic::Code;

use super::*;

/// Statements of the service that wait for a lock in this database.
async fn waiting(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*)
        FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'
            AND wait_event_type = 'Lock'",
    )
    .fetch_one(conn)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_callers_deadline_ends_the_statement_in_postgres() {
    let world = World::start().await;
    let user = world.user();
    let made = world.create(&user, "First").await;
    let mut conn = world.db.connect().await;
    let mut holder = world.db.connect().await;
    let mut held = holder.begin().await.unwrap();
    sqlx::query("SELECT FROM @entities@ FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();

    let message = renaming(&made, "Second");
    let mut request = user.ask(message.clone());
    request.set_timeout(Duration::from_millis(300));
    let status = world.client().rename_@entity@(request).await.unwrap_err();
    // Of client and service, the one whose clock is ahead says so; tonic's client calls it cancelled.
    assert!(
        matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{status:?}"
    );
    until("the statement to end", async || {
        (waiting(&mut conn).await == 0).then_some(())
    })
    .await;

    // Nothing of it is left: its lock on the request id is let go, and the repeat is the first.
    held.rollback().await.unwrap();
    let now = world.rename(&user, message).await.unwrap();
    assert_eq!((now.name.as_str(), now.version), ("Second", 2));
}

#[tokio::test]
async fn after_kill_9_between_effect_and_answer_a_repeat_gets_the_stored_answer() {
    let issuer = Issuer::start().await;
    let stack = Stack::of([crate::NAME])
        .replicas(crate::NAME, 2)
        .vars(crate::NAME, issuer.vars())
        .start()
        .await;
    let user = user(&issuer);
    let at = |replica| client(&format!("http://{}", stack.grpc_addr(crate::NAME, replica)));

    // The commit waits for a lock of ours, and while it does the process that asked for it dies.
    let mut conn = stack.db(crate::NAME).connect().await;
    sqlx::raw_sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            SET LOCAL client_connection_check_interval = 0;
            PERFORM pg_advisory_xact_lock(1);
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON @entities@ DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait();
        SELECT pg_advisory_lock(1)",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let message = creation("First");
    let call = tokio::spawn({
        let (mut client, request) = (at(0), user.ask(message.clone()));
        async move { client.create_@entity@(request).await }
    });
    until("the commit", async || {
        let count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        let waiting: i64 = sqlx::query_scalar(count).fetch_one(&mut conn).await.unwrap();
        (waiting > 0).then_some(())
    })
    .await;
    stack.kill(crate::NAME, 0);
    assert!(call.await.unwrap().is_err(), "the answer was lost");
    sqlx::raw_sql("SELECT pg_advisory_unlock(1)")
        .execute(&mut conn)
        .await
        .unwrap();
    let id: Uuid = until("the effect", async || {
        let made = sqlx::query_scalar("SELECT id FROM @entities@");
        made.fetch_optional(&mut conn).await.unwrap()
    })
    .await;

    for replica in [1, 0] {
        if replica == 0 {
            stack.restart(crate::NAME, 0).await;
        }
        let answer = at(replica).create_@entity@(user.ask(message.clone())).await;
        assert_eq!(answer.unwrap().into_inner().@entity@.unwrap().id, id.to_string());
    }
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM @entities@")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn shutdown_lets_a_call_in_flight_answer() {
    let world = World::start().await;
    let user = world.user();
    let made = world.create(&user, "First").await;
    let mut conn = world.db.connect().await;
    let mut holder = world.db.connect().await;
    let mut held = holder.begin().await.unwrap();
    sqlx::query("SELECT FROM @entities@ FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();

    let [mut client, _] = world.clients.clone();
    let request = user.ask(renaming(&made, "Second"));
    let call = tokio::spawn(async move { client.rename_@entity@(request).await });
    until("the call to wait", async || {
        (waiting(&mut conn).await > 0).then_some(())
    })
    .await;
    let [stopping, staying] = world.replicas;
    let addr = stopping.grpc.unwrap();
    let stop = tokio::spawn(stopping.stop());
    until("new connections to be refused", async || {
        let refused = tokio::net::TcpStream::connect(addr).await.is_err();
        refused.then_some(())
    })
    .await;
    held.rollback().await.unwrap();

    let now = call.await.unwrap().unwrap().into_inner().@entity@.unwrap();
    assert_eq!((now.name.as_str(), now.version), ("Second", 2));
    stop.await.unwrap().unwrap();
    staying.stop().await.unwrap();
}
