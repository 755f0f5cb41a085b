"""A language model as a judge: both orders, three runs, kept answers."""

from __future__ import annotations

import http.server
import json
import threading

import pytest

from evaluation import language_judge, systems
from evaluation.__main__ import main
from evaluation.store import Store
from tests.evaluation.sets import text_system


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
        name: systems.read(text_system(tmp_path / name, name, asked, response=response))
        for name, response in (("ours", "I feel better."), ("plain", "I hear."), ("same", "I see."))
    }
    store, model = Store(tmp_path / "cache"), language_judge.Judge(server, "any", language_judge.rubric())
    better = language_judge.preferences(model, found["ours"], found["plain"], asked, store)
    assert (
        all(language_judge.settled(runs) == "ours" for runs in better.values()) and len(Model.asked) == len(asked) * 6
    )
    equal = language_judge.preferences(model, found["plain"], found["same"], asked, store)
    assert all(language_judge.settled(runs) == "tie" and runs[0] == ("ours", "theirs") for runs in equal.values())
    count = len(Model.asked)
    table = language_judge.table(model, found["plain"], {"Same": found["same"]}, asked, Store(tmp_path / "cache"))
    assert len(Model.asked) == count  # everything was kept
    assert table.rows[0].cells["turned"].value == 100 and "no ratings of people" in table.rows[0].cells["people"].note


def test_a_judge_that_is_not_there_is_one_line(asked, tmp_path, capsys, data):
    given = [str(text_system(tmp_path / name, name, asked)) for name in ("a", "b")]
    command = ["judge", f"--data={data}", "--address=http://127.0.0.1:9/v1", "--model=m", f"--output={tmp_path / 'o'}"]
    assert main([*command, *given]) == 2
    said = capsys.readouterr().err
    assert "gave no answer" in said and said.count("\n") == 1
