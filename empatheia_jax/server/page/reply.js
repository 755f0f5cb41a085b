// One reply as the page keeps it: words, chain, sound and motion, so that it can be played while it comes and again later.

import { halves, samples } from "./numbers.js";

export class Reply extends EventTarget {
  constructor(session) {
    super();
    this.session = session;
    this.id = null;
    this.face = "none";
    this.text = "";
    this.chain = {};
    this.words = []; // [word, begin, end] in seconds
    this.pieces = []; // { start, rate, samples }
    this.motion = []; // a row a frame
    this.seconds = 0;
    this.done = null;
    this.failed = null;
    this.stopped = null; // seconds played when it was stopped
    this.notice = "";
  }

  get ended() {
    return Boolean(this.done || this.failed);
  }

  take(event) {
    switch (event.type) {
      case "begin":
        this.id = event.reply;
        this.face = event.face;
        break;
      case "step":
        this.chain[event.name] = event.value;
        break;
      case "text":
        this.text += event.text;
        break;
      case "instead":
        Object.assign(this, { text: "", chain: {}, notice: event.notice }); // what was spoken by now stays spoken
        break;
      case "speech": {
        const sound = samples(event.pcm);
        this.pieces.push({ start: event.start, rate: event.rate, samples: sound });
        this.words.push(...event.words);
        this.seconds = (event.start + sound.length) / event.rate;
        break;
      }
      case "motion": {
        const values = halves(event.values);
        const width = values.length / event.frames;
        for (let k = 0; k < event.frames; k += 1) {
          this.motion[event.start + k] = values.subarray(k * width, (k + 1) * width);
        }
        break;
      }
      case "done":
        this.done = event;
        if (event.response) this.text = event.response;
        break;
      case "failed":
        this.failed = event.reason;
        break;
      default:
    }
    this.dispatchEvent(new CustomEvent("change", { detail: event }));
  }
}
