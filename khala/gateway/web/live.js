// Server-sent events that come back by themselves: after a restart of the gateway, and when a hidden page
// is shown again. A hidden page holds no connection, for a browser has only six of them for a site.
import { BASE, signedOut } from "./api.js";
import { Store, useEffect } from "./ui.js";

/** "live", "lost" (no gateway) or "unavailable" (no judicator); what the page's streams last met. */
export const connection = new Store("live");

const LONGEST_PAUSE_MS = 8000;

export class Live {
  /** `address()` is asked at each connection; `handlers` are by event name, called with (data, event).
   * "end" closes for good. */
  constructor(address, handlers) {
    this.address = address;
    this.handlers = handlers;
    this.pauseMs = 500;
    this.ended = false;
    this.onVisible = () => (document.hidden ? this.disconnect() : this.connect());
    document.addEventListener("visibilitychange", this.onVisible);
    this.connect();
  }

  connect() {
    if (this.ended || this.source || document.hidden) return;
    clearTimeout(this.timer);
    const source = new EventSource(BASE + this.address());
    this.source = source;
    source.onopen = () => {
      this.pauseMs = 500;
      connection.set("live");
    };
    source.onerror = () => this.failed(source);
    for (const [kind, handle] of Object.entries({ end: () => {}, ...this.handlers })) {
      source.addEventListener(kind, (event) => {
        const data = JSON.parse(event.data);
        if (kind === "end") this.close();
        handle(data, event);
      });
    }
  }

  /** A refusal ends an EventSource; what is only gone for a while it would find again, but from its own
   * place: so each failure is a new beginning from where `address` says. */
  failed(source) {
    if (this.source !== source) return;
    this.disconnect();
    if (this.ended || document.hidden) return;
    this.timer = setTimeout(() => this.check(), this.pauseMs);
    this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
  }

  async check() {
    try {
      const answer = await fetch(`${BASE}/me`, { cache: "no-store" });
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
    this.source?.close();
    this.source = null;
  }

  close() {
    this.ended = true;
    this.disconnect();
    document.removeEventListener("visibilitychange", this.onVisible);
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
