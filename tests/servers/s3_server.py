"""A private S3 server: MinIO, or SeaweedFS where nothing else is to be had."""

from __future__ import annotations

import http.client
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .find import Found
from .process import LOOPBACK, Server, free_port

ACCESS_KEY = "warren-test"
SECRET_KEY = "warren-test-secret"  # of a server that only the loopback reaches


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """An empty bucket made for one test, and how to reach it."""

    url: str  # http://host:port
    access_key: str
    secret_key: str
    bucket: str


def bucket_name() -> str:
    return f"test-{secrets.token_hex(6)}"


class MinioServer(Server):
    """MinIO on the loopback, one drive."""

    name = "minio"

    def __init__(self, found: Found, folder: Path) -> None:
        super().__init__(folder)
        self.port, self.console_port = free_port(), free_port()
        self._found = found
        self.container = f"warren-test-minio-{self.port}" if found.means == "image" else None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        if not self.container:
            at = [
                "--address",
                f"{LOOPBACK}:{self.port}",
                "--console-address",
                f"{LOOPBACK}:{self.console_port}",
            ]
            return [self._found.value, "server", *at, str(self.data)]
        run = ["docker", "run", "--rm", "--name", self.container, "-p", f"{LOOPBACK}:{self.port}:9000"]
        users = [part for key in _MINIO_SETTINGS for part in ("-e", key)]
        return [*run, *users, "-v", f"{self.container}:/data", self._found.value, "server", "/data"]

    def environment(self) -> Mapping[str, str]:
        outside = {key: value for key, value in os.environ.items() if not key.startswith("MINIO_")}
        return outside | _MINIO_SETTINGS

    def ready(self) -> bool:
        return _status(self.port, "/minio/health/ready") == 200

    def close(self) -> None:
        self.kill()


class SeaweedServer(Server):
    """SeaweedFS with its S3 gateway: master, volume server and filer in one process."""

    name = "seaweedfs"

    def __init__(self, found: Found, folder: Path) -> None:
        super().__init__(folder)
        self._program = found.value
        self.port = free_port()
        parts = ("master", "volume", "filer")
        self._ports = {f"{part}.port": free_port() for part in parts}
        self._ports |= {f"{part}.port.grpc": free_port() for part in (*parts, "s3")}
        self._ports["s3.port"] = self.port

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        ports = [f"-{name}={port}" for name, port in self._ports.items()]
        quiet = ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"]
        place = [f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", f"-dir={self.data}", "-volume.max=200"]
        sizes = ["-master.volumeSizeLimitMB=64"]
        users = f"-s3.config={self.folder / 's3.json'}"
        return [self._program, "server", "-s3", *place, *ports, *sizes, *quiet, users]

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        rights = ["Admin", "Read", "List", "Tagging", "Write"]
        users = {"identities": [{"name": "test", "credentials": keys, "actions": rights}]}
        (self.folder / "s3.json").write_text(json.dumps(users))
        super().start()

    def ready(self) -> bool:
        return _status(self.port, "/status") == 200 and _status(self._ports["filer.port"], "/") == 200

    def close(self) -> None:
        self.kill()


_MINIO_SETTINGS = {
    "MINIO_ROOT_USER": ACCESS_KEY,
    "MINIO_ROOT_PASSWORD": SECRET_KEY,
    "MINIO_BROWSER": "off",
    "MINIO_UPDATE": "off",
}


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
