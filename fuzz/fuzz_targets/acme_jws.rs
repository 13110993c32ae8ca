//! Runs `targets::acme_jws`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chancery_fuzz::run("acme_jws", data));
