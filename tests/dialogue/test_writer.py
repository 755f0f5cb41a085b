"""The text half of a reply: several dialogues at once, with and without recordings, are answered as each alone."""

from __future__ import annotations

import numpy as np
import pytest

from configs import debug
from empatheia_jax import assemble
from empatheia_jax.conversation.schema import Profile, Utterance
from empatheia_jax.dialogue.writer import Question, Writer
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.settings import resolve
from tests.dialogue.test_reply import recordings


def writer(**changes) -> Writer:
    config = debug.get_config()
    config.data.update(changes)
    config.decoding.update({"step_tokens": 3, "response_tokens": 6, "temperature": 0.0})
    config = resolve(config)
    return Writer.of(config, assemble.empatheia(config, make_mesh(1, 1, 1)), assemble.towers(config))


@pytest.mark.parametrize("slots", [1, 24])
def test_a_batch_with_and_without_recordings_is_answered_as_each_alone(slots, tmp_path):
    recordings(tmp_path, 0.5)
    sound, film = tmp_path / "dia00007utt0_7.wav", tmp_path / "dia00007utt0_7.mp4"
    said = [
        Utterance(0, "speaker", "I lost my keys."),
        Utterance(1, "listener", "Oh."),
        Utterance(2, "speaker", "Yes."),
    ]
    questions = [
        Question(said[:1]),
        Question(said, {0: {"speech": sound}, 2: {"speech": sound, "video": film}}),
        Question(said[:1], {0: {"video": film}}),
    ]
    model = writer(slots=slots)
    streamed: dict[int, str] = {}
    together = model.write(questions, lambda row, text: streamed.update({row: streamed.get(row, "") + text}))
    assert [each.heard for each in together] == [(), ("speech", "video"), ("video",)]
    for row, (question, each) in enumerate(zip(questions, together)):
        alone = model.write([question])[0]
        assert alone.text == each.text and alone.answer == each.answer and alone.answer.complete
        np.testing.assert_allclose(alone.response, each.response, atol=2e-5)
        np.testing.assert_allclose(alone.signals, each.signals, atol=2e-5)
        assert 1 <= len(each.response) <= 6 and each.signals.shape[0] == 32
        assert each.text.startswith(streamed[row]) and "</response>" not in streamed[row]
    # What is heard changes the states: without the recordings they are others.
    deaf = model.write([Question(said)])[0]
    assert np.abs(deaf.signals - together[1].signals).max() > 1e-4


@pytest.mark.parametrize("plain", [False, True])
def test_prompts_begin_alike_whatever_is_said_and_whoever_answers(responder, plain):
    model = responder.writer.plain() if plain else responder.writer
    begins = model.beginning()
    assert "empathetic conversational agent" in model.tokenizer.decode(begins)
    histories = (
        [Utterance(0, "speaker", "empathetic")],
        [
            Utterance(0, "speaker", "\N{GRINNING FACE} 12"),
            Utterance(1, "listener", "Oh."),
            Utterance(2, "speaker", "?"),
        ],
    )
    for history in histories:
        for listener in (None, Profile("child", "female", "gentle")):
            tokens = model.prompt(Question(history, listener=listener)).tokens
            assert tokens[: len(begins)].tolist() == begins and len(tokens) > len(begins)
