-- The numbers stay: what comes later continues behind the greatest.
DROP INDEX acme_external_account_keys_principal;
CREATE INDEX acme_external_account_keys_principal ON acme_external_account_keys (principal) WHERE deleted_at IS NULL;
DROP INDEX acme_accounts_ended;
DROP INDEX acme_orders_invalid;
DROP INDEX acme_orders_profile;
DROP TABLE uncounted_days;
DROP TABLE certificate_counting;
DROP TABLE certificate_counts;
CREATE INDEX audit_events_time ON audit_events (occurred_at);

CREATE TABLE certificate_labels_before (
    certificate_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL
) STRICT;
INSERT INTO certificate_labels_before SELECT certificate_id, key, value FROM certificate_labels;
DROP TABLE certificate_labels;
ALTER TABLE certificate_labels_before RENAME TO certificate_labels;
CREATE INDEX certificate_labels_search ON certificate_labels (key, value, certificate_id);

CREATE TABLE certificate_names_before (
    certificate_id INTEGER NOT NULL,
    type INTEGER NOT NULL,
    search_key TEXT NOT NULL
) STRICT;
INSERT INTO certificate_names_before SELECT certificate_id, type, search_key FROM certificate_names;
DROP TABLE certificate_names;
ALTER TABLE certificate_names_before RENAME TO certificate_names;
CREATE INDEX certificate_names_search ON certificate_names (search_key, certificate_id);

DROP INDEX certificates_state_end;
DROP INDEX certificates_state;
DROP INDEX certificates_issuer;
DROP INDEX certificates_profile;
DROP INDEX certificates_requester;
CREATE INDEX certificates_issued_at ON certificates (issued_at);
CREATE INDEX certificates_requester ON certificates (requester, issued_at);
CREATE INDEX certificates_revoked_by_time ON certificates (issued_at) WHERE state <> 0;
