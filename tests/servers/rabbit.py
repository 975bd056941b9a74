"""A private RabbitMQ: a node of its own with its own epmd, cookie and ports; virtual hosts for the tests."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .find import Found
from .guard import Guard
from .process import LOOPBACK, Server, ServerFailed, await_condition, first_bytes, free_port

API_SECONDS = 30.0
CONTROL_SECONDS = 60.0
AMQP_GREETING = b"AMQP\x00\x00\x09\x01"


class RabbitServer(Server):
    """RabbitMQ on the loopback, user guest; `url` is its virtual host "/"."""

    name = "rabbitmq"

    def __init__(self, found: Found, folder: Path) -> None:
        super().__init__(folder)
        self.port, self.api_port, self._dist_port, self._epmd_port = (free_port() for _ in range(4))
        self._program = found.value
        self._image = found.value if found.means == "image" else None
        self.container = f"warren-test-rabbitmq-{self.port}" if self._image else None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._epmd_guard: Guard | None = None
        self._hosts = 0

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}/%2f"

    def fresh_url(self) -> str:
        """The address of a new, empty virtual host."""
        self._hosts += 1
        host = f"t{self._hosts:04}"
        self.api("PUT", f"vhosts/{host}")
        self.api("PUT", f"permissions/{host}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}/{host}"

    def forget_url(self, url: str) -> None:
        """Delete the virtual host of an address from `fresh_url`, with its queues and connections."""
        self.api("DELETE", f"vhosts/{url.rpartition('/')[2]}")

    def add_user(self, user: str, password: str, host: str, rights: Mapping[str, str]) -> None:
        """Make a user with rights (configure, write, read: regular expressions) in one virtual host."""
        self.api("PUT", f"users/{quote(user, safe='')}", {"password": password, "tags": ""})
        self.api("PUT", f"permissions/{quote(host, safe='')}/{quote(user, safe='')}", dict(rights))

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the management API (`vhosts`, `queues/<vhost>`, `connections`, ...); the answer's JSON."""
        connection = http.client.HTTPConnection(LOOPBACK, self.api_port, timeout=API_SECONDS)
        try:
            connection.request(method, f"/api/{path}", json.dumps(body or {}), _GUEST)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise ServerFailed(f"rabbitmq {method} {path}: {answer.status} {text[:200]!r}\n{self.log_tail()}")
        return json.loads(text) if text else None

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl`, for what the API lacks: `ctl("set_vm_memory_high_watermark", "0.0001")`."""
        if self.container:
            command = ["docker", "exec", self.container, "rabbitmqctl", *arguments]
        else:
            command = [str(Path(self._program).with_name("rabbitmqctl")), "-n", self._node, *arguments]
        done = subprocess.run(
            command, env=dict(self.environment()), capture_output=True, timeout=CONTROL_SECONDS, check=False
        )
        if done.returncode:
            raise ServerFailed(f"rabbitmqctl {' '.join(arguments)}: {done.stderr.decode(errors='replace')[-500:]}")
        return done.stdout.decode()

    def ready(self) -> bool:
        return first_bytes(self.port, AMQP_GREETING).startswith(b"\x01") and self._api_answers()

    def start(self) -> None:
        self._write_settings()
        if not self._image:
            self._start_epmd()
        super().start()

    def close(self) -> None:
        """End the server and the port mapper that served it; nobody wants its data any more."""
        self.kill()
        if self._epmd is not None and self._epmd_guard is not None:
            self._epmd_guard.dismiss()
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None

    def command(self) -> Sequence[str]:
        if not self._image:
            return [self._program]
        ports = ["-p", f"{LOOPBACK}:{self.port}:5672", "-p", f"{LOOPBACK}:{self.api_port}:15672"]
        keep = ["-v", f"{self.container}:/var/lib/rabbitmq", "--hostname", "warren-test"]
        return ["docker", "run", "--rm", "--name", str(self.container), *ports, *keep, self._image]

    def environment(self) -> Mapping[str, str]:
        outside = {key: value for key, value in os.environ.items() if not key.startswith(("RABBITMQ_", "ERL_"))}
        return outside if self._image else outside | self._settings()

    @property
    def _node(self) -> str:
        return f"warren-test-{self.port}@localhost"

    def _settings(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),  # the Erlang cookie is made there
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_MNESIA_BASE": str(self.data),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "environment"),  # none of the machine's own
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none",  # idle schedulers sleep: cores are shared
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
        }

    def _write_settings(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "environment").write_text("")
        (self.folder / "plugins").write_text("[rabbitmq_management].\n")
        (self.folder / "advanced.config").write_text("[].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {LOOPBACK}:{self.port}\n"
            f"management.tcp.ip = {LOOPBACK}\nmanagement.tcp.port = {self.api_port}\n"
            "disk_free_limit.absolute = 50MB\n"
            "log.console = true\nlog.file = false\n"
        )

    def _start_epmd(self) -> None:
        """Erlang's port mapper as a child of ours: on its own it becomes a daemon that outlives the tests."""
        program = shutil.which("epmd")
        if program is None or self._epmd is not None:
            return
        self._epmd = subprocess.Popen(
            [program, "-port", str(self._epmd_port), "-address", LOOPBACK],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._epmd_guard = Guard(self._epmd.pid)
        names_request = b"\x00\x01n"
        await_condition(lambda: bool(first_bytes(self._epmd_port, names_request)), 10, "epmd answers")

    def _api_answers(self) -> bool:
        try:
            self.api("GET", "vhosts")
        except (OSError, http.client.HTTPException, ServerFailed):
            return False
        return True


_GUEST = {
    "Authorization": "Basic " + base64.b64encode(b"guest:guest").decode(),
    "Content-Type": "application/json",
}
