"""How the suite checks the types and shapes of signatures (the import hook of `tests/conftest.py`)."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for a type checker
