//! Who may do what, as kubectl sees it.

mod access;
mod certificates;
mod tokens;
