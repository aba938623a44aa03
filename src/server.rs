//! Wiring of a server process: what runs, start and stop order.

pub mod settings;

pub use settings::{NodeSettings, Settings, Taint};
