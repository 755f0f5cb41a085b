// The page: puts the parts together and answers to the user.

import * as face_program from "/drawn-face.js";
import { Camera } from "./camera.js";
import * as client from "./client.js";
import { Face } from "./face.js";
import { element, Log } from "./log.js";
import { Microphone } from "./microphone.js";
import { Player, sound } from "./player.js";
import { Reply } from "./reply.js";

const $ = (id) => document.getElementById(id);
const reduced = matchMedia("(prefers-reduced-motion: reduce)");
const state = { info: null, session: null, other: null, attached: [], agreed: false, asking: null, replies: [] };

// ---------------------------------------------------------------- parts

function stageOf(figure) {
  const canvas = figure.querySelector("canvas");
  const player = new Player(new Face(canvas, face_program), figure.querySelector("video"), reduced.matches);
  reduced.addEventListener("change", () => (player.still = reduced.matches));
  player.addEventListener("at", ({ detail }) => caption(detail));
  player.addEventListener("stopped", ({ detail }) => report(detail));
  player.addEventListener("ended", ({ detail }) => report(detail));
  player.addEventListener("trouble", ({ detail }) => say(detail));
  return { figure, player };
}

const first = stageOf($("first"));
const second = stageOf($("second"));
const microphone = new Microphone();
const camera = new Camera($("preview"));
let log = null;

function say(text) {
  $("state").textContent = text;
}

function announce(text) {
  $("announce").textContent = text;
}

// ---------------------------------------------------------------- settings

function options(select, values, chosen) {
  select.replaceChildren(...values.map(([value, text]) => element("option", { value, selected: value === chosen }, text)));
}

function profile() {
  return { age: $("age").value, gender: $("gender").value, tone: $("tone").value };
}

async function showPerson() {
  const someone = await client.person(profile());
  first.player.face.is(someone);
  second.player.face.is(someone);
}

function settings() {
  const { info } = state;
  const plain = (values) => values.map((each) => [each, each]);
  options($("age"), plain(info.profiles.ages), "young");
  options($("gender"), plain(info.profiles.genders), "female");
  options($("tone"), plain(info.profiles.tones), "gentle");
  options($("emotion"), [["", "as it understands you"], ...plain(info.emotions.shown)], "");
  options($("mix"), [["", "none"], ...plain(info.emotions.felt)], "");
  const able = first.player.face.able && info.face.drawn;
  const faces = [["film", "film of the network"], ["none", "no moving face"]];
  if (able) faces.unshift(["data", "drawn here from data"]);
  const best = info.face.default === "data" && !able ? "film" : info.face.default;
  options($("face"), [["auto", `chosen by the server (${best === "data" ? "drawn" : "film"})`], ...faces], "auto");
  for (const id of ["age", "gender", "tone"]) $(id).addEventListener("change", showPerson);
  $("mix").addEventListener("change", () => ($("share").disabled = !$("mix").value));
  $("show-captions").addEventListener("change", () => ($("captions").hidden = !$("show-captions").checked));
  $("compare").addEventListener("change", compare);
  $("text-only").addEventListener("change", textOnly);
  $("open-settings").addEventListener("click", () => toggleSettings($("settings").hidden));
  $("close-settings").addEventListener("click", () => toggleSettings(false));
}

function toggleSettings(open) {
  $("settings").hidden = !open;
  document.querySelector("main").classList.toggle("with-settings", open);
  $("open-settings").setAttribute("aria-expanded", String(open));
  $(open ? "close-settings" : "open-settings").focus();
}

function compare() {
  $("second").hidden = !$("compare").checked;
  document.querySelector("#first figcaption").hidden = !$("compare").checked;
}

function textOnly() {
  const only = $("text-only").checked;
  document.querySelector(".senses").hidden = only;
  if (only) {
    microphone.close();
    camera.close();
    state.attached = [];
    attached();
    for (const id of ["speak", "listen", "show"]) $(id).setAttribute("aria-pressed", "false");
  }
}

// ---------------------------------------------------------------- notices

function notice() {
  const box = $("ai-notice");
  box.querySelector("p").textContent = state.info.notices.ai;
  box.hidden = false;
}

// Asks once, before microphone, camera or an upload; true where the user goes on.
async function agreed() {
  if (state.agreed) return true;
  const dialog = $("consent");
  const { read, unheard } = state.info.notices;
  dialog.querySelector("p").textContent = unheard ? `${read} ${unheard}` : read;
  dialog.showModal();
  const value = await new Promise((done) => {
    for (const button of dialog.querySelectorAll("button")) {
      button.addEventListener("click", () => dialog.close(button.value), { once: true });
    }
    dialog.addEventListener("close", () => done(dialog.returnValue), { once: true });
  });
  state.agreed = value === "allow";
  if (value === "text") {
    $("text-only").checked = true;
    textOnly();
  }
  return state.agreed;
}

// ---------------------------------------------------------------- sessions

async function newSession() {
  stopAll();
  state.session = await client.create({ profile: profile(), seed: Number($("seed").value) || 0 });
  state.other = null;
  state.replies = [];
  log.clear();
  gallery();
  await listSessions();
}

async function listSessions() {
  const found = (await client.sessions()).filter((each) => each.turns > 0 || each.id === state.session.id);
  const text = (each) => (each.id === state.session.id ? "this one" : each.begins || "recordings");
  options($("sessions"), found.map((each) => [each.id, text(each)]), state.session.id);
}

async function loadSession(id) {
  stopAll();
  const loaded = await client.session(id);
  state.session = loaded;
  state.other = null;
  state.replies = [];
  log.clear();
  for (const turn of loaded.turns) {
    log.user(turn.said, turn.recordings);
    if (!turn.reply) continue;
    const reply = new Reply(loaded.id);
    Object.assign(reply, { id: turn.reply.generation, text: turn.reply.response, heardWords: turn.reply.heard, stopped: 0 });
    Object.assign(reply.chain, turn.reply.chain);
    log.replies(["Empatheia", reply, false]);
  }
  if (loaded.profile) {
    for (const [name, value] of Object.entries(loaded.profile)) $(name).value = value;
    await showPerson();
  }
  gallery();
  await listSessions();
}

function gallery() {
  const { examples } = state;
  $("gallery").replaceChildren(
    ...(state.replies.length || $("log").children.length
      ? []
      : examples.map(({ feeling, text }) =>
          element("button", { type: "button", onclick: () => submit(text) }, element("small", {}, feeling), text),
        )),
  );
}

// ---------------------------------------------------------------- asking

function asked(extra) {
  const value = { profile: profile(), seed: Number($("seed").value) || 0, ...extra };
  if (!$("sound").checked) value.sound = false;
  value.face = $("face").value;
  if ($("face").value === "auto" && !first.player.face.able && state.info.face.default === "data") value.face = "film";
  if ($("emotion").value) value.emotion = $("emotion").value;
  return value;
}

async function submit(text) {
  text = (text ?? $("words").value).trim();
  const recordings = state.attached;
  if (!text && !recordings.length) return;
  sound();
  stopAll();
  $("words").value = "";
  state.attached = [];
  attached();
  const heard = log.user(text, recordings.map((each) => each.kind));
  const said = { text, recordings: recordings.map((each) => each.id) };
  const mix = $("mix").value ? { emotion: $("mix").value, emotion_share: Number($("share").value) / 100 } : undefined;
  await answer(said, mix ? { mix } : {}, text ? null : heard);
}

// Asks for a reply to `said`, and beside it one of the pipeline where that is wanted. `heard` is told the words of a recording.
async function answer(said, extra, heard = null) {
  const reply = new Reply(state.session.id);
  const pairs = [["Empatheia", reply, true]];
  let other = null;
  if ($("compare").checked && !said.again) {
    state.other ??= await client.create({ profile: profile() });
    other = new Reply(state.other.id);
    pairs.push(["Pipeline", other, false]);
  }
  log.replies(...pairs);
  state.replies.push(reply);
  $("gallery").replaceChildren();
  await run(reply, asked({ ...said, ...extra }), first, true, heard);
  if (other) await run(other, asked({ ...said, pipeline: true }), second, false);
}

// Reads one reply; it plays as it comes.
async function run(reply, value, stage, aloud = true, heard = null) {
  const stop = new AbortController();
  state.asking = { reply, stop };
  say("Thinking …");
  $("stop").disabled = false;
  try {
    for await (const event of client.turn(reply.session, value, stop.signal)) {
      reply.take(event);
      if (event.type === "begin" && event.said) heard?.(event.said);
      if (event.type === "begin" && aloud && value.sound !== false) play(reply, stage);
    }
    if (reply.failed) say(reply.failed);
    else announce(`Reply: ${reply.text}`);
  } catch (error) {
    if (error.name !== "AbortError") {
      reply.take({ type: "failed", reason: error.message });
      say(error.message);
      announce(error.message);
    }
  } finally {
    if (state.asking?.reply === reply) state.asking = null;
    if (!first.player.playing && !second.player.playing) idle();
  }
}

function play(reply, stage = null) {
  const where = stage ?? (reply.session === state.other?.id ? second : first);
  for (const each of [first, second]) if (each !== where) each.player.stop();
  where.player.play(reply);
  where.figure.classList.add("speaking");
  $("stop").disabled = false;
  say("Speaking …");
}

function idle() {
  $("stop").disabled = true;
  for (const { figure } of [first, second]) figure.classList.remove("speaking");
  if (!state.asking) say("Ready");
}

// The user interrupts: the sound stops now, and the server hears how much was heard.
function stopAll() {
  const asking = state.asking;
  state.asking = null;
  let stopped = false;
  for (const { player } of [first, second]) {
    if (player.playing) {
      player.stop();
      stopped = true;
    }
  }
  if (asking && !stopped && !asking.reply.ended) {
    if (asking.reply.id) client.cancel(asking.reply.session, asking.reply.id, 0).catch(() => {});
    asking.stop.abort();
  }
  $("captions").textContent = "";
  idle();
}

// Tells the server what was heard of a reply; what was not is struck out.
async function report({ reply, seconds }) {
  idle();
  $("captions").textContent = "";
  if (!reply.id || reply.replayed) return;
  const whole = reply.done && seconds >= reply.seconds - 0.02;
  try {
    const found = whole || reply.done
      ? await client.heard(reply.session, reply.id, seconds)
      : await client.cancel(reply.session, reply.id, seconds);
    if (!whole) reply.heardWords = found.heard;
    else reply.stopped = null;
  } catch (error) {
    say(error.message);
  }
  reply.replayed = true;
  reply.dispatchEvent(new CustomEvent("change", { detail: { type: "heard" } }));
}

// ---------------------------------------------------------------- captions

function caption({ reply, seconds }) {
  const now = Math.floor(seconds);
  if (!reply.replayed && now > (reply.reported ?? 0)) {
    reply.reported = now;
    client.heard(reply.session, reply.id, seconds).catch(() => {});
  }
  if ($("captions").hidden) return;
  const at = reply.words.findLastIndex(([, begin]) => begin <= seconds);
  if (reply.captioned === at && $("captions").childNodes.length) return;
  reply.captioned = at;
  const from = Math.max(0, Math.floor(Math.max(at, 0) / 12) * 12);
  $("captions").replaceChildren(
    ...reply.words.slice(from, from + 12).flatMap(([word], k) => [
      element("span", { class: from + k === at ? "now" : from + k < at ? "said" : "" }, word),
      " ",
    ]),
  );
}

// ---------------------------------------------------------------- voice, camera, files

async function attach(blob, sends = false) {
  say("Uploading …");
  try {
    state.attached.push(await client.upload(blob));
    attached();
    say("Ready");
    if (sends) await submit();
  } catch (error) {
    say(error.message);
    announce(error.message);
  }
}

function attached() {
  $("attached").replaceChildren(
    ...state.attached.map((each) => {
      const length = each.seconds ? ` (${each.seconds.toFixed(1)} s)` : "";
      const remove = () => {
        state.attached = state.attached.filter((other) => other !== each);
        attached();
      };
      const cross = element("button", { type: "button", onclick: remove, "aria-label": `Remove the ${each.kind}` }, "×");
      return element("li", {}, `${each.kind}${length}`, cross);
    }),
  );
}

async function open(button, mode) {
  const pressed = button.getAttribute("aria-pressed") === "true";
  for (const id of ["speak", "listen"]) $(id).setAttribute("aria-pressed", "false");
  if (pressed) {
    microphone.close();
    return;
  }
  if (!(await agreed())) return;
  try {
    if (mode === "push") stopAll();
    await microphone.open(mode);
    button.setAttribute("aria-pressed", "true");
    say(mode === "push" ? "Listening: press again to send" : "Hands-free: just speak");
  } catch (error) {
    say(`the microphone cannot be opened (${error.message})`);
  }
}

async function film() {
  if (camera.open) {
    camera.close();
    return;
  }
  if (!(await agreed())) return;
  stopAll();
  $("show").setAttribute("aria-pressed", "true");
  try {
    say("Recording: press again to end");
    await attach(await camera.record());
  } catch (error) {
    say(`the camera cannot be opened (${error.message})`);
  }
  $("show").setAttribute("aria-pressed", "false");
}

function listeners() {
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  $("words").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    }
  });
  $("stop").addEventListener("click", stopAll);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !$("consent").open) stopAll();
  });
  $("speak").addEventListener("click", () => open($("speak"), "push"));
  $("listen").addEventListener("click", () => open($("listen"), "free"));
  microphone.addEventListener("speaking", stopAll);
  microphone.addEventListener("utterance", ({ detail }) => attach(detail, true));
  $("show").addEventListener("click", film);
  $("upload").addEventListener("click", async () => {
    if (await agreed()) $("file").click();
  });
  $("file").addEventListener("change", async () => {
    for (const file of $("file").files) await attach(file);
    $("file").value = "";
  });
  $("new").addEventListener("click", newSession);
  $("sessions").addEventListener("change", () => loadSession($("sessions").value));
  $("delete").addEventListener("click", async () => {
    await client.remove(state.session.id);
    await newSession();
  });
  $("ai-notice").querySelector("button").addEventListener("click", () => ($("ai-notice").hidden = true));
}

// The face at rest blinks now and then.
function blinking() {
  const { player } = first;
  const every = () => {
    setTimeout(every, 2500 + 3500 * Math.random());
    if (player.playing || player.still) return;
    [0.5, 1, 0.5, 0].forEach((share, k) => setTimeout(() => player.playing || player.face.blink(share), 45 * k));
  };
  every();
}

async function begin() {
  try {
    state.info = await client.info();
    state.examples = await (await fetch("examples.json")).json();
    const again = (reply, edits) => {
      if (reply !== state.replies.at(-1)) return say("only the last answer can be written anew");
      stopAll();
      return answer({ again: true }, { chain_edits: edits });
    };
    const address = (reply) => client.address(reply.session, reply.id);
    log = new Log($("log"), state.info.emotions.felt, { play, again, address });
    settings();
    listeners();
    notice();
    setInterval(notice, state.info.notices.every_seconds * 1000);
    await showPerson();
    await newSession();
    blinking();
    document.body.dataset.ready = "yes";
  } catch (error) {
    say(error.message);
  }
}

window.empatheia = { state, first: first.player, second: second.player, microphone };
begin();
