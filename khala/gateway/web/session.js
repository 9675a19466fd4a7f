// Who is signed in: the token of the link that `khala up` prints, or of the form, becomes a cookie that
// scripts cannot read.
import { ask, get, Problem, signedOut } from "./api.js";
import { connection } from "./live.js";
import { Store } from "./ui.js";

/** `status`: "starting", "in", "out" or "unreachable"; `me` as /api/v1/me has it. */
export const session = new Store({ status: "starting", me: null, problem: null });

/** What one's role may not do is left out by the style: `.acts` needs a user, `.operates` an administrator. */
session.readers.add(({ me }) => {
  document.documentElement.dataset.role = me?.role ?? "";
});

signedOut.readers.add((out) => {
  if (out && session.value.status === "in") {
    session.set({ status: "out", me: null, problem: new Problem({ code: "ended", detail: "Your session has ended. Sign in again." }) });
  }
});

/** Take the link's token, if there is one, out of the address and begin a session with it; else go on with
 * the cookie. */
export async function begin() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    history.replaceState(null, "", location.pathname + location.search);
    return signIn(token);
  }
  return enter(() => get("/me"), { asked: false });
}

export const signIn = (token) => enter(() => ask("POST", "/login", { body: { token } }), { asked: true });

export async function signOut() {
  await ask("POST", "/logout", { body: {} }).catch(() => {});
  session.set({ status: "out", me: null, problem: null });
}

let pauseMs = 500;

/** Who only looks whether there is a session is not told that there is none. */
async function enter(request, { asked }) {
  try {
    const me = await request();
    signedOut.value = false;
    pauseMs = 500;
    connection.set("live");
    session.set({ status: "in", me, problem: null });
  } catch (problem) {
    const shut = problem.code === "offline" || problem.status === 503;
    const silent = problem.status === 401 && !asked;
    session.set({ status: shut ? "unreachable" : "out", me: null, problem: silent ? null : problem });
    if (!shut) return;
    setTimeout(() => enter(request, { asked }), pauseMs);
    pauseMs = Math.min(pauseMs * 2, 8000);
  }
}
