"""The conversations of a server: in memory, and each in a folder of its own, so that a restart loses none."""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path
from typing import Any

from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dialogue.session import FILE, Session
from empatheia_jax.errors import UserError
from empatheia_jax.server.refusals import Refusal

ID = re.compile(r"[0-9a-f]{32}")


class Sessions:
    """Sessions by id, below `folder`; at most `limit` of them."""

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True)
        self._open: dict[str, Session] = {}
        self._lock = threading.RLock()
        self._saving: dict[str, threading.Lock] = {}

    def create(self, profile: Profile | None, seed: int) -> Session:
        """A new session. Raises `Refusal` where there are too many."""
        with self._lock:
            if len(self.ids()) >= self.limit:
                raise Refusal(429, f"there are {self.limit} sessions; delete some", headers={"retry-after": "60"})
            session = Session(profile, seed=seed)
            self._open[session.id] = session
        self.save(session)
        return session

    def ids(self) -> list[str]:
        """The ids of all sessions, the one that changed last first."""
        saved = {
            path.parent.name: path.stat().st_mtime
            for path in self.folder.glob(f"*/{FILE}")
            if ID.fullmatch(path.parent.name)
        }
        with self._lock:
            known = set(saved) | set(self._open)
        return sorted(known, key=lambda id: -saved.get(id, float("inf")))

    def get(self, id: str) -> Session:
        """The session with an id. Raises `Refusal` where there is none, or a damaged one."""
        if not ID.fullmatch(id):
            raise Refusal(404, f"there is no session {id[:40]!r}", code="session")
        with self._lock:
            if id not in self._open:
                if not (self.folder / id / FILE).is_file():
                    raise Refusal(404, f"there is no session {id!r}", code="session")
                try:
                    self._open[id] = Session.load(self.folder / id)
                except UserError as error:
                    raise Refusal(409, str(error).replace(str(self.folder), "sessions"), code="session") from None
            return self._open[id]

    def save(self, session: Session) -> None:
        """Writes a session; a deleted one is left alone."""
        with self._lock:
            if session.id not in self._open:
                return
            saving = self._saving.setdefault(session.id, threading.Lock())
        with saving:
            if session.id in self._open:
                session.save(self.folder / session.id)

    def delete(self, id: str) -> None:
        """Removes a session with its recordings. Raises `Refusal` where there is none."""
        self.get(id)
        with self._lock:
            self._open.pop(id, None)
            saving = self._saving.pop(id, threading.Lock())
        with saving:
            shutil.rmtree(self.folder / id, ignore_errors=True)

    def summaries(self, most: int = 100) -> list[dict[str, Any]]:
        """A summary of each session: its id, the number of its turns and its first words. Damaged sessions are left out."""
        found = []
        for id in self.ids()[:most]:
            try:
                session = self.get(id)
            except Refusal:
                continue
            first = next((turn.said for turn in session.turns if turn.said), "")
            found.append({"id": id, "turns": len(session.turns), "begins": first[:80]})
        return found
