//! Keys change under load, and nobody notices.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use api::homeward::{
    catalog::v1::{GetOfferRequest, catalog_service_client::CatalogServiceClient},
    identity::v1::{GetViewerRequest, RefreshSessionRequest},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use platform_testkit::Stack;
use tokio::task::JoinSet;

use super::*;
use crate::keys::command::{self, Action};

/// Requests under way at once, and the pause of each between two rounds.
const CLIENTS: usize = 4;
const ROUND: Duration = Duration::from_millis(50);
/// Verifiers look at the key set at most every 30 s, and replicas at the keys every 5 s.
const PUBLISHED_FOR: &str = "45s";

/// Every replica is a process of its own; so are the verifiers of another service.
struct Load {
    identity: [IdentityServiceClient<Channel>; 2],
    catalog: [CatalogServiceClient<Channel>; 2],
    /// Requests by the key of the token they came with.
    answered: Mutex<BTreeMap<String, usize>>,
    refused: Mutex<Vec<String>>,
}

impl Load {
    /// Refreshes a session on one replica, and shows its token to all, again and again.
    async fn round(&self, session: &mut Session, replica: usize) {
        let request = RefreshSessionRequest {
            refresh_token: session.refresh.clone(),
        };
        let mut client = self.identity[replica].clone();
        match client.refresh_session(request).await {
            Ok(answer) => *session = Session::from(answer.into_inner().tokens.unwrap()),
            Err(status) => return self.refuse("refresh", &status),
        }
        let kid = kid(&session.access);
        for client in &self.identity {
            let request = session.request(GetViewerRequest {});
            if let Err(status) = client.clone().get_viewer(request).await {
                self.refuse("identity", &status);
            }
        }
        for client in &self.catalog {
            let request = session.request(GetOfferRequest {
                offer_id: request_id(),
            });
            // Nobody has such an offer, and that is not the token's fault.
            let status = client.clone().get_offer(request).await.unwrap_err();
            if Details::of(&status).reason.as_deref() != Some("OFFER_NOT_FOUND") {
                self.refuse("catalog", &status);
            }
        }
        *self.answered.lock().unwrap().entry(kid).or_default() += 5;
    }

    fn refuse(&self, who: &str, status: &Status) {
        let mut refused = self.refused.lock().unwrap();
        refused.push(format!("{who}: {status:?}"));
    }
}

fn kid(access_token: &str) -> String {
    let header = access_token.split('.').next().unwrap();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn keys_rotate_under_load_and_no_request_is_refused() {
    let mut vars = settings();
    vars.remove("SERVICE_SECRETS");
    vars.insert("SEAL_KEY".to_owned(), platform_testkit::secret());
    vars.insert(
        "SIGNING_KEY_PUBLISHED_FOR".to_owned(),
        PUBLISHED_FOR.to_owned(),
    );
    let stack = Stack::of(["identity", "catalog"])
        .replicas("identity", 2)
        .replicas("catalog", 2)
        .vars("identity", vars.clone())
        .start()
        .await;
    let channel = |service, replica| {
        let url = format!("http://{}", stack.grpc_addr(service, replica));
        Channel::from_shared(url).unwrap().connect_lazy()
    };
    let load = Arc::new(Load {
        identity: [0, 1].map(|n| IdentityServiceClient::new(channel("identity", n))),
        catalog: [0, 1].map(|n| CatalogServiceClient::new(channel("catalog", n))),
        answered: Mutex::default(),
        refused: Mutex::default(),
    });
    let stop = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let mut client = load.identity[0].clone();
        let request = registration(UserKind::Mover);
        client.register(request.clone()).await.unwrap();
        let login = LoginRequest {
            email: request.email,
            password: PASSWORD.to_owned(),
            organisation_id: String::new(),
        };
        let mut session = Session::of(client.login(login).await.unwrap().into_inner());
        let (load, stop) = (load.clone(), stop.clone());
        clients.spawn(async move {
            let mut pace = tokio::time::interval(ROUND);
            let mut replica = number;
            while stop.load(Ordering::SeqCst) == 0 {
                pace.tick().await;
                replica += 1;
                load.round(&mut session, replica % 2).await;
            }
        });
    }
    let answered = async |keys: usize| {
        // As long as nothing is refused: else it is over.
        let within = Duration::from_secs(120);
        platform_testkit::until_within(within, "tokens of each key", async || {
            let answered = load.answered.lock().unwrap();
            let enough = answered.values().filter(|count| **count > 200).count() >= keys;
            let over = !load.refused.lock().unwrap().is_empty();
            (enough || over).then_some(())
        })
        .await;
    };
    answered(1).await;

    // As `homeward keys rotate` does it; a replica does the rest.
    let db = stack.db("identity");
    vars.extend(db.vars());
    vars.insert(
        "SERVICE_SECRETS".to_owned(),
        "x=0123456789abcdef".to_owned(),
    );
    vars.insert("ISSUER_URL".to_owned(), "http://127.0.0.1:1".to_owned());
    let config = platform::config::parse("identity", &vars).unwrap();
    let args = command::Args {
        action: Action::Rotate,
        json: false,
    };
    let begun = Instant::now();
    command::run(config, args).await.unwrap();
    answered(2).await;
    let took = begun.elapsed();
    stop.store(1, Ordering::SeqCst);
    clients.join_all().await;

    let refused = std::mem::take(&mut *load.refused.lock().unwrap());
    assert!(refused.is_empty(), "{refused:#?}");
    let answered = std::mem::take(&mut *load.answered.lock().unwrap());
    assert_eq!(answered.len(), 2, "{answered:?}");
    assert!(took > Duration::from_secs(45), "{took:?}");
    let states: Vec<String> =
        sqlx::query_scalar("SELECT state FROM signing_keys ORDER BY created_at")
            .fetch_all(&mut db.connect().await)
            .await
            .unwrap();
    assert_eq!(states, ["replaced", "signing"]);
}
