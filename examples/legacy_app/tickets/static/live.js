// Live updates of a ticket: one WebSocket, which is made again forever after every break. The cursor is the id of the
// last event that the page shows, so nothing is missed and nothing comes twice.
(function () {
  "use strict";
  const list = document.getElementById("messages");
  const link = document.getElementById("link");
  const state = document.getElementById("state");
  let cursor = Number(list.dataset.cursor);
  let failures = 0;

  function show(event) {
    if (event.name === "message.created") {
      const item = document.createElement("li");
      const sender = document.createElement("b");
      sender.textContent = event.data.message.sender;
      item.append(sender, " " + event.data.message.content_raw);  // text, never markup
      list.append(item);
    } else if (event.name === "ticket.closed") {
      state.textContent = "(closed by " + event.data.by + ")";
    }
    cursor = event.event_id;
  }

  function connect() {
    const url = new URL(list.dataset.socket, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    socket.onopen = () => socket.send(JSON.stringify(
      { type: "hello", after_event_id: cursor, subscriptions: { topics: [list.dataset.topic] } }));
    socket.onmessage = (message) => {
      const data = JSON.parse(message.data);
      failures = 0;
      link.textContent = "";
      if (data.type === "event") show(data);
    };
    socket.onclose = () => {
      const pause = Math.random() * Math.min(10000, 200 * 2 ** failures++);
      link.textContent = "Connecting again …";
      setTimeout(connect, pause);
    };
  }

  if (list.dataset.topic) connect();
})();
