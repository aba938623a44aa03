//! An unmodified kubectl against rk: the machine's own and the newest one.

mod image;
mod known;
mod normal;
mod program;
mod quickstart;
mod script;
mod streams;
