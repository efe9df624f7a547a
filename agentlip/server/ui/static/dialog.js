// A dialog of the browser's own: it takes the focus, keeps it, gives it back, and closes with Escape.
import { html, useLayoutEffect, useRef, useState } from "./html.js";

export function Dialog({ title, onClose, children, wide }) {
  const ref = useRef(null);
  useLayoutEffect(() => {
    const dialog = ref.current;
    dialog.showModal();
    dialog.querySelector("[data-first]")?.focus();
    return () => dialog.close(); // gives the focus back
  }, []);
  return html`<dialog
    ref=${ref}
    class=${wide ? "wide" : ""}
    aria-label=${title}
    onClose=${onClose}
    onClick=${(event) => event.target === ref.current && ref.current.close()}
  >
    <h2>${title}</h2>
    ${children}
  </dialog>`;
}

// A form that keeps what was typed when the hub refuses it, and says why.
export function Form({ fields, submit, label, onDone, onCancel }) {
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const send = async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    setBusy(true);
    try {
      onDone(await submit(values));
    } catch (problem) {
      setError(problem.message);
      setBusy(false);
    }
  };
  return html`<form onSubmit=${send}>
    ${fields.map(
      ({ name, label: caption, first, ...more }) =>
        html`<label>${caption}<input name=${name} data-first=${first} autocomplete="off" ...${more} /></label>`,
    )}
    <p class="error" role="alert">${error}</p>
    <div class="buttons">
      <button type="button" class="quiet" onClick=${onCancel}>Cancel</button>
      <button type="submit" class="primary" disabled=${busy}>${label}</button>
    </div>
  </form>`;
}
