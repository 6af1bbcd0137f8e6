"""The demo as a newcomer meets it: three servers that know one word each."""

from collections.abc import Iterator

import pytest

from tests.cluster.running import Cluster, plain_client


@pytest.fixture(scope="module")
def demo() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.wait_for_workers(3)
        yield cluster


@pytest.mark.parametrize(
    ("word", "attempts", "body"),
    [
        ("hello", 1, "Hello, welcome to the Load Balancer."),
        ("world", 2, "World! This is server 2."),
        ("  BYE ", 3, "Goodbye! Have a great day."),
    ],
)
def test_each_server_knows_its_word_and_the_others_are_asked_first(
    demo: Cluster, word: str, attempts: int, body: str
) -> None:
    with plain_client(demo.address) as client:
        reply = client.ask(word)
    assert (reply["status"], reply["body"], reply["attempts"]) == (200, body, attempts)
    assert [t["why"] for t in reply.get("tried", [])] == ["empty"] * (attempts - 1)


def test_what_nobody_knows_is_an_honest_503(demo: Cluster) -> None:
    with plain_client(demo.address) as client:
        reply = client.ask("invalid_input")
    assert (reply["status"], reply["reason"], reply["may_have_run"]) == (503, "exhausted", False)
    assert [t["why"] for t in reply["tried"]] == ["empty"] * 3
    assert reply["error"] == (
        "Error 503: Service Unavailable. No downstream server could process this frame."
    )


def test_the_first_answer_comes_within_a_second_of_the_start() -> None:
    import time

    cluster = Cluster()
    cluster.start()
    try:
        with plain_client(cluster.address) as client:
            assert client.ask("hello", timeout_ms=5000)["status"] == 200
            took_s = time.monotonic() - cluster.started_at
    finally:
        cluster.close()
    assert took_s < 3.0  # generous: about 0.3 s on two quiet cores
