// What was said, as cards: the user's words, and replies with their chain, which opens and can be edited.

const STEPS = {
  event_scenario: "What happened",
  speaker_emotion: "What you feel",
  emotion_cause: "Why",
  goal_to_response: "What the reply is for",
};

// An element with attributes and children; strings become text, never markup.
export function element(name, attributes = {}, ...children) {
  const found = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) found.addEventListener(key.slice(2), value);
    else if (value === true) found.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) found.setAttribute(key, value);
  }
  found.append(...children.filter((child) => child !== null && child !== undefined));
  return found;
}

// A reply's text with the words that were not heard struck out.
function spoken(heard, text) {
  const rest = text.startsWith(heard) ? text.slice(heard.length) : "";
  const shown = [heard];
  if (rest.trim()) shown.push(element("span", { class: "unheard", title: "not heard" }, rest));
  return shown;
}

export class Log {
  // `actions`: play(reply), again(reply, edits), download addresses by address(reply).
  constructor(list, emotions, actions) {
    Object.assign(this, { list, emotions, actions });
  }

  clear() {
    this.list.replaceChildren();
  }

  // Shows what the user said; gives a function that sets the words of a recording once they are known.
  user(text, recordings) {
    const with_ = recordings.length ? element("div", { class: "line" }, `with ${recordings.join(" and ")}`) : null;
    const words = element("span", {}, text || "(a recording)");
    this.add("mine", element("span", { class: "hidden" }, "You: "), words, with_);
    return (heard) => (words.textContent = heard);
  }

  add(kind, ...children) {
    const item = element("li", { class: kind }, ...children);
    this.list.append(item);
    this.list.scrollTop = this.list.scrollHeight;
    return item;
  }

  // Shows one reply, or two beside each other, and keeps them up to date. `last` says whether the chain can be edited.
  replies(...pairs) {
    const cards = pairs.map(([title, reply, editable]) => this.card(title, reply, editable, pairs.length > 1));
    this.add("theirs", cards.length > 1 ? element("div", { class: "pair" }, ...cards) : cards[0]);
  }

  card(title, reply, editable, titled) {
    const words = element("p", {});
    const line = element("div", { class: "line" });
    const actions = element("div", { class: "actions" });
    const chain = editable ? this.chain(reply) : null;
    const heading = titled ? element("h3", {}, title) : element("span", { class: "hidden" }, `${title}: `);
    const card = element("article", { class: "card", "aria-busy": "true" }, heading, words, line, actions, chain?.details);
    const update = () => {
      const stopped = reply.stopped !== null && reply.heardWords !== undefined;
      words.replaceChildren(...(stopped ? spoken(reply.heardWords, reply.text) : [reply.text || (reply.ended ? "" : "…")]));
      line.textContent = reply.failed ?? reply.notice ?? "";
      card.classList.toggle("failed", Boolean(reply.failed));
      if (reply.done?.shown) {
        const felt = reply.done.emotion?.of_32 ?? reply.done.emotion?.written ?? "";
        const { emotion, intensity } = reply.done.shown;
        line.textContent = [reply.notice, felt && `understood as ${felt}`, `shows ${emotion} (${Math.round(100 * intensity)} %)`]
          .filter(Boolean)
          .join(" · ");
      }
      chain?.update();
      if (reply.ended && card.hasAttribute("aria-busy")) {
        card.removeAttribute("aria-busy");
        actions.replaceChildren(...this.buttons(reply));
      }
      this.list.scrollTop = this.list.scrollHeight;
    };
    reply.addEventListener("change", update);
    update();
    return card;
  }

  buttons(reply) {
    if (reply.failed || !reply.done) return [];
    const at = this.actions.address(reply);
    const download = (ending, what) =>
      element("a", { href: `${at}/reply.${ending}`, download: `reply.${ending}` }, `Download ${what}`);
    const found = [];
    if (reply.pieces.length) found.push(element("button", { type: "button", onclick: () => this.actions.play(reply) }, "Play again"));
    if (reply.face === "film" && reply.done.finished) found.push(download("mp4", "film"));
    if (reply.pieces.length) found.push(download("wav", "sound"));
    found.push(download("json", "text"));
    return found;
  }

  chain(reply) {
    const inputs = {};
    const rows = Object.entries(STEPS).map(([name, title]) => {
      inputs[name] =
        name === "speaker_emotion"
          ? element("select", { name }, ...["", ...this.emotions].map((each) => element("option", {}, each)))
          : element("textarea", { name, rows: 2, maxlength: 600 });
      inputs[name].addEventListener("input", () => (inputs[name].dataset.edited = "yes"));
      return element("label", {}, title, inputs[name]);
    });
    const again = element("button", { type: "submit", class: "primary", disabled: true }, "Answer again from the first changed step");
    const form = element("form", { class: "chain" }, ...rows, again);
    form.addEventListener("input", () => (again.disabled = !reply.ended));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const edits = {};
      for (const [name, input] of Object.entries(inputs)) {
        if (input.dataset.edited && input.value.trim()) edits[name] = input.value.trim();
      }
      if (Object.keys(edits).length) this.actions.again(reply, edits);
    });
    const details = element("details", {}, element("summary", {}, "How it came to this answer"), form);
    const update = () => {
      for (const [name, input] of Object.entries(inputs)) {
        const value = reply.chain[name] ?? "";
        if (input.dataset.edited || input.value === value) continue;
        if (name === "speaker_emotion" && value && !this.emotions.includes(value)) input.prepend(element("option", {}, value));
        input.value = value;
      }
    };
    return { details, update };
  }
}
