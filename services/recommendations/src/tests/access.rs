use platform_testkit::access::{Call, Principal, check_grpc};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_method_answers_everybody_as_the_table_says() {
    let world = World::start().await;
    world
        .hear([published(Uuid::now_v7(), 1, "berlin-mitte")])
        .await;
    let addresses = world
        .replicas
        .each_ref()
        .map(|replica| replica.grpc.unwrap());

    check_grpc(
        include_str!("../../access.tsv"),
        &[&RECOMMENDATIONS_SERVICE],
        &addresses,
        async |method, principal| {
            let call = match method.name {
                "GetOfferOfTheDay" => Call::new(&GetOfferOfTheDayRequest {
                    area: "berlin-mitte".to_owned(),
                }),
                other => panic!("no request for {other}"),
            };
            let business = || {
                world
                    .issuer
                    .user("user-business")
                    .organisation(Uuid::now_v7(), "owner")
            };
            call.token(match principal {
                Principal::Nobody => None,
                Principal::WrongRole => {
                    Some(world.issuer.user("user-mover").roles(&["operator"]).sign())
                }
                Principal::OtherOrganisation => Some(business().sign()),
                Principal::Expired => Some(business().expired().sign()),
                Principal::RightRole => Some(world.issuer.user("user-mover").sign()),
                Principal::System => Some(world.issuer.system("bff").sign()),
            })
        },
    )
    .await;
}
