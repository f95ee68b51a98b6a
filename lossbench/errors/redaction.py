"""Removal of passwords, tokens and keys from texts."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO
from urllib.parse import quote, unquote

_REDACTED = "***"
_MIN_SECRET_LENGTH = 6
"""Minimum length of the values that are searched for; shorter ones occur inside ordinary words."""
_SECRET_NAME = (
    r"(?:[\w.-]*[\W_])?(?:password|passwd|secret|token|api_?key|access_?key(?:_?id)?|secret_?key)"
)
_SECRET_VARIABLE = re.compile(_SECRET_NAME, re.IGNORECASE)
_SCHEME = r"((?<![\w+.-])[a-z][\w+.-]*://)"
_SECRETS = tuple(
    (re.compile(pattern, re.IGNORECASE), rf"\1{_REDACTED}\2")
    for pattern in (
        _SCHEME + r"[^\s/?#]*(@)",  # user:password@; a password may hold an @
        _SCHEME + r"[^\s/@:\[]+:(?!\d+(?:[/?#]|$))[^\s]*(@)",  # and a /, too
        r"((?<![\w+.-])[a-z][\w+.-]*%3a%2f%2f)(?:(?!%2f|%3f|%23)[^\s/?#&])*(%40)",
        rf"((?:[?&;#]|%3f|%26)(?:{_SECRET_NAME}|[\w.-]*(?:pwd|sig|signature|credential|auth))"
        r"(?:=|%3d))(?:(?!%26|:\s)[^\s&;#'\"])+()",
        rf"((?<![\w.-]){_SECRET_NAME}=['\"]?)(?!(?:true|false|none|null|\d{{1,3}})\b)(?:(?!:\s)[^\s&;,'\"])+()",
        rf"(['\"]{_SECRET_NAME}['\"]\s*:\s*['\"])[^'\"]+()",  # JSON
        r"(authorization['\"]?\s*[:=]\s*['\"]?(?:(?:basic|bearer)\s+)?)[^\s'\",]+()",
        r"(\bbearer\s+)[\w.~+/=-]{8,}()",
    )
)
"""Forms in which credentials appear in URLs, command lines and messages of libraries."""


def redacted(text: str) -> str:
    """Return the text with `***` instead of passwords, tokens and keys.

    Secrets are: user and password in a URL of any scheme, query parameters and KEY=VALUE pairs with
    a name like `token`, and authorization headers. Secrets in the environment, and in URLs of the
    environment and the command line, are replaced wherever they occur in the text.
    """
    for secret in _known_secrets(tuple(os.environ.items()), tuple(sys.argv[1:])):
        text = text.replace(secret, _REDACTED)
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def holds_secret(text: str) -> bool:
    """Whether a text contains a credential in one of the known forms."""
    return any(pattern.search(text) for pattern, _ in _SECRETS)


@functools.lru_cache(maxsize=2)
def _known_secrets(
    environment: tuple[tuple[str, str], ...], arguments: tuple[str, ...]
) -> tuple[str, ...]:
    """Secrets in the environment and the command line, the longest first."""
    return tuple(sorted(set(_secrets_in(environment, arguments)), key=len, reverse=True))


def _secrets_in(
    environment: tuple[tuple[str, str], ...], arguments: tuple[str, ...]
) -> Iterator[str]:
    values = [value for name, value in environment if _SECRET_VARIABLE.fullmatch(name)]
    for text in (*(value for _, value in environment), *arguments):
        values += re.findall(r"://[^\s:@/\[]*:(?!\d+(?:[/?#]|$))(.+)@", text)
    for secret in map(str.strip, values):
        for form in (secret, unquote(secret), quote(unquote(secret), safe="")):
            if len(form) >= _MIN_SECRET_LENGTH:
                yield form


class RedactedStream:
    """Text stream that writes `***` instead of secrets and otherwise behaves like the given stream.

    Args:
        stream: Stream to write to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redacted(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
