CREATE TABLE nodes (
    id          TEXT    NOT NULL PRIMARY KEY,
    run         TEXT    NOT NULL,
    incarnation INTEGER NOT NULL,
    live        INTEGER NOT NULL CHECK (live IN (0, 1)),
    draining    INTEGER NOT NULL CHECK (draining IN (0, 1)),
    handlers    TEXT    NOT NULL,
    slots       TEXT    NOT NULL,
    address     TEXT    NOT NULL,
    sequence    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

INSERT INTO nodes (id, run, incarnation, live, draining, handlers, slots, address)
SELECT node_id, '', incarnation, 1, 0, '[]', '{}', '' FROM meta WHERE node_id IS NOT NULL;

ALTER TABLE meta DROP COLUMN incarnation;
ALTER TABLE meta ADD COLUMN cluster TEXT;

DROP INDEX executions_ready;
CREATE INDEX executions_ready ON executions (owner, pool, resumes DESC, priority DESC, row) WHERE ready_at IS NOT NULL;
