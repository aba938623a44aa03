//! Wiring of an agent process: join, connect, adopt.
