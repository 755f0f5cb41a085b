// The camera: a recording of the user, with sound, of at most some seconds.

const LONGEST = 20;
const TYPES = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];

export class Camera {
  constructor(preview) {
    this.preview = preview;
    this.recorder = null;
  }

  get open() {
    return this.recorder !== null;
  }

  // Opens the camera and records; gives the recording when `close` is called or the time is over.
  async record() {
    const stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: 480 }, height: { ideal: 360 }, facingMode: "user" },
      audio: { echoCancellation: true },
    });
    this.preview.srcObject = stream;
    this.preview.hidden = false;
    await this.preview.play();
    const type = TYPES.find((each) => MediaRecorder.isTypeSupported(each));
    this.recorder = new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: 700_000 });
    const pieces = [];
    this.recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
    const ended = new Promise((done) => this.recorder.addEventListener("stop", done, { once: true }));
    this.recorder.start();
    const limit = setTimeout(() => this.close(), LONGEST * 1000);
    await ended;
    clearTimeout(limit);
    stream.getTracks().forEach((track) => track.stop());
    this.preview.hidden = true;
    this.preview.srcObject = null;
    this.recorder = null;
    return new Blob(pieces, { type });
  }

  close() {
    if (this.recorder?.state === "recording") this.recorder.stop();
  }
}
