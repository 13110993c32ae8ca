//! Runs `targets::ocsp_request`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chancery_fuzz::run("ocsp_request", data));
