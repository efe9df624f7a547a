// The events of the timeline, apart from how they are drawn: newest first, live, with a pause.
import { get } from "./net.js";

const SHOWN = 300;
const WAITING = 2_000;
const PAGE = 100;

export class Timeline {
  constructor({ name, channel, topic }, changed) {
    Object.assign(this, { name, channel, topic, changed });
    this.events = []; // newest first
    this.waiting = []; // oldest first
    this.dropped = 0;
    this.paused = false;
    this.loading = true;
    this.ended = false;
    this.seen = 0;
    this.early = []; // what comes while the list is being read, or null
    this.again = false;
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
      const { events, has_more } = await get("api/v1/events", { tail: 1000, ...this.scope() });
      this.events = events
        .map(fromApi)
        .filter((event) => this.wants(event))
        .slice(-PAGE)
        .reverse();
      this.oldest = events[0]?.event_id ?? 1;
      if (this.events.length === PAGE) this.oldest = this.events.at(-1).event_id;
      this.seen = events.at(-1)?.event_id ?? 0;
      this.ended = this.oldest <= 1 || (!has_more && this.events.length < PAGE);
      const early = this.early;
      this.early = null;
      if (this.again) return this.reload();
      early.forEach((event) => this.take(event));
    } catch (error) {
      this.error = error;
    }
    this.loading = false;
    this.changed();
  }

  reload() {
    this.dropped = 0;
    this.again = false;
    this.waiting = [];
    this.early = [];
    return this.load();
  }

  scope() {
    return { channel_id: this.topic ? "" : this.channel, topic_id: this.topic };
  }

  // Older ones, a thousand ids at a time, until there is something to show.
  async older() {
    this.loading = true;
    this.changed();
    try {
      for (let found = 0; found === 0 && !this.ended;) {
        const after = Math.max(0, this.oldest - 1001);
        const events = [];
        for (let last = after, more = true; more && last < this.oldest; last = events.at(-1)?.event_id) {
          const page = await get("api/v1/events", { after: last, limit: 1000, ...this.scope() });
          events.push(...page.events);
          more = page.has_more;
        }
        const wanted = events
          .filter(({ event_id }) => event_id < this.oldest)
          .map(fromApi)
          .filter((event) => this.wants(event));
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
    if (this.early) return this.wait(event);
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

  // While the list is being read. What is too much to keep is read instead.
  wait(event) {
    if (this.early.length < WAITING) this.early.push(event);
    else this.again = true;
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
    if (this.dropped) void this.reload();
    else {
      this.events = [...this.waiting.reverse(), ...this.events].slice(0, SHOWN);
      this.waiting = [];
      if (this.events.length === SHOWN) this.cut();
    }
    this.changed();
  }
}

const fromApi = ({ event_id, ts, name, scope, entity, data_json }) => ({
  type: "event",
  event_id,
  ts,
  name,
  scope,
  entity,
  data: data_json,
});
