//! Words to configuration.
