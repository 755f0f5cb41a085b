"""One evaluation, from folders of replies to numbers: read, checked, measured over all processes, and put into tables.

The replies are dealt to the processes; each measures its own and keeps the values by content. What was measured is not measured
again, so a command that was stopped goes on, and a second one over the same files only reads. The first process writes the
results.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
from tqdm import tqdm

from empatheia_jax.errors import UserError
from empatheia_jax.files import write_json
from empatheia_jax.parallel.distributed import wait_for_all
from empatheia_jax.terminal import visible
from evaluation import paper
from evaluation import questions as asked
from evaluation import systems as folders
from evaluation.contamination import TrainingReplies
from evaluation.ground_truth import last_turns
from evaluation.judges import Judges
from evaluation.measures import Clip, Values, measure_reply
from evaluation.questions import Question
from evaluation.ratings import Ratings
from evaluation.store import Store
from evaluation.systems import System


@dataclass
class Evaluation:
    """Everything that tables and figures are made of. values[row][id] → numbers of a reply."""

    systems: Sequence[System]
    questions: Mapping[str, Question]
    left_out: Mapping[str, str]
    unanswered: int
    values: Mapping[str, Mapping[str, Values]]
    judges: Judges
    store: Store
    label_map: str = "paper"
    ratings: Ratings | None = None
    training: TrainingReplies | None = None
    rows: Sequence[str] | None = None
    facts: dict[str, str] = field(default_factory=dict)

    def system(self, row: str) -> System | None:
        """The system of a row, or None."""
        return next((each for each in self.systems if each.row == row), None)

    def titles(self, needs: str | None = None) -> dict[str, str]:
        """Row → title of the systems that are shown, the paper's first; with `needs` only those whose replies have it."""
        rows = {each.row: each.title for each in self.systems if needs is None or each.has(needs)}
        order = [*paper.SYSTEMS, *(row for row in rows if row not in paper.SYSTEMS)]
        chosen = rows if self.rows is None else [row for row in rows if row in self.rows]
        return {row: rows[row] for row in order if row in rows and row in chosen}

    @property
    def dialogues(self) -> dict[str, str]:
        """Id → its dialogue."""
        return {name: each.dialogue for name, each in self.questions.items()}


def measured(
    systems: Sequence[System], questions: Mapping[str, Question], judges: Judges, store: Store, *, common: bool
) -> tuple[dict[str, dict[str, Values]], dict[str, str]]:
    """Measures every reply of every system; (values by row and id, id → why it cannot be measured).

    Raises:
      UserError: files cannot be decoded, and `common` was not asked for.
    """
    truth = next((each for each in systems if each.row == "ground-truth"), None)
    items = [(each, name) for name in questions for each in systems]
    own = items[jax.process_index() :: jax.process_count()]
    faults: dict[str, str] = {}

    @functools.lru_cache(maxsize=1)  # the systems of a turn come one after another, and share its recording
    def reference(name: str) -> Clip | None:
        return None if truth is None else Clip(truth.replies[name])

    def one(system: System, name: str) -> Values | None:
        try:
            return measure_reply(system.replies[name], reference(name), judges, store)
        except UserError as error:
            faults[name] = f"{system.folder}: {error}"
            return None

    for system, name in tqdm(own, desc="measure", unit="reply", disable=None):
        one(system, name)
    wait_for_all("measured")
    store.reload()
    values: dict[str, dict[str, Values]] = {each.row: {} for each in systems}
    for system, name in items:  # by now all of it is in the store
        if (found := one(system, name)) is not None:
            values[system.row][name] = found
    if faults and not common:
        lines = list(faults.values())
        more = [f"… and {len(lines) - folders.SHOWN} more"] if len(lines) > folders.SHOWN else []
        raise UserError.of(
            [*lines[: folders.SHOWN], *more, "mend the files, or leave these turns out for all systems: --common"]
        )
    return values, faults


def evaluate(
    paths: Mapping[str | None, Path] | Sequence[tuple[str | None, Path]],
    test_file: Path,
    cache: Path,
    *,
    common: bool = False,
    last_turn_only: bool = False,
    judges: Judges | None = None,
    ratings: Path | None = None,
    training: Sequence[Path] = (),
    rows: Sequence[str] | None = None,
    label_map: str = "paper",
) -> Evaluation:
    """Reads, checks and measures.

    Args:
      paths: (row, folder) pairs; a row of None takes what the folder's manifest says.
      test_file: the split that the replies answer.
      cache: where values are kept.
      common: leave turns that a system lacks, or whose files cannot be decoded, out for all systems, instead of refusing.
      last_turn_only: only the last turn of each dialogue.
      judges: which judges to ask; by default all that are installed.
      ratings: a file of collected ratings.
      training: files of dialogues that the systems learned from, for contamination.
      rows: rows to show; by default all.
      label_map: from the 32 emotions to the 7.

    Raises:
      UserError: for everything that is wrong with folders, files or ratings.
    """
    pairs = list(paths.items()) if isinstance(paths, Mapping) else list(paths)
    if not pairs:
        raise UserError("no folder of replies was given; expected at least one: ROW=FOLDER or FOLDER")
    found = asked.read(test_file)
    every = last_turns(found) if last_turn_only else found
    systems = [folders.read(folder, row) for row, folder in pairs]
    if last_turn_only:
        systems = [each.keep(set(each.replies) & set(every), {}) for each in systems]
    matched = folders.matched(systems, every if last_turn_only else found, common=common)
    judges, store = judges or Judges(), Store(cache, jax.process_index())
    values, faults = measured(matched.systems, matched.questions, judges, store, common=common)
    kept = [name for name in matched.questions if name not in faults]
    if not kept:
        raise UserError("no turn is left whose files all systems can be measured on")
    for why in faults.values():
        print(f"left out: {visible(why)}", file=sys.stderr)
    result = Evaluation(
        systems=[each.keep(kept, faults) for each in matched.systems],
        questions={name: matched.questions[name] for name in kept},
        left_out={**matched.left_out, **faults},
        unanswered=matched.unanswered,
        values={row: {name: each[name] for name in kept} for row, each in values.items()},
        judges=judges,
        store=store,
        label_map=label_map,
        ratings=None if ratings is None else Ratings.read(ratings),
        training=TrainingReplies.of(training) if training else None,
        rows=rows,
    )
    if result.ratings is not None:
        unknown = sorted(set(result.ratings.systems()) - {each.row for each in systems})
        if unknown:
            raise UserError(
                f"{ratings} rates {', '.join(unknown)}, for which no folder was given; give it, or mend the ratings"
            )
    return result


def write_values(evaluation: Evaluation, path: Path) -> None:
    """Every number of every reply, for whoever wants to compute something else."""
    write_json(path, {row: dict(each) for row, each in evaluation.values.items()})
