use api::homeward::@module@::v1::{BatchGet@Entities@Request, List@Entities@Request, @SERVICE@_SERVICE};
use platform_testkit::access::{Call, Principal, check_grpc};

use super::*;

#[tokio::test]
async fn every_method_answers_everybody_as_the_table_says() {
    let world = World::start().await;
    let addresses = world.replicas.each_ref().map(|replica| replica.grpc.unwrap());
    let owner = world
        .issuer
        .user("user-business")
        .organisation(Uuid::now_v7(), "owner");
    let other = world
        .issuer
        .user("user-business")
        .organisation(Uuid::now_v7(), "owner");
    let user = User {
        id: owner.user_id(),
        token: owner.sign(),
    };

    check_grpc(
        include_str!("../../access.tsv"),
        &[&@SERVICE@_SERVICE],
        &addresses,
        async |method, principal| {
            let call = match method.name {
                "Create@Entity@" => Call::new(&creation("First")),
                "Rename@Entity@" => Call::new(&renaming(&world.create(&user, "First").await, "Second")),
                "BatchGet@Entities@" => Call::new(&BatchGet@Entities@Request {
                    ids: vec![world.create(&user, "First").await.id],
                }),
                "List@Entities@" => Call::new(&List@Entities@Request::default()),
                unknown => panic!("no request for {unknown}"),
            };
            call.token(match principal {
                Principal::Nobody => None,
                Principal::WrongRole => Some(owner.clone().roles(&["operator"]).sign()),
                Principal::OtherOrganisation => Some(other.sign()),
                Principal::Expired => Some(owner.clone().expired().sign()),
                Principal::RightRole => Some(owner.sign()),
                Principal::System => Some(world.issuer.system("bff").sign()),
            })
        },
    )
    .await;
}
