-- The store of a node. A new store is made by the migrations beside this file, which end in exactly this.
--
--   meta        one row: what the whole store is at
--   nodes       those that run executions; a node that is alone knows itself
--   executions  each run of a handler or saga handler, with its current attempt
--   operations  the journal of each execution: its recorded operations, under (kind, key)
--   attempts    attempts that ended without completing their execution or operation
--   inbox       signals that executions received; those of runs that continue each other are the first one's
--   outbox      signals that executions sent to clients
--   timers      what is due when, on an execution
--
-- Times are Unix milliseconds (*_ms). Payloads are UTF-8 JSON in BLOBs, opaque to the node; failures, options and
-- retry policies, handlers and slots are JSON texts. States and what they mean: engine/model.py.

CREATE TABLE meta (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    applied_index INTEGER NOT NULL,          -- of the log: entries up to here are in this store
    last_row      INTEGER NOT NULL,          -- highest number given to an execution's row, an operation's seq or its end
    node_id       TEXT,                      -- whose store it is; NULL before the first start, and in a snapshot
    cluster       TEXT,                      -- whose log is applied to it; NULL: the node is alone
    counts        TEXT    NOT NULL DEFAULT '[]',  -- executions of each owner, component and status: no start counts
                                             -- them. Of what has ended, those that were deleted too
    lowest_epoch   INTEGER NOT NULL DEFAULT 0,  -- of new executions: above those of what was deleted soon after its end
    lowest_epoch_until_ms INTEGER NOT NULL DEFAULT 0  -- and 0 from then on
) STRICT;

CREATE TABLE nodes (
    id          TEXT    NOT NULL PRIMARY KEY,
    run         TEXT    NOT NULL,            -- of its process; what an earlier process still sends is dropped
    incarnation INTEGER NOT NULL,            -- counts its runs
    live        INTEGER NOT NULL CHECK (live IN (0, 1)),
    draining    INTEGER NOT NULL CHECK (draining IN (0, 1)),
    handlers    TEXT    NOT NULL,
    slots       TEXT    NOT NULL,            -- workers of each pool
    address     TEXT    NOT NULL,            -- of its API
    sequence    INTEGER NOT NULL DEFAULT 0,  -- of the last batch of its run that was applied
    format      INTEGER NOT NULL DEFAULT 1,  -- the latest of the log's that its version knows
    hash_seed   INTEGER                      -- of all worker hosts: the same on each node
) STRICT, WITHOUT ROWID;

CREATE TABLE executions (
    row                INTEGER PRIMARY KEY,  -- grows with creation; never leaves the node
    id                 TEXT    NOT NULL UNIQUE,
    handler            TEXT    NOT NULL,
    component          TEXT    NOT NULL,
    status             TEXT    NOT NULL,
                           -- scheduled      waits for due_ms: a delay, or the backoff of the next attempt
                           -- queued         waits for a slot, or, without ready_at, for a place of its key
                           -- running
                           -- waiting        for a signal, a timer or another execution; holds no slot
                           -- compensating   undoes its steps, last first
                           -- stuck          a compensation is out of retries: an operator decides
                           -- suspended      replay met other code than was recorded, or its nodes died of it
                           -- and, for good: completed, failed, cancelled, terminated, timed_out, compensated,
                           -- continued_as_new
    owner              TEXT    NOT NULL,     -- id of the node that runs it
    created_ms         INTEGER NOT NULL,
    arguments          BLOB    NOT NULL,
    options            TEXT    NOT NULL,
    parent_row         INTEGER REFERENCES executions,
    parent_id          TEXT,
    request_id         TEXT,
    priority           INTEGER NOT NULL,
    epoch              INTEGER NOT NULL,     -- fence: raised whenever the right to run passes on
    attempt            INTEGER NOT NULL,     -- of the current or last attempt, 1-based; 0 before the first
    failures           INTEGER NOT NULL,
    generation         INTEGER NOT NULL,     -- grows with each failed attempt
    crashes            INTEGER NOT NULL,
    attached           INTEGER NOT NULL CHECK (attached IN (0, 1)),   -- a worker host holds its stack
    pending            INTEGER NOT NULL CHECK (pending >= 0),         -- waits that are not over
    pool               TEXT    NOT NULL,
    ready_at           INTEGER,              -- since when it waits for a slot
    resumes            INTEGER NOT NULL CHECK (resumes IN (0, 1)),    -- ahead of those that start
    compensating       TEXT,                 -- key of the step being undone
    attempt_started_ms INTEGER,
    started_ms         INTEGER,
    closed_ms          INTEGER,
    due_ms             INTEGER,
    deadline_ms        INTEGER,
    result             BLOB,
    failure            TEXT,
    retry_state        TEXT,
    ending             TEXT,
    cancel_requested   INTEGER NOT NULL CHECK (cancel_requested IN (0, 1)),
    cancel_delivered   INTEGER NOT NULL CHECK (cancel_delivered IN (0, 1)),
    reason             TEXT    NOT NULL,
    waiters            INTEGER NOT NULL CHECK (waiters >= 0),
    awaited            INTEGER NOT NULL CHECK (awaited IN (0, 1)),
    has_children       INTEGER NOT NULL CHECK (has_children IN (0, 1)),
    inbox              INTEGER NOT NULL,     -- signals received
    consumed           INTEGER NOT NULL CHECK (consumed <= inbox),
    outbox             INTEGER NOT NULL,     -- signals sent to clients
    heartbeat          BLOB,
    concurrency_key    TEXT,                 -- only so many executions of the handler with it are under way
    place              INTEGER               -- of its key: the row of the execution that it was given to
                           CHECK (place IS NULL OR (concurrency_key IS NOT NULL AND closed_ms IS NULL)),
    format             INTEGER NOT NULL DEFAULT 1,  -- of the log, in use when it was enqueued
    cancel_seq         INTEGER,              -- place of the cancel among the ends of its operations
    cancelled_ms       INTEGER,              -- when it was requested
    run                INTEGER NOT NULL DEFAULT 1,  -- of those that had its id in turn, 1-based
    previous           INTEGER,              -- row of the run before
    mailbox            INTEGER,              -- row of the run whose inbox and outbox it goes on with; NULL: its own
    max_duration_ms    INTEGER,
    node_deaths        INTEGER NOT NULL DEFAULT 0,  -- in a row, each soon after it was given out
    journal_deleted_ms INTEGER,              -- when what it recorded was deleted, and of its arguments what is long
    CHECK ((closed_ms IS NOT NULL)
           = (status = 'completed' OR status = 'failed' OR status = 'cancelled' OR status = 'terminated'
              OR status = 'timed_out' OR status = 'compensated' OR status = 'continued_as_new')),
    CHECK (closed_ms IS NULL OR (attached = 0 AND ready_at IS NULL))
) STRICT;

CREATE INDEX executions_by_status ON executions (status, row);
CREATE INDEX executions_by_handler ON executions (handler, row);
CREATE INDEX executions_by_parent ON executions (parent_row, row) WHERE parent_row IS NOT NULL;
CREATE INDEX executions_by_mailbox ON executions (mailbox, row) WHERE mailbox IS NOT NULL;
CREATE INDEX executions_ready ON executions (owner, pool, resumes DESC, priority DESC, row) WHERE ready_at IS NOT NULL;
CREATE INDEX executions_waiting_for_place ON executions (handler, concurrency_key, priority DESC, row)
    WHERE status = 'queued' AND ready_at IS NULL;
CREATE INDEX executions_with_place ON executions (handler, concurrency_key, attempt, priority DESC, row, place)
    WHERE place IS NOT NULL;

CREATE TABLE operations (
    execution_row INTEGER NOT NULL REFERENCES executions,
    kind          TEXT    NOT NULL,
    key           TEXT    NOT NULL,
    seq           INTEGER NOT NULL,          -- order of recording
    status        TEXT    NOT NULL,
                      -- pending              a wait that is not over; a compensation that waits for a slot
                      -- running              a step whose transaction was begun; a compensation; a side effect with a
                      --                      timeout, whose stack was given up while it ran
                      -- retrying             failed; the next attempt is due at due_ms, or was due before
                      -- and, for good: completed, failed, timed_out, cancelled, skipped, refused, given_up
    target        TEXT    NOT NULL,
    target_row    INTEGER,                   -- of an execution, which may be deleted before this one
    digest        BLOB    NOT NULL,
    generation    INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    input         BLOB,
    result        BLOB,
    failure       TEXT,
    retry_state   TEXT,
    in_doubt      INTEGER NOT NULL CHECK (in_doubt IN (0, 1)),
    started_ms    INTEGER NOT NULL,
    closed_ms     INTEGER,
    due_ms        INTEGER,
    signal_seq    INTEGER,                   -- of the signal in the inbox that a completed wait took
    end_seq       INTEGER NOT NULL DEFAULT 0,  -- order in which the log decided how operations end
    beside        INTEGER NOT NULL DEFAULT 0,  -- 1: the code of the execution goes on beside it
    PRIMARY KEY (execution_row, kind, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX operations_pending ON operations (execution_row) WHERE status = 'pending';
CREATE INDEX operations_retrying ON operations (execution_row) WHERE status = 'retrying';
CREATE INDEX operations_waiters ON operations (target_row) WHERE kind = 'wait' AND status = 'pending';

CREATE TABLE attempts (
    execution_row INTEGER NOT NULL REFERENCES executions,
    kind          TEXT,                      -- of the operation; NULL: of the execution itself
    key           TEXT    NOT NULL,
    number        INTEGER NOT NULL,          -- 1-based; a resolved compensation counts on
    failure       TEXT    NOT NULL,
    started_ms    INTEGER NOT NULL,
    ended_ms      INTEGER NOT NULL,
    left_out      INTEGER NOT NULL DEFAULT 0  -- attempts between the one before and this one that are not kept
) STRICT;

CREATE INDEX attempts_by_execution ON attempts (execution_row);
CREATE INDEX attempts_by_operation ON attempts (execution_row, kind, key);

CREATE TABLE inbox (
    execution_row INTEGER NOT NULL REFERENCES executions,
    seq           INTEGER NOT NULL,          -- 1-based, in the order of arrival
    name          TEXT    NOT NULL,
    payload       BLOB    NOT NULL,          -- empty once consumed: the operation that took it has it
    at_ms         INTEGER NOT NULL,
    request_id    TEXT,
    consumed      INTEGER NOT NULL CHECK (consumed IN (0, 1)),
    sender        TEXT    NOT NULL DEFAULT '',  -- an execution, or the address of a client
    set_aside     TEXT CHECK (set_aside IS NULL OR consumed = 0),  -- why no wait takes it
    taken_by      INTEGER,                   -- row of the run that consumed it
    PRIMARY KEY (execution_row, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX inbox_in_line ON inbox (execution_row, name, seq) WHERE consumed = 0 AND set_aside IS NULL;
CREATE UNIQUE INDEX inbox_requests ON inbox (execution_row, request_id) WHERE request_id IS NOT NULL;

CREATE TABLE outbox (
    execution_row INTEGER NOT NULL REFERENCES executions,
    seq           INTEGER NOT NULL,          -- 1-based, in the order of sending
    name          TEXT    NOT NULL,
    payload       BLOB    NOT NULL,
    at_ms         INTEGER NOT NULL,
    PRIMARY KEY (execution_row, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE timers (
    execution_row INTEGER NOT NULL REFERENCES executions,
    name          TEXT    NOT NULL,          -- start, queue, deadline, attempt, heartbeat, clearing, or
                                             -- <operation kind>:<key>
    due_ms        INTEGER NOT NULL,
    PRIMARY KEY (execution_row, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX timers_due ON timers (due_ms);
