"""Bad input over HTTP: a clear typed error, nothing changed, nobody else disturbed."""

import json
import urllib.parse

from stack import CAST_VOTE, CREATE_OFFER, REGISTER, Client, new_id, publish_offer, register, status

OFFER = "query($id: ID!) { offer(id: $id) { version state votes { up down version } } }"
UPDATE_OFFER = """mutation($input: UpdateOfferInput!) { updateOffer(input: $input) {
  offer { version } userErrors { code message field } } }"""


def extensions(answer):
    """Code and reason of the only error of an answer."""
    errors = answer.get("errors") or []
    assert len(errors) == 1, answer
    return errors[0].get("extensions", {})


def refused_field(payload, field):
    """The payload holds nothing but a user error about the field."""
    errors = payload["userErrors"]
    assert errors and errors[0]["code"] == "FIELD_INVALID", payload
    assert any(error["field"] and error["field"][-1] == field for error in errors), (field, errors)


def bodies(client, offer):
    """What is wrong with the request itself."""
    state = client.data(OFFER, id=offer)
    vote = f'mutation {{ castVote(input: {{offerId: "{offer}", value: UP}}) {{ votes {{ up }} }} }}'

    code, _, content = client.send(json.dumps({"query": "{ __typename " + " " * 200_000 + "}"}))
    assert code == 413, (code, content[:200])
    assert len(content) < 2000, "an error body grew with the request"

    code, _, _ = client.send(None, method="GET", path="/graphql?" + urllib.parse.urlencode({"query": vote}))
    assert code == 405, code
    code, _, _ = client.send(json.dumps({"query": vote}), headers={"content-type": "text/plain"})
    assert code == 415, code
    for body in ["", "{", "[]", "null", '{"query": 7}', '{"query": "{"}', '{"query": "{ nothing }"}']:
        code, _, content = client.send(body)
        answer = json.loads(content)
        assert 400 <= code < 500 or answer["errors"], (body, code, content)
        assert "data" not in answer, (body, content)
    assert client.data(OFFER, id=offer) == state, "a refused request had an effect"


def hostile_documents(client):
    """What would abort or hang the process is refused, and the process goes on."""
    nested = "{ offers(filter: {kinds: " + "[" * 3000 + "]" * 3000 + "}) { nodes { id } } }"
    doubling = "query { ...f0 } " + " ".join(
        f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(30)
    )
    doubling += " fragment f30 on Query { __typename }"
    many = "query(" + " ".join(f"$v{n}: Int" for n in range(10_000)) + ") { __typename }"
    for document in (nested, doubling, many):
        answer = client.ask(document) if len(document) < 60_000 else None
        if answer is None:
            code, _, content = client.send(json.dumps({"query": document}))
            assert code in (400, 413), code
            answer = json.loads(content)
        assert answer["errors"] and "data" not in answer, json.dumps(answer)[:300]
        assert client.data("{ __typename }") == {"__typename": "Query"}


def repeated_mutation(client, offer):
    """The same root field twice is one effect, or none."""
    before = client.data(OFFER, id=offer)["offer"]["votes"]["version"]
    field = f'castVote(input: {{offerId: "{offer}", value: DOWN}}) {{ votes {{ version }} }}'
    client.ask(f"mutation {{ {field} {field} }}")
    after = client.data(OFFER, id=offer)["offer"]["votes"]["version"]
    assert after in (before, before + 1), (before, after)


def texts_and_prices(seller):
    """Text with what does not belong there, and prices that are none."""
    good = {
        "title": "Crew of two",
        "description": "A van.",
        "kind": "CREW",
        "area": "berlin-mitte",
        "price": {"amountMinor": 100, "currency": "EUR"},
    }
    for field, value in [
        ("title", ""),
        ("title", "a\x00b"),
        ("title", "a\u202eb"),
        ("title", "a\u2066b"),
        ("title", "a\nb"),
        ("title", "x" * 121),
        ("description", "x" * 4001),
        ("description", "bell \x07"),
        ("area", "Berlin Mitte"),
        ("area", "x"),
        ("price", {"amountMinor": -1, "currency": "EUR"}),
        ("price", {"amountMinor": 1_000_000_001, "currency": "EUR"}),
    ]:
        answer = seller.ask(CREATE_OFFER, input=good | {field: value})
        refused_field(answer["data"]["createOffer"], field)
    for price in [
        {"amountMinor": 2**53, "currency": "EUR"},
        {"amountMinor": 1.5, "currency": "EUR"},
        {"amountMinor": "100", "currency": "EUR"},
        {"amountMinor": 100, "currency": "euro"},
    ]:
        answer = seller.ask(CREATE_OFFER, input=good | {"price": price})
        if "errors" not in answer:
            refused_field(answer["data"]["createOffer"], "price")
    code, _, content = seller.send(
        json.dumps({"query": CREATE_OFFER, "variables": {"input": good | {"title": "x" * 1_000_000}}})
    )
    assert code == 413, (code, content[:200])


def ids_and_owners(urls, seller, offer, run):
    """Ids that are none, offers of somebody else, votes by nobody."""
    nobody = Client(urls)
    for wrong in ["", "x", "../..", offer[:-2] + "!!", "T" * 4000]:
        answer = nobody.ask("query($id: ID!) { node(id: $id) { id } offer(id: $id) { id } }", id=wrong)
        assert answer["data"]["node"] is None and answer["data"]["offer"] is None, (wrong, answer)
    vote = {"requestId": new_id(), "offerId": offer, "value": "UP"}
    assert extensions(nobody.ask(CAST_VOTE, input=vote))["code"] == "UNAUTHENTICATED"

    rival = register(urls, "BUSINESS", run, "rival")
    payload = rival.ask(UPDATE_OFFER, input={"id": offer, "title": "Mine now"})["data"]["updateOffer"]
    assert payload["offer"] is None and payload["userErrors"][0]["code"] == "OFFER_NOT_FOUND", payload
    answer = register(urls, "MOVER", run, "mover").ask(
        CREATE_OFFER,
        input={
            "title": "No seller",
            "description": "",
            "kind": "CREW",
            "area": "berlin",
            "price": {"amountMinor": 1, "currency": "EUR"},
        },
    )
    assert extensions(answer)["code"] == "PERMISSION_DENIED", answer
    stale = seller.ask(UPDATE_OFFER, input={"id": offer, "title": "Later", "expectedVersion": 77})
    assert stale["data"]["updateOffer"]["userErrors"][0]["code"] == "VERSION_MISMATCH", stale


def same_request_id(seller, offer, other):
    """A repeat is answered from the record; another body under the same id is refused."""
    vote = {"requestId": new_id(), "offerId": offer, "value": "UP"}
    first = seller.payload("castVote", CAST_VOTE, input=vote)
    assert seller.payload("castVote", CAST_VOTE, input=vote) == first
    payload = seller.ask(CAST_VOTE, input=vote | {"offerId": other})["data"]["castVote"]
    assert payload["userErrors"][0]["code"] == "REQUEST_ID_REUSED", payload


def accounts(urls, run):
    """An e-mail address in other case is the same; a wrong password and an unknown address are alike."""
    known = register(urls, "MOVER", run, "Known")
    again = {
        "email": known.email.upper(),
        "password": "another password",
        "displayName": "Twin",
        "kind": "MOVER",
    }
    payload = Client(urls).ask(REGISTER, input=again)["data"]["register"]
    assert payload["userErrors"][0]["code"] == "EMAIL_TAKEN", payload

    login = """mutation($input: LoginInput!) { login(input: $input) {
                 tokens { accessToken } userErrors { code message field } } }"""
    wrong = Client(urls).ask(login, input={"email": known.email, "password": "wrong password"})
    unknown = Client(urls).ask(login, input={"email": f"nobody-{run}@example.com", "password": "wrong password"})
    assert wrong == unknown and wrong["data"]["login"]["userErrors"], (wrong, unknown)

    for forged in ["x", "a.b.c", known.token[:-4] + "AAAA", known.token + "x", "x" * 5000]:
        answer = Client(urls, forged).ask("{ viewer { id } }")
        assert extensions(answer)["code"] == "UNAUTHENTICATED", (forged[:20], answer)


def pages(urls):
    """A cursor that is damaged or of another query is refused; a page has a limit."""
    reader = Client(urls)
    document = """query($first: Int, $after: String, $filter: OfferFilter) {
      offers(first: $first, after: $after, filter: $filter) { nodes { id } pageInfo { endCursor } } }"""
    cursor = reader.data(document, first=2)["offers"]["pageInfo"]["endCursor"]
    flipped = cursor[:-3] + ("A" if cursor[-3] != "A" else "B") + cursor[-2:]
    for variables in [
        {"after": flipped},
        {"after": "x"},
        {"after": cursor, "filter": {"area": "another-area"}},
    ]:
        assert extensions(reader.ask(document, **variables))["reason"] == "PAGE_TOKEN_INVALID", variables
    for first in (101, -1):
        assert reader.ask(document, first=first)["errors"], first


def main():
    urls = status()["graphql"]
    run = new_id()[:8]
    seller = register(urls, "BUSINESS", run, "seller")
    offer, other = publish_offer(seller, "First"), publish_offer(seller, "Second")
    bodies(seller, offer)
    hostile_documents(Client(urls))
    repeated_mutation(seller, offer)
    texts_and_prices(seller)
    ids_and_owners(urls, seller, offer, run)
    same_request_id(seller, offer, other)
    accounts(urls, run)
    pages(urls)


if __name__ == "__main__":
    main()
