// Message text as people read it: code blocks, inline code and links. Nothing of it is ever taken for HTML.
import { html, useState } from "./html.js";

const FENCE = /```([\w+-]*)[ \t]*\n?([\s\S]*?)(?:```|$)/g;
const INLINE = /`([^`\n]+)`|(https?:\/\/[^\s<>"`]+)/g;
const LONG = 4_000;

export function Content({ text }) {
  const [whole, setWhole] = useState(text.length <= LONG);
  const shown = whole ? text : text.slice(0, LONG);
  return html`<div class="content" dir="auto">${blocks(shown)}</div>
    ${
      !whole &&
      html`<button class="quiet" onClick=${() => setWhole(true)}>
        Show all ${text.length.toLocaleString("en")} characters
      </button>`
    }`;
}

function blocks(text) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(FENCE)) {
    parts.push(...inline(text.slice(from, match.index).replace(/\n$/, "")));
    parts.push(html`<pre tabindex="0"><code>${match[2].replace(/\n$/, "")}</code></pre>`);
    from = match.index + match[0].length;
    if (text[from] === "\n") from += 1; // the block ends its line by itself
  }
  parts.push(...inline(text.slice(from)));
  return parts;
}

function inline(text) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[1] !== undefined) parts.push(html`<code>${match[1]}</code>`);
    else {
      const url = withoutEnd(match[2]);
      parts.push(html`<${Link} url=${url} />`, match[2].slice(url.length));
    }
  }
  parts.push(text.slice(from));
  return parts;
}

// The punctuation that ends a sentence is not of the link, a closing bracket only if it was opened in it.
function withoutEnd(url) {
  let end = url.length;
  while (end > 0) {
    const last = url[end - 1];
    if (/[.,;:!?'*_]/.test(last)) end -= 1;
    else if (last === ")" && !url.slice(0, end).includes("(")) end -= 1;
    else break;
  }
  return url.slice(0, end);
}

// A link to elsewhere; what is no http(s) URL is shown as text.
export function Link({ url, children }) {
  let safe = false;
  try {
    safe = ["http:", "https:"].includes(new URL(url).protocol);
  } catch {
    // no URL at all
  }
  if (!safe) return html`<span dir="auto">${children ?? url}</span>`;
  return html`<a href=${url} target="_blank" rel="noopener noreferrer nofollow" dir="auto">${children ?? url}</a>`;
}

export function Time({ ts, long = false }) {
  const date = new Date(ts);
  const today = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString([], {
    hour: "2-digit",
    minute: "2-digit",
    second: long ? "2-digit" : undefined,
  });
  const day = today && !long ? "" : `${date.toLocaleDateString([], { month: "short", day: "numeric" })} `;
  return html`<time datetime=${ts} title=${date.toLocaleString()}>${day}${time}</time>`;
}

export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
