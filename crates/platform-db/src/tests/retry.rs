use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Barrier;

use super::{raise, service, test_db, total};
use crate::retry;

#[tokio::test(flavor = "multi_thread")]
async fn two_transactions_that_deadlock_both_succeed_in_the_end() {
    let db = test_db().await;
    let service = service(db.vars()).await;
    let mut tx = service.db.begin().await.unwrap();
    for name in ["apples", "pears"] {
        raise(&mut tx, name, 1).await.unwrap();
    }
    tx.commit().await.unwrap();

    let attempts = Arc::new(AtomicU32::new(0));
    let meet = Arc::new(Barrier::new(2));
    let tasks = [["apples", "pears"], ["pears", "apples"]].map(|names| {
        let (db, attempts, meet) = (service.db.clone(), attempts.clone(), meet.clone());
        tokio::spawn(async move {
            retry(|| async {
                let mut tx = db.begin().await?;
                raise(&mut tx, names[0], 1).await?;
                // Only the first attempts meet each other.
                if attempts.fetch_add(1, Ordering::SeqCst) < 2 {
                    meet.wait().await;
                }
                raise(&mut tx, names[1], 1).await?;
                tx.commit().await
            })
            .await
        })
    });
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert!(attempts.load(Ordering::SeqCst) > 2, "nobody lost");
    assert_eq!(total(&db, "apples").await, Some(3));
    assert_eq!(total(&db, "pears").await, Some(3));
}

#[tokio::test]
async fn another_failure_is_not_tried_again() {
    let attempts = AtomicU32::new(0);
    let result: sqlx::Result<()> = retry(|| async {
        attempts.fetch_add(1, Ordering::SeqCst);
        Err(sqlx::Error::RowNotFound)
    })
    .await;
    result.unwrap_err();
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}
