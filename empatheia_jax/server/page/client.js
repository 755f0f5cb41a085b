// What the server is asked. Every refusal becomes an Error with the server's one line.

async function call(path, options = {}) {
  const answer = await fetch(path, options);
  if (!answer.ok) {
    let line = `the server answered ${answer.status}`;
    try {
      line = (await answer.json()).error.message;
    } catch {
      // not JSON: the status has to do
    }
    const wait = answer.headers.get("retry-after");
    throw new Error(answer.status === 429 && wait ? `${line} (wait ${wait} s)` : line);
  }
  return answer;
}

const json = (method, value) => ({
  method,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(value),
});

export const info = async () => (await call("/api/info")).json();
export const person = async (profile) =>
  (await call(`/api/people/${profile.age}/${profile.gender}/${profile.tone}`)).json();
export const create = async (value) => (await call("/api/sessions", json("POST", value))).json();
export const sessions = async () => (await (await call("/api/sessions")).json()).sessions;
export const session = async (id) => (await call(`/api/sessions/${id}`)).json();
export const remove = async (id) => call(`/api/sessions/${id}`, { method: "DELETE" });
export const upload = async (blob) => (await call("/api/uploads", { method: "POST", body: blob })).json();
export const address = (session, reply) => `/api/sessions/${session}/turns/${reply}`;
export const heard = async (session, reply, seconds) =>
  (await call(`${address(session, reply)}/heard`, { ...json("POST", { seconds }), keepalive: true })).json();
export const cancel = async (session, reply, seconds) =>
  (await call(`${address(session, reply)}/cancel`, { ...json("POST", { seconds }), keepalive: true })).json();

// Begins a reply and gives its events, line by line; `signal` stops reading, which ends the reply on the server too.
export async function* turn(session, value, signal) {
  const answer = await call(`/api/sessions/${session}/turns`, { ...json("POST", value), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value: piece, done } = await reader.read();
    const lines = (rest + (piece ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
    if (done) return;
  }
}
