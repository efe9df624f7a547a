// The live link: one WebSocket for the page. The cursor moves when an event has been taken in, so a broken link is
// caught up with neither a gap nor a repeat.
import { BASE } from "./net.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 20_000;
const SILENCE = 60_000; // the hub's pings are not seen from here, so this only guards the handshake
const FAR_BEHIND = 5_000;

export class Live {
  // apply(event) takes an event in; changed(state) is told "connected", "connecting" or "waiting";
  // lost() is asked after a connection that never opened, and says whether to go on; skipped(head) after too long a
  // break, and other_log() when the hub has another log.
  constructor({ cursor, dbId, apply, changed, lost, skipped, otherLog }) {
    Object.assign(this, { cursor, dbId, apply, changed, lost, skipped, otherLog });
    this.attempts = 0;
    this.state = "connecting";
    this.ended = false;
    addEventListener("online", () => this.state === "waiting" && this.connect());
  }

  connect() {
    if (this.ended) return;
    clearTimeout(this.timer);
    this.tell("connecting");
    const url = new URL("ws", BASE);
    url.protocol = url.protocol.replace("http", "ws");
    this.socket?.close(); // its events are not listened to any more
    const socket = (this.socket = new WebSocket(url));
    let opened = false;
    this.timer = setTimeout(() => socket.close(), SILENCE);
    socket.onopen = () => {
      opened = true;
      socket.send(JSON.stringify({ type: "hello", after_event_id: this.cursor, db_id: this.dbId }));
    };
    socket.onmessage = ({ data }) => socket === this.socket && this.take(JSON.parse(data));
    socket.onclose = () => socket === this.socket && this.retry(opened);
  }

  take(message) {
    if (message.type === "hello_ok") {
      clearTimeout(this.timer);
      if (message.db_id !== this.dbId || message.recovered === false) return this.otherLog();
      if (message.replay_until - this.cursor > FAR_BEHIND) {
        this.cursor = message.replay_until;
        this.connect();
        return this.skipped();
      }
      this.attempts = 0;
      return this.tell("connected");
    }
    if (message.type !== "event" || message.event_id <= this.cursor) return undefined;
    this.apply(message);
    this.cursor = message.event_id;
    return undefined;
  }

  async retry(opened) {
    clearTimeout(this.timer);
    if (this.ended) return;
    const pause = Math.random() * Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.attempts++);
    this.tell("waiting");
    const { socket } = this;
    if (!opened && !(await this.lost())) return;
    if (this.ended || socket !== this.socket) return; // signed out, or online again and connecting, while it was asked
    this.timer = setTimeout(() => this.connect(), pause);
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }

  tell(state) {
    this.state = state;
    this.changed(state);
  }
}
