"""Downloads from a server of our own that breaks off: resumed, checked, whole or not at all."""

from __future__ import annotations

import hashlib
import http.server
import inspect
import io
import os
import re
import socket
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torchvision
from packaging.version import Version
from torchvision import datasets

from crate_mini.data import SETS, DataError, downloads, labelled, load, masked, scenes
from crate_mini.data.downloads import Download, fetch
from crate_mini.lock import locked

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()


class Server:
    """Serves files from memory. ``cut`` holds, for the answers to come, after how many bytes each breaks off."""

    def __init__(self) -> None:
        self.ranges = True
        self.files: dict[str, bytes] = {}
        self.cut: list[int | None] = []
        self.asked: list[str | None] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                wanted = self.headers.get("Range")
                site.asked.append(wanted)
                content = site.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                start = int(re.match(r"bytes=(\d+)-", wanted)[1]) if wanted and site.ranges else 0
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                stop = site.cut.pop(0) if site.cut else None
                self.wfile.write(content[start:] if stop is None else content[start : start + stop])
                self.close_connection = True

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.thread.start()

    def offer(self, name: str, content: bytes) -> tuple[str, str]:
        """Address and checksum."""
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}", f"md5:{hashlib.md5(content).hexdigest()}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(autouse=True)
def _no_proxy_and_no_pause(monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(downloads, "_PAUSE", 0.0)


@pytest.fixture
def server():
    site = Server()
    yield site
    site.close()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


FILES = {"set/a.txt": b"a", "set/deep/b.bin": CONTENT}


class TestFetch:
    def test_whole(self, server, tmp_path, capfd):
        assert fetch(*server.offer("a.bin", CONTENT), tmp_path / "a.bin").read_bytes() == CONTENT
        assert [f.name for f in tmp_path.iterdir()] == ["a.bin"]
        assert capfd.readouterr().err == ""
        fetch(*server.offer("a.bin", CONTENT), tmp_path / "a.bin")  # it is there: nothing is asked
        assert server.asked == [None]
        (tmp_path / "a.bin").write_bytes(CONTENT[:-1] + b"?")  # and damaged: fetched again
        assert fetch(*server.offer("a.bin", CONTENT), tmp_path / "a.bin").read_bytes() == CONTENT
        assert server.asked == [None, None]

    def test_breaks_off_twice_and_goes_on_from_there(self, server, tmp_path, capfd, watched):
        server.cut = [98_304, 49_152]
        url, known_hash = server.offer("a.bin", CONTENT)
        assert fetch(url, known_hash, tmp_path / "a.bin", progress=True).read_bytes() == CONTENT
        assert server.asked == [None, "bytes=98304-", "bytes=147456-"]
        assert "300k/300k" in capfd.readouterr().err

    def test_goes_on_in_a_later_call(self, server, tmp_path):
        server.cut = [98_304, 0, 0, 0, 0]
        url, known_hash = server.offer("a.bin", CONTENT)
        with pytest.raises(OSError, match=r"broke|IncompleteRead"):
            fetch(url, known_hash, tmp_path / "a.bin")
        assert (tmp_path / "a.bin.part").read_bytes() == CONTENT[:98_304]
        assert not (tmp_path / "a.bin").exists()
        server.cut, server.asked = [], []
        assert fetch(url, known_hash, tmp_path / "a.bin").read_bytes() == CONTENT
        assert server.asked == ["bytes=98304-"]
        assert [f.name for f in tmp_path.iterdir()] == ["a.bin"]

    def test_server_that_cannot_go_on_starts_over(self, server, tmp_path):
        server.ranges, server.cut = False, [98_304]
        assert fetch(*server.offer("a.bin", CONTENT), tmp_path / "a.bin").read_bytes() == CONTENT
        assert server.asked == [None, "bytes=98304-"]

    def test_part_that_was_complete(self, server, tmp_path):
        (tmp_path / "a.bin.part").write_bytes(CONTENT)
        assert fetch(*server.offer("a.bin", CONTENT), tmp_path / "a.bin").read_bytes() == CONTENT
        assert server.asked == ["bytes=300000-"]

    def test_part_of_something_else_is_thrown_away(self, server, tmp_path):
        (tmp_path / "a.bin.part").write_bytes(b"x" * 100)
        offer = server.offer("a.bin", CONTENT)
        with pytest.raises(DataError, match=r"checksum is md5:\w+, expected md5:\w+\. .*thrown away; try"):
            fetch(*offer, tmp_path / "a.bin")
        assert list(tmp_path.iterdir()) == []
        assert fetch(*offer, tmp_path / "a.bin").read_bytes() == CONTENT


class TestDownload:
    def contents(self, folder: Path) -> dict[str, bytes]:
        return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}

    @pytest.mark.parametrize("pack", [zipped, tarred, lambda files: tarred(files, "w")])
    def test_appears_whole(self, server, tmp_path, pack):
        Download((server.offer("set.archive", pack(FILES)),), "set").fetch(tmp_path / "not" / "yet")
        assert self.contents(tmp_path / "not" / "yet") == FILES  # and neither archive nor anything else

    def test_several_archives_into_a_folder_below_another(self, server, tmp_path):
        archives = tuple(server.offer(f"{k}.tgz", tarred({f"2012/{k}": k.encode()})) for k in "ab")
        (tmp_path / "kit" / "2007").mkdir(parents=True)
        Download(archives, "kit/2012", into="kit").fetch(tmp_path)
        assert self.contents(tmp_path) == {"kit/2012/a": b"a", "kit/2012/b": b"b"}
        assert (tmp_path / "kit" / "2007").is_dir()

    def test_archives_in_an_archive(self, server, tmp_path):
        inner = {
            "top/x.tar.gz": tarred({"X/1": b"1"}),
            "top/y.tar": tarred({"Y/2": b"2"}, "w"),
            "__MACOSX/._x.tar": b"",
        }
        Download((server.offer("z.zip", zipped(inner)),), "set", into="set", nested=True).fetch(tmp_path)
        found = self.contents(tmp_path)
        assert found["set/X/1"] == b"1"
        assert found["set/Y/2"] == b"2"

    def test_breaks_off_for_good_and_is_taken_up(self, server, tmp_path):
        download = Download((server.offer("set.zip", zipped(FILES)),), "set")
        server.cut = [98_304, 0, 0, 0, 0]
        with pytest.raises(DataError) as caught:
            download.fetch(tmp_path)
        for told in (
            server.url,
            "try again to go on from there",
            "by other means",
            "'embedded' needs no network",
        ):
            assert told in str(caught.value)
        assert [f.name for f in tmp_path.iterdir()] == [".set.download"]
        server.cut, server.asked = [], []
        download.fetch(tmp_path)
        assert server.asked == ["bytes=98304-"]
        assert self.contents(tmp_path) == FILES

    def test_no_room_to_unpack_keeps_the_archive(self, server, tmp_path, monkeypatch):
        download = Download((server.offer("set.zip", zipped(FILES)),), "set")

        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(downloads, "_unpack", full)
            with pytest.raises(DataError, match="No space left on device"):
                download.fetch(tmp_path)
        assert [f.name for f in tmp_path.iterdir()] == [".set.download"]
        download.fetch(tmp_path)
        assert len(server.asked) == 1, "it was not fetched again"
        assert self.contents(tmp_path) == FILES

    def test_wrong_checksum_and_missing_page_leave_no_trace(self, server, tmp_path):
        url, _ = server.offer("set.zip", zipped(FILES))
        with pytest.raises(DataError, match=r"could not download .*checksum"):
            Download(((url, "md5:" + "0" * 32),), "set").fetch(tmp_path)
        server.asked = []
        with pytest.raises(DataError, match=r"could not download .*404"):
            Download(((url + ".gone", "md5:0"),), "set").fetch(tmp_path)
        assert len(server.asked) == 1, "a page that is not there is not asked for again"
        assert list(tmp_path.iterdir()) == []

    def test_three_at_once_are_one_download(self, server, tmp_path, capfd):
        """As three processes: the lock is the system's, and asks not who shares a process."""
        download = Download((server.offer("set.zip", zipped(FILES)),), "set")
        with ThreadPoolExecutor(3) as pool:
            fetched = list(pool.map(lambda _: download.fetch(tmp_path), range(3)))
        assert sorted(fetched) == [False, False, True]
        assert self.contents(tmp_path) == FILES
        assert len(server.asked) == 1

    def test_who_comes_when_all_but_clearing_up_is_done_disturbs_nobody(self, server, tmp_path, monkeypatch):
        download = Download((server.offer("set.zip", zipped(FILES)),), "set")
        rename, came = Path.rename, []

        def another_comes(self, target):
            rename(self, target)
            came.append(download.fetch(tmp_path))

        monkeypatch.setattr(Path, "rename", another_comes)
        assert download.fetch(tmp_path) is True
        assert came == [False]
        assert self.contents(tmp_path) == FILES
        assert sorted(file.name for file in tmp_path.iterdir()) == ["set"]

    def test_the_one_that_waits_is_told_for_whom(self, server, tmp_path, capfd):
        download = Download((server.offer("set.zip", zipped(FILES)),), "set")
        with locked(tmp_path / ".set.lock"):
            waiting = threading.Thread(target=download.fetch, args=(tmp_path,))
            waiting.start()
            waiting.join(0.5)
            assert waiting.is_alive()
            assert server.asked == []
        waiting.join()
        assert capfd.readouterr().err.startswith(f"waiting for process {os.getpid()} on ")
        assert self.contents(tmp_path) == FILES

    def test_an_archive_that_was_damaged_while_it_waited_is_fetched_again(
        self, server, tmp_path, monkeypatch
    ):
        url, known_hash = server.offer("set.zip", zipped(FILES))
        waiting = tmp_path / ".set.download"
        waiting.mkdir()
        damaged = bytearray(server.files["/set.zip"])
        damaged[len(damaged) // 2] ^= 1
        (waiting / "set.zip").write_bytes(damaged)
        Download(((url, known_hash),), "set").fetch(tmp_path)
        assert self.contents(tmp_path) == FILES

    def test_killed_while_unpacking(self, server, tmp_path):
        """What it leaves: the archive, and a part of what was in it, which nobody takes for the set."""
        download = Download((server.offer("set.zip", zipped(FILES)),), "set")
        (tmp_path / ".set.download").mkdir()
        (tmp_path / ".set.download" / "set.zip").write_bytes(server.files["/set.zip"])
        (tmp_path / ".set.unpacking" / "set").mkdir(parents=True)
        (tmp_path / ".set.unpacking" / "set" / "a.txt").write_bytes(b"hal")
        assert download.fetch(tmp_path)
        assert server.asked == []
        assert self.contents(tmp_path) == FILES

    def test_killed_when_all_was_done_but_clearing_up(self, server, tmp_path):
        download = Download((server.offer("set.zip", zipped(FILES)),), "set")
        download.fetch(tmp_path)
        (tmp_path / ".set.download").mkdir()
        (tmp_path / ".set.download" / "set.zip").write_bytes(b"gigabytes")
        assert not download.fetch(tmp_path)
        assert self.contents(tmp_path) == FILES

    def test_stopped_while_unpacking_keeps_the_archive(self, server, tmp_path, monkeypatch):
        download = Download((server.offer("set.zip", zipped(FILES)),), "set")

        def stopped(archive, folder):
            folder.mkdir(parents=True)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(downloads, "_unpack", stopped)
            with pytest.raises(KeyboardInterrupt):
                download.fetch(tmp_path)
        assert [f.name for f in tmp_path.iterdir()] == [".set.download"]
        download.fetch(tmp_path)
        assert len(server.asked) == 1
        assert self.contents(tmp_path) == FILES

    def test_an_empty_folder_is_not_the_set_and_a_full_one_is_kept(self, server, tmp_path):
        download = Download((server.offer("set.zip", zipped(FILES)),), "set")
        (tmp_path / "empty" / "set").mkdir(parents=True)
        assert download.fetch(tmp_path / "empty")
        assert self.contents(tmp_path / "empty") == FILES
        (tmp_path / "full" / "set").mkdir(parents=True)
        (tmp_path / "full" / "set" / "mine.txt").write_text("not from there")
        assert not download.fetch(tmp_path / "full")
        assert list(self.contents(tmp_path / "full")) == ["set/mine.txt"]

    def test_archive_without_the_set(self, server, tmp_path):
        with pytest.raises(DataError, match=r"set\.zip holds no folder other"):
            Download((server.offer("set.zip", zipped(FILES)),), "other").fetch(tmp_path)

    def test_archive_that_is_none(self, server, tmp_path):
        with pytest.raises(DataError, match="could not download set"):
            Download((server.offer("set.zip", b"no archive"),), "set").fetch(tmp_path)

    @pytest.mark.parametrize("python", ["this one", "before 3.11.4"])
    def test_archive_that_reaches_outside(self, server, tmp_path, monkeypatch, python):
        if python != "this one":
            monkeypatch.delattr(tarfile, "data_filter", raising=False)
        evil = tarred({"../../outside.txt": b"!"})
        with pytest.raises(DataError, match="outside"):
            Download((server.offer("set.tgz", evil),), "set").fetch(tmp_path / "root")
        assert not list(tmp_path.rglob("outside.txt"))

    @pytest.mark.parametrize("python", ["this one", "before 3.11.4"])
    @pytest.mark.parametrize("way", ["a link", "a link by way of another", "a device"])
    def test_archive_that_leads_outside(self, server, tmp_path, monkeypatch, way, python):
        if python != "this one":
            monkeypatch.delattr(tarfile, "data_filter", raising=False)
        members = {
            "a link": [("set/out", tarfile.SYMTYPE, "../../..")],
            "a link by way of another": [("set/a/b", tarfile.SYMTYPE, "../.."), ("set/a/b/c", tarfile.SYMTYPE, "..")],
            "a device": [("set/null", tarfile.CHRTYPE, "")],
        }[way]  # fmt: skip
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            for name, kind, to in members:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, to
                archive.addfile(member)
        with pytest.raises(DataError, match="could not download set"):
            Download((server.offer("set.tgz", content.getvalue()),), "set").fetch(tmp_path / "root")
        assert not (tmp_path / "root" / "set").exists()

    def test_links_that_stay_inside_are_kept_by_any_python(self, server, tmp_path, monkeypatch):
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            for name, kind, to in (("set/one", tarfile.REGTYPE, ""), ("set/two", tarfile.SYMTYPE, "one")):
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, to
                archive.addfile(member)
        Download((server.offer("set.tgz", content.getvalue()),), "set").fetch(tmp_path)
        assert (tmp_path / "set" / "two").resolve() == (tmp_path / "set" / "one").resolve()

    def test_dead_host(self, tmp_path):
        with socket.socket() as free:  # a port that nobody listens on
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with pytest.raises(DataError) as caught:
            Download(((f"http://127.0.0.1:{port}/a.zip", "md5:0"),), "set").fetch(tmp_path / "new")
        for way_out in (f"127.0.0.1:{port}", "by other means", "new/set", "embedded"):
            assert way_out in str(caught.value)


def test_every_set_that_can_be_fetched_says_so(tmp_path, monkeypatch):
    """Nothing is fetched unasked, and the error of a set that could be fetched says how."""
    monkeypatch.setattr(Download, "fetch", lambda *_, **__: pytest.fail("fetched"))
    for name, source in SETS.items():
        if source.can_fetch:
            with pytest.raises(DataError, match="ave it downloaded"):
                load(name, source.splits[-1], root=tmp_path)


@pytest.mark.skipif(
    Version(torchvision.__version__) < Version("0.22"), reason="older versions name archives that have moved"
)
def test_addresses_and_checksums_are_those_of_torchvision():
    classes = {
        datasets.CIFAR10: [labelled.CIFAR10], datasets.CIFAR100: [labelled.CIFAR100], datasets.STL10: [labelled.STL10],
        datasets.Imagenette: list(labelled.IMAGENETTE.values()), datasets.OxfordIIITPet: [masked.PETS],
        datasets.VOCSegmentation: [scenes.VOC2012], datasets.Caltech101: [masked.CALTECH101],
    }  # fmt: skip
    for cls, known in classes.items():
        text = inspect.getsource(inspect.getmodule(cls))
        for url, known_hash in [pair for download in known for pair in download.archives]:
            assert urlsplit(url).path in text, cls  # hosts move from one version of torchvision to the next
            assert known_hash.removeprefix("md5:") in text, cls


def test_tier_of_a_set_that_was_fetched(server, tmp_path, monkeypatch):
    """From the network to the images, and from then on it is a local set."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(buffer, "JPEG")
    files = {
        "tiny-imagenet-200/wnids.txt": b"n1\n",
        "tiny-imagenet-200/words.txt": b"n1\tfox\n",
        "tiny-imagenet-200/train/n1/images/n1_0.JPEG": buffer.getvalue(),
    }
    offer = server.offer("tiny-imagenet-200.zip", zipped(files))
    monkeypatch.setattr(labelled, "TINY_IMAGENET", Download((offer,), "tiny-imagenet-200"))
    first = load("tiny-imagenet", root=tmp_path, download=True)
    again = load("tiny-imagenet", root=tmp_path, download=True)
    assert (first.tier, again.tier) == ("download", "local")
    assert (len(first), len(server.asked)) == (1, 1)
