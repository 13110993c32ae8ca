//! Runs `targets::json_bodies`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chancery_fuzz::run("json_bodies", data));
