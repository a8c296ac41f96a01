"""Clients of others against the schema and every BFF: urql, Apollo's, and what Relay's compiler writes."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import urllib.request

import node
from stack import Client, listening_pid, new_id, publish_offer, register, status, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]


def compile_with_relay(folder):
    """What relay-compiler writes: the file with its documents, and their ids by the names of operations."""
    node.run("graphql_clients", "compile.mjs", str(ROOT / "bff/schema.graphql"), str(folder))
    manifest = folder / "persisted.json"
    ids = {}
    for document_id, text in json.loads(manifest.read_text()).items():
        name = re.match(r"(?:query|mutation) (\w+)", text)[1]
        artifact = (folder / f"src/artifacts/{name}.graphql.js").read_text()
        assert f'"id": "{document_id}"' in artifact and '"text": null' in artifact, artifact
        ids[name] = document_id
    assert sorted(ids) == ["OffersCardQuery", "OffersPageQuery", "OffersQuery", "OffersVoteMutation"], ids
    return manifest, ids


@contextlib.contextmanager
def production(url, manifest, log):
    """A BFF of our own as it is in production, otherwise like the one at `url`: its URL."""
    pid = listening_pid(int(re.search(r":(\d+)/", url)[1]))
    with open(f"/proc/{pid}/environ", encoding="utf-8") as environ:
        variables = dict(entry.split("=", 1) for entry in environ.read().split("\0") if entry)
    http, admin = free_address(), free_address()
    variables |= {
        "ENVIRONMENT": "production",
        "LISTEN_HTTP": http,
        "LISTEN_ADMIN": admin,
        "PERSISTED_MANIFEST": str(manifest),
        "PUBLIC_URL": "https://bff.example.com",
    }
    with open(log, "wb") as output:
        bff = subprocess.Popen([os.readlink(f"/proc/{pid}/exe")], env=variables, stdout=output, stderr=output)
    try:
        wait_until(lambda: bff.poll() is not None or answers(f"http://{admin}/ready"), "a BFF of our own", 30)
        assert bff.poll() is None, log.read_text()
        yield f"http://{http}/graphql"
    finally:
        bff.terminate()
        bff.wait(timeout=30)


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def only_listed(url, ids, seller, area, titles, offer):
    """Documents of the manifest are executed by their ids, and no others in any way."""
    client = Client([url], seller.token)

    def send(**request):
        _, _, content = client.send(json.dumps(request))
        return json.loads(content)

    def run(name, **variables):
        answer = send(documentId=ids[name], variables=variables)
        assert "errors" not in answer, (name, answer)
        return answer["data"]

    first = run("OffersQuery", area=area, id=offer)
    assert first["node"]["id"] == offer and first["node"]["organisation"]["name"], first
    seen, page = [], first["offers"]
    while True:
        seen += [edge["node"]["title"] for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        page = run("OffersPageQuery", area=area, first=2, after=page["pageInfo"]["endCursor"])["offers"]
    assert seen == titles, seen
    assert run("OffersCardQuery", id=offer)["node"]["votes"]["mine"] is None
    vote = {"requestId": new_id(), "offerId": offer, "value": "UP"}
    assert run("OffersVoteMutation", input=vote)["castVote"]["offer"]["votes"]["mine"] == "UP"
    wrong = run("OffersVoteMutation", input=vote | {"requestId": new_id(), "offerId": "nothing"})["castVote"]
    assert wrong["offer"] is None and wrong["userErrors"][0]["code"], wrong

    digest = hashlib.sha256(b"{__typename}").hexdigest()
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": digest}}
    for request, reason in [
        ({"query": "{__typename}"}, "PERSISTED_QUERY_REQUIRED"),
        ({"query": "{__typename}", "extensions": persisted}, "PERSISTED_QUERY_REQUIRED"),
        ({"extensions": persisted}, "PERSISTED_QUERY_NOT_FOUND"),
        ({"documentId": f"sha256:{digest}"}, "PERSISTED_QUERY_NOT_FOUND"),
    ]:
        answer = send(**request)
        told = [error["extensions"]["reason"] for error in answer.get("errors", [])]
        assert told == [reason] and "data" not in answer, (request, answer)


def main():
    urls, run = status()["graphql"], new_id()[:8]
    assert len(urls) >= 2, urls
    seller = register(urls, "BUSINESS", run, "clients")
    area, titles = f"clients-{run}", [f"Crew {number}" for number in range(5)]
    offers = [
        publish_offer(seller, title, area=area, price={"amountMinor": 1000 + number, "currency": "EUR"})
        for number, title in enumerate(titles)
    ]
    given = {
        "urls": urls,
        "run": run,
        "token": seller.token,
        "area": area,
        "titles": titles,
        "offer": offers[0],
    }
    for program in ("urql.mjs", "apollo.mjs"):
        node.run("graphql_clients", program, input=json.dumps(given), text=True)
        print(f"  {program} has the whole handshake with {len(urls)} BFFs", flush=True)
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        folder = pathlib.Path(folder)
        manifest, ids = compile_with_relay(folder)
        with production(urls[0], manifest, folder / "bff.log") as url:
            only_listed(url, ids, seller, area, titles, offers[0])
    print(f"  {len(ids)} documents of relay-compiler are the only ones executed")


if __name__ == "__main__":
    main()
