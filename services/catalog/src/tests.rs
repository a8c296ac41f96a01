//! Tests through the RPCs, two replicas on one database.

mod access;
mod cache;
mod events;
mod faults;
mod lists;
mod offers;
mod process;
mod search;
mod votes;

use std::sync::atomic::{AtomicUsize, Ordering};

use api::homeward::catalog::v1::{
    CreateOfferRequest, Offer, OfferKind, PublishOfferRequest, RetireOfferRequest,
    catalog_service_client::CatalogServiceClient,
};
use api::homeward::r#type::v1::Money;
use platform::Running;
use platform::error::Details;
use platform_testkit::{Issuer, Kafka, TestDb, Vars};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use uuid::Uuid;

type Client = CatalogServiceClient<Channel>;

struct World {
    db: TestDb,
    issuer: Issuer,
    replicas: [Running; 2],
    clients: [Client; 2],
    turn: AtomicUsize,
}

/// A user with a token.
struct Person {
    organisation: Option<Uuid>,
    token: String,
}

impl World {
    async fn start() -> World {
        World::start_with(Vars::new()).await
    }

    async fn start_on(kafka: &Kafka) -> World {
        World::start_with(kafka.vars()).await
    }

    async fn start_with(own: Vars) -> World {
        World::start_each([own.clone(), own]).await
    }

    /// With variables for each replica.
    async fn start_each(own: [Vars; 2]) -> World {
        let db = platform_testkit::db(crate::MIGRATORS).await;
        let issuer = Issuer::start().await;
        let mut vars = vars(&db, &issuer);
        vars.extend(platform_testkit::redis().vars());
        let [one, two] = own.map(|own| vars.clone().into_iter().chain(own).collect());
        let replicas = [replica(one).await, replica(two).await];
        let clients = replicas.each_ref().map(|replica| {
            let url = format!("http://{}", replica.grpc.unwrap());
            Client::new(Endpoint::from_shared(url).unwrap().connect_lazy())
        });
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

    fn voter(&self) -> Person {
        let token = self.issuer.user("user-mover");
        Person {
            organisation: None,
            token: token.sign(),
        }
    }

    /// The owner of a new business.
    fn seller(&self) -> Person {
        self.colleague(Uuid::now_v7(), "owner")
    }

    fn colleague(&self, organisation: Uuid, role: &str) -> Person {
        let token = self
            .issuer
            .user("user-business")
            .organisation(organisation, role);
        Person {
            organisation: Some(organisation),
            token: token.sign(),
        }
    }

    async fn draft(&self, seller: &Person) -> Offer {
        self.create(seller, new_offer()).await
    }

    async fn create(&self, seller: &Person, offer: CreateOfferRequest) -> Offer {
        let response = self.client().create_offer(seller.ask(offer)).await.unwrap();
        response.into_inner().offer.unwrap()
    }

    async fn publish(&self, seller: &Person, offer: &Offer) -> Offer {
        let request = PublishOfferRequest {
            request_id: id(),
            offer_id: offer.id.clone(),
            expected_version: None,
        };
        let response = self
            .client()
            .publish_offer(seller.ask(request))
            .await
            .unwrap();
        response.into_inner().offer.unwrap()
    }

    async fn published(&self, seller: &Person) -> Offer {
        let offer = self.draft(seller).await;
        self.publish(seller, &offer).await
    }

    async fn retire(&self, seller: &Person, offer: &Offer) -> Offer {
        let request = RetireOfferRequest {
            request_id: id(),
            offer_id: offer.id.clone(),
            expected_version: None,
        };
        let response = self
            .client()
            .retire_offer(seller.ask(request))
            .await
            .unwrap();
        response.into_inner().offer.unwrap()
    }
}

impl Person {
    fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", token);
        request
    }
}

fn vars(db: &TestDb, issuer: &Issuer) -> Vars {
    let mut vars = issuer.vars();
    vars.extend(db.vars());
    vars.insert("SEAL_KEY".to_owned(), platform_testkit::secret());
    vars
}

async fn replica(vars: Vars) -> Running {
    platform_testkit::start("catalog", crate::start, vars).await
}

fn id() -> String {
    Uuid::now_v7().to_string()
}

fn eur(amount_minor: i64) -> Option<Money> {
    Some(Money {
        amount_minor,
        currency_code: "EUR".to_owned(),
    })
}

fn new_offer() -> CreateOfferRequest {
    CreateOfferRequest {
        request_id: id(),
        title: "Two movers with a van".to_owned(),
        description: "Half a day.\nBlankets included.".to_owned(),
        kind: OfferKind::Crew.into(),
        area: "berlin-mitte".to_owned(),
        price: eur(18900),
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
