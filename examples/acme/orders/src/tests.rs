//! Two replicas on one database and one log.

use acme_api::acme::orders::v1::{
    OrderPlaced, PlaceOrderRequest, orders_service_client::OrdersServiceClient,
};
use platform::Running;
use platform::error::Details;
use platform_testkit::{Issuer, Vars, kafka, until};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use uuid::Uuid;

type Client = OrdersServiceClient<Channel>;

fn client(replica: &Running) -> Client {
    let url = format!("http://{}", replica.grpc.unwrap());
    Client::new(Endpoint::from_shared(url).unwrap().connect_lazy())
}

async fn place(
    mut client: Client,
    token: &str,
    request: PlaceOrderRequest,
) -> Result<String, Status> {
    let mut request = Request::new(request);
    if !token.is_empty() {
        let token = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", token);
    }
    Ok(client.place_order(request).await?.into_inner().order_id)
}

fn order(item: &str) -> PlaceOrderRequest {
    PlaceOrderRequest {
        request_id: Uuid::now_v7().to_string(),
        item: item.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_placed_said_and_heard_once_under_acmes_own_names() {
    let (db, issuer, kafka) = (
        platform_testkit::db(crate::MIGRATORS).await,
        Issuer::start().await,
        kafka(),
    );
    let mut vars: Vars = issuer.vars();
    vars.extend(db.vars());
    vars.extend(kafka.vars());
    vars.insert("SEAL_KEY".to_owned(), platform_testkit::secret());
    let replicas = [
        platform_testkit::start("orders", crate::start, vars.clone()).await,
        platform_testkit::start("orders", crate::start, vars).await,
    ];
    let customer = issuer.user("user-customer").sign();

    // The same order at either replica, another one, and what is refused.
    let anvil = order("anvil");
    let mut ids = Vec::new();
    for replica in [0, 1, 0] {
        ids.push(
            place(client(&replicas[replica]), &customer, anvil.clone())
                .await
                .unwrap(),
        );
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    ids.push(
        place(client(&replicas[1]), &customer, order("anvil"))
            .await
            .unwrap(),
    );
    let stranger = issuer.user("user-mover").sign();
    for (token, item, reason) in [
        ("", "anvil", "TOKEN_MISSING"),
        (&stranger, "anvil", "ROLE_REQUIRED"),
        (&customer, "An anvil", "FIELD_INVALID"),
    ] {
        let refused = place(client(&replicas[0]), token, order(item)).await;
        let details = Details::of(&refused.unwrap_err());
        assert_eq!(details.reason.as_deref(), Some(reason));
        assert_eq!(details.domain.as_deref(), Some("orders.acme"));
    }

    let said = kafka.said::<OrderPlaced>(&db).await;
    let mut told: Vec<_> = said.iter().map(|said| said.key.clone()).collect();
    told.sort();
    let mut expected = [ids[0].clone(), ids[3].clone()];
    expected.sort();
    assert_eq!(told, expected);
    for said in &said {
        assert_eq!((said.name.as_str(), said.version), ("order.placed", 1));
        assert_eq!(said.headers["ce_source"], "/acme/orders");
        assert_eq!(said.headers["ce_dataschema"], "acme.orders.v1.OrderPlaced");
        assert_eq!(said.event::<OrderPlaced>().item, "anvil");
    }
    let mut conn = db.connect().await;
    until("both orders to be heard", async || {
        let heard: Vec<(String, i64)> = sqlx::query_as("SELECT item, orders FROM items")
            .fetch_all(&mut conn)
            .await
            .unwrap();
        (heard == [("anvil".to_owned(), 2)]).then_some(())
    })
    .await;
    platform_testkit::queries::assert_match(&db, env!("CARGO_MANIFEST_DIR")).await;
}

#[test]
fn the_command_line_is_well_formed() {
    platform::config::debug_assert::<crate::Config>();
}
