"""What each input contributes to an answer."""

from __future__ import annotations

import re

import pytest

from empatheia_jax.errors import UserError
from evaluation import contribution
from evaluation.__main__ import main
from tests.evaluation.sets import text_system


def test_shapley_values_share_the_whole_gain_fairly():
    def worth(inputs):
        return 10 * ("text" in inputs) + 4 * ({"speech", "video"} <= inputs)

    subsets = [frozenset(each) for each in ([], ["text"], ["speech"], ["video"])]
    subsets += [
        frozenset(each) for each in (["text", "speech"], ["text", "video"], ["speech", "video"], contribution.INPUTS)
    ]
    found = contribution.shapley({each: worth(each) for each in subsets})
    assert found == pytest.approx({"text": 10, "speech": 2, "video": 2})
    with pytest.raises(UserError, match="no folder for the inputs speech\\+video"):
        contribution.shapley({each: worth(each) for each in subsets if each != {"speech", "video"}})


def test_an_input_that_makes_the_answer_right_contributes_and_another_does_not(asked, tmp_path, data, capsys):
    wrong = ["proud"] * len(asked)
    given = []
    for inputs, emotions in (
        ("text", wrong),
        ("text+speech", None),
        ("text+video", wrong),
        ("text+speech+video", None),
    ):
        given.append(f"{inputs}={text_system(tmp_path / inputs, inputs, asked, emotions)}")
    assert main(["contribution", f"--data={data}", f"--output={tmp_path / 'out'}", *given]) == 0
    said = capsys.readouterr().out
    assert re.search(r"all\s+100\.00 \[100\.00, 100\.00\] n 4\s+0\.00", said) and "Every folder had text" in said
    assert main(["contribution", f"--data={data}", f"--output={tmp_path / 'out'}", *given[:3]]) == 2
    assert "expected one for every subset" in capsys.readouterr().err
