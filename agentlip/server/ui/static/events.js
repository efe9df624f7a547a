// The event timeline: newest first, live, with filters; a pause keeps what comes meanwhile, up to a limit.
import { html, useEffect, useReducer, useState } from "./html.js";
import { get } from "./net.js";
import { Failed } from "./channel.js";
import { go, href } from "./route.js";
import { loadTopics, onEvent, store, topicsOf } from "./store.js";
import { Time, plural } from "./text.js";

const SHOWN = 300;
const WAITING = 2_000;
const PAGE = 100;
const NAMES = [
  "channel.created", "topic.created", "topic.renamed", "topic.attachment_added", "message.created", "message.edited",
  "message.deleted", "message.moved_topic", "message.enriched",
];

// The list of events, apart from how it is drawn.
class Timeline {
  constructor({ name, channel, topic }, changed) {
    Object.assign(this, { name, channel, topic, changed });
    this.events = []; // newest first
    this.waiting = []; // oldest first
    this.dropped = 0;
    this.paused = false;
    this.loading = true;
    this.ended = false;
    this.seen = 0;
    this.early = [];
  }

  wants({ name, scope }) {
    return (
      (!this.name || name === this.name) &&
      (!this.channel || scope.channel_id === this.channel) &&
      (!this.topic || scope.topic_id === this.topic || scope.topic_id2 === this.topic)
    );
  }

  async load() {
    this.loading = true;
    this.error = null;
    try {
      const { events } = await get("api/v1/events", { tail: 1000, ...this.scope() });
      this.events = events.map(fromApi).filter((event) => this.wants(event)).slice(-PAGE).reverse();
      this.oldest = events[0]?.event_id ?? 1;
      if (this.events.length === PAGE) this.oldest = this.events.at(-1).event_id;
      this.seen = events.at(-1)?.event_id ?? 0;
      this.ended = this.oldest <= 1 || (events.length < 1000 && this.events.length < PAGE);
      const early = this.early;
      this.early = null;
      early.forEach((event) => this.take(event));
    } catch (error) {
      this.error = error;
    }
    this.loading = false;
    this.changed();
  }

  scope() {
    return { channel_id: this.topic ? "" : this.channel, topic_id: this.topic };
  }

  // Older ones, a thousand ids at a time, until there is something to show.
  async older() {
    this.loading = true;
    this.changed();
    try {
      for (let found = 0; found === 0 && !this.ended; ) {
        const after = Math.max(0, this.oldest - 1001);
        const { events } = await get("api/v1/events", { after, limit: 1000, ...this.scope() });
        const wanted = events.filter(({ event_id }) => event_id < this.oldest).map(fromApi).filter((event) => this.wants(event));
        const page = wanted.slice(-PAGE).reverse();
        this.oldest = wanted.length > PAGE ? page.at(-1).event_id : after + 1;
        this.ended = this.oldest <= 1;
        this.events.push(...page);
        found = page.length;
      }
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    this.loading = false;
    this.changed();
  }

  take(event) {
    if (!this.wants(event)) return;
    if (this.early) return void (this.early.length < WAITING && this.early.push(event));
    if (event.event_id <= this.seen) return;
    this.seen = event.event_id;
    if (!this.paused) {
      this.events = [event, ...this.events.slice(0, SHOWN - 1)];
      if (this.events.length === SHOWN) this.cut();
    } else {
      this.waiting.push(event);
      if (this.waiting.length > WAITING) {
        this.waiting.shift();
        this.dropped += 1;
      }
    }
    this.changed();
  }

  cut() {
    this.oldest = this.events.at(-1).event_id;
    this.ended = false;
  }

  pause() {
    this.paused = true;
    this.changed();
  }

  // What waited is shown now. If some of it was not kept, the list is read again from the hub.
  resume() {
    this.paused = false;
    if (this.dropped) {
      this.dropped = 0;
      this.waiting = [];
      this.early = [];
      void this.load();
    } else {
      this.events = [...this.waiting.reverse(), ...this.events].slice(0, SHOWN);
      this.waiting = [];
      if (this.events.length === SHOWN) this.cut();
    }
    this.changed();
  }
}

const fromApi = ({ event_id, ts, name, scope, entity, data_json }) => ({ type: "event", event_id, ts, name, scope, entity, data: data_json });

export function Events({ name = "", channel = "", topic = "" }) {
  const chosen = store.topics.get(topic);
  useEffect(() => void loadTopics({ limit: 500 }).catch(() => {}), []);
  const change = (field) => (event) => go({ view: "events", name, channel, topic, ...(field === "channel" && { topic: "" }), [field]: event.target.value });
  const topics = topicsOf(channel);
  return html`<section aria-labelledby="title">
    <header class="bar"><h1 id="title">Events</h1></header>
    <div class="filters">
      <div><label for="by-name">Name</label><select id="by-name" value=${name} onChange=${change("name")}><option value="">all</option>
        ${[...new Set([...NAMES, ...(name ? [name] : [])])].map((each) => html`<option key=${each} value=${each}>${each}</option>`)}</select></div>
      <div><label for="by-channel">Channel</label><select id="by-channel" value=${channel} onChange=${change("channel")}><option value="">all</option>
        ${[...store.channels.values()].map((each) => html`<option key=${each.id} value=${each.id}>${each.name}</option>`)}</select></div>
      <div><label for="by-topic">Topic</label><select id="by-topic" value=${topic} onChange=${change("topic")}><option value="">all</option>
        ${topic && !chosen && html`<option value=${topic}>${topic}</option>`}
        ${topics.map((each) => html`<option key=${each.id} value=${each.id}>${channel ? "" : `${each.channel_name} / `}${each.title}</option>`)}</select></div>
    </div>
    <${List} key=${[name, channel, topic].join()} filter=${{ name, channel, topic }} />
  </section>`;
}

function List({ filter }) {
  const [, draw] = useReducer((count) => count + 1, 0);
  const [timeline] = useState(() => {
    let due = null;
    return new Timeline(filter, () => (due ??= setTimeout(() => ((due = null), draw()), 50)));
  });
  useEffect(() => {
    void timeline.load();
    return onEvent((event) => timeline.take(event));
  }, []);
  const { events, waiting, dropped, paused, loading, ended, error } = timeline;
  return html`<p class="buttons">
      ${paused
        ? html`<button class="primary" onClick=${() => timeline.resume()}>Resume</button>
            <span role="status">Paused: ${plural(waiting.length + dropped, "new event")}</span>`
        : html`<button onClick=${() => timeline.pause()}>Pause</button><span role="status" class="muted">Live</span>`}
    </p>
    ${error && html`<${Failed} error=${error} again=${() => timeline.load()} />`}
    <ol class="events">${events.map((event) => html`<${Event} key=${event.event_id} event=${event} />`)}</ol>
    ${!events.length && !loading && !error && html`<p class="notice">No such events. <code>agentlip events --tail 20</code> shows the latest of all.</p>`}
    ${loading && html`<p class="muted">Loading …</p>`}
    ${!ended && !loading && html`<p class="buttons"><button onClick=${() => timeline.older()}>Older events</button></p>`}`;
}

function Event({ event }) {
  const [open, setOpen] = useState(false);
  const { event_id, ts, name, scope } = event;
  return html`<li>
    <span class="id">${event_id}</span> <${Time} ts=${ts} long />
    <b>${name}</b>
    <span class="what" dir="auto">${summary(event)}</span>
    <span class="where">${scope.channel_id && html`<a href=${href({ channel: scope.channel_id })}>${store.channels.get(scope.channel_id)?.name ?? scope.channel_id}</a>`}
      ${[scope.topic_id, scope.topic_id2].filter(Boolean).map((id, at) => html`<span class="muted">${at ? "→" : "/"}</span>
        <a href=${href({ topic: id })}>${store.topics.get(id)?.title ?? id}</a>`)}</span>
    <${Entity} event=${event} />
    <button class="quiet" aria-expanded=${open} onClick=${() => setOpen(!open)}>JSON</button>
    ${open && html`<pre tabindex="0"><code>${JSON.stringify(event, null, 2)}</code></pre>`}
  </li>`;
}

function Entity({ event: { entity, scope } }) {
  if (entity.type === "message" && scope.topic_id) {
    return html`<a class="entity" href=${href({ topic: scope.topic_id2 ?? scope.topic_id }, entity.id)}>${entity.id}</a>`;
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
  }[name];
  try {
    return String(text ? text() : JSON.stringify(data)).slice(0, 200);
  } catch {
    return "";
  }
}
