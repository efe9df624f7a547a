// The page: who is there, the live link, and what is shown where.
import { html, render, useEffect, useRef, useState } from "./html.js";
import { BASE, call, get, onSignedOut } from "./net.js";
import { Channel, Home, NewChannel } from "./channel.js";
import { Events } from "./events.js";
import { Finder } from "./finder.js";
import { keepFor } from "./keep.js";
import { Live } from "./live.js";
import { go, href, useRoute } from "./route.js";
import { Search } from "./search.js";
import { Status } from "./status.js";
import { apply, changed, freshChannels, loadChannels, loadUnread, readAgain, store, useStore } from "./store.js";
import { Topic } from "./topic.js";

const root = document.getElementById("app");

async function start() {
  let session;
  try {
    session = await get("ui/session");
  } catch (error) {
    return sayAndRetry(`${error.message}. Trying again …`);
  }
  if (!session.signed_in) return signIn(session);
  store.session = session;
  keepFor(session.db_id);
  onSignedOut(() => start());
  try {
    const { replay_until } = await get("api/v1/events", { tail: 1 });
    await loadChannels();
    connect(replay_until);
    void loadUnread().catch(() => {}); // the marks are not worth a page that does not come
  } catch (error) {
    return sayAndRetry(`${error.message}. Trying again …`);
  }
  root.replaceChildren();
  render(html`<${Page} />`, root);
  return undefined;
}

function sayAndRetry(words) {
  root.textContent = words;
  setTimeout(start, 1_000 + Math.random() * 2_000);
}

function signIn({ how, code, login_url: loginUrl }) {
  const next = location.search + location.hash;
  if (how === "session" && code !== "NO_AUTH_CONFIGURED") {
    return location.replace(new URL(`ui/login?${new URLSearchParams({ next })}`, BASE));
  }
  if (loginUrl && code !== "FORBIDDEN") {
    const url = new URL(loginUrl, location.href);
    url.searchParams.set("next", location.pathname + next);
    return location.replace(url);
  }
  root.textContent =
    how === "session"
      ? "This hub has no token, so nobody can sign in: AGENTLIP_AUTH_TOKEN is empty."
      : code === "FORBIDDEN"
        ? "You may not see this hub. Ask whoever runs the application."
        : "Sign in to the application first, then load this page again.";
  return undefined;
}

function connect(cursor) {
  if (store.live) return;
  store.live = new Live({
    cursor,
    dbId: store.session.db_id,
    apply,
    changed: (state) => {
      store.link = state;
      changed();
    },
    // The link never opened: has the session ended, or is the hub away?
    lost: async () => {
      const session = await get("ui/session").catch(() => null);
      if (session && !session.signed_in) {
        signIn(session);
        return false;
      }
      return true;
    },
    skipped: readAgain,
    otherLog: () => location.reload(),
  });
  store.live.connect();
}

function Page() {
  useStore();
  const route = useRoute();
  const [finding, setFinding] = useState(false);
  const main = useRef(null);
  useEffect(() => {
    const keys = (event) => {
      if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      setFinding(true);
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);
  const place = [route.view, route.channel, route.topic, route.q].join();
  const first = useRef(true);
  useEffect(() => {
    if (!first.current && !route.hash) main.current.focus();
    first.current = false;
  }, [place]);
  useEffect(() => {
    document.title = `${title(route)}Agentlip`;
  });
  return html`<a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), main.current.focus())}
      >To the content</a
    >
    <${Header} onFind=${() => setFinding(true)} q=${route.q} />
    <div class="body" data-home=${!place.replaceAll(",", "") || null}>
      <${Channels} current=${route.channel ?? store.topics.get(route.topic)?.channel_id} />
      <main id="main" tabindex="-1" ref=${main}><${View} route=${route} /></main>
    </div>
    ${finding && html`<${Finder} onClose=${() => setFinding(false)} />`}`;
}

function title(route) {
  const topic = store.topics.get(route.topic);
  const channel = store.channels.get(route.channel);
  const name = topic?.title ?? channel?.name ?? { events: "Events", status: "Hub" }[route.view] ?? route.q;
  return name ? `${name} – ` : "";
}

function View({ route }) {
  if (route.view === "events") return html`<${Events} ...${route} />`;
  if (route.view === "status") return html`<${Status} />`;
  if (route.q) return html`<${Search} ...${route} />`;
  if (route.topic) return html`<${Topic} key=${route.topic} id=${route.topic} hash=${route.hash} />`;
  if (route.channel) return html`<${Channel} key=${route.channel} id=${route.channel} />`;
  return html`<${Home} />`;
}

function Header({ onFind, q = "" }) {
  const search = (event) => {
    event.preventDefault();
    const words = new FormData(event.target).get("q").trim();
    if (words) go({ q: words });
  };
  const signOut = async () => {
    await call("DELETE", "ui/session", { base: BASE.pathname }).catch(() => {});
    store.live.end();
    location.replace(new URL("ui/login", BASE));
  };
  return html`<header class="top">
    <a class="brand" href=${href()}>Agentlip</a>
    <form role="search" onSubmit=${search}>
      <input
        type="search"
        name="q"
        aria-label="Search messages"
        placeholder="Search messages"
        key=${q}
        defaultValue=${q}
      />
    </form>
    <button class="quiet" onClick=${onFind}>Jump to <kbd>Ctrl K</kbd></button>
    <nav aria-label="Hub">
      <a href=${href({ view: "events" })}>Events</a> <a href=${href({ view: "status" })}>Hub</a>
    </nav>
    <${LinkState} />
    ${store.session.how === "session" && html`<button class="quiet" onClick=${signOut}>Sign out</button>`}
  </header>`;
}

function LinkState() {
  const words = { connected: "Live", connecting: "Connecting …", waiting: "Not connected, trying again" }[store.link];
  return html`<span class="link ${store.link}" role="status" aria-live="polite">${words}</span>`;
}

function Channels({ current }) {
  const [making, setMaking] = useState(false);
  const fresh = freshChannels();
  const channels = [...store.channels.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  return html`<nav class="channels" aria-label="Channels">
    <h2>
      Channels
      <button class="quiet" aria-label="New channel" title="New channel" onClick=${() => setMaking(true)}>+</button>
    </h2>
    <ul>
      ${channels.map(
        ({ id, name }) =>
          html`<li key=${id}>
            <a
              href=${href({ channel: id })}
              aria-current=${id === current ? "page" : null}
              class=${fresh.has(id) ? "fresh" : ""}
              dir="auto"
              >${name}</a
            >
          </li>`,
      )}
    </ul>
    ${making && html`<${NewChannel} onClose=${() => setMaking(false)} />`}
  </nav>`;
}

start();
