"""The page in a browser: Debian's Chromium, driven by Playwright, on a scripted engine (the real one: test_real.py)."""

from __future__ import annotations

import importlib.util
import shutil
import time

import httpx
import numpy as np
import pytest

from empatheia_jax.care.texts import Texts
from empatheia_jax.media.audio import write_wav
from tests.server.running import served
from tests.server.scripted import REPLY, ScriptedEngine

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    *("--autoplay-policy=no-user-gesture-required", "--enable-unsafe-swiftshader"),
)
PATIENCE = 100.0  # seconds; a busy machine draws a face in software slowly

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium in the path"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs Playwright (the extra test)"),
]


def until(true, what):
    """Waits for something to become true, and gives it."""
    ends = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < ends, f"it took too long: {what}"
        time.sleep(0.03)
    return found


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    engine = ScriptedEngine(pace=0.1)
    with served(engine, tmp_path_factory.mktemp("server")) as (address, _):
        yield address, engine


@pytest.fixture
def open_page(browser, server):
    """Opens the page; at the end, nothing may have gone wrong in it."""
    contexts, errors = [], []

    def opened(**options):
        context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 800}, "permissions": ["microphone", "camera"]} | options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server[0])
        page.wait_for_selector("body[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def say(page, words):
    page.fill("#words", words)
    page.press("#words", "Enter")


def played(page):
    until(lambda: page.evaluate("!empatheia.first.playing && !empatheia.state.asking"), "the reply's end")


def test_typing_gives_text_a_moving_face_captions_and_sound(open_page):
    page = open_page()
    assert page.is_visible("#ai-notice") and page.inner_text("#ai-notice p") == Texts.read().notices()["ai"]
    say(page, "I moved here in March.")
    until(lambda: page.evaluate("empatheia.first.level") > 0.01, "sound")
    pictures = {page.evaluate("empatheia.first.face.canvas.toDataURL()")}
    until(lambda: pictures.add(page.evaluate("empatheia.first.face.canvas.toDataURL()")) or len(pictures) > 2, "motion")
    assert page.inner_text("#captions .now") in REPLY.split()
    played(page)
    assert REPLY in page.inner_text("#log") and page.inner_text("#announce") == f"Reply: {REPLY}"
    assert page.evaluate("empatheia.first.stalls") == 0
    page.click("text=Play again")
    until(lambda: page.evaluate("empatheia.first.level") > 0.01, "sound again")


def test_the_film_has_its_length_and_its_frames_are_shown(open_page):
    page = open_page()
    page.click("#open-settings")
    page.select_option("#face", "film")
    say(page, "Show me a film.")
    look = """() => { const c = document.createElement("canvas"); c.width = c.height = 8; const p = c.getContext("2d");
              p.drawImage(document.querySelector("#first video"), 0, 0, 8, 8);
              return [...p.getImageData(0, 0, 8, 8).data].join() }"""
    until(lambda: page.evaluate("empatheia.first.position") > 0.3, "the film's beginning")
    shown = {page.evaluate(look)}
    until(lambda: shown.add(page.evaluate(look)) or len(shown) > 2, "frames")
    assert until(lambda: page.evaluate("empatheia.first.level"), "the film's sound") > 0.001
    seconds = until(lambda: page.evaluate("empatheia.state.replies[0].done?.seconds"), "the reply's end")
    duration = until(
        lambda: page.evaluate("Number.isFinite(empatheia.first.video.duration) && empatheia.first.video.duration"),
        "duration",
    )
    played(page)
    assert abs(page.evaluate("empatheia.first.video.duration") - seconds) <= 0.06, (duration, seconds)


def test_an_edited_step_gives_another_reply(open_page):
    page = open_page()
    page.click("#open-settings")
    page.uncheck("#sound")
    say(page, "I moved here in March.")
    until(lambda: page.query_selector("text=Download text"), "the reply")
    page.click("summary")
    page.select_option("select[name=speaker_emotion]", "proud")
    page.click("text=Answer again from the first changed step")
    until(lambda: "You feel proud" in page.inner_text("#log"), "the other reply")


def test_an_interruption_stops_the_sound_and_leaves_the_words_that_were_heard(open_page, server):
    page = open_page()
    say(page, "Tell me more.")
    until(lambda: page.evaluate("empatheia.first.position") > 0.6, "speech")
    took = page.evaluate(
        """async () => {
          document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
          const began = performance.now();
          while (empatheia.first.level > 1e-4) await new Promise((done) => setTimeout(done, 5));
          return performance.now() - began;
        }"""
    )
    assert took < 150
    heard = until(lambda: page.evaluate("empatheia.state.replies.at(-1).heardWords"), "the server's answer")
    struck = page.inner_text(".unheard")
    assert heard and REPLY.startswith(heard) and struck.strip() and struck.strip() not in heard
    session = page.evaluate("empatheia.state.session.id")
    assert httpx.get(f"{server[0]}/api/sessions/{session}").json()["turns"][-1]["reply"]["heard"] == heard


def test_the_microphone_speaks_after_the_notice_was_read(open_page, server):
    page = open_page()
    page.click("#speak")
    assert page.inner_text("#consent p") == Texts.read().notices()["read"]
    page.click("#consent >> text=Go on")
    until(lambda: page.get_attribute("#speak", "aria-pressed") == "true", "the microphone")
    until(lambda: page.evaluate("empatheia.microphone.pieces.length") > 30, "a recording")
    page.click("#speak")
    until(lambda: "with speech" in page.inner_text("#log"), "the recording in the log")
    until(lambda: server[1].asked[-1][1].speech is not None, "the recording at the engine")


def test_a_cough_does_not_interrupt_and_speech_does(open_page):
    page = open_page()
    # Pieces of sound straight into the detector: 20 ms each, loud or quiet.
    heard = page.evaluate(
        """() => {
          const m = empatheia.microphone; m.rate = 48000;
          Object.assign(m, { mode: "free", pieces: [], speech: 0, silence: 0, told: false, floor: 0.005 });
          let spoke = 0, said = 0;
          m.addEventListener("speaking", () => (spoke += 1));
          m.addEventListener("utterance", (event) => { event.stopImmediatePropagation(); said += 1 });
          const piece = (loud) => new Float32Array(960).fill(loud ? 0.2 : 0);
          const hear = (loud, seconds) => { for (let k = 0; k < seconds / 0.02; k += 1) m.hear(piece(loud)); };
          const counts = [];
          hear(false, 0.5); hear(true, 0.4); hear(false, 1); counts.push(spoke, said);
          hear(true, 0.6); counts.push(spoke); m.mode = null; return counts;
        }"""
    )
    assert heard == [0, 0, 1]


def test_text_only_takes_no_recordings(open_page):
    page = open_page()
    page.click("#upload")
    page.click("#consent button[value=text]")  # the notice has these words, too
    until(lambda: page.is_checked("#text-only"), "the switch")
    assert not page.is_visible("#speak") and not page.is_visible("#upload")


def test_a_wav_is_uploaded_and_goes_with_the_words(open_page, server, tmp_path):
    page = open_page()
    write_wav(tmp_path / "mine.wav", np.zeros(16_000, np.float32), 16_000)
    page.set_input_files("#file", tmp_path / "mine.wav")
    until(lambda: "speech (1.0 s)" in page.inner_text("#attached"), "the upload")
    say(page, "Listen to this.")
    until(lambda: server[1].asked and server[1].asked[-1][1].text == "Listen to this.", "the request")
    assert server[1].asked[-1][1].speech is not None


def test_the_pipeline_answers_beside_it(open_page):
    page = open_page()
    page.click("#open-settings")
    page.uncheck("#sound")
    page.check("#compare")
    say(page, "I moved here in March.")
    until(lambda: page.locator(".pair .card:not([aria-busy])").count() == 2, "two replies")
    assert page.locator(".pair h3").all_inner_texts() == ["Empatheia", "Pipeline"]


def test_a_telephone_shows_everything_and_scrolls_in_one_direction(open_page):
    page = open_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, reduced_motion="reduce")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.tap("#gallery button")
    until(lambda: REPLY in page.inner_text("#log"), "the reply")
    assert page.evaluate("empatheia.first.still") and page.is_visible("#send")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_axe_finds_no_serious_fault(open_page):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe-playwright-python (the extra test)"
    )
    page = open_page()
    page.click("#open-settings")
    page.uncheck("#sound")
    say(page, "I moved here in March.")
    until(lambda: page.query_selector("text=Download text"), "the reply")
    page.click("summary")
    found = [each for each in axe.Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"][:120]) for each in found] == []
