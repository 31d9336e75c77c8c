-- Rollups of the last minutes come here first, in the order of time. Closed
-- ten minutes move on to rollups_1s in the order in which they are read, by
-- service and route, which takes a fraction of the room and of the time.
DROP VIEW rollups;

CREATE TABLE rollups_new AS SELECT * FROM rollups_1s WITH NO DATA;

CREATE VIEW rollups AS
    SELECT 1 AS width_s, * FROM rollups_new
    UNION ALL SELECT 1, * FROM rollups_1s
    UNION ALL SELECT 10, * FROM rollups_10s
    UNION ALL SELECT 60, * FROM rollups_60s;

-- What is told of requests, in seconds and without the histograms, for whoever
-- writes SQL by hand.
CREATE VIEW requests AS
    SELECT start, width_s, service, container, route, method, status, outcome,
        n_requests, n_errors, n_incomplete,
        duration_sum_ns / 1e9 AS duration_sum_s,
        duration_max_ns / 1e9 AS duration_max_s,
        request_body_bytes, response_body_bytes,
        n_chunks, n_stalls, input_tokens, output_tokens
    FROM rollups;

-- What containers used, by container and second of wall time (UTC); NULL where
-- the host does not tell.
CREATE TABLE resources_1s (
    start TIMESTAMP NOT NULL,
    service VARCHAR NOT NULL,
    container VARCHAR NOT NULL,
    n_seconds UBIGINT NOT NULL,
    cpu_ns UBIGINT NOT NULL,
    cpu_limit_cores DOUBLE,
    n_periods UBIGINT,
    n_throttled UBIGINT,
    throttled_ns UBIGINT,
    memory_sum_bytes UBIGINT NOT NULL,
    memory_max_bytes UBIGINT NOT NULL,
    memory_limit_bytes UBIGINT,
    n_oom_kills UBIGINT,
    received_bytes UBIGINT,
    sent_bytes UBIGINT,
    read_bytes UBIGINT,
    written_bytes UBIGINT,
    n_pids_max UBIGINT,
    pressure_cpu_us UBIGINT,
    pressure_memory_us UBIGINT,
    pressure_io_us UBIGINT,
    gpu_utilization_sum DOUBLE,
    gpu_memory_max_bytes UBIGINT,
    gpu_memory_total_bytes UBIGINT
);

CREATE TABLE resources_10s AS SELECT * FROM resources_1s;
CREATE TABLE resources_60s AS SELECT * FROM resources_1s;

CREATE VIEW resources AS
    SELECT 1 AS width_s, * FROM resources_1s
    UNION ALL SELECT 10, * FROM resources_10s
    UNION ALL SELECT 60, * FROM resources_60s;

-- Single requests: the slowest and the failed ones of each minute. Times are
-- NULL where nothing was measured.
CREATE TABLE exemplars (
    finished TIMESTAMP NOT NULL,
    started TIMESTAMP NOT NULL,
    reason VARCHAR NOT NULL,
    service VARCHAR NOT NULL,
    container VARCHAR NOT NULL,
    route VARCHAR NOT NULL,
    method VARCHAR,
    status USMALLINT,
    outcome VARCHAR NOT NULL,
    completeness VARCHAR NOT NULL,
    streamed BOOLEAN NOT NULL,
    duration_ns UBIGINT,
    ttfb_ns UBIGINT,
    felt_ns UBIGINT,
    queue_ns UBIGINT,
    read_ns UBIGINT,
    app_ns UBIGINT,
    stream_ns UBIGINT,
    drain_ns UBIGINT,
    first_chunk_ns UBIGINT,
    n_chunks UBIGINT,
    request_body_bytes UBIGINT NOT NULL,
    response_body_bytes UBIGINT NOT NULL,
    peer VARCHAR NOT NULL,
    local_port USMALLINT NOT NULL
);

-- What happened; service and container are NULL for the daemon itself.
CREATE TABLE events (
    happened TIMESTAMP NOT NULL,
    kind VARCHAR NOT NULL,
    service VARCHAR,
    container VARCHAR,
    detail VARCHAR NOT NULL
);

COMMENT ON VIEW rollups IS 'Requests by series and window, the newest in the narrowest windows; each request is in one row';
COMMENT ON VIEW requests IS 'Requests by series and window, in seconds and without histograms';
COMMENT ON VIEW resources IS 'What containers used, by window: counts are sums, *_max the highest, memory_sum_bytes / n_seconds the mean';
COMMENT ON TABLE exemplars IS 'The slowest and the failed single requests of each minute';
COMMENT ON TABLE events IS 'What happened to containers, alerts, history and the daemon';
COMMENT ON TABLE runs IS 'Starts of the daemon, and the last batch that each wrote';
