// Draws the face from coefficients, by the shader that the server makes of its own drawing (/drawn-face.js).

const VERTEX = `#version 300 es
out vec2 place;
void main() {
  vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  place = vec2(corner.x, -corner.y);
  gl_Position = vec4(corner, 0.0, 1.0);
}`;

function compiled(gl, kind, source) {
  const shader = gl.createShader(kind);
  gl.shaderSource(shader, source);
  gl.compileShader(shader);
  if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
  return shader;
}

const LEAST = 96; // pixels a side, at least
const BUDGET = 20; // milliseconds that a frame may take, of 40

export class Face {
  // `program` is the module /drawn-face.js. `able` says whether this browser can draw it.
  constructor(canvas, program) {
    this.canvas = canvas;
    this.program = program;
    this.person = null;
    this.places = [];
    this.drawn = 0;
    this.gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true, depth: false });
    this.able = Boolean(this.gl);
    if (!this.able) return;
    const { gl } = this;
    const made = gl.createProgram();
    gl.attachShader(made, compiled(gl, gl.VERTEX_SHADER, VERTEX));
    gl.attachShader(made, compiled(gl, gl.FRAGMENT_SHADER, program.FRAGMENT));
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
    gl.useProgram(made);
    this.frame = gl.getUniformLocation(made, "frame");
  }

  // Who it is: the numbers of a person, and which coefficients a row of motion holds.
  is({ numbers, coefficients }) {
    this.person = numbers;
    this.places = coefficients;
    this.rest();
  }

  // Draws one frame: a row of the coefficients that the server sends.
  draw(row) {
    if (!this.able || !this.person) return;
    const motion = new Array(this.program.MOTION).fill(0);
    motion[this.program.MOTION - 3] = 1; // the crop's scale at rest
    row?.forEach((value, k) => (motion[this.places[k]] = value));
    const { gl, canvas } = this;
    const began = performance.now();
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.uniform4fv(this.frame, this.program.prepare(this.person, motion, 2 / canvas.width));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    this.drawn += 1;
    if (this.drawn % 8 === 2) this.fit(began);
  }

  // Without a graphics card a frame is computed pixel by pixel: where that takes long, there are fewer pixels.
  fit(began) {
    const { gl, canvas } = this;
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4)); // waits until it is drawn
    const took = performance.now() - began;
    if (took < BUDGET || canvas.width <= LEAST) return;
    canvas.width = canvas.height = Math.max(LEAST, Math.round(canvas.width * Math.sqrt(BUDGET / took)));
  }

  // The face at rest.
  rest() {
    this.draw(null);
  }

  // The face at rest with its eyes shut by a share.
  blink(share) {
    this.draw(this.places.map((place) => (place === 17 || place === 18 ? 3 * share : place === 70 ? 1 : 0)));
  }
}
