//! Feeds over server-sent events, taken up again at one BFF or the other.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use platform::sealed::Sealer;
use platform_testkit::{start, until_within};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::{PASSWORD, Person, Site, text};

const VOTES: &str =
    "subscription($id: ID!, $after: String) { offerVotes(offerId: $id, after: $after) {
    votes { up down mine version } cursor reset } }";
const OFFERS: &str = "subscription($filter: OfferEventFilter, $after: String) {
    offerEvents(filter: $filter, after: $after) {
        change { kind offerId version offer { version } } cursor reset } }";
const SESSION: &str = "subscription { session { kind } }";

/// A stream writes a comment more often than this, whatever happens.
const PATIENCE: Duration = Duration::from_secs(30);

/// A subscription over a connection of its own.
pub(super) struct Feed {
    body: Incoming,
    read: String,
}

impl Site {
    pub(super) async fn follow(
        &self,
        bff: SocketAddr,
        token: Option<&str>,
        query: &str,
        variables: Value,
    ) -> Feed {
        let mut request = Request::post(format!("http://{bff}/graphql"))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = json!({ "query": query, "variables": variables }).to_string();
        let request = request.body(body.into()).unwrap();
        let response = self.http.request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.headers()[CONTENT_TYPE],
            "text/event-stream; charset=utf-8"
        );
        Feed {
            body: response.into_body(),
            read: String::new(),
        }
    }

    pub(super) fn bff(&self, index: usize) -> SocketAddr {
        self.bffs[index].http.unwrap()
    }

    async fn vote(&self, token: &str, offer: &str, value: &str) {
        let input = json!({ "offerId": offer, "value": value });
        self.done(Some(token), "castVote", "votes { version }", input)
            .await;
    }

    async fn voters(&self, count: usize) -> Vec<String> {
        let mut voters = Vec::new();
        for _ in 0..count {
            let person = self.register("MOVER").await;
            voters.push(self.login(&person).await);
        }
        voters
    }
}

impl Feed {
    /// The next answer; `None` when the feed is over.
    pub(super) async fn answer(&mut self) -> Option<Value> {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "nothing but comments came");
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
                };
                match field("event:").as_deref() {
                    Some("next") => {
                        return Some(serde_json::from_str(&field("data:").unwrap()).unwrap());
                    }
                    Some("complete") => return None,
                    _ => continue,
                }
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.expect("nothing came")?.ok()?;
            let data = frame.into_data().unwrap_or_default();
            self.read.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The value of the one root field of the next answer.
    async fn next(&mut self) -> Value {
        let answer = self.answer().await.expect("the feed is over");
        assert!(answer.get("errors").is_none(), "{answer}");
        let mut fields = answer["data"].as_object().unwrap().values();
        fields.next().unwrap().clone()
    }

    async fn kind(&mut self) -> String {
        text(&self.next().await["kind"])
    }
}

fn version(message: &Value) -> i64 {
    message["votes"]["version"].as_i64().unwrap()
}

#[tokio::test]
async fn counts_taken_up_again_at_the_other_replica_have_every_version_once() {
    let site = Site::start().await;
    let seller = site.register("BUSINESS").await;
    let offer = site.published(&site.login(&seller).await).await;
    let voters = site.voters(4).await;

    let of = |after: Option<&str>| json!({ "id": offer, "after": after });
    let mut feed = site.follow(site.bff(0), None, VOTES, of(None)).await;
    let first = feed.next().await;
    assert_eq!(
        first["votes"],
        json!({ "up": 0, "down": 0, "mine": null, "version": 0 })
    );
    let (mut cursor, mut known) = (text(&first["cursor"]), 0);
    for round in 0..10 {
        // Some before the cut, some while nobody listens, some after it.
        for voter in &voters {
            site.vote(voter, &offer, ["UP", "DOWN"][round % 2]).await;
        }
        for _ in 0..round % 4 {
            let message = feed.next().await;
            known += 1;
            assert_eq!(
                (version(&message), &message["reset"]),
                (known, &json!(false))
            );
            cursor = text(&message["cursor"]);
        }
        feed = site
            .follow(site.bff((round + 1) % 2), None, VOTES, of(Some(&cursor)))
            .await;
    }
    while known < 40 {
        let message = feed.next().await;
        known += 1;
        assert_eq!(
            (version(&message), &message["reset"]),
            (known, &json!(false))
        );
        if known == 40 {
            assert_eq!(message["votes"]["down"], 4);
        }
    }
}

#[tokio::test]
async fn what_is_no_longer_kept_is_a_reset_and_what_is_no_cursor_is_refused() {
    let mut site = Site::start().await;
    let mut vars = site.vars.clone();
    vars.insert("FEED_WINDOW_BYTES".to_owned(), "1".to_owned());
    site.bffs.push(start("bff", crate::start, vars).await);
    let seller = site.register("BUSINESS").await;
    let token = site.login(&seller).await;
    let (offer, other) = (site.published(&token).await, site.published(&token).await);
    let voters = site.voters(3).await;

    let first = site
        .follow(site.bff(2), None, VOTES, json!({ "id": offer }))
        .await
        .next()
        .await;
    for voter in &voters {
        site.vote(voter, &offer, "UP").await;
    }
    let mut watched = site
        .follow(site.bff(2), None, VOTES, json!({ "id": offer }))
        .await;
    // The newest alone is kept, once it was heard.
    watched.next().await;
    site.vote(&voters[0], &offer, "DOWN").await;
    let mut last = watched.next().await;
    while version(&last) < 4 {
        // What came at once was too much for a window of one.
        assert_eq!(last["reset"], true);
        last = watched.next().await;
    }
    assert_eq!(version(&last), 4);

    let after = |id: &str, cursor: &Value| json!({ "id": id, "after": cursor });
    let again = |id: &str, cursor: &Value| {
        let variables = after(id, cursor);
        let site = &site;
        async move {
            site.follow(site.bff(2), None, VOTES, variables)
                .await
                .next()
                .await
        }
    };
    let reset = again(&offer, &first["cursor"]).await;
    assert_eq!((version(&reset), &reset["reset"]), (4, &json!(true)));
    let reset = again(&other, &last["cursor"]).await;
    assert_eq!(
        (version(&reset), &reset["reset"]),
        (0, &json!(true)),
        "of another feed"
    );
    // Somebody else's `mine` is not theirs.
    let mut theirs = site
        .follow(
            site.bff(2),
            Some(&voters[1]),
            VOTES,
            after(&offer, &last["cursor"]),
        )
        .await;
    let theirs = theirs.next().await;
    assert_eq!(
        (&theirs["votes"]["mine"], &theirs["reset"]),
        (&json!("UP"), &json!(true))
    );

    for forged in [beyond_the_end as Forge, of_another_event] {
        let cursor = forge(&site, &text(&last["cursor"]), forged);
        let reset = again(&offer, &json!(cursor)).await;
        assert_eq!((version(&reset), &reset["reset"]), (4, &json!(true)));
    }
    for nonsense in ["", "x", &offer] {
        let mut feed = site
            .follow(site.bff(0), None, VOTES, after(&offer, &json!(nonsense)))
            .await;
        let answer = feed.answer().await.unwrap();
        assert_eq!(
            answer["errors"][0]["extensions"]["reason"],
            "CURSOR_INVALID"
        );
        assert_eq!(feed.answer().await, None);
    }
}

type Forge = fn(&mut Value);

fn beyond_the_end(cursor: &mut Value) {
    for (_, next) in cursor["place"]["next"].as_object_mut().unwrap() {
        *next = json!(1_000_000);
    }
    cursor["place"]["last"] = json!(null);
}

fn of_another_event(cursor: &mut Value) {
    cursor["place"]["last"]["id"] = json!(uuid::Uuid::now_v7());
}

/// The cursor with something else in it, sealed as it was.
fn forge(site: &Site, cursor: &str, change: Forge) -> String {
    let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&site.vars["SEAL_KEY"]);
    let key: [u8; 32] = key.unwrap().try_into().unwrap();
    let sealer = Sealer::from_keys(key, None);
    let plain = sealer.open("feed-cursor/1", cursor).unwrap();
    let mut plain: Value = serde_json::from_slice(&plain).unwrap();
    change(&mut plain);
    sealer.seal("feed-cursor/1", &serde_json::to_vec(&plain).unwrap())
}

#[tokio::test]
async fn a_replica_behind_the_cursor_goes_on_when_it_has_read_as_far() {
    let mut site = Site::start().await;
    let broker = site.vars["KAFKA_BROKERS"].clone();
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap();
    let mut vars = site.vars.clone();
    vars.insert("KAFKA_BROKERS".to_owned(), address.to_string());
    site.bffs.push(start("bff", crate::start, vars).await);
    let seller = site.register("BUSINESS").await;
    let offer = site.published(&site.login(&seller).await).await;
    let voters = site.voters(2).await;

    let mut ahead = site
        .follow(site.bff(0), None, VOTES, json!({ "id": offer }))
        .await;
    ahead.next().await;
    site.vote(&voters[0], &offer, "UP").await;
    let cursor = ahead.next().await["cursor"].clone();
    site.vote(&voters[1], &offer, "UP").await;

    // A replica that hears nothing yet knows how things are all the same.
    let mut behind = site
        .follow(site.bff(2), None, VOTES, json!({ "id": offer }))
        .await;
    assert_eq!(version(&behind.next().await), 2);
    let mut waiting = site
        .follow(
            site.bff(2),
            None,
            VOTES,
            json!({ "id": offer, "after": cursor }),
        )
        .await;
    let opened = tokio::spawn(open(door, broker));
    let message = waiting.next().await;
    assert_eq!((version(&message), &message["reset"]), (2, &json!(false)));
    opened.abort();
}

/// Lets connections to the broker through from now on.
async fn open(door: TcpListener, broker: String) {
    loop {
        let (mut outside, _) = door.accept().await.unwrap();
        let broker = broker.clone();
        tokio::spawn(async move {
            let mut inside = TcpStream::connect(broker).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
        });
    }
}

#[tokio::test]
async fn events_of_offers_are_told_once_to_whom_they_concern() {
    let site = Site::start().await;
    let seller = site.register("BUSINESS").await;
    let token = site.login(&seller).await;
    let everybody = json!({});
    let crews = json!({ "filter": { "kinds": ["CREW"], "area": "berlin-mitte" } });
    let storage = json!({ "filter": { "kinds": ["STORAGE"] } });
    let theirs = json!({ "filter": { "organisationId": seller.organisation_id } });

    let mut feeds = Vec::new();
    for (token, variables) in [
        (None, &everybody),
        (None, &crews),
        (Some(token.as_str()), &theirs),
        (None, &storage),
    ] {
        let mut feed = site
            .follow(site.bff(0), token, OFFERS, variables.clone())
            .await;
        let first = feed.next().await;
        assert_eq!(
            (&first["change"], &first["reset"]),
            (&json!(null), &json!(false))
        );
        feeds.push((feed, first["cursor"].clone()));
    }
    let offer = site.draft(&token).await;
    let change = |title: &str| json!({ "id": offer, "title": title });
    let fields = "offer { version }";
    site.done(Some(&token), "updateOffer", fields, change("A draft"))
        .await;
    let only = json!({ "id": offer });
    site.done(Some(&token), "publishOffer", fields, only.clone())
        .await;
    site.done(Some(&token), "updateOffer", fields, change("In public"))
        .await;
    site.done(Some(&token), "retireOffer", fields, only).await;

    let all = [
        ("UPDATED", 1),
        ("PUBLISHED", 2),
        ("UPDATED", 3),
        ("RETIRED", 4),
    ];
    let callers = [None, None, Some(token.as_str())];
    let mut others: BTreeSet<String> = BTreeSet::new();
    let variables = [&everybody, &crews, &theirs];
    for (index, (mut feed, mut cursor)) in feeds.drain(..3).enumerate() {
        let told = if index == 2 { &all[..] } else { &all[1..] };
        for (at, expected) in told.iter().enumerate() {
            let message = feed.next().await;
            let change = &message["change"];
            let kind = change["kind"].as_str().unwrap();
            assert_eq!((kind, change["version"].as_i64().unwrap()), *expected);
            assert_eq!(change["offerId"], json!(offer));
            // As it was when the event was told, which can be after the next change.
            assert!(change["offer"]["version"].is_i64(), "{change}");
            cursor = message["cursor"].clone();
            // At the other replica from the second one on.
            if at == 1 {
                let mut variables = variables[index].clone();
                variables["after"] = cursor.clone();
                feed = site
                    .follow(site.bff(1), callers[index], OFFERS, variables)
                    .await;
            }
        }
        let mut variables = variables[index].clone();
        variables["after"] = cursor;
        // Nothing is told twice: what comes next is new.
        let mut rest = site
            .follow(site.bff(0), callers[index], OFFERS, variables)
            .await;
        others.insert(site.published(&token).await);
        let mut told = BTreeSet::new();
        while told.len() < others.len() {
            let change = rest.next().await["change"].take();
            assert!(told.insert(text(&change["offerId"])), "{change}");
        }
        assert_eq!(told, others);
    }
    // Of all that, nothing was about storage.
    let (mut feed, _) = feeds.remove(0);
    let input = json!({
        "title": "A dry room", "description": "", "kind": "STORAGE", "area": "berlin-mitte",
        "price": { "amountMinor": 100, "currency": "EUR" },
    });
    let made = site
        .done(Some(&token), "createOffer", "offer { id }", input)
        .await;
    let id = made["offer"]["id"].clone();
    site.done(Some(&token), "publishOffer", fields, json!({ "id": id }))
        .await;
    assert_eq!(feed.next().await["change"]["offerId"], id);
}

#[tokio::test]
async fn ones_own_vote_follows_on_every_connection() {
    let site = Site::start().await;
    let seller = site.register("BUSINESS").await;
    let offer = site.published(&site.login(&seller).await).await;
    let voters = site.voters(2).await;
    let of = |after: &Value| json!({ "id": offer, "after": after });
    let mine = |message: &Value| message["votes"]["mine"].clone();

    let mut feed = site
        .follow(site.bff(0), Some(&voters[0]), VOTES, of(&json!(null)))
        .await;
    assert_eq!(mine(&feed.next().await), json!(null));
    site.vote(&voters[0], &offer, "UP").await;
    let message = feed.next().await;
    assert_eq!(mine(&message), "UP");
    let mut feed = site
        .follow(site.bff(1), Some(&voters[0]), VOTES, of(&message["cursor"]))
        .await;
    site.vote(&voters[1], &offer, "DOWN").await;
    assert_eq!(mine(&feed.next().await), "UP");
    site.done(
        Some(&voters[0]),
        "retractVote",
        "votes { version }",
        json!({ "offerId": offer }),
    )
    .await;
    assert_eq!(mine(&feed.next().await), json!(null));
}

#[tokio::test]
async fn a_session_is_told_what_becomes_of_it_and_all_its_feeds_end_on_either_replica() {
    let site = Site::start().await;
    let person: Person = site.register("MOVER").await;
    let seller = site.register("BUSINESS").await;
    let offer = site.published(&site.login(&seller).await).await;
    let (first, second) = (site.login(&person).await, site.login(&person).await);

    let mut ends = site
        .follow(site.bff(1), Some(&first), SESSION, json!({}))
        .await;
    let mut votes = site
        .follow(site.bff(1), Some(&first), VOTES, json!({ "id": offer }))
        .await;
    let mut stays = site
        .follow(site.bff(0), Some(&second), SESSION, json!({}))
        .await;
    assert_eq!(
        (ends.kind().await, stays.kind().await),
        ("OPEN".into(), "OPEN".into())
    );
    votes.next().await;

    site.done(Some(&first), "logout", "", json!({})).await;
    assert_eq!(ends.kind().await, "ENDED");
    assert_eq!(ends.answer().await, None);
    let last = votes.answer().await.unwrap();
    assert_eq!(last["errors"][0]["extensions"]["reason"], "TOKEN_REVOKED");
    assert_eq!(votes.answer().await, None);

    let third = site.login(&person).await;
    let input = json!({ "currentPassword": PASSWORD, "newPassword": "another horse battery" });
    site.done(Some(&third), "changePassword", "", input).await;
    assert_eq!(stays.kind().await, "ROLE_CHANGED");
    let last = stays.answer().await.unwrap();
    assert_eq!(last["errors"][0]["extensions"]["reason"], "TOKEN_REVOKED");
    assert_eq!(stays.answer().await, None);
}

#[tokio::test]
async fn a_feed_that_waits_for_its_next_event_holds_up_nobody() {
    let mut site = Site::start().await;
    let mut vars = site.vars.clone();
    vars.insert("REQUESTS_MAX".to_owned(), "1".to_owned());
    vars.insert("REQUEST_QUEUE_MAX".to_owned(), "0".to_owned());
    site.bffs.push(start("bff", crate::start, vars).await);
    let seller = site.register("BUSINESS").await;
    let offer = site.published(&site.login(&seller).await).await;

    let variables = json!({ "id": offer });
    let first = site
        .follow(site.bff(0), None, VOTES, variables)
        .await
        .next()
        .await;
    let variables = json!({ "id": offer, "after": first["cursor"] });
    let mut waits = site.follow(site.bff(2), None, VOTES, variables).await;
    // Far less than a request may take.
    let limit = Duration::from_secs(5);
    until_within(limit, "the turn to be over", async || {
        let query = "{ offerOfTheDay(area: \"berlin-mitte\") { id } }";
        let answer = site.ask_at(site.bff(2), None, query, json!({})).await;
        answer.get("errors").is_none().then_some(())
    })
    .await;
    let voter = site.voters(1).await.remove(0);
    site.vote(&voter, &offer, "UP").await;
    assert_eq!(version(&waits.next().await), 1);
}
