// What the page knows of channels and topics, kept in step by the events of the live link.
import { get } from "./net.js";
import { useEffect, useReducer } from "./html.js";
import { markRead, unread } from "./keep.js";
import { here } from "./route.js";

const DRAW_MS = 50; // with many events a second the page is drawn this often, not once for each

export const store = {
  channels: new Map(), // id -> channel
  topics: new Map(), // id -> topic with message_count and latest, and the event it was read after
  link: "connecting",
  session: null,
};

const watchers = new Set();
let drawing = null;

export function changed() {
  drawing ??= setTimeout(() => {
    drawing = null;
    for (const draw of [...watchers]) draw();
  }, DRAW_MS);
}

// Draw the component again when anything has changed.
export function useStore() {
  const [, draw] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    watchers.add(draw);
    return () => watchers.delete(draw);
  }, []);
}

const listeners = new Set();
export function onEvent(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

// Called when so much was missed that what is on the page must be read again, in place.
const readers = new Set();
export function onMissed(reader) {
  readers.add(reader);
  return () => readers.delete(reader);
}

export function readAgain() {
  const shown = here().topic;
  for (const id of [...store.topics.keys()]) if (id !== shown) store.topics.delete(id);
  void loadChannels().catch(() => {}); // the views tell of what fails
  void loadUnread().catch(() => {});
  for (const reader of [...readers]) reader();
  changed();
}

export async function loadChannels() {
  let page = {};
  do {
    page = await get("api/v1/channels", { after_id: page.channels?.at(-1).id });
    for (const channel of page.channels) store.channels.set(channel.id, channel);
  } while (page.has_more);
  changed();
}

// Topics that are not loaded and have messages that were not read here, as the hub counts them.
const unloaded = new Map();

export async function loadUnread() {
  unloaded.clear();
  let page = {};
  do {
    page = await get("ui/data/counts", { after_id: page.topics?.at(-1)[0] });
    for (const [id, channel_id, message_count] of page.topics) {
      const topic = { id, channel_id, message_count };
      if (!store.topics.has(id) && unread(topic)) unloaded.set(id, topic);
    }
  } while (page.has_more);
  changed();
}

// The channels in which something is unread.
export function freshChannels() {
  const fresh = new Set([...unloaded.values()].map((topic) => topic.channel_id));
  for (const topic of store.topics.values()) if (!fresh.has(topic.channel_id) && unread(topic)) fresh.add(topic.channel_id);
  return fresh;
}

export function markAllRead(channelId) {
  for (const topic of [...store.topics.values(), ...unloaded.values()]) {
    if (channelId && topic.channel_id !== channelId) continue;
    markRead(topic);
    unloaded.delete(topic.id);
  }
  changed();
}

// What is read in another window of this browser is read here, too.
addEventListener("storage", ({ key }) => {
  const topic = unloaded.get(key?.split(":read:")[1]);
  if (topic && !unread(topic)) unloaded.delete(topic.id);
  changed();
});

export async function loadTopics(parameters) {
  const page = await get("ui/data/topics", parameters);
  learn(page);
  return { topics: page.topics.map((topic) => topic.id), has_more: page.has_more };
}

export async function loadTopic(id) {
  learn(await get(`ui/data/topics/${encodeURIComponent(id)}`));
}

function learn(page) {
  for (const topic of page.topics) {
    const known = store.topics.get(topic.id);
    unloaded.delete(topic.id);
    if (!known || known.asOf <= page.head) store.topics.set(topic.id, { ...topic, asOf: page.head });
  }
  changed();
}

// Topics that are not known yet, or that an event changed in a way it does not tell, are read again: all of a moment at
// once, and not too many at a time.
const stale = new Set();
let refreshing = null;
function refresh(...ids) {
  ids.forEach((id) => stale.add(id));
  refreshing ??= setTimeout(async () => {
    const wanted = [...stale].slice(0, 20);
    wanted.forEach((id) => stale.delete(id));
    await Promise.allSettled(wanted.map(loadTopic));
    refreshing = null;
    if (stale.size) refresh();
  }, 300);
}

export function apply(event) {
  for (const take of [takers[event.name], ...listeners]) attempt(take, event);
  changed();
}

// Host applications may append events of any shape, also under the names of ours. One that cannot be used is told to the
// console, and changes nothing.
function attempt(take, event) {
  try {
    take?.(event, event.data);
  } catch (error) {
    console.warn(`Event ${event.event_id} (${event.name}) cannot be used:`, error);
  }
}

const takers = {
  "channel.created": (_event, { channel }) => store.channels.set(channel.id, channel),
  "topic.created": ({ event_id }, { topic }) => {
    if (store.topics.has(topic.id)) return;
    unloaded.delete(topic.id);
    const channel_name = store.channels.get(topic.channel_id)?.name ?? "";
    store.topics.set(topic.id, { ...topic, channel_name, message_count: 0, latest: null, asOf: event_id });
  },
  "topic.renamed": ({ event_id, ts }, { topic_id, new_title }) =>
    update(topic_id, event_id, () => ({ title: new_title, updated_at: ts })),
  "message.created": ({ event_id }, { message }) => {
    if (!store.topics.has(message.topic_id)) return refresh(message.topic_id);
    return update(message.topic_id, event_id, (topic) => ({
      message_count: topic.message_count + 1,
      updated_at: message.created_at,
      latest: { ...message, excerpt: message.content_raw.slice(0, 200) },
    }));
  },
  "message.edited": (event, { new_content }) => change(event, new_content),
  "message.deleted": (event) => change(event, "[deleted]"),
  "message.moved_topic": (_event, { old_topic_id, new_topic_id }) => refresh(old_topic_id, new_topic_id),
};

function update(id, eventId, fields) {
  const topic = store.topics.get(id);
  if (topic && eventId > topic.asOf) store.topics.set(id, { ...topic, ...fields(topic), asOf: eventId });
}

function change(event, content) {
  update(event.scope.topic_id, event.event_id, ({ latest }) =>
    latest?.id === event.entity.id ? { latest: { ...latest, excerpt: content.slice(0, 200) } } : {},
  );
}

export const channelOf = (topic) => store.channels.get(topic?.channel_id);
export const topicsOf = (channelId) =>
  [...store.topics.values()]
    .filter((topic) => !channelId || topic.channel_id === channelId)
    .sort((a, b) => (a.updated_at < b.updated_at ? 1 : a.updated_at > b.updated_at ? -1 : a.id < b.id ? 1 : -1));
