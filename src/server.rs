//! Wiring of a server process: what runs, start and stop order.
