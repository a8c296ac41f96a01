//! What is made of a contract that keeps the rules.

use std::fs;

use prost_reflect::DescriptorPool;

use crate::Workspace;

const SHOP: &str = r#"
service ShopService {
  option (homeward.options.v1.role_mappings) = { global: "user" role: "buyer" };
  rpc Buy(BuyRequest) returns (BuyResponse) {
    option (homeward.options.v1.access) = { roles: "buyer" services: "depot" delegation: true };
    option (homeward.options.v1.idempotency) = IDEMPOTENCY_REQUEST_ID;
  }
  rpc ListSales(ListSalesRequest) returns (ListSalesResponse) {
    option (homeward.options.v1.access) = { public: true };
    option (homeward.options.v1.idempotency) = IDEMPOTENCY_NATURAL;
  }
  rpc BatchGetSales(BatchGetSalesRequest) returns (BatchGetSalesResponse) {
    option (homeward.options.v1.access) = { public: true };
    option (homeward.options.v1.idempotency) = IDEMPOTENCY_NATURAL;
  }
  rpc SearchOffers(SearchOffersRequest) returns (SearchOffersResponse) {
    option (homeward.options.v1.access) = { public: true };
    option (homeward.options.v1.idempotency) = IDEMPOTENCY_NATURAL;
  }
  rpc GetReceipts(GetReceiptsRequest) returns (GetReceiptsResponse) {
    option (homeward.options.v1.access) = { public: true };
    option (homeward.options.v1.idempotency) = IDEMPOTENCY_NATURAL;
  }
  rpc Getaway(GetawayRequest) returns (GetawayResponse) {
    option (homeward.options.v1.access) = { public: true };
    option (homeward.options.v1.idempotency) = IDEMPOTENCY_NATURAL;
  }
}
message BatchGetSalesRequest {}
message BatchGetSalesResponse {}
message SearchOffersRequest {}
message SearchOffersResponse {}
message GetReceiptsRequest { int32 page_size = 1; string page_token = 2; }
message GetReceiptsResponse { string next_page_token = 1; }
message GetawayRequest {}
message GetawayResponse {}
message BuyRequest {
  string request_id = 1;
  oneof proof {
    string card_token = 2 [debug_redact = true];
    Cash cash = 3;
  }
  enum Speed { SPEED_UNSPECIFIED = 0; SPEED_FAST = 1; }
  Speed speed = 4;
  message Cash { int64 amount_minor = 1; }
  optional string gift_secret = 5 [debug_redact = true];
}
message BuyResponse {}
message ListSalesRequest { int32 page_size = 1; string page_token = 2; }
message ListSalesResponse { string next_page_token = 1; }
message OfferSold {
  option (homeward.options.v1.event) = { name: "offer.sold" key: "offer_id" };
  string offer_id = 1;
  int64 version = 2;
}
message BuyerBanned {
  option (homeward.options.v1.event) = {
    name: "buyer.banned" key: "buyer_id" voids: { access_version: "access_version" }
  };
  string buyer_id = 1;
  int64 version = 2;
  int64 access_version = 3;
}
message BuyerLeft {
  option (homeward.options.v1.event) = {
    name: "buyer.left" key: "buyer_id" voids: { session: "visit_id" }
  };
  string buyer_id = 1;
  int64 version = 2;
  string visit_id = 3;
}
message PackOffer {
  option (homeward.options.v1.task) = { name: "shop.offer.pack" result: "acme.shop.v1.Packed" };
}
message Packed {}
enum ErrorReason {
  ERROR_REASON_UNSPECIFIED = 0;
  // Somebody else
  // was faster.
  ERROR_REASON_SOLD_OUT = 1 [(homeward.options.v1.reason) = {
    code: "FAILED_PRECONDITION" remedy: "Choose another one."
  }];
}
"#;

fn shop(test: &str) -> Workspace {
    let workspace = Workspace::new(test);
    workspace.add("acme/shop/v1/shop.proto", "acme.shop.v1", SHOP);
    workspace.generate().unwrap();
    workspace
}

#[track_caller]
fn assert_holds(code: &str, parts: &[&str]) {
    for part in parts {
        assert!(code.contains(part), "no `{part}` in:\n{code}");
    }
}

#[test]
fn a_contract_becomes_traits_tables_and_lists() {
    let workspace = shop("a_contract_becomes_traits_tables_and_lists");
    assert_holds(
        &workspace.generated("acme.shop.v1.rs"),
        &[
            "impl ::platform_contract::Event for OfferSold {",
            r#"const TOPIC: &'static str = "events.offer";"#,
            r#"const SOURCE: &'static str = "/acme/shop";"#,
            "impl ::platform_contract::Task for PackOffer {",
            r#"const TOPIC: &'static str = "tasks.shop.offer.pack";"#,
            "type Result = Packed;",
            "impl ::platform_contract::Once for BuyRequest {",
            r#"const METHOD: &'static str = "/acme.shop.v1.ShopService/Buy";"#,
            "impl ::platform_contract::Paged for ListSalesRequest {",
            "impl<T> ::platform_contract::Served for shop_service_server::ShopServiceServer<T> {",
            "pub static SHOP_SERVICE: ::platform_contract::Service",
            r#"domain: "shop.acme","#,
            r#"Access::Allowed { roles: &["buyer"], services: &["depot"], delegation: true }"#,
            "impl ::platform_contract::Reason for ErrorReason {",
            r#"Self::SoldOut => "SOLD_OUT","#,
            "Self::SoldOut => ::platform_contract::Code::FailedPrecondition,",
            r#"Self::SoldOut => "Somebody else was faster.","#,
        ],
    );
    assert_holds(
        &workspace.generated("contracts.rs"),
        &[
            "pub mod acme {",
            "&acme::shop::v1::SHOP_SERVICE,",
            r#"EventType { name: "offer.sold", topic: "events.offer", source: "/acme/shop", key: "offer_id", schema: "acme.shop.v1.OfferSold", voids: None }"#,
            r#"TaskType { name: "shop.offer.pack", topic: "tasks.shop.offer.pack", schema: "acme.shop.v1.PackOffer", result: "acme.shop.v1.Packed" }"#,
        ],
    );
}

#[test]
fn what_a_method_does_tells_when_it_is_refused() {
    let workspace = shop("what_a_method_does_tells_when_it_is_refused");
    let code = workspace.generated("acme.shop.v1.rs");
    for (name, class) in [
        ("Buy", "Mutation"),
        ("ListSales", "List"),
        ("BatchGetSales", "Read"),
        ("SearchOffers", "List"),
        ("GetReceipts", "List"),
        ("Getaway", "Mutation"),
    ] {
        let (_, method) = code.split_once(&format!("name: {name:?},")).unwrap();
        let method = method.split("::Method {").next().unwrap();
        let class = format!("class: ::platform_contract::Class::{class},");
        assert!(method.contains(&class), "{name}:{method}");
    }
}

#[test]
fn a_service_of_two_words_has_a_hyphen_for_others_and_may_have_no_method() {
    let workspace = Workspace::new("a_service_of_two_words_has_a_hyphen_for_others");
    let night_shop = r#"
service NightShopService {}
message ShiftEnded {
  option (homeward.options.v1.event) = { name: "shift.ended" key: "shift_id" };
  string shift_id = 1;
  int64 version = 2;
}
"#;
    workspace.add(
        "acme/night_shop/v1/shop.proto",
        "acme.night_shop.v1",
        night_shop,
    );
    workspace.generate().unwrap();
    assert_holds(
        &workspace.generated("acme.night_shop.v1.rs"),
        &[
            r#"name: "night-shop","#,
            r#"domain: "night-shop.acme","#,
            "methods: &[\n    ],",
            r#"const SOURCE: &'static str = "/acme/night-shop";"#,
        ],
    );
}

#[test]
fn what_an_event_voids_is_read_from_its_content() {
    let workspace = shop("what_an_event_voids_is_read_from_its_content");
    assert_holds(
        &workspace.generated("contracts.rs"),
        &[
            "let event = <acme::shop::v1::BuyerBanned as ::prost::Message>::decode(content)?;",
            "::Voided::Below { subject: event.buyer_id, access_version: event.access_version }",
            "::Voided::Session { subject: event.buyer_id, session: event.visit_id }",
        ],
    );
}

#[test]
fn no_generated_debug_prints_a_secret() {
    let workspace = shop("no_generated_debug_prints_a_secret");
    let code = workspace.generated("acme.shop.v1.rs");
    assert_holds(
        &code,
        &[
            "impl ::core::fmt::Debug for BuyRequest {",
            r#".field("gift_secret", &format_args!("***"))"#,
            "impl ::core::fmt::Debug for buy_request::Proof {",
            r#"Self::CardToken(_) => f.write_str("CardToken(***)"),"#,
            "impl ::core::fmt::Debug for buy_request::Cash {",
            "impl ::core::fmt::Debug for buy_request::Speed {",
        ],
    );
    assert!(
        !code.contains("Debug for BuyResponse"),
        "prost derives what holds no secret"
    );
}

#[test]
fn the_descriptor_sets_keep_the_options() {
    let workspace = shop("the_descriptor_sets_keep_the_options");
    for name in ["contracts.bin", "acme.shop.v1.bin"] {
        let bytes = fs::read(workspace.out.join(name)).unwrap();
        let pool = DescriptorPool::decode(bytes.as_slice()).unwrap();
        let event = pool
            .get_extension_by_name("homeward.options.v1.event")
            .unwrap();
        let sold = pool.get_message_by_name("acme.shop.v1.OfferSold").unwrap();
        assert!(sold.options().has_extension(&event), "{name}");
        assert!(
            sold.parent_file_descriptor_proto()
                .source_code_info
                .is_none(),
            "{name}"
        );
    }
}

#[test]
fn what_has_not_changed_is_not_written_again() {
    let workspace = shop("what_has_not_changed_is_not_written_again");
    let written = || {
        fs::metadata(workspace.out.join("acme.shop.v1.rs"))
            .unwrap()
            .modified()
            .unwrap()
    };
    let before = written();
    workspace.generate().unwrap();
    assert_eq!(written(), before);
}
