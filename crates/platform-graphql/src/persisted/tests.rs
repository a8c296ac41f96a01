use super::*;

const TEXT: &str = "query($id:ID!){user(id:$id){name}}";
/// From the appendix of GraphQL over HTTP.
const HEX: &str = "71f7dc5758652baac68e4a10c50be732b741c892ade2883a99358f52b555286b";

fn sent(text: &str) -> Named {
    Named {
        query: Some(text.to_owned()),
        ..Named::default()
    }
}

fn hashed(query: Option<&str>, hash: &str) -> Named {
    Named {
        query: query.map(str::to_owned),
        hash: Some(hash.to_owned()),
        ..Named::default()
    }
}

fn by_id(id: &str) -> Named {
    Named {
        document_id: Some(id.to_owned()),
        ..Named::default()
    }
}

fn word(result: Result<Found, Refusal>) -> &'static str {
    result.unwrap_err().word
}

fn listed() -> Persisted {
    let manifest = format!(
        r#"{{"format":"apollo-persisted-query-manifest","version":1,"operations":[
            {{"id":"{HEX}","name":"User","type":"query","body":"{TEXT}"}}]}}"#
    );
    Persisted::default().manifest(Manifest::parse(manifest.as_bytes()).unwrap())
}

#[test]
fn a_document_left_with_its_hash_is_found_by_both_doors() {
    let store = Persisted::default().automatic(10_000);
    let refusal = store.find(hashed(None, HEX)).unwrap_err();
    assert_eq!(
        (refusal.word, refusal.message.as_str(), refusal.http),
        (
            "PERSISTED_QUERY_NOT_FOUND",
            "PersistedQueryNotFound",
            StatusCode::OK
        )
    );

    let found = store.find(hashed(Some(TEXT), HEX)).unwrap();
    assert_eq!((&*found.text, found.by_id), (TEXT, true));
    // Not before it is known to be a document.
    assert_eq!(
        word(store.find(hashed(None, HEX))),
        "PERSISTED_QUERY_NOT_FOUND"
    );
    store.keep(found.keep.unwrap(), found.text);

    for named in [hashed(None, HEX), by_id(&format!("sha256:{HEX}"))] {
        let found = store.find(named).unwrap();
        assert_eq!((&*found.text, found.by_id, found.keep), (TEXT, true, None));
    }
}

#[test]
fn a_hash_of_another_document_is_refused() {
    let store = Persisted::default().automatic(10_000);
    let other = hashed(Some("{ other }"), HEX);
    assert_eq!(word(store.find(other)), "PERSISTED_QUERY_MISMATCH");
    assert_eq!(
        word(listed().find(hashed(Some("{ other }"), HEX))),
        "PERSISTED_QUERY_MISMATCH"
    );
}

#[test]
fn without_a_store_clients_are_told_to_stop_asking() {
    let refusal = Persisted::default().find(hashed(None, HEX)).unwrap_err();
    assert_eq!(
        (refusal.word, refusal.message.as_str()),
        (
            "PERSISTED_QUERY_NOT_SUPPORTED",
            "PersistedQueryNotSupported"
        )
    );
    let found = Persisted::default().find(hashed(Some(TEXT), HEX)).unwrap();
    assert_eq!(found.keep, None);
}

#[test]
fn only_listed_documents_run_however_they_are_sent() {
    let store = listed().only_listed(true).automatic(10_000);
    for named in [
        sent(TEXT),
        hashed(Some(TEXT), HEX),
        hashed(None, HEX),
        by_id(HEX),
        by_id(&format!("sha256:{HEX}")),
    ] {
        assert_eq!(&*store.find(named).unwrap().text, TEXT);
    }
    let other = "{ other }";
    let hex: String = sha256(other).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(word(store.find(sent(other))), "PERSISTED_QUERY_REQUIRED");
    assert_eq!(
        word(store.find(hashed(Some(other), &hex))),
        "PERSISTED_QUERY_REQUIRED"
    );
    store.keep(sha256(other), other.into());
    assert_eq!(
        word(store.find(hashed(None, &hex))),
        "PERSISTED_QUERY_NOT_FOUND"
    );
    assert_eq!(
        word(store.find(by_id("other"))),
        "PERSISTED_QUERY_NOT_FOUND"
    );
    assert!(listed().find(sent(other)).is_ok());
}

#[test]
fn ids_that_are_none_are_refused() {
    let store = listed();
    let long = "x".repeat(300);
    for bad in [
        "",
        "sha256:abc",
        "md5:0123",
        long.as_str(),
        &format!("sha256:{}", HEX.to_uppercase()),
    ] {
        assert_eq!(
            word(store.find(by_id(bad))),
            "GRAPHQL_REQUEST_MALFORMED",
            "{bad}"
        );
    }
    assert_eq!(
        word(store.find(hashed(None, "abc"))),
        "GRAPHQL_REQUEST_MALFORMED"
    );
    let two = Named {
        document_id: Some(format!("sha256:{}", "0".repeat(64))),
        ..hashed(None, HEX)
    };
    assert_eq!(word(store.find(two)), "GRAPHQL_REQUEST_MALFORMED");
    let both = Named {
        query: Some(TEXT.to_owned()),
        ..by_id("custom")
    };
    assert_eq!(word(store.find(both)), "GRAPHQL_REQUEST_MALFORMED");
    assert_eq!(
        word(store.find(Named::default())),
        "GRAPHQL_REQUEST_MALFORMED"
    );
}

#[test]
fn a_manifest_is_read_in_both_forms_and_its_hashes_are_checked() {
    let relay =
        Manifest::parse(br#"{"5d41402abc4b2a76b9719d911017c592":"{ a }","x-app:b":"{ b }"}"#);
    let relay = Persisted::default().manifest(relay.unwrap());
    for (id, text) in [
        ("5d41402abc4b2a76b9719d911017c592", "{ a }"),
        ("x-app:b", "{ b }"),
    ] {
        assert_eq!(&*relay.find(by_id(id)).unwrap().text, text);
    }
    for bad in [
        format!(r#"{{"{HEX}":"{{ a }}"}}"#),
        format!(r#"{{"sha256:{HEX}":"{{ a }}"}}"#),
        r#"{"format":"other","operations":[]}"#.to_owned(),
        "[]".to_owned(),
        "{".to_owned(),
    ] {
        assert!(Manifest::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn documents_of_our_own_pages_run_beside_those_of_a_manifest() {
    let id = document_id(TEXT);
    assert_eq!(id, format!("sha256:{HEX}"));
    let own = || Manifest::of([TEXT.to_owned()]);
    let theirs = Manifest::parse(br#"{"x-app:b":"{ b }"}"#).unwrap();
    let store = Persisted::default()
        .manifest(theirs)
        .only_listed(true)
        .own(own());
    assert_eq!(&*store.find(by_id(&id)).unwrap().text, TEXT);
    assert_eq!(&*store.find(by_id("x-app:b")).unwrap().text, "{ b }");
    let other = word(store.find(sent("{ c }")));
    assert_eq!(other, "PERSISTED_QUERY_REQUIRED");
    // Who knows nothing of them is told as if there were none.
    let store = Persisted::default().own(own());
    let unknown = word(store.find(hashed(None, &"0".repeat(64))));
    assert_eq!(unknown, "PERSISTED_QUERY_NOT_SUPPORTED");
}

#[test]
fn what_is_kept_for_clients_is_bounded_and_what_is_used_stays() {
    let mut recent = Recent::new(20_000);
    let text = |n: usize| -> Arc<str> { format!("{n:0100}").into() };
    recent.put(sha256("used"), text(0));
    for n in 1..5_000_usize {
        recent.put(sha256(&n.to_string()), text(n));
        assert!(recent.get(&sha256("used")).is_some());
        let kept = recent.young.len() + recent.old.len();
        assert!(kept * (100 + OVERHEAD_BYTES) <= 20_000);
    }
    assert!(recent.get(&sha256("1")).is_none());
    recent.put(sha256("large"), "x".repeat(10_001).into());
    assert!(recent.get(&sha256("large")).is_none());
}
