use serde_json::{Value, json};

use super::Site;

#[tokio::test]
async fn a_service_that_is_down_costs_its_fields_not_the_page() {
    let site = Site::start().await;
    let person = site.register("BUSINESS").await;
    let token = site.login(&person).await;
    let offer = site.published(&token).await;
    let page = "{ viewer { id } offers { edges { node { id title organisation { name } } } } }";
    site.data(Some(&token), page, json!({})).await;

    site.stack.kill("identity", 0);
    let answer = site.ask(Some(&token), page, json!({})).await;
    let node = &answer["data"]["offers"]["edges"][0]["node"];
    assert_eq!(
        (&node["id"], &node["organisation"]),
        (&json!(offer), &Value::Null)
    );
    assert_eq!(answer["data"]["viewer"], Value::Null);
    let errors = answer["errors"].as_array().unwrap();
    let paths: Vec<_> = errors
        .iter()
        .map(|error| error["path"].to_string())
        .collect();
    assert!(paths.contains(&r#"["viewer"]"#.to_owned()), "{paths:?}");
    assert!(
        paths.contains(&r#"["offers","edges",0,"node","organisation"]"#.to_owned()),
        "{paths:?}"
    );
    for error in errors {
        assert_eq!(error["extensions"]["code"], "UNAVAILABLE", "{error}");
        assert_eq!(error["extensions"]["reason"], "DEPENDENCY_UNAVAILABLE");
        assert_eq!(error["extensions"]["retryable"], true);
        assert!(!error["message"].as_str().unwrap().contains("127.0.0.1"));
    }

    site.stack.restart("identity", 0).await;
    platform_testkit::until("the page to be whole again", async || {
        let answer = site.ask(Some(&token), page, json!({})).await;
        answer.get("errors").is_none().then_some(())
    })
    .await;

    site.stack.kill("catalog", 0);
    site.stack.kill("catalog", 1);
    let answer = site.ask(Some(&token), page, json!({})).await;
    assert_eq!(
        answer["data"],
        json!({ "viewer": { "id": person.id }, "offers": null })
    );
    assert_eq!(answer["errors"][0]["extensions"]["retryable"], true);
}
