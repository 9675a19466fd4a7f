// Asking the gateway: JSON in and out, and every failure as a Problem that can be shown.
import { Store } from "./ui.js";

export const BASE = "/api/v1";

/** Set to true when an answer said that the session is over. */
export const signedOut = new Store(false);

/** An answer that was no success, in the API's words; `code` is "offline" when there was none. */
export class Problem extends Error {
  constructor({ status = 0, code, detail, field = null, request_id: requestId = "" }) {
    super(detail);
    Object.assign(this, { status, code, detail, field, requestId });
  }
}

/** The body of the answer to a request; raises Problem. */
export async function ask(method, path, { body, signal, headers = {}, keepalive = false } = {}) {
  const init = { method, signal, keepalive, headers: { ...headers }, cache: "no-store" };
  if (body instanceof Blob) {
    init.body = body;
    init.headers["Content-Type"] = "application/octet-stream";
  } else if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(BASE + path, init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ code: "offline", detail: "The gateway does not answer." });
  }
  if (answer.ok) return answer.headers.get("content-type")?.includes("json") ? answer.json() : answer;
  const told = await answer.json().catch(() => ({ code: "error", detail: `The gateway answered ${answer.status}.` }));
  if (answer.status === 401) signedOut.set(true);
  throw new Problem({ ...told, status: answer.status });
}

export const get = (path, signal) => ask("GET", path, { signal });
export const post = (path, body, more = {}) => ask("POST", path, { body, ...more });

/** A query string of what is set. */
export function query(values) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== null && value !== "") search.set(name, String(value));
  }
  const text = search.toString();
  return text && `?${text}`;
}

/** Without https a browser has no UUIDs. */
export const newKey = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

/** Create a task, or at another `path` something else, once however often the network makes us ask. */
export async function submit(body, key = newKey(), path = "/tasks") {
  return ask("POST", path, { body, headers: { "Idempotency-Key": key } });
}
