"""Who is seen: the groups of ages, the cells of the table, and the real networks on films, where they are installed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from empatheia_jax.dreamtalk.drawn_face import drawing, layout
from empatheia_jax.dreamtalk.drawn_face.identity import sample_identity
from evaluation import columns, face_judges, films, results
from evaluation.judges import Judges
from evaluation.speech_judges import Absent


@pytest.fixture(scope="module")
def reader():
    """The real networks."""
    try:
        return face_judges.PersonReader()
    except Absent:
        pytest.skip("needs the extra eval")


def drawn(person: int) -> np.ndarray:
    """A film of a drawn person who opens the mouth."""
    return np.asarray(
        drawing.draw(sample_identity(person), layout.coefficients(8, jaw_open=np.linspace(0, 0.6, 8)), 256)
    )


def test_an_age_belongs_to_one_group():
    groups = [face_judges.age_group(years) for years in (0, 15.9, 16, 39, 40, 59.5, 60, 80)]
    assert groups == ["child", "child", "young", "young", "middle-aged", "middle-aged", "elderly", "elderly"]


def seen(evaluation, row: str, change) -> columns.Evaluation:
    """The evaluation as if the judge had been there: of every recording it saw the listener as the profile says, of the row
    `row` what `change` makes of that.
    """
    values = {each: {name: dict(found) for name, found in named.items()} for each, named in evaluation.values.items()}
    for number, name in enumerate(evaluation.questions):
        age, gender, _ = evaluation.questions[name].listener.ids
        true = {
            "face_age": (8.0, 25.0, 50.0, 70.0)[age],
            "face_gender": ("male", "female")[gender],
            "face_descriptor": [float(number)] + [0.0] * 127,
        }
        values["ground-truth"][name] |= true
        values[row][name] |= change(dict(true))
    return dataclasses.replace(evaluation, values=values, judges=Judges())


def table(evaluation):
    return next(each for each in results.companions(evaluation) if each.key == "person")


def test_the_profile_is_found_again_and_a_wrong_one_is_not(evaluation):
    other = next(each.row for each in evaluation.systems if each.row != "ground-truth" and each.has("video"))

    def wrong(true):
        gender = "male" if true["face_gender"] == "female" else "female"
        age = 70.0 if true["face_age"] < 60 else 25.0
        return {
            "face_age": age,
            "face_gender": gender,
            "face_descriptor": [true["face_descriptor"][0] + 0.25] + [0.0] * 127,
        }

    made = table(seen(evaluation, other, wrong))
    cells = {row.key: row.cells for row in made.rows}
    n = len(evaluation.questions)
    for column, true, theirs in (("age_as_asked", 100, 0), ("gender_as_asked", 100, 0), ("face_distance", 0, 0.25)):
        assert cells["ground-truth"][column].value == true and cells["ground-truth"][column].n == n
        assert cells[other][column].value == pytest.approx(theirs)
    assert any("Recordings of two dialogues lie" in note for note in made.notes)


def test_films_without_a_face_are_not_counted(evaluation):
    other = next(each.row for each in evaluation.systems if each.row != "ground-truth" and each.has("video"))
    first = next(iter(evaluation.questions))
    found = seen(evaluation, other, lambda true: true if true["face_descriptor"][0] == 0 else {})
    cells = {row.key: row.cells for row in table(found).rows}
    assert first == list(evaluation.questions)[0]
    assert [cells[other][each].n for each in columns.PERSON] == [1, 1, 1]


def test_a_judge_that_is_missing_is_named_in_every_cell(evaluation):
    judges = Judges()
    judges.absent["person"] = "not installed"
    made = table(dataclasses.replace(evaluation, judges=judges))
    shown = [row.cells for row in made.rows if evaluation.system(row.key) is not None]
    assert shown and all(row[each].note == "not installed" for row in shown for each in columns.PERSON)


def test_a_drawn_person_is_nearer_to_their_own_film_than_to_anothers(reader):
    people = [reader(drawn(each)) for each in (0, 3, 5)]
    again = reader(drawn(3)[2:])
    apart = [face_judges.distance(again.descriptor, each.descriptor) for each in people]
    assert apart[1] < 0.5 * min(apart[0], apart[2]) and people[1].frames == face_judges.FRAMES


def test_no_face_is_no_person(reader):
    assert reader(np.full((6, 256, 256, 3), 90, np.uint8)) is None


def test_photographed_people_are_told_apart(reader, shared):
    def person(name: str):
        return reader(films.standard(shared / "media" / "style_clips" / f"{name}.mp4"))

    he, she = person("M030_front_sad_level3_001"), person("W009_front_happy_level3_001")
    other = person("M030_front_angry_level3_001")
    assert (he.gender, she.gender) == ("male", "female")
    assert face_judges.distance(he.descriptor, other.descriptor) < face_judges.SAME_PERSON
    assert face_judges.distance(he.descriptor, she.descriptor) > face_judges.SAME_PERSON
    assert {face_judges.age_group(each.age) for each in (he, she)} <= {"young", "middle-aged"}
