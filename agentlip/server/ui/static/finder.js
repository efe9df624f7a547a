// Jump to a channel or topic by typing (Ctrl-K).
import { html, useEffect, useState } from "./html.js";
import { isComposing } from "./compose.js";
import { Dialog } from "./dialog.js";
import { go } from "./route.js";
import { loadTopics, store, topicsOf, useStore } from "./store.js";

const SHOWN = 12;

export function Finder({ onClose }) {
  useStore();
  const [words, setWords] = useState("");
  const [at, setAt] = useState(0);
  useEffect(() => void loadTopics({ limit: 1000 }).catch(() => {}), []);
  const found = matches(words);
  const active = Math.min(at, found.length - 1);
  const choose = (one) => {
    onClose();
    go(one.place);
  };
  const keys = (event) => {
    if (isComposing(event)) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      setAt((active + step + found.length) % (found.length || 1));
    } else if (event.key === "Enter" && found[active]) {
      event.preventDefault();
      choose(found[active]);
    }
  };
  return html`<${Dialog} title="Jump to" onClose=${onClose}>
    <input
      data-first
      class="find"
      role="combobox"
      autocomplete="off"
      aria-expanded="true"
      aria-controls="found"
      aria-autocomplete="list"
      aria-activedescendant=${found[active] ? `found-${active}` : null}
      aria-label="A channel or topic"
      placeholder="A channel or topic"
      value=${words}
      onInput=${(event) => (setWords(event.target.value), setAt(0))}
      onKeyDown=${keys}
    />
    <ul id="found" role="listbox" aria-label="Channels and topics">
      ${found.map(
        (one, index) =>
          html`<li
            key=${one.key}
            id=${`found-${index}`}
            role="option"
            aria-selected=${index === active}
            onClick=${() => choose(one)}
            dir="auto"
          >
            <span class="muted">${one.kind}</span> ${one.name}
          </li>`,
      )}
    </ul>
    ${!found.length && html`<p class="muted" role="status">Nothing has such a name.</p>`}
  <//>`;
}

function matches(words) {
  const parts = words.toLowerCase().split(/\s+/).filter(Boolean);
  const all = [
    ...[...store.channels.values()].map(({ id, name }) => ({ key: id, kind: "Channel", name, place: { channel: id } })),
    ...topicsOf().map(({ id, title, channel_name }) => ({
      key: id,
      kind: "Topic",
      name: `${channel_name} / ${title}`,
      place: { topic: id },
    })),
  ];
  return all.filter(({ name }) => parts.every((part) => name.toLowerCase().includes(part))).slice(0, SHOWN);
}
