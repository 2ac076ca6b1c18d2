CREATE TABLE meta (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    applied_index INTEGER NOT NULL,
    last_row      INTEGER NOT NULL,
    incarnation   INTEGER NOT NULL,
    node_id       TEXT
) STRICT;

CREATE TABLE executions (
    row                INTEGER PRIMARY KEY,
    id                 TEXT    NOT NULL UNIQUE,
    handler            TEXT    NOT NULL,
    component          TEXT    NOT NULL CHECK (component IN ('handler', 'saga')),
    status             TEXT    NOT NULL CHECK (status IN (
                           'scheduled',
                           'queued',
                           'running',
                           'waiting',
                           'compensating',
                           'stuck',
                           'suspended',
                           'completed', 'failed', 'cancelled', 'terminated', 'timed_out', 'compensated')),
    owner              TEXT    NOT NULL,
    created_ms         INTEGER NOT NULL,
    arguments          BLOB    NOT NULL,
    options            TEXT    NOT NULL,
    parent_row         INTEGER REFERENCES executions,
    parent_id          TEXT,
    request_id         TEXT,
    priority           INTEGER NOT NULL,
    epoch              INTEGER NOT NULL,
    attempt            INTEGER NOT NULL,
    failures           INTEGER NOT NULL,
    generation         INTEGER NOT NULL,
    crashes            INTEGER NOT NULL,
    attached           INTEGER NOT NULL CHECK (attached IN (0, 1)),
    pending            INTEGER NOT NULL CHECK (pending >= 0),
    pool               TEXT    NOT NULL CHECK (pool IN ('handler', 'saga', 'compensation')),
    ready_at           INTEGER,
    resumes            INTEGER NOT NULL CHECK (resumes IN (0, 1)),
    compensating       TEXT,
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
    inbox              INTEGER NOT NULL,
    consumed           INTEGER NOT NULL CHECK (consumed <= inbox),
    outbox             INTEGER NOT NULL,
    heartbeat          BLOB,
    CHECK ((closed_ms IS NOT NULL)
           = (status IN ('completed', 'failed', 'cancelled', 'terminated', 'timed_out', 'compensated'))),
    CHECK (closed_ms IS NULL OR (attached = 0 AND ready_at IS NULL))
) STRICT;

CREATE INDEX executions_by_status ON executions (status, row);
CREATE INDEX executions_by_handler ON executions (handler, row);
CREATE INDEX executions_by_parent ON executions (parent_row, row) WHERE parent_row IS NOT NULL;
CREATE INDEX executions_ready ON executions (pool, resumes DESC, priority DESC, row) WHERE ready_at IS NOT NULL;

CREATE TABLE operations (
    execution_row INTEGER NOT NULL REFERENCES executions,
    kind          TEXT    NOT NULL CHECK (kind IN (
                      'side_effect', 'step', 'compensation', 'child', 'wait', 'signal', 'signal_sent', 'timer',
                      'marker')),
    key           TEXT    NOT NULL,
    seq           INTEGER NOT NULL,
    status        TEXT    NOT NULL CHECK (status IN (
                      'pending',
                      'running',
                      'retrying',
                      'completed', 'failed', 'timed_out', 'cancelled', 'skipped')),
    target        TEXT    NOT NULL,
    target_row    INTEGER REFERENCES executions,
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
    PRIMARY KEY (execution_row, kind, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX operations_pending ON operations (execution_row) WHERE status = 'pending';
CREATE INDEX operations_waiters ON operations (target_row) WHERE kind = 'wait' AND status = 'pending';

CREATE TABLE attempts (
    execution_row INTEGER NOT NULL REFERENCES executions,
    kind          TEXT,
    key           TEXT    NOT NULL,
    number        INTEGER NOT NULL,
    failure       TEXT    NOT NULL,
    started_ms    INTEGER NOT NULL,
    ended_ms      INTEGER NOT NULL
) STRICT;

CREATE INDEX attempts_by_execution ON attempts (execution_row);

CREATE TABLE inbox (
    execution_row INTEGER NOT NULL REFERENCES executions,
    seq           INTEGER NOT NULL,
    name          TEXT    NOT NULL,
    payload       BLOB    NOT NULL,
    at_ms         INTEGER NOT NULL,
    request_id    TEXT,
    consumed      INTEGER NOT NULL CHECK (consumed IN (0, 1)),
    PRIMARY KEY (execution_row, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX inbox_unconsumed ON inbox (execution_row, name, seq) WHERE consumed = 0;
CREATE UNIQUE INDEX inbox_requests ON inbox (execution_row, request_id) WHERE request_id IS NOT NULL;

CREATE TABLE outbox (
    execution_row INTEGER NOT NULL REFERENCES executions,
    seq           INTEGER NOT NULL,
    name          TEXT    NOT NULL,
    payload       BLOB    NOT NULL,
    at_ms         INTEGER NOT NULL,
    PRIMARY KEY (execution_row, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE timers (
    execution_row INTEGER NOT NULL REFERENCES executions,
    name          TEXT    NOT NULL,
    due_ms        INTEGER NOT NULL,
    PRIMARY KEY (execution_row, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX timers_due ON timers (due_ms);
