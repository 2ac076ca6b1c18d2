ALTER TABLE attempts ADD COLUMN left_out INTEGER NOT NULL DEFAULT 0;
CREATE INDEX attempts_by_operation ON attempts (execution_row, kind, key);

CREATE INDEX operations_retrying ON operations (execution_row) WHERE status = 'retrying';

CREATE TABLE counts (
    owner     TEXT    NOT NULL,
    component TEXT    NOT NULL,
    status    TEXT    NOT NULL,
    count     INTEGER NOT NULL CHECK (count >= 0),
    PRIMARY KEY (owner, component, status)
) STRICT, WITHOUT ROWID;

INSERT INTO counts SELECT owner, component, status, count(*) FROM executions GROUP BY owner, component, status;
