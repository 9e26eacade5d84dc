# SPDX-License-Identifier: Apache-2.0
"""Preparing data sets from small archives of the publishers' form."""

import functools
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import DataError, open_source
from pipelines.prepare import archives, coco, pascal
from pipelines.prepare.__main__ import main
from tests.pipelines.tars import tar
from tests.pipelines.tiny_voc import write_mask

# The first two marked by VOC, the last three by SBD.
IDS = ("2007_000001", "2007_000002", "2008_000003", "2008_000004")
VAL = IDS[1]


def picture(tmp_path):
    """Bytes of a JPEG and of an index mask with void."""
    photo = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(photo, format="jpeg")
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:20] = 7
    mask[5, 5:20] = 255
    write_mask(tmp_path / "mask.png", mask)
    return photo.getvalue(), (tmp_path / "mask.png").read_bytes()


def mat(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    mask = np.zeros((20, 30), np.uint8)
    mask[2:12, 2:12] = 9
    cell = np.zeros((1, 1), [("Segmentation", object)])
    cell[0, 0]["Segmentation"] = mask
    scipy_io.savemat(tmp_path / "one.mat", {"GTcls": cell})
    return (tmp_path / "one.mat").read_bytes()


def published(monkeypatch, module, name, path):
    """Let `module.<name>` be the archive at `path`."""
    old = getattr(module, name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(module, name, archives.Archive(
        f"{old.url.rpartition('/')[0]}/{path.name}", digest))


@pytest.fixture
def published_pascal(tmp_path, monkeypatch):
    """Folder of a small VOC and a small SBD archive."""
    folder = tmp_path / "given"
    folder.mkdir()
    photo, mask = picture(tmp_path)
    voc = "VOCdevkit/VOC2012"
    files = {f"{voc}/JPEGImages/{i}.jpg": photo for i in IDS}
    files |= {f"{voc}/SegmentationClass/{i}.png": mask for i in IDS[:2]}
    files |= {f"{voc}/ImageSets/Segmentation/{name}.txt": f"{i}\n".encode()
              for name, i in (("train", IDS[0]), ("val", VAL))}
    published(monkeypatch, pascal, "VOC", tar(folder / "voc.tar", files))
    files = {f"benchmark_RELEASE/dataset/cls/{i}.mat": mat(tmp_path) for i in IDS[1:]}
    files["benchmark_RELEASE/dataset/img/big.jpg"] = photo
    published(monkeypatch, pascal, "SBD", tar(folder / "benchmark.tgz", files))
    monkeypatch.setattr(pascal, "COUNTS", {"photos": 4, "masks": 2, "sbd": 3, "trainaug": 3,
                                           "all": 4})
    return folder


def test_voc_and_sbd_make_pascal5i(published_pascal, tmp_path, capsys):
    root = tmp_path / "data"
    main(["sbd", "--root", str(root), "--archives", str(published_pascal)])
    assert "ready:" in capsys.readouterr().out
    source = open_source("voc", root)
    assert source.image_ids("trainaug") == [i for i in IDS if i != VAL]
    assert source.image_ids("val") == [VAL]
    for image_id in IDS:
        source.check(image_id)
        # VOC's own mask where there is one: with void, and another class than SBD's.
        expected = {0, 7, 255} if image_id in IDS[:2] else {0, 9}
        assert set(np.unique(source.read_mask(image_id))) == expected
    assert not list(root.rglob(".partial-*"))


def test_killed_and_started_again(published_pascal, tmp_path):
    root = tmp_path / "data"
    # As a kill leaves it: half an extraction, half a mask.
    (root / "downloads" / ".partial-0-folder" / "VOCdevkit").mkdir(parents=True)
    voc = root / "VOCdevkit" / "VOC2012"
    pascal.voc2012(root, published_pascal)
    (voc / "SegmentationClassAug").mkdir()
    (voc / "SegmentationClassAug" / f".partial-0-{IDS[2]}.png").write_bytes(b"half")
    pascal.sbd(root, published_pascal)
    assert not list(root.rglob(".partial-*"))
    before = {p: p.stat().st_mtime_ns for p in (voc / "SegmentationClassAug").glob("*.png")}
    for path in published_pascal.iterdir():
        path.rename(path.with_suffix(".away") if path.name == "voc.tar" else path)
    pascal.sbd(root, published_pascal)  # VOC is there: its archive is not asked for
    assert before == {p: p.stat().st_mtime_ns for p in (voc / "SegmentationClassAug").glob("*.png")}


def test_a_file_that_is_not_the_publishers(published_pascal, tmp_path):
    with open(published_pascal / "voc.tar", "ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match="voc.tar: hash .* the publisher's"):
        pascal.voc2012(tmp_path / "data", published_pascal)
    assert not (tmp_path / "data" / "VOCdevkit").exists()


def test_photos_that_are_missing(published_pascal, tmp_path, monkeypatch):
    monkeypatch.setitem(pascal.COUNTS, "photos", 5)
    with pytest.raises(DataError, match="4 files .*jpg, 5 are expected"):
        pascal.voc2012(tmp_path / "data", published_pascal)


@pytest.mark.parametrize("name", ["../out.jpg", "/out.jpg", "a/../../out.jpg"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_nothing_leaves_the_folder(tmp_path, name, kind):
    path = tmp_path / f"bad.{kind}"
    if kind == "tar":
        tar(path, {name: b"x"})
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"x")
    with pytest.raises(DataError, match="would leave the folder"):
        archives.extract(path, tmp_path / "in" / "to")
    assert not list(tmp_path.rglob("out.jpg")) and not (tmp_path / "in" / "to").exists()


def test_links_out_of_the_folder_are_refused(tmp_path):
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(DataError, match="cannot be extracted"):
        archives.extract(path, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_truncated_archive(tmp_path):
    path = tar(tmp_path / "some.tgz", {f"{i}.bin": np.random.default_rng(i).bytes(5000)
                                       for i in range(5)})
    path.write_bytes(path.read_bytes()[:12000])
    with pytest.raises(DataError, match="some.tgz: cannot be extracted"):
        archives.extract(path, tmp_path / "to")
    assert not (tmp_path / "to").exists()


@pytest.fixture
def server(tmp_path):
    """A web server on loopback; the folder it serves and its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(
        Quiet, directory=str(folder)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{served.server_address[1]}"
    served.shutdown()


def test_coco_over_http(server, tmp_path, monkeypatch):
    folder, address = server
    photo, _ = picture(tmp_path)
    monkeypatch.setattr(coco, "COUNTS", {"train2017": 2, "val2017": 1})
    for part, count in (("train2017", 2), ("val2017", 1)):
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for i in range(count):
                archive.writestr(f"{part}/{i:012d}.jpg", photo)
    with zipfile.ZipFile(folder / "annotations_trainval2017.zip", "w") as archive:
        for part in ("train2017", "val2017"):
            archive.writestr(f"annotations/instances_{part}.json", "{}")
            archive.writestr(f"annotations/captions_{part}.json", "{}")
    for key, archive in list(coco.ARCHIVES.items()):
        if key.endswith("2017"):
            data = (folder / archive.name).read_bytes()
            monkeypatch.setitem(coco.ARCHIVES, key, archives.Archive(
                f"{address}/{archive.name}", hashlib.sha256(data).hexdigest()))
    root = coco.coco(tmp_path / "coco")
    found = sorted(str(p.relative_to(root)) for p in Path(root).rglob("*")
                   if p.is_file() and "downloads" not in p.parts)
    assert found == ["annotations/instances_train2017.json", "annotations/instances_val2017.json",
                     "train2017/000000000000.jpg", "train2017/000000000001.jpg",
                     "val2017/000000000000.jpg"]


def test_a_folder_of_archives_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder .--archives"):
        archives.fetch(pascal.VOC, tmp_path, tmp_path / "nowhere")


def test_a_download_that_fails(server, tmp_path, monkeypatch):
    _, address = server
    monkeypatch.setattr(pascal, "VOC", archives.Archive(f"{address}/gone.tar", "0" * 64))
    with pytest.raises(DataError, match="gone.tar: cannot be downloaded .* --archives"):
        pascal.voc2012(tmp_path / "data")


def test_coco_killed_between_its_two_files(tmp_path, monkeypatch):
    """One file of annotations was moved, the other not yet."""
    root, given = tmp_path / "coco", tmp_path / "given"
    given.mkdir()
    monkeypatch.setattr(coco, "COUNTS", {"train2017": 0, "val2017": 0})
    with zipfile.ZipFile(given / "annotations.zip", "w") as archive:
        for part in ("train2017", "val2017"):
            archive.writestr(f"annotations/instances_{part}.json", "{}")
            (root / part).mkdir(parents=True)
    monkeypatch.setitem(coco.ARCHIVES, "annotations2017", archives.Archive(
        "http://127.0.0.1:9/annotations.zip",
        hashlib.sha256((given / "annotations.zip").read_bytes()).hexdigest()))
    coco.coco(root, given)
    (root / "annotations" / "instances_val2017.json").unlink()
    coco.coco(root, given)
    assert sorted(p.name for p in (root / "annotations").iterdir()) == [
        "instances_train2017.json", "instances_val2017.json"]
    assert not list((root / "downloads").iterdir())


def test_a_mask_that_a_kill_left_half_is_not_counted(tmp_path, capsys):
    (tmp_path / "1.png").touch()
    (tmp_path / ".partial-0-2.png").touch()
    archives.counted(tmp_path, "*.png", 1)
    assert "1 files" in capsys.readouterr().out


def test_a_note_of_a_hash_that_is_damaged_is_not_believed(tmp_path):
    path = tmp_path / "some.tar"
    path.write_bytes(b"data")
    archive = archives.Archive("http://127.0.0.1:9/some.tar", hashlib.sha256(b"data").hexdigest())
    for _ in range(2):
        archives.fetch(archive, tmp_path, tmp_path)
    (tmp_path / "some.tar.checked").write_bytes(b"\xff\xfe")
    assert archives.fetch(archive, tmp_path, tmp_path) == path
    assert (tmp_path / "some.tar.checked").read_text().startswith(archive.digest)


@pytest.mark.parametrize("dataset", ["voc2012", "sbd"])
def test_a_year_is_cocos_alone(dataset, tmp_path, capsys):
    with pytest.raises(SystemExit) as refused:
        main([dataset, "--root", str(tmp_path / "data"), "--archives", str(tmp_path / "nowhere"),
              "--year", "2014"])
    assert refused.value.code == 2 and "unrecognized arguments: --year" in capsys.readouterr().err
