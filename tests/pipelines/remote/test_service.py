# SPDX-License-Identifier: Apache-2.0
"""tf.data service with real processes on loopback."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from pipelines import DataError, EpisodeSampler, episode_dataset, open_source
from pipelines.errors import data_error_from
from pipelines.index import build_index
from pipelines.remote import client
from pipelines.remote import workers as workers_module
from pipelines.remote.__main__ import main
from pipelines.remote.workers import dispatcher
from tests.pipelines.tiny_voc import write_mask

SIZE = 64


class Workers:
    """A dispatcher here, workers as processes of their own."""

    def __init__(self, root, count):
        self.server = dispatcher()
        self.address = self.server.target.removeprefix("grpc://")
        self.processes = [subprocess.Popen(
            [sys.executable, "-m", "pipelines.remote", "worker", "--dispatcher", self.address,
             "voc", "--root", str(root)],
            stdout=subprocess.PIPE, text=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
            for _ in range(count)]
        for process in self.processes:
            assert "worker reads voc" in process.stdout.readline()

    def kill(self, number):
        self.processes[number].send_signal(signal.SIGKILL)
        self.processes[number].wait()

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def workers(tiny):
    started = Workers(tiny, 2)
    yield started
    started.stop()


@pytest.fixture
def source(tiny):
    return open_source("voc", tiny)


@pytest.fixture
def sampler(source):
    return EpisodeSampler(build_index(source, source.image_ids("all")).pairs, 1, seed=3)


def by_id(dataset):
    return {int(e["episode_id"]): e for e in dataset.unbatch().as_numpy_iterator()}


def test_two_workers_read_the_episodes_of_local_reading(source, sampler, workers):
    options = dict(image_size=SIZE, batch=4, count=40, flip=True, augment="pfenet")
    local = by_id(episode_dataset(source, sampler, **options))
    remote = by_id(episode_dataset(source, sampler, service=workers.address, **options))
    assert sorted(remote) == list(range(40))
    for number, episode in local.items():
        for key, value in episode.items():
            np.testing.assert_array_equal(value, remote[number][key], err_msg=key)


def test_a_killed_worker_loses_and_repeats_no_episode(source, sampler, workers, monkeypatch):
    monkeypatch.setattr(client, "STALL_S", 3.0)
    seen = []
    for batch in episode_dataset(source, sampler.take(300), image_size=SIZE, batch=1,
                                 service=workers.address):
        seen.append(int(batch["episode_id"][0]))
        if len(seen) == 20:
            workers.kill(0)
    assert sorted(seen) == list(range(300))


def test_ids_that_occur_twice_are_refused(source, sampler):
    with pytest.raises(DataError, match="some occur twice"):
        episode_dataset(source, sampler.take(2) * 2, image_size=SIZE, batch=1,
                        service="localhost:1")


def test_an_endless_stream_survives_a_killed_worker(source, sampler, workers):
    seen = []
    for batch in episode_dataset(source, sampler, image_size=SIZE, batch=4,
                                 service=workers.address).take(100):
        seen.extend(batch["episode_id"].numpy())
        if len(seen) == 20:
            workers.kill(1)
    assert len(set(seen)) == len(seen) == 400


def test_a_workers_error_names_the_file(source, tiny, workers):
    sampler = EpisodeSampler(build_index(source, source.image_ids("all")).pairs, 1, seed=3)
    for path in (tiny / "SegmentationClass").glob("*.png"):
        write_mask(path, np.zeros((7, 7), np.uint8))
    remote = episode_dataset(source, sampler, image_size=SIZE, batch=2, count=4,
                             service=workers.address)
    with pytest.raises(Exception) as failure:
        list(remote)
    reason = data_error_from(failure.value)
    assert isinstance(reason, DataError) and "7 x 7" in str(reason) and ".png" in str(reason)


def test_workers_of_another_data_set_are_told(tiny, workers):
    (tiny / "classes.txt").write_text("a\nb\nc\nd\n")  # the workers have read theirs
    source = open_source("voc", tiny)
    drawn = EpisodeSampler(build_index(source, source.image_ids("all")).pairs, 1, seed=3)
    for count in (None, 4):
        with pytest.raises(Exception) as failure:
            next(iter(episode_dataset(source, drawn, image_size=SIZE, batch=2, count=count,
                                      service=workers.address)))
        assert str(data_error_from(failure.value)).startswith(
            "service: its workers have no voc data set of these classes; start sst remote worker")


def test_a_list_that_is_shorter_than_there_are_readers(source, sampler, workers):
    shares = [by_id(episode_dataset(source, sampler.take(1), image_size=SIZE, batch=2,
                                    service=workers.address, shard=(i, 2))) for i in range(2)]
    assert [list(share) for share in shares] == [[0], []]


def test_features_stay_at_home(source, sampler):
    class Store:
        shape = (8, 8, 2)

    with pytest.raises(DataError, match="cache_features"):
        episode_dataset(source, sampler, image_size=SIZE, batch=1, count=4, features=Store(),
                        service="localhost:1")


@pytest.mark.parametrize("words, told", [
    (["dispatcher", "--port", "99999"], "--port: '99999': a port of 0 to 65535"),
    (["dispatcher", "--port", "-1"], "--port: '-1': a port of 0 to 65535"),
    (["worker", "--dispatcher", "localhost:1", "--port", "65536", "voc"],
     "--port: '65536': a port of 0 to 65535"),
    (["worker", "--dispatcher", "localhost:1", "voc"], "are required: --root")])
def test_wrong_options_of_the_servers_are_named(words, told, capsys, monkeypatch):
    monkeypatch.setattr(workers_module, "dispatcher", lambda *_: pytest.fail("listens"))
    with pytest.raises(SystemExit) as refused:
        main(words)
    assert refused.value.code == 2 and told in capsys.readouterr().err


def test_a_worker_without_a_dispatcher_ends(tiny, capsys, monkeypatch):
    monkeypatch.setattr(workers_module, "worker", lambda *_: pytest.fail("waits for ever"))
    with pytest.raises(SystemExit) as refused:
        main(["worker", "--dispatcher", "localhost:1", "voc", "--root", str(tiny)])
    assert refused.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error: --dispatcher 'localhost:1': no dispatcher there")
    assert len(told.splitlines()) == 1
