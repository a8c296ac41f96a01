//! From an event to the verifiers of every replica.

use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::auth::{Caller, Verifier};
use platform::config::AuthArgs;
use platform_contract::Event;
use platform_events::broadcast::Window;
use platform_events::{Broadcast, REVOCATIONS_AGE, revocations, revoking};
use platform_testkit::{Issuer, until};
use uuid::Uuid;

use crate::support::{Bench, EVENTS, Raw, ThingEnded};

/// What the platform promises.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(2);

fn verifier(issuer: &Issuer) -> Arc<Verifier> {
    let vars = issuer.vars();
    Arc::new(Verifier::new(&AuthArgs {
        issuer_url: issuer.url(),
        jwks_url: None,
        token_audience: vars["TOKEN_AUDIENCE"].clone(),
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_ends_what_rests_on_it_at_every_replica_within_two_seconds() {
    let bench = Bench::new().await;
    bench.make_topics().await;
    let issuer = Issuer::start().await;
    let [of_its_own, shared] = [(); 2].map(|()| verifier(&issuer));
    let window = Window {
        age: REVOCATIONS_AGE,
        ..Window::default()
    };
    let broadcast =
        Broadcast::new(EVENTS, &[ThingEnded::TOPIC], window).each(revoking(shared.clone()));
    let told = of_its_own.clone();
    let _replica = bench
        .replica(|rt, _, kafka| {
            let reader = broadcast.clone();
            rt.spawn("broadcast", {
                let kafka = kafka.clone();
                move |stop| reader.run(kafka, stop)
            });
            rt.spawn("revocations", move |stop| {
                revocations(kafka, told, EVENTS, stop)
            });
        })
        .await;

    let end = async |user: Uuid, session: Uuid, version| {
        let event = ThingEnded {
            thing_id: user.to_string(),
            version,
            note: session.to_string(),
        };
        bench.produce::<ThingEnded>(vec![Raw::good(&event)]).await;
    };
    let token = issuer.user("user-mover");
    let (user, bearer) = (token.user_id(), token.sign());
    let Caller::User(caller) = of_its_own.verify(&bearer).await.unwrap() else {
        panic!("a user");
    };
    // Both listen from here on: what counts is the time from an event to its effect.
    let first = issuer.user("user-mover").id(user).sign();
    let Caller::User(before) = of_its_own.verify(&first).await.unwrap() else {
        panic!("a user");
    };
    end(user, before.session_id, 1).await;
    until("both to listen", async || {
        let heard = [of_its_own.verify(&first).await, shared.verify(&first).await];
        heard.iter().all(Result::is_err).then_some(())
    })
    .await;

    let session = caller.session_id;
    let caller = Caller::User(caller);
    let ends = [&of_its_own, &shared].map(|verifier| tokio::spawn(verifier.lapse(&caller)));
    let since = Instant::now();
    end(user, session, 2).await;
    for end in ends {
        let status = tokio::time::timeout(Duration::from_secs(20), end).await;
        assert_eq!(
            status.unwrap().unwrap().code(),
            tonic::Code::Unauthenticated
        );
        assert!(since.elapsed() < CUT_OFF_WITHIN, "{:?}", since.elapsed());
    }
    for verifier in [&of_its_own, &shared] {
        verifier.verify(&bearer).await.unwrap_err();
    }
}
