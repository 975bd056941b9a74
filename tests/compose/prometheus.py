"""A Prometheus, asked over its own API."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import Any


class Prometheus:
    """One on this machine's port."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get(f"/query?query={urllib.parse.quote(query)}")["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._get("/rules")["groups"] for rule in group["rules"]]

    def alert(self, name: str) -> str:
        """inactive, pending (it holds, not yet for long enough to be told) or firing."""
        (state,) = [str(rule["state"]) for rule in self.rules() if rule["name"] == name]
        return state

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self._url + path, timeout=30) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]
