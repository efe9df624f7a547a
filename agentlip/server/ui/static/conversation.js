// The messages of one topic that are on the page: a window that slides over all of them, so that the page stays small.
import { get } from "./net.js";

const PAGE = 60;
const MOST = 240;

export class Conversation {
  constructor(topicId, changed) {
    this.topicId = topicId;
    this.changed = changed;
    this.messages = []; // by id, which is the order of the log
    this.atStart = this.atEnd = false;
    this.newer = 0; // messages that came while older ones were looked at
    this.following = true; // the reader is at the end
    this.landing = false; // the reader is to be brought to the end
    this.loaded = false;
    this.error = null;
    this.reading = null; // the events that arrive while a page is on its way
    this.turn = Promise.resolve();
    this.counted = ""; // the newest message that `newer` has counted
  }

  async latest() {
    await this.read({ limit: PAGE }, ({ messages, has_more }) => {
      this.replace(messages, !has_more, true);
      this.following = this.landing = true;
    });
  }

  // Around one message. Returns false when it is not in this topic.
  async around(id) {
    const { message } = await get(`api/v1/messages/${encodeURIComponent(id)}`);
    if (message.topic_id !== this.topicId) return message.topic_id;
    this.following = false;
    await this.read({ limit: PAGE, before_id: id }, ({ messages, has_more }) =>
      this.replace([message, ...messages], !has_more, false),
    );
    await this.after();
    return null;
  }

  async older() {
    if (this.reading || this.atStart || !this.messages.length) return;
    await this.read({ limit: PAGE, before_id: this.messages[0].id }, ({ messages, has_more }) => {
      this.merge(messages);
      this.atStart = !has_more;
      if (this.messages.length > MOST) {
        this.messages = this.messages.slice(0, MOST);
        this.atEnd = this.following = false;
      }
    });
  }

  async after() {
    if (this.reading || this.atEnd || !this.messages.length) return;
    await this.read({ limit: PAGE, after_id: this.messages.at(-1).id }, ({ messages, has_more }) => {
      this.merge(messages);
      this.atEnd = !has_more;
      if (this.atEnd) this.newer = 0;
      this.trim();
    });
  }

  // Pages are read one after the other. What the live link brings meanwhile may be newer than the page.
  read(parameters, take) {
    this.turn = this.turn.then(() => this.readNow(parameters, take));
    return this.turn;
  }

  async readNow(parameters, take) {
    this.reading = [];
    this.again = () => this.read(parameters, take);
    try {
      const page = await get("api/v1/messages", { topic_id: this.topicId, ...parameters });
      const arrived = this.reading;
      this.reading = null;
      this.error = null;
      take(page);
      this.loaded = true;
      for (const event of arrived) this.apply(event);
    } catch (error) {
      this.reading = null;
      this.error = error;
    }
    this.changed();
  }

  replace(newestFirst, atStart, atEnd) {
    this.messages = [...newestFirst].reverse();
    this.atStart = atStart;
    this.atEnd = atEnd;
    this.newer = 0;
  }

  merge(found) {
    const known = new Map(this.messages.map((message) => [message.id, message]));
    for (const message of found) {
      if (!(known.get(message.id)?.version > message.version)) known.set(message.id, message);
    }
    this.messages = [...known.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  trim() {
    if (this.messages.length <= MOST) return;
    this.messages = this.messages.slice(-MOST);
    this.atStart = false;
  }

  apply(event) {
    if (event.scope.topic_id !== this.topicId && event.scope.topic_id2 !== this.topicId) return;
    this.reading?.push(event);
    takers[event.name]?.call(this, event.data, event);
  }

  edit(id, version, fields) {
    const at = this.messages.findIndex((message) => message.id === id);
    if (at < 0 || this.messages[at].version >= version) return;
    this.messages = this.messages.with(at, { ...this.messages[at], ...fields, version });
  }

  // Messages moved here may belong anywhere; the window is read again, once for all that move together.
  refill() {
    clearTimeout(this.refilling);
    this.refilling = setTimeout(async () => {
      if (this.following || !this.messages.length) return this.latest();
      return this.read({ limit: MOST, after_id: this.messages[0].id }, ({ messages, has_more }) => {
        this.merge(messages);
        this.atStart = false;
        this.atEnd = !has_more;
      });
    }, 200);
  }
}

const takers = {
  "message.created"({ message }) {
    if (!this.loaded) return;
    if (!this.atEnd || !this.following) {
      if (message.id > (this.messages.at(-1)?.id ?? "") && message.id > this.counted) {
        this.atEnd = false;
        this.newer += 1;
        this.counted = message.id;
      }
      return;
    }
    if (message.id > (this.messages.at(-1)?.id ?? "")) this.messages = [...this.messages, message];
    this.trim();
  },
  "message.edited"({ message_id, new_content, version }, { ts }) {
    this.edit(message_id, version, { content_raw: new_content, edited_at: ts });
  },
  "message.deleted"({ message_id, deleted_by, version }, { ts }) {
    this.edit(message_id, version, { content_raw: "[deleted]", edited_at: ts, deleted_at: ts, deleted_by });
  },
  "message.moved_topic"({ message_id, new_topic_id, old_topic_id, version }) {
    if (new_topic_id === this.topicId) this.refill();
    else if (old_topic_id === this.topicId) {
      const there = this.messages.find((message) => message.id === message_id);
      if (there && there.version < version) this.messages = this.messages.filter((message) => message !== there);
    }
  },
};
