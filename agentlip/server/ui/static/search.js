// Search over messages, as a page of its own.
import { html, useEffect, useState } from "./html.js";
import { get } from "./net.js";
import { Failed } from "./channel.js";
import { href } from "./route.js";
import { loadTopic, store } from "./store.js";
import { Content, Time } from "./text.js";

const PAGE = 50;

export function Search({ q, channel = "", topic = "" }) {
  const [limit, setLimit] = useState(PAGE);
  const [state, setState] = useState({ loading: true });
  const load = async () => {
    setState({ loading: true });
    try {
      const found = await get("api/v1/search", { q, channel_id: channel, topic_id: topic, limit });
      const unknown = new Set(found.messages.map(({ topic_id }) => topic_id).filter((id) => !store.topics.has(id)));
      await Promise.allSettled([...unknown].map(loadTopic));
      setState(found);
    } catch (error) {
      setState({ error });
    }
  };
  useEffect(() => void load(), [q, channel, topic, limit]);
  const { messages, has_more: more, error, loading } = state;
  return html`<section aria-labelledby="title">
    <header class="bar"><h1 id="title" dir="auto">Messages with “${q}”</h1></header>
    ${error && html`<${Failed} error=${error} again=${load} />`}
    ${loading && html`<p class="notice" role="status">Searching …</p>`}
    ${messages?.length === 0 && html`<${Nothing} />`}
    <ul class="results">
      ${messages?.map((message) => html`<${Result} key=${message.id} message=${message} />`)}
    </ul>
    ${more && html`<p class="buttons"><button onClick=${() => setLimit(Math.min(1000, limit * 2))}>More</button></p>`}
  </section>`;
}

function Nothing() {
  return html`<p class="notice" role="status">No message contains all of these words. “Quoted words” stay together.</p>`;
}

function Result({ message }) {
  const topic = store.topics.get(message.topic_id);
  const channel = store.channels.get(message.channel_id);
  return html`<li>
    <p>
      <a href=${href({ topic: message.topic_id }, message.id)} dir="auto"
        >${channel?.name} / ${topic?.title ?? message.topic_id}</a
      >
      ${" "}<b dir="auto">${message.sender}</b> <span class="muted"><${Time} ts=${message.created_at} /></span>
    </p>
    <${Content} text=${message.content_raw} />
  </li>`;
}
