use std::sync::Mutex;

use http::HeaderValue;
use http::header::{COOKIE, ORIGIN, SET_COOKIE};
use platform::config::AuthArgs;
use platform_contract::Voided;
use platform_testkit::Issuer;

use super::*;

const SITE: &str = "https://api.example.org";

/// Answers what it is told to, and remembers what it was asked.
#[derive(Clone, Default)]
struct Desk(Arc<Mutex<(Vec<String>, Answer)>>);

type Answer = Option<Result<Tokens, Status>>;

impl Desk {
    fn answers(&self, answer: Result<Tokens, Status>) {
        self.0.lock().unwrap().1 = Some(answer);
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().0.clone()
    }
}

impl Renew for Desk {
    fn renew<'a>(&'a self, refresh_token: &'a str) -> Renewal<'a> {
        let mut desk = self.0.lock().unwrap();
        desk.0.push(refresh_token.to_owned());
        let answer = desk.1.clone().expect("nobody should ask");
        Box::pin(std::future::ready(answer))
    }
}

struct World {
    issuer: Issuer,
    verifier: Verifier,
    desk: Desk,
    sessions: Arc<Sessions>,
}

impl World {
    async fn start() -> World {
        let issuer = Issuer::start().await;
        let args: AuthArgs = platform::config::parse("test", &issuer.vars()).unwrap();
        let desk = Desk::default();
        let sealer = Sealer::from_keys([7; 32], None);
        let url = Url::parse(SITE).unwrap();
        let listed = "https://app.example.org".parse().unwrap();
        World {
            verifier: Verifier::new(&args),
            sessions: Arc::new(Sessions::new(&url, listed, sealer, desk.clone())),
            desk,
            issuer,
        }
    }

    fn tokens(&self, refresh: &str) -> Tokens {
        Tokens {
            access: self.issuer.user("user-mover").sign(),
            access_until: now() + 600,
            refresh: refresh.to_owned(),
            refresh_until: now() + 86_400,
        }
    }

    async fn open(&self, headers: &HeaderMap) -> Result<Opened, Refusal> {
        self.sessions
            .open(&Method::POST, headers, &self.verifier)
            .await
    }

    /// The head of a request from a page of this site, with this in its cookie.
    fn head(&self, kept: &Kept) -> HeaderMap {
        let mut set = HeaderMap::new();
        let value = self.sessions.seal(kept);
        self.sessions.cookie.set(&mut set, &value, 60);
        from_page(&set)
    }

    fn kept(&self, refresh: &str) -> Kept {
        Kept::new(self.tokens(refresh), now())
    }

    /// The same after so much time that its access token is about to end.
    fn due(&self, refresh: &str) -> Kept {
        Kept {
            renew_at: now() - 1,
            ..self.kept(refresh)
        }
    }
}

/// What a browser sends next.
fn from_page(set: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ORIGIN, SITE.parse().unwrap());
    for line in set.get_all(SET_COOKIE) {
        let (pair, attributes) = line.to_str().unwrap().split_once(';').unwrap();
        if !attributes.contains("Max-Age=0;") {
            headers.append(COOKIE, pair.parse().unwrap());
        }
    }
    headers
}

fn written(opened: &Opened) -> HeaderMap {
    let mut set = HeaderMap::new();
    opened.jar.write(&mut set);
    set
}

fn is_cleared(set: &HeaderMap) -> bool {
    let mut lines = set.get_all(SET_COOKIE).iter();
    set.contains_key(SET_COOKIE)
        && lines.all(|line| line.to_str().unwrap().contains("=; Max-Age=0;"))
}

fn away() -> Status {
    platform::error::Refusal::new(PlatformReason::DependencyUnavailable, "away").into()
}

fn ended() -> Status {
    platform::error::Refusal::new(PlatformReason::TokenInvalid, "ended").into()
}

#[tokio::test]
async fn a_session_that_is_kept_opens_again_and_shows_no_token() {
    let world = World::start().await;
    let nobody = world.open(&from_page(&HeaderMap::new())).await.unwrap();
    assert_eq!(nobody.caller.as_ref().unwrap(), &Caller::Nobody);
    assert!(written(&nobody).is_empty());

    let tokens = world.tokens("first");
    nobody.jar.keep(tokens.clone()).unwrap();
    let set = written(&nobody);
    assert!(!format!("{:?}", set.get_all(SET_COOKIE)).contains(&tokens.access));
    for line in set.get_all(SET_COOKIE) {
        let line = line.to_str().unwrap();
        assert!(
            line.starts_with("__Host-session") && line.contains("HttpOnly"),
            "{line}"
        );
        assert!(!line.contains(&tokens.access) && !line.contains(&tokens.refresh));
    }
    let opened = world.open(&from_page(&set)).await.unwrap();
    assert!(matches!(opened.caller, Ok(Caller::User(_))));
    assert_eq!(opened.jar.refresh_token(), Some("first"));
    assert!(written(&opened).is_empty(), "nothing is new");
    assert!(world.desk.asked().is_empty());
}

#[tokio::test]
async fn a_token_about_to_end_is_exchanged_and_the_cookie_with_it() {
    let world = World::start().await;
    world.desk.answers(Ok(world.tokens("second")));
    let head = world.head(&world.due("first"));
    // Two tabs.
    for _ in 0..2 {
        let opened = world.open(&head).await.unwrap();
        assert!(opened.caller.is_ok());
        let next = world.open(&from_page(&written(&opened))).await.unwrap();
        assert_eq!(next.jar.refresh_token(), Some("second"));
        assert!(written(&next).is_empty());
    }
    assert_eq!(world.desk.asked(), ["first", "first"]);
}

#[tokio::test]
async fn rights_that_have_changed_are_read_anew() {
    let world = World::start().await;
    let user = world.issuer.user("user-mover");
    let mut tokens = world.tokens("first");
    tokens.access = user.sign();
    world
        .verifier
        .revoke(&Voided::Below {
            subject: user.user_id().to_string(),
            access_version: 1_000,
        })
        .unwrap();
    world.desk.answers(Ok(world.tokens("second")));
    let opened = world.open(&world.head(&Kept::new(tokens, now()))).await;
    let opened = opened.unwrap();
    assert!(opened.caller.is_ok(), "{:?}", opened.caller);
    assert!(!is_cleared(&written(&opened)));
    assert_eq!(world.desk.asked(), ["first"]);
}

#[tokio::test]
async fn a_session_that_has_ended_is_told_and_its_cookie_taken_back() {
    let world = World::start().await;
    world.desk.answers(Err(ended()));
    let opened = world.open(&world.head(&world.due("first"))).await.unwrap();
    assert_eq!(
        opened.caller.as_ref().unwrap_err().code(),
        Code::Unauthenticated
    );
    assert!(is_cleared(&written(&opened)));

    let other = Sealer::from_keys([8; 32], None);
    let plain = serde_json::to_vec(&world.kept("first")).unwrap();
    let over = Kept {
        refresh_until: now() - 1,
        ..world.kept("first")
    };
    let mut heads = vec![world.head(&over)];
    for value in [
        format!("1.{}", other.seal(PURPOSE, &plain)),
        format!("1.{}", other.seal("page", &plain)),
        "1.x".to_owned(),
        "2.x".to_owned(),
        String::new(),
    ] {
        let mut head = from_page(&HeaderMap::new());
        let cookie = format!("__Host-session={value}");
        head.insert(COOKIE, HeaderValue::try_from(cookie).unwrap());
        heads.push(head);
    }
    for head in heads {
        let opened = world.open(&head).await.unwrap();
        assert_eq!(
            opened.caller.as_ref().unwrap_err().code(),
            Code::Unauthenticated
        );
        assert!(is_cleared(&written(&opened)), "{head:?}");
    }
}

#[tokio::test]
async fn while_the_issuer_is_away_a_token_is_good_to_its_end() {
    let world = World::start().await;
    world.desk.answers(Err(away()));
    let opened = world.open(&world.head(&world.due("first"))).await.unwrap();
    assert!(opened.caller.is_ok());
    assert!(written(&opened).is_empty());

    let over = Kept {
        access_until: now() - 1,
        ..world.due("first")
    };
    let opened = world.open(&world.head(&over)).await.unwrap();
    assert_eq!(
        opened.caller.as_ref().unwrap_err().code(),
        Code::Unavailable
    );
    assert!(written(&opened).is_empty(), "the session may live");
}

#[tokio::test]
async fn a_cookie_is_for_pages_of_this_site_and_for_nobody_with_a_token() {
    let world = World::start().await;
    let head = world.head(&world.kept("first"));
    let refused = async |origin: Option<&str>| {
        let mut head = head.clone();
        head.remove(ORIGIN);
        if let Some(origin) = origin {
            head.insert(ORIGIN, origin.parse().unwrap());
        }
        world.open(&head).await.err().map(|refusal| refusal.word)
    };
    assert_eq!(refused(Some(SITE)).await, None);
    assert_eq!(refused(Some("https://app.example.org")).await, None);
    for origin in [Some("https://evil.example.org"), Some("null"), None] {
        assert_eq!(refused(origin).await, Some("ORIGIN_REFUSED"));
    }

    let mut both = head.clone();
    both.insert(AUTHORIZATION, "Bearer x".parse().unwrap());
    let refusal = world.open(&both).await.err().unwrap();
    assert_eq!(refusal.word, "CREDENTIALS_AMBIGUOUS");
    assert_eq!(refusal.http, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn another_site_cannot_log_anybody_in() {
    let world = World::start().await;
    let mut head = HeaderMap::new();
    head.insert(ORIGIN, "https://evil.example".parse().unwrap());
    let opened = world.open(&head).await.unwrap();
    let status = opened.jar.keep(world.tokens("first")).unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(written(&opened).is_empty());
    assert_eq!(
        Jar::none().ready().unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[test]
fn a_short_life_is_renewed_in_its_last_quarter() {
    let tokens = |life: i64| Tokens {
        access: String::new(),
        access_until: 1_000 + life,
        refresh: String::new(),
        refresh_until: 9_999,
    };
    assert_eq!(Kept::new(tokens(600), 1_000).renew_at, 1_540);
    assert_eq!(Kept::new(tokens(8), 1_000).renew_at, 1_006);
    assert_eq!(Kept::new(tokens(-5), 1_000).renew_at, 995);
}
