-- Lists of the values that a text may have are gone: SQLite builds a table of each list for every statement that writes
-- such a row, which was a tenth of the work of an execution. The engine has no other values to write.
-- The rows stay as they are, so only the text of the schema changes: https://sqlite.org/lang_altertable.html, section 7.
PRAGMA writable_schema = ON;

UPDATE sqlite_schema SET sql = 'CREATE TABLE executions (
    row                INTEGER PRIMARY KEY,
    id                 TEXT    NOT NULL UNIQUE,
    handler            TEXT    NOT NULL,
    component          TEXT    NOT NULL,
    status             TEXT    NOT NULL,
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
    pool               TEXT    NOT NULL,
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
    concurrency_key    TEXT,
    place              INTEGER
                           CHECK (place IS NULL OR (concurrency_key IS NOT NULL AND closed_ms IS NULL)),
    CHECK ((closed_ms IS NOT NULL)
           = (status = ''completed'' OR status = ''failed'' OR status = ''cancelled'' OR status = ''terminated''
              OR status = ''timed_out'' OR status = ''compensated'')),
    CHECK (closed_ms IS NULL OR (attached = 0 AND ready_at IS NULL))
) STRICT' WHERE type = 'table' AND name = 'executions';

UPDATE sqlite_schema SET sql = 'CREATE TABLE operations (
    execution_row INTEGER NOT NULL REFERENCES executions,
    kind          TEXT    NOT NULL,
    key           TEXT    NOT NULL,
    seq           INTEGER NOT NULL,
    status        TEXT    NOT NULL,
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
) STRICT, WITHOUT ROWID' WHERE type = 'table' AND name = 'operations';

PRAGMA writable_schema = RESET;
