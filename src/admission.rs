//! What a write must satisfy or acquire before it is stored.
