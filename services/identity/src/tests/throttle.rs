use std::sync::Mutex;

use api::homeward::identity::v1::{GetViewerRequest, RefreshSessionRequest};
use platform_testkit::metric;
use sqlx::Connection as _;
use tokio::task::JoinSet;
use tracing::{Event, Metadata, Subscriber, field, span};

use super::*;
use crate::old_attempts_cleaner::clean;

pub(super) const HOME: &str = "192.0.2.1";
const OFFICE: &str = "198.51.100.7";

/// The request as the BFF sends it for a client at `address`.
pub(super) fn at<T>(address: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("x-client-address", address.parse().unwrap());
    metadata.insert("x-service-secret", "fedcba9876543210".parse().unwrap());
    request
}

fn named(email: &str, password: &str) -> LoginRequest {
    LoginRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        organisation_id: String::new(),
    }
}

/// How a login from `address` goes, on one replica and then on the other.
async fn try_login(
    world: &World,
    email: &str,
    password: &str,
    address: &str,
) -> Result<Session, Status> {
    let request = at(address, named(email, password));
    let answer = world.client().login(request).await?;
    Ok(Session::of(answer.into_inner()))
}

/// So many wrong guesses, each of which is looked at.
async fn guess(world: &World, email: &str, address: &str, times: usize) {
    for _ in 0..times {
        let wrong = try_login(world, email, "wrong", address).await;
        assert_refused(wrong, ErrorReason::CredentialsInvalid);
    }
}

/// As if all failures had been so much earlier; later, where it is negative.
async fn age(world: &World, seconds: i32) {
    sqlx::query(
        "UPDATE login_failures
        SET failed_at = failed_at - make_interval(secs => $1),
            forgotten_at = forgotten_at - make_interval(secs => $1)",
    )
    .bind(f64::from(seconds))
    .execute(&mut world.connect().await)
    .await
    .unwrap();
}

/// Makes every wait outlast the test.
async fn hold(world: &World) {
    age(world, -600).await;
}

async fn release(world: &World) {
    age(world, 600).await;
}

/// Passwords that both replicas have held against a hash, by any algorithm or by one.
pub(super) async fn checks(world: &World, labels: &[&str]) -> u64 {
    let mut checks = 0;
    for replica in &world.replicas {
        checks += metric(replica.admin, "password_checks_total", labels).await;
    }
    checks
}

async fn count(world: &World, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(&mut world.connect().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn after_five_failures_from_one_address_no_password_is_looked_at_for_a_while() {
    let world = World::start().await;
    let person = world.register(UserKind::Mover).await;
    guess(&world, &person.email, OFFICE, 5).await;
    hold(&world).await;
    let before = checks(&world, &[]).await;
    for _ in 0..3 {
        let right = try_login(&world, &person.email, PASSWORD, OFFICE).await;
        let details = assert_refused(right, ErrorReason::LoginThrottled);
        assert_eq!(details.retryable, Some(true));
        let wait = details.retry_after.unwrap().as_secs_f64();
        assert!((500.0..=601.0).contains(&wait), "{wait} s");
    }
    assert_eq!(checks(&world, &[]).await, before);
    assert_eq!(before, 5);

    // Refused tries made nothing worse: the wait is over when it was said to be.
    release(&world).await;
    age(&world, 1).await;
    guess(&world, &person.email, OFFICE, 1).await;
    hold(&world).await;
    let details = try_login(&world, &person.email, PASSWORD, OFFICE).await;
    let details = assert_refused(details, ErrorReason::LoginThrottled);
    assert!(details.retry_after.unwrap().as_secs_f64() <= 602.0);
    release(&world).await;
    age(&world, 2).await;
    try_login(&world, &person.email, PASSWORD, OFFICE)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_throttled_like_one_that_does() {
    let world = World::start().await;
    let person = world.register(UserKind::Mover).await;
    let mut seen = Vec::new();
    for name in [person.email, email()] {
        let mut answers = Vec::new();
        for round in 0..8 {
            if round == 5 {
                hold(&world).await;
            }
            let status = try_login(&world, &name, "wrong", OFFICE)
                .await
                .err()
                .unwrap();
            let reason = Details::of(&status).reason;
            answers.push((status.code(), status.message().to_owned(), reason));
        }
        release(&world).await;
        seen.push(answers);
    }
    assert_eq!(seen[0], seen[1]);
    let throttled = seen[0]
        .iter()
        .filter(|(code, ..)| *code == Code::ResourceExhausted);
    assert_eq!(throttled.count(), 3);
}

#[tokio::test]
async fn nobody_locks_another_person_out() {
    let world = World::start().await;
    let person = world.register(UserKind::Mover).await;
    let session = try_login(&world, &person.email, PASSWORD, HOME)
        .await
        .unwrap();
    for address in ["203.0.113.1", "203.0.113.2", "2001:db8::1", "2001:db8:1::1"] {
        guess(&world, &person.email, address, 5).await;
    }
    hold(&world).await;
    let stranger = try_login(&world, &person.email, PASSWORD, OFFICE).await;
    assert_refused(stranger, ErrorReason::LoginThrottled);
    let unknown = world.client().login(person.login()).await;
    assert_refused(unknown, ErrorReason::LoginThrottled);

    // Who has logged in from there before is let in, also after mistakes.
    for _ in 0..2 {
        guess(&world, &person.email, HOME, 7).await;
        try_login(&world, &person.email, PASSWORD, HOME)
            .await
            .unwrap();
    }
    // Sessions that are open stay as they are.
    let request = session.request(GetViewerRequest {});
    world.client().get_viewer(request).await.unwrap();
    let request = RefreshSessionRequest {
        refresh_token: session.refresh,
    };
    world.client().refresh_session(request).await.unwrap();
    // And everybody else is let in after a minute at the latest.
    release(&world).await;
    age(&world, 60).await;
    try_login(&world, &person.email, PASSWORD, OFFICE)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_address_that_tries_many_names_waits_and_others_do_not() {
    let world = World::start_with(&[("LOGIN_FAILURES_ADDRESS_MAX", "10")]).await;
    let regular = world.register(UserKind::Mover).await;
    let newcomer = world.register(UserKind::Mover).await;
    try_login(&world, &regular.email, PASSWORD, "2001:db8::1")
        .await
        .unwrap();
    for last in 1..=10 {
        // One customer has all of these.
        guess(&world, &email(), &format!("2001:db8::{last}"), 1).await;
    }
    hold(&world).await;
    let same = try_login(&world, &newcomer.email, PASSWORD, "2001:db8::99").await;
    assert_refused(same, ErrorReason::LoginThrottled);
    try_login(&world, &regular.email, PASSWORD, "2001:db8::99")
        .await
        .unwrap();
    try_login(&world, &newcomer.email, PASSWORD, OFFICE)
        .await
        .unwrap();
    world.client().login(newcomer.login()).await.unwrap();
}

#[tokio::test]
async fn tries_that_come_at_once_are_judged_one_after_the_other() {
    let world = World::start().await;
    let name = email();
    guess(&world, &name, OFFICE, 1).await;
    // Open now; after the next failure the wait is a minute.
    sqlx::query(
        "UPDATE login_failures
        SET failed_at = now() - interval '1 minute', forgotten_at = now() + interval '200 minutes'",
    )
    .execute(&mut world.connect().await)
    .await
    .unwrap();
    let mut conn = world.connect().await;
    let mut held = conn.begin().await.unwrap();
    sqlx::query("SELECT FROM login_failures FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();
    let mut tries = JoinSet::new();
    // Fewer than there are connections.
    for _ in 0..8 {
        let (mut client, request) = (world.client(), at(OFFICE, named(&name, "wrong")));
        tries.spawn(async move { client.login(request).await });
    }
    world.until_waiting(8).await;
    held.commit().await.unwrap();
    let answers = tries.join_all().await;
    let throttled = answers.into_iter().filter_map(Result::err);
    let throttled = throttled.filter(|status| Details::is(status, ErrorReason::LoginThrottled));
    assert_eq!(throttled.count(), 7);
    assert_eq!(checks(&world, &[]).await, 2);
}

#[tokio::test]
async fn a_right_password_counts_as_no_failure() {
    let world = World::start().await;
    let person = world.register(UserKind::Mover).await;
    for _ in 0..25 {
        world.login(&person).await;
    }
    for last in 1..=25 {
        let address = format!("203.0.113.{last}");
        try_login(&world, &person.email, PASSWORD, &address)
            .await
            .unwrap();
    }
    let not_theirs = LoginRequest {
        organisation_id: Uuid::now_v7().to_string(),
        ..named(&person.email, PASSWORD)
    };
    let refused = world.client().login(at("203.0.113.99", not_theirs)).await;
    assert_refused(refused, ErrorReason::OrganisationNotFound);
    let counted = "SELECT count(*) FROM login_failures WHERE forgotten_at > failed_at";
    assert_eq!(count(&world, counted).await, 0);
    let origins = "SELECT count(*) FROM login_origins";
    assert_eq!(
        count(&world, origins).await,
        20,
        "the latest are remembered"
    );
    guess(&world, &person.email, "203.0.113.6", 7).await;
    guess(&world, &person.email, "203.0.113.5", 5).await;
    hold(&world).await;
    let forgotten = try_login(&world, &person.email, "wrong", "203.0.113.5").await;
    assert_refused(forgotten, ErrorReason::LoginThrottled);
}

#[tokio::test]
async fn an_address_is_believed_from_the_trusted_service_only() {
    let world = World::start().await;
    let name = email();
    for secret in [None, Some("0123456789abcdef"), Some("")] {
        let mut request = at(OFFICE, named(&name, "wrong"));
        match secret {
            Some(secret) => {
                let secret = secret.parse().unwrap();
                request.metadata_mut().insert("x-service-secret", secret);
            }
            None => drop(request.metadata_mut().remove("x-service-secret")),
        }
        let answer = world.client().login(request).await;
        assert_refused(answer, ErrorReason::CredentialsInvalid);
    }
    guess(&world, &name, "nowhere", 1).await;
    let rows = "SELECT count(*) FROM login_failures";
    assert_eq!(count(&world, rows).await, 1, "the name's own");
    guess(&world, &name, OFFICE, 1).await;
    assert_eq!(count(&world, rows).await, 3, "address, name, and both");
}

#[tokio::test]
async fn old_attempts_are_forgotten_and_the_rest_is_bounded() {
    let world = World::start().await;
    let person = world.register(UserKind::Mover).await;
    try_login(&world, &person.email, PASSWORD, HOME)
        .await
        .unwrap();
    try_login(&world, &person.email, PASSWORD, OFFICE)
        .await
        .unwrap();
    let mut conn = world.connect().await;
    sqlx::raw_sql(
        "UPDATE login_origins SET seen_at = seen_at - interval '91 days'
        WHERE key = (SELECT key FROM login_origins ORDER BY seen_at LIMIT 1);
        DELETE FROM login_failures;
        INSERT INTO login_failures
        SELECT sha256(n::text::bytea), now(), now() + n * interval '1 minute'
        FROM generate_series(-1199, 30) AS n",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let now = platform::time::now();
    let gone = clean(&world.db.pool(), now, 10).await.unwrap();
    assert_eq!(gone, 1200 + 20 + 1);
    let kept =
        "SELECT count(*) FROM login_failures WHERE forgotten_at > now() + interval '20 minutes'";
    assert_eq!(count(&world, kept).await, 10, "what is forgotten last");
    assert_eq!(
        count(&world, "SELECT count(*) FROM login_failures").await,
        10
    );
    assert_eq!(count(&world, "SELECT count(*) FROM login_origins").await, 1);
    assert_eq!(clean(&world.db.pool(), now, 10).await.unwrap(), 0);
}

#[tokio::test]
async fn an_unknown_name_and_a_wrong_password_run_the_same_steps() {
    let world = World::start().await;
    let person = world.register(UserKind::Mover).await;
    let mut steps = Vec::new();
    for name in [person.email, email()] {
        for address in [Some(OFFICE), None] {
            let before = checks(&world, &["scheme=\"argon2id$v=19$m=64,t=1,p=1\""]).await;
            let mut request = match address {
                Some(address) => at(address, named(&name, "wrong")),
                None => Request::new(named(&name, "wrong")),
            };
            let recorder = Recorder::default();
            let trace = format!("00-{}-00f067aa0ba902b7-01", recorder.trace_id);
            request
                .metadata_mut()
                .insert("traceparent", trace.parse().unwrap());
            let statements = recorder.statements.clone();
            let recording = tracing::subscriber::set_default(recorder);
            let answer = world.client().login(request).await;
            drop(recording);
            assert_refused(answer, ErrorReason::CredentialsInvalid);
            let after = checks(&world, &["scheme=\"argon2id$v=19$m=64,t=1,p=1\""]).await;
            let statements = statements.lock().unwrap().clone();
            steps.push((after - before, statements));
        }
    }
    let [wrong, wrong_nowhere, unknown, unknown_nowhere] = &steps[..] else {
        panic!("{steps:?}");
    };
    assert_eq!(wrong, unknown);
    assert_eq!(wrong_nowhere, unknown_nowhere);
    assert_eq!((wrong.0, wrong_nowhere.0), (1, 1));
    let origin = wrong.1.len() - wrong_nowhere.1.len();
    assert_eq!(origin, 1, "an address is looked for: {wrong:?}");
    for table in ["login_failures", "users"] {
        assert!(
            wrong.1.iter().any(|statement| statement.contains(table)),
            "{wrong:?}"
        );
    }
    assert_eq!(checks(&world, &[]).await, 4, "and by nothing else");
}

/// Collects the statements that are run for one call, as sqlx logs them.
struct Recorder {
    trace_id: String,
    statements: Arc<Mutex<Vec<String>>>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            trace_id: Uuid::now_v7().simple().to_string(),
            statements: Arc::default(),
        }
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query" && !metadata.is_span()
    }

    fn event(&self, event: &Event<'_>) {
        let trace = platform::trace::try_current().map(|trace| trace.trace_id());
        if trace.as_ref() == Some(&self.trace_id) {
            let mut text = Text::default();
            event.record(&mut text);
            self.statements.lock().unwrap().push(text.0);
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The text of a statement; a short one has only a summary.
#[derive(Default)]
struct Text(String);

impl field::Visit for Text {
    fn record_str(&mut self, field: &field::Field, value: &str) {
        if ["summary", "db.statement"].contains(&field.name()) {
            self.0.push_str(value);
        }
    }

    fn record_debug(&mut self, _: &field::Field, _: &dyn std::fmt::Debug) {}
}
