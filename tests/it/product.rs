//! What a user installs, runs and removes: the scripts, whole, on machines of their own.

mod install;
mod leaks;
mod machine;
mod quickstart;
