-- Requests summed up by service, container, class of status and outcome: what
-- lies behind "until" is in both, rollups and sums. Rows come to
-- service_minutes_new by minutes, in the order of time, and move on by closed
-- hours: to service_minutes in the order of reading, and once more, added up,
-- to service_hours. The columns are those of rollups: no route, no method, and
-- 200 for 200 to 299.
CREATE TABLE service_minutes_new AS SELECT * FROM rollups_1s WITH NO DATA;
CREATE TABLE service_minutes AS SELECT * FROM rollups_1s WITH NO DATA;
CREATE TABLE service_hours AS SELECT * FROM rollups_1s WITH NO DATA;

-- NULL until something was summed up.
CREATE TABLE summed (until TIMESTAMP);
INSERT INTO summed VALUES (NULL);

COMMENT ON TABLE service_minutes_new IS 'Requests of the last hours by service and minute, which are in rollups too';
COMMENT ON TABLE service_minutes IS 'Requests by service and minute, which are in rollups too';
COMMENT ON TABLE service_hours IS 'What is in service_minutes, by hour';
COMMENT ON TABLE summed IS 'Requests before this time are summed up by service';
