// The microphone: push to talk, or hands-free with a simple detector of speech.

import { sound } from "./player.js";

export const INTERRUPTS = 0.5; // seconds of speech that end a reply; a cough is shorter
const PAUSE = 0.9; // seconds of silence that end an utterance
const BEFORE = 0.7; // seconds kept from before speech was noticed
const LONGEST = 55; // seconds of one utterance
const LOUD = 0.015; // least level that can be speech

// Samples → a mono wav of 16 bits.
export function wav(pieces, rate) {
  const count = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (place, letters) => [...letters].forEach((letter, k) => view.setUint8(place + k, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * count, true);
  let place = 44;
  for (const piece of pieces) {
    for (const value of piece) {
      view.setInt16(place, Math.max(-1, Math.min(1, value)) * 32767, true);
      place += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}

// Events: "speaking" (0.5 s of speech were heard), "utterance" (detail: a wav).
export class Microphone extends EventTarget {
  constructor() {
    super();
    this.stream = null;
    this.mode = null; // "push" or "free"
  }

  async open(mode) {
    this.mode = mode;
    this.pieces = [];
    this.speech = 0; // seconds of speech in the utterance
    this.silence = 0;
    this.told = false;
    this.floor = LOUD / 2;
    if (this.stream) return;
    const context = sound();
    this.stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    await context.audioWorklet.addModule("capture.js");
    this.input = context.createMediaStreamSource(this.stream);
    this.node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    this.rate = context.sampleRate;
    this.node.port.onmessage = ({ data }) => this.hear(data);
    this.input.connect(this.node);
  }

  // Closes the microphone; in push to talk what was said is an utterance.
  close() {
    const said = this.mode === "push" && this.pieces?.length ? wav(this.pieces, this.rate) : null;
    this.mode = null;
    this.pieces = [];
    this.input?.disconnect();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    if (said) this.dispatchEvent(new CustomEvent("utterance", { detail: said }));
  }

  hear(piece) {
    if (!this.mode) return;
    const seconds = piece.length / this.rate;
    this.pieces.push(piece);
    if (this.pieces.length * seconds > LONGEST) {
      if (this.mode === "push") this.pieces.shift();
      else this.finish();
    }
    if (this.mode === "push") return;
    const level = Math.sqrt(piece.reduce((sum, value) => sum + value * value, 0) / piece.length);
    const speaks = level > Math.max(LOUD, 3 * this.floor);
    if (!speaks) this.floor += 0.05 * (level - this.floor); // what the room sounds like
    if (speaks) {
      this.speech += seconds;
      this.silence = 0;
    } else {
      this.silence += seconds;
      if (this.silence > 0.25 && !this.told) this.speech = 0; // it was a cough
    }
    if (this.speech >= INTERRUPTS && !this.told) {
      this.told = true;
      this.dispatchEvent(new Event("speaking"));
    }
    if (!this.told) {
      const kept = Math.ceil((BEFORE + INTERRUPTS) / seconds);
      if (this.pieces.length > kept) this.pieces.splice(0, this.pieces.length - kept);
    } else if (this.silence > PAUSE) this.finish();
  }

  finish() {
    const said = wav(this.pieces, this.rate);
    Object.assign(this, { pieces: [], speech: 0, silence: 0, told: false });
    this.dispatchEvent(new CustomEvent("utterance", { detail: said }));
  }
}
