use super::*;

#[test]
fn the_command_line_is_well_formed() {
    platform::config::debug_assert::<Config>();
}

#[tokio::test]
async fn stored_queries_match_the_schema() {
    let db = platform_testkit::db(MIGRATORS).await;
    platform_testkit::queries::assert_match(&db, env!("CARGO_MANIFEST_DIR")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_it_starts_and_stops_and_needs_no_right_to_change_tables() {
    let db = platform_testkit::db_with_roles(MIGRATORS).await;
    let issuer = Issuer::start().await;
    // Ready, as it says so to whoever starts it.
    let running = replica(vars(&db, &issuer)).await;
    running.stop().await.unwrap();
}
