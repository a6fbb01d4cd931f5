#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lpm_fuzz::decision(data));
