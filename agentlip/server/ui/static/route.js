// Places in the page. All are queries of one document, so relative URLs are right everywhere:
// ?channel=ID, ?topic=ID#msg_ID, ?view=events, ?view=status, ?q=WORDS; nothing is home.
import { useEffect, useState } from "./html.js";

export const href = (place = {}, hash = "") => {
  const query = new URLSearchParams(Object.entries(place).filter(([, value]) => value));
  return (query.size ? `?${query}` : location.pathname) + (hash && `#${hash}`);
};

export const here = () => ({
  ...Object.fromEntries(new URLSearchParams(location.search)),
  hash: location.hash.slice(1),
});

const listeners = new Set();
const moved = () => listeners.forEach((listener) => listener());
addEventListener("popstate", moved);

export function go(place, hash = "", { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", href(place, hash));
  moved();
}

// Plain clicks on links of the page change the place without loading it anew.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  const plain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
  if (!link || !plain || event.defaultPrevented || link.target || link.hasAttribute("download")) return;
  const url = new URL(link.href);
  if (url.origin !== location.origin || url.pathname !== location.pathname) return;
  event.preventDefault();
  if (url.href !== location.href) history.pushState(null, "", url);
  moved();
});

export function useRoute() {
  const [route, setRoute] = useState(here);
  useEffect(() => {
    const listener = () => setRoute(here());
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return route;
}
