"""Settings: defaults, environment, app.config on top, and one clear line for nonsense."""

from __future__ import annotations

import dataclasses
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from agentlip.config import SETTINGS, Settings, is_given, service_links
from agentlip.errors import ConfigError

# name: default, text in the environment, what it means, value in app.config, what that means
TABLE: dict[str, tuple[Any, str, Any, Any, Any]] = {
    "DB": (Path(".agentlip/db.sqlite3").absolute(), "/a/b.db", Path("/a/b.db"), Path("/c.db"), Path("/c.db")),
    "AUTH_TOKEN": (None, "from-environment", "from-environment", "from-configuration", "from-configuration"),
    "HOST": ("127.0.0.1", "0.0.0.0", "0.0.0.0", "::1", "::1"),
    "PORT": (8787, "0", 0, 65535, 65535),
    "BIND": (None, "unix:/run/a.sock", "unix:/run/a.sock", " unix:b ", "unix:b"),
    "ALLOW_NETWORK": (False, "on", True, True, True),
    "WORKERS": (1, "4", 4, 256, 256),
    "PUBLIC_READS": (False, "on", True, True, True),
    "MAX_CONNECTIONS": (1000, "1", 1, 1_000_000, 1_000_000),
    "QUEUE_EVENTS": (1000, "1", 1, "77", 77),
    "QUEUE_BYTES": (4 << 20, "1024", 1024, 1 << 30, 1 << 30),
    "SYNCHRONOUS": ("FULL", "normal", "NORMAL", "Full", "FULL"),
    "WRITE_TIMEOUT": (5.0, "0.01", 0.01, 86400, 86400.0),
    "SEND_TIMEOUT": (30.0, "2.5", 2.5, 3, 3.0),
    "BODY_TIMEOUT": (10.0, "0.5", 0.5, 3, 3.0),
    "HELLO_TIMEOUT": (10.0, "1", 1.0, 0.5, 0.5),
    "PING_INTERVAL": (25.0, " 7 ", 7.0, "8", 8.0),
    "RATE_LIMITS": (True, "off", False, False, False),
    "RATE_LIMIT_PER_CLIENT": (100, "1", 1, 7, 7),
    "RATE_LIMIT_BURST": (None, "300", 300, 7, 7),
    "RATE_LIMIT_GLOBAL": (1000, "10000000", 10_000_000, 7, 7),
    "ALLOWED_ORIGINS": (
        (), "https://A.example/, http://b:8443", ("https://a.example", "http://b:8443"),
        ["https://c"], ("https://c",),
    ),
    "ALLOWED_HOSTS": (
        None, "Hub.example, *.b.example [::1]", ("hub.example", "*.b.example", "::1"), ["*"], ("*",),
    ),
    "TRUSTED_PROXIES": (None, "2", 2, "10.0.0.0/8 ::1", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    "URL_ALLOW": ((), r"^https: example\.com", (re.compile("^https:"), re.compile(r"example\.com")), ["a b"],
                  (re.compile("a b"),)),
    "URL_BLOCK": ((), "x{1,3}\n\tbad", (re.compile("x{1,3}"), re.compile("bad")), ("x{1,2}",), (re.compile("x{1,2}"),)),
    "IDLE_SHUTDOWN": (None, "900", 900.0, 1.5, 1.5),
    "UI": (True, "off", False, True, True),
    "LOGIN_URL": (None, "/login", "/login", "https://host.example/in", "https://host.example/in"),
    "LOG_LEVEL": ("info", "DEBUG", "debug", "error", "error"),
    "INSTANCE_ID": (None, "hub-1", "hub-1", "hub-2", "hub-2"),
}  # fmt: skip

NONSENSE = [
    ("DB", "a\nb"),
    ("DB", "a\0b"),
    ("DB", "   "),
    ("DB", "~no-such-user-here/db.sqlite3"),
    ("AUTH_TOKEN", "a"),
    ("AUTH_TOKEN", "fifteen-letters"),
    ("AUTH_TOKEN", "two words of a token"),
    ("AUTH_TOKEN", "a-naïve-long-token"),
    ("AUTH_TOKEN", "a-token-with-a-line\nbreak"),
    ("HOST", " "),
    ("HOST", "a\tb"),
    ("PORT", "65536"),
    ("PORT", "-1"),
    ("PORT", "http"),
    ("PORT", "80.5"),
    ("PORT", True),
    ("PORT", "9" * 30),
    ("BIND", "127.0.0.1:80"),
    ("BIND", "unix:"),
    ("ALLOW_NETWORK", "perhaps"),
    ("WORKERS", "0"),
    ("WORKERS", "257"),
    ("PUBLIC_READS", "maybe"),
    ("MAX_CONNECTIONS", "0"),
    ("QUEUE_EVENTS", "0"),
    ("QUEUE_BYTES", "1023"),
    ("SYNCHRONOUS", "OFF"),
    ("WRITE_TIMEOUT", "0"),
    ("WRITE_TIMEOUT", "nan"),
    ("WRITE_TIMEOUT", "inf"),
    ("WRITE_TIMEOUT", True),
    pytest.param("WRITE_TIMEOUT", 10**400, id="WRITE_TIMEOUT-10 to the 400"),
    ("SEND_TIMEOUT", "-3"),
    ("BODY_TIMEOUT", "0"),
    ("HELLO_TIMEOUT", "soon"),
    ("PING_INTERVAL", "86401"),
    ("RATE_LIMITS", "2"),
    ("RATE_LIMIT_PER_CLIENT", "0"),
    ("RATE_LIMIT_BURST", "0"),
    ("ALLOWED_HOSTS", "http://hub.example"),
    ("ALLOWED_HOSTS", "hub.example:8443"),
    ("ALLOWED_HOSTS", "a.*.example"),
    ("TRUSTED_PROXIES", "0"),
    ("TRUSTED_PROXIES", "11"),
    ("TRUSTED_PROXIES", "proxy.example"),
    ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ("TRUSTED_PROXIES", True),
    ("RATE_LIMIT_GLOBAL", "1e3"),
    ("ALLOWED_ORIGINS", "example.com"),
    ("ALLOWED_ORIGINS", "https://a/path"),
    ("ALLOWED_ORIGINS", 7),
    ("URL_ALLOW", "(unclosed"),
    ("URL_BLOCK", "*"),
    ("URL_BLOCK", "good a{2,1}"),
    ("URL_BLOCK", [1]),
    ("IDLE_SHUTDOWN", "0"),
    ("UI", "maybe"),
    ("LOGIN_URL", "javascript:alert(1)"),
    ("LOGIN_URL", "//elsewhere.example/"),
    ("IDLE_SHUTDOWN", "15m"),
    ("LOG_LEVEL", "loud"),
    ("INSTANCE_ID", "a b"),
]


def value_of(settings: Settings, name: str) -> Any:
    return getattr(settings, name.lower())


def test_the_table_the_fields_and_these_tests_name_the_same_settings() -> None:
    fields = [field.name.upper() for field in dataclasses.fields(Settings)]
    assert [setting.name for setting in SETTINGS] == fields == list(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_every_setting_has_its_default(name: str) -> None:
    assert value_of(Settings.load({}), name) == TABLE[name][0]


@pytest.mark.parametrize("name", [name for name in TABLE if name != "AUTH_TOKEN"])
def test_a_setting_left_empty_in_the_environment_has_its_default(name: str) -> None:
    assert value_of(Settings.load({f"AGENTLIP_{name}": ""}), name) == TABLE[name][0]


def test_the_database_is_that_of_the_workspace_around_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / ".agentlip").mkdir()
    (tmp_path / ".agentlip" / "db.sqlite3").touch()
    monkeypatch.chdir(below)
    assert Settings.load({}).db == tmp_path.resolve() / ".agentlip" / "db.sqlite3"
    assert Settings.load({}, {"AGENTLIP_DB": None}).db == Settings.load({}).db
    assert Settings.load({"AGENTLIP_DB": ".agentlip/db.sqlite3"}).db == below / ".agentlip" / "db.sqlite3"


def test_an_empty_auth_token_means_that_none_is_configured() -> None:
    assert Settings.load({"AGENTLIP_AUTH_TOKEN": ""}).auth_token == ""


@pytest.mark.parametrize("name", TABLE)
def test_the_environment_wins_over_the_default(name: str) -> None:
    _, text, meaning, _, _ = TABLE[name]
    assert value_of(Settings.load({f"AGENTLIP_{name}": text}), name) == meaning


@pytest.mark.parametrize("name", TABLE)
def test_app_config_wins_over_the_environment(name: str) -> None:
    key = f"AGENTLIP_{name}"
    _, text, _, given, meaning = TABLE[name]
    assert value_of(Settings.load({key: text}, {key: given}), name) == meaning


def test_other_keys_of_environment_and_app_config_are_none_of_our_business() -> None:
    assert Settings.load({"PORT": "x", "agentlip_port": "x"}, {"PORT": "x", "DEBUG": 1}) == Settings.load({})


@pytest.mark.parametrize(("name", "value"), NONSENSE)
def test_nonsense_is_a_config_error_of_one_line_that_names_the_setting(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load({}, {f"AGENTLIP_{name}": value})
    assert str(caught.value).startswith(f"AGENTLIP_{name} must be ")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 250


def test_nonsense_in_the_environment_is_shown() -> None:
    with pytest.raises(ConfigError, match=r"^AGENTLIP_PORT must be .*, not 'eighty'$"):
        Settings.load({"AGENTLIP_PORT": "eighty"})


@pytest.mark.parametrize("link", ["tcp://10.0.0.1:8787", "udp://10.0.0.1:53", "tcp://[fd00::1]:8787"])
def test_what_kubernetes_says_of_a_service_is_no_setting(link: str) -> None:
    environ = {"AGENTLIP_PORT": link, "AGENTLIP_SERVICE_PORT": "8787", "AGENTLIP_PORT_8787_TCP": link}
    assert Settings.load(environ) == Settings.load({})
    assert service_links(environ) == ["AGENTLIP_PORT"]
    assert not is_given(environ, "PORT")


OF_THE_SERVER = {
    "HOST": "0.0.0.0", "PORT": "nonsense", "BIND": "nonsense", "ALLOW_NETWORK": "nonsense", "WORKERS": "nonsense",
    "IDLE_SHUTDOWN": "nonsense", "LOG_LEVEL": "nonsense", "TRUSTED_PROXIES": "nonsense",
}  # fmt: skip


def test_an_embedded_hub_does_not_read_what_is_for_the_server() -> None:
    given = {f"AGENTLIP_{name}": value for name, value in OF_THE_SERVER.items()}
    assert Settings.load(given, embedded=True) == Settings.load({}) == Settings.load({}, given, embedded=True)
    assert {setting.name for setting in SETTINGS if setting.of_server} == set(OF_THE_SERVER)


def test_the_error_never_shows_a_bad_token() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load({"AGENTLIP_AUTH_TOKEN": "my secret word"})
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert "secret" not in repr(caught.value.__context__)


def test_the_settings_as_text_do_not_hold_the_token() -> None:
    assert "hush-hush-hush-hush" not in repr(Settings.load({"AGENTLIP_AUTH_TOKEN": "hush-hush-hush-hush"}))


def test_a_home_folder_in_the_path_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Settings.load({"AGENTLIP_DB": "~/hub/db"}).db == Path("/home/somebody/hub/db")


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings.load({}).port = 1  # type: ignore[misc]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_has_a_help_text(setting: Any) -> None:
    assert setting.help.endswith(".")
