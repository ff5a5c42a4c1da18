"""Every limit of the protocol and the machine, each with its reason.

Limits that an operator may change live in the configuration and reach the machine as replicated
`Settings`; those here are fixed for a protocol version. Units: `_size` bytes, `_ms` milliseconds.
"""

# What names are made of that go into addresses, certificates and files, as a regular expression.
NAME_PATTERN = r"[A-Za-z0-9._-]{1,64}"

KIB = 1024
MIB = 1024 * KIB

# A frame is read whole before it is decoded: 16 MiB bounds what one connection can make us hold.
FRAME_SIZE_MAX = 16 * MIB
# What a frame holds beside payloads: ids, names, headers. Claims are packed up to this margin.
FRAME_MARGIN = 64 * KIB
# One entry is one disk write and one network message: small enough not to delay a heartbeat.
ENTRY_SIZE_MAX = 4 * MIB
# Tasks in one SubmitTasks, TaskResults, ... frame: bounds the work of one entry (about 10 ms).
BATCH_COUNT_MAX = 1_000

QUEUE_COUNT_MAX = 10_000
QUEUE_NAME_PATTERN = r"[A-Za-z0-9._:-]{1,200}"
TASK_NAME_SIZE_MAX = 200
HEADER_COUNT_MAX = 32
HEADER_SIZE_MAX = 1 * KIB
WORKER_NAME_SIZE_MAX = 200
# Longer error texts are cut, not refused: losing the tail of a traceback must not lose an outcome.
ERROR_SIZE_MAX = 64 * KIB
# How many ended attempts are kept with a task; older ones are forgotten.
ATTEMPT_HISTORY_MAX = 20

PRIORITY_MAX = 255
PRIORITY_DEFAULT = 150
# Lowest priority of the tiers `high` and `normal`; `low` starts at 0.
TIER_HIGH_MIN = 200
TIER_NORMAL_MIN = 100

RETRIES_MAX = 1_000
MAX_RETRIES_DEFAULT = 3
BACKOFF_MS_DEFAULT = 1_000
BACKOFF_MAX_MS_DEFAULT = 3_600_000

# Ten years: further away is a unit mistake (seconds taken for milliseconds), not a plan.
DURATION_MS_MAX = 10 * 365 * 86_400_000
# Wall times up to the year 9999, so that every date library can show them.
WALL_MS_MAX = 253_402_300_799_999
# A task that no worker of its queue knows by name ends after so many releases.
UNKNOWN_RELEASES_MAX = 10
# Each of these delays is twice the one before, up to the last; 1 s to 64 s are four minutes in all:
# longer than a rolling deploy stays between two versions.
UNKNOWN_DELAY_MS_DEFAULT = 1_000
UNKNOWN_DELAY_MS_MAX = 64_000
# A shorter lease would end between two heartbeats of a busy worker.
LEASE_MS_MIN = 1_000
LEASE_MS_MAX = 86_400_000
LEASE_MS_DEFAULT = 30_000
HEARTBEAT_INTERVAL_MS_DEFAULT = 15_000
# A worker is dead after this many heartbeat intervals without any contact.
DEAD_WORKER_INTERVALS = 2
# Claims wait in memory at the leader: a longer wait is a new claim.
WAIT_MS_MAX = 300_000
CLAIM_QUEUE_COUNT_MAX = 100
CLAIM_COUNT_MAX = 1_000
# Claims of one worker whose answers it has not yet confirmed.
CLAIMS_REMEMBERED_MAX = 1_000
HEARTBEAT_TOKEN_COUNT_MAX = 10_000
# A lease that no heartbeat can name would run out; each costs about 1 KiB of memory.
LEASES_PER_WORKER_MAX = HEARTBEAT_TOKEN_COUNT_MAX
WORKER_COUNT_MAX = 100_000
LIST_LIMIT_MAX = 1_000
# Records one listing looks at before it hands back a cursor, however few matched.
LIST_SCAN_MAX = 2_000
# Deadlines one Advance, and records one purge or Retain, act upon: bounds the work of one entry.
ADVANCE_LIMIT = 1_000
DEADLINE_MS_DEFAULT = 30_000
# Default of how long repeats of an ended task's id are recognised at least (cluster time).
DEDUP_WINDOW_MS_DEFAULT = 600_000

# Upper bounds in seconds of the buckets of `tq_task_processing_duration_seconds`, in milliseconds.
DURATION_BUCKETS_MS = (
    *(5, 10, 25, 50, 100, 250, 500),
    *(1_000, 2_500, 5_000, 10_000, 30_000, 60_000),
    *(300_000, 900_000, 3_600_000),
)
