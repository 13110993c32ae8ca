DROP TYPE new_certificate;
DROP TYPE new_certificate_name;
DROP TYPE new_certificate_label;
DROP TYPE new_idempotency_key;
DROP TYPE new_audit_event;
