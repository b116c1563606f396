"""Archives from strangers, unpacked whole or not at all, and never outside the folder they belong in."""

import errno
import posixpath
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from uda.datasets.download import disk_error
from uda.errors import UserError


@dataclass(frozen=True)
class _Member:
    """One entry of an archive; `link` is the target of a symbolic link, `same_as` that of a hard link."""

    name: str
    size: int = 0
    is_dir: bool = False
    link: str | None = None
    same_as: str | None = None
    special: bool = False
    open: Callable[[], IO[bytes]] | None = None


def extract(archive: Path, to: Path) -> Path:
    """Unpack a zip or tar (plain, gzip, bzip2, xz) into the folder `to` and return it.

    Every member is checked before the first is written; what is written goes to a sibling folder that becomes `to` by
    a rename, or whose entries are moved into `to` where that exists. UserError, with nothing unpacked: a member that
    is absolute, climbs out, is a link out or a device; a damaged archive; an entry that is already there; a full disk.
    """
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
        staging = holder / "content"  # with everyday permissions, which temporary folders do not have
        staging.mkdir()
    except OSError as error:
        raise disk_error(error, to) from None
    try:
        with _members(archive) as members:
            _check(members, archive)
            _check_room(sum(member.size for member in members), archive, to)
            _unpack(members, staging)
        _publish(staging, to, archive)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"archive {archive} is damaged or of an unknown kind ({error}): download it again") from None
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # a broken stream, or a position that no file has
            raise UserError(f"archive {archive} is damaged ({error}): download it again") from None
        raise disk_error(error, to) from None
    finally:
        shutil.rmtree(holder, ignore_errors=True)
    return to


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield [_zip_member(file, info) for info in file.infolist()]
    else:
        with tarfile.open(archive) as file:
            yield [_tar_member(file, info) for info in file]


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode) and info.file_size < 4096:
        return _Member(info.filename, link=file.read(info).decode("utf-8", "surrogateescape"))
    special = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
    return _Member(info.filename, info.file_size, info.is_dir(), special=special, open=lambda: file.open(info))


def _tar_member(file: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    def opened() -> IO[bytes]:
        stream = file.extractfile(info)
        if stream is None:
            raise tarfile.TarError(f"{info.name} has no content")
        return stream

    if info.issym():
        return _Member(info.name, link=info.linkname)
    if info.islnk():
        return _Member(info.name, same_as=info.linkname)
    return _Member(info.name, info.size, info.isdir(), special=not (info.isreg() or info.isdir()), open=opened)


def _clean(name: str) -> str | None:
    """Return a member's path inside the archive, or None where it is not inside."""
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or "\0" in name:
        return None
    if ".." in re.split(r"[/\\]", name):
        return None
    return posixpath.normpath(name.replace("\\", "/"))


def _check(members: list[_Member], archive: Path) -> None:
    """Refuse whatever could be written, or could later be read, outside the folder.

    No member may lie below a link, and a link may climb only at its beginning; so a path can be judged by its letters,
    and every link ends inside. Letter case is ignored, as some file systems do.
    """
    links = {(_clean(m.name) or "").casefold() for m in members if m.link is not None}
    regular = {_clean(m.name) for m in members if m.open is not None and not m.is_dir}
    for member in members:
        path = _clean(member.name)
        if path is None:
            raise _refusal(archive, member.name, "lies outside the folder")
        if member.special:
            raise _refusal(archive, member.name, "is a device or pipe")
        above = path.casefold().split("/")
        if any("/".join(above[:n]) in links for n in range(1, len(above))):
            raise _refusal(archive, member.name, "lies below a link")
        if member.link is not None and not _inside(path, member.link):
            raise _refusal(archive, member.name, f"is a link to {member.link}, outside the folder")
        if member.same_as is not None and _clean(member.same_as) not in regular:
            raise _refusal(archive, member.name, f"is a link to {member.same_as}, no file of the archive")


def _inside(path: str, link: str) -> bool:
    if link.startswith(("/", "\\")) or "\\" in link or re.match(r"[A-Za-z]:", link):
        return False
    steps = [step for step in link.split("/") if step not in ("", ".")]
    climbs = next((i for i, step in enumerate(steps) if step != ".."), len(steps))
    return ".." not in steps[climbs:] and climbs <= path.count("/")


def _refusal(archive: Path, name: str, why: str) -> UserError:
    return UserError(
        f"archive {archive} is not safe: its member '{name}' {why}; nothing was unpacked, get the archive elsewhere"
    )


def _check_room(needed: int, archive: Path, to: Path) -> None:
    free = shutil.disk_usage(to.parent).free
    if needed > free:
        raise UserError(
            f"archive {archive} needs {needed / 1e9:.1f} GB and the disk of {to} has {free / 1e9:.1f} GB free: "
            "free some space or choose another --data-root"
        )


def _unpack(members: list[_Member], staging: Path) -> None:
    """Write files, then hard links as copies, then symbolic links; modes and owners stay out."""
    for member in members:
        target = staging / (_clean(member.name) or "")
        if member.is_dir:
            target.mkdir(parents=True, exist_ok=True)
        elif member.open is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as content, target.open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
    for member in members:
        target = staging / (_clean(member.name) or "")
        if member.same_as is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(staging / (_clean(member.same_as) or ""), target)
        elif member.link is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(member.link)


def _publish(staging: Path, to: Path, archive: Path) -> None:
    if not to.exists():
        staging.rename(to)
        return
    entries = sorted(staging.iterdir())
    for entry in entries:
        if (to / entry.name).exists():
            raise UserError(f"{to / entry.name} is already there: move it away to unpack {archive}")
    for entry in entries:
        entry.rename(to / entry.name)
