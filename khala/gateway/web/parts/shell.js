// What is around every view: navigation, who is signed in, the light, what is wrong, what can be undone.
import { connection } from "../live.js";
import { session, signOut } from "../session.js";
import { html, Store, useEffect, useState, useStore } from "../ui.js";
import { Icon } from "./icons.js";
import { Undos } from "./undo.js";

/** Address, view, title (its second part where there is room for it) and icon. */
const LINKS = [
  ["/", "overview", ["Overview"], "home"],
  ["/tasks", "tasks", ["Tasks"], "list"],
  ["/jobs", "jobs", ["Jobs"], "stack"],
  ["/new", "new", ["New", " task"], "plus"],
  ["/executors", "executors", ["Executors"], "chip"],
  ["/judicators", "judicators", ["Judicators"], "crown"],
];

const light = new Store(localStorage.getItem("light") ?? "auto");

function shine(choice) {
  light.set(choice);
  localStorage.setItem("light", choice);
  document.documentElement.dataset.light = choice;
}
document.documentElement.dataset.light = light.value;

export function Shell({ view, children }) {
  const { me } = useStore(session);
  const current = { task: "tasks", job: "jobs", newjob: "jobs" }[view] ?? view;
  return html`
    <a class="skip" href="#main" onClick=${(event) => {
      event.preventDefault();
      document.getElementById("main").focus();
    }}>Skip to the content</a>
    <header class="top">
      <a class="brand" href="/"><${Icon} name="khala" /> Khala</a>
      <nav aria-label="Pages">
        ${LINKS.map(
          ([address, name, title, icon]) => html`<a href=${address} class=${name === "new" ? "acts" : null} aria-current=${name === current ? "page" : null}>
            <${Icon} name=${icon} /><span>${title[0]}<span class="wide">${title[1]}</span></span></a>`,
        )}
        <a href="/docs"><${Icon} name="code" /><span>API</span></a>
      </nav>
      <${Account} me=${me} />
    </header>
    <${Trouble} />
    <main id="main" tabindex="-1">${children}</main>
    <${Undos} />
  `;
}

function Account({ me }) {
  const choice = useStore(light);
  const next = { auto: "dark", dark: "light", light: "auto" }[choice];
  return html`<div class="account">
    <button class="quiet" onClick=${() => shine(next)} aria-label=${`Light: ${choice}. Change to ${next}`} title=${`Light: ${choice}`}>
      <${Icon} name=${{ auto: "auto", dark: "moon", light: "sun" }[choice]} />
    </button>
    ${me.token
      ? html`<span class="who" title=${`Role: ${me.role}`}>${me.name}</span>
          <button class="quiet" onClick=${signOut}>Sign out</button>`
      : html`<span class="who" title="Whoever reaches this gateway may use it">Open cluster</span>`}
  </div>`;
}

const TROUBLE = {
  lost: ["The gateway does not answer.", "What you see is from before. The page goes on by itself when it is back."],
  unavailable: ["No judicator can answer right now.", "Tasks that run go on. The page goes on by itself."],
};

/** What is wrong with the connection, once it has been so for a moment; it lies over the page, which so keeps its place. */
function Trouble() {
  const state = useStore(connection);
  const [shown, setShown] = useState(null);
  useEffect(() => {
    if (state === "live") {
      setShown(null);
      return undefined;
    }
    const timer = setTimeout(() => setShown(state), 700);
    return () => clearTimeout(timer);
  }, [state]);
  return html`<div class="trouble" role="status" aria-live="polite">
    ${shown && html`<p><${Icon} name="alert" /> <b>${TROUBLE[shown][0]}</b> ${TROUBLE[shown][1]}</p>`}
  </div>`;
}
