//! Nodes on other machines than the server's.

mod join;
