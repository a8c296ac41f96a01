//! Live tokens are cut off: two replicas each of two services, every one a process of its own.

use std::time::{Duration, Instant};

use api::homeward::{
    catalog::v1::{GetOfferRequest, catalog_service_client::CatalogServiceClient},
    identity::v1::{
        AddMemberRequest, ChangePasswordRequest, GetViewerRequest, LogoutRequest, MemberRole,
        RefreshSessionRequest, RemoveMemberRequest, UpdateMemberRequest,
    },
};
use platform_contract::PlatformReason;
use platform_testkit::{Kafka, Stack, kafka, until};

use super::{
    roles::{grant_request, revoke_request},
    *,
};

/// What the platform promises.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(2);
/// Of the services, whatever they answer besides.
const GOOD: &str = "believed";

struct Site {
    stack: Stack,
    identity: [IdentityServiceClient<Channel>; 2],
    catalog: [CatalogServiceClient<Channel>; 2],
    _kafka: Kafka,
}

impl Site {
    async fn start() -> Site {
        let kafka = kafka();
        let mut identity = settings();
        identity.remove("SERVICE_SECRETS");
        identity.extend(kafka.vars());
        let stack = Stack::of(["identity", "catalog"])
            .replicas("identity", 2)
            .replicas("catalog", 2)
            .vars("identity", identity)
            .vars("catalog", kafka.vars())
            .start()
            .await;
        let channel = |service, replica| {
            let url = format!("http://{}", stack.grpc_addr(service, replica));
            Channel::from_shared(url).unwrap().connect_lazy()
        };
        let site = Site {
            identity: [0, 1].map(|n| IdentityServiceClient::new(channel("identity", n))),
            catalog: [0, 1].map(|n| CatalogServiceClient::new(channel("catalog", n))),
            stack,
            _kafka: kafka,
        };
        // All of them listen from here on: what counts is the time from an event to its effect.
        let (_, session) = site.somebody(UserKind::Mover).await;
        site.logout(&session).await;
        until("every replica to hear of a logout", async || {
            site.all_say(&session, PlatformReason::TokenRevoked.word())
                .await
        })
        .await;
        site
    }

    fn client(&self) -> IdentityServiceClient<Channel> {
        self.identity[0].clone()
    }

    async fn somebody(&self, kind: UserKind) -> (Person, Session) {
        let request = registration(kind);
        let response = self.client().register(request.clone()).await.unwrap();
        let person = Person {
            email: request.email,
            registered: response.into_inner(),
        };
        let session = self.login(&person).await;
        (person, session)
    }

    async fn login(&self, person: &Person) -> Session {
        let response = self.client().login(person.login()).await.unwrap();
        Session::of(response.into_inner())
    }

    async fn logout(&self, session: &Session) {
        let request = session.request(LogoutRequest {});
        self.client().logout(request).await.unwrap();
    }

    async fn refresh(&self, session: &Session) -> Result<Session, Status> {
        let request = RefreshSessionRequest {
            refresh_token: session.refresh.clone(),
        };
        let response = self.client().refresh_session(request).await?;
        Ok(Session::from(response.into_inner().tokens.unwrap()))
    }

    /// What each replica thinks of a token.
    async fn verdicts(&self, session: &Session) -> [String; 4] {
        let [one, two] = &self.identity;
        let [three, four] = &self.catalog;
        let identity = async |client: &IdentityServiceClient<Channel>| {
            let request = session.request(GetViewerRequest {});
            let answer = client.clone().get_viewer(request).await;
            answer.map(drop)
        };
        let catalog = async |client: &CatalogServiceClient<Channel>| {
            let request = session.request(GetOfferRequest {
                offer_id: request_id(),
            });
            let answer = client.clone().get_offer(request).await;
            answer.map(drop)
        };
        let (one, two, three, four) =
            tokio::join!(identity(one), identity(two), catalog(three), catalog(four));
        [one, two, three, four].map(|answer| match answer {
            Ok(()) => GOOD.to_owned(),
            Err(status) => match Details::of(&status).reason {
                // Nobody has such an offer, and that is not the token's fault.
                Some(reason) if reason == "OFFER_NOT_FOUND" => GOOD.to_owned(),
                reason => reason.unwrap_or_else(|| panic!("{status:?}")),
            },
        })
    }

    async fn all_say(&self, session: &Session, word: &str) -> Option<()> {
        let verdicts = self.verdicts(session).await;
        verdicts.iter().all(|verdict| verdict == word).then_some(())
    }

    async fn assert_good(&self, session: &Session) {
        assert_eq!(self.verdicts(session).await, [GOOD; 4]);
    }

    /// Since `since`, when the request was answered.
    async fn assert_cut_off(&self, session: &Session, since: Instant) {
        let left = CUT_OFF_WITHIN.saturating_sub(since.elapsed());
        platform_testkit::until_within(left, "every replica to refuse the token", async || {
            self.all_say(session, PlatformReason::TokenRevoked.word())
                .await
        })
        .await;
    }
}

#[tokio::test]
async fn a_void_token_is_refused_within_two_seconds_by_every_replica_of_every_service() {
    let site = Site::start().await;
    let (founder, owner) = site.somebody(UserKind::Business).await;
    let (bystander, untouched) = site.somebody(UserKind::Mover).await;
    site.assert_good(&untouched).await;

    // A logout ends its own session, and no other of the same user.
    let (person, stays) = site.somebody(UserKind::Mover).await;
    let session = site.login(&person).await;
    site.assert_good(&session).await;
    site.logout(&session).await;
    site.assert_cut_off(&session, Instant::now()).await;
    site.assert_good(&stays).await;

    // A new password voids all tokens; the session that changed it goes on with the next.
    let other = site.login(&person).await;
    site.assert_good(&other).await;
    let change = ChangePasswordRequest {
        request_id: request_id(),
        current_password: PASSWORD.to_owned(),
        new_password: PASSWORD.to_owned(),
    };
    let mut client = site.client();
    client.change_password(stays.request(change)).await.unwrap();
    let since = Instant::now();
    site.assert_cut_off(&other, since).await;
    site.assert_cut_off(&stays, since).await;
    let goes_on = site.refresh(&stays).await.unwrap();
    site.assert_good(&goes_on).await;
    assert!(site.refresh(&other).await.is_err());

    // So does a lower role, and then none.
    let add = AddMemberRequest {
        request_id: request_id(),
        organisation_id: founder.organisation().to_owned(),
        email: person.email.clone(),
        role: MemberRole::Manager.into(),
    };
    client.add_member(owner.request(add)).await.unwrap();
    let manager = site.refresh(&goes_on).await.unwrap();
    site.assert_good(&manager).await;
    let lower = UpdateMemberRequest {
        request_id: request_id(),
        organisation_id: founder.organisation().to_owned(),
        user_id: person.id().to_owned(),
        role: MemberRole::Member.into(),
    };
    client.update_member(owner.request(lower)).await.unwrap();
    site.assert_cut_off(&manager, Instant::now()).await;
    let member = site.refresh(&manager).await.unwrap();
    site.assert_good(&member).await;
    let remove = RemoveMemberRequest {
        request_id: request_id(),
        organisation_id: founder.organisation().to_owned(),
        user_id: person.id().to_owned(),
    };
    client.remove_member(owner.request(remove)).await.unwrap();
    site.assert_cut_off(&member, Instant::now()).await;
    let nobody = site.refresh(&member).await.unwrap();
    site.assert_good(&nobody).await;

    // Somebody has a copy of an old refresh token.
    let reused = site.refresh(&member).await;
    let once_more = reused.map(drop).err();
    assert!(once_more.is_none(), "the one before is a repeat");
    let latest = site.refresh(&nobody).await.unwrap();
    site.assert_good(&latest).await;
    assert_refused(
        site.refresh(&member).await.map(drop),
        ErrorReason::RefreshTokenReused,
    );
    site.assert_cut_off(&latest, Instant::now()).await;
    let again = site.login(&person).await;
    site.assert_good(&again).await;

    site.assert_good(&untouched).await;
    site.assert_good(&site.login(&bystander).await).await;
}

#[tokio::test]
async fn a_role_that_was_taken_is_gone_within_two_seconds_from_every_replica() {
    let site = Site::start().await;
    let (first, _) = site.somebody(UserKind::Mover).await;
    sqlx::query(
        "INSERT INTO user_roles (user_id, role, granted_at) VALUES ($1, 'operator', now())",
    )
    .bind(Uuid::try_parse(first.id()).unwrap())
    .execute(&mut site.stack.db("identity").connect().await)
    .await
    .unwrap();
    let operator = site.login(&first).await;
    let (person, plain) = site.somebody(UserKind::Mover).await;
    let mut client = site.client();
    let request = grant_request(person.id(), "operator");
    client.grant_role(operator.request(request)).await.unwrap();
    site.assert_good(&plain).await;
    let raised = site.refresh(&plain).await.unwrap();
    assert_eq!(raised.claims().roles, ["user-mover", "operator"]);
    site.assert_good(&raised).await;

    let request = revoke_request(person.id(), "operator");
    client.revoke_role(operator.request(request)).await.unwrap();
    site.assert_cut_off(&raised, Instant::now()).await;
    let lowered = site.refresh(&raised).await.unwrap();
    assert_eq!(lowered.claims().roles, ["user-mover"]);
    site.assert_good(&lowered).await;
    site.assert_good(&operator).await;
}

#[tokio::test]
async fn a_replica_that_starts_later_knows_what_is_void() {
    let site = Site::start().await;
    let (_, session) = site.somebody(UserKind::Mover).await;
    site.logout(&session).await;
    site.assert_cut_off(&session, Instant::now()).await;
    site.stack.restart("catalog", 1).await;
    until("the new replica to know", async || {
        site.all_say(&session, PlatformReason::TokenRevoked.word())
            .await
    })
    .await;
}
