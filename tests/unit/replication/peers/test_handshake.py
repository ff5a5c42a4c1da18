"""Both ends of the handshake joined in memory, and everybody who tries to get in between."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.replication.peers.frames import (
    CHALLENGE,
    GREETING_SIZE_MAX,
    HELLO,
    MESSAGE,
    PROOF,
    VERDICT,
    Frame,
    FrameError,
    FrameReader,
)
from cluster.replication.peers.handshake import (
    Accepting,
    Dialling,
    NotAuthenticated,
    Refused,
    Verdict,
    judge,
)
from cluster.replication.peers.introduction import (
    TEXT_SIZE_MAX,
    Introduction,
    decode_introduction,
    encode_introduction,
)

KEY = b"k" * 32
A = Introduction("a", "c1", "disk-a", b"A" * 16, 7)
B = Introduction("b", "c1", "disk-b", b"B" * 16, 0)


def entropy(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def dialling(own: Introduction = A, to: str = "b", key: bytes = KEY, seed: int = 1) -> Dialling:
    return Dialling(own, to, key, entropy(seed))


def accepting(own: Introduction = B, key: bytes = KEY, seed: int = 2) -> Accepting:
    return Accepting(own, key, entropy(seed))


def cut(data: bytes) -> Frame:
    reader = FrameReader()
    reader.feed(data)
    frame = reader.next()
    assert frame is not None
    assert reader.pending == 0
    return frame


def meet(one: Dialling, other: Accepting, verdict: Verdict = Verdict.WELCOME) -> list[Frame]:
    """Runs the handshake; what was on the wire."""
    wire = [cut(one.hello())]
    wire.append(cut(other.receive(wire[-1])))
    wire.append(cut(one.receive(wire[-1])))
    assert other.receive(wire[-1]) == b""
    wire.append(cut(other.verdict(verdict)))
    assert one.receive(wire[-1]) == b""
    return wire


def show(side: Dialling | Accepting, *frames: Frame) -> None:
    """Feeds the side, whatever it answers."""
    for frame in frames:
        side.receive(frame)


def test_both_know_each_other_and_share_a_key() -> None:
    one, other = dialling(), accepting()
    wire = meet(one, other)
    assert [kind for kind, _ in wire] == [HELLO, CHALLENGE, PROOF, VERDICT]
    assert (one.peer, other.peer, other.wanted) == (B, A, "b")
    assert one.message_key == other.message_key
    assert len(other.message_key) == 32
    assert other.message_key != KEY


def test_every_connection_has_keys_of_its_own() -> None:
    keys = set()
    for seed in range(5):
        one = dialling(seed=seed)
        meet(one, accepting())
        keys.add(one.message_key)
        two = dialling()
        meet(two, accepting(seed=seed + 100))
        keys.add(two.message_key)
    assert len(keys) == 10


def test_the_acceptor_finds_out_a_wrong_secret_and_says_nothing() -> None:
    one, other = dialling(key=b"x" * 32), accepting()
    challenge = cut(other.receive(cut(one.hello())))
    with pytest.raises(NotAuthenticated):
        other.receive(cut(one.receive(challenge)))
    assert other.peer is None
    assert other.message_key == b""


def test_the_dialler_finds_out_a_wrong_secret() -> None:
    # The acceptor lets everybody in: that alone must not be enough.
    one, other = dialling(), accepting(key=b"x" * 32)
    cut(one.receive(cut(other.receive(cut(one.hello())))))
    other.peer = A
    with pytest.raises(NotAuthenticated):
        one.receive(cut(other.verdict(Verdict.WELCOME)))
    assert one.message_key is None


def test_a_recorded_dialler_proves_nothing_later() -> None:
    hello, _, proof, _ = meet(dialling(), accepting())
    later = accepting(seed=3)
    later.receive(hello)
    with pytest.raises(NotAuthenticated):
        later.receive(proof)


def test_a_recorded_acceptor_proves_nothing_later() -> None:
    _, challenge, _, verdict = meet(dialling(), accepting())
    later = dialling(seed=4)
    later.receive(challenge)
    with pytest.raises(NotAuthenticated):
        later.receive(verdict)


def test_a_node_that_is_led_to_its_own_door_notices() -> None:
    # The attacker has b's address: A dials it, it dials A, and passes on all that A says.
    one, door_of_a = dialling(), accepting(own=A, seed=5)
    challenge = cut(door_of_a.receive(cut(one.hello())))
    door_of_a.receive(cut(one.receive(challenge)))
    assert door_of_a.peer == A  # true, and no reason to let it in
    with pytest.raises(Refused) as caught:
        judge(A, door_of_a.peer, wanted=door_of_a.wanted, reached="a")
    assert caught.value.verdict is Verdict.OWN_ID
    # Even a welcome would not do: A sees that it has reached itself.
    with pytest.raises(Refused):
        one.receive(cut(door_of_a.verdict(Verdict.WELCOME)))


def test_a_reflected_challenge_is_no_use() -> None:
    # The attacker dials A as b, and hands A's challenge back to A where A has dialled b.
    door_of_a, one = accepting(own=A, seed=5), dialling()
    forged = encode_introduction(B, "a", b"n" * 32)
    nonce = decode_introduction(cut(door_of_a.receive((HELLO, forged)))[1]).nonce
    proof = cut(one.receive((CHALLENGE, encode_introduction(B, "a", nonce))))
    with pytest.raises(NotAuthenticated):
        door_of_a.receive(proof)


def test_a_reflected_hello_or_proof_is_no_answer() -> None:
    one = dialling()
    with pytest.raises(FrameError):
        one.receive(cut(one.hello()))
    one, other = dialling(), accepting()
    proof = cut(one.receive(cut(other.receive(cut(one.hello())))))
    with pytest.raises(NotAuthenticated):
        one.receive((VERDICT, b"\0" + proof[1]))


@given(st.integers(0, 3), st.integers(0, 10_000), st.integers(1, 255))
def test_a_change_of_any_byte_ends_the_handshake(which: int, place: int, change: int) -> None:
    one, other = dialling(), accepting()

    def tamper(frame: Frame, number: int) -> Frame:
        if number != which:
            return frame
        payload = bytearray(frame[1])
        payload[place % len(payload)] ^= change
        return frame[0], bytes(payload)

    def run() -> None:
        challenge = cut(other.receive(tamper(cut(one.hello()), 0)))
        proof = cut(one.receive(tamper(challenge, 1)))
        other.receive(tamper(proof, 2))
        one.receive(tamper(cut(other.verdict(Verdict.WELCOME)), 3))

    with pytest.raises(FrameError):
        run()
    assert one.message_key is None
    assert which == 3 or other.peer is None


@given(st.integers(0, 3), st.integers(0, 300))
def test_a_shorter_payload_ends_the_handshake(which: int, size: int) -> None:
    wire = meet(dialling(), accepting())
    kind, payload = wire[which]
    short = (kind, payload[: size % len(payload)])
    # 0 and 2 go to the acceptor, 1 and 3 to the dialler.
    side = dialling() if which % 2 else accepting()
    show(side, *wire[which % 2 : which : 2])
    with pytest.raises(FrameError):
        side.receive(short)
    assert not side.message_key


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=400)), max_size=5))
def test_random_frames_get_nobody_in(frames: list[Frame]) -> None:
    for side in (dialling(), accepting()):
        try:
            for frame in frames:
                side.receive(frame)
        except FrameError:
            pass
        assert not side.message_key


def test_frames_out_of_order_are_refused() -> None:
    wire = meet(dialling(), accepting())
    for start in ([2], [0, 0], [1], [3], [0, 2, 2], [0, 2, 0]):
        other = accepting()
        with pytest.raises(FrameError):
            show(other, *(wire[number] for number in start))
    for start in ([3], [1, 1], [0], [2], [1, 3, 3], [1, 3, 1]):
        one = dialling()
        with pytest.raises(FrameError):
            show(one, *(wire[number] for number in start))
    with pytest.raises(FrameError):
        accepting().receive((MESSAGE, b"x" * 40))


@pytest.mark.parametrize("verdict", [one for one in Verdict if one is not Verdict.WELCOME])
def test_the_dialler_hears_why_it_was_refused(verdict: Verdict) -> None:
    one = dialling()
    with pytest.raises(Refused) as caught:
        meet(one, accepting(), verdict)
    assert caught.value.verdict is verdict
    assert one.message_key is None


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (B._replace(node_id="a"), Verdict.OWN_ID),
        (B._replace(node_id="z"), Verdict.WRONG_NODE),
        (B._replace(cluster_id="c2"), Verdict.OTHER_CLUSTER),
    ],
)
def test_the_dialler_judges_whom_it_reached(other: Introduction, verdict: Verdict) -> None:
    with pytest.raises(Refused) as caught:
        meet(dialling(), accepting(own=other))
    assert caught.value.verdict is verdict


def test_a_node_without_a_cluster_talks_to_any() -> None:
    meet(dialling(own=A._replace(cluster_id="")), accepting())
    meet(dialling(), accepting(own=B._replace(cluster_id="")))


def test_an_older_format_is_taken_and_a_newer_one_is_not() -> None:
    hello = encode_introduction(A, "b", b"n" * 32, version=9)
    kind, challenge = cut(accepting().receive((HELLO, hello)))
    assert decode_introduction(challenge).version == 1
    newer = encode_introduction(B, "a", b"n" * 32, version=2)
    with pytest.raises(FrameError, match="not offered"):
        dialling().receive((kind, newer))


TEXT = st.text(max_size=50)


@given(TEXT, TEXT, TEXT, TEXT, st.integers(0, (1 << 64) - 1))
def test_introductions_come_back(node: str, cluster: str, disk: str, to: str, number: int) -> None:
    own = Introduction(node, cluster, disk, b"i" * 16, number)
    assert decode_introduction(encode_introduction(own, to, b"n" * 32)) == (own, to, b"n" * 32, 1)


def test_the_longest_introduction_fits_before_the_proof() -> None:
    text = "x" * TEXT_SIZE_MAX
    own = Introduction(text, text, text, b"i" * 16, 0)
    assert len(encode_introduction(own, text, b"n" * 32)) <= GREETING_SIZE_MAX
    with pytest.raises(ValueError, match="longer than"):
        encode_introduction(own, text + "x", b"n" * 32)


@given(st.binary(max_size=300))
def test_random_introductions_are_refused(tail: bytes) -> None:
    good = encode_introduction(A, "b", b"n" * 32)
    for payload in (tail, good[:65] + tail, good + tail):
        if payload != good:
            with pytest.raises(FrameError):
                decode_introduction(payload + b"\xff")
