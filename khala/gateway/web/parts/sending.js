// A form that is sent once, however often the button is pressed or the network makes us ask.
import { newKey } from "../api.js";
import { useEffect, useState } from "../ui.js";

/** `send(key)` creates what `body` describes, under the same key while that stays the same.
 * `{ problem, busy, submit }`; `submit` is the form's handler. What is wrong gets the focus. */
export function useSending(body, send) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const [key, setKey] = useState(newKey);
  useEffect(() => setKey(newKey()), [body]);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      await send(key);
    } catch (error) {
      setProblem(error);
      setBusy(false);
      queueMicrotask(() => document.querySelector("[aria-invalid=true]")?.focus());
    }
  };
  return { problem, busy, submit };
}
