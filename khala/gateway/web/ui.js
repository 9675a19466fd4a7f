// The library that draws the pages, in one place, and the few hooks that all pages use.
import { Fragment, h, render } from "./vendor/preact.js";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";

export const html = htm.bind(h);
export { Fragment, render, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState };

/** A value that several parts of the page show; `set` tells all of them. */
export class Store {
  constructor(value) {
    this.value = value;
    this.readers = new Set();
  }

  set(value) {
    this.value = value;
    for (const reader of [...this.readers]) reader(value);
  }

  patch(part) {
    this.set({ ...this.value, ...part });
  }
}

/** The store's value, now and whenever it changes. */
export function useStore(store) {
  const [value, setValue] = useState(store.value);
  useEffect(() => {
    setValue(store.value);
    store.readers.add(setValue);
    return () => store.readers.delete(setValue);
  }, [store]);
  return value;
}

/** Loads with `load(signal)` whenever `keys` change: `{ value, problem, loading, reload }`.
 * What was there stays while it is loaded again. */
export function useLoaded(load, keys) {
  const [state, setState] = useState({ value: null, problem: null, loading: true });
  const run = useRef(null);
  const reload = useCallback(async () => {
    run.current?.abort();
    const control = new AbortController();
    run.current = control;
    try {
      const value = await load(control.signal);
      if (!control.signal.aborted) setState({ value, problem: null, loading: false });
    } catch (problem) {
      if (!control.signal.aborted) setState((old) => ({ ...old, problem, loading: false }));
    }
  }, keys);
  useEffect(() => {
    setState((old) => ({ ...old, loading: true }));
    reload();
    return () => run.current?.abort();
  }, [reload]);
  return { ...state, reload };
}

/** What takes long is done again only after a pause this many times as long. */
const REST = 5;

/** `call`, at most once in `everyMs`, never while it is still going on, and less often where it takes long;
 * the last wish is always fulfilled. */
export function throttle(call, everyMs) {
  const state = { timer: 0, going: false, wanted: false, stopped: false, free: -Infinity };
  const go = async () => {
    Object.assign(state, { timer: 0, going: true });
    const began = performance.now();
    try {
      await call();
    } finally {
      const now = performance.now();
      Object.assign(state, { going: false, free: Math.max(began + everyMs, now + REST * (now - began)) });
      if (state.wanted) ask();
    }
  };
  const ask = () => {
    state.wanted = state.going;
    if (state.going || state.timer || state.stopped) return;
    state.timer = setTimeout(go, Math.max(0, state.free - performance.now()));
  };
  ask.stop = () => {
    clearTimeout(state.timer);
    state.stopped = true;
  };
  return ask;
}

const clock = new Store(Date.now());
setInterval(() => {
  if (clock.readers.size && !document.hidden) clock.set(Date.now());
}, 1000);

/** Milliseconds since 1970, each second anew. */
export const useNow = () => useStore(clock);
