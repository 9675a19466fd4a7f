// Addresses: each view has its own, links are ordinary links, and back and forward work.
import { Store } from "./ui.js";

const VIEWS = [
  [/^\/$/, "overview"],
  [/^\/tasks\/?$/, "tasks"],
  [/^\/tasks\/([^/]+)$/, "task"],
  [/^\/jobs\/?$/, "jobs"],
  [/^\/jobs\/new$/, "newjob"],
  [/^\/jobs\/([^/]+)$/, "job"],
  [/^\/new$/, "new"],
  [/^\/executors$/, "executors"],
  [/^\/judicators$/, "judicators"],
];

const read = () => {
  const found = VIEWS.map(([path, name]) => [location.pathname.match(path), name]).find(([match]) => match);
  return { name: found?.[1] ?? "nowhere", id: decodeURIComponent(found?.[0][1] ?? ""), search: location.search };
};

/** `{ name, id, search }` of the view that is shown. */
export const route = new Store(read());

/** Show another view; `replace` when it is the same in another form (a filter). */
export function go(address, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  route.set(read());
  if (!replace) window.scrollTo(0, 0);
}

addEventListener("popstate", () => route.set(read()));

addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || link.target || link.hasAttribute("download") || event.defaultPrevented) return;
  const to = new URL(link.href);
  if (to.origin !== location.origin || !VIEWS.some(([path]) => path.test(to.pathname))) return;
  event.preventDefault();
  if (to.hash && to.pathname === location.pathname) return;
  go(to.pathname + to.search);
});
