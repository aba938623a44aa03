//! The executable: decides between shim and program before any thread exists, then calls `cli`.

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    rk::cli::main(std::env::args_os())
}
