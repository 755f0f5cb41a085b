// Base64 as the server writes it → arrays of numbers.

export function bytes(text) {
  const binary = atob(text);
  const found = new Uint8Array(binary.length);
  for (let k = 0; k < binary.length; k += 1) found[k] = binary.charCodeAt(k);
  return found;
}

// 16-bit samples → floats from −1 to 1.
export function samples(text) {
  const view = new DataView(bytes(text).buffer);
  const found = new Float32Array(view.byteLength / 2);
  for (let k = 0; k < found.length; k += 1) found[k] = view.getInt16(2 * k, true) / 32768;
  return found;
}

// Half floats → floats.
export function halves(text) {
  const view = new DataView(bytes(text).buffer);
  const found = new Float32Array(view.byteLength / 2);
  for (let k = 0; k < found.length; k += 1) {
    const bits = view.getUint16(2 * k, true);
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    found[k] = sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  }
  return found;
}
