use super::*;

const LOGIN: &str = "mutation($input: LoginInput!) {
    login(input: $input) { userErrors { code } }
}";

/// A client at `address`, behind a proxy that the BFF trusts.
async fn login(site: &Site, bff: &Running, address: &str, email: &str, password: &str) -> Value {
    let input = json!({ "email": email, "password": password });
    let body = json!({ "query": LOGIN, "variables": { "input": input } }).to_string();
    let request = Request::post(format!("http://{}/graphql", bff.http.unwrap()))
        .header(CONTENT_TYPE, "application/json")
        .header("x-forwarded-for", address)
        // What a client says itself is not passed on.
        .header("x-client-address", "203.0.113.9")
        .body(body.into())
        .unwrap();
    let answer = site.http.request(request).await.unwrap();
    let answer = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&answer).unwrap()
}

#[tokio::test]
async fn guesses_are_slowed_down_by_the_address_of_the_client() {
    // One failure is enough then.
    let one = |name: &str| (name.to_owned(), "1".to_owned());
    let limits = Vars::from([one("LOGIN_FAILURES_NAME_AND_ADDRESS_MAX")]);
    let site = Site::with_identity(None, limits).await;
    let person = site.register("MOVER").await;
    let mut vars = site.vars.clone();
    vars.insert("TRUSTED_PROXIES".to_owned(), "127.0.0.0/8".to_owned());
    let bff = start("bff", crate::start, vars).await;

    let wrong = login(&site, &bff, "192.0.2.1", &person.email, "wrong").await;
    let error = &wrong["data"]["login"]["userErrors"][0]["code"];
    assert_eq!(error, "CREDENTIALS_INVALID", "{wrong}");
    // So that the wait outlasts the test.
    sqlx::query(
        "UPDATE login_failures
        SET failed_at = failed_at + interval '1 hour',
            forgotten_at = forgotten_at + interval '1 hour'",
    )
    .execute(&mut site.stack.db("identity").connect().await)
    .await
    .unwrap();
    let other = login(&site, &bff, "192.0.2.2", &person.email, "wrong").await;
    let error = &other["data"]["login"]["userErrors"][0]["code"];
    assert_eq!(error, "CREDENTIALS_INVALID", "{other}");
    let throttled = login(&site, &bff, "192.0.2.1", &person.email, PASSWORD).await;
    let extensions = &throttled["errors"][0]["extensions"];
    assert_eq!(extensions["reason"], "LOGIN_THROTTLED", "{throttled}");
    assert_eq!(extensions["retryable"], true);
    assert!(extensions["retryAfterMs"].as_u64().unwrap() > 0);
}
