"""The client under gevent: the same calls and streams, in a process that is patched."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

from ..running_hub import ROOT, TOKEN, Hub
from .odd_server import silent

_PROGRAM = """
from gevent import monkey

monkey.patch_all()

import sys, time
import gevent
from agentlip.client import HubClient

url, token, nobody = sys.argv[1:]
client = HubClient(url, token)
topic = client.create_topic(client.create_channel("c").channel.id, "t").topic.id
received, losses = [], []
stream = client.stream(on_disconnect=lambda reason, _: losses.append(reason))
reader = gevent.spawn(lambda: [received.append(event.event_id) for event in stream])

def post(count):
    gevent.joinall([gevent.spawn(client.post_message, topic, "me", str(n)) for n in range(count)], raise_error=True)

def wait_for(count):
    with gevent.Timeout(20):
        while len(received) < count:
            gevent.sleep(0.01)

post(100)
wait_for(102)
print("restart", flush=True)
input()
post(50)
wait_for(152)
assert received == list(range(1, 153)), received
assert losses
stream.close()
reader.join(2)
assert reader.successful(), "it waits on after close"

connecting = HubClient(nobody, token).stream()
reader = gevent.spawn(list, connecting)
gevent.sleep(0.2)
began = time.monotonic()
connecting.close()
reader.join(5)
assert reader.value == [] and time.monotonic() - began < 1
print("done")
"""


def test_streams_and_calls(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub()
    with silent() as nobody:
        command = [sys.executable, "-W", "ignore", "-c", _PROGRAM, hub.url, TOKEN, nobody]
        child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "restart\n"
            hub.stop(signal.SIGKILL)
            hub.settings["PORT"] = hub.port
            hub.start()
        finally:
            out, err = child.communicate("\n", timeout=30)
    assert (out, err, child.returncode) == ("done\n", "", 0)
