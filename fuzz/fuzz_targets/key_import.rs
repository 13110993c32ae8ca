//! Runs `targets::key_import`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chancery_fuzz::run("key_import", data));
