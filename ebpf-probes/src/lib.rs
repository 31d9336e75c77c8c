//! Empty: a target that build scripts can depend on.
#![no_std]
#![forbid(unsafe_code)]
