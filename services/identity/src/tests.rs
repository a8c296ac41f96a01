//! Through gRPC and a real database; what is about sessions, keys and access with two replicas.

mod access;
mod accounts;
mod audit;
mod events;
mod import;
mod invitations;
mod keys;
mod members;
mod process;
mod revocation;
mod roles;
mod rotation;
mod rotation_under_load;
mod sessions;
mod storm;
mod throttle;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use api::homeward::identity::v1::{
    ErrorReason, LoginRequest, LoginResponse, RegisterRequest, RegisterResponse, SessionTokens,
    UserKind, identity_service_client::IdentityServiceClient,
};
use chrono::TimeDelta;
use platform::{
    Running,
    auth::{Caller, Claims, Verifier},
    config::AuthArgs,
    error::Details,
    sealed::{Sealer, parse_key},
};
use platform_contract::Reason;
use platform_testkit::{Kafka, NO_BROKER, TestDb, Vars};
use sqlx::PgConnection;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Code, Request, Status, transport::Channel};
use uuid::Uuid;

use crate::{
    Config, MIGRATORS,
    keys::{Keys, Set},
    start,
    tokens::{TokenArgs, Tokens},
};

const PASSWORD: &str = "correct horse battery";

/// Two replicas on one database, and a key set that both find: that of their database.
struct World {
    db: TestDb,
    vars: Vars,
    replicas: Vec<Running>,
    next: AtomicUsize,
    auth: AuthArgs,
    /// Makes tokens as the replicas do, for whom and when a test wants.
    tokens: Tokens,
    _key_set: Stops,
}

struct Stops(JoinHandle<()>);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl World {
    async fn start() -> World {
        World::start_with(&[]).await
    }

    async fn start_on(kafka: &Kafka) -> World {
        let vars = kafka.vars();
        let vars = vars
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        World::start_with(&Vec::from_iter(vars)).await
    }

    async fn start_with(vars: &[(&str, &str)]) -> World {
        let db = platform_testkit::db(MIGRATORS).await;
        let seal_key = platform_testkit::secret();
        let sealer = Sealer::from_keys(parse_key(&seal_key).unwrap(), None);
        let keys = Arc::new(Keys::new());
        let now = platform::time::now();
        keys.replace(
            Set::load(&mut db.connect().await, &sealer, now)
                .await
                .unwrap(),
        );

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let router = crate::http::router(keys.clone(), &issuer);
        let key_set = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

        let auth = AuthArgs {
            issuer_url: issuer.clone(),
            jwks_url: None,
            token_audience: "api".to_owned(),
        };
        let ttl = TokenArgs {
            access_token_ttl: std::time::Duration::from_secs(600),
            refresh_token_ttl: std::time::Duration::from_secs(3600),
        };
        let tokens = Tokens::new(keys, sealer, &auth, &ttl).unwrap();

        let mut all = settings();
        all.extend(db.vars());
        all.insert("SEAL_KEY".to_owned(), seal_key);
        all.insert("ISSUER_URL".to_owned(), issuer);
        for (name, value) in vars {
            all.insert((*name).to_owned(), (*value).to_owned());
        }
        let replicas = vec![replica(&all).await, replica(&all).await];
        World {
            db,
            vars: all,
            replicas,
            next: AtomicUsize::new(0),
            auth,
            tokens,
            _key_set: Stops(key_set),
        }
    }

    /// A client of one replica and then of the other.
    fn client(&self) -> IdentityServiceClient<Channel> {
        let next = self.next.fetch_add(1, Ordering::SeqCst);
        self.client_of(next % self.replicas.len())
    }

    fn client_of(&self, replica: usize) -> IdentityServiceClient<Channel> {
        let addr = self.replicas[replica].grpc.unwrap();
        let endpoint = Channel::from_shared(format!("http://{addr}")).unwrap();
        IdentityServiceClient::new(endpoint.connect_lazy())
    }

    async fn connect(&self) -> PgConnection {
        self.db.connect().await
    }

    async fn register(&self, kind: UserKind) -> Person {
        let request = registration(kind);
        let response = self.client().register(request.clone()).await.unwrap();
        Person {
            email: request.email,
            registered: response.into_inner(),
        }
    }

    async fn login(&self, person: &Person) -> Session {
        let response = self.client().login(person.login()).await.unwrap();
        Session::of(response.into_inner())
    }

    async fn somebody(&self, kind: UserKind) -> (Person, Session) {
        let person = self.register(kind).await;
        let session = self.login(&person).await;
        (person, session)
    }

    /// Who a token is believed to be, by what every service uses.
    async fn verify(&self, token: &str) -> Result<Caller, Status> {
        Verifier::new(&self.auth).verify(token).await
    }

    /// Returns once as many statements wait for a lock.
    async fn until_waiting(&self, count: i64) {
        let mut conn = self.connect().await;
        platform_testkit::until("statements to wait for a lock", async || {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*)
                FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_one(&mut conn)
            .await
            .unwrap();
            (waiting == count).then_some(())
        })
        .await;
    }

    /// `version` and `access_version`.
    async fn versions(&self, user_id: &str) -> (i64, i64) {
        sqlx::query_as("SELECT version, access_version FROM users WHERE id = $1")
            .bind(Uuid::try_parse(user_id).unwrap())
            .fetch_one(&mut self.connect().await)
            .await
            .unwrap()
    }
}

/// Cheap passwords, and what every replica needs.
fn settings() -> Vars {
    [
        ("PASSWORD_MEMORY_KIB", "64"),
        ("PASSWORD_PASSES", "1"),
        ("KAFKA_BROKERS", NO_BROKER),
        (
            "SERVICE_SECRETS",
            "catalog=0123456789abcdef,bff=fedcba9876543210",
        ),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

async fn replica(vars: &Vars) -> Running {
    platform_testkit::start::<Config, _>("identity", start, vars.clone()).await
}

struct Person {
    email: String,
    registered: RegisterResponse,
}

impl Person {
    fn id(&self) -> &str {
        &self.registered.user_id
    }

    fn organisation(&self) -> &str {
        &self.registered.organisation_id
    }

    fn login(&self) -> LoginRequest {
        LoginRequest {
            email: self.email.clone(),
            password: PASSWORD.to_owned(),
            organisation_id: String::new(),
        }
    }
}

#[derive(Clone)]
struct Session {
    access: String,
    refresh: String,
}

impl Session {
    fn of(response: LoginResponse) -> Session {
        Session::from(response.tokens.unwrap())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        authorized(&self.access, message)
    }

    fn claims(&self) -> Claims {
        claims(&self.access)
    }
}

impl From<SessionTokens> for Session {
    fn from(tokens: SessionTokens) -> Session {
        Session {
            access: tokens.access_token,
            refresh: tokens.refresh_token,
        }
    }
}

fn authorized<T>(access_token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {access_token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn claims(access_token: &str) -> Claims {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims = access_token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// A valid request, for somebody new.
fn registration(kind: UserKind) -> RegisterRequest {
    let business = kind == UserKind::Business;
    RegisterRequest {
        request_id: request_id(),
        email: email(),
        password: PASSWORD.to_owned(),
        display_name: "Ada Lovelace".to_owned(),
        kind: kind.into(),
        organisation_name: if business {
            "Ada's Vans".to_owned()
        } else {
            String::new()
        },
    }
}

fn email() -> String {
    format!("{}@example.org", Uuid::now_v7().simple())
}

fn request_id() -> String {
    Uuid::now_v7().to_string()
}

#[track_caller]
fn assert_refused<T>(answer: Result<T, Status>, reason: impl Reason) -> Details {
    let status = answer.err().expect("a refusal");
    let details = Details::of(&status);
    assert_eq!(details.reason.as_deref(), Some(reason.word()), "{status:?}");
    assert_eq!(status.code(), Code::from_i32(reason.code() as i32));
    details
}

/// FIELD_INVALID with exactly these fields.
#[track_caller]
fn assert_invalid<T>(answer: Result<T, Status>, fields: &[&str]) {
    let details = assert_refused(answer, platform_contract::PlatformReason::FieldInvalid);
    let named: Vec<_> = details
        .violations
        .iter()
        .map(|(field, _)| field.as_str())
        .collect();
    assert_eq!(named, fields);
}
