"""Mutual authentication of two nodes by a shared key: challenge and response. Pure, sans-I/O.

    dialler                                       acceptor
    HELLO: nonce, who, to whom        ---->
                                      <----       CHALLENGE: nonce, who, to whom
    PROOF: MAC("dialler", both)       ---->
                                      <----       VERDICT: code, MAC("acceptor", both, code)
    MESSAGE, MESSAGE, ...             ---->       nothing more in this direction

"Both" are the whole payloads of Hello and Challenge, so that nonces, ids, cluster ids, direction
and format are all under the MAC. Each side draws a fresh nonce: a recording proves nothing later.
The roles differ: what one side proved cannot be reflected to it. The dialler proves first, so that
a stranger who can connect gets nothing to guess the secret from. Ids are judged only after the
proof; what the peer may then hear is one byte of verdict.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from enum import IntEnum

from cluster.replication.peers.frames import (
    CHALLENGE,
    HELLO,
    PROOF,
    VERDICT,
    Frame,
    FrameError,
    pack_frame,
)
from cluster.replication.peers.introduction import (
    FORMAT,
    NONCE_SIZE,
    Introduced,
    Introduction,
    decode_introduction,
    encode_introduction,
)

_DIALLER = b"taskq raft dialler\0"
_ACCEPTOR = b"taskq raft acceptor\0"
_MESSAGES = b"taskq raft messages\0"


class Verdict(IntEnum):
    """What an authenticated peer is told. Numbers are on the wire and never reused."""

    WELCOME = 0
    OTHER_CLUSTER = 1  # it belongs to another cluster
    UNKNOWN_NODE = 2  # no member that we know
    OWN_ID = 3  # it has the id of the node that it talks to
    WRONG_NODE = 4  # it wanted somebody else
    WRONG_CERTIFICATE = 5  # its certificate is for another name
    SUPERSEDED = 6  # a newer connection of the same process was there first


class NotAuthenticated(FrameError):
    """The peer does not have the secret."""


class Refused(FrameError):
    """One side proved who it is and was turned away. `verdict` says why."""

    def __init__(self, verdict: Verdict, text: str) -> None:
        super().__init__(text)
        self.verdict = verdict


class Dialling:
    """The side that connected. Feed it frames until `message_key` is there."""

    def __init__(
        self, own: Introduction, to: str, key: bytes, random: Callable[[int], bytes]
    ) -> None:
        self._key = key
        self.own = own
        self._to = to
        self._hello = encode_introduction(own, to, random(NONCE_SIZE))
        self._transcript: bytes | None = None
        self.peer: Introduction | None = None  # proved as soon as `message_key` is there
        self.message_key: bytes | None = None  # seals the messages that this side sends

    def hello(self) -> bytes:
        """The first frame."""
        return pack_frame(HELLO, self._hello)

    def receive(self, frame: Frame) -> bytes:
        """What to send in answer (maybe nothing). Raises NotAuthenticated, Refused, FrameError."""
        kind, payload = frame
        if kind == CHALLENGE and self._transcript is None:
            return self._prove(payload)
        if kind == VERDICT and self._transcript is not None and self.message_key is None:
            self._conclude(payload, self._transcript)
            return b""
        raise FrameError(f"a frame of kind {kind} in the handshake")

    def _prove(self, payload: bytes) -> bytes:
        introduced = decode_introduction(payload)
        if introduced.version > FORMAT:
            raise FrameError(f"format {introduced.version} was not offered")
        self.peer = introduced.peer
        self._transcript = _transcript(self._hello, payload)
        return pack_frame(PROOF, _mac(self._key, _DIALLER, self._transcript))

    def _conclude(self, payload: bytes, transcript: bytes) -> None:
        code, mac = payload[:1], payload[1:]
        if not hmac.compare_digest(mac, _mac(self._key, _ACCEPTOR, transcript + code)):
            raise NotAuthenticated("the node that answered does not have the secret")
        assert self.peer is not None
        try:
            verdict = Verdict(code[0])
        except ValueError as error:
            raise FrameError(f"verdict {code[0]} is not known here") from error
        if verdict is not Verdict.WELCOME:
            raise Refused(verdict, f"the other side says: {verdict.name}")
        judge(self.own, self.peer, wanted=self._to, reached=self.peer.node_id)
        self.message_key = _mac(self._key, _MESSAGES, transcript)


class Accepting:
    """The side that was connected to. Feed it frames until `peer` is there, then say `verdict`."""

    def __init__(self, own: Introduction, key: bytes, random: Callable[[int], bytes]) -> None:
        self._key = key
        self.own = own
        self._nonce = random(NONCE_SIZE)
        self._transcript = b""
        self._claimed: Introduced | None = None
        self.peer: Introduction | None = None  # proved
        self.wanted = ""  # the node that the peer wanted to reach
        self.message_key = b""  # opens the messages that the peer sends; set with `peer`

    def receive(self, frame: Frame) -> bytes:
        """What to send in answer (maybe nothing). Raises NotAuthenticated, FrameError."""
        kind, payload = frame
        if kind == HELLO and self._claimed is None:
            return self._challenge(payload)
        if kind == PROOF and self._claimed is not None and self.peer is None:
            if not hmac.compare_digest(payload, _mac(self._key, _DIALLER, self._transcript)):
                raise NotAuthenticated("a node that dialled does not have the secret")
            self.message_key = _mac(self._key, _MESSAGES, self._transcript)
            self.peer, self.wanted = self._claimed.peer, self._claimed.to
            return b""
        raise FrameError(f"a frame of kind {kind} in the handshake")

    def _challenge(self, hello: bytes) -> bytes:
        self._claimed = decode_introduction(hello)
        version = min(self._claimed.version, FORMAT)
        to = self._claimed.peer.node_id
        challenge = encode_introduction(self.own, to, self._nonce, version)
        self._transcript = _transcript(hello, challenge)
        return pack_frame(CHALLENGE, challenge)

    def verdict(self, verdict: Verdict) -> bytes:
        """The last frame of the handshake, once `peer` is there."""
        assert self.peer is not None
        code = bytes([verdict])
        return pack_frame(VERDICT, code + _mac(self._key, _ACCEPTOR, self._transcript + code))


def judge(own: Introduction, peer: Introduction, *, wanted: str, reached: str) -> None:
    """Whether two ends that proved their ids belong together. Raises Refused.

    `wanted` is the id that the dialling side dialled, `reached` the one it found there. A node
    without a cluster (being founded) talks to any that has the secret.
    """
    if peer.node_id == own.node_id:
        raise Refused(Verdict.OWN_ID, f"another node has our id {own.node_id}")
    if wanted != reached:
        raise Refused(Verdict.WRONG_NODE, f"{wanted} was dialled, but {reached} is there")
    if own.cluster_id and peer.cluster_id and own.cluster_id != peer.cluster_id:
        text = f"{peer.node_id} belongs to cluster {peer.cluster_id}, this node to {own.cluster_id}"
        raise Refused(Verdict.OTHER_CLUSTER, text)


def _transcript(hello: bytes, challenge: bytes) -> bytes:
    # The length first: no other pair of payloads gives the same bytes.
    return len(hello).to_bytes(4, "big") + hello + challenge


def _mac(key: bytes, role: bytes, content: bytes) -> bytes:
    return hmac.digest(key, role + content, "sha256")
