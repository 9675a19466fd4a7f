// The page for whoever has no session yet, or waits for the gateway.
import { session, signIn } from "../session.js";
import { html, useState, useStore } from "../ui.js";
import { Code, Trouble } from "../parts/basics.js";
import { Icon } from "../parts/icons.js";

export function SignIn() {
  const { status, problem } = useStore(session);
  const [token, setToken] = useState("");
  if (status === "starting") return html`<p class="boot">Khala is starting…</p>`;
  if (status === "unreachable") {
    return html`<main class="sign-in" id="main" tabindex="-1"><h1>The cluster does not answer</h1>
      <p>${problem.detail}</p><p role="status">This page tries again by itself.</p></main>`;
  }
  const enter = (event) => {
    event.preventDefault();
    signIn(token.trim());
  };
  return html`<main class="sign-in" id="main" tabindex="-1">
    <h1><${Icon} name="khala" /> Khala</h1>
    <p>This cluster asks who you are. Open the link that <code>khala up</code> printed, or give a token.</p>
    <form onSubmit=${enter}>
      <label for="token">Token</label>
      <input id="token" type="password" autocomplete="current-password" required value=${token}
        onInput=${(event) => setToken(event.target.value)} aria-invalid=${problem ? "true" : null} />
      <button class="main">Sign in</button>
    </form>
    <${Trouble} problem=${problem} />
    <details><summary>Where do I find one?</summary>
      <p>On the machine that runs the cluster:</p>
      <${Code} label="command that shows the token" text="khala status --show-token" />
      <p>For somebody else, an administrator makes one:</p>
      <${Code} label="command that makes a token" text="khala token create laptop --user ann --role user" />
    </details>
  </main>`;
}
