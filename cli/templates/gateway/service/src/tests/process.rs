use super::*;

#[test]
fn the_command_line_is_well_formed() {
    platform::config::debug_assert::<crate::Config>();
}

#[tokio::test]
async fn stored_queries_match_the_schema() {
    let db = platform_testkit::db(crate::MIGRATORS).await;
    platform_testkit::queries::assert_match(&db, env!("CARGO_MANIFEST_DIR")).await;
}

#[tokio::test]
async fn the_serving_role_needs_no_right_to_change_tables() {
    let db = platform_testkit::db_with_roles(crate::MIGRATORS).await;
    let issuer = Issuer::start().await;
    let running = replica(vars(&db, &issuer)).await;
    let mut client = client(&format!("http://{}", running.grpc.unwrap()));
    let request = user(&issuer).ask(creation("First"));
    client.create_@entity@(request).await.unwrap();
    running.stop().await.unwrap();
}
