use api::homeward::catalog::v1::{
    BatchGetOffersRequest, CATALOG_SERVICE, CastVoteRequest, GetOfferRequest, GetVotesRequest,
    ListOffersRequest, OfferFilter, OfferPatch, RetractVoteRequest, UpdateOfferRequest, VoteValue,
};
use platform_testkit::access::{Call, Principal, check_grpc};
use prost_types::FieldMask;

use super::*;

#[tokio::test]
async fn every_method_answers_everybody_as_the_table_says() {
    let world = World::start().await;
    let seller = world.seller();
    let addresses = world
        .replicas
        .each_ref()
        .map(|replica| replica.grpc.unwrap());

    check_grpc(
        include_str!("../../access.tsv"),
        &[&CATALOG_SERVICE],
        &addresses,
        async |method, principal| {
            let call = match method.name {
                "CreateOffer" => Call::new(&new_offer()),
                "UpdateOffer" => Call::new(&UpdateOfferRequest {
                    request_id: id(),
                    offer_id: world.draft(&seller).await.id,
                    patch: Some(OfferPatch {
                        title: "Three movers".to_owned(),
                        ..Default::default()
                    }),
                    update_mask: Some(FieldMask {
                        paths: vec!["title".to_owned()],
                    }),
                    expected_version: None,
                }),
                "PublishOffer" => Call::new(&PublishOfferRequest {
                    request_id: id(),
                    offer_id: world.draft(&seller).await.id,
                    expected_version: None,
                }),
                "RetireOffer" => Call::new(&RetireOfferRequest {
                    request_id: id(),
                    offer_id: world.draft(&seller).await.id,
                    expected_version: None,
                }),
                "GetOffer" => Call::new(&GetOfferRequest {
                    offer_id: world.draft(&seller).await.id,
                }),
                "BatchGetOffers" => Call::new(&BatchGetOffersRequest {
                    ids: vec![world.draft(&seller).await.id],
                }),
                "ListOffers" => Call::new(&ListOffersRequest {
                    filter: Some(OfferFilter {
                        own: true,
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                "GetVotes" => Call::new(&GetVotesRequest {
                    offer_id: world.draft(&seller).await.id,
                }),
                "CastVote" => Call::new(&CastVoteRequest {
                    request_id: id(),
                    offer_id: world.published(&seller).await.id,
                    value: VoteValue::Up.into(),
                }),
                "RetractVote" => Call::new(&RetractVoteRequest {
                    request_id: id(),
                    offer_id: world.published(&seller).await.id,
                }),
                other => panic!("no request for {other}"),
            };
            // A vote asks for a role that every ordinary user has; an operator alone does not.
            let wrong_role = world.issuer.user("user-mover").roles(&["operator"]);
            call.token(match principal {
                Principal::Nobody => None,
                Principal::WrongRole => Some(wrong_role.sign()),
                Principal::OtherOrganisation => Some(world.seller().token),
                Principal::Expired => {
                    let token = world
                        .issuer
                        .user("user-business")
                        .organisation(seller.organisation.unwrap(), "owner");
                    Some(token.expired().sign())
                }
                Principal::RightRole => Some(seller.token.clone()),
                Principal::System => Some(world.issuer.system("bff").sign()),
            })
        },
    )
    .await;
}
