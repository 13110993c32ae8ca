//! The `chancery` program: see `cli/` for its commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Named, so that it is linked: then mimalloc's `malloc` takes the place of the system's, for the C code and, through that, for this one. As the
    // global allocator it would look at the alignment of each of its pieces first.
    std::hint::black_box(mimalloc::MiMalloc.version());
    chancery::cli::run()
}
