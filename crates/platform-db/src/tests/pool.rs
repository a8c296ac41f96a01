use std::time::{Duration, Instant};

use platform::deadline;
use platform::error::Details;
use platform_contract::PlatformReason;
use platform_testkit::{TestDb, until};

use super::proxy::Proxy;
use super::{raise, service, test_db, total, unready_service};
use crate::error::{Kind, classify, status};

/// Sessions of the database under test that are in `state`, other than the one that asks.
async fn sessions(db: &TestDb, state: &str) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = $1 AND pid <> pg_backend_pid() AND state LIKE $2",
    )
    .bind(&db.name)
    .bind(state)
    .fetch_one(&mut db.connect().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_deadline_ends_a_statement_that_waits_for_a_lock() {
    let db = test_db().await;
    let service = service(db.vars()).await;
    let mut holder = service.db.begin().await.unwrap();
    raise(&mut holder, "apples", 1).await.unwrap();

    let began = Instant::now();
    let error = deadline::scope(Duration::from_millis(300), async {
        let mut tx = service.db.begin().await.unwrap();
        raise(&mut tx, "apples", 1).await.unwrap_err()
    })
    .await;
    assert!(began.elapsed() >= Duration::from_millis(250), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(classify(&error), Kind::Timeout);
    assert!(Details::is(&status(error), PlatformReason::DeadlinePassed));
    until("the statement to be gone", async || {
        (sessions(&db, "active").await == 0).then_some(())
    })
    .await;

    holder.commit().await.unwrap();
    assert_eq!(total(&db, "apples").await, Some(1));
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_not_taken_for_none() {
    let db = test_db().await;
    let service = service(db.vars()).await;
    let limit: String = deadline::scope(Duration::ZERO, async {
        let mut tx = service.db.begin().await.unwrap();
        sqlx::query_scalar("SELECT current_setting('statement_timeout')")
            .fetch_one(&mut *tx)
            .await
            .unwrap()
    })
    .await;
    assert_eq!(limit, "1ms");
}

#[tokio::test]
async fn a_transaction_with_a_deadline_begins_in_one_round_trip() {
    let db = test_db().await;
    let mut proxy = Proxy::new(&db).await;
    proxy.start().await;
    let mut vars = db.vars();
    vars.insert("DATABASE_URL".to_owned(), proxy.url(&db));
    let service = service(vars).await;
    let tx = service.db.begin().await.unwrap();
    tx.rollback().await.unwrap();

    for read in [false, true] {
        deadline::scope(Duration::from_secs(5), async {
            let before = proxy.statements();
            let tx = match read {
                false => service.db.begin().await.unwrap(),
                true => service.db.read().await.unwrap(),
            };
            assert_eq!(proxy.statements() - before, 1);
            tx.rollback().await.unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn a_begin_that_is_given_up_leaves_no_transaction_open() {
    let db = test_db().await;
    let mut proxy = Proxy::new(&db).await;
    proxy.start().await;
    let mut vars = db.vars();
    vars.insert("DATABASE_URL".to_owned(), proxy.url(&db));
    vars.insert("DATABASE_POOL_MAX".to_owned(), "1".to_owned());
    let service = service(vars).await;
    drop(service.db.begin().await.unwrap());
    until("the connection to be free again", async || {
        (service.db.pool().num_idle() == 1).then_some(())
    })
    .await;

    proxy.withhold_answers(true);
    let given_up = tokio::time::timeout(Duration::from_millis(100), service.db.begin()).await;
    assert!(given_up.is_err());
    proxy.withhold_answers(false);

    // What is written next, without a transaction, must not end in the forgotten one.
    raise(&mut service.db.pool().acquire().await.unwrap(), "apples", 1)
        .await
        .unwrap();
    assert_eq!(total(&db, "apples").await, Some(1));
    assert_eq!(sessions(&db, "idle in transaction%").await, 0);
}

#[tokio::test]
async fn reading_cannot_write() {
    let db = test_db().await;
    let service = service(db.vars()).await;
    let mut tx = service.db.read().await.unwrap();
    raise(&mut tx, "apples", 1).await.unwrap_err();
}

#[tokio::test]
async fn a_named_constraint_is_told_by_its_name() {
    let db = test_db().await;
    let service = service(db.vars()).await;
    let mut tx = service.db.begin().await.unwrap();
    let error = raise(&mut tx, "apples", -1).await.unwrap_err();
    assert_eq!(classify(&error), Kind::Constraint("counters_total_check"));
}

#[tokio::test]
async fn a_database_that_is_away_at_start_is_waited_for() {
    let db = test_db().await;
    let mut proxy = Proxy::new(&db).await;
    let mut vars = db.vars();
    vars.insert("DATABASE_URL".to_owned(), proxy.url(&db));
    let service = unready_service(vars).await;

    let ready = service.running.ready();
    let still_waiting = tokio::time::timeout(Duration::from_millis(500), ready).await;
    assert!(still_waiting.is_err(), "ready without a database");
    let error = service.db.begin().await.unwrap_err();
    assert_eq!(classify(&error), Kind::Unavailable);
    let status = status(error);
    assert!(Details::is(&status, PlatformReason::DependencyUnavailable));

    proxy.start().await;
    service.running.ready().await;
    service.db.begin().await.unwrap();
}

#[tokio::test]
async fn a_full_pool_is_overload_and_tells_when_to_come_back() {
    let db = test_db().await;
    let mut vars = db.vars();
    vars.insert("DATABASE_POOL_MAX".to_owned(), "2".to_owned());
    let service = service(vars).await;
    let held = [(); 2].map(|()| service.db.begin());
    let held = futures_util::future::join_all(held).await;

    for error in [service.db.begin().await, service.db.read().await] {
        let error = error.unwrap_err();
        assert_eq!(classify(&error), Kind::Exhausted);
        let status = status(error);
        assert!(Details::is(&status, PlatformReason::Overloaded));
        assert!(Details::of(&status).retry_after.is_some());
    }
    drop(held);
    service.db.begin().await.unwrap();
}

#[tokio::test]
async fn the_pool_recovers_when_the_database_restarts() {
    let db = test_db().await;
    let mut proxy = Proxy::new(&db).await;
    proxy.start().await;
    let mut vars = db.vars();
    vars.insert("DATABASE_URL".to_owned(), proxy.url(&db));
    let service = service(vars).await;
    let all = [(); 5].map(|()| service.db.begin());
    for tx in futures_util::future::join_all(all).await {
        tx.unwrap().rollback().await.unwrap();
    }
    until("all connections to be idle", async || {
        (service.db.pool().num_idle() == 5).then_some(())
    })
    .await;

    proxy.stop().await;
    proxy.start().await;
    // All five are dead, and yet no caller notices.
    let mut tx = service.db.begin().await.unwrap();
    raise(&mut tx, "apples", 1).await.unwrap();
    tx.commit().await.unwrap();

    proxy.stop().await;
    until("the service to be unready", async || {
        let ready = service.running.ready();
        let waited = tokio::time::timeout(Duration::from_millis(10), ready).await;
        waited.is_err().then_some(())
    })
    .await;
    proxy.start().await;
    service.running.ready().await;
}
