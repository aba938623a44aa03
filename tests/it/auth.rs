//! Who may do what, as kubectl sees it.

mod access;
mod certificates;
mod issuer;
mod nodes;
mod oidc;
mod tokens;
