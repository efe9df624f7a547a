// Writing a message. What is typed is kept until the hub has it.
import { html, useEffect, useRef, useState } from "./html.js";
import { call } from "./net.js";
import { keep, markOwn, recall } from "./keep.js";
import { store } from "./store.js";

export const myName = () => recall("name") || "me";

// Whether the key belongs to an input method, which is choosing characters. Safari says so by the code alone when Enter
// confirms a choice.
export const isComposing = (event) => event.isComposing || event.keyCode === 229;

export function Composer({ topic, onSent }) {
  const [text, setText] = useState(() => recall(`draft:${topic.id}`) ?? "");
  const [name, setName] = useState(myName);
  const [error, setError] = useState("");
  const [sending, setSending] = useState(false);
  const box = useRef(null);
  useEffect(() => keep(`draft:${topic.id}`, text), [text]);
  useEffect(() => keep("name", name), [name]);

  const send = async (event) => {
    event?.preventDefault();
    if (!text.trim() || sending) return;
    setSending(true);
    setError("");
    try {
      const { event_id: eventId } = await call("POST", "api/v1/messages", {
        topic_id: topic.id,
        sender: name.trim() || "me",
        content_raw: text,
      });
      const known = store.topics.get(topic.id);
      markOwn(known, known.asOf >= eventId);
      setText("");
      onSent();
    } catch (problem) {
      setError(`${problem.message}. Your text is kept; send it again when you like.`);
    }
    setSending(false);
    box.current?.focus();
  };
  const keys = (event) => {
    if (event.key !== "Enter" || event.shiftKey || isComposing(event)) return;
    event.preventDefault();
    send();
  };
  return html`<form class="composer" onSubmit=${send}>
    <label class="as"
      >As
      <input
        value=${name}
        maxlength="100"
        onInput=${(event) => setName(event.target.value)}
        aria-label="Your name"
        autocomplete="nickname"
    /></label>
    <textarea
      ref=${box}
      rows=${Math.min(8, Math.max(2, text.split("\n").length))}
      value=${text}
      readonly=${sending}
      dir="auto"
      aria-label="New message"
      placeholder="Write a message (Enter sends, Shift+Enter makes a new line)"
      onInput=${(event) => setText(event.target.value)}
      onKeyDown=${keys}
    ></textarea>
    <button type="submit" class="primary" disabled=${sending || !text.trim()}>Send</button>
    <p class="error" role="alert">${error}</p>
  </form>`;
}
