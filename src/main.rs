//! The executable: decides between shim and program before any thread exists, then calls `cli`.

use rk::runtime::shim;
use std::process::ExitCode;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    if shim::is_shim(&args) {
        return ExitCode::from(shim::main(&args));
    }
    drop(args);
    rk::cli::main(std::env::args_os())
}
