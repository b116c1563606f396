"""Downloads that are resumed, verified and published whole."""

import errno
import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from uda.errors import UserError

Progress = Callable[[int, int | None], None]
_BLOCK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte


@dataclass(frozen=True)
class Download:
    """A file to fetch and what is known about it; None where its publisher does not say.

    size in bytes; sha256 and md5 in hexadecimal.
    """

    url: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def name(self) -> str:
        """The file's name in its address."""
        return self.url.split("?")[0].rsplit("/", 1)[-1]


def download(source: Download, to: Path, progress: Progress | None = None) -> Path:
    """Fetch a file over HTTP(S) to `to` and return it; a whole one that is already there is not fetched again.

    Bytes go to `<to>.part`, which a later call continues where the server allows it and the result can be checked;
    size and checksum are verified before the rename. `progress` is told (bytes so far, bytes in all or None).
    UserError: no connection, an answer that is not the file, a size or checksum that is wrong, a full disk.
    """
    if not source.url.startswith(("http://", "https://")):
        raise UserError(f"{source.url} is not an http or https address: give one, or get the file by hand")
    if to.exists() and _fault(source, to) is None:
        return to
    part, tag = to.with_name(to.name + ".part"), to.with_name(to.name + ".part.tag")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        _stream(source, part, tag, progress)
        fault = _fault(source, part)
        if fault is not None:
            part.unlink()
            raise UserError(
                f"{source.url} has {fault}: the file was discarded; try again, or get it by hand and put it at {to}"
            )
        part.replace(to)
        tag.unlink(missing_ok=True)
    except urllib.error.HTTPError as error:
        raise UserError(
            f"{source.url} answered {error.code} ({error.reason}): get the file by hand and put it at {to}"
        ) from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UserError(
            f"{source.url} cannot be reached ({reason}): try again where there is a network, "
            f"or get the file by hand and put it at {to}"
        ) from None
    except OSError as error:
        raise disk_error(error, to) from None
    return to


def disk_error(error: OSError, path: Path) -> UserError:
    """Return what to tell the user when writing `path` failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"the disk of {path} is full: free some space or choose another --data-root, and run again")
    return UserError(
        f"{path} cannot be written ({error.strerror}): check its permissions or choose another --data-root"
    )


def _stream(source: Download, part: Path, tag: Path, progress: Progress | None) -> None:
    """Write the rest of the file to `part`."""
    have = part.stat().st_size if part.is_file() else 0
    validator = tag.read_text(encoding="ascii") if tag.is_file() else None
    if have and not (validator or source.sha256 or source.md5):
        have = 0  # nothing would notice if the two halves came from two files
    if have and have == source.size:
        return
    headers = {"User-Agent": "uda", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    try:
        answer = urllib.request.urlopen(urllib.request.Request(source.url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        part.unlink()  # longer than the file: begin again
        _stream(source, part, tag, progress)
        return
    with answer:
        starts = f"bytes {have}-"
        resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not answer.headers.get("Content-Range", "").startswith(starts):
            raise http.client.HTTPException("the server continued at the wrong place")
        if not resumed:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None else source.size
        _check_room(part, (total or 0) - have)
        _remember(answer.headers, tag)
        with part.open("ab" if resumed else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                have += len(block)
                if progress is not None:
                    progress(have, total)
        if total is not None and have < total:
            raise http.client.HTTPException(
                f"the connection ended after {have} of {total} bytes; running again continues there"
            )


def _remember(headers: http.client.HTTPMessage, tag: Path) -> None:
    """Keep what tells this version of the file from another; weak tags do not."""
    validator = headers.get("ETag") or headers.get("Last-Modified")
    if validator and not validator.startswith("W/"):
        tag.write_text(validator, encoding="ascii", errors="ignore")
    else:
        tag.unlink(missing_ok=True)


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise UserError(
            f"the download to {path.parent} needs {needed / 1e9:.1f} GB and its disk has {free / 1e9:.1f} GB free: "
            "free some space or choose another --data-root"
        )


def _fault(source: Download, path: Path) -> str | None:
    """Return what is wrong with a file, or None."""
    size = path.stat().st_size
    if source.size is not None and size != source.size:
        return f"{size} bytes where {source.size} were expected"
    for kind, expected in (("sha256", source.sha256), ("md5", source.md5)):
        if expected is not None:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, kind).hexdigest()
            if found != expected.lower():
                return f"the {kind} checksum {found} where {expected} was expected"
    return None
