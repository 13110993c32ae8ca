-- Counts are kept as sums, so that statistics read some hundred rows, whatever the inventory holds. Only counts are made anew here: of the
-- certificates the index of their ends is read, and nothing is written.

-- Sums over all certificates. Kinds: 0 by issuer, 1 by profile, 2 by day of issue (days since 1970), 3 by day of end, 4 by hour of end;
-- 5 and 6 as 3 and 4 of those on hold, 7 and 8 of those revoked. The number is that of the issuer, the day or the hour.
CREATE TABLE certificate_totals (
    kind SMALLINT NOT NULL,
    number BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    certificates BIGINT NOT NULL,
    PRIMARY KEY (kind, number, name)
);
-- The same by day of issue, kinds 0 to 4, of days that are being counted anew.
CREATE TABLE certificate_recounts (
    issued_day INTEGER NOT NULL,
    kind SMALLINT NOT NULL,
    number BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    certificates BIGINT NOT NULL,
    PRIMARY KEY (issued_day, kind, number, name)
);
INSERT INTO certificate_recounts (issued_day, kind, number, name, certificates)
    WITH counted AS (
        SELECT CASE WHEN issued_day < 0 THEN 0 ELSE issued_day END AS issued_day, expiry_day, issuer_id, profile, certificates FROM certificate_counts
    )
    SELECT issued_day, 0, issuer_id, '', SUM(certificates) FROM counted GROUP BY issued_day, issuer_id
    UNION ALL SELECT issued_day, 1, 0, profile, SUM(certificates) FROM counted GROUP BY issued_day, profile
    UNION ALL SELECT issued_day, 2, issued_day, '', SUM(certificates) FROM counted GROUP BY issued_day
    UNION ALL SELECT issued_day, 3, expiry_day, '', SUM(certificates) FROM counted GROUP BY issued_day, expiry_day;
INSERT INTO certificate_recounts (issued_day, kind, number, name, certificates)
    SELECT CAST((id >> 29) / 86400 AS INTEGER), 4, not_after / 3600, '', COUNT(*) FROM certificates
    WHERE id <= (SELECT counted FROM certificate_counting WHERE id = 1) GROUP BY 1, 3;
-- The same of all days: what a day that is counted anew takes out.
DROP TABLE certificate_counts;
CREATE TABLE certificate_counts (
    issued_day INTEGER NOT NULL,
    kind SMALLINT NOT NULL,
    number BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    certificates BIGINT NOT NULL,
    PRIMARY KEY (issued_day, kind, number, name)
);
INSERT INTO certificate_counts SELECT issued_day, kind, number, name, certificates FROM certificate_recounts ORDER BY 1, 2, 3, 4;
DELETE FROM certificate_recounts;
INSERT INTO certificate_totals (kind, number, name, certificates)
    SELECT kind, number, name, SUM(certificates) FROM certificate_counts GROUP BY kind, number, name;
-- The last row of a day that is counted anew; null before the first.
ALTER TABLE uncounted_days ADD COLUMN counted BIGINT;
-- What one transaction counts: empty before it and behind it.
CREATE UNLOGGED TABLE fresh_counts (
    issued_day INTEGER NOT NULL,
    kind SMALLINT NOT NULL,
    number BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    certificates BIGINT NOT NULL
);

-- The states that certificates are counted with, of those that are not valid.
CREATE TABLE counted_states (
    certificate_id BIGINT PRIMARY KEY NOT NULL,
    state SMALLINT NOT NULL
);
-- The last change of each issuer's certificates that is counted.
CREATE TABLE counted_changes (
    issuer_id INTEGER PRIMARY KEY NOT NULL,
    change_number BIGINT NOT NULL
);
-- What one transaction counts: empty before it and behind it.
CREATE UNLOGGED TABLE fresh_states (
    certificate_id BIGINT NOT NULL,
    state SMALLINT NOT NULL,
    counted_state SMALLINT NOT NULL,
    not_after BIGINT NOT NULL
);
INSERT INTO counted_states (certificate_id, state) SELECT id, state FROM certificates WHERE state <> 0 ORDER BY id;
INSERT INTO counted_changes (issuer_id, change_number) SELECT id, revocations FROM issuers;
INSERT INTO certificate_totals (kind, number, name, certificates)
    SELECT 3 + 2 * state, not_after / 86400, '', COUNT(*) FROM certificates WHERE state <> 0 GROUP BY 1, 2
    UNION ALL SELECT 4 + 2 * state, not_after / 3600, '', COUNT(*) FROM certificates WHERE state <> 0 GROUP BY 1, 2;

-- With the ends: what one of many requesters has, by its end, is read from here, and not from all over the table.
DROP INDEX certificates_requester;
CREATE INDEX certificates_requester ON certificates (requester, id) INCLUDE (not_after);
