// Calls of the hub's HTTP API. The page is at BASE + "ui/", so BASE is right below any prefix and behind any proxy.
export const BASE = new URL("..", location.href.split(/[?#]/)[0]);

// A refusal of the hub, or status 0 when there was no answer.
export class CallError extends Error {
  constructor(status, code, message, details) {
    super(message);
    Object.assign(this, { status, code, details: details ?? {} });
  }
}

let whenSignedOut = () => {};
export function onSignedOut(callback) {
  whenSignedOut = callback;
}

export async function call(method, path, body) {
  let response;
  try {
    response = await fetch(new URL(path, BASE), {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new CallError(0, "UNREACHABLE", "The hub does not answer");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  const error = new CallError(
    response.status,
    answer?.code ?? "UNKNOWN",
    answer?.error ?? `The hub answered ${response.status}`,
    answer?.details,
  );
  if (response.status === 401 && path !== "ui/session") whenSignedOut();
  throw error;
}

export const get = (path, parameters = {}) => {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "") query.append(name, value);
  }
  return call("GET", query.size ? `${path}?${query}` : path);
};
