//! Unmodified clients, each in a real program: client-go, controller-runtime, Helm, Python.

mod helm;
mod operator;
mod python;
