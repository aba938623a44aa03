//! Wrong input and wrong surroundings: each gives an error that a user can act on, and harms
//! nothing else.

mod arguments;
mod database;
mod disk;
pub mod images;
mod objects;
mod ports;
