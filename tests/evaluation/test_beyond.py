"""What the paper does not have: contributions of inputs, consistency, re-ranking, a judge, runs that share stages."""

from __future__ import annotations

import http.server
import json
import re
import threading

import numpy as np
import pytest

from configs import baselines, debug, joint
from configs.tables import ROWS
from empatheia_jax.conversation.reply_folder import Manifest
from empatheia_jax.errors import UserError
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import resolve
from evaluation import (
    consistency,
    contamination,
    contribution,
    judge,
    lip_loudness,
    questions,
    rerank,
    rows,
    systems,
    voice,
)
from evaluation.__main__ import main
from evaluation.store import Store
from tests.runs import folders


@pytest.fixture(scope="module")
def asked(data):
    return questions.read(data / "test.json")


def system(folder, name, asked, emotions=None, response="I hear you."):
    """A text system that names these emotions (by default the true ones)."""
    folder.mkdir(parents=True)
    lines = []
    for place, (key, question) in enumerate(asked.items()):
        word = question.emotion if emotions is None else emotions[place]
        lines.append(json.dumps({"id": key, "response": f"{response} {place}", "speaker_emotion": word}))
    (folder / "replies.jsonl").write_text("\n".join(lines))
    Manifest(name, tuple(asked), row=name).write(folder)
    return folder


# ---------------------------------------------------------------- contribution


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
        given.append(f"{inputs}={system(tmp_path / inputs, inputs, asked, emotions)}")
    assert main(["contribution", f"--data={data}", f"--output={tmp_path / 'out'}", *given]) == 0
    said = capsys.readouterr().out
    assert re.search(r"all\s+100\.00 \[100\.00, 100\.00\] n 4\s+0\.00", said) and "Every folder had text" in said
    assert main(["contribution", f"--data={data}", f"--output={tmp_path / 'out'}", *given[:3]]) == 2
    assert "expected one for every subset" in capsys.readouterr().err


# ---------------------------------------------------------------- consistency


def people(count, seed=0):
    """Replies whose voice and face tell the gender; the expression stands in the voice alone."""
    rng, observed, labels = np.random.default_rng(seed), {}, {}
    for k in range(count):
        gender, sad = k % 2, k // 2 % 2
        pitch = [200 - 90 * gender + rng.normal(0, 8), 3 + 3 * sad + rng.normal(0, 0.4), -20, 10, 0.5, 3]
        face = [*(100 + 40 * gender + rng.normal(0, 5, 4))]
        observed[f"{k}_0"] = consistency.Observed(pitch, face)
        labels[f"{k}_0"] = {"gender": ("female", "male")[gender], "expression": ("happy", "sad")[sad]}
    return observed, labels


def test_voice_and_face_of_one_person_agree_and_of_two_do_not():
    probes, (observed, labels) = consistency.Probes(*people(60)), people(40, seed=1)
    names = list(observed)

    def score(a, b):
        return consistency.agreement(probes.read("voice", observed[a].voice), probes.read("face", observed[b].face))

    true = [score(a, a) for a in names]
    other = [score(a, b) for a, b in zip(names, names[1:] + names[:1])]  # the next one has the other gender
    assert np.mean(np.array(true) > np.array(other)) > 0.95
    found = [consistency.style(probes.read("voice", observed[a].voice), labels[a]) for a in names]
    assert np.mean(found) > 0.85
    assert consistency.style({}, labels[names[0]]) is None and consistency.agreement({}, {}) is None


def test_pairs_are_shuffled_across_dialogues_only():
    dialogues = {f"{d}_{t}": str(d) for d in range(3) for t in range(2)}
    found = consistency.partner(list(dialogues), dialogues)
    assert len(found) == 6 and all(dialogues[a] != dialogues[b] for a, b in found.items())
    assert consistency.partner(["1_0", "1_1"], {"1_0": "1", "1_1": "1"}) == {}


def test_the_best_sample_is_the_one_that_agrees_most():
    scores = {"a": {"VCA": 3.0, "MSC": 0.5, "SCA": 1.0}, "b": {"VCA": 9.0, "MSC": 0.9}, "c": {"VCA": 1.0, "MSC": 0.8}}
    assert rerank.best(scores) == "b"
    assert rerank.best({"a": {"VCA": 1.0}, "b": {"VCA": 1.0}}) == "a"


def test_lips_that_follow_the_sound_are_found_with_their_lag():
    rng = np.random.default_rng(0)
    loud = np.convolve(rng.normal(size=80), np.ones(4) / 4, "valid")[:70]
    pixels = loud[5:65, None] * rng.normal(size=(1, 50)) + rng.normal(0, 0.3, (60, 50))
    aligned = lip_loudness.score(pixels, loud[5:65])
    late = lip_loudness.score(pixels, loud[2:62])
    assert aligned.offset == 0 and late.offset == -3 and aligned.confidence > 20
    assert lip_loudness.score(rng.normal(size=(60, 50)), loud[5:65]).confidence < 5
    with pytest.raises(UserError, match="at least 8"):
        lip_loudness.score(pixels[:5], loud[:5])


@pytest.mark.parametrize("hertz", [90.0, 137.0, 210.0, 330.0])
def test_the_pitch_of_a_voice_is_found(hertz):
    time = np.arange(12_000) / 16_000
    tone = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 9))
    found = voice.describe(0.2 * tone, 16_000)
    assert found.f0 == pytest.approx(hertz, rel=0.01) and found.voiced == 1.0 and found.f0_range < 0.2
    assert np.isnan(voice.describe(np.zeros(8000), 16_000).f0)


def test_copied_words_are_found():
    training = contamination.TrainingReplies(["I am so sorry to hear that you lost your dog today.", "Yes."])
    words = ["well", "i", "am", "so", "sorry", "to", "hear", "that", "you", "lost", "a", "cat"]
    assert training.copied(words) == pytest.approx(9 / 12) and training.verbatim(["yes", "."])
    assert training.copied(["yes"]) == 0.0 and not training.verbatim(words)


# ---------------------------------------------------------------- the judge


class Model(http.server.BaseHTTPRequestHandler):
    """A language model that likes replies with "better" in them, or, where there is none, the first one."""

    asked: list = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Model.asked.append(body)
        first, second = body["messages"][1]["content"].split("Reply A:\n")[1].split("Reply B:\n")
        verdict = "A" if "better" in first or "better" not in second else "B"
        content = json.dumps({"choices": [{"message": {"content": f'Well: {{"better": "{verdict}"}}'}}]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    Model.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}/v1"
        found.shutdown()


def test_a_judge_is_asked_in_both_orders_and_a_taste_for_the_first_is_a_tie(asked, tmp_path, server, data):
    found = {
        name: systems.read(system(tmp_path / name, name, asked, response=response))
        for name, response in (("ours", "I feel better."), ("plain", "I hear."), ("same", "I see."))
    }
    store, model = Store(tmp_path / "cache"), judge.Judge(server, "any", judge.rubric())
    better = judge.preferences(model, found["ours"], found["plain"], asked, store)
    assert all(judge.settled(runs) == "ours" for runs in better.values()) and len(Model.asked) == len(asked) * 6
    equal = judge.preferences(model, found["plain"], found["same"], asked, store)
    assert all(judge.settled(runs) == "tie" and runs[0] == ("ours", "theirs") for runs in equal.values())
    count = len(Model.asked)
    table = judge.table(model, found["plain"], {"Same": found["same"]}, asked, Store(tmp_path / "cache"))
    assert len(Model.asked) == count  # everything was kept
    assert table.rows[0].cells["turned"].value == 100 and "no ratings of people" in table.rows[0].cells["people"].note


def test_a_judge_that_is_not_there_is_one_line(asked, tmp_path, capsys, data):
    given = [str(system(tmp_path / name, name, asked)) for name in ("a", "b")]
    command = ["judge", f"--data={data}", "--address=http://127.0.0.1:9/v1", "--model=m", f"--output={tmp_path / 'o'}"]
    assert main([*command, *given]) == 2
    said = capsys.readouterr().err
    assert "gave no answer" in said and said.count("\n") == 1


# ---------------------------------------------------------------- rows that share stages


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return folders.untrained(resolve(debug.get_config()), tmp_path_factory.mktemp("runs") / "empatheia")


def test_a_row_takes_the_stages_that_it_would_train_alike(full, tmp_path):
    base = debug.get_config()
    assert rows.share(rows.config_of(base, ROWS["without-cs"]), Run(tmp_path / "cs"), [full]) == {"coe": full.folder}
    assert Run(tmp_path / "cs").completion("coe")["step"] == 1
    assert rows.share(rows.config_of(base, ROWS["without-cs"]), Run(tmp_path / "cs"), [full]) == {}
    assert Run(tmp_path / "cs").load_into is not None
    for row in ("without-coe", "without-media", "pipeline"):
        assert rows.share(rows.config_of(base, ROWS[row]), Run(tmp_path / row), [full]) == {}
    assert rows.share(rows.config_of(base, ROWS["joint-only"]), Run(tmp_path / "joint"), [full]) == {}


def test_every_ablation_of_the_paper_is_a_row():
    assert {each for each in joint.ABLATIONS if each not in ("", "paper")} <= set(ROWS)
    for row in ROWS.values():
        rows.config_of(joint.get_config(), row)


def test_one_command_trains_answers_and_evaluates_and_goes_on(data, full, tmp_path):
    base = debug.get_config()
    base.data.path = str(data)
    given = []

    def command(arguments):
        given.append(arguments)
        for each in arguments:
            if each.startswith("--workdir=") and "--mode=reply" not in arguments and "--mode=extract" not in arguments:
                run = folders.untrained(
                    rows.config_of(base, ROWS["pipeline"]), Run(each.removeprefix("--workdir=")).folder
                )
                assert run.completion("coe")
            if each.startswith("--output=") and "--mode=reply" in arguments:
                system(tmp_path / "out" / "replies" / each.rsplit("/", 1)[1], "any", questions.read(data / "test.json"))
        return 0

    flags = rows.config_flags(["launch.py", "--config=configs/debug.py", "--mode=evaluate", "--config.seed", "3"])
    assert flags == ["--config=configs/debug.py", "--config.seed", "3"]
    done = rows.run(base, flags, tmp_path / "out", rows=["pipeline"], workdir=full.folder, run_command=command)
    assert done == 0
    kinds = [next((a for a in each if a.startswith("--mode") or a in ("truth", "tables")), "train") for each in given]
    assert kinds == ["--mode=extract", "train", "--mode=reply", "truth", "tables"]
    assert "--config.schedule=coe" in given[1] and "--config.decoding.style_clip=neutral" in given[2]
    given.clear()
    rows.run(base, flags, tmp_path / "out", rows=["pipeline"], workdir=full.folder, run_command=command)
    assert [each[2] for each in given] == ["truth", "tables"]  # what is complete is not done again
    with pytest.raises(UserError, match="failed with exit code 3"):
        rows.run(base, flags, tmp_path / "out", rows=["pipeline"], workdir=full.folder, run_command=lambda _: 3)
    with pytest.raises(UserError, match="--rows names kempt"):
        rows.run(base, flags, tmp_path / "out", rows=["kempt"])


def test_the_text_baselines_are_rows_that_train_on_the_same_dialogues(data, tmp_path):
    base, given = debug.get_config(), []
    base.data.path, base.seed = str(data), 7
    begun = Run(tmp_path / "out" / "runs" / "cem")
    begun.write_config({**baselines.get_config("cem").to_dict(), "knowledge": "k"})

    def command(arguments):
        given.append(arguments)
        return 0

    rows.run(base, ["--config=configs/debug.py"], tmp_path / "out", rows=["kemp", "cem"], run_command=command)
    train, answer, again, _, truth, tables = given
    assert train[1] == "--config=configs/baselines.py:kemp" and {f"--config.data={data}", "--config.seed=7"} <= {*train}
    assert answer[3:] == ["--mode=reply", f"--input={data}/test.json", f"--output={tmp_path}/out/replies/kemp"]
    assert "--config.knowledge=k" in again and "--config.seed=7" not in again  # a run that was begun keeps its settings
    assert "truth" in truth and f"cem={tmp_path}/out/replies/cem" in tables
