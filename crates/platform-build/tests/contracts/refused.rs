//! One bad proto for each rule. `// here` marks the line that the message must name.

use crate::Workspace;

const MARK: &str = "// here";

/// The one violation in `acme/shop/v1/shop.proto` stands at the mark and says this.
#[track_caller]
fn refuses(test: &str, body: &str, message: &str) {
    refuses_beside(test, &[], body, message);
}

/// The same, with the bodies of other files beside it.
#[track_caller]
fn refuses_beside(test: &str, others: &[(&str, &str)], body: &str, message: &str) {
    let workspace = Workspace::new(test);
    for (package, body) in others {
        let name = format!("{}/other.proto", package.replace('.', "/"));
        workspace.add(&name, package, body);
    }
    let file = workspace.add("acme/shop/v1/shop.proto", "acme.shop.v1", body);
    let line = 2 + body
        .lines()
        .position(|line| line.contains(MARK))
        .expect("a line is marked");

    let error = workspace.generate().expect_err("the contract is refused");
    let printed = format!("{error:?}");
    let [violation] = error.violations() else {
        panic!("one violation, not these:\n{printed}")
    };
    assert!(violation.message.contains(message), "{printed}");
    assert_eq!(
        (&violation.file, violation.line as usize),
        (&file, line),
        "{printed}"
    );
    let place = format!("\n{}:{line}:{}: ", file.display(), violation.column);
    assert!(printed.contains(&place), "{printed}");
    assert!(
        !workspace.out.join("contracts.rs").exists(),
        "nothing is written"
    );
}

/// A service with one method, whose options, request and answer are given.
fn method(options: &str, request: &str, response: &str) -> String {
    format!(
        "service ShopService {{
           option (homeward.options.v1.role_mappings) = {{ global: \"user\" role: \"buyer\" }};
           rpc Buy(BuyRequest) returns (BuyResponse) {{ {MARK}
             {options}
           }}
         }}
         message BuyRequest {{ {request} }}
         message BuyResponse {{ {response} }}"
    )
}

const PUBLIC: &str = "option (homeward.options.v1.access) = { public: true };";
const NATURAL: &str = "option (homeward.options.v1.idempotency) = IDEMPOTENCY_NATURAL;";
const REQUEST_ID: &str = "option (homeward.options.v1.idempotency) = IDEMPOTENCY_REQUEST_ID;";

#[test]
fn a_method_without_access() {
    let body = method(NATURAL, "", "");
    refuses(
        "a_method_without_access",
        &body,
        "method `Buy` states no `access`",
    );
}

#[test]
fn a_method_with_empty_access() {
    let access = "option (homeward.options.v1.access) = {};";
    let body = method(&format!("{access} {NATURAL}"), "", "");
    refuses(
        "a_method_with_empty_access",
        &body,
        "is not exactly one of `public`",
    );
}

#[test]
fn a_method_with_two_ways_of_access() {
    let access = "option (homeward.options.v1.access) = { public: true roles: \"buyer\" };";
    let body = method(&format!("{access} {NATURAL}"), "", "");
    refuses(
        "a_method_with_two_ways_of_access",
        &body,
        "is not exactly one of `public`",
    );
}

#[test]
fn a_role_that_the_service_does_not_have() {
    let access = "option (homeward.options.v1.access) = { roles: \"thief\" };";
    let body = method(&format!("{access} {NATURAL}"), "", "");
    refuses(
        "a_role_that_the_service_does_not_have",
        &body,
        "allows the role `thief`",
    );
}

#[test]
fn delegation_without_a_service() {
    let access = "option (homeward.options.v1.access) = { authenticated: true delegation: true };";
    let body = method(&format!("{access} {NATURAL}"), "", "");
    refuses(
        "delegation_without_a_service",
        &body,
        "method `Buy` allows delegation, but no service",
    );
}

#[test]
fn a_method_without_idempotency() {
    let body = method(PUBLIC, "", "");
    refuses(
        "a_method_without_idempotency",
        &body,
        "method `Buy` states no `idempotency`",
    );
}

#[test]
fn a_repeatable_method_without_request_id() {
    let body = method(
        &format!("{PUBLIC} {REQUEST_ID}"),
        "int64 request_id = 1;",
        "",
    );
    refuses(
        "a_repeatable_method_without_request_id",
        &body,
        "`BuyRequest` has no field `string request_id`",
    );
}

#[test]
fn a_request_id_that_nothing_reads() {
    let body = method(&format!("{PUBLIC} {NATURAL}"), "string request_id = 1;", "");
    refuses(
        "a_request_id_that_nothing_reads",
        &body,
        "takes a `request_id`, but is not",
    );
}

#[test]
fn a_read_that_is_not_natural() {
    let options = format!("{PUBLIC} option (homeward.options.v1.idempotency) = IDEMPOTENCY_NONE;");
    let named = method(&options, "", "").replace("Buy", "GetOffer");
    refuses(
        "a_read_that_is_not_natural",
        &named,
        "method `GetOffer` reads, by its verb or its pages, but is not IDEMPOTENCY_NATURAL",
    );
    let paged = method(
        &format!("{PUBLIC} {REQUEST_ID}"),
        "string request_id = 1; int32 page_size = 2; string page_token = 3;",
        "string next_page_token = 1;",
    );
    refuses(
        "a_read_with_pages_that_is_not_natural",
        &paged,
        "method `Buy` reads, by its verb or its pages, but is not IDEMPOTENCY_NATURAL",
    );
}

#[test]
fn a_stored_answer_with_a_secret_inside() {
    let body = method(
        &format!("{PUBLIC} {REQUEST_ID}"),
        "string request_id = 1;",
        "Receipt receipt = 1;",
    ) + "message Receipt { repeated Line lines = 1; Receipt previous = 2; }
         message Line { string code = 1 [debug_redact = true]; }";
    refuses(
        "a_stored_answer_with_a_secret_inside",
        &body,
        "method `Buy` is IDEMPOTENCY_REQUEST_ID, but its answer holds a secret",
    );
}

#[test]
fn a_request_used_by_two_methods() {
    let body = format!(
        "service ShopService {{
           rpc Buy(BuyRequest) returns (BuyResponse) {{ {PUBLIC} {NATURAL} }}
           rpc Sell(BuyRequest) returns (SellResponse) {{ {MARK}
             {PUBLIC} {NATURAL}
           }}
         }}
         message BuyRequest {{}}
         message BuyResponse {{}}
         message SellResponse {{}}"
    );
    refuses(
        "a_request_used_by_two_methods",
        &body,
        "method `Sell` uses `BuyRequest`, which belongs to `Buy` at ",
    );
}

#[test]
fn a_list_without_page_size() {
    let body = method(
        &format!("{PUBLIC} {NATURAL}"),
        "string page_token = 1;",
        "string next_page_token = 1;",
    );
    refuses(
        "a_list_without_page_size",
        &body,
        "method `Buy` answers pages, but lacks one of",
    );
}

#[test]
fn an_event_whose_verb_is_not_past() {
    let body = event(
        "OfferPublish",
        "offer.publish",
        "offer_id",
        "string offer_id = 1; int64 version = 2;",
    );
    refuses(
        "an_event_whose_verb_is_not_past",
        &body,
        "event name `offer.publish` is not `<entity>.<verb in the past>`",
    );
}

#[test]
fn an_event_with_a_name_of_three_parts() {
    let body = event(
        "OfferSold",
        "shop.offer.sold",
        "offer_id",
        "string offer_id = 1; int64 version = 2;",
    );
    refuses(
        "an_event_with_a_name_of_three_parts",
        &body,
        "event name `shop.offer.sold` is not `<entity>.<verb in the past>`",
    );
}

#[test]
fn an_event_that_does_not_fit_its_message() {
    let body = event(
        "OfferBought",
        "offer.sold",
        "offer_id",
        "string offer_id = 1; int64 version = 2;",
    );
    refuses(
        "an_event_that_does_not_fit_its_message",
        &body,
        "event `offer.sold` does not fit its message `OfferBought`",
    );
}

#[test]
fn an_event_that_states_no_key() {
    let body = event(
        "OfferSold",
        "offer.sold",
        "",
        "string offer_id = 1; int64 version = 2;",
    );
    refuses(
        "an_event_that_states_no_key",
        &body,
        "event `offer.sold` states no key",
    );
}

#[test]
fn an_event_without_its_key_field() {
    let body = event(
        "OfferSold",
        "offer.sold",
        "offer_id",
        "int64 offer_id = 1; int64 version = 2;",
    );
    refuses(
        "an_event_without_its_key_field",
        &body,
        "event `offer.sold` has no field `string offer_id` for its key",
    );
}

#[test]
fn an_event_without_version() {
    let body = event(
        "OfferSold",
        "offer.sold",
        "offer_id",
        "string offer_id = 1; int32 version = 2;",
    );
    refuses(
        "an_event_without_version",
        &body,
        "event `offer.sold` has no field `int64 version`",
    );
}

/// An event with these `voids` and this field beside key and version.
fn voiding(voids: &str, field: &str) -> String {
    format!(
        "message BuyerBanned {{ {MARK}
           option (homeward.options.v1.event) = {{ name: \"buyer.banned\" key: \"buyer_id\" voids: {{ {voids} }} }};
           string buyer_id = 1; int64 version = 2; {field}
         }}"
    )
}

#[test]
fn an_event_that_voids_nothing_or_two_things() {
    for voids in ["", "access_version: \"version\" session: \"buyer_id\""] {
        refuses(
            "an_event_that_voids_nothing_or_two_things",
            &voiding(voids, ""),
            "`voids` of event `buyer.banned` is not exactly one of",
        );
    }
}

#[test]
fn an_event_without_the_field_of_what_it_voids() {
    refuses(
        "an_event_without_the_field_of_what_it_voids",
        &voiding("access_version: \"ver\"", "string ver = 3;"),
        "event `buyer.banned` has no field `int64 ver` for what it voids",
    );
}

#[test]
fn an_event_name_said_by_two_messages() {
    let fields = "string offer_id = 1; int64 version = 2;";
    let second = event("OfferSold", "offer.sold", "offer_id", fields);
    let first = second.replace(MARK, "");
    refuses(
        "an_event_name_said_by_two_messages",
        &format!("{first}\nmessage Outer {{\n{second}\n}}"),
        "the name `offer.sold` is taken by `OfferSold` at ",
    );
}

#[test]
fn a_topic_of_two_services() {
    let fields = "string offer_id = 1; int64 version = 2;";
    refuses_beside(
        "a_topic_of_two_services",
        &[(
            "acme.depot.v1",
            &event("OfferHeld", "offer.held", "offer_id", fields),
        )],
        &event("OfferSold", "offer.sold", "offer_id", fields),
        "topic `events.offer` belongs to `depot`, so `shop` cannot write it",
    );
}

#[test]
fn a_task_named_after_another_service() {
    let body = "message PackOffer { // here
                  option (homeward.options.v1.task) = { name: \"depot.offer.pack\" result: \"acme.shop.v1.Packed\" };
                }
                message Packed {}";
    refuses(
        "a_task_named_after_another_service",
        body,
        "task name `depot.offer.pack` is not `shop.<entity>.<imperative>`",
    );
}

#[test]
fn a_task_with_an_unknown_result() {
    let body = "message PackOffer { // here
                  option (homeward.options.v1.task) = { name: \"shop.offer.pack\" result: \"Packed\" };
                }";
    refuses(
        "a_task_with_an_unknown_result",
        body,
        "its result `Packed` is no message",
    );
}

#[test]
fn a_secret_field_without_debug_redact() {
    for (index, field) in [
        "string new_password = 2;",
        "bytes client_secret = 2;",
        "repeated string access_tokens = 2;",
        "optional string token = 2;",
        "map<string, string> secrets = 2;",
        "oneof proof { string one_time_token = 2; }",
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!("message Account {{\n string page_token = 1;\n {field} {MARK}\n }}");
        refuses(
            &format!("a_secret_field_without_debug_redact_{index}"),
            &body,
            "looks like a secret: mark it `[debug_redact = true]`",
        );
    }
}

#[test]
fn an_event_that_holds_a_secret() {
    let fields = "string offer_id = 1; int64 version = 2; string pin = 3 [debug_redact = true];";
    let body = event("OfferSold", "offer.sold", "offer_id", fields);
    refuses(
        "an_event_that_holds_a_secret",
        &body,
        "event `offer.sold` holds a secret",
    );
}

#[test]
fn a_reason_word_used_twice() {
    let other = reasons("// Gone.\n ERROR_REASON_SOLD_OUT = 1", "NOT_FOUND").replace(MARK, "");
    refuses_beside(
        "a_reason_word_used_twice",
        &[("acme.depot.v1", &other)],
        &reasons("// Gone.\n ERROR_REASON_SOLD_OUT = 1", "NOT_FOUND"),
        "the reason `SOLD_OUT` names another case at ",
    );
}

#[test]
fn a_reason_word_of_the_platform() {
    refuses(
        "a_reason_word_of_the_platform",
        &reasons(
            "// Late.\n ERROR_REASON_TOKEN_EXPIRED = 1",
            "UNAUTHENTICATED",
        ),
        "the reason `TOKEN_EXPIRED` names another case at homeward/options/v1/reasons.proto:",
    );
}

#[test]
fn a_reason_with_an_unknown_code() {
    refuses(
        "a_reason_with_an_unknown_code",
        &reasons("// Gone.\n ERROR_REASON_SOLD_OUT = 1", "GONE"),
        "reason `ERROR_REASON_SOLD_OUT`: `GONE` is no gRPC status code",
    );
}

#[test]
fn a_reason_without_option() {
    let body =
        "enum ErrorReason { ERROR_REASON_UNSPECIFIED = 0;\n ERROR_REASON_SOLD_OUT = 1; // here\n }";
    refuses(
        "a_reason_without_option",
        body,
        "reason `ERROR_REASON_SOLD_OUT` has no option `reason`",
    );
}

#[test]
fn a_reason_without_cause() {
    refuses(
        "a_reason_without_cause",
        &reasons("ERROR_REASON_SOLD_OUT = 1", "NOT_FOUND"),
        "has no comment in front of it to state the cause",
    );
}

#[test]
fn a_package_in_the_wrong_folder() {
    let workspace = Workspace::new("a_package_in_the_wrong_folder");
    workspace.add("acme/shop/v1/shop.proto", "acme.shop.v2", "");
    let printed = format!("{:?}", workspace.generate().unwrap_err());
    assert!(
        printed.contains("/acme/shop/v1/shop.proto:1:20: "),
        "{printed}"
    );
    assert!(
        printed.contains("belongs in the folder `acme/shop/v2`"),
        "{printed}"
    );
}

#[test]
fn a_package_of_another_brand() {
    let workspace = Workspace::new("a_package_of_another_brand");
    workspace.add("other/shop/v1/shop.proto", "other.shop.v1", "");
    let printed = format!("{:?}", workspace.generate().unwrap_err());
    assert!(
        printed.contains("package `other.shop.v1` is not `acme.<service>.v<number>`"),
        "{printed}"
    );
}

#[test]
fn an_enum_value_without_its_prefix() {
    let body = "enum Size { SIZE_UNSPECIFIED = 0;\n SMALL = 1; // here\n }";
    refuses(
        "an_enum_value_without_its_prefix",
        body,
        "enum value `SMALL` is not `SIZE_`",
    );
}

#[test]
fn all_broken_rules_are_named_at_once() {
    let workspace = Workspace::new("all_broken_rules_are_named_at_once");
    let body = method("", "string password = 1;", "") + "enum Size { NONE = 0; }";
    workspace.add("acme/shop/v1/shop.proto", "acme.shop.v1", &body);
    workspace.add("acme/depot/v1/depot.proto", "acme.shop.v1", "");
    let error = workspace.generate().unwrap_err();
    assert_eq!(error.violations().len(), 5, "{error}");
    let printed = error.to_string();
    assert!(
        printed.starts_with("the contracts break rules in 5 places\n"),
        "{printed}"
    );
    assert_eq!(printed.lines().count(), 6, "{printed}");
}

#[test]
fn a_syntax_error_names_file_and_line() {
    let workspace = Workspace::new("a_syntax_error_names_file_and_line");
    workspace.add(
        "acme/shop/v1/shop.proto",
        "acme.shop.v1",
        "message Offer {\n  strin title 1;\n}",
    );
    let printed = format!("{:?}", workspace.generate().unwrap_err());
    assert!(printed.contains("/acme/shop/v1/shop.proto:3:"), "{printed}");
}

fn event(message: &str, name: &str, key: &str, fields: &str) -> String {
    format!(
        "message {message} {{ {MARK}
           option (homeward.options.v1.event) = {{ name: \"{name}\" key: \"{key}\" }};
           {fields}
         }}"
    )
}

fn reasons(value: &str, code: &str) -> String {
    format!(
        "enum ErrorReason {{
           ERROR_REASON_UNSPECIFIED = 0;

           {value} [(homeward.options.v1.reason) = {{ {MARK}
             code: \"{code}\" remedy: \"Choose another one.\"
           }}];
         }}"
    )
}
