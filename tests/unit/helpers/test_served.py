"""The server of the tests does what a real one does, and goes wrong as it is told."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.helpers.served import PATIENCE, Served, serve

BODY = bytes(range(256)) * 400


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "noarch").mkdir()
    (tmp_path / "noarch" / "a.conda").write_bytes(BODY)
    with serve(tmp_path, prefix="/channel") as running:
        yield running


def get(address: str) -> requests.Response:
    return requests.get(address, timeout=PATIENCE)


def url(server: Served) -> str:
    return f"{server.url}/noarch/a.conda"


def test_it_serves_files_parts_of_them_and_what_has_not_changed(server: Served) -> None:
    with requests.Session() as session:
        whole = session.get(url(server))
        assert (whole.status_code, whole.content) == (200, BODY)
        part = session.get(url(server), headers={"Range": "bytes=100-199", "If-Range": whole.headers["ETag"]})
        assert (part.status_code, part.content) == (206, BODY[100:200])
        assert part.headers["Content-Range"] == f"bytes 100-199/{len(BODY)}"
        other = session.get(url(server), headers={"Range": "bytes=100-199", "If-Range": '"another"'})
        assert (other.status_code, other.content) == (200, BODY)
        assert session.get(url(server), headers={"Range": f"bytes={len(BODY)}-"}).status_code == 416
        assert session.get(url(server), headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
        assert session.get(f"{server.url}/noarch/../../etc/passwd").status_code == 404
        assert session.head(url(server)).headers["Content-Length"] == str(len(BODY))
    assert server.connections == 1  # kept alive
    assert server.requests["/noarch/a.conda"] == 6
    assert server.bytes["/noarch/a.conda"] == 2 * len(BODY) + 100
    assert server.asked("/noarch/*") == ["/noarch/a.conda"]


def test_faults_happen_as_often_as_they_were_asked_for(server: Served) -> None:
    server.fault("*.conda", status=503, times=2)
    assert [get(url(server)).status_code for _ in range(3)] == [503, 503, 200]
    server.fault("*.conda", cut=0.5, times=1)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = get(url(server)).content
    server.fault("*.conda", spoil=True)
    spoiled = get(url(server)).content
    assert (len(spoiled), spoiled == BODY) == (len(BODY), False)
    server.fault("*/a.conda", status=302, location=f"{server.url}/noarch/b.conda")
    assert get(url(server)).status_code == 404
    server.heal()
    assert get(url(server)).content == BODY


def test_faults_by_chance_are_the_same_with_the_same_seed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    answers = []
    for seed in (1, 1, 2):
        with serve(tmp_path, seed=seed) as server:
            server.fault(share=0.5, status=500)
            answers.append([get(f"{server.url}/a").status_code for _ in range(20)])
    assert answers[0] == answers[1] != answers[2]
    assert set(answers[0]) == {200, 500}


def test_what_is_held_comes_when_it_is_let_go(server: Served) -> None:
    with ThreadPoolExecutor() as pool, server.hold("*.conda") as held:
        asked = pool.submit(get, url(server))
        held.arrived()
        assert not asked.done()
        held.free()
        assert asked.result().content == BODY
    with ThreadPoolExecutor() as pool, server.hold(until=2):
        assert [each.content for each in pool.map(get, [url(server)] * 2)] == [BODY] * 2
    with server.hold(after=1):
        assert get(url(server)).content == BODY
    assert get(url(server)).content == BODY


def test_a_dripping_answer_comes_in_parts_and_in_whole_when_it_is_let_go(server: Served) -> None:
    with server.hold(drip=True) as held, requests.get(url(server), stream=True, timeout=PATIENCE) as answer:
        begun = answer.raw.read(1000)
        assert server.bytes["/noarch/a.conda"] < len(BODY)
        held.free()
        assert begun + answer.raw.read() == BODY


def test_a_cut_connection_is_really_cut(server: Served) -> None:
    server.fault(cut=0.25)
    connection = http.client.HTTPConnection(server.url.removeprefix("http://").removesuffix("/channel"))
    connection.request("GET", "/channel/noarch/a.conda")
    with pytest.raises(http.client.IncompleteRead) as caught:
        connection.getresponse().read()
    assert len(caught.value.partial) == len(BODY) // 4
    connection.close()
