// One message, and what can be done with it: edit, delete, move. A conflict is shown, and no text is lost.
import { html, useState } from "./html.js";
import { call, get } from "./net.js";
import { Dialog } from "./dialog.js";
import { isComposing, myName } from "./compose.js";
import { href } from "./route.js";
import { loadTopics, store, topicsOf } from "./store.js";
import { Content, Time, plural } from "./text.js";

const path = ({ id }) => `api/v1/messages/${encodeURIComponent(id)}`;

export function Message({ message, joined, target, onAct }) {
  const deleted = message.deleted_at !== null;
  return html`<article
    id=${message.id}
    tabindex="-1"
    class=${[joined && "joined", target && "target"].filter(Boolean).join(" ")}
    aria-label=${`Message of ${message.sender}`}
  >
    <header>
      <b class="sender" dir="auto">${message.sender}</b>
      <a class="muted" href=${href({ topic: message.topic_id }, message.id)} title="Link to this message"
        ><${Time} ts=${message.created_at}
      /></a>
      ${!deleted && message.edited_at && html`<span class="muted" title=${`Version ${message.version}`}>edited</span>`}
      ${
        !deleted &&
        html`<span class="actions">
          <button class="quiet" onClick=${() => onAct({ act: Edit, message })}>Edit</button>
          <button class="quiet" onClick=${() => onAct({ act: Move, message })}>Move</button>
          <button class="quiet" onClick=${() => onAct({ act: Delete, message })}>Delete</button>
        </span>`
      }
    </header>
    ${
      deleted
        ? html`<p class="muted tombstone">Deleted by <span dir="auto">${message.deleted_by}</span></p>`
        : html`<${Content} text=${message.content_raw} />`
    }
  </article>`;
}

// What is being done with a message. It is not part of the message's place, which may go away meanwhile.
export function Acting({ doing, topic, onClose }) {
  return (
    doing && html`<${doing.act} key=${doing.message.id} message=${doing.message} topic=${topic} onClose=${onClose} />`
  );
}

// What somebody else has made of the message meanwhile, if the hub refused for that.
async function conflict(error, message) {
  if (error.code !== "VERSION_CONFLICT") return null;
  return (await get(path(message)).catch(() => null))?.message ?? null;
}

function Edit({ message, onClose }) {
  const [text, setText] = useState(message.content_raw);
  const [base, setBase] = useState(message.version); // the version that the text is a change of
  const [theirs, setTheirs] = useState(null);
  const [error, setError] = useState("");
  const save = async (event) => {
    event?.preventDefault();
    try {
      await call("PATCH", path(message), { op: "edit", content_raw: text, expected_version: base });
      onClose();
    } catch (problem) {
      const current = await conflict(problem, message);
      if (current) {
        setTheirs(current);
        setBase(current.version);
      }
      setError(current ? "Somebody changed this message while you wrote. Your text is still here." : problem.message);
    }
  };
  const keys = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !isComposing(event)) save();
  };
  return html`<${Dialog} title="Edit the message" onClose=${onClose} wide>
    <form onSubmit=${save}>
      <textarea
        data-first
        aria-label="The message"
        value=${text}
        rows=${Math.min(16, Math.max(4, text.split("\n").length + 1))}
        dir="auto"
        onInput=${(event) => setText(event.target.value)}
        onKeyDown=${keys}
      ></textarea>
      <p class="error" role="alert">${error}</p>
      ${
        theirs &&
        html`<div class="theirs">
          <p class="muted">It is now, in version ${theirs.version}:</p>
          <${Content} text=${theirs.content_raw} />
        </div>`
      }
      <div class="buttons">
        <button type="button" class="quiet" onClick=${onClose}>${theirs ? "Leave theirs" : "Cancel"}</button>
        <button type="submit" class="primary">${theirs ? "Save mine over it" : "Save"}</button>
      </div>
    </form>
  <//>`;
}

function Delete({ message, onClose }) {
  const [error, setError] = useState("");
  const [version, setVersion] = useState(message.version);
  const run = async () => {
    try {
      await call("PATCH", path(message), { op: "delete", actor: myName(), expected_version: version });
      onClose();
    } catch (problem) {
      const current = await conflict(problem, message);
      if (current) setVersion(current.version);
      setError(current ? "Somebody changed this message meanwhile. Delete it anyway?" : problem.message);
    }
  };
  return html`<${Dialog} title="Delete this message?" onClose=${onClose}>
    <p>Its text is removed for everybody. It stays visible that it was here, and that “${myName()}” deleted it.</p>
    <p class="error" role="alert">${error}</p>
    <div class="buttons">
      <button class="quiet" onClick=${onClose} data-first>Cancel</button>
      <button class="danger" onClick=${run}>Delete</button>
    </div>
  <//>`;
}

function Move({ message, topic, onClose }) {
  const [state, setState] = useState({ loading: true });
  const [error, setError] = useState("");
  const [version, setVersion] = useState(message.version);
  if (state.loading && !state.asked) {
    state.asked = true;
    loadTopics({ channel_id: topic.channel_id, limit: 1000 }).then(
      () => setState({}),
      (problem) => (setState({}), setError(problem.message)),
    );
  }
  const others = topicsOf(topic.channel_id).filter(({ id }) => id !== message.topic_id);
  const run = async (event) => {
    event.preventDefault();
    const { to, mode } = Object.fromEntries(new FormData(event.target));
    try {
      const { affected_count: count } = await call("PATCH", path(message), {
        op: "move_topic",
        to_topic_id: to,
        mode,
        expected_version: version,
      });
      setState({ done: `Moved ${plural(count, "message")}.`, to });
    } catch (problem) {
      const current = await conflict(problem, message);
      if (current) setVersion(current.version);
      setError(current ? "Somebody changed this message meanwhile. Move it anyway?" : problem.message);
    }
  };
  if (state.done) {
    return html`<${Dialog} title="Move" onClose=${onClose}
      ><p role="status">${state.done}</p>
      <div class="buttons">
        <a href=${href({ topic: state.to }, message.id)} onClick=${onClose}>Go there</a>
        <button onClick=${onClose} data-first>Close</button>
      </div><//
    >`;
  }
  return html`<${Dialog} title="Move to another topic" onClose=${onClose}>
    <form onSubmit=${run}>
      ${!state.loading && !others.length && html`<p>There is no other topic in this channel yet.</p>`}
      <div>
        <label for="move-to">To</label
        ><select id="move-to" name="to" required data-first>
          ${others.map(({ id, title }) => html`<option key=${id} value=${id}>${title}</option>`)}
        </select>
      </div>
      <fieldset>
        <legend>What</legend>
        <label class="choice"><input type="radio" name="mode" value="one" defaultChecked /> this message</label>
        <label class="choice"><input type="radio" name="mode" value="later" /> this one and all later ones</label>
        <label class="choice"
          ><input type="radio" name="mode" value="all" /> all of
          “${store.topics.get(message.topic_id)?.title ?? "this topic"}”</label
        >
      </fieldset>
      <p class="error" role="alert">${error}</p>
      <div class="buttons">
        <button type="button" class="quiet" onClick=${onClose}>Cancel</button>
        <button type="submit" class="primary" disabled=${!others.length}>Move</button>
      </div>
    </form>
  <//>`;
}
