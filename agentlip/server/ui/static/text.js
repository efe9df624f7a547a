// Message text as people read it: code blocks, inline code and links. Nothing of it is ever taken for HTML.
import { html, useState } from "./html.js";

const FENCE = /`{3,}/g;
const LANGUAGE = /([\w+#.-]*)[ \t]*\r?\n/y;
const INLINE = /(?<!`)(`+)(?!`)([^\n]+?)(?<!`)\1(?!`)|(https?:\/\/[^\s<>"`“”«»‘’（）「」『』【】《》，。、；：！？]+)/gi;
const LONG = 4_000;

export function Content({ text }) {
  const [whole, setWhole] = useState(text.length <= LONG);
  const shown = whole ? text : text.slice(0, LONG).replace(/[\ud800-\udbff]$/, ""); // no half of a character
  return html`<div class="content" dir="auto">${blocks(shown)}</div>
    ${
      !whole &&
      html`<button class="quiet" onClick=${() => setWhole(true)}>
        Show all ${text.length.toLocaleString("en")} characters
      </button>`
    }`;
}

// A fence is closed by as many backticks as open it. A word behind it is a language only when its line ends there. What
// is not closed is code if the fence is a line of its own. All other marks, as those around nothing, are plain text.
function blocks(text) {
  const parts = [];
  const fences = [...text.matchAll(FENCE)];
  let from = 0;
  for (let at = 0; at < fences.length; at += 1) {
    const { 0: mark, index } = fences[at];
    let close = at + 1;
    while (close < fences.length && fences[close][0] !== mark) close += 1;
    const isClosed = close < fences.length;
    const end = isClosed ? fences[close].index : text.length;
    LANGUAGE.lastIndex = index + mark.length;
    const line = LANGUAGE.exec(text);
    const code = text.slice(index + mark.length + (line?.[0].length ?? 0), end);
    if (!code.trim() || !(isClosed || (line && /(^|\n)[ \t]*$/.test(text.slice(from, index))))) continue;
    parts.push(...inline(text.slice(from, index).replace(/\r?\n$/, "")));
    parts.push(html`<pre tabindex="0" data-language=${line?.[1] || null}><code>${code.replace(/\r?\n$/, "")}</code></pre>`);
    from = end + (isClosed ? mark.length : 0);
    from += /^\r?\n/.exec(text.slice(from, from + 2))?.[0].length ?? 0; // the block ends its line by itself
    at = close;
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
    if (match[2]?.trim()) parts.push(html`<code>${match[2]}</code>`);
    else if (match[1]) parts.push(match[0]);
    else {
      const url = withoutEnd(match[3]);
      parts.push(html`<${Link} url=${url} />`, match[3].slice(url.length));
    }
  }
  parts.push(text.slice(from));
  return parts;
}

// The punctuation that ends a sentence is not of the link, a closing bracket only if it was opened in it.
function withoutEnd(url) {
  const count = (sign) => url.split(sign).length;
  const surplus = { ")": count(")") - count("("), "]": count("]") - count("[") };
  let end = url.length;
  for (; end > 0; end -= 1) {
    const last = url[end - 1];
    if (surplus[last] > 0) surplus[last] -= 1;
    else if (!/[.,;:!?'*_]/.test(last)) break;
  }
  return url.slice(0, end);
}

// A link to elsewhere; what is not an http(s) URL is shown as text.
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
