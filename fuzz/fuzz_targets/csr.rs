//! Runs `targets::csr`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chancery_fuzz::run("csr", data));
