"""What is around Argo CD and cannot be here: the operators of custom resources, the code host, who is notified."""

import contextlib
import http.server
import json
import threading

from processes import wait_until

REASON = "Reported"
# Kinds whose health Argo CD takes from what their operator reports.
REPORTING = (
    "cert-manager.io/v1/certificates",
    "cert-manager.io/v1/clusterissuers",
    "external-secrets.io/v1/clustersecretstores",
    "external-secrets.io/v1/externalsecrets",
    "external-secrets.io/v1/secretstores",
    "external-secrets.io/v1alpha1/pushsecrets",
    "gateway.networking.k8s.io/v1/gatewayclasses",
    "gateway.networking.k8s.io/v1/gateways",
    "gateway.networking.k8s.io/v1/grpcroutes",
    "gateway.networking.k8s.io/v1/httproutes",
    "keda.sh/v1alpha1/scaledobjects",
    "kafka.strimzi.io/v1/kafkas",
    "kafka.strimzi.io/v1/kafkatopics",
    "kafka.strimzi.io/v1/kafkausers",
)


class Operators:
    """Reports that every custom resource is ready, except of those that are held back.

    `held` gives a name to each condition under which they are, until `release(name)`.
    """

    def __init__(self, plane, **held):
        self.plane = plane
        self.lock = threading.Lock()
        self.held = held
        self.waiting = {name: {} for name in held}
        self.watches = contextlib.ExitStack()

    def __enter__(self):
        for path in REPORTING:
            # A definition is established a moment before it is served.
            wait_until(lambda: self.plane.exchange("GET", f"/apis/{path}")[0] == 200, f"{path} is served")
            self.watches.enter_context(self.plane.watch(f"/apis/{path}?allowWatchBookmarks=true", self._seen(path)))
        return self

    def __exit__(self, *_):
        self.watches.close()

    def release(self, name):
        with self.lock:
            del self.held[name]
        for path, found in self.waiting[name].values():
            self._report(path, found)

    def _seen(self, path):
        def seen(change, found):
            # A bookmark only keeps the connection.
            if change in ("BOOKMARK", "DELETED"):
                return
            with self.lock:
                for name, holds in self.held.items():
                    if holds(found):
                        self.waiting[name][found["metadata"]["uid"]] = (path, found)
                        return
            self._report(path, found)

        return seen

    def _report(self, path, found):
        generation = found["metadata"].get("generation", 1)
        status = found.get("status", {})
        # Of a route it is each of its parents that says so.
        said = status.get("conditions", []) + [
            one for parent in status.get("parents", []) for one in parent["conditions"]
        ]
        # Not every definition keeps the generation.
        if any(one.get("reason") == REASON and one.get("observedGeneration", generation) == generation for one in said):
            return
        condition = {
            "status": "True",
            "reason": REASON,
            "message": "by the test",
            "lastTransitionTime": found["metadata"]["creationTimestamp"],
            "observedGeneration": generation,
        }
        if found["kind"].endswith("Route"):
            parent = {"controllerName": "homeward.example/test", "conditions": [condition | {"type": "Accepted"}]}
            report = {"parents": [parent | {"parentRef": reference} for reference in found["spec"]["parentRefs"]]}
        else:
            kinds = ("Accepted", "Programmed") if path.startswith("gateway.") else ("Ready",)
            report = {"conditions": [condition | {"type": kind} for kind in kinds]}
        group, plural = path.rsplit("/", 1)
        namespace, name = found["metadata"].get("namespace"), found["metadata"]["name"]
        where = f"namespaces/{namespace}/" if namespace else ""
        address = f"/apis/{group}/{where}{plural}/{name}/status"
        code, answer = self.plane.exchange("PATCH", address, {"status": report}, "application/merge-patch+json")
        # It may be gone meanwhile.
        assert code < 300 or code == 404, f"{address}: {code}: {answer.decode(errors='replace')[:500]}"


class Web:
    """An HTTP server of this process; `answer(method, path, body)` says what is sent back."""

    def __enter__(self):
        answer = self.answer

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                content = json.dumps(answer(self.command, self.path, body)).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class CodeHost(Web):
    """The pull requests that are open, as the code host's API lists them."""

    def __init__(self):
        self.open = {}

    def answer(self, method, path, body):
        assert path.split("?")[0].endswith("/pulls"), path
        return [
            {
                "number": number,
                "title": f"Change {number}",
                "labels": [{"name": label} for label in labels],
                "head": {"ref": f"change-{number}", "sha": commit},
                "base": {"ref": "main"},
                "user": {"login": "someone"},
            }
            for number, (commit, labels) in self.open.items()
        ]


class Receiver(Web):
    """Keeps what it is told, in order."""

    def __init__(self):
        self.texts = []

    def answer(self, method, path, body):
        assert method == "POST", method
        self.texts.append(json.loads(body)["text"])
        return {}

    def heard(self, *parts):
        return [text for text in self.texts if all(part in text for part in parts)]
