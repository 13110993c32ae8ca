-- SQLite takes values as they are; only PostgreSQL has types for rows.
SELECT 1;
