"""Addresses of servers and the keys that go to them: checked and tidied before anything is stored.

An address is written into a run's folder, into its report and to Weights & Biases, so it must hold
no secret; a key comes from an environment variable, and only from one that is named like a key's.
"""

import ipaddress
import re
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from r1reward_jax.errors import InputError

QUERIES = ("api-version",)
"""Fields that may stand behind ? in an address: they are stored, so only those that are known."""
KEY_NAMES = re.compile(r"[A-Za-z0-9_]*_API_KEY|R1REWARD_[A-Za-z0-9_]+")
"""Environment variables that a config file may name as holding a key. Somebody else's config could
name AWS_SECRET_ACCESS_KEY, and a server of theirs to send it to."""
_ENDPOINT = "/chat/completions"


def plain_url(name: str, url: str) -> str:
    """Return the address of an API without what does not belong to it.

    Args:
      name: of the knob or option, for messages; they never repeat what may be a secret.
      url: as it was given; the address of the endpoint itself is shortened to the API's.

    Raises:
      InputError: it is no address, or holds a name, a password or a key.
    """
    expected = "expected http://HOST:PORT/v1 or https://…"
    text = url.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        problem = "the port is no number up to 65535" if "ort" in str(error) else "no address"
        raise InputError(f"{name}: {problem}; {expected}") from None
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise InputError(
            f"{name}: holds a user name or a password, and addresses are stored; put the key into "
            "the environment variable that judge.api_key_env names"
        )
    if parts.scheme.lower() not in ("http", "https"):
        shown = f" {text!r}" if re.fullmatch(r"[\w.:/-]{1,60}", text) else ""
        raise InputError(f"{name}{shown}: {expected}")
    fields = [field for field, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if (
        parts.fragment
        or any(field not in QUERIES for field in fields)
        or (parts.query and not fields)
    ):
        raise InputError(
            f"{name}: something stands behind its ? or #, and addresses are stored; {expected} "
            f"(with {' or '.join(QUERIES)} at most); a key belongs into the environment variable "
            "that judge.api_key_env names"
        )
    if not _is_host(host) or port == 0:
        shown = f" {host.encode('unicode_escape').decode()[:60]!r}" if host else ""
        problem = "the port is no number up to 65535" if port == 0 else f"no host{shown}"
        raise InputError(f"{name}: {problem}; {expected}")
    if re.search(r"[^!-~]", parts.path):
        raise InputError(f"{name}: its path holds a character that no address has; {expected}")
    path = parts.path.rstrip("/").removesuffix(_ENDPOINT).rstrip("/")
    return urlunsplit((parts.scheme.lower(), parts.netloc, path, parts.query, ""))


def endpoint(url: str, path: str = _ENDPOINT) -> str:
    """Return the address of an endpoint of an API."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))


def _is_host(host: str) -> bool:
    """Say whether a text can be the name or the number of a machine."""
    try:
        return bool(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return len(host) < 254 and bool(re.fullmatch(r"(?:[A-Za-z0-9_-]{1,63}\.?)+", host))


def plain_key(variable: str, key: str) -> tuple[str, bool]:
    """Return a key without white space around it, and whether there was some.

    Args:
      variable: of the environment, for messages.
      key: its value, which is never shown.

    Raises:
      InputError: no header can hold it.
    """
    stripped = key.strip()
    wrong = next((c for c in stripped if not "!" <= c <= "~"), None)
    if wrong is not None:
        kind = "a space" if wrong == " " else "a character that is not ASCII"
        kind = "a control character" if wrong < " " or wrong == "\x7f" else kind
        raise InputError(
            f"the environment variable {variable} holds {kind}, which no key has; copy the key anew"
        )
    return stripped, stripped != key
