"""What provokes the reasons of the GraphQL endpoint."""

import hashlib
import http.client
import json
import tempfile
import urllib.parse

from provoking import EventStream, as_, from_errors, from_http, further, provokes
from provoking_services import LOGIN
from stack import Client

ASK = {"query": "{ __typename }"}
# The form in which what is not executed has a status of its own.
NEW = {"accept": "application/graphql-response+json"}
STREAM_TOKEN = "x-graphql-event-stream-token"
VOTES = "subscription($offer: ID!, $after: String) { offerVotes(offerId: $offer, after: $after) { cursor } }"


def strict(client, body, **headers):
    return from_http(client, body, headers=NEW | headers)


@provokes("GRAPHQL_REQUEST_MALFORMED", http=400)
def _(world):
    return strict(world.nobody, "[]")


@provokes("GRAPHQL_MEDIA_TYPE_UNSUPPORTED", http=415)
def _(world):
    return from_http(world.nobody, ASK, headers={"content-type": "text/plain"})


@provokes("GRAPHQL_NOT_ACCEPTABLE", http=406)
def _(world):
    return from_http(world.nobody, ASK, headers={"accept": "image/png"})


@provokes("GRAPHQL_METHOD_NOT_ALLOWED", http=405)
def _(world):
    query = urllib.parse.urlencode({"query": "mutation { logout(input: {}) { userErrors { code } } }"})
    return from_http(world.nobody, None, method="GET", path=f"/graphql?{query}")


def cookie(world):
    """A session as a browser keeps it."""
    login = {"email": world.mover.email, "password": world.mover.password, "session": "COOKIE"}
    body = json.dumps({"query": LOGIN, "variables": {"input": login}})
    # Who sets a cookie must be asked by a page of its own.
    code, headers, content = Client(world.urls).send(body, headers={"sec-fetch-site": "same-origin"})
    assert code == 200 and headers["set-cookie"], content
    return headers["set-cookie"].split(";")[0]


@provokes("ORIGIN_REFUSED", http=403)
def _(world):
    return from_http(world.nobody, ASK, headers={"cookie": cookie(world), "sec-fetch-site": "cross-site"})


@provokes("CREDENTIALS_AMBIGUOUS", http=400)
def _(world):
    return strict(world.mover, ASK, cookie=cookie(world), **{"sec-fetch-site": "same-origin"})


@provokes("API_KEY_INVALID", http=401)
def _(world):
    with further("bff", API_KEYS=f"web {'0123456789abcdef' * 2} 100/1m") as address:
        return from_http(Client([f"http://{address}/graphql"]), ASK, headers={"x-api-key": "wrong"})


@provokes("RATE_EXCEEDED", http=429)
def _(world):
    # Without Redis it has limits of its own, and takes nothing from those of the others.
    with further("bff", RATE_ADDRESS="1/1h", REDIS_URL="redis://:x@127.0.0.1:1") as address:
        narrow = Client([f"http://{address}/graphql"])
        narrow.data(ASK["query"])
        return from_http(narrow, ASK)


def persisted(query):
    return {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(query.encode()).hexdigest()}}


@provokes("PERSISTED_QUERY_NOT_FOUND", http=400)
def _(world):
    return strict(world.nobody, {"extensions": persisted(f"{{ __typename }} # {world.run}")})


@provokes("PERSISTED_QUERY_MISMATCH", http=400)
def _(world):
    return strict(world.nobody, ASK | {"extensions": persisted("{ another }")})


@provokes("PERSISTED_QUERY_NOT_SUPPORTED", http=400)
def _(world):
    with further("bff", PERSISTED_AUTOMATIC_BYTES_MAX="0") as address:
        return strict(Client([f"http://{address}/graphql"]), {"extensions": persisted(ASK["query"])})


@provokes("PERSISTED_QUERY_REQUIRED", http=400)
def _(world):
    with tempfile.NamedTemporaryFile("w") as manifest:
        json.dump({"0" * 32: "{ __typename }"}, manifest)
        manifest.flush()
        production = {"ENVIRONMENT": "production", "PUBLIC_URL": "https://homeward.example"}
        with further("bff", PERSISTED_MANIFEST=manifest.name, **production) as address:
            return strict(Client([f"http://{address}/graphql"]), {"query": "{ viewer { id } }"})


@provokes("GRAPHQL_SYNTAX_INVALID", http=400)
def _(world):
    return strict(world.nobody, {"query": "{"})


@provokes("GRAPHQL_DOCUMENT_INVALID", http=400)
def _(world):
    return strict(world.nobody, {"query": "{ nothing }"})


@provokes("GRAPHQL_DOCUMENT_TOO_LARGE", http=400)
def _(world):
    return strict(world.nobody, {"query": " ".join(["{", *(f"a{n}: __typename" for n in range(2000)), "}"])})


@provokes("GRAPHQL_OPERATION_UNKNOWN", http=400)
def _(world):
    return strict(world.nobody, {"query": "query A { __typename }", "operationName": "B"})


@provokes("GRAPHQL_INPUT_INVALID", http=400)
def _(world):
    return strict(world.nobody, {"query": "query($id: ID!) { node(id: $id) { id } }"})


@provokes("GRAPHQL_STREAM_REQUIRED", http=400)
def _(world):
    return strict(world.nobody, {"query": VOTES, "variables": {"offer": world.offer}})


@provokes("CURSOR_INVALID", http=200)
def _(world):
    with EventStream(world.urls[0], VOTES, {"offer": world.offer, "after": "x"}) as stream:
        return from_errors(stream.first())


@provokes("STREAMS_EXCEEDED", http=503)
def _(world):
    with further("bff", LIVE_MAX="1") as address:
        url = f"http://{address}/graphql"
        with EventStream(url, VOTES, {"offer": world.offer}) as first:
            assert first.first()["data"]
            with EventStream(url, VOTES, {"offer": world.offer}) as second:
                return second.refusal()


@provokes("STREAM_UNKNOWN", http=404)
def _(world):
    with EventStream(world.urls[0], None, method="GET", **{STREAM_TOKEN: "unknown"}) as stream:
        return stream.refusal()


@provokes("STREAM_TAKEN", http=409)
def _(world):
    url = urllib.parse.urlsplit(world.urls[0])
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    connection.request("PUT", url.path, headers=dict(as_(world.mover)))
    token = connection.getresponse().read().decode()
    connection.close()
    open_ = {"method": "GET", "token": world.mover.token, STREAM_TOKEN: token}
    with EventStream(world.urls[0], None, **open_), EventStream(world.urls[0], None, **open_) as second:
        return second.refusal()
