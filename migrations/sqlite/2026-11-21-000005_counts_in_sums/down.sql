DROP TABLE fresh_states;
DROP TABLE counted_changes;
DROP TABLE counted_states;
DROP TABLE fresh_counts;
ALTER TABLE uncounted_days DROP COLUMN counted;
DROP TABLE certificate_recounts;
DROP TABLE certificate_totals;
DROP TABLE certificate_counts;
CREATE TABLE certificate_counts (
    issued_day INTEGER NOT NULL,
    expiry_day INTEGER NOT NULL,
    issuer_id INTEGER NOT NULL,
    profile TEXT NOT NULL,
    certificates INTEGER NOT NULL,
    PRIMARY KEY (issued_day, expiry_day, issuer_id, profile)
) STRICT;
INSERT INTO certificate_counts (issued_day, expiry_day, issuer_id, profile, certificates)
    SELECT issued_at / 86400, not_after / 86400, issuer_id, profile, COUNT(*) FROM certificates
    WHERE id <= (SELECT counted FROM certificate_counting WHERE id = 1) GROUP BY 1, 2, 3, 4;
