//! Real containers under real shims. Each test has directories and a control group of its own.

mod basics;
mod isolation;
mod limits;
mod streams;
mod survival;
mod world;
