// The hub itself: connections, the rate of events, sizes, version, uptime.
import { html, useEffect, useState } from "./html.js";
import { get } from "./net.js";
import { Failed } from "./channel.js";
import { plural } from "./text.js";

const EVERY_MS = 5_000;

export function Status() {
  const [status, setStatus] = useState(null);
  const [error, setError] = useState(null);
  const load = () => get("ui/data/status").then((found) => (setStatus(found), setError(null)), setError);
  useEffect(() => {
    load();
    const timer = setInterval(load, EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  if (!status) return error ? html`<${Failed} error=${error} again=${load} />` : html`<p class="notice">Loading …</p>`;
  const facts = [
    ["Version", status.version],
    ["Up for", duration(status.uptime_seconds)],
    ["Workers", status.workers],
    ["Connections", status.connections.toLocaleString("en")],
    ["Latest event", status.head.toLocaleString("en")],
    ["Channels", status.channels.toLocaleString("en")],
    ["Topics", status.topics.toLocaleString("en")],
    ["Messages", status.messages.toLocaleString("en")],
    ["Attachments", status.attachments.toLocaleString("en")],
    ["Database", size(status.database_bytes)],
    ["Write-ahead log", size(status.wal_bytes)],
    ["Log identity", status.db_id],
    ["Instance", status.instance_id],
  ];
  return html`<section aria-labelledby="title">
    <header class="bar"><h1 id="title">Hub</h1></header>
    ${error && html`<p class="error" role="alert">${error.message}. These figures are from a while ago.</p>`}
    <${Rate} counts=${status.events_per_bucket} seconds=${status.bucket_seconds} />
    <dl class="facts">
      ${facts.map(
        ([name, value]) =>
          html`<div key=${name}>
            <dt>${name}</dt>
            <dd>${value}</dd>
          </div>`,
      )}
    </dl>
  </section>`;
}

function Rate({ counts, seconds }) {
  const most = Math.max(1, ...counts);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const minutes = Math.round((counts.length * seconds) / 60);
  const words = `${plural(total, "event")} in the last ${minutes} minutes, at most ${(most / seconds).toFixed(1)} a second`;
  return html`<figure class="rate">
    <svg viewBox="0 0 ${counts.length * 10} 100" preserveAspectRatio="none" role="img" aria-label=${words}>
      ${counts
        .map((count) => (100 * count) / most)
        .map((height, at) => html`<rect key=${at} x=${at * 10 + 1} width="8" y=${100 - height} height=${height} />`)}
    </svg>
    <figcaption>${total ? words : `No events in the last ${minutes} minutes`}</figcaption>
  </figure>`;
}

export function size(bytes) {
  const power = bytes < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(bytes) / 10));
  return power ? `${(bytes / 1024 ** power).toFixed(1)} ${" KMGT"[power]}iB` : `${bytes} bytes`;
}

function duration(seconds) {
  const units = [
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
    ["s", 1],
  ];
  const first = units.findIndex(([, length]) => seconds >= length);
  if (first < 0) return "a moment";
  return units
    .slice(first, first + 2)
    .map(([unit, length], at) => `${Math.floor((at ? seconds % units[first][1] : seconds) / length)} ${unit}`)
    .join(" ");
}
