use api::homeward::catalog::v1::{GetVotesRequest, catalog_service_client::CatalogServiceClient};
use platform::error::Details;
use tonic::Request;
use tonic::transport::Endpoint;

use super::*;

/// What is no method here is refused alike, whoever asks for it.
#[tokio::test]
async fn there_is_nothing_to_ask_for_anybody() {
    let world = World::start().await;
    let user = world.issuer.user("user-business");
    let system = world.issuer.system("bff");
    for token in [None, Some(user.sign()), Some(system.sign())] {
        for replica in &world.replicas {
            let mut request = Request::new(GetVotesRequest::default());
            if let Some(token) = &token {
                let token = format!("Bearer {token}").parse().unwrap();
                request.metadata_mut().insert("authorization", token);
            }
            let url = format!("http://{}", replica.grpc.unwrap());
            let channel = Endpoint::from_shared(url).unwrap().connect_lazy();
            let answer = CatalogServiceClient::new(channel).get_votes(request).await;
            let reason = Details::of(&answer.unwrap_err()).reason;
            assert_eq!(reason.as_deref(), Some("METHOD_UNKNOWN"));
        }
    }
}
