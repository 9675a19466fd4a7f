// Server-sent events that come back by themselves: after a restart of the gateway, after its silence, and when a
// hidden page is shown again. A hidden page holds no connection, for a browser has only six of them for a site.
import { BASE, signedOut } from "./api.js";
import { Store, useEffect } from "./ui.js";

/** "live", "lost" (no gateway) or "unavailable" (no judicator); what the page's streams last met. */
export const connection = new Store("live");

const LONGEST_PAUSE_MS = 8000;
/** A stream has a beat each 7 s when it has nothing else (`sse.py`); after three that did not come, it is looked
 * whether the gateway hangs. */
const QUIET_MS = 20_000;
const ALIVE_WITHIN_MS = 3000;
/** The gateway waits 11 s for judicators before it says that none answers. */
const ANSWER_WITHIN_MS = 15_000;

/** All streams of the page: they go to the same gateway. */
const open = new Set();

export class Live {
  /** `address()` is asked at each connection; `handlers` are by event name, called with (data, event).
   * "end" closes for good. Without `beats` its own silence means nothing. */
  constructor(address, handlers, { beats = true } = {}) {
    this.address = address;
    this.handlers = handlers;
    this.beats = beats;
    this.pauseMs = 500;
    this.ended = false;
    this.onVisible = () => (document.hidden ? this.disconnect() : this.connect());
    document.addEventListener("visibilitychange", this.onVisible);
    open.add(this);
    this.connect();
  }

  connect() {
    if (this.ended || this.source || document.hidden) return;
    clearTimeout(this.timer);
    const source = new EventSource(BASE + this.address());
    this.source = source;
    this.heard();
    source.onopen = () => {
      this.pauseMs = 500;
      this.heard();
      connection.set("live");
    };
    source.onerror = () => this.failed(source);
    for (const [kind, handle] of Object.entries({ end: () => {}, beat: () => {}, ...this.handlers })) {
      source.addEventListener(kind, (event) => {
        this.heard();
        const data = JSON.parse(event.data);
        if (kind === "end") this.close();
        handle(data, event);
      });
    }
  }

  /** From now on the gateway has its time again to say something. */
  heard() {
    clearTimeout(this.silence);
    if (this.beats) this.silence = setTimeout(() => this.quiet(), QUIET_MS);
  }

  /** Nothing came, not even a beat: it hangs, or only this connection does. */
  async quiet() {
    const source = this.source;
    const lost = !(await alive());
    if (this.source !== source) return;
    if (!lost) {
      this.failed(source);
      return;
    }
    connection.set("lost");
    for (const live of [...open]) live.failed(live.source);
  }

  /** A refusal ends an EventSource; what is only gone for a while it would find again, but from its own
   * place: so each failure is a new beginning from where `address` says. */
  failed(source) {
    if (!source || this.source !== source) return;
    this.disconnect();
    if (this.ended || document.hidden) return;
    this.timer = setTimeout(() => this.check(), this.pauseMs);
    this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
  }

  async check() {
    try {
      const answer = await fetch(`${BASE}/me`, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
      if (answer.status === 401) {
        signedOut.set(true);
        return;
      }
      connection.set(answer.ok ? "live" : "unavailable");
    } catch {
      connection.set("lost");
    }
    this.connect();
  }

  disconnect() {
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    this.source?.close();
    this.source = null;
  }

  close() {
    this.ended = true;
    open.delete(this);
    this.disconnect();
    document.removeEventListener("visibilitychange", this.onVisible);
  }
}

/** Does the gateway itself answer, whatever the judicators do? */
async function alive() {
  try {
    return (await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(ALIVE_WITHIN_MS) })).ok;
  } catch {
    return false;
  }
}

/** Follow the cluster's `topics`; `handlers` by topic. */
export function useCluster(topics, handlers) {
  useEffect(() => {
    const live = new Live(() => `/events?topics=${topics}`, {
      ...Object.fromEntries(
        topics.split(",").map((topic) => [
          topic,
          (body) => {
            if (connection.value !== "live") connection.set("live");
            handlers[topic](body);
          },
        ]),
      ),
      unavailable: () => connection.set("unavailable"),
      end: () => signedOut.set(true),
    });
    return () => live.close();
  }, [topics]);
}
