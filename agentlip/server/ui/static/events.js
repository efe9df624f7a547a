// The event timeline: newest first, live, with filters; a pause keeps what comes meanwhile, up to a limit.
import { html, useEffect, useReducer, useState } from "./html.js";
import { Failed } from "./channel.js";
import { go, href } from "./route.js";
import { loadTopics, onEvent, onMissed, store, topicsOf } from "./store.js";
import { Time, plural } from "./text.js";
import { Timeline } from "./timeline.js";

const NAMES = [
  "channel.created",
  "topic.created",
  "topic.renamed",
  "topic.attachment_added",
  "message.created",
  "message.edited",
  "message.deleted",
  "message.moved_topic",
  "message.enriched",
  "agent.created",
  "agent.updated",
];

export function Events({ name = "", channel = "", topic = "" }) {
  const chosen = store.topics.get(topic);
  useEffect(() => void loadTopics({ limit: 500 }).catch(() => {}), []);
  const change = (field) => (event) =>
    go({
      view: "events",
      name,
      channel,
      topic,
      ...(field === "channel" && { topic: "" }),
      [field]: event.target.value,
    });
  const names = [...new Set([...NAMES, ...(name ? [name] : [])])].map((each) => [each, each]);
  const channels = [...store.channels.values()].map((each) => [each.id, each.name]);
  const topics = topicsOf(channel).map((each) => [
    each.id,
    channel ? each.title : `${each.channel_name} / ${each.title}`,
  ]);
  if (topic && !chosen) topics.unshift([topic, topic]);
  return html`<section aria-labelledby="title">
    <header class="bar"><h1 id="title">Events</h1></header>
    <div class="filters">
      <${Choice} label="Name" value=${name} options=${names} onChange=${change("name")} />
      <${Choice} label="Channel" value=${channel} options=${channels} onChange=${change("channel")} />
      <${Choice} label="Topic" value=${topic} options=${topics} onChange=${change("topic")} />
    </div>
    <${List} key=${[name, channel, topic].join()} filter=${{ name, channel, topic }} />
  </section>`;
}

function Choice({ label, value, options, onChange }) {
  const id = `by-${label}`;
  return html`<div>
    <label for=${id}>${label}</label>
    <select id=${id} value=${value} onChange=${onChange}>
      <option value="">all</option>
      ${options.map(([each, name]) => html`<option key=${each} value=${each}>${name}</option>`)}
    </select>
  </div>`;
}

function List({ filter }) {
  const [, draw] = useReducer((count) => count + 1, 0);
  const [timeline] = useState(() => {
    let due = null;
    return new Timeline(filter, () => (due ??= setTimeout(() => ((due = null), draw()), 50)));
  });
  useEffect(() => {
    void timeline.load();
    const ends = [onEvent((event) => timeline.take(event)), onMissed(() => timeline.reload())];
    return () => ends.forEach((end) => end());
  }, []);
  const { events, waiting, dropped, paused, loading, ended, error } = timeline;
  return html`<p class="buttons">
      ${
        paused
          ? html`<button class="primary" onClick=${() => timeline.resume()}>Resume</button>
              <span role="status">Paused: ${plural(waiting.length + dropped, "new event")}</span>`
          : html`<button onClick=${() => timeline.pause()}>Pause</button><span role="status" class="muted">Live</span>`
      }
    </p>
    ${error && html`<${Failed} error=${error} again=${() => timeline.load()} />`}
    <ol class="events">
      ${events.map((event) => html`<${Event} key=${event.event_id} event=${event} />`)}
    </ol>
    ${loading && html`<p class="muted">Loading …</p>`} ${!events.length && !loading && !error && html`<${NoEvents} />`}
    ${!ended && !loading && html`<p class="buttons"><button onClick=${() => timeline.older()}>Older events</button></p>`}`;
}

function NoEvents() {
  return html`<p class="notice">No such events. <code>agentlip events --tail 20</code> shows the latest of all.</p>`;
}

function Event({ event }) {
  const [open, setOpen] = useState(false);
  const { event_id, ts, name, scope } = event;
  return html`<li>
    <span class="id">${event_id}</span> <${Time} ts=${ts} long />
    <b>${name}</b>
    <span class="what" dir="auto">${summary(event)}</span>
    <span class="where"><${Place} scope=${scope} /></span>
    <${Entity} event=${event} />
    <button class="quiet" aria-expanded=${open} onClick=${() => setOpen(!open)}>JSON</button>
    ${open && html`<pre tabindex="0"><code>${JSON.stringify(event, null, 2)}</code></pre>`}
  </li>`;
}

function Place({ scope }) {
  const channel = scope.channel_id;
  const topics = [scope.topic_id, scope.topic_id2].filter(Boolean);
  return html`${channel && html`<a href=${href({ channel })}>${store.channels.get(channel)?.name ?? channel}</a>`}
  ${topics.map(
    (topic, at) =>
      html`<span class="muted">${at ? " → " : " / "}</span>
        <a href=${href({ topic })}>${store.topics.get(topic)?.title ?? topic}</a>`,
  )}`;
}

function Entity({ event: { entity, scope } }) {
  if (entity.type === "message" && scope.topic_id) {
    return html`<a class="entity" href=${href({ topic: scope.topic_id2 ?? scope.topic_id }, entity.id)}
      >${entity.id}</a
    >`;
  }
  if (entity.type === "topic") return html`<a class="entity" href=${href({ topic: entity.id })}>${entity.id}</a>`;
  if (entity.type === "channel") return html`<a class="entity" href=${href({ channel: entity.id })}>${entity.id}</a>`;
  return scope.topic_id
    ? html`<a class="entity" href=${href({ topic: scope.topic_id })}>${entity.type} ${entity.id}</a>`
    : html`<span class="entity">${entity.type} ${entity.id}</span>`;
}

function summary({ name, data }) {
  const text = {
    "channel.created": () => data.channel.name,
    "topic.created": () => data.topic.title,
    "topic.renamed": () => `${data.old_title} → ${data.new_title}`,
    "topic.attachment_added": () => data.attachment.value_json?.url ?? data.attachment.kind,
    "message.created": () => `${data.message.sender}: ${data.message.content_raw}`,
    "message.edited": () => data.new_content,
    "message.deleted": () => `by ${data.deleted_by}`,
    "message.moved_topic": () => data.mode,
    "agent.created": () => data.agent.name,
    "agent.updated": () => `${data.agent.name}${data.agent.disabled_at ? ", disabled" : ""}`,
  }[name];
  try {
    return String(text ? text() : JSON.stringify(data)).slice(0, 200);
  } catch {
    return "";
  }
}
