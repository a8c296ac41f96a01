"""What provokes the reasons of every service, and those of each."""

import time

from forged_tokens import signing_key
from forgeries import Mint
from grpc_statuses import HeldLock, waiting_statements
from provoking import as_, from_call, from_http, further, provokes
from stack import CAST_VOTE, in_parallel, new_id, rows, wait_until

LOGIN = """mutation($input: LoginInput!) { login(input: $input) {
  tokens { accessToken refreshToken } userErrors { code } } }"""
REFRESH = """mutation($input: RefreshSessionInput!) { refreshSession(input: $input) {
  tokens { accessToken refreshToken } userErrors { code } } }"""
LOGOUT = "mutation { logout(input: {}) { userErrors { code } } }"


@provokes("FIELD_INVALID")
def _(world):
    return from_call(world.catalog.GetOffer, world.catalog_messages.GetOfferRequest(offer_id="no id"))


@provokes("REQUEST_UNDECODABLE")
def _(world):
    raw = world.channel("catalog").unary_unary("/homeward.catalog.v1.CatalogService/GetOffer")
    return from_call(raw, b"\xff\xff\xff\xff")


@provokes("MESSAGE_TOO_LARGE")
def _(world):
    large = world.catalog_messages.ListOffersRequest(search="x" * 3_000_000)
    return from_call(world.catalog.ListOffers, large)


@provokes("PAGE_TOKEN_INVALID")
def _(world):
    return from_call(world.catalog.ListOffers, world.catalog_messages.ListOffersRequest(page_token="x"))


@provokes("REQUEST_ID_REUSED")
def _(world):
    vote = world.vote()
    world.catalog.CastVote(vote, metadata=as_(world.mover))
    vote.value = world.catalog_messages.VOTE_VALUE_DOWN
    return from_call(world.catalog.CastVote, vote, metadata=as_(world.mover))


@provokes("VERSION_MISMATCH")
def _(world):
    stale = world.catalog_messages.RetireOfferRequest(request_id=new_id(), offer_id=world.offer_id, expected_version=77)
    return from_call(world.catalog.RetireOffer, stale, metadata=as_(world.seller))


@provokes("TOKEN_MISSING")
def _(world):
    return from_call(world.catalog.CastVote, world.vote())


@provokes("TOKEN_INVALID")
def _(world):
    return from_call(world.catalog.CastVote, world.vote(), metadata=as_("a.b.c"))


@provokes("TOKEN_EXPIRED")
def _(world):
    _, key = signing_key()
    mint, now = Mint(world.mover.token, key, key.public_key()), int(time.time())
    old = mint.claiming(iat=now - 700, nbf=now - 700, exp=now - 100)
    return from_call(world.catalog.CastVote, world.vote(), metadata=as_(old))


@provokes("TOKEN_REVOKED")
def _(world):
    leaver = world.person()
    leaver.data(LOGOUT)
    ask = lambda: from_call(world.catalog.CastVote, world.vote(), metadata=as_(leaver))
    return world.until_refused(ask, "TOKEN_REVOKED")


@provokes("ROLE_REQUIRED")
def _(world):
    return from_call(world.catalog.CreateOffer, world.catalog_messages.CreateOfferRequest(), metadata=as_(world.mover))


@provokes("OVERLOADED")
def _(world):
    with further("catalog", CALLS_MAX="1", CALL_QUEUE_AGE_MAX="50ms") as address:
        narrow = world.stub("catalog", address)
        lock = HeldLock("catalog", f"SELECT 1 FROM tallies WHERE offer_id = '{world.offer_id}' FOR UPDATE")
        with lock:
            first = narrow.CastVote.future(world.vote(), metadata=as_(world.person()), timeout=20)
            wait_until(waiting_statements, "the one call that fits is under way")
            said = from_call(narrow.GetOffer, world.catalog_messages.GetOfferRequest(offer_id=world.offer_id))
        first.result()
    return said


@provokes("DEADLINE_PASSED")
def _(world):
    vote = {"requestId": new_id(), "offerId": world.offer, "value": "UP"}
    with HeldLock("catalog", f"SELECT 1 FROM tallies WHERE offer_id = '{world.offer_id}' FOR UPDATE"):
        body = {"query": CAST_VOTE, "variables": {"input": vote}}
        return from_http(world.person(), body, headers={"request-timeout": "300ms"})


@provokes("DEPENDENCY_UNAVAILABLE")
def _(world):
    nowhere = "postgres://catalog:x@127.0.0.1:1/catalog"
    with further("catalog", DATABASE_URL=nowhere) as address:
        return from_call(
            world.stub("catalog", address).GetVotes, world.catalog_messages.GetVotesRequest(offer_id=new_id())
        )


@provokes("METHOD_UNKNOWN")
def _(world):
    unknown = world.channel("catalog").unary_unary("/homeward.catalog.v1.CatalogService/NoSuchMethod")
    return from_call(unknown, b"")


class Planted:
    """A trigger that fails every vote on one offer, and nothing else."""

    def __init__(self, name, offer_id, state):
        self.name, self.offer_id, self.state = f"provoked_{name}", offer_id, state

    def __enter__(self):
        rows(
            "catalog",
            f"""CREATE FUNCTION {self.name}() RETURNS trigger LANGUAGE plpgsql AS
                  $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '{self.state}'; END $$;
                GRANT EXECUTE ON FUNCTION {self.name}() TO PUBLIC;
                CREATE TRIGGER {self.name} BEFORE INSERT ON votes FOR EACH ROW
                  WHEN (NEW.offer_id = '{self.offer_id}') EXECUTE FUNCTION {self.name}();""",
        )

    def __exit__(self, *_):
        rows("catalog", f"DROP TRIGGER {self.name} ON votes; DROP FUNCTION {self.name}();")


@provokes("INTERNAL_FAULT")
def _(world):
    with Planted("fault", world.offer_id, "XX000"):
        return from_call(world.catalog.CastVote, world.vote(), metadata=as_(world.person()))


@provokes("CONFLICT_PERSISTS")
def _(world):
    with Planted("conflict", world.offer_id, "40001"):
        return from_call(world.catalog.CastVote, world.vote(), metadata=as_(world.person()))


@provokes("OFFER_NOT_FOUND")
def _(world):
    return from_call(world.catalog.GetOffer, world.catalog_messages.GetOfferRequest(offer_id=new_id()))


def draft(world, **given):
    """A request that makes a draft."""
    fields = {"title": "A draft", "area": "provoked", "kind": world.catalog_messages.OFFER_KIND_CREW}
    request = world.catalog_messages.CreateOfferRequest(request_id=new_id(), **(fields | given))
    request.price.amount_minor, request.price.currency_code = 1, "EUR"
    return request


@provokes("OFFER_NOT_PUBLISHED")
def _(world):
    offer = world.catalog.CreateOffer(draft(world), metadata=as_(world.seller)).offer
    return from_call(world.catalog.CastVote, world.vote(offer_id=offer.id), metadata=as_(world.seller))


@provokes("OFFER_RETIRED")
def _(world):
    messages, seller = world.catalog_messages, as_(world.seller)
    offer = world.catalog.CreateOffer(draft(world), metadata=seller).offer
    world.catalog.RetireOffer(messages.RetireOfferRequest(request_id=new_id(), offer_id=offer.id), metadata=seller)
    publish = messages.PublishOfferRequest(request_id=new_id(), offer_id=offer.id)
    return from_call(world.catalog.PublishOffer, publish, metadata=seller)


@provokes("ORGANISATION_REQUIRED")
def _(world):
    """Who is but a member of the business that they act for offers nothing in its name."""
    clerk, messages = world.person("BUSINESS"), world.identity_messages
    organisation = world.organisation(world.seller)
    add = messages.AddMemberRequest(
        request_id=new_id(), organisation_id=organisation, email=clerk.email, role=messages.MEMBER_ROLE_MEMBER
    )
    world.identity.AddMember(add, metadata=as_(world.seller))
    switch = messages.SwitchOrganisationRequest(organisation_id=organisation)
    token = world.identity.SwitchOrganisation(switch, metadata=as_(clerk)).access_token
    return from_call(world.catalog.CreateOffer, draft(world), metadata=as_(token))


@provokes("EMAIL_TAKEN")
def _(world):
    messages = world.identity_messages
    twin = {"email": world.mover.email.upper(), "password": "another password", "display_name": "Twin"}
    again = messages.RegisterRequest(request_id=new_id(), kind=messages.USER_KIND_MOVER, **twin)
    return from_call(world.identity.Register, again)


@provokes("CREDENTIALS_INVALID")
def _(world):
    wrong = world.identity_messages.LoginRequest(email=world.mover.email, password="not the password")
    return from_call(world.identity.Login, wrong)


@provokes("REFRESH_TOKEN_INVALID")
def _(world):
    return from_call(world.identity.RefreshSession, world.identity_messages.RefreshSessionRequest(refresh_token="x"))


@provokes("REFRESH_TOKEN_REUSED")
def _(world):
    person = world.person()
    login = {"email": person.email, "password": person.password}
    first = token = person.payload("login", LOGIN, input=login)["tokens"]["refreshToken"]
    for _ in range(2):
        token = person.payload("refreshSession", REFRESH, input={"refreshToken": token})["tokens"]["refreshToken"]
    return from_call(world.identity.RefreshSession, world.identity_messages.RefreshSessionRequest(refresh_token=first))


@provokes("LOGIN_OVERLOADED")
def _(world):
    with further("identity", PASSWORD_THREADS="1", PASSWORD_QUEUE_MAX="1") as address:
        narrow, said = world.stub("identity", address), []

        def log_in(number):
            request = world.identity_messages.LoginRequest(email=f"{number}@example.com", password="not the password")
            said.append(from_call(narrow.Login, request))

        wait_until(lambda: log_in("nobody") is None, "the first login")
        in_parallel(16, log_in, range(16))
    return next(one for one in said if one.reason != "CREDENTIALS_INVALID")


@provokes("ORGANISATION_NOT_FOUND")
def _(world):
    members = world.identity_messages.ListMembersRequest(organisation_id=new_id())
    return from_call(world.identity.ListMembers, members, metadata=as_(world.seller))


def own_member(world, **given):
    """A member of the seller's organisation, for a request."""
    return {"request_id": new_id(), "organisation_id": world.organisation(world.seller)} | given


@provokes("MEMBER_NOT_FOUND")
def _(world):
    request = world.identity_messages.RemoveMemberRequest(**own_member(world, user_id=new_id()))
    return from_call(world.identity.RemoveMember, request, metadata=as_(world.seller))


@provokes("MEMBER_EXISTS")
def _(world):
    member = own_member(world, email=world.seller.email, role=world.identity_messages.MEMBER_ROLE_MEMBER)
    return from_call(
        world.identity.AddMember, world.identity_messages.AddMemberRequest(**member), metadata=as_(world.seller)
    )


@provokes("USER_NOT_FOUND")
def _(world):
    member = own_member(world, email=f"{new_id()}@example.com", role=world.identity_messages.MEMBER_ROLE_MEMBER)
    return from_call(
        world.identity.AddMember, world.identity_messages.AddMemberRequest(**member), metadata=as_(world.seller)
    )


@provokes("LAST_OWNER")
def _(world):
    viewer = world.identity.GetViewer(world.identity_messages.GetViewerRequest(), metadata=as_(world.seller))
    request = world.identity_messages.RemoveMemberRequest(**own_member(world, user_id=viewer.user.id))
    return from_call(world.identity.RemoveMember, request, metadata=as_(world.seller))


@provokes("SERVICE_SECRET_INVALID")
def _(world):
    request = world.identity_messages.IssueServiceTokenRequest(service="catalog", secret="x" * 64)
    return from_call(world.identity.IssueServiceToken, request)


@provokes("AREA_WITHOUT_OFFERS")
def _(world):
    request = world.recommendations_messages.GetOfferOfTheDayRequest(area=f"nowhere-{world.run}")
    return from_call(world.stub("recommendations").GetOfferOfTheDay, request)
