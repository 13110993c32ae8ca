//! What commands print: the macros `print!` and `println!` of this folder, which unlike the standard ones do not panic when whoever reads has gone,
//! as `head` does when it has seen enough.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Why the first line that could not be written could not.
static FAILURE: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints to standard output.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::output::write(format_args!($($text)*)) };
}

/// Prints a line to standard output.
macro_rules! println {
    () => { $crate::cli::output::write_line(format_args!("")) };
    ($($text:tt)*) => { $crate::cli::output::write_line(format_args!($($text)*)) };
}

/// Writes to standard output; after the first failure nothing more.
pub(super) fn write(text: fmt::Arguments<'_>) {
    let mut failure = FAILURE.lock().unwrap_or_else(PoisonError::into_inner);
    if failure.is_none() {
        *failure = io::stdout().lock().write_fmt(text).err();
    }
}

/// Writes a line.
pub(super) fn write_line(text: fmt::Arguments<'_>) {
    write(format_args!("{text}\n"));
}

/// Says whether everything was written that somebody wanted to read: a reader that has gone wants no more, a full disk is a failure.
///
/// # Errors
/// `Internal` when standard output took less than there was to write.
pub(super) fn finish() -> Result<()> {
    let failure = FAILURE.lock().unwrap_or_else(PoisonError::into_inner).take();
    match failure.map_or_else(|| io::stdout().flush(), Err) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::internal("the output could not be written").with_source(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
