"""The names that the hub answers to: a web page that gives its own name the hub's address is turned away."""

from __future__ import annotations

import ipaddress
import re
from collections import OrderedDict

from ... import concurrency
from ...errors import HostNotAllowed

_REMEMBERED = 1000
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)\.?(?::[0-9]*)?", re.IGNORECASE)
_EVERYWHERE = ("0.0.0.0", "::")


class AllowedHosts:
    """Loopback names, the address that the hub is bound to, and those of the setting; any thread may ask.

    A name is a host without its port; `*.example.org` stands for all names below it, and `*` for all. A hub that is
    bound to all addresses of the machine answers to every address that is written in numbers: nobody can give such a
    name to another page.
    """

    def __init__(self, names: tuple[str, ...], bound: str = "127.0.0.1") -> None:
        self._all = "*" in names
        self._names = {"localhost", bound.lower().rstrip("."), *names}
        self._endings = tuple(name[1:] for name in names if name.startswith("*."))
        self._any_address = bound in _EVERYWHERE
        self._lock = concurrency.native_lock()
        self._answers: OrderedDict[str, bool] = OrderedDict()

    def check(self, host: str | None) -> None:
        """Raise HostNotAllowed for the Host header of another site. Without one no browser asks."""
        if self._all or host is None:
            return
        allowed = self._answers.get(host)
        if allowed is None:
            allowed = self._allows(host)
            with self._lock:
                self._answers[host] = allowed
                if len(self._answers) > _REMEMBERED:
                    self._answers.popitem(last=False)
        if not allowed:
            raise HostNotAllowed()

    def _allows(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower().strip("[]").rstrip(".")
        if name in self._names or (self._endings and name.endswith(self._endings)):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self._any_address
