"""From a text corpus to an AvaMERG: annotation is reproducible and resumes, and only unanimous dialogues get in."""

from __future__ import annotations

import csv
import http.server
import json
import os
import re
import threading

import pytest

from data_pipeline import toy
from data_pipeline.annotation import annotate, assemble, crosscheck, models, sheets
from data_pipeline.layout import Tree
from data_pipeline.quarantine import Quarantine
from empatheia_jax.conversation import labels, schema
from empatheia_jax.errors import UserError
from tests.data_pipeline.trees import write_media

EXAMPLE = models.FOLDER.parent / "example"


# ------------------------------------------------------------------------------------------------ annotation


def test_a_file_of_answers_reproduces_the_published_set_byte_for_byte(tmp_path, capsys):
    arguments = [
        f"--corpus={EXAMPLE / 'corpus.json'}",
        f"--answers={EXAMPLE / 'answers.jsonl'}",
        f"--output={tmp_path}",
    ]
    assert annotate.main(arguments) == 0
    assert (tmp_path / "draft.json").read_bytes() == (EXAMPLE / "published.json").read_bytes()
    assert schema.read(tmp_path / "draft.json") == toy.conversations("train", 6)
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    one = provenance[toy.conversations("train", 1)[0].conversation_id]
    assert one["profiles and topic"]["prompt"] == "profiles-1" and len(one["chain of empathy"]) == 2
    assert {"model", "prompt_sha256", "question", "answer_sha256"} <= set(one["chain of empathy"]["0"])


class Counted:
    name = "counted"

    def __init__(self, stop_after=10**9):
        self.answers, self.asked, self.stop_after = models.AnswerFile.open(EXAMPLE / "answers.jsonl"), 0, stop_after

    def __call__(self, question):
        if self.asked == self.stop_after:
            raise KeyboardInterrupt
        self.asked += 1
        return self.answers(question)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'\xff\xfe{"key"',
        b'{"key": "a", "answer": null}',
        b'{"key": ["a"], "answer": "b"}',
        b"9" * 5000,
        b'{"key": "a"',
    ],
)
def test_a_file_of_answers_that_breaks_readers_of_json_is_one_line(content, tmp_path):
    (tmp_path / "answers.jsonl").write_bytes(content)
    with pytest.raises(UserError, match="line 1 is no"):
        models.AnswerFile.open(tmp_path / "answers.jsonl")
    (tmp_path / "journal.jsonl").write_bytes(content + b"\n")
    with pytest.raises(UserError, match="line 1 is broken"):
        annotate.Journal(tmp_path / "journal.jsonl", Counted())


def test_a_file_of_answers_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe"):
        models.AnswerFile.open(tmp_path / "pipe")


def test_a_journal_keeps_answers_with_marks_at_which_texts_are_split(tmp_path):
    class Odd:
        name = "odd"

        def __call__(self, question):
            return "one\u2028two\x85three"

    question = models.Question("profiles-1", "Who speaks?")
    annotate.Journal(tmp_path / "j.jsonl", Odd()).ask(question, str)
    again = annotate.Journal(tmp_path / "j.jsonl", Counted(0))
    assert again.ask(question, str)[0] == Odd()(question) and again.asked == 0


@pytest.mark.parametrize("killed_after", [1, 5, 11])
def test_an_interrupted_annotation_asks_nothing_twice(tmp_path, killed_after):
    sources = annotate.read_corpus(EXAMPLE / "corpus.json")
    with pytest.raises(KeyboardInterrupt):
        annotate.annotate(sources, Counted(killed_after), tmp_path, Quarantine(0.0))
    journal = tmp_path / "journal.jsonl"
    journal.write_text(journal.read_text() + '{"key": "half a li')  # killed while it wrote
    again = Counted()
    annotate.annotate(sources, again, tmp_path, Quarantine(0.0))
    assert again.asked == 18 - killed_after
    assert (tmp_path / "draft.json").read_bytes() == (EXAMPLE / "published.json").read_bytes()
    assert len(journal.read_text().splitlines()) == 18
    models.AnswerFile.open(journal)  # a finished journal is a file of answers


def test_an_unusable_answer_is_asked_for_again_and_then_set_aside(tmp_path):
    good = models.AnswerFile.open(EXAMPLE / "answers.jsonl")
    sources = annotate.read_corpus(EXAMPLE / "corpus.json")

    class Sloppy:
        name = "sloppy"

        def __call__(self, question):
            if question.attempt == 0:
                return "Sure! Here is what you want."
            if sources[3].context in question.text:
                return '{"speaker": {"age": "ancient"}}'
            return f"```json\n{good(models.Question(question.prompt, question.text))}\n```"

    quarantine = Quarantine(0.5)
    kept = annotate.annotate(sources, Sloppy(), tmp_path, quarantine)
    assert [each.conversation_id for each in kept] == [s.id for n, s in enumerate(sources) if n != 3]
    assert quarantine.counts == {"not annotated": 1} and "3 answers" in quarantine.entries[0].reason
    with pytest.raises(UserError, match="1 of 6"):
        annotate.annotate(sources, Sloppy(), tmp_path / "strict", Quarantine(0.0))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("no object", "no JSON object"),
        ('{"speaker": {"age": "young", "gender": "male", "timbre": "mid"}}', "listener"),
        (
            '{"speaker": {"age": "young", "gender": "male", "timbre": "loud"}, "listener": {}, "topic": "work"}',
            "outside the vocabulary",
        ),
    ],
)
def test_answers_outside_the_vocabulary_are_refused(answer, message):
    with pytest.raises(UserError, match=message):
        annotate.parse_profiles(answer)


def test_free_words_for_an_emotion_become_labels_and_steps_one_line():
    answer = {"speaker_emotion": "Worried", "event_scenario": "a\n b", "emotion_cause": "c", "goal_to_response": "d"}
    chain = annotate.parse_chain(json.dumps(answer))
    assert (chain.speaker_emotion, chain.event_scenario) == ("anxious", "a b")
    with pytest.raises(UserError, match="zorblatt"):
        annotate.parse_chain(json.dumps(answer | {"speaker_emotion": "zorblatt"}))


def test_real_corpora_are_read(shared):
    for name in ("ed_test_part", "ed_dev_without_last_response"):
        try:
            sources = annotate.read_corpus(shared / "dialogues" / f"{name}.json")
        except UserError as error:
            assert "two utterances" in str(error), error  # a dialogue that lost its only reply
        else:
            assert len(sources) > 1000 and all(labels.emotion32(each.emotion) for each in sources)


def test_rare_profiles_get_new_dialogues_until_each_has_enough(tmp_path):
    conversations = toy.conversations("train")
    least = 3
    missing = annotate.shortages(conversations, least)
    assert missing and all(count <= least for _, count in missing)

    class Writer:
        name = "writer"

        def __call__(self, question):
            number = re.search(r"Number of this dialogue.*: (\d+)", question.text).group(1)
            return json.dumps({"context": f"c {number}", "utterances": ["a", "b", "c", f"d {number}"]})

    entries = annotate.rebalance(
        conversations, least, annotate.Journal(tmp_path / "j.jsonl", Writer()), Quarantine(0.0)
    )
    assert len(entries) == sum(count for _, count in missing)
    assert len({each["emotion"] for each in entries}) > 5 and entries[0]["written_by"]["prompt"] == "dialogue-1"
    corpus = tmp_path / "new.json"
    corpus.write_text(json.dumps(entries))
    assert len(annotate.read_corpus(corpus)) == len(entries)


def test_a_dead_endpoint_stops_the_run_and_is_no_fault_of_the_dialogues(tmp_path):
    class Dead:
        name = "dead"

        def __call__(self, question):
            raise models.Unanswered("nobody is there")

    quarantine = Quarantine(1.0)
    with pytest.raises(UserError, match="nobody is there"):
        annotate.annotate(annotate.read_corpus(EXAMPLE / "corpus.json"), Dead(), tmp_path, quarantine)
    assert not quarantine.entries and not (tmp_path / "draft.json").exists()


# ------------------------------------------------------------------------------------------------ who answers


class Server(http.server.BaseHTTPRequestHandler):
    replies: list = []
    seen: list = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, self.headers.get("Authorization"), body))
        status, content = self.replies.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def endpoint():
    Server.replies, Server.seen = [], []
    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield models.Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "tiny", "TEST_KEY", first_wait=0.01, tries=3)
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_endpoint_is_asked_in_the_usual_form_and_again_after_a_breakdown(endpoint, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "not-a-real-one")
    Server.replies = [(503, "busy"), (200, json.dumps({"choices": [{"message": {"content": "fine"}}]}))]
    assert endpoint(models.Question("p", "how are you?")) == "fine"
    path, authorization, body = Server.seen[-1]
    assert path == "/v1/chat/completions" and authorization == "Bearer not-a-real-one"
    assert body["model"] == "tiny" and body["messages"] == [{"role": "user", "content": "how are you?"}]
    assert len(Server.seen) == 2 and "not-a-real-one" not in endpoint.name


def test_an_endpoint_that_refuses_is_one_line(endpoint):
    Server.replies = [(401, "no")]
    with pytest.raises(UserError, match="HTTP 401"):
        endpoint(models.Question("p", "?"))
    assert len(Server.seen) == 1  # a refusal is not tried again
    Server.replies = [(200, "{}")] * 3
    with pytest.raises(UserError, match="KeyError"):
        endpoint(models.Question("p", "?"))


def test_questions_and_answers_that_are_not_there_are_refused():
    with pytest.raises(UserError, match="does not exist"):
        models.Question.of("chain-99")
    with pytest.raises(UserError, match="no answer"):
        models.AnswerFile.open(EXAMPLE / "answers.jsonl")(models.Question("p", "never asked"))


# ------------------------------------------------------------------------------------------------ cross-check


def fill(folder, stage, say=lambda annotator, item, question: True, kind="json"):
    """Fills the forms as annotators would."""
    for path in sorted(folder.glob(f"{stage}-*.csv")):
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        annotator = rows[0]["annotator"]
        votes = {
            r["conversation"]: {q: say(annotator, r["conversation"], q) for q in crosscheck.QUESTIONS[stage]}
            for r in rows
        }
        if kind == "csv":
            for row in rows:
                row |= {q: {True: "yes", False: "NO", None: ""}[v] for q, v in votes[row["conversation"]].items()}
            with open(path, "w", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
        else:
            answers = {c: {q: v for q, v in given.items() if v is not None} for c, given in votes.items()}
            result = {"set": rows[0]["set"], "round": stage, "annotator": annotator, "answers": answers}
            path.with_suffix(".json").write_text(json.dumps(result))


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_only_what_all_three_accept_in_everything_gets_in(tmp_path, kind):
    conversations = toy.conversations("train", 5)
    ids = [each.conversation_id for each in conversations]
    crosscheck.make_forms(conversations, "text", ("ann", "bob", "cyd"), tmp_path)

    def say(annotator, item, question):
        if (annotator, item, question) == ("bob", ids[1], "topic"):
            return False
        return None if (annotator, item, question) == ("cyd", ids[2], "profile") else True

    fill(tmp_path, "text", say, kind)
    results = crosscheck.read_results(tmp_path, crosscheck.set_hash(conversations, "text"), "text")
    decision = crosscheck.decide(conversations, results, "text")
    assert decision.accepted == [ids[0], ids[3], ids[4]]
    assert decision.rejected == {ids[1]: ["bob: topic"]}
    assert decision.open == {ids[2]: ["profile: 2 of 3 votes"]}
    assert decision.agreement["dialogue"]["unanimous"] == 1.0 and decision.agreement["topic"]["unanimous"] == 0.8
    text = crosscheck.report(decision, "text")
    assert "3 accepted, 1 rejected, 1 open" in text and "bob: topic" in text


def test_fleiss_kappa_of_a_textbook_case():
    assert crosscheck.fleiss_kappa([3, 3, 0, 0], 3) == pytest.approx(1.0)
    # Two items, three raters, votes 2:1 and 1:2: P = 1/3, P_e = 1/2.
    assert crosscheck.fleiss_kappa([2, 1], 3) == pytest.approx((1 / 3 - 1 / 2) / (1 / 2))
    assert crosscheck.fleiss_kappa([3, 3], 3) is None and crosscheck.fleiss_kappa([], 3) is None


def test_results_about_another_set_are_refused(tmp_path):
    conversations = toy.conversations("train", 3)
    crosscheck.make_forms(conversations, "text", ("ann", "bob", "cyd"), tmp_path)
    fill(tmp_path, "text")
    with pytest.raises(UserError, match="make new forms"):
        crosscheck.read_results(tmp_path, crosscheck.set_hash(conversations[:2], "text"), "text")
    with pytest.raises(UserError, match="3 different names"):
        crosscheck.make_forms(conversations, "text", ("ann", "ann", "bob"), tmp_path)
    with pytest.raises(UserError, match="--media"):
        crosscheck.make_forms(conversations, "media", ("ann", "bob", "cyd"), tmp_path)


def test_the_forms_are_whole_pages_in_another_order_for_each(tmp_path):
    conversations = toy.conversations("train", 8)
    pages = [path.read_text() for path in crosscheck.make_forms(conversations, "text", ("ann", "bob", "cyd"), tmp_path)]
    orders = [re.findall(r"data-id='(\d+)'", page) for page in pages]
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == [each.conversation_id for each in conversations] for order in orders)
    for page in pages:
        assert "http" not in page.replace("http-equiv", "") and page.count("type=radio") == 8 * 3 * 2


# ------------------------------------------------------------------------------------------------ the whole way


def test_from_corpus_to_a_released_tree(tmp_path):
    """Annotate, check the text, record, check the recordings, assemble: each step by its command."""
    work, conversations = tmp_path / "work", toy.conversations("train", 6)
    ids = [each.conversation_id for each in conversations]
    answers = EXAMPLE / "answers.jsonl"
    assert annotate.main([f"--corpus={EXAMPLE / 'corpus.json'}", f"--answers={answers}", f"--output={work}"]) == 0
    common = ["--round=text", f"--output={work}", f"--set={work / 'draft.json'}"]
    assert crosscheck.main(["forms", *common]) == 0
    fill(work, "text", lambda annotator, item, question: item != ids[0])
    assert crosscheck.main(["import", *common, f"--results={work}"]) == 0
    accepted = work / "accepted-text.json"
    assert [each.conversation_id for each in schema.read(accepted)] == ids[1:]

    assert sheets.main([f"--set={accepted}", f"--output={work / 'sheets'}"]) == 0
    with open(next(iter(sorted((work / "sheets").glob("*.csv")))), newline="") as file:
        line = next(csv.DictReader(file))
    assert re.fullmatch(r"dia\d{5}utt\d_\d+\.wav", line["audio"]) and line["seven"] in labels.EMOTIONS_7

    recorded = tmp_path / "recorded"
    for each in conversations[1:]:
        write_media(recorded, each)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in recorded.rglob("dia*"):
        path.rename(flat / path.name)
    next(iter(sorted(flat.glob(f"dia{ids[5]}utt1*.wav")))).write_bytes(b"")
    arguments = [f"--set={accepted}", f"--recordings={flat}", f"--annotation={work}", f"--decisions={work}"]
    assert assemble.main([*arguments, f"--output={tmp_path / 'no'}"]) == 2  # one dialogue of five is broken
    assert assemble.main([*arguments, f"--output={tmp_path / 'set'}", "--limit=0.2"]) == 0
    tree = Tree(tmp_path / "set")
    found = [each for split in tree.splits() for each in schema.read(tree.split_file(split))]
    assert sorted(each.conversation_id for each in found) == ids[1:5]
    assert all(clip.audio and clip.video for each in found for clip in tree.clips(each))
    provenance = json.loads((tmp_path / "set" / "provenance.json").read_text())[ids[1]]
    assert provenance["cross-check"] == {"text": "accepted"} and len(provenance["recordings"]) == 8
    assert provenance["annotation"]["profiles and topic"]["model"] == "answers"
    crosscheck.make_forms(found, "media", ("ann", "bob", "cyd"), tmp_path / "forms", tree)
    assert (tmp_path / "forms" / "media-ann.html").read_text().count("<audio") == 16


def test_splits_have_the_papers_shares_and_never_move():
    splits = [assemble.split_of(f"{n:05d}") for n in range(20_000)]
    for split, share in assemble.SHARES.items():
        assert splits.count(split) / len(splits) == pytest.approx(share, abs=0.01)
    assert assemble.split_of("00001") == splits[1]
