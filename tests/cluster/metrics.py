"""What autoscalers read, served to a control plane as its aggregated APIs of metrics.

    with Metrics(plane) as metrics:
        metrics.cpu["catalog"] = 1400           # millicores that all pods of the service take together
        metrics.pods["catalog", "rpc_server_calls_per_second"] = 900   # that all of them get together
        metrics.external["events_lag"] = 5000
        metrics.asked                           # what was asked for, to see that somebody looked

A value that is not set is not there, as with a real adapter that has not seen it.
"""

import contextlib
import datetime
import http.server
import json
import ssl
import threading
import urllib.parse

from processes import free_port, wait_until

APIS = {
    "metrics.k8s.io/v1beta1": [("pods", "PodMetrics"), ("nodes", "NodeMetrics")],
    "custom.metrics.k8s.io/v1beta2": [("pods/any", "MetricValueList")],
    "external.metrics.k8s.io/v1beta1": [("any", "ExternalMetricValueList")],
}
NAME = "app.kubernetes.io/name"


class Metrics:
    def __init__(self, plane):
        self.plane = plane
        self.cpu, self.pods, self.external = {}, {}, {}
        self.asked = set()

    def __enter__(self):
        port = free_port()
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(self.plane.file("server.crt"), self.plane.file("server.key"))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._server.socket = trust.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._register(port)
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _register(self, port):
        """An endpoint may not be a loopback address, but a service may be the name of one."""
        service = {"namespace": "kube-system", "name": "metrics"}
        objects = [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": service,
                "spec": {"type": "ExternalName", "externalName": "localhost"},
            }
        ]
        for api in APIS:
            group, version = api.split("/")
            spec = {
                "group": group,
                "version": version,
                "service": service | {"port": port},
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            }
            metadata = {"name": f"{version}.{group}"}
            objects.append(
                {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": metadata, "spec": spec}
            )
        self.plane.apply("\n---\n".join(map(json.dumps, objects)))
        for api in APIS:
            wait_until(lambda: self.plane.exchange("GET", f"/apis/{api}")[0] == 200, f"{api} is served")

    def _handler(self):
        metrics = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                answer = metrics._answer(self.path)
                content = json.dumps(answer or {"kind": "Status", "apiVersion": "v1", "code": 404}).encode()
                self.send_response(200 if answer else 404)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                # Whoever asked may have given up.
                with contextlib.suppress(OSError):
                    self.wfile.write(content)

            def log_message(self, *_):
                pass

        return Handler

    def _answer(self, path):
        url = urllib.parse.urlsplit(path)
        asked = dict(urllib.parse.parse_qsl(url.query))
        match urllib.parse.unquote(url.path).strip("/").split("/"):
            case ["apis", group, version] if f"{group}/{version}" in APIS:
                names = APIS[f"{group}/{version}"]
                resources = [{"name": name, "namespaced": True, "kind": kind, "verbs": ["get"]} for name, kind in names]
                return {
                    "kind": "APIResourceList",
                    "apiVersion": "v1",
                    "groupVersion": f"{group}/{version}",
                    "resources": resources,
                }
            case ["apis", "metrics.k8s.io", _, "namespaces", namespace, "pods"]:
                pods = self._pods(namespace, asked)
                items = [self._usage(pod, len(pods)) for pod in pods]
                return listed("PodMetricsList", "metrics.k8s.io/v1beta1", filter(None, items))
            case ["apis", "custom.metrics.k8s.io", _, "namespaces", namespace, "pods", "*", name]:
                self.asked.add(name)
                pods = self._pods(namespace, asked)
                items = [self._rate(pod, name, len(pods)) for pod in pods]
                return listed("MetricValueList", "custom.metrics.k8s.io/v1beta2", filter(None, items))
            case ["apis", "external.metrics.k8s.io", _, "namespaces", _, name]:
                self.asked.add(f"{name}{{{asked.get('labelSelector', '')}}}")
                if name not in self.external:
                    return None
                item = {"metricName": name, "metricLabels": {}, "timestamp": now(), "value": str(self.external[name])}
                return listed("ExternalMetricValueList", "external.metrics.k8s.io/v1beta1", [item])
        return None

    def _pods(self, namespace, asked):
        selector = urllib.parse.quote(asked.get("labelSelector", ""))
        pods = self.plane.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")["items"]
        return [pod for pod in pods if pod.get("status", {}).get("phase") == "Running"]

    def _usage(self, pod, share):
        millicores = self.cpu.get(pod["metadata"]["labels"].get(NAME))
        if millicores is None:
            return None
        metadata = {key: pod["metadata"][key] for key in ("name", "namespace", "labels")}
        usage = {"cpu": f"{millicores * 1000 // share}u", "memory": "64Mi"}
        containers = [{"name": container["name"], "usage": usage} for container in pod["spec"]["containers"]]
        return {"metadata": metadata, "timestamp": now(), "window": "10s", "containers": containers}

    def _rate(self, pod, name, share):
        value = self.pods.get((pod["metadata"]["labels"].get(NAME), name))
        if value is None:
            return None
        described = {"apiVersion": "v1", "kind": "Pod"} | {key: pod["metadata"][key] for key in ("name", "namespace")}
        return {
            "describedObject": described,
            "metric": {"name": name},
            "timestamp": now(),
            "value": f"{value * 1000 // share}m",
        }


def listed(kind, version, items):
    return {"kind": kind, "apiVersion": version, "metadata": {}, "items": list(items)}


def now():
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
