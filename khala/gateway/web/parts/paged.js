// Lists that come page by page from the gateway, so that they stay quick with any number of entries.
import { get } from "../api.js";
import { useCluster } from "../live.js";
import { html, throttle, useEffect, useLoaded, useMemo, useRef, useState } from "../ui.js";

const AGAIN_MS = 1500;
const EMPTY_PAGES = 100;

/** Calls `reload` soon after the counts of tasks changed, but not too often; the newest counts. */
export function useCounts(reload) {
  const [stats, setStats] = useState(null);
  const again = useMemo(() => throttle(() => reload?.(), AGAIN_MS), [reload]);
  useEffect(() => () => again.stop(), [again]);
  const newest = useRef(again);
  newest.current = again;
  const known = useRef("");
  useCluster("stats", {
    stats: (now) => {
      const counts = JSON.stringify(now.tasks);
      if (known.current && known.current !== counts) newest.current();
      known.current = counts;
      setStats(now);
    },
  });
  return stats;
}

/** The page of a list that is shown. `address(token)` is asked for a page, "" being the first, which is live;
 * pages `older` than that change only when one turns to them, unless `all` are live. */
export function usePaged(address, { all = false } = {}) {
  const [tokens, setTokens] = useState([""]);
  const token = tokens.at(-1);
  const loaded = useLoaded((signal) => load(address, token, signal), [token]);
  const stats = useCounts(all || token === "" ? loaded.reload : null);
  const next = loaded.value?.next_page_token;
  return {
    ...loaded,
    stats,
    first: tokens.length === 1,
    page: tokens.length,
    newer: tokens.length === 1 ? null : () => setTokens(tokens.slice(0, -1)),
    older: next ? () => setTokens([...tokens, next]) : null,
  };
}

/** A page. One of tasks that match a rare filter may be empty so far: then the next one that is not. */
async function load(address, token, signal) {
  let page = await get(address(token), signal);
  for (let empty = 0; empty < EMPTY_PAGES && page.tasks?.length === 0 && page.next_page_token; empty += 1) {
    page = await get(address(page.next_page_token), signal);
  }
  return page;
}

/** `words`: what is before and what is after. Whoever turned a page begins to read at its top. */
export function Pages({ paged: { page, newer, older, loading }, label, words = ["Newer", "Older"] }) {
  return html`<nav class="pages" aria-label=${label}>
    <button disabled=${!newer || loading} onClick=${newer}>${words[0]}</button>
    <span class="soft">Page ${page}</span>
    <button disabled=${!older || loading} onClick=${older}>${words[1]}</button>
  </nav>`;
}
