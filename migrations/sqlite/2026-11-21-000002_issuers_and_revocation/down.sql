-- Only what the first schema knows comes back: one certificate of each issuer, the full CRLs.
CREATE TABLE issuers_before (
    id INTEGER PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    parent_id INTEGER REFERENCES issuers (id),
    state INTEGER NOT NULL,
    is_default INTEGER NOT NULL,
    key_id INTEGER NOT NULL REFERENCES ca_keys (id),
    certificate_id INTEGER REFERENCES certificates (id),
    created_at INTEGER NOT NULL,
    revocations INTEGER NOT NULL DEFAULT 0,
    crl_number INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO issuers_before (id, name, parent_id, state, is_default, key_id, certificate_id, created_at, revocations, crl_number)
    SELECT issuers.id, issuers.name, own.parent_id, issuers.state, issuers.is_default, issuers.key_id, certificates.id,
        issuers.created_at, issuers.revocations, issuers.crl_number
    FROM issuers LEFT JOIN issuer_certificates AS own ON own.issuer_id = issuers.id AND own.is_primary = 1
        LEFT JOIN certificates ON certificates.fingerprint_sha256 = own.fingerprint_sha256;

CREATE TABLE crls (
    issuer_id INTEGER PRIMARY KEY NOT NULL REFERENCES issuers (id),
    number INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    revocations INTEGER NOT NULL,
    der BLOB NOT NULL
) STRICT;
-- One of several parts is left out; the service publishes the next one when it starts.
INSERT INTO crls (issuer_id, number, this_update, next_update, revocations, der)
    SELECT issuer_id, published_crls.number, this_update, next_update, revocations, published_crl_parts.der
    FROM published_crls JOIN published_crl_parts USING (issuer_id, shard, is_delta)
    WHERE shard = 0 AND is_delta = 0 AND part = 0 AND length(published_crl_parts.der) = size;

DROP TABLE ocsp_responders;
DROP TABLE revoked_serials;
DROP TABLE published_crl_parts;
DROP TABLE published_crls;
DROP TABLE crl_scopes;
DROP INDEX certificates_changed;
DROP INDEX certificates_revoked_by_scope;
ALTER TABLE certificates DROP COLUMN change_number;
ALTER TABLE certificates DROP COLUMN crl_shard;
CREATE INDEX certificates_revoked_by_issuer ON certificates (issuer_id) WHERE state <> 0;
DROP TABLE issuer_certificates;
DROP TABLE issuers;
ALTER TABLE issuers_before RENAME TO issuers;
CREATE UNIQUE INDEX issuers_default ON issuers (is_default) WHERE is_default = 1;
