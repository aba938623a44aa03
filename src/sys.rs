//! The only place that talks to the kernel by raw calls, and the only unsafe code.
//!
//! Everything here is a thin, safe face over one kernel facility; policy lives with the callers.
#![allow(unsafe_code, reason = "the one module where raw system calls are allowed")]
