"""A browser: the web client and GraphiQL's page with a session by cookie, what moves by itself, and what
other sites send, which has no effect."""

import json
import pathlib
import re
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import node
from graphql_clients import production
from stack import kill, listening_pid, new_id, publish_offer, register, status, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
PICTURES = ROOT / ".homeward" / "artefacts" / "browser"


def restart(url):
    """Kills the BFF at a URL and returns when its supervisor has started another."""
    port = urllib.parse.urlsplit(url).port
    old = listening_pid(port)
    kill(old)
    wait_until(lambda: listening_pid(port) not in (None, old), "another BFF")


def runs_in_production(url):
    """Where only listed documents run, those of the page do as well, and there is no page for queries."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = pathlib.Path(folder) / "manifest.json"
        manifest.write_text('{"x-other:probe": "{ __typename }"}')
        with production(url, manifest, pathlib.Path(folder) / "log") as endpoint:
            site = endpoint.removesuffix("/graphql")
            page = fetch(f"{site}/")
            assert "graphiql" not in page, page
            ids = fetch(site + re.search(r'"(/web/[^"]*/js/documents\.js)"', page)[1])
            areas = re.search(r"Areas: '([^']*)'", ids)[1]
            answer = json.loads(fetch(endpoint, {"documentId": areas}))
            assert answer["data"]["offers"]["nodes"], answer
            answer = json.loads(fetch(endpoint, {"query": "{ viewer { id } }"}))
            assert answer["errors"][0]["extensions"]["reason"] == "PERSISTED_QUERY_REQUIRED", answer


def fetch(url, body=None):
    headers = {"content-type": "application/json", "accept": "application/json"} if body else {}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.read().decode()


def main():
    urls = status()["graphql"]
    url, run = urls[0], new_id()[:8]
    seller = register(urls, "BUSINESS", run, "browser")
    node.run("browser", "session.mjs", url, seller.email, seller.password)

    # More than a page of offers, of which few are in an area of our own.
    for index in range(30):
        publish_offer(seller, f"Van for a day, number {index}", area="browser-elsewhere")
    area = f"browser-{run}"
    piano = publish_offer(seller, f"Piano crew {run}", area=area, price={"amountMinor": 39000, "currency": "EUR"})
    cheap = publish_offer(seller, f"Windows {run}", area=area, kind="CLEANING", price={"amountMinor": 9000, "currency": "EUR"})
    node.run("browser", "web.mjs", url, area, f"{piano},{cheap}", str(PICTURES))

    runs_in_production(url)

    movers = [register(urls, "MOVER", run, name) for name in ("left", "right")]
    accounts = json.dumps([{"email": mover.email, "password": mover.password} for mover in movers])
    command = json.dumps([sys.executable, __file__, "restart", url])
    node.run("browser", "live.mjs", url, area, piano, accounts, command, str(PICTURES))


if __name__ == "__main__":
    if sys.argv[1:2] == ["restart"]:
        restart(sys.argv[2])
    else:
        main()
