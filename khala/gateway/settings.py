"""What a gateway is told at its start: a plain value, picklable, so that worker processes get it too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Addresses, bounds and habits of one gateway.

    `auth` is "token" (every request to /api carries a bearer token, which judicators judge) or
    "none" (a cluster that was started open; then foreign web pages are kept out by Host and Origin).
    `allowed_hosts` are further names, with or without a port, under which browsers may reach it.
    `max_json_bytes` bounds JSON and the texts of forms, `max_upload_bytes` a whole upload, and
    `max_held_bytes` all bodies that one worker keeps in memory at a time. `body_idle_s` is how long
    a sender may pause, `stop_grace_s` how long requests may still run after a stop signal.
    `wrong_tokens_at_once` is how often one address may show a wrong token before it is slowed down.
    Each worker touches `health_file` (Path(): none) while it serves.
    `spool_dir` is where uploads are put down while they arrive (None: the system's place).
    """

    host: str = "127.0.0.1"
    port: int = 7000
    workers: int = 1
    auth: Literal["token", "none"] = "token"
    allowed_hosts: tuple[str, ...] = ()
    max_json_bytes: int = 32 * MIB
    max_upload_bytes: int = 64 * MIB
    max_held_bytes: int = 256 * MIB
    body_idle_s: float = 30.0
    stop_grace_s: float = 10.0
    health_file: Path = Path()
    access_log: bool = False
    wrong_tokens_at_once: int = 20
    spool_dir: str | None = None
