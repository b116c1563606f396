import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from uda.datasets.archives import extract
from uda.datasets.download import Download, download
from uda.errors import UserError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at every path; what it does wrong is set by the test."""

    etag: str | None = '"v1"'
    cut_after: int | None = None
    ranges = True
    wrong_range = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/set.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.seen.append(wanted)
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        start = 0
        matches = self.headers.get("If-Range") in (None, self.server.etag)
        if wanted and self.server.ranges and matches:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206)
            shown = start + 1 if self.server.wrong_range else start
            self.send_header("Content-Range", f"bytes {shown}-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.end_headers()
        self.wfile.write(CONTENT[start : self.server.cut_after])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_whole_and_verified(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    to = tmp_path / "deep" / "set.bin"
    source = Download(server.url, len(CONTENT), SHA256)
    assert download(source, to, lambda done, total: told.append((done, total))) == to
    assert to.read_bytes() == CONTENT
    assert left(to.parent) == ["set.bin"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    download(source, to)
    assert len(server.seen) == 1  # a whole file is not fetched again


def test_a_truncated_download_is_resumed(server: Server, tmp_path: Path) -> None:
    server.cut_after = 300_000
    with pytest.raises(UserError, match=f"ended after 300000 of {len(CONTENT)} bytes"):
        download(Download(server.url), tmp_path / "f")
    assert left(tmp_path) == ["f.part", "f.part.tag"]
    server.cut_after = None
    download(Download(server.url), tmp_path / "f")
    assert server.seen == [None, "bytes=300000-"]
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert left(tmp_path) == ["f"]


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"older")
    (tmp_path / "f.part.tag").write_text('"v0"')
    download(Download(server.url), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_what_cannot_be_checked_is_not_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"whatever")
    download(Download(server.url), tmp_path / "f")
    assert server.seen == [None]
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_a_checksum_allows_to_resume_without_a_tag(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.etag, server.ranges = None, ranges
    (tmp_path / "f.part").write_bytes(CONTENT[:1000])
    download(Download(server.url, md5=hashlib.md5(CONTENT).hexdigest()), tmp_path / "f")
    assert server.seen == ["bytes=1000-"]
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_begun_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT + b"more")
    download(Download(server.url, sha256=SHA256), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_server_that_continues_at_the_wrong_place(server: Server, tmp_path: Path) -> None:
    server.wrong_range = True
    (tmp_path / "f.part").write_bytes(CONTENT[:1000])
    with pytest.raises(UserError, match="continued at the wrong place"):
        download(Download(server.url, sha256=SHA256), tmp_path / "f")


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"sha256": "0" * 64}, f"the sha256 checksum {SHA256} where 0000"),
        ({"md5": "0" * 32}, "the md5 checksum"),
        ({"size": 7}, f"{len(CONTENT)} bytes where 7 were expected"),
    ],
)
def test_a_wrong_file_is_discarded(server: Server, tmp_path: Path, known: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        download(Download(server.url, **known), tmp_path / "f")  # type: ignore[arg-type]
    assert not (tmp_path / "f").exists()
    assert not (tmp_path / "f.part").exists()


def test_a_missing_file_and_no_network(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing.zip answered 404"):
        download(Download(server.url.replace("set.bin", "missing.zip")), tmp_path / "f")
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=f"cannot be reached.*by hand and put it at {tmp_path / 'f'}"):
        download(Download(server.url), tmp_path / "f")


def test_only_the_web_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="file:///etc/hosts is not an http"):
        download(Download("file:///etc/hosts"), tmp_path / "f")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full to stand for a full disk")
def test_a_full_disk(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"the disk of .* is full"):
        download(Download(server.url), tmp_path / "f")


# ---- archives


def tar_of(path: Path, *members: tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for member in members:
            member.size = 3 if member.isreg() else 0
            file.addfile(member, io.BytesIO(b"abc") if member.isreg() else None)
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zip_of(path: Path, *names: str, link: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            info = zipfile.ZipInfo(name)
            if link is not None:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, link if link is not None else b"abc")
    return path


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_archives_are_unpacked(tmp_path: Path, kind: str) -> None:
    if kind == "zip":
        archive = zip_of(tmp_path / "a", "train/cat/1.png", "train/dog/2.png")
    else:
        archive = tar_of(
            tmp_path / "a",
            entry("./train", tarfile.DIRTYPE),
            entry("train/cat/1.png"),
            entry("train/dog/2.png"),
            mode=kind,
        )
    out = extract(archive, tmp_path / "out")
    assert (out / "train/cat/1.png").read_bytes() == b"abc"
    assert (out / "train/dog/2.png").read_bytes() == b"abc"
    assert left(tmp_path) == ["a", "out"]
    (tmp_path / "plain").mkdir()
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_harmless_links_are_kept(tmp_path: Path) -> None:
    archive = tar_of(
        tmp_path / "a.tar",
        entry("d/1.png"),
        entry("d/same.png", tarfile.LNKTYPE, "d/1.png"),
        entry("e/soft.png", tarfile.SYMTYPE, "../d/1.png"),
    )
    out = extract(archive, tmp_path / "out")
    assert (out / "d/same.png").read_bytes() == b"abc"
    assert (out / "e/soft.png").read_bytes() == b"abc"


def test_a_second_archive_joins_the_first(tmp_path: Path) -> None:
    out = extract(zip_of(tmp_path / "1.zip", "train/1.png"), tmp_path / "out")
    extract(zip_of(tmp_path / "2.zip", "test/1.png"), out)
    assert left(out) == ["test", "train"]
    with pytest.raises(UserError, match="out/train is already there"):
        extract(zip_of(tmp_path / "3.zip", "new/1.png", "train/9.png"), out)
    assert left(out) == ["test", "train"]


EVIL_TARS = {
    "absolute": [entry("/tmp/x")],
    "climbing": [entry("a/../../x")],
    "windows": [entry("C:\\x")],
    "backslash": [entry("..\\x")],
    "link out": [entry("l", tarfile.SYMTYPE, "../../etc")],
    "absolute link": [entry("l", tarfile.SYMTYPE, "/etc/passwd")],
    "hard link out": [entry("l", tarfile.LNKTYPE, "../x")],
    "hard link to nothing": [entry("l", tarfile.LNKTYPE, "/etc/passwd")],
    "hard link to a link": [entry("s", tarfile.SYMTYPE, "t"), entry("t"), entry("l", tarfile.LNKTYPE, "s")],
    "below a link": [entry("d", tarfile.SYMTYPE, "."), entry("d/x")],
    "below a link in capitals": [entry("D", tarfile.SYMTYPE, "."), entry("d/x")],
    # every step is inside by its letters, but d is here, so d/../.. is outside
    "through a link": [entry("d", tarfile.SYMTYPE, "e"), entry("s/l", tarfile.SYMTYPE, "d/../../x")],
    "device": [entry("dev", tarfile.CHRTYPE)],
    "pipe": [entry("pipe", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("evil", EVIL_TARS.values(), ids=EVIL_TARS.keys())
def test_unsafe_tars_are_refused_whole(tmp_path: Path, evil: list[tarfile.TarInfo]) -> None:
    archive = tar_of(tmp_path / "a.tar", entry("good.png"), *evil)
    with pytest.raises(UserError, match=r"is not safe: its member '.+' (lies|is a).*nothing was unpacked"):
        extract(archive, tmp_path / "out")
    assert left(tmp_path) == ["a.tar"]


@pytest.mark.parametrize(
    ("name", "link"), [("../x", None), ("/x", None), ("a\\..\\..\\x", None), ("l", "../x"), ("l", "/etc/passwd")]
)
def test_unsafe_zips_are_refused_whole(tmp_path: Path, name: str, link: str | None) -> None:
    archive = zip_of(tmp_path / "a.zip", name, link=link)
    with pytest.raises(UserError, match="is not safe: its member"):
        extract(archive, tmp_path / "out")
    assert left(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:xz"])
def test_damaged_archives(tmp_path: Path, kind: str) -> None:
    names = [f"{i}.png" for i in range(200)]
    if kind == "zip":
        archive = zip_of(tmp_path / "a", *names)
        archive.write_bytes(archive.read_bytes().replace(b"abc", b"abd", 1))  # the checksum inside no longer fits
    else:
        archive = tar_of(tmp_path / "a", *map(entry, names), mode=kind)
        archive.write_bytes(archive.read_bytes()[:300])
    with pytest.raises(UserError, match="damaged"):
        extract(archive, tmp_path / "out")
    assert left(tmp_path) == ["a"]


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("<html>Sign in to download</html>")
    with pytest.raises(UserError, match="damaged or of an unknown kind"):
        extract(tmp_path / "a", tmp_path / "out")


def test_more_than_the_disk_has_free_is_refused_before(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("huge", b"abc")
        file.filelist[0].file_size = 10**18  # announced in the archive's directory, which is written last
    with pytest.raises(UserError, match=r"a.zip needs 1000000000\.0 GB and the disk of .*out has"):
        extract(tmp_path / "a.zip", tmp_path / "out")
    assert left(tmp_path) == ["a.zip"]


def test_a_position_that_no_file_has(tmp_path: Path) -> None:
    huge = entry("huge")
    huge.size = 10**18
    (tmp_path / "a.tar").write_bytes(huge.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(UserError, match=r"a.tar is damaged"):
        extract(tmp_path / "a.tar", tmp_path / "out")
