"""How the server is run: where it listens, who may come in, and how much of everything it takes."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from pathlib import Path

from empatheia_jax.errors import UserError

TOKEN = "EMPATHEIA_TOKEN"
"""Variable of the environment that holds the token; a command line is read by everybody on the machine."""
MEGABYTE = 1 << 20


@dataclasses.dataclass(frozen=True)
class Options:
    """What `--mode=serve` is told, and the limits.

    host, port: where it listens. token: what a client has to show; needed everywhere but on this machine. origins: pages of other
    servers that may call it ("https://lab.example"). names: host names under which it may be called, beside its addresses.
    folder: where sessions and uploads are kept.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    origins: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    upload_bytes: int = 64 * MEGABYTE
    all_uploads_bytes: int = 1024 * MEGABYTE
    body_bytes: int = 24 * MEGABYTE
    characters: int = 8_000
    sessions: int = 1_000
    sockets: int = 256
    header_seconds: float = 10.0
    silent_seconds: float = 10.0
    body_seconds: float = 120.0

    def __post_init__(self):
        if not 0 <= self.port < 65_536:
            raise UserError(f"the port is {self.port}; expected 1 to 65535, or 0 for any free one")
        if not self.local and not self.token:
            raise UserError(
                f"{self.host} can be reached from other machines; set a token in {TOKEN} (or --token), and put TLS in front"
            )
        if self.token is not None and (
            len(self.token) < 16 or not re.fullmatch("[!-~]+", self.token)
        ):  # a blank would be lost at the end of a header
            raise UserError(
                "the token is too short or holds other characters; expected 16 or more ASCII letters, digits and marks"
            )
        for name in self.names:
            if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", name):
                raise UserError(
                    f"{name!r} is no name of a host; expected for example avatar.lab.example, without a port"
                )
        for origin in self.origins:
            if not origin.startswith(("http://", "https://")) or origin.rstrip("/").count("/") != 2:
                raise UserError(f"{origin!r} is no web origin; expected for example https://lab.example")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


def is_loopback(name: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
