"""The prose of the protocol page: what no table of the registry says. Numbers come from the code.

`page.py` fills the `{names}` in and puts the generated tables between the chapters.
"""

from __future__ import annotations

BEGINNING = """\
# The taskq protocol, version {version}

Generated from the sources by `python -m taskq.protocol.page`; do not edit. This page is meant to
be enough to write a client in another language.

A client opens a TCP connection to any node (port 6379 unless configured otherwise), sends Hello,
waits for its answer, and then sends requests and receives replies, refusals and pushes. Nothing
but frames travels in either direction.

## Frames

| bytes | what |
|---|---|
| 4 | length, unsigned, big-endian: 1 + the size of the payload |
| 1 | type |
| length - 1 | payload |

A payload has at most {frame_size_max} bytes, so a length is 1..{length_max}. Before Hello is
accepted, the node takes payloads of at most {hello_size_max} bytes. Any other length ends the
connection.

## Payloads

A payload is exactly one [msgpack](https://github.com/msgpack/msgpack/blob/master/spec.md) value:
an array that starts with the format, the integer {format}.

| frame | type | payload |
|---|---|---|
| request | code of the message | `[{format}, request id, deadline_ms, fields]` |
| reply | code of the request + 0x80 | `[{format}, request id, fields]` |
| refusal | 0x{refusal_type:02X} | `[{format}, request id, fields of Refusal]` |
| push | code of the message | `[{format}, fields]` |

`fields` is an array of the fields of the message in the order of its table. Trailing fields that
have a default may be left out, and then hold it; a field in the middle may not. More fields than
the table has are refused in a request; in an answer, leave them aside: a later version may say
more. Where a table says that a field is a record (an array of the fields of another table), the
same holds for that array.

Of msgpack these are used: nil, bool, int (any width; 64 bits at most), str (valid UTF-8), bin,
array, map with keys of type str. A str is not accepted for bin nor the reverse, and a bool or a
float is not accepted for an int. There are no floats and no extension types (no timestamps). Of
equal keys in a map the last one counts.

A payload that is not such a value ends the connection, and so does a request without a legal
request id, or with an array longer than {array_count_least} and than twice the longest of its
message (or than {large_array_count_max} in a payload over {plain_size_max} bytes), or with a map
larger than {map_count_max}. Everything else that is wrong with a request is answered with a refusal
under its id.

In the tables: `int a..b` includes both ends; `str of a..b characters` counts Unicode code points,
`bin of a..b bytes` bytes; `array of a..b: x` holds a to b values x; `map of at most n: k -> v`.
Names that end in `_ms` are durations in milliseconds, in `_wall_ms` Unix time in milliseconds (0
in a reply: not yet), in `_size` bytes.
"""

SESSION = """\
## A session

1. The client connects and sends **Hello** as its first frame, as request 1 for instance. Anything
   else as the first frame ends the connection.
2. The client waits. Any byte behind Hello that arrives before it is answered ends the connection.
3. The node answers with **HelloReply**: the session is open. `protocol_version` is the highest
   version that both speak, chosen by the node from `versions` (version {version} is that of this
   page). Or the node answers with a refusal and closes the connection: `UNSUPPORTED_VERSION` (none
   in common), `UNAUTHENTICATED`, `TOO_MANY_CONNECTIONS`, `UNAVAILABLE` or `INVALID_REQUEST`. A
   refusal that belongs to no request carries request id {no_request}; the
   node may send one at any time just before it closes.
4. Requests follow. A second Hello ends the connection.

A node with authentication wants `key` in Hello. `UNAUTHENTICATED` comes a moment later than other
answers; it may also come by itself (request id {no_request}) when the key is revoked. Each message
names the role that it needs; admins have all. A key may be limited to queues by a pattern: another
queue by name is `PERMISSION_DENIED`, in batches member by member; a task of another queue is
`NOT_FOUND`; lists and counts hold the key's queues only, `GetStats` then without `totals`,
`durations`, sizes, and states that are not counted by queue. Messages about the cluster that need
an admin need a key without such a limit.

The node closes a connection on which it received nothing for `idle_timeout_ms` of the HelloReply
(30 s by default). A client that has sent nothing for a third of it sends **Ping**. Any frame
counts. A client should take the node for dead when a Ping is not answered within the same time.

When the node finds that the bytes are not this protocol, it sends a refusal that says why, with
request id {no_request}, and closes. What the client had sent before and has no answer for is then
unknown.

### Requests

- *Request ids* are chosen by the client, 1..2^63-1, each unique among its unanswered requests on
  that connection. Counting up from 1 will do. The answer carries the same id.
- *Pipelining*: requests may be sent without waiting for answers, at most
  `requests_in_flight_max` of the HelloReply at a time: with more, or with too many unread answers,
  the node reads no more from the connection until there is room. Answers come **in any order**.
- *Order*: no order is promised between requests that are in flight together. Where it matters,
  wait for the answer.
- *Deadlines*: `deadline_ms` is how long the client waits from now, 0 for {deadline_default} ms.
  What could not be started by then is refused with `DEADLINE_EXCEEDED`; what is in the log is
  answered when its disk write has returned, however late: keep a clock of your own, too. A
  `wait_ms` ends with the deadline: give a `deadline_ms` that is longer.
- *Pushes* need no answer, and come at any time after HelloReply.
- A request is answered once, unless the connection ends before.

### Finding the leader

Any node takes any request and passes it on to the leader; while there is none it keeps the request
until its deadline, and answers `NO_LEADER` only then. Going to the leader directly saves a step:
HelloReply and the reply to Ping name its node id in `leader`, and `members` of HelloReply its
address, which is empty where the node has not heard it yet. A client connects to any address that
it was given, reads HelloReply, and may then connect to the leader; where it cannot reach that
address, or is refused there, it stays with the node it has.

When another node leads, each node says so on all open connections: with a **HelloReply under
request id {no_request}**, which answers no request. Its `leader`, `term` and `members` are those of
now; going there is not urgent, for the node that has the connection passes requests on.

When a connection breaks, try the other addresses at once, each for a moment (50 ms, then the next
beside it) because a machine may be gone with its node; after a round in which none answered, wait
for a short random time that doubles with each round (50 ms to 1 s, for instance). What was not
answered may be repeated on the new connection (see below): the node keeps it until somebody leads.
A node that hangs closes no connection. Where an answer is due and not a byte came for half a
second, send Ping, then ask another node who leads: if that is not the one which hangs, in the same
`term` or a higher one, go on there.
"""

REFUSALS = """\
## Refusals

A refusal with `unknown` false means: nothing was changed by this request. With `unknown` true (the
leader was lost while it worked on the request, for instance) the request may have been carried out,
whatever the code is. The same holds for a connection that broke, and for a deadline of the client's
own that passed: repeat as described in the next chapter, or report the outcome as unknown. After an
attempt with an unknown outcome, a refusal of its repeat for a limit does not mean that the first
attempt was not carried out.

*Again*: "yes" where the same request may be sent again later, after `retry_after_ms` or a delay of
the client's choice; "no" where it would be refused again until something else changes. A code that
is not in the table is to be treated as "no".
"""

REPEATING = """\
## Repeating requests safely

Every request may be repeated after an unknown outcome, on the same or another connection, if it is
the same message with the same fields:

- *SubmitTask, SubmitTasks*: make the id yourself (UUIDv7: 48 bits of Unix time in ms, version 7,
  the rest random, as 16 bytes). The same id again is answered alike and makes no second task, as
  long as the record of the task is kept, and for at least 10 minutes (`dedup_window_secs`) of
  cluster time after its end. With nil for an id, a repeat makes a second task.
- *ClaimTask*: repeat with the same `worker_id` and `claim_number`: see Claims.
- *TaskResult, TaskResults, Ack, Nack*: name (task id, token). The same outcome again is answered
  alike; under a token that is no longer valid it is refused with `STALE_TOKEN` and changes nothing.
- *Heartbeat, ExtendLease, RegisterWorker, DeregisterWorker, CancelTask, CreateQueue, PauseQueue,
  ResumeQueue, PurgeQueue, DeleteQueue, RedriveDead, DeleteDead*: the second time changes nothing
  that the first did not, unless there is something new to act on (a task submitted meanwhile is
  purged, too). A task that is gone or alive again meanwhile is answered with `NOT_FOUND` or
  `WRONG_STATE`, and so is a queue.
- Questions change nothing.

A batch (SubmitTasks, TaskResults, RedriveDead, DeleteDead) is answered per member:
`[true, fields of the member's reply]` or `[false, fields of Refusal]`, in the order of the request;
a bad member does not spoil the others. A batch whose *form* is wrong (a field of any member outside
its table) is refused as a whole with `INVALID_REQUEST`, which names the member. To repeat, send the
whole batch again, or only the members that were not answered.
"""

TASKS = """\
### How a task moves

| from | to | when |
|---|---|---|
| (submit) | scheduled | with `delay_ms` or a `run_at_wall_ms` to come |
| (submit) | ready | otherwise |
| scheduled, retrying | ready | its time has come |
| ready | leased | a claim takes it |
| leased | completed | TaskResult with `ok`, or Ack |
| leased | retrying | failure with `retry`, or the end of its `timeout_ms`, with retries left |
| leased | scheduled | Nack with a `delay_ms` or with `unknown_task` |
| leased | ready | Nack; DeregisterWorker; the lease expired or the worker died |
| leased | dead | failure without `retry`; failure, or the end of `timeout_ms`, out of retries |
| leased | dead | too many lease expiries; Nack number {unknown_releases} with `unknown_task` |
| leased | cancelled | CancelTask with `force`; any end but completion after CancelTask |
| scheduled, ready, retrying | cancelled | CancelTask, PurgeQueue |
| scheduled, ready, retrying | expired | its `ttl_ms` is over |
| dead | ready | RedriveDead |

Higher priority goes first, then first in, first out. Execution is **at least once**: a task may
run twice, but only one completion is accepted.

### Tokens

A claimed task comes with a token, an integer that grows with every claim anywhere in the cluster.
All later acts name (task id, token). A token is valid until the task's lease ends, which is: by an
outcome, by expiry, by CancelTask with `force`, by the death or deregistration of the worker. From
then on whatever names it is refused with `STALE_TOKEN` and changes nothing, but for a repeat of the
outcome that was accepted under it, which is answered alike. Tokens may serve as fencing tokens
towards other systems.

A lease is kept by *Heartbeat*, which names the tokens that the worker really holds: exactly those
leases are extended, each by its own length. Send one every `heartbeat_interval_ms`, or every third
of the shortest lease held if that is less, and again after 2 s without an answer. A token in
`invalid` of the answer: stop working on that task. A token in `cancel`: stop, and report a failure
or give it back; the task then ends as cancelled. The same wish is pushed as *CancelRequested*. A
worker without contact for two intervals is dead: its tasks go to others. A claim or heartbeat of an
unknown worker registers it.

### Claims

A worker numbers its claims 1, 2, 3 ... under a `worker_id` that is random for each start of its
process; several may be in flight. The same number again returns those of its tasks whose token is
still valid, so that an answer that was lost can be asked for again. `lowest_unanswered` is the
lowest number whose answer has not arrived, or the next number to be used if all have: what lies
below is forgotten, and asked for again it is answered without tasks. A claim's own number is the
highest that it can name (else `INVALID_REQUEST`). Drop a second answer to a number. At most
{claims_remembered} claims may be unconfirmed (more: `TOO_MANY_CLAIMS`).

A worker whose key is limited to some queues is known by another id than the one that it gives,
which depends on the limit: so it is shown by QueryStatus and ListWorkers. Nobody can claim, send a
heartbeat or deregister under the id of a worker whose key has another limit.

With `wait_ms`, a claim that finds nothing is answered as soon as a task is ready, or without tasks
when the time is over. When the leader changes, the nodes carry waiting claims to the next one. A
claim that was answered without tasks is over; the next one takes the next number.
"""

VERSIONS = """\
## Versions

While a cluster is upgraded node by node, nodes of two versions answer. All of them do what the
cluster's feature level says, a number that is part of the replicated state: GetCluster tells it,
the version of each member and the levels that it can run, and the highest level that all can run.
What came with a later level is there when UpgradeCluster has raised it; nothing lowers it. A
message that an older node does not know is refused with `UNKNOWN_MESSAGE`, one with fields that it
does not know with `INVALID_REQUEST`: upgrade the nodes first, then clients and workers.
"""

BACKUPS = """\
## Backups

BeginBackup opens the state that is on the disk of the node at the other end of the connection, and
ReadBackup hands it out piece by piece while the node goes on. To hold everything that was
acknowledged before, ask GetStats first, of any node, and give its `applied_index` as `least_index`;
a node that has not come so far answers when it has, or refuses at the request's deadline. A backup
belongs to its connection: when that ends, or nothing was read for 30 s, begin a new one.

The pieces up to one whose `more` is false are a chunk, `crc` its CRC-32. A chunk is pairs, one
after the other: size of the key and size of the value (4 bytes each, big-endian), key, value; keys
ascend over all chunks. An empty chunk is the end. What the pairs mean is the node's business: they
are made to be given back whole (`taskq backup restore`).
"""
