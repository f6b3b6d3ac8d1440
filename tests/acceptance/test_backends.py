"""Forked workers judge by OpenVINO, threads and all, as PyTorch does in a process of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import build_film, chest_HW
from parts import Installation, RedisServer

from dicom_io.pixels import read_pixels
from model.predict import Predictor

FILMS = 4


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer) -> Iterator[Installation]:
    redis_server.flush()
    made = Installation(tmp_path / "data", broker_url=redis_server.url, pacs=None, extra="threads = 2")
    yield made
    made.stop()


def test_two_forked_children_judge_by_openvino_as_pytorch_does(site: Installation, tmp_path: Path) -> None:
    named = os.environ.get("CXR_MODEL")
    by_pytorch = Predictor(Path(named) if named else None, backend="pytorch")
    expected, paths = {}, []
    for seed in range(FILMS):
        film = build_film(chest_HW(seed=seed), SOPInstanceUID=f"2.25.47110{seed}")
        paths.append(tmp_path / f"film-{seed}.dcm")
        film.save_as(paths[-1], enforce_file_format=True)
        expected[film.SOPInstanceUID] = by_pytorch(read_pixels(film)).probability
    site.listen()
    site.work(concurrency=2)

    assert site.storescu(*paths).returncode == 0
    site.wait_for_states(*["reported"] * FILMS)

    query = "SELECT sop_instance_uid, backend, probability FROM analysis JOIN image ON image.id = image_id"
    rows = site.execute(query)
    assert {backend for _, backend, _ in rows} == {"openvino-cpu"}
    assert {uid: p for uid, _, p in rows} == pytest.approx(expected, abs=1e-3)
