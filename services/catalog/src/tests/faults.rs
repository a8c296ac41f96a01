use std::time::Duration;

use api::homeward::catalog::v1::{CastVoteRequest, VoteValue};
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

fn vote(offer: &Offer) -> CastVoteRequest {
    CastVoteRequest {
        request_id: id(),
        offer_id: offer.id.clone(),
        value: VoteValue::Up.into(),
    }
}

#[tokio::test]
async fn a_callers_deadline_ends_the_statement_in_postgres() {
    let world = World::start().await;
    let offer = world.published(&world.seller()).await;
    let voter = world.voter();
    let mut conn = world.db.connect().await;
    let mut holder = world.db.connect().await;
    let mut held = holder.begin().await.unwrap();
    sqlx::query("SELECT FROM tallies FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();

    let message = vote(&offer);
    let mut request = voter.ask(message.clone());
    request.set_timeout(Duration::from_millis(300));
    let status = world.client().cast_vote(request).await.unwrap_err();
    // Of client and service, the one whose clock is ahead says so; tonic's client calls it cancelled.
    assert!(
        matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{status:?}"
    );
    until("the statement to end", async || {
        (waiting(&mut conn).await == 0).then_some(())
    })
    .await;

    // Nothing of it is left: its lock on the request id is let go, and the vote was not counted.
    held.rollback().await.unwrap();
    let votes = world
        .client()
        .cast_vote(voter.ask(message))
        .await
        .unwrap()
        .into_inner()
        .votes
        .unwrap();
    assert_eq!((votes.up, votes.version), (1, 1));
}

#[tokio::test]
async fn after_kill_9_between_effect_and_answer_a_repeat_gets_the_stored_answer() {
    let issuer = Issuer::start().await;
    let stack = Stack::of(["catalog"])
        .replicas("catalog", 2)
        .vars("catalog", issuer.vars())
        .start()
        .await;
    let client = |replica| {
        let url = format!("http://{}", stack.grpc_addr("catalog", replica));
        Client::new(Endpoint::from_shared(url).unwrap().connect_lazy())
    };
    let seller = issuer
        .user("user-business")
        .organisation(Uuid::now_v7(), "owner");
    let seller = Person {
        organisation: None,
        token: seller.sign(),
    };
    let voter = issuer.user("user-mover");
    let voter = Person {
        organisation: None,
        token: voter.sign(),
    };
    let offer = client(0)
        .create_offer(seller.ask(new_offer()))
        .await
        .unwrap()
        .into_inner()
        .offer
        .unwrap();
    let publish = PublishOfferRequest {
        request_id: id(),
        offer_id: offer.id.clone(),
        expected_version: None,
    };
    client(0).publish_offer(seller.ask(publish)).await.unwrap();

    // The commit waits for a lock of ours, and while it does the process that asked for it dies.
    let mut conn = stack.db("catalog").connect().await;
    sqlx::raw_sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            SET LOCAL client_connection_check_interval = 0;
            PERFORM pg_advisory_xact_lock(1);
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON votes DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait();
        SELECT pg_advisory_lock(1)",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let message = vote(&offer);
    let call = tokio::spawn({
        let (mut client, request) = (client(0), voter.ask(message.clone()));
        async move { client.cast_vote(request).await }
    });
    let committing = async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
        )
        .fetch_one(&mut conn)
        .await
        .unwrap();
        (waiting > 0).then_some(())
    };
    until("the commit", committing).await;
    stack.kill("catalog", 0);
    assert!(call.await.unwrap().is_err(), "the answer was lost");
    sqlx::raw_sql("SELECT pg_advisory_unlock(1)")
        .execute(&mut conn)
        .await
        .unwrap();
    let committed = async || {
        let votes: i64 = sqlx::query_scalar("SELECT count(*) FROM votes")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        (votes > 0).then_some(())
    };
    until("the effect", committed).await;

    // Another voter comes in between, so that a fresh answer would be another one.
    let other = issuer.user("user-mover");
    let other = Person {
        organisation: None,
        token: other.sign(),
    };
    let later = client(1)
        .cast_vote(other.ask(vote(&offer)))
        .await
        .unwrap()
        .into_inner()
        .votes
        .unwrap();
    assert_eq!((later.up, later.version), (2, 2));
    for replica in [1, 0] {
        if replica == 0 {
            stack.restart("catalog", 0).await;
        }
        let votes = client(replica)
            .cast_vote(voter.ask(message.clone()))
            .await
            .unwrap()
            .into_inner()
            .votes
            .unwrap();
        assert_eq!(
            (votes.up, votes.down, votes.mine(), votes.version),
            (1, 0, VoteValue::Up, 1)
        );
    }
}

#[tokio::test]
async fn shutdown_lets_a_vote_in_flight_answer() {
    let world = World::start().await;
    let offer = world.published(&world.seller()).await;
    let voter = world.voter();
    let mut conn = world.db.connect().await;
    let mut holder = world.db.connect().await;
    let mut held = holder.begin().await.unwrap();
    sqlx::query("SELECT FROM tallies FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();

    let [mut client, _] = world.clients.clone();
    let request = voter.ask(vote(&offer));
    let call = tokio::spawn(async move { client.cast_vote(request).await });
    until("the vote to wait", async || {
        (waiting(&mut conn).await > 0).then_some(())
    })
    .await;
    let [stopping, other] = world.replicas;
    let addr = stopping.grpc.unwrap();
    let stop = tokio::spawn(stopping.stop());
    until("new connections to be refused", async || {
        tokio::net::TcpStream::connect(addr)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    held.rollback().await.unwrap();

    let votes = call.await.unwrap().unwrap().into_inner().votes.unwrap();
    assert_eq!((votes.up, votes.version), (1, 1));
    stop.await.unwrap().unwrap();
    other.stop().await.unwrap();
}
