//! The HTTP API in its corners, as clients other than kubectl meet it.

mod custom;
mod deletions;
mod documents;
mod families;
mod lists;
mod protocol;
pub mod rules;
mod shapes;
mod startup;
mod subresources;
