// Plays a reply while it still comes: sound by Web Audio, at exact places; the face and the captions follow the sound's clock.
// A reply with a film is played by the film's own clock instead.

import { address } from "./client.js";

const RATE = 25;
const LEAD = 0.08; // seconds between the first piece's arrival and its sound
let context = null;

// Browsers let sound begin only after the user did something; call this from such a place.
export function sound() {
  context ??= new AudioContext();
  if (context.state === "suspended") context.resume();
  return context;
}

export class Player extends EventTarget {
  constructor(face, video, still) {
    super();
    Object.assign(this, { face, video, still });
    this.reply = null;
    this.stalls = 0;
    this.meter = null;
  }

  get playing() {
    return this.reply !== null;
  }

  // Seconds of the reply that were heard.
  get position() {
    if (!this.reply) return 0;
    if (this.film) return this.video.currentTime;
    if (this.began === null) return 0;
    return Math.max(0, Math.min(context.currentTime - this.began, this.reply.seconds));
  }

  // How loud it is now, 0 to 1.
  get level() {
    if (!this.meter) return 0;
    const wave = new Float32Array(this.meter.fftSize);
    this.meter.getFloatTimeDomainData(wave);
    return Math.sqrt(wave.reduce((sum, value) => sum + value * value, 0) / wave.length);
  }

  play(reply) {
    this.stop();
    sound();
    this.reply = reply;
    this.began = null;
    this.next = 0;
    this.shown = -1;
    this.film = reply.face === "film" && reply.id !== null;
    this.out = context.createGain();
    this.meter ??= context.createAnalyser();
    this.out.connect(this.meter);
    this.meter.connect(context.destination);
    this.onchange = () => this.pump();
    reply.addEventListener("change", this.onchange);
    if (this.film) this.open();
    this.pump();
    this.tick = requestAnimationFrame(() => this.show());
  }

  // Stops at once; gives the seconds that were heard.
  stop() {
    if (!this.reply) return 0;
    const seconds = this.position;
    const { reply } = this;
    this.out.disconnect();
    this.close();
    reply.stopped = seconds;
    this.dispatchEvent(new CustomEvent("stopped", { detail: { reply, seconds } }));
    return seconds;
  }

  close() {
    cancelAnimationFrame(this.tick);
    this.reply.removeEventListener("change", this.onchange);
    if (this.film) {
      this.video.pause();
      this.video.hidden = true;
      this.source?.abort?.();
    }
    this.reply = null;
    this.face.rest();
  }

  // Gives what has come to the sound card, each piece at its place.
  pump() {
    const { reply } = this;
    if (!reply || this.film) return;
    for (; this.next < reply.pieces.length; this.next += 1) {
      const piece = reply.pieces[this.next];
      const now = context.currentTime;
      this.began ??= now + LEAD - piece.start / piece.rate;
      if (this.began + piece.start / piece.rate < now) {
        this.stalls += 1; // it came too late: all that follows is moved
        this.began = now + LEAD - piece.start / piece.rate;
      }
      const buffer = context.createBuffer(1, piece.samples.length, piece.rate);
      buffer.copyToChannel(piece.samples, 0);
      const node = context.createBufferSource();
      node.buffer = buffer;
      node.connect(this.out);
      node.start(this.began + piece.start / piece.rate);
    }
  }

  // One step of the picture.
  show() {
    const { reply } = this;
    if (!reply) return;
    const seconds = this.position;
    if (!this.film && !this.still && reply.motion.length) {
      const frame = Math.min(Math.floor(seconds * RATE), reply.motion.length - 1);
      if (frame !== this.shown && reply.motion[frame]) this.face.draw(reply.motion[frame]);
      this.shown = frame;
    }
    this.dispatchEvent(new CustomEvent("at", { detail: { reply, seconds } }));
    const over = this.film
      ? this.video.ended
      : reply.ended && this.next === reply.pieces.length && seconds >= reply.seconds - 1e-3;
    if (over) {
      const whole = Math.max(seconds, reply.seconds);
      this.close();
      this.dispatchEvent(new CustomEvent("ended", { detail: { reply, seconds: whole } }));
      return;
    }
    this.tick = requestAnimationFrame(() => this.show());
  }

  // The film: pieces of mp4 go to the video element as they come.
  open() {
    const { video, reply } = this;
    const path = address(reply.session, reply.id);
    if (!this.heard) {
      this.heard = context.createMediaElementSource(video);
      this.heard.connect(this.meter);
    }
    video.hidden = false;
    const Source = window.ManagedMediaSource ?? window.MediaSource;
    if (!Source) {
      video.src = `${path}/reply.mp4`;
      video.play();
      return;
    }
    video.disableRemotePlayback = true;
    const media = new Source();
    const stop = new AbortController();
    this.source = stop;
    video.src = URL.createObjectURL(media);
    video.play().catch(() => {});
    media.addEventListener("sourceopen", () => this.feed(media, `${path}/film`, stop.signal), { once: true });
  }

  async feed(media, path, signal) {
    try {
      URL.revokeObjectURL(this.video.src);
      const answer = await fetch(path, { signal });
      if (!answer.ok) throw new Error(`the film cannot be had (${answer.status})`);
      const buffer = media.addSourceBuffer(answer.headers.get("content-type"));
      const appended = () => new Promise((done) => buffer.addEventListener("updateend", done, { once: true }));
      const reader = answer.body.getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const ready = appended();
        buffer.appendBuffer(value);
        await ready;
      }
      if (media.readyState === "open") media.endOfStream();
    } catch (error) {
      if (error.name !== "AbortError") this.dispatchEvent(new CustomEvent("trouble", { detail: error.message }));
    }
  }
}
