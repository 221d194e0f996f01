"""Weights from an address: fetched once, continued after a stop, checked before they are used.

A file is kept in `~/.cache/ml-clap` (`$XDG_CACHE_HOME`) under its address, so that fetching it again costs
nothing. What is expected of it may stand behind a `#`, as package indexes write it:

    https://zenodo.org/records/14229658/files/pretrain.pt#size=3424000000&sha256=9f86d081...
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from audio_common.strict_json import JSONError, read_object

from ml_clap.files import write_json
from ml_clap.lock import sole_writer
from ml_clap.output import Progress

TIMEOUT = 60.0
"""Seconds without a byte after which a connection is given up."""
BLOCK = 1 << 20
MEGABYTE = 1_000_000


class DownloadError(ValueError):
    """An address that gives no file, or not the one that was asked for."""


@dataclass(frozen=True)
class Address:
    """Where a file is, and what is known of it."""

    url: str
    name: str
    """Of the file."""
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    """Hexadecimal."""


def is_url(source: str | Path) -> bool:
    """Whether a model is named by an address.

    >>> is_url("https://example.org/pretrain.pt"), is_url("owner/name"), is_url("folder/pretrain.pt")
    (True, False, False)
    """
    return str(source).startswith(("https://", "http://"))


def read_address(source: str) -> Address:
    """Read an address with what may stand behind its `#`.

    >>> read_address("https://example.org/a/b.pt?download=1#size=9").size
    9

    Raises:
        DownloadError: it is neither https nor of this machine, names no file, or what it expects is no size
            and no sha256.
    """
    parts = urlsplit(source)
    _check_scheme(source)
    name = Path(parts.path).name
    expected = {key: values[-1] for key, values in parse_qs(parts.fragment).items()}
    size, sha256 = expected.pop("size", None), expected.pop("sha256", None)
    is_hash = sha256 is None or (len(sha256) == 64 and set(sha256.lower()) <= set("0123456789abcdef"))
    if expected or not is_hash or not (size is None or size.isdecimal()):
        raise DownloadError(f"{source}: behind # expected size=BYTES and sha256=64 HEXADECIMALS, joined by &")
    if not name or name in (".", ".."):
        raise DownloadError(f"{source} names no file")
    plain = parts._replace(fragment="").geturl()
    return Address(
        plain, name, None if size is None else int(size), None if sha256 is None else sha256.lower()
    )


def download(source: str, folder: Path | None = None) -> Path:
    """Fetch a file, unless it is there already.

    Args:
        source: its address, see the module's docstring.
        folder: where to keep it; default: below the cache.

    Returns:
        The file, complete, and as its address expects.

    Raises:
        DownloadError: it cannot be fetched, ends early, or is another one; what arrived is kept, and the next
            call goes on from there, unless it is the wrong file.
    """
    address = read_address(source)
    path = (_cache_folder(address) if folder is None else folder) / address.name
    if path.is_file():
        _check(path, address)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with sole_writer(path):
        part = path.with_name(f"{path.name}.part")
        try:
            _fetch(address, part)
        except (OSError, HTTPException) as e:  # an HTTPError is an OSError
            there = part.stat().st_size if part.exists() else 0
            kept = f"; {there:,} bytes are kept, and the next try goes on from there" if there else ""
            raise DownloadError(f"{address.url} cannot be fetched: {e}{kept}") from e
        try:
            _check(part, address)
        except DownloadError:
            part.unlink()  # to go on from it would give the same again
            raise
        os.replace(part, path)
        _notes(part).unlink(missing_ok=True)
    return path


def _fetch(address: Address, part: Path) -> None:
    """Append to `part` what it lacks, or begin anew where the server's file is another one by now."""
    there = part.stat().st_size if part.exists() else 0
    if address.size is not None and there >= address.size:
        return
    headers = {"User-Agent": "ml-clap", "Accept-Encoding": "identity"}
    stamp = _read_stamp(part)
    if there and stamp:
        # If-Range: the server sends the whole file where it has changed since.
        headers |= {"Range": f"bytes={there}-", "If-Range": stamp}
    request = urllib.request.Request(address.url, headers=headers)
    with _opener().open(request, timeout=TIMEOUT) as answer:
        start = there if answer.status == 206 else 0
        stamp = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if stamp and not stamp.startswith("W/"):
            write_json(_notes(part), {"stamp": stamp})
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdecimal() else address.size
        _save(answer, part, start, total, address.name)


def _save(answer: Any, part: Path, start: int, total: int | None, name: str) -> None:
    done = start
    with (
        part.open("r+b" if start else "wb") as file,
        Progress(
            f"Fetching {name} (MB)", None if total is None else -(-total // MEGABYTE), start=start // MEGABYTE
        ) as shown,
    ):
        file.seek(start)
        file.truncate()
        while block := answer.read(BLOCK):
            file.write(block)
            done += len(block)
            shown.advance(done // MEGABYTE - shown.done)
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def _check(path: Path, address: Address) -> None:
    size = path.stat().st_size
    if address.size is not None and size != address.size:
        raise DownloadError(f"{path} has {size:,} bytes, and {address.url} should have {address.size:,}")
    if address.sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != address.sha256:
            raise DownloadError(
                f"{path} is not what was asked for: its sha256 is {found}; delete it to try again"
            )


def _cache_folder(address: Address) -> Path:
    parts = urlsplit(address.url)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    # Quoted: an address must not name a folder above.
    names = [quote(each, safe="") for each in parts.path.split("/")[:-1] if each not in ("", ".", "..")]
    return cache.joinpath("ml-clap", quote(parts.netloc, safe=""), *names)


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_stamp(part: Path) -> str | None:
    try:
        stamp = read_object(_notes(part)).get("stamp")
    except (OSError, JSONError):
        return None
    return stamp if isinstance(stamp, str) and stamp.isprintable() else None


def _check_scheme(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname)):
        return
    raise DownloadError(f"{url} is not https, so that anybody on the way could change it")


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class _HttpsAlone(urllib.request.HTTPRedirectHandler):
    """Follows an answer that sends elsewhere only to where an address might point."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_HttpsAlone())
