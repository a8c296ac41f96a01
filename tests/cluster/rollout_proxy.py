"""HAProxy in the place of the gateway and of the mesh: it balances request by request, and sends nothing twice.

Each service has a port of its own that stays, and slots for its pods that are filled and emptied while it runs.
"""

import collections
import os
import pathlib
import shutil
import socket
import subprocess
import time

SLOTS = 16
PROGRAM = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")

CONFIG = """
global
    stats socket {socket} mode 600 level admin
    maxconn 4000
    log stdout format raw local0
defaults
    mode http
    log global
    log-format "request %tr %b/%s %ST %ts %Tw/%Tc/%Tr/%Ta %HM %HP"
    balance roundrobin
    retries 0
    timeout connect 2s
    timeout client 2m
    timeout server 2m
    timeout tunnel 1h
    timeout http-keep-alive 2m
"""
LISTEN = """
listen {name}
    bind 127.0.0.1:{port}{proto}
    server-template slot 1-{slots} 127.0.0.1:9 disabled{proto}
"""


class Proxy:
    """A running HAProxy, with a port for each (service, kind of port)."""

    def __init__(self, ports, folder):
        assert PROGRAM, "haproxy is missing; `apt-get install haproxy` installs it"
        self.socket = pathlib.Path(folder, "proxy.sock")
        text = CONFIG.format(socket=self.socket)
        for (service, kind), port in ports.items():
            proto = " proto h2" if kind == "grpc" else ""
            text += LISTEN.format(name=f"{service}-{kind}", port=port, proto=proto, slots=SLOTS)
        config = pathlib.Path(folder, "haproxy.cfg")
        config.write_text(text, encoding="utf-8")
        self.ports = ports
        # The slot that was empty for longest is the next to be filled.
        self.free = {f"{service}-{kind}": collections.deque(range(1, SLOTS + 1)) for service, kind in ports}
        self.filled = {}
        self.log = pathlib.Path(folder, "proxy.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([PROGRAM, "-db", "-f", config], stdout=log, stderr=log)
        end = time.monotonic() + 10
        while not self.socket.exists():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text(encoding="utf-8")
            time.sleep(0.05)

    def url(self, service, kind):
        return f"http://127.0.0.1:{self.ports[service, kind]}"

    def change(self, pod, present):
        """Balances to a pod from now on, or no longer; what it is asked already goes on."""
        service = pod.name.rpartition("-")[0]
        for kind, port in pod.ports.items():
            listen = f"{service}-{kind}"
            if listen not in self.free:
                continue
            if present:
                slot = self.free[listen].popleft()
                self.filled[listen, pod.name] = slot
                self.ask(f"set server {listen}/slot{slot} addr 127.0.0.1 port {port}")
                self.ask(f"set server {listen}/slot{slot} state ready")
            else:
                slot = self.filled.pop((listen, pod.name))
                # Maintenance would close connections that another thread is about to use.
                self.ask(f"set server {listen}/slot{slot} state drain")
                self.free[listen].append(slot)

    def ask(self, command):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()

    def requests(self):
        """All that have ended: (backend/server, status, how it ended), and the line of the log."""
        for line in self.log.read_text(encoding="utf-8").splitlines():
            if line.startswith("request "):
                _, _, server, status, ended = line.split()[:5]
                yield server, int(status), ended, line

    def faults(self):
        """Lines of requests that found nobody or no whole answer; what clients gave up is none."""
        return [line for _, status, ended, line in self.requests() if status >= 500 or ended[0] not in "-Cc"]

    def close(self):
        self.process.terminate()
        self.process.wait(10)
