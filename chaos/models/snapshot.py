"""How a follower takes over a snapshot, and what it keeps of its log (A11, A12).

The rule: chunks belong to one numbered stream; a snapshot at or below the applied index is ignored;
a whole one is synced beside the state, and the next opening of the folder, whatever led to it, puts
it in the state's place before the log is touched. Until then, or until it is discarded, the node
cuts no log of its own above it. Then, and at every opening: a log that holds the state's last entry
with the same term keeps what lies above it; one that does not is dropped and rebased on the state,
in one batch that keeps term and vote. But a log that ends below a state that the node wrote itself
has lost its end: that node counts for nothing (A8). A failed install is not answered. The leader
cuts no log above the snapshot's index while the stream runs.

State: a leader with committed entries (their terms are given), where its log begins, its newest
checkpoint, the stream to one follower and what that follower has acknowledged; the follower with
the index that it applied, the index of its state on disk and whether that is as received, where its
log begins, its terms, whether its vote is there, whether it counts, the chunks that came, and a
whole state that waits. A snapshot has two chunks.

Bound: four entries of terms 1 and 2, one stream broken off, one crash of the follower, in which its
log may lose its end. It begins with an empty log, a stale tail of term 1, or a good log that is
longer than the first snapshot.

What the follower acknowledged stays, unless it counts for nothing, and then it has lost something;
its state never goes back while it runs, is whole, and is never below where its log begins; its log
never differs from its state; its vote is never lost; and an installed snapshot is of use: the log
above it is still there.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from chaos.models.explore import Broken, Step

# The terms of the committed entries; `wider` appends to them.
TERMS = (1, 2, 2, 2)
# What the leader has in the beginning: entries, and a first checkpoint.
LENGTH = 3
CHECKPOINT = 2
CHUNKS = 2
BREAKS = 1
CRASHES = 1


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    DROPS_ALWAYS = "the whole log is dropped at every install"
    KEEPS_ALWAYS = "a long enough log is kept without comparing the term of the state's last entry"
    LOG_FIRST = "the log is rebased before the state is synced"
    VOTE_DROPPED = "term and vote are dropped with the log"
    OLDER_INSTALLED = "a snapshot below the applied index is installed"
    STREAMS_MIXED = "chunks are counted without the number of their stream"
    FAILURE_ANSWERED = "a failed install is answered as a success"
    CUTS_MEANWHILE = "the leader cuts its log above the snapshot while the stream runs"
    OWN_LOG_CUT = "the follower cuts its log above a state that waits to be put in place"
    DISMISSED_UNHELD = "the follower cuts its log above a waiting state that is not needed any more"
    LOST_END_IGNORED = "a log that ends below the state is rebased on it, whoever wrote that state"
    RECEIVED_IS_LOST = "a log that ends below the state has lost its end, received or not"


class Stream(NamedTuple):
    """`number` of the stream, up to which entry its snapshot goes, how many chunks were sent."""

    number: int
    upto: int
    sent: int


class State(NamedTuple):
    """Of the leader (`length`, `begin`, `checkpoint`, `stream`, `match`) and of the follower."""

    length: int
    begin: int
    checkpoint: int
    stream: Stream | None
    match: int
    # The follower: its log holds the terms of the entries above `base`.
    applied: int
    base: int
    log: tuple[int, ...]
    vote: bool
    chunks: tuple[tuple[int, int], ...]
    # Installed, synced, and the log not looked at yet.
    swapped: bool
    streams: int
    crashes: int
    # The state on disk, and whether it was not written since it was received (or made empty).
    written: int
    received: bool = True
    # A whole one beside it, synced; not needed any more, and not gone yet.
    waiting: int | None = None
    dismissed: bool = False
    lost: bool = False

    @property
    def end(self) -> int:
        """The index of the follower's last entry."""
        return self.base + len(self.log)


class Model:
    """One leader, one follower that is behind, and a stream between them that may break."""

    milestones = frozenset(
        {"append", "checkpoint", "open", "chunk", "break", "install", "keep", "rebase", "crash"}
        | {"finish", "write", "cut own", "dismiss", "discard", "lose"}
    )

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        self.terms = (*TERMS, *[2] * wider)

    def initial(self) -> Iterator[State]:
        """Three followers: new, with a stale tail, with a good log that is not applied yet."""
        logs: tuple[tuple[int, ...], ...] = ((), (1, 1, 1), (1, 2, 2))
        for log in logs:
            applied = min(1, len(log))
            leader = (LENGTH, 0, CHECKPOINT, None, 0)
            yield State(*leader, applied, 0, log, True, (), False, BREAKS, CRASHES, applied)

    def broken(self, state: State) -> str | None:
        """What must hold of the follower at any moment, while it counts."""
        if state.lost:
            return None
        if state.match > max(state.end, state.applied):
            return f"entry {state.match} was acknowledged, the follower ends at {state.end}"
        if state.applied < state.base:
            return f"the log begins above {state.base}, the state is at {state.applied}"
        if not state.vote:
            return "the vote is lost"
        return None

    def settled(self, state: object) -> bool:
        """The follower has everything, or it is another model's."""
        assert isinstance(state, State)
        return state.lost or state.match == len(self.terms)

    def steps(self, state: State) -> Iterator[Step[State]]:
        """The leader, the stream, the follower."""
        if state.lost:
            return
        yield from self._lead(state)
        yield from self._stream(state)
        yield from self._install(state)
        yield from self._append(state)
        yield from self._write(state)
        if state.crashes:
            yield from self._crash(state)

    def _crash(self, state: State) -> Iterator[Step[State]]:
        """A waiting state is put in place, and the log is looked at."""
        fallen = state._replace(crashes=state.crashes - 1, chunks=(), stream=None)
        index = state.written if state.waiting is None else state.waiting
        received = state.received or state.waiting is not None
        fallen = fallen._replace(
            applied=index, written=index, received=received, waiting=None, dismissed=False
        )
        yield self._opened("crash", "of the follower", fallen)
        if received:
            return  # what such a node loses of its log, nobody can tell
        for length in range(fallen.written - fallen.base):
            torn = fallen._replace(log=fallen.log[:length])
            yield self._opened("lose", f"all of the log above {torn.end}", torn, damaged=True)

    def _opened(
        self, deed: str, detail: str, state: State, *, damaged: bool = False
    ) -> Step[State]:
        ahead, wording = state.written > state.end, self.wording
        if wording is not Wording.RECEIVED_IS_LOST:
            ahead = ahead and not state.received
        if ahead and wording is not Wording.LOST_END_IGNORED:
            if not damaged:
                return Step(deed, detail, Broken("the node counts for nothing: nothing was lost"))
            return Step(deed, detail, state._replace(lost=True), fault=True)
        return Step(deed, detail, self._start(state), fault=True)

    def _lead(self, state: State) -> Iterator[Step[State]]:
        if state.length < len(self.terms):
            yield Step("append", f"{state.length + 1}", state._replace(length=state.length + 1))
        if state.checkpoint < state.length:
            made = state._replace(checkpoint=state.length)
            yield Step("checkpoint", f"at {state.length}", made)
        kept = state.stream.upto if state.stream else state.checkpoint
        limit = state.checkpoint if self.wording is Wording.CUTS_MEANWHILE else kept
        if state.begin < limit:
            yield Step("cut", f"the leader's log up to {limit}", state._replace(begin=limit))

    def _stream(self, state: State) -> Iterator[Step[State]]:
        stream = state.stream
        if stream is None:
            if state.end < state.begin or state.match < state.begin:
                opened = Stream(state.streams, state.checkpoint, 0)
                yield Step("open", f"a stream of {opened.upto}", state._replace(stream=opened))
            return
        if state.streams:
            ended = state._replace(stream=None, streams=state.streams - 1)
            if self.wording is not Wording.STREAMS_MIXED:
                ended = ended._replace(chunks=())
            yield Step("break", f"the stream of {stream.upto}", ended, fault=True)
        # While a whole one waits, the follower takes nothing, and ends the stream afterwards.
        if stream.sent < CHUNKS and state.waiting is None:
            chunks = (*state.chunks, (stream.number, stream.upto))
            sent = state._replace(stream=stream._replace(sent=stream.sent + 1), chunks=chunks)
            yield Step("chunk", f"{stream.sent + 1} of {stream.upto}", sent)

    def _install(self, state: State) -> Iterator[Step[State]]:
        if state.swapped:
            yield self._look(state)
            return
        if state.waiting is not None:
            yield from self._put_in_place(state, state.waiting)
        if len(state.chunks) < CHUNKS:
            return
        (_, index), *others = state.chunks[:CHUNKS]
        if any(other != index for _, other in others):
            yield Step("install", f"{index}", Broken("the state is made of two snapshots"))
            return
        rest = state._replace(chunks=(), stream=None)
        if index <= state.applied and self.wording is not Wording.OLDER_INSTALLED:
            yield Step("ignore", f"snapshot {index}: {state.applied} is applied", rest)
            return
        if self.wording is Wording.FAILURE_ANSWERED:
            yield Step("fail", f"to install {index}", rest._replace(match=index), fault=True)
        if self.wording is Wording.LOG_FIRST:
            if state.base < index:
                rebased = state._replace(base=index, log=())
                yield Step("rebase", f"the log on {index}", rebased)
            return
        if state.waiting is None:
            finished = state._replace(chunks=(), waiting=index)
            yield Step("finish", f"the state of {index}", finished)

    def _put_in_place(self, state: State, index: int) -> Iterator[Step[State]]:
        """The node opens its folder anew, or finds that it need not."""
        rest = state._replace(waiting=None, dismissed=False, stream=None)
        if state.dismissed:
            yield Step("discard", f"the state of {index}", rest)
            return
        if index <= state.applied and self.wording is not Wording.OLDER_INSTALLED:
            yield Step("dismiss", f"the state of {index}", state._replace(dismissed=True))
            return
        if index < state.applied:
            sentence = f"the state goes back from {state.applied} to {index}"
            yield Step("install", f"{index}", Broken(sentence))
            return
        # One whose stream broke may come late; the leader begins another one then.
        if state.stream is not None and state.begin > index == state.stream.upto:
            sentence = f"the snapshot of {index} is of no use: the log begins above {state.begin}"
            yield Step("install", f"{index}", Broken(sentence))
            return
        swapped = rest._replace(applied=index, written=index, received=True, swapped=True)
        yield Step("install", f"{index}", swapped)

    def _write(self, state: State) -> Iterator[Step[State]]:
        """The follower's own state goes to disk, and its log is cut behind it."""
        if state.swapped:
            return
        if state.written < state.applied:
            written = state._replace(written=state.applied, received=False)
            yield Step("write", f"the state of {state.applied}", written)
        held, wording = state.waiting, self.wording
        let_go = state.dismissed and wording is Wording.DISMISSED_UNHELD
        if held is None or let_go or wording is Wording.OWN_LOG_CUT:
            held = state.written
        limit = min(state.written, held)
        if state.base < limit:
            log = state.log[limit - state.base :]
            yield Step("cut own", f"log up to {limit}", state._replace(base=limit, log=log))

    def _look(self, state: State) -> Step[State]:
        """A12: what to keep of the log, now that the state is at `applied`."""
        after = self._start(state)
        deed = "keep" if after.log == state.log and after.base == state.base else "rebase"
        below = after.log[: after.applied - after.base]
        if below != self.terms[after.base : after.applied]:
            return Step(deed, "the log", Broken("the log differs from the state"))
        answered = after._replace(match=max(after.match, after.applied))
        return Step(deed, f"the log, which ends at {after.end}", answered)

    def _start(self, state: State) -> State:
        """At install and at every start."""
        index = state.applied - state.base
        holds = 0 < index <= len(state.log)
        same = holds and state.log[index - 1] == self.terms[state.applied - 1]
        if self.wording is Wording.KEEPS_ALWAYS:
            same = holds
        if self.wording is Wording.DROPS_ALWAYS and state.swapped:
            same = False
        state = state._replace(swapped=False)
        if same or index == 0:
            return state
        vote = state.vote and self.wording is not Wording.VOTE_DROPPED
        return state._replace(base=state.applied, log=(), vote=vote)

    def _append(self, state: State) -> Iterator[Step[State]]:
        """The follower takes in what the leader has above what both hold; then it applies."""
        if state.swapped or state.end < state.begin:
            return
        same = state.base
        while same < min(state.end, state.length):
            if state.log[same - state.base] != self.terms[same]:
                break
            same += 1
        # Without an entry that both hold there is nothing to append to.
        if same < state.begin:
            return
        if state.match < same:
            yield Step("acknowledge", f"{same}", state._replace(match=same))
        if same < state.length:
            log = (*state.log[: same - state.base], self.terms[same])
            yield Step("take", f"entry {same + 1}", state._replace(log=log))
        if state.applied < same:
            yield Step("apply", f"{state.applied + 1}", state._replace(applied=state.applied + 1))
