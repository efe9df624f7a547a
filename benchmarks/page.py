"""Measure the web page in headless Chromium: opening a long topic, and frames while it is busy. See README.md."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright
from servers import ROOT, TOKEN, Hub, call, hub

sys.path.insert(0, str(ROOT))
from agentlip.store import mutations
from agentlip.store.store import Store
from agentlip.store.writer import Transaction

LONG, SHORT, REPEATS = 20_000, 60, 5
RATE, SECONDS = 100, 5.0
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]
_FRAMES = """seconds => new Promise(done => {
  const gaps = [], end = performance.now() + seconds * 1000;
  let last = performance.now();
  const next = now => {
    gaps.push(now - last);
    last = now;
    now < end ? requestAnimationFrame(next) : done(gaps.sort((a, b) => a - b));
  };
  requestAnimationFrame(next);
})"""


def main() -> None:
    chromium = shutil.which("chromium") or sys.exit("needs a browser: apt-get install chromium")
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder, sync_playwright() as playwright:
        path = Path(folder)
        with hub(path) as it:
            topics = {LONG: it.topic, SHORT: new_topic(it, "short"), 0: new_topic(it, "busy")}
            store = Store(path / "db.sqlite3", "NORMAL", 60.0, lambda _entries: None)
            for count, topic in topics.items():
                store.write(lambda transaction, topic=topic, count=count: post(transaction, topic, count), heavy=True)
            store.close()
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": 1200, "height": 760})
            page.goto(f"http://127.0.0.1:{it.port}/ui/login")
            page.fill("#token", TOKEN)
            page.keyboard.press("Enter")
            page.wait_for_selector(".link.connected")
            report(it, page, topics)
            browser.close()


def new_topic(it: Hub, title: str) -> str:
    return str(call(it.port, "topics", {"channel_id": it.channel, "title": title})["topic"]["id"])


def post(transaction: Transaction, topic: str, count: int) -> None:
    for number in range(count):
        mutations.post_message(transaction, topic, f"agent {number % 3}", f"message {number} with `code` " + "x" * 150)


def report(it: Hub, page: Page, topics: dict[int, str]) -> None:
    opened = {count: median(open_ms(page, it, topics[count]) for _ in range(REPEATS)) for count in (SHORT, LONG)}
    print(f"open a topic of {SHORT:,} messages:    {opened[SHORT]:7.0f} ms")
    print(f"open a topic of {LONG:,} messages: {opened[LONG]:7.0f} ms   ratio {opened[LONG] / opened[SHORT]:.2f}")
    open_ms(page, it, topics[0])
    idle = page.evaluate(_FRAMES, SECONDS)
    thread = threading.Thread(target=agents, args=(it, topics[0]))
    thread.start()
    busy = page.evaluate(_FRAMES, SECONDS)
    thread.join()
    page.get_by_text(f"live {int(RATE * SECONDS) - 1}").wait_for()
    for name, part in (("median", 0.5), ("95th percentile", 0.95)):
        quiet, loud = (gaps[int(len(gaps) * part)] for gaps in (idle, busy))
        print(
            f"time between frames, {name}: {quiet:.1f} ms idle, {loud:.1f} ms at {RATE} messages/s   {loud / quiet:.2f}"
        )
    print(f"elements that show messages afterwards: {page.locator('article').count()}")


def open_ms(page: Page, it: Hub, topic: str) -> float:
    """From the start of loading the page to its first message (to the box to write in, if there is none)."""
    page.goto(f"http://127.0.0.1:{it.port}/ui/?topic={topic}")
    page.wait_for_selector("article, .log .edge:has(code)")
    return float(page.evaluate("performance.now()"))


def agents(it: Hub, topic: str) -> None:
    started = time.monotonic()
    for number in range(int(RATE * SECONDS)):
        call(it.port, "messages", {"topic_id": topic, "sender": f"agent {number % 3}", "content_raw": f"live {number}"})
        time.sleep(max(0.0, started + number / RATE - time.monotonic()))


if __name__ == "__main__":
    main()
