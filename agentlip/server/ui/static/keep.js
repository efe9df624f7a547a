// What this browser keeps, per hub: the name to write as, drafts, and how far each topic has been read.
let prefix = "agentlip:";
export function keepFor(dbId) {
  prefix = `agentlip:${dbId}:`;
}

export function recall(name) {
  try {
    return JSON.parse(localStorage.getItem(prefix + name));
  } catch {
    return null;
  }
}

export function keep(name, value) {
  try {
    if (value === null || value === "") localStorage.removeItem(prefix + name);
    else localStorage.setItem(prefix + name, JSON.stringify(value));
  } catch {
    // a browser that keeps nothing: the page works, it only forgets
  }
}

// How many messages of the topic nobody has seen in this browser.
export const unread = (topic) => Math.max(0, topic.message_count - (recall(`read:${topic.id}`) ?? 0));
// One's own message has been seen, too, whether or not its event has come yet.
export function markOwn(topic, isCounted) {
  const read = recall(`read:${topic.id}`) ?? 0;
  if (!isCounted || read < topic.message_count) keep(`read:${topic.id}`, read + 1);
}
// Whether this has changed anything: not in a browser that keeps nothing.
export function markRead(topic) {
  if (recall(`read:${topic.id}`) === topic.message_count) return false;
  keep(`read:${topic.id}`, topic.message_count);
  return recall(`read:${topic.id}`) === topic.message_count;
}
