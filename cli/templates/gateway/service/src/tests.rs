//! Tests through the RPCs, two replicas on one database.

mod access;
mod changes;
@if events@
mod events;
@end@
mod faults;
mod lists;
mod process;

use std::sync::atomic::{AtomicUsize, Ordering};

use api::homeward::@module@::v1::{
    Create@Entity@Request, @Entity@, Rename@Entity@Request, @module@_service_client::@Service@ServiceClient,
};
use platform::Running;
use platform::error::Details;
use platform_testkit::{Issuer, TestDb, Vars};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use uuid::Uuid;

type Client = @Service@ServiceClient<Channel>;

struct World {
    db: TestDb,
    issuer: Issuer,
    replicas: [Running; 2],
    clients: [Client; 2],
    turn: AtomicUsize,
}

/// A user with a token.
struct User {
    id: Uuid,
    token: String,
}

impl World {
    async fn start() -> World {
        World::with(Vars::new()).await
    }

    async fn with(own: Vars) -> World {
        let db = platform_testkit::db(crate::MIGRATORS).await;
        let issuer = Issuer::start().await;
        let mut vars = vars(&db, &issuer);
        vars.extend(own);
        let replicas = [replica(vars.clone()).await, replica(vars).await];
        let clients = replicas
            .each_ref()
            .map(|replica| client(&format!("http://{}", replica.grpc.unwrap())));
        World {
            db,
            issuer,
            replicas,
            clients,
            turn: AtomicUsize::new(0),
        }
    }

    /// The replicas take turns.
    fn client(&self) -> Client {
        self.clients[self.turn.fetch_add(1, Ordering::Relaxed) % 2].clone()
    }

    fn user(&self) -> User {
        user(&self.issuer)
    }

    async fn create(&self, user: &User, name: &str) -> @Entity@ {
        let created = self.client().create_@entity@(user.ask(creation(name))).await;
        created.unwrap().into_inner().@entity@.unwrap()
    }

    async fn rename(&self, user: &User, request: Rename@Entity@Request) -> Result<@Entity@, Status> {
        let renamed = self.client().rename_@entity@(user.ask(request)).await?;
        Ok(renamed.into_inner().@entity@.unwrap())
    }
}

impl User {
    fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", token);
        request
    }
}

fn user(issuer: &Issuer) -> User {
    let token = issuer.user("user-mover");
    User {
        id: token.user_id(),
        token: token.sign(),
    }
}

fn vars(db: &TestDb, issuer: &Issuer) -> Vars {
    let mut vars = issuer.vars();
    vars.extend(db.vars());
    vars.insert("SEAL_KEY".to_owned(), platform_testkit::secret());
    vars
}

async fn replica(vars: Vars) -> Running {
    platform_testkit::start(crate::NAME, crate::start, vars).await
}

fn client(url: &str) -> Client {
    Client::new(Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy())
}

fn request_id() -> String {
    Uuid::now_v7().to_string()
}

fn creation(name: &str) -> Create@Entity@Request {
    Create@Entity@Request {
        request_id: request_id(),
        name: name.to_owned(),
    }
}

fn renaming(@entity@: &@Entity@, name: &str) -> Rename@Entity@Request {
    Rename@Entity@Request {
        request_id: request_id(),
        @entity@_id: @entity@.id.clone(),
        name: name.to_owned(),
        expected_version: None,
    }
}

fn reason(status: &Status) -> String {
    let details = Details::of(status);
    details
        .reason
        .unwrap_or_else(|| panic!("no reason in {status:?}"))
}

/// The reason of a refusal.
fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    reason(&result.unwrap_err())
}
