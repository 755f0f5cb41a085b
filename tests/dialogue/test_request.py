"""A request is checked when it is made."""

from __future__ import annotations

import pytest

from empatheia_jax.dialogue.request import DecodingChoice, Mix, Request
from empatheia_jax.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "  "}, "no words"),
        ({"text": "a", "modalities": ("smell",)}, "modalities"),
        ({"text": "a", "chain_edits": {"reply": "x"}}, "no step 'reply'"),
        ({"text": "a", "chain_edits": {"emotion_cause": " "}}, "is empty"),
        ({"text": "a", "chain_edits": {"speaker_emotion": "flabberwocked"}}, "flabberwocked"),
        ({"text": "a", "emotion": "anxious"}, "cannot be shown"),
        ({"text": "a", "seed": -1}, "seed"),
        ({"text": "a", "pipeline": True, "chain_edits": {"emotion_cause": "x"}}, "pipeline"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        Request(**arguments)
    assert "\n" not in str(caught.value)


def test_numbers_out_of_range_are_one_line():
    for make in (lambda: DecodingChoice(temperature=-1), lambda: DecodingChoice(top_p=0), lambda: Mix(profile_share=2)):
        with pytest.raises(UserError, match="expected"):
            make()
