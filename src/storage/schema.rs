//! The tables as diesel sees them, the same for both databases. What they mean is said in migrations/; nothing here makes them.

/// Declares the tables in a module of their own, because the macro's output is not documented.
#[allow(missing_docs, unreachable_pub, clippy::use_self, reason = "made by diesel's macro")]
mod tables {
    diesel::table! {
        ca_keys (id) {
            id -> Integer,
            algorithm -> Text,
            spki_sha256 -> Binary,
            key_encryption_key_id -> Nullable<Text>,
            sealed -> Nullable<Binary>,
            path -> Nullable<Text>,
        }
    }

    diesel::table! {
        issuers (id) {
            id -> Integer,
            name -> Text,
            base_name -> Text,
            generation -> Integer,
            state -> SmallInt,
            is_default -> Bool,
            key_id -> Integer,
            settings -> Text,
            csr -> Nullable<Binary>,
            created_at -> BigInt,
            revocations -> BigInt,
            crl_number -> BigInt,
            maximum_shard -> Integer,
        }
    }

    diesel::table! {
        issuer_certificates (id) {
            id -> Integer,
            issuer_id -> Integer,
            parent_id -> Nullable<Integer>,
            is_primary -> Bool,
            fingerprint_sha256 -> Binary,
            der -> Binary,
            upper_chain -> Binary,
            created_at -> BigInt,
        }
    }

    diesel::table! {
        certificates (id) {
            id -> BigInt,
            serial -> Binary,
            issuer_id -> Integer,
            profile -> Text,
            profile_version -> Integer,
            requester -> Text,
            source -> SmallInt,
            subject -> Text,
            key_algorithm -> Text,
            spki_sha256 -> Binary,
            fingerprint_sha256 -> Binary,
            not_before -> BigInt,
            not_after -> BigInt,
            issued_at -> BigInt,
            labels -> Nullable<Text>,
            state -> SmallInt,
            revoked_at -> Nullable<BigInt>,
            revocation_reason -> Nullable<SmallInt>,
            invalidity_date -> Nullable<BigInt>,
            der -> Binary,
            crl_shard -> Integer,
            change_number -> Nullable<BigInt>,
        }
    }

    diesel::table! {
        certificate_names (certificate_id, name_type, search_key) {
            certificate_id -> BigInt,
            #[sql_name = "type"]
            name_type -> SmallInt,
            search_key -> Text,
        }
    }

    diesel::table! {
        certificate_labels (certificate_id, key) {
            certificate_id -> BigInt,
            key -> Text,
            value -> Text,
        }
    }

    diesel::table! {
        idempotency_keys (caller, key) {
            caller -> Text,
            key -> Text,
            request_sha256 -> Binary,
            expires_at -> BigInt,
            serial -> Nullable<Binary>,
            key_encryption_key_id -> Nullable<Text>,
            sealed -> Nullable<Binary>,
        }
    }

    diesel::table! {
        blocked_keys (spki_sha256) {
            spki_sha256 -> Binary,
            blocked_at -> BigInt,
        }
    }

    diesel::table! {
        crl_scopes (issuer_id, shard) {
            issuer_id -> Integer,
            shard -> Integer,
            last_change -> BigInt,
        }
    }

    diesel::table! {
        published_crls (issuer_id, shard, is_delta) {
            issuer_id -> Integer,
            shard -> Integer,
            is_delta -> Bool,
            number -> BigInt,
            base_number -> Nullable<BigInt>,
            this_update -> BigInt,
            next_update -> BigInt,
            revocations -> BigInt,
            size -> BigInt,
        }
    }

    diesel::table! {
        published_crl_parts (issuer_id, shard, is_delta, part) {
            issuer_id -> Integer,
            shard -> Integer,
            is_delta -> Bool,
            part -> Integer,
            number -> BigInt,
            der -> Binary,
        }
    }

    diesel::table! {
        revoked_serials (issuer_id, serial) {
            issuer_id -> Integer,
            serial -> Binary,
            revoked_at -> BigInt,
            revocation_reason -> SmallInt,
            invalidity_date -> Nullable<BigInt>,
            not_after -> Nullable<BigInt>,
            change_number -> BigInt,
        }
    }

    diesel::table! {
        ocsp_responders (issuer_id) {
            issuer_id -> Integer,
            certificate -> Binary,
            key_encryption_key_id -> Text,
            sealed -> Binary,
            not_before -> BigInt,
            not_after -> BigInt,
        }
    }

    diesel::table! {
        profiles (name) {
            name -> Text,
            version -> Integer,
            deleted -> Bool,
        }
    }

    diesel::table! {
        profile_versions (name, version) {
            name -> Text,
            version -> Integer,
            document -> Text,
            origin -> SmallInt,
            created_by -> Text,
            created_at -> BigInt,
        }
    }

    diesel::table! {
        api_tokens (number) {
            number -> BigInt,
            id -> Text,
            name -> Text,
            secret_sha256 -> Binary,
            role -> Text,
            grants -> Text,
            created_at -> BigInt,
            created_by -> Text,
            expires_at -> Nullable<BigInt>,
            revoked_at -> Nullable<BigInt>,
        }
    }

    diesel::table! {
        audit_chains (id) {
            id -> Integer,
            sequence -> BigInt,
            hash -> Binary,
        }
    }

    diesel::table! {
        audit_events (id) {
            id -> BigInt,
            chain -> Integer,
            sequence -> BigInt,
            occurred_at -> BigInt,
            actor -> Text,
            action -> Text,
            outcome -> SmallInt,
            object -> Text,
            bytes -> Binary,
            hash -> Binary,
        }
    }

    diesel::table! {
        leases (name) {
            name -> Text,
            holder -> Text,
            ends_at -> BigInt,
        }
    }

    diesel::table! {
        generation (id) {
            id -> Integer,
            value -> BigInt,
        }
    }

    diesel::table! {
        settings (name) {
            name -> Text,
            value -> Binary,
        }
    }

    diesel::table! {
        __diesel_schema_migrations (version) {
            version -> Text,
        }
    }

    diesel::joinable!(issuers -> ca_keys (key_id));
    diesel::joinable!(profile_versions -> profiles (name));
    diesel::allow_tables_to_appear_in_same_query!(
        issuers,
        ca_keys,
        issuer_certificates,
        certificates,
        certificate_names,
        certificate_labels,
        profiles,
        profile_versions,
    );
}

pub(super) use tables::*;
