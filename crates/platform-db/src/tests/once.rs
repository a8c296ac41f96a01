use std::sync::Arc;

use platform::auth::Caller;
use platform::error::Details;
use platform_contract::{Once, PlatformReason};
use platform_testkit::Issuer;
use tokio::sync::Barrier;
use tonic::Status;
use uuid::Uuid;

use super::proxy::Proxy;
use super::{raise, service, test_db, total, user};
use crate::{Begun, Db, Error, once};

#[derive(Clone, PartialEq, prost::Message)]
struct Raise {
    #[prost(string, tag = "1")]
    request_id: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(int64, tag = "3")]
    amount: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Raised {
    #[prost(int64, tag = "1")]
    total: i64,
}

impl Once for Raise {
    const METHOD: &'static str = "/test.v1.TestService/Raise";
    type Response = Raised;

    fn request_id(&self) -> &str {
        &self.request_id
    }
}

fn request(amount: i64) -> Raise {
    Raise {
        request_id: Uuid::now_v7().to_string(),
        name: "apples".to_owned(),
        amount,
    }
}

/// As a handler does it.
async fn handle(db: &Db, caller: &Caller, request: &Raise) -> Result<Raised, Error> {
    match db.begin_once(caller, request).await? {
        Begun::Done(response) => Ok(response),
        Begun::New(mut tx) => {
            let total = raise(&mut tx, &request.name, request.amount).await?;
            let response = Raised { total };
            tx.finish(&response).await?;
            Ok(response)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_twice_at_once_has_one_effect_and_one_answer() {
    let db = test_db().await;
    // One replica is never evidence; they share their key as replicas do.
    let mut vars = db.vars();
    vars.insert("SEAL_KEY".to_owned(), platform_testkit::secret());
    let replicas = [service(vars.clone()).await, service(vars).await];
    for round in 1..=20 {
        let request = request(1);
        let barrier = Arc::new(Barrier::new(4));
        let calls = [0, 1, 0, 1].map(|replica| {
            let (db, request) = (replicas[replica].db.clone(), request.clone());
            let barrier = barrier.clone();
            tokio::spawn(async move {
                barrier.wait().await;
                handle(&db, &Caller::Nobody, &request).await.unwrap().total
            })
        });
        for call in calls {
            assert_eq!(call.await.unwrap(), round);
        }
        assert_eq!(total(&db, "apples").await, Some(round));
    }
}

#[tokio::test]
async fn another_body_under_the_same_id_is_a_conflict() {
    let db = test_db().await;
    let service = service(db.vars()).await;
    let first = request(1);
    handle(&service.db, &Caller::Nobody, &first).await.unwrap();

    let second = Raise { amount: 2, ..first };
    let refused = handle(&service.db, &Caller::Nobody, &second).await;
    let status = Status::from(refused.unwrap_err());
    assert!(Details::is(&status, PlatformReason::RequestIdReused));
    assert_eq!(total(&db, "apples").await, Some(1));
}

#[tokio::test]
async fn a_request_that_failed_can_be_tried_again() {
    let db = test_db().await;
    let service = service(db.vars()).await;
    let request = request(1);
    let begun = service.db.begin_once(&Caller::Nobody, &request).await;
    let Ok(Begun::New(mut tx)) = begun else {
        panic!("the request is new");
    };
    raise(&mut tx, "apples", 100).await.unwrap();
    drop(tx);

    let answer = handle(&service.db, &Caller::Nobody, &request).await;
    assert_eq!(answer.unwrap().total, 1);
}

#[tokio::test]
async fn people_do_not_share_request_ids() {
    let db = test_db().await;
    let service = service(db.vars()).await;
    let issuer = Issuer::start().await;
    let request = request(1);
    for expected in 1..=3 {
        let caller = user(&issuer).await;
        let answer = handle(&service.db, &caller, &request).await.unwrap();
        assert_eq!(answer.total, expected);
    }
}

#[tokio::test]
async fn an_id_that_is_no_uuid_is_an_invalid_field() {
    let db = test_db().await;
    let service = service(db.vars()).await;
    for request_id in ["", "1", "00000000-0000-0000-0000-000000000000", "\u{0}"] {
        let request = Raise {
            request_id: request_id.to_owned(),
            ..request(1)
        };
        let refused = handle(&service.db, &Caller::Nobody, &request).await;
        let status = Status::from(refused.unwrap_err());
        assert!(Details::is(&status, PlatformReason::FieldInvalid));
        assert_eq!(Details::of(&status).violations[0].0, "request_id");
    }
}

#[tokio::test]
async fn a_request_costs_four_statements_and_its_own() {
    let db = test_db().await;
    let mut proxy = Proxy::new(&db).await;
    proxy.start().await;
    let mut vars = db.vars();
    vars.insert("DATABASE_URL".to_owned(), proxy.url(&db));
    let service = service(vars).await;
    handle(&service.db, &Caller::Nobody, &request(1))
        .await
        .unwrap();

    let before = proxy.statements();
    let request = request(1);
    handle(&service.db, &Caller::Nobody, &request)
        .await
        .unwrap();
    assert_eq!(proxy.statements() - before, 4 + 1);

    let before = proxy.statements();
    handle(&service.db, &Caller::Nobody, &request)
        .await
        .unwrap();
    // Begin, insert, select, and the rollback that follows in its own time.
    assert!((3..=4).contains(&(proxy.statements() - before)));
}

#[tokio::test]
async fn old_request_ids_are_deleted_in_batches() {
    let db = test_db().await;
    let service = service(db.vars()).await;
    for _ in 0..5 {
        handle(&service.db, &Caller::Nobody, &request(1))
            .await
            .unwrap();
    }
    let middle = platform::time::now();
    let kept = request(1);
    handle(&service.db, &Caller::Nobody, &kept).await.unwrap();

    let deleted = once::delete_before(service.db.pool(), middle, 2).await;
    assert_eq!(deleted.unwrap(), 5);
    let again = handle(&service.db, &Caller::Nobody, &kept).await;
    assert_eq!(again.unwrap().total, 6, "the younger one is still there");
}
