// A topic as a conversation: live at its end, older messages on scrolling up, attachments beside it.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { get } from "./net.js";
import { Composer } from "./compose.js";
import { Conversation } from "./conversation.js";
import { Failed, quoted } from "./channel.js";
import { markRead } from "./keep.js";
import { Acting, Message } from "./message.js";
import { go, href } from "./route.js";
import { changed, channelOf, loadTopic, onEvent, onMissed, store } from "./store.js";
import { Link, plural } from "./text.js";

const NEAR = 600; // pixels from an edge at which the next page is read
const AT_END = 60;

export function Topic({ id, hash }) {
  const topic = store.topics.get(id);
  const [error, setError] = useState(null);
  const load = () => loadTopic(id).then(() => setError(null), setError);
  useEffect(() => {
    void load();
    return onMissed(load);
  }, [id]);
  if (error) {
    return html`<section class="missing" aria-labelledby="title">
      <h1 id="title">A topic</h1>
      <${Failed} error=${error} again=${load} />
    </section>`;
  }
  if (!topic) return html`<p class="notice">Loading …</p>`;
  const channel = channelOf(topic);
  return html`<section class="topic" aria-labelledby="title">
    <header class="bar">
      <div>
        <p class="muted">
          <a href=${href({ channel: topic.channel_id })} dir="auto">${channel?.name ?? topic.channel_name}</a>
        </p>
        <h1 id="title" dir="auto">${topic.title}</h1>
      </div>
      <span class="muted">${plural(topic.message_count, "message")}</span>
      <a href=${href({ view: "events", topic: id })}>Events</a>
    </header>
    <div class="columns">
      <${Messages} key=${id} topic=${topic} hash=${hash} />
      <${Attachments} key=${`a${id}`} topic=${topic} />
    </div>
  </section>`;
}

function Messages({ topic, hash }) {
  const list = useRef(null);
  const anchor = useRef(null);
  const [conversation] = useState(() => new Conversation(topic.id, changed));
  const [doing, setDoing] = useState(null);
  const target = /^msg_[\w-]+$/.test(hash) ? hash : null;

  useEffect(() => onEvent((event) => conversation.apply(event)), []);
  useEffect(() => onMissed(() => conversation.refill()), []);
  useEffect(() => void open(conversation, target, anchor), [target]);
  useSeen(topic, conversation);

  // What is drawn next must not bring back a reader who has just left the end. Else the message at the top of what is
  // seen stays where it is, whatever comes above it.
  if (list.current && !conversation.landing && below(list.current) > AT_END) conversation.following = false;
  if (list.current && !conversation.following && !anchor.current?.goal) anchor.current = firstSeen(list.current);
  useLayoutEffect(() => {
    const box = list.current;
    if (!box) return;
    if (anchor.current?.goal) {
      const goal = document.getElementById(anchor.current.goal);
      if (goal) {
        goal.scrollIntoView({ block: "center" });
        goal.focus({ preventScroll: true });
        anchor.current = null;
      }
    } else if (conversation.following) {
      box.scrollTop = box.scrollHeight;
      conversation.landing = false;
    } else if (anchor.current) {
      const element = document.getElementById(anchor.current.id);
      if (element) box.scrollTop += element.getBoundingClientRect().top - anchor.current.top;
    }
  });

  useEffect(() => {
    const observer = new ResizeObserver(([{ target: box }]) => {
      if (conversation.following) box.scrollTop = box.scrollHeight;
    });
    observer.observe(list.current);
    return () => observer.disconnect();
  }, []);

  const scrolled = () => {
    const box = list.current;
    const { following } = conversation;
    conversation.following = conversation.atEnd && below(box) < AT_END;
    if (box.scrollTop < NEAR) conversation.older();
    if (below(box) < NEAR) conversation.after();
    if (conversation.following !== following) changed();
  };

  const { messages, newer, atEnd, following } = conversation;
  return html`<div class="conversation">
    <div class="log" ref=${list} role="log" aria-label="Messages" tabindex="0" onScroll=${scrolled}>
      ${conversation.loaded && conversation.atStart && html`<p class="muted edge">The beginning of “${topic.title}”.</p>`}
      ${
        conversation.loaded &&
        !messages.length &&
        html`<p class="edge">
          No messages yet. Write one below, or on the command line:
          <code
            >agentlip msg send ${quoted(`${channelOf(topic)?.name ?? topic.channel_name}/${topic.title}`)} "Hello"</code
          >
        </p>`
      }
      ${messages.map(
        (message, at) =>
          html`<${Message}
            key=${message.id}
            message=${message}
            target=${message.id === target}
            joined=${isJoined(messages[at - 1], message)}
            onAct=${setDoing}
          />`,
      )}
      ${!conversation.loaded && !conversation.error && html`<p class="muted edge">Loading …</p>`}
    </div>
    ${conversation.error && html`<${Failed} error=${conversation.error} again=${() => again(conversation, target, anchor)} />`}
    ${
      conversation.loaded &&
      !(atEnd && following) &&
      html`<button class="jump" onClick=${() => latest(conversation, topic)}>
        ${newer ? `${plural(newer, "new message")} ↓` : "To the latest ↓"}
      </button>`
    }
    <${Acting} doing=${doing} topic=${topic} onClose=${() => setDoing(null)} />
    <${Composer} topic=${topic} onSent=${() => conversation.atEnd || latest(conversation, topic)} />
  </div>`;
}

const below = (box) => box.scrollHeight - box.scrollTop - box.clientHeight;

async function open(conversation, target, anchor) {
  if (target && !conversation.messages.some(({ id }) => id === target)) {
    try {
      const elsewhere = await conversation.around(target);
      if (elsewhere) return go({ topic: elsewhere }, target, { replace: true });
    } catch {
      return conversation.latest(); // the link names a message that is not there
    }
  }
  if (target) {
    conversation.following = false;
    anchor.current = { goal: target };
    return changed();
  }
  return conversation.loaded ? undefined : conversation.latest();
}

// Read what could not be read: the first page, or the next one in the direction of the reader.
function again(conversation, target, anchor) {
  return conversation.loaded ? conversation.again() : open(conversation, target, anchor);
}

function latest(conversation, topic) {
  if (location.hash) go({ topic: topic.id }, "", { replace: true });
  return conversation.latest();
}

// Read is what has been at the end of the page while somebody could see it.
function useSeen(topic, conversation) {
  useEffect(() => {
    const look = () => {
      const { loaded, atEnd, following } = conversation;
      if (document.visibilityState === "visible" && loaded && atEnd && following && markRead(topic)) changed();
    };
    look();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  });
}

function firstSeen(box) {
  const top = box.getBoundingClientRect().top;
  for (const element of box.querySelectorAll("article")) {
    const bounds = element.getBoundingClientRect();
    if (bounds.bottom > top) return { id: element.id, top: bounds.top };
  }
  return null;
}

// Messages of one sender within five minutes stand together under one name.
const isJoined = (before, message) =>
  before !== undefined &&
  before.sender === message.sender &&
  Date.parse(message.created_at) - Date.parse(before.created_at) < 300_000;

const SHOWN = 200; // attachments, the newest

function Attachments({ topic }) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    const load = () =>
      get(`api/v1/topics/${encodeURIComponent(topic.id)}/attachments`, { limit: SHOWN }).then(
        ({ attachments }) => {
          setFound((known) => merge(attachments, known ?? []));
        },
        () => setFound((known) => known ?? []),
      );
    load();
    const add = ({ name, data }) => {
      if (name === "topic.attachment_added" && data.attachment.topic_id === topic.id) {
        setFound((known) => merge([data.attachment], known ?? []));
      }
    };
    const ends = [onEvent(add), onMissed(load)];
    return () => ends.forEach((end) => end());
  }, []);
  if (!found?.length) return null;
  return html`<aside class="attachments" aria-label="Attachments">
    <h2>Attachments</h2>
    <ul>
      ${found.slice(0, SHOWN).map((each) => html`<li key=${each.id}><${Attachment} attachment=${each} /></li>`)}
    </ul>
  </aside>`;
}

const merge = (fresh, known) => {
  const ids = new Set(fresh.map(({ id }) => id));
  return [...fresh, ...known.filter(({ id }) => !ids.has(id))];
};

function Attachment({ attachment }) {
  const { kind, key, value_json: value } = attachment;
  const url = typeof value.url === "string" ? value.url : null;
  return html`${url && html`<${Link} url=${url}>${typeof value.title === "string" ? value.title : url}<//>`}
    <p class="muted" dir="auto">
      ${kind}${key && ` · ${key}`}
      ${attachment.source_message_id && html` · <a href=${href({ topic: attachment.topic_id }, attachment.source_message_id)}>message</a>`}
    </p>
    ${!url && html`<pre tabindex="0"><code>${JSON.stringify(value, null, 1)}</code></pre>`}`;
}
