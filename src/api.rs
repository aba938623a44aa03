//! What an object is: its kinds, its encodings, its rules. Pure: no I/O, no async, no clock.
