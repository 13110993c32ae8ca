-- Issuers of several generations and certificates, CRLs by shard and delta, delegated OCSP responders. The migrations run with foreign
-- keys off and are checked at their end, so that tables can be made anew.

CREATE TABLE issuers_next (
    id INTEGER PRIMARY KEY NOT NULL,
    -- The name in URLs, for ever: the base name for the first generation, `<base name>.<generation>` for later ones.
    name TEXT NOT NULL UNIQUE,
    base_name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    state INTEGER NOT NULL,
    is_default INTEGER NOT NULL,
    key_id INTEGER NOT NULL REFERENCES ca_keys (id),
    -- JSON; what is absent follows the configuration.
    settings TEXT NOT NULL DEFAULT '{}',
    -- The request for a certificate that somebody else is to sign.
    csr BLOB,
    created_at INTEGER NOT NULL,
    -- Raised with every change of a certificate's state; see certificates.change_number.
    revocations INTEGER NOT NULL DEFAULT 0,
    crl_number INTEGER NOT NULL DEFAULT 0,
    -- The greatest CRL shard that was ever in use.
    maximum_shard INTEGER NOT NULL DEFAULT 0,
    UNIQUE (base_name, generation)
) STRICT;

CREATE TABLE issuer_certificates (
    id INTEGER PRIMARY KEY NOT NULL,
    issuer_id INTEGER NOT NULL REFERENCES issuers (id),
    -- The issuer here that signed it; null for a root and for what somebody else signed.
    parent_id INTEGER REFERENCES issuers (id),
    is_primary INTEGER NOT NULL,
    fingerprint_sha256 BLOB NOT NULL,
    der BLOB NOT NULL,
    -- The certificates above it when no issuer here signed it, one after the other.
    upper_chain BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (issuer_id, fingerprint_sha256)
) STRICT;
CREATE UNIQUE INDEX issuer_certificates_primary ON issuer_certificates (issuer_id) WHERE is_primary = 1;

INSERT INTO issuers_next (id, name, base_name, generation, state, is_default, key_id, created_at, revocations, crl_number)
    SELECT id, name, name, 1, state, is_default, key_id, created_at, revocations, crl_number FROM issuers;
INSERT INTO issuer_certificates (issuer_id, parent_id, is_primary, fingerprint_sha256, der, upper_chain, created_at)
    SELECT issuers.id, issuers.parent_id, 1, certificates.fingerprint_sha256, certificates.der, x'', issuers.created_at
    FROM issuers JOIN certificates ON certificates.id = issuers.certificate_id;

ALTER TABLE certificates ADD COLUMN crl_shard INTEGER NOT NULL DEFAULT 0;
-- The issuer's count of changes when this certificate's state was last changed; null when it never was.
ALTER TABLE certificates ADD COLUMN change_number INTEGER;
UPDATE certificates SET change_number = 1 WHERE state <> 0;
DROP INDEX certificates_revoked_by_issuer;
-- Holds all that an entry of a CRL needs, so that a million entries are read without the certificates themselves.
CREATE INDEX certificates_revoked_by_scope ON certificates
    (issuer_id, crl_shard, id, not_after, serial, revoked_at, revocation_reason, invalidity_date, state) WHERE state <> 0;
-- The row (id) is the last column of every SQLite index.
CREATE INDEX certificates_changed ON certificates (issuer_id, change_number) WHERE change_number IS NOT NULL;

-- The last change in each shard of an issuer's CRL; shard 0 is that of certificates that name the full CRL.
CREATE TABLE crl_scopes (
    issuer_id INTEGER NOT NULL REFERENCES issuers (id),
    shard INTEGER NOT NULL,
    last_change INTEGER NOT NULL,
    PRIMARY KEY (issuer_id, shard)
) STRICT;
INSERT INTO crl_scopes (issuer_id, shard, last_change) SELECT id, 0, revocations FROM issuers WHERE revocations > 0;

CREATE TABLE published_crls (
    issuer_id INTEGER NOT NULL REFERENCES issuers (id),
    shard INTEGER NOT NULL,
    is_delta INTEGER NOT NULL,
    number INTEGER NOT NULL,
    -- Of a delta: the number of the CRL it adds to.
    base_number INTEGER,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    revocations INTEGER NOT NULL,
    -- How many octets it has, in all its parts.
    size INTEGER NOT NULL,
    PRIMARY KEY (issuer_id, shard, is_delta),
    CHECK ((is_delta = 1) = (base_number IS NOT NULL))
) STRICT;

-- The octets of published CRLs, cut up: one of a million entries is never in memory as one value of the database.
CREATE TABLE published_crl_parts (
    issuer_id INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    is_delta INTEGER NOT NULL,
    part INTEGER NOT NULL,
    -- That of the CRL: who reads while another one is published sees that parts do not belong together.
    number INTEGER NOT NULL,
    der BLOB NOT NULL,
    PRIMARY KEY (issuer_id, shard, is_delta, part),
    FOREIGN KEY (issuer_id, shard, is_delta) REFERENCES published_crls (issuer_id, shard, is_delta)
) STRICT;
INSERT INTO published_crls (issuer_id, shard, is_delta, number, this_update, next_update, revocations, size)
    SELECT issuer_id, 0, 0, number, this_update, next_update, revocations, length(der) FROM crls;
INSERT INTO published_crl_parts (issuer_id, shard, is_delta, part, number, der)
    SELECT issuer_id, 0, 0, 0, number, der FROM crls;
DROP TABLE crls;

-- Serial numbers that a CA revoked before it was imported, and whose certificates are not known.
CREATE TABLE revoked_serials (
    issuer_id INTEGER NOT NULL REFERENCES issuers (id),
    serial BLOB NOT NULL,
    revoked_at INTEGER NOT NULL,
    revocation_reason INTEGER NOT NULL,
    invalidity_date INTEGER,
    not_after INTEGER,
    change_number INTEGER NOT NULL,
    PRIMARY KEY (issuer_id, serial)
) STRICT;

-- Delegated responders (RFC 6960, section 4.2.2.2), one for each issuer, with their sealed keys.
CREATE TABLE ocsp_responders (
    issuer_id INTEGER PRIMARY KEY NOT NULL REFERENCES issuers (id),
    certificate BLOB NOT NULL,
    key_encryption_key_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL
) STRICT;

DROP TABLE issuers;
ALTER TABLE issuers_next RENAME TO issuers;
CREATE UNIQUE INDEX issuers_default ON issuers (is_default) WHERE is_default = 1;
CREATE UNIQUE INDEX issuers_active ON issuers (base_name) WHERE state = 0;
