// Home (channels and what moved last) and a channel (its topics), in the order of the latest activity.
import { html, useEffect, useRef, useState } from "./html.js";
import { call } from "./net.js";
import { Dialog, Form } from "./dialog.js";
import { unread } from "./keep.js";
import { go, href } from "./route.js";
import { freshChannels, loadTopics, markAllRead, onMissed, store, topicsOf, useStore } from "./store.js";
import { plural, Time } from "./text.js";

export function Home() {
  return html`<section aria-labelledby="title">
    <h1 id="title">Latest activity</h1>
    ${
      store.channels.size
        ? html`<${Topics} key="all" />`
        : html`<${Empty} what="This hub has no channels yet." how="agentlip channel create general"
            >Create one with the button beside “Channels”, or on the command line:<//
          >`
    }
  </section>`;
}

export function Channel({ id }) {
  const channel = store.channels.get(id);
  const [making, setMaking] = useState(false);
  if (!channel) return html`<h1>There is no channel with this id</h1>`;
  return html`<section aria-labelledby="title">
    <header class="bar">
      <div>
        <h1 id="title" dir="auto">${channel.name}</h1>
        ${channel.description && html`<p class="muted" dir="auto">${channel.description}</p>`}
      </div>
      <button onClick=${() => setMaking(true)}>New topic</button>
    </header>
    <${Topics} key=${id} channel=${channel} />
    ${making && html`<${NewTopic} channel=${channel} onClose=${() => setMaking(false)} />`}
  </section>`;
}

function Topics({ channel }) {
  const [count, setCount] = useState(50);
  const [state, setState] = useState({ loading: true });
  const load = () =>
    loadTopics({ channel_id: channel?.id, limit: count }).then(
      ({ has_more }) => setState({ has_more }),
      (error) => setState({ error }),
    );
  useEffect(() => {
    void load();
    return onMissed(load);
  }, [count]);
  const topics = topicsOf(channel?.id).slice(0, Math.max(count, 50));
  if (state.error) return html`<${Failed} error=${state.error} again=${load} />`;
  if (!topics.length) {
    return state.loading
      ? html`<p class="notice">Loading …</p>`
      : html`<${Empty}
          what="No topics yet."
          how=${`agentlip topic create ${quoted(channel?.name ?? "CHANNEL")} "First steps"`}
        >
          A topic is one conversation. Make one with “New topic”, or on the command line:<//
        >`;
  }
  const fresh = freshChannels();
  const some = channel ? fresh.has(channel.id) : fresh.size > 0;
  return html`<ul class="topics">
      ${topics.map((topic) => html`<${Row} key=${topic.id} topic=${topic} named=${!channel} />`)}
    </ul>
    <p class="buttons">
      ${some && html`<button class="quiet" onClick=${() => markAllRead(channel?.id)}>Mark all as read</button>`}
      ${state.has_more && html`<button onClick=${() => setCount(count + 50)}>More topics</button>`}
    </p>`;
}

function Row({ topic, named }) {
  const fresh = unread(topic);
  const channel = store.channels.get(topic.channel_id)?.name ?? topic.channel_name;
  return html`<li>
    <a href=${href({ topic: topic.id })} class=${fresh ? "fresh" : ""}>
      <span class="name" dir="auto">${named && html`<span class="muted">${channel} / </span>`}${topic.title}</span>
      <span class="excerpt" dir="auto">
        ${topic.latest ? html`<b>${topic.latest.sender}</b> ${topic.latest.excerpt}` : "No messages yet"}
      </span>
      <span class="when"><${Time} ts=${topic.updated_at} /></span>
      <span class="count"
        >${fresh ? html`<b class="badge">${fresh.toLocaleString("en")} new</b>` : plural(topic.message_count, "message")}</span
      >
    </a>
  </li>`;
}

export function NewChannel({ onClose }) {
  const submit = ({ name, description }) =>
    call("POST", "api/v1/channels", { name, ...(description && { description }) });
  const done = ({ channel }) => {
    store.channels.set(channel.id, channel);
    onClose();
    go({ channel: channel.id });
  };
  return html`<${Dialog} title="New channel" onClose=${onClose}>
    <${Form}
      label="Create channel"
      submit=${submit}
      onDone=${done}
      onCancel=${onClose}
      fields=${[
        { name: "name", label: "Name", required: true, maxlength: 100, first: true },
        { name: "description", label: "What it is for (optional)" },
      ]}
    />
  <//>`;
}

function NewTopic({ channel, onClose }) {
  const submit = ({ title }) => call("POST", "api/v1/topics", { channel_id: channel.id, title });
  const done = ({ topic }) => {
    onClose();
    go({ topic: topic.id });
  };
  return html`<${Dialog} title="New topic in ${channel.name}" onClose=${onClose}>
    <${Form}
      label="Create topic"
      submit=${submit}
      onDone=${done}
      onCancel=${onClose}
      fields=${[{ name: "title", label: "Title", required: true, maxlength: 200, first: true }]}
    />
  <//>`;
}

export const quoted = (text) => (/^[\w./-]+$/.test(text) ? text : `"${text.replace(/[\\"$`]/g, "\\$&")}"`);

export function Empty({ what, how, children }) {
  return html`<div class="empty">
    <p><b>${what}</b></p>
    <p>${children}</p>
    <pre tabindex="0"><code>${how}</code></pre>
  </div>`;
}

// What could not be read is read again when the link is back, or when somebody says so.
export function Failed({ error, again }) {
  useStore();
  const before = useRef(store.link);
  useEffect(() => {
    if (store.link === "connected" && before.current !== "connected") again();
    before.current = store.link;
  }, [store.link]);
  return html`<div class="empty" role="alert">
    <p><b>${error.message}.</b></p>
    <p><button onClick=${again}>Try again</button></p>
  </div>`;
}
