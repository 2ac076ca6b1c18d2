ALTER TABLE attempts ADD COLUMN left_out INTEGER NOT NULL DEFAULT 0;
CREATE INDEX attempts_by_operation ON attempts (execution_row, kind, key);

CREATE INDEX operations_retrying ON operations (execution_row) WHERE status = 'retrying';

ALTER TABLE meta ADD COLUMN counts TEXT NOT NULL DEFAULT '[]';
UPDATE meta SET counts = (
    SELECT json_group_array(json_array(owner, component, status, executions))
    FROM (SELECT owner, component, status, count(*) AS executions FROM executions GROUP BY owner, component, status)
);
