-- Only what the first schema knows comes back: one certificate of each issuer, the full CRLs.
ALTER TABLE issuers ADD COLUMN parent_id INTEGER REFERENCES issuers (id);
ALTER TABLE issuers ADD COLUMN certificate_id BIGINT REFERENCES certificates (id);
UPDATE issuers SET parent_id = own.parent_id, certificate_id = certificates.id
    FROM issuer_certificates AS own LEFT JOIN certificates ON certificates.fingerprint_sha256 = own.fingerprint_sha256
    WHERE own.issuer_id = issuers.id AND own.is_primary;

CREATE TABLE crls (
    issuer_id INTEGER PRIMARY KEY NOT NULL REFERENCES issuers (id),
    number BIGINT NOT NULL,
    this_update BIGINT NOT NULL,
    next_update BIGINT NOT NULL,
    revocations BIGINT NOT NULL,
    der BYTEA NOT NULL
);
-- One of several parts is left out; the service publishes the next one when it starts.
INSERT INTO crls (issuer_id, number, this_update, next_update, revocations, der)
    SELECT issuer_id, published_crls.number, this_update, next_update, revocations, published_crl_parts.der
    FROM published_crls JOIN published_crl_parts USING (issuer_id, shard, is_delta)
    WHERE shard = 0 AND NOT is_delta AND part = 0 AND length(published_crl_parts.der) = size;

DROP TABLE ocsp_responders;
DROP TABLE revoked_serials;
DROP TABLE published_crl_parts;
DROP TABLE published_crls;
DROP TABLE crl_scopes;
DROP INDEX certificates_changed;
DROP INDEX certificates_revoked_by_scope;
ALTER TABLE certificates DROP COLUMN change_number;
ALTER TABLE certificates DROP COLUMN crl_shard;
CREATE INDEX certificates_revoked_by_issuer ON certificates (issuer_id, id) WHERE state <> 0;
DROP TABLE issuer_certificates;
DROP INDEX issuers_active;
ALTER TABLE issuers DROP COLUMN base_name;
ALTER TABLE issuers DROP COLUMN generation;
ALTER TABLE issuers DROP COLUMN settings;
ALTER TABLE issuers DROP COLUMN csr;
ALTER TABLE issuers DROP COLUMN maximum_shard;
